"""How much memory there is for what a step computes."""

import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

_SHARE = 0.25  # of the machine's memory that one tensor and its gradient may take
_ON_GPU = 4 << 30  # bytes; TensorFlow does not say how much a GPU has
_CGROUP = Path("/sys/fs/cgroup/memory.max")


@lru_cache
def largest_tensor() -> int:
    """Bytes that one tensor, and what its gradient needs, may take."""
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return _ON_GPU
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no such file, or no limit
        found = min(found, int(_CGROUP.read_text()))
    return int(_SHARE * found)
