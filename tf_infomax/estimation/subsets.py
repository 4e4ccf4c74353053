"""Do fewer columns carry more than all of them seem to? Information cannot fall.

I(x; y) >= I(x_S; y_T) for any columns S, T, so that an estimate of few columns is one
from below of all. Columns are chosen on one half of the pairs and reported on the
other, unless both halves choose the same; nothing is reported on what it was chosen by.

Imports NumPy and SciPy only.
"""

import math
from collections.abc import Callable

import numpy as np

from tf_infomax.estimation.intervals import GROUPS
from tf_infomax.estimation.options import Options
from tf_infomax.estimation.samples import Fitted, Samples, flatten

Chosen = tuple[tuple[int, ...], tuple[int, ...]]

MOST_COLUMNS = 512  # of x and y, above which a table of all of them takes too long
_MOST = 3  # columns of x and y together
_CANDIDATES = 6  # columns of a side that are tried beside those chosen
_BINS = 8
_RISE = 0.02  # nats, that a further column must add
_ERRORS = 2.0  # standard errors by which fewer columns must have more
_LEAST = 0.02  # nats
_CHECKED = 1500  # pairs that a look at few columns takes, where the value has all
_SEEN = 0.03  # nats by eighths of ranks, beyond their bias, that make it worth a look


def choose(x: np.ndarray, y: np.ndarray, estimate: Callable) -> Chosen:
    """The few columns that share most: the best two, then one at a time.

    Args:
        x, y: `[n, dx]`, `[n, dy]`.
        estimate: (x, y) of some columns -> nats.
    """
    table = binned_information(x, y)
    i, j = np.unravel_index(table.argmax(), table.shape)
    chosen = (int(i),), (int(j),)
    best = estimate(x[:, [i]], y[:, [j]])
    beside = [
        np.argsort(-shares)[:_CANDIDATES].tolist() for shares in (table[:, j], table[i])
    ]
    while len(chosen[0]) + len(chosen[1]) < _MOST:
        further = [
            ((*chosen[0], k), chosen[1]) for k in beside[0] if k not in chosen[0]
        ] + [(chosen[0], (*chosen[1], k)) for k in beside[1] if k not in chosen[1]]
        values = [estimate(x[:, list(s)], y[:, list(t)]) for s, t in further]
        if not values or max(values) < best + _RISE:
            break
        best, chosen = max(values), further[int(np.argmax(values))]
    return tuple(tuple(sorted(columns)) for columns in chosen)


def choose_on_halves(
    x: np.ndarray, y: np.ndarray, estimate: Callable, options: Options
) -> tuple[Chosen, np.ndarray]:
    """(columns of x and of y, positions of pairs that they were not chosen by).

    Args:
        x, y, estimate: as `choose` takes them.
        options: seed of the halves, and blocks that stay together.
    """
    n = len(x)
    blocks = np.random.default_rng(options.seed).permutation(-(-n // options.block))
    first = np.isin(np.arange(n) // options.block, blocks[::2])
    one, other = (choose(x[half], y[half], estimate) for half in (first, ~first))
    return one, np.arange(n) if one == other else np.flatnonzero(~first)


def find_richer(fit: Callable, samples: Samples) -> tuple[Chosen, float, float] | None:
    """Few columns that an estimator finds more in than in all of them, if any.

    Args:
        fit: (`Samples`, options) -> `Fitted`, which trains nothing.
        samples: of which 1,500 pairs at most are looked at.

    Returns:
        The columns, their value and that of all of them, of these pairs; or None.
    """
    options = samples.options
    x, y = flatten((samples.x, samples.y))
    blocks = -(-len(x) // options.block)
    kept = np.random.default_rng(options.seed).permutation(blocks)
    kept = kept[: max(2, _CHECKED // options.block)]
    rows = np.isin(np.arange(len(x)) // options.block, kept)
    x, y = x[rows], y[rows]
    bias = (_BINS - 1) ** 2 / (2.0 * len(x))
    if binned_information(x, y).max() < bias + _SEEN:
        return None

    def fitted(x: np.ndarray, y: np.ndarray) -> Fitted:
        return fit(Samples(x, y, options), options)

    def value(found: Fitted) -> float:
        return float(found.value(np.arange(found.n)))

    chosen, reported = choose_on_halves(x, y, lambda x, y: value(fitted(x, y)), options)
    sides = (side[reported][:, list(c)] for side, c in zip((x, y), chosen, strict=True))
    part, whole = fitted(*sides), fitted(x, y)
    if not exceeds(part, reported, whole, np.arange(len(x)), options.seed):
        return None
    return chosen, value(part), value(whole)


def name_columns(chosen: Chosen) -> list[str]:
    """As "x[0, 2]" and "y[1]"."""
    return [f"{name}{list(c)}" for name, c in zip("xy", chosen, strict=True)]


def binned_information(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Information of each column of x with each of y, in eighths of ranks: `[dx, dy]`.

    A plug-in of counts, for comparison among them.
    """
    n = len(x)
    first, second = _bin(x), _bin(y)
    joint = (first.T @ second / n).reshape(x.shape[1], _BINS, y.shape[1], _BINS)
    joint = joint.transpose(0, 2, 1, 3)
    product = joint.sum(3, keepdims=True) * joint.sum(2, keepdims=True)
    ratio = np.where(joint > 0, joint, 1.0) / np.where(joint > 0, product, 1.0)
    return (joint * np.log(ratio)).sum(axis=(2, 3))


def _bin(side: np.ndarray) -> np.ndarray:
    """One-hot eighths of the ranks of each column, `[n, d * 8]`, float32."""
    from scipy.stats import rankdata

    places = (rankdata(side, axis=0) - 0.5) * (_BINS / len(side))
    codes = places.astype(int)[..., None] == np.arange(_BINS)
    return codes.reshape(len(side), -1).astype(np.float32)


def exceeds(
    part: Fitted,
    part_rows: np.ndarray,
    whole: Fitted,
    whole_rows: np.ndarray,
    seed: int,
) -> bool:
    """Whether one estimate is above another by more than chance.

    Both leave out the same pairs, group by group (a jackknife of the difference), so
    that what they have in common cancels.

    Args:
        part, whole: the estimates.
        part_rows, whole_rows: positions of the pairs that they report on, in order.
        seed: of the groups.
    """

    def at(fitted: Fitted, rows: np.ndarray, kept: np.ndarray) -> float:
        if fitted.subsets:
            return fitted.value(np.flatnonzero(kept[rows]))
        return fitted.value(kept[rows].astype(float))

    n = 1 + max(part_rows.max(), whole_rows.max())
    sides = ((part, part_rows), (whole, whole_rows))
    difference = lambda kept: float(np.subtract(*(at(*side, kept) for side in sides)))
    every = difference(np.ones(n, bool))
    if not every > _LEAST:
        return False
    group = np.random.default_rng(seed).permutation(np.arange(n) % GROUPS)
    left_out = np.array([difference(group != k) for k in range(GROUPS)])
    error = math.sqrt(
        (GROUPS - 1) / GROUPS * np.square(left_out - left_out.mean()).sum()
    )
    return every > _ERRORS * error
