"""Confidence intervals: block bootstrap of weights, block jackknife of subsets."""

from collections.abc import Callable

import numpy as np

_DRAWS = 200
GROUPS = 12  # of a jackknife
_BROKEN = 12  # orders of y that show what there is without information
_FIRST_BROKEN = 4  # of them, enough where the information is plain,
_PLAIN = 0.0005  # which is where this tail is left behind


def bootstrap(
    value: Callable[[np.ndarray], float],
    estimate: float,
    n: int,
    level: float,
    seed: int,
    block: int,
) -> tuple[float, float]:
    """Basic bootstrap interval of a weighted value, about the mean of the draws.

    Draws move as a whole where pairs are ranked among the others, of which a third is
    missing from each draw and others are doubled. Fresh pairs have no such shift.

    Args:
        value: weights `[n]` -> value.
        estimate: at weights of 1.
        n: pairs.
        level: of the interval.
        seed: of the draws.
        block: consecutive rows that are drawn together.

    Returns:
        (low, high).
    """
    rng = np.random.default_rng(seed)
    blocks = -(-n // block)
    draws = []
    for _ in range(_DRAWS):
        counts = np.bincount(rng.integers(0, blocks, blocks), minlength=blocks)
        draws.append(value(np.repeat(counts, block)[:n].astype(float)))
    draws = np.array([draw for draw in draws if np.isfinite(draw)])
    if len(draws) < 0.9 * _DRAWS or not np.isfinite(estimate):
        return -np.inf, np.inf
    tail = 0.5 * (1.0 - level)
    low, high = np.quantile(draws, [tail, 1.0 - tail]) - draws.mean()
    return float(estimate - high), float(estimate - low)


def of_mean(
    values: np.ndarray, level: float, seed: int, block: int
) -> tuple[float, float]:
    """Basic bootstrap interval of a mean of values `[n]`; see `bootstrap`."""
    return bootstrap(
        lambda w: float(w @ values / w.sum()),
        float(values.mean()),
        len(values),
        level,
        seed,
        block,
    )


def jackknife(
    value: Callable[[np.ndarray], float],
    estimate: float,
    n: int,
    level: float,
    seed: int,
    block: int,
) -> tuple[float, float]:
    """Student interval from leaving out one of 12 groups of blocks at a time.

    For estimators that do not take weights: a pair that is drawn twice would be its own
    nearest neighbour.

    Args:
        value: positions -> value.
        estimate, n, level, seed, block: as for `bootstrap`.
    """
    from scipy.stats import t

    if not np.isfinite(estimate):
        return float("-inf"), float("inf")
    blocks = -(-n // block)
    groups = min(GROUPS, blocks)
    of_block = np.random.default_rng(seed).permutation(np.arange(blocks) % groups)
    group = np.repeat(of_block, block)[:n]
    left_out = np.array([value(np.flatnonzero(group != k)) for k in range(groups)])
    spread = np.sqrt((groups - 1) / groups * np.sum((left_out - left_out.mean()) ** 2))
    half = t.ppf(0.5 + 0.5 * level, groups - 1) * spread
    return float(estimate - half), float(estimate + half)


def admit_zero(
    interval: tuple[float, float],
    broken: Callable[[np.ndarray], float],
    estimate: float,
    n: int,
    level: float,
    seed: int,
    block: int,
) -> tuple[float, float]:
    """The interval, and 0 unless broken-up pairs show that there is information.

    Where there is none, an estimate is off by its bias, and a jackknife may see next to
    no spread, as where a squared correlation is about 0. What it then is can be seen:
    of pairs whose y were put in another order. 0 is left out only above the interval
    that they predict for one more.

    Args:
        interval: of the estimate.
        broken: order of y -> value of these pairs.
        estimate, n, level, seed, block: as for `bootstrap`.
    """
    from scipy.stats import t

    low, high = interval
    if not low > 0.0:
        return interval
    rng = np.random.default_rng(seed)
    null: list[float] = []
    for draws, tail in ((_FIRST_BROKEN, _PLAIN), (_BROKEN, 0.5 * (1.0 - level))):
        while len(null) < draws:
            null.append(broken(_shuffle(n, block, rng)))
        error = np.std(null, ddof=1) * np.sqrt(1.0 + 1.0 / draws)
        if estimate > np.mean(null) + t.ppf(1.0 - min(tail, 0.5), draws - 1) * error:
            return interval
    return 0.0, high


def _shuffle(n: int, block: int, rng: np.random.Generator) -> np.ndarray:
    """An order of n in which blocks of consecutive rows stay together."""
    if block == 1:
        return rng.permutation(n)
    starts = rng.permutation(np.arange(0, n, block))
    return np.concatenate([np.arange(s, min(s + block, n)) for s in starts])
