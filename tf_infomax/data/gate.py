"""Turns for threads, so that what they hold together stays within a limit."""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

FREE = 4 << 20  # bytes that are not counted
_LARGE = 64 << 20  # bytes worth giving back


class Gate:
    """Lets threads in as long as what they need together stays within a limit.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int):
        self._limit, self._held = limit, 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, need: int) -> Iterator[None]:
        """Waits until there is room; what is larger than the limit goes alone.

        What the block has allocated must be free at its end: it is given back to the
        system there.
        """
        if need < FREE:
            yield
            return
        held = min(need, self._limit)
        with self._changed:
            self._changed.wait_for(lambda: self._held + held <= self._limit)
            self._held += held
        try:
            yield
        finally:
            return_memory(need)
            with self._changed:
                self._held -= held
                self._changed.notify_all()


def return_memory(size: int) -> None:
    """Gives much freed memory back, which the C library keeps to use it again."""
    if size > _LARGE:
        with suppress(AttributeError, OSError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)
