"""SIGINT and SIGTERM as something noted, not raised.

Raised as an exception, a signal would be lost where Python drops exceptions: in a
finalizer, of which garbage collection runs many.

Imports the standard library only.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def first_signal(note: Callable[[str], None]) -> Iterator[None]:
    """Calls `note` with the name of a first signal while the block runs.

    A second one is the former handler's, which as a rule ends the program.
    """
    # Known before a handler can run: a signal may come at any moment.
    former = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}

    def handle(number, frame):
        note(signal.Signals(number).name)
        signal.signal(number, former[number])

    for number in former:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
