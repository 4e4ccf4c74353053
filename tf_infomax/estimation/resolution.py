"""What so many pairs can tell of information: nothing below 0, and at most so much.

Of pairs that are functions of one another, up to noise that is finer than they lie
apart, information has no bound, and an estimate no end: of twice as many pairs it is
higher by as much again. So is that of what a critic has not yet learned.

Imports NumPy only.
"""

from collections.abc import Callable

import numpy as np

REACH = 0.5  # nats; nearer than this to a ceiling, a value says little but its height
_ERRORS = 2.0  # standard errors that a rise must have
_RISE = 0.05  # nats by doubling the pairs; functions have log 2 times a share

Interval = tuple[float, float]


def rise_by_halves(
    value: Callable[[np.ndarray], float], n: int, seed: int, block: int
) -> tuple[float, float]:
    """How much higher the value of all pairs is than that of half of them.

    Args:
        value: positions -> value.
        n: pairs; consecutive blocks stay together.
        seed: of the halves.
        block: rows that depend on one another.

    Returns:
        (rise, its standard error), nats; from both halves.
    """
    order = np.random.default_rng(seed).permutation(-(-n // block))
    first = np.isin(np.arange(n) // block, order[::2])
    halves = [value(np.flatnonzero(part)) for part in (first, ~first)]
    rise = value(np.arange(n)) - float(np.mean(halves))
    return rise, 0.5 * abs(halves[0] - halves[1])


def is_unresolved(
    value: float, interval: Interval, ceiling: float, rise: tuple[float, float]
) -> bool:
    """Whether the truth may be anything from the value up, as far as these pairs tell.

    That is so near a ceiling; and where doubling the pairs has lifted the value by more
    than half of its interval, so that doubling them again will lead out of it.
    """
    if value > ceiling - REACH or value == np.inf:
        return True
    half = 0.5 * (interval[1] - interval[0])
    return rise[0] > max(_ERRORS * rise[1], half, _RISE)


def show(value: float, interval: Interval, unresolved: bool) -> tuple[float, Interval]:
    """Value and interval as those of information, which is at least 0.

    An interval that lies below 0 altogether keeps its width above the value.
    """
    low, high = interval
    if high < 0.0:
        high -= value
    shown = max(value, 0.0) if not np.isnan(value) else value
    return shown, (max(low, 0.0), float("inf") if unresolved else high)
