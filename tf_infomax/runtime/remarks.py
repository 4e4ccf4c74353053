"""What TensorFlow remarks to itself while it writes a model, left out."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGERS = ("absl", "tensorflow")


@contextmanager
def without_remarks() -> Iterator[None]:
    """Warnings alone are logged within: else there is a line for every renamed input.

    The levels of the caller are back after it.
    """
    from absl import logging as absl_logging

    before = absl_logging.get_verbosity()
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    absl_logging.set_verbosity(absl_logging.WARNING)
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        yield
    finally:
        absl_logging.set_verbosity(before)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
