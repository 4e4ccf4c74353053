"""Draws that follow a seed, without a trace in the caller's own."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

_GENERATORS = threading.RLock()  # those of the process, which all threads draw from


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """What Python and NumPy draw within follows from `seed`; initial weights, too.

    Keras takes the seeds of initializers and of dropout from Python's generator. After
    the block both generators are as they were: whoever draws data, estimates and draws
    again gets new data. The state of TensorFlow cannot be put back, and is left alone.
    Of threads one is in such a block at a time.
    """
    with _GENERATORS:
        python, numpy = random.getstate(), np.random.get_state()
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
