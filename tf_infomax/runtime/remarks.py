"""What TensorFlow remarks to itself while it writes a model, left out."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_remarks() -> Iterator[None]:
    """Warnings alone are logged within: else there is a line for every renamed input.

    The levels of the caller are back after it.
    """
    from absl import logging as absl_logging

    tensorflow = logging.getLogger("tensorflow")
    before, level = absl_logging.get_verbosity(), tensorflow.level
    absl_logging.set_verbosity(absl_logging.WARNING)
    tensorflow.setLevel(logging.WARNING)
    try:
        yield
    finally:
        absl_logging.set_verbosity(before)
        tensorflow.setLevel(level)
