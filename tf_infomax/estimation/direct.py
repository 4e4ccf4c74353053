"""Estimators without training, as rows of `ESTIMATORS`.

Neighbours and tables are asked of pairs whose marginals were made normal by ranks
(`preprocess`): information does not change, and neither scale nor tails nor units have
a say. Equal values share a rank, so that ties stay ties. Columns that are constant, or
copies of others, are left out.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from tf_infomax.estimation import discrete, gaussian, neighbors
from tf_infomax.estimation.columns import find_informative
from tf_infomax.estimation.inputs import PairsError
from tf_infomax.estimation.options import Options
from tf_infomax.estimation.resolution import rise_by_halves
from tf_infomax.estimation.samples import Fitted, Samples
from tf_infomax.estimation.values import Scores

_PAIRS_EACH = 100  # of the ratio's components
_PAIRS_EACH_COLUMN = 10  # below which it cannot be told
_HELD_OUT = 1000  # pairs that the law of a density ratio is checked on
_RARE = 0.1  # share of pairs with rare labels from which on it is said


def _of_pairs(function: Callable, x: np.ndarray, y: np.ndarray, **more) -> Fitted:
    """What is a function of (x, y), of any choice of the pairs."""
    return Fitted(
        value=lambda rows: float(function(x[rows], y[rows])),
        n=len(x),
        subsets=True,
        broken=lambda order: float(function(x, y[order])),
        **more,
    )


def _without_copies(side: np.ndarray) -> np.ndarray:
    """Columns that vary, each once; at least one."""
    shown = find_informative(side, monotone=False).take(side)
    return shown if shown.shape[1] else side[:, :1]


def points(
    function: Callable, ceiling: Callable[[int, int], float] = lambda n, k: math.inf
) -> Callable[[Samples, Options], Fitted]:
    """An estimator that is the mean of the contributions of all points.

    Args:
        function: (x, y, k) -> contributions; nothing is trained.
        ceiling: (n, k) -> the largest value possible, if no pair is there twice.
    """

    def fit(samples: Samples, options: Options) -> Fitted:
        x, y = (_without_copies(side) for side in samples.whole)
        n, k = len(x), options.k
        copies = discrete.count_different(np.concatenate([x, y], axis=1)) < n
        fitted = _of_pairs(
            lambda x, y: np.mean(function(x, y, k)),
            x,
            y,
            ceiling=math.inf if copies else ceiling(n, k),
        )
        if n // 2 - options.block <= max(k, x.shape[1] + y.shape[1] + 1):
            return fitted
        rise = partial(rise_by_halves, fitted.value, n, options.seed, options.block)
        return replace(fitted, rise=rise)

    return fit


_fit_ksg = points(neighbors.ksg1, neighbors.ksg_ceiling)


def fit_mixed(samples: Samples, options: Options) -> Fitted:
    """A table of counts where the pairs fill it, and neighbours elsewhere."""
    codes = [discrete.encode(side)[0] for side in samples.whole]
    if discrete.is_filled(*codes):
        return _of_pairs(discrete.table_mi, *codes)
    return _fit_ksg(samples, options)


def fit_labels(samples: Samples, options: Options) -> Fitted:
    """`discrete_continuous` of the side with fewer values, and the other.

    Raises:
        PairsError: if neither side repeats.
    """
    x, y = (_without_copies(side) for side in samples.whole)
    n, k = len(x), options.k
    counts = [discrete.encode(side)[1] for side in (x, y)]
    few = min(counts, key=len)
    if len(few) > n / 2:
        raise PairsError(
            "one side must be discrete: x has "
            f"{len(counts[0])} and y {len(counts[1])} different values in {n} pairs. "
            "Take ksg."
        )
    of = lambda labels, other: np.mean(neighbors.discrete_continuous(labels, other, k))
    value = of if few is counts[0] else lambda x, y: of(y, x)
    if len(counts[0]) == len(counts[1]):  # neither comes first
        value = lambda x, y: 0.5 * (of(x, y) + of(y, x))
    return _of_pairs(value, x, y, notes=tuple(_warn_of_rare(few, k)))


def _warn_of_rare(counts: np.ndarray, k: int):
    """Yields if many pairs have labels too rare for k neighbours."""
    rare = counts[counts <= k].sum() / counts.sum()
    if rare > _RARE:
        yield (
            f"{rare:.0%} of the pairs have a label that occurs {k} times or less, of "
            f"{len(counts)} labels: neighbours of the same label are far, and the side "
            "may be continuous; take auto or mixed"
        )


def fit_gaussian(samples: Samples, options: Options) -> Fitted:
    """`gaussian_mi` of the Gaussian copula, or (preprocess) of moments as they are."""
    value = lambda x, y: gaussian.gaussian_mi(x, y, options.correct)
    x, y = samples.whole
    return _of_pairs(value, x, y, notes=tuple(_warn_of_law(x, y, options.seed)))


def _warn_of_law(x: np.ndarray, y: np.ndarray, seed: int):
    """Yields where the Gaussian ratio fitted to one half is none of the other."""
    from tf_infomax.estimation.copula import Copula, is_lawless

    order = np.random.default_rng(seed).permutation(len(x))
    fitted, held_out = np.array_split(order, 2)
    held_out = held_out[:_HELD_OUT]
    if max(x.shape[1], y.shape[1]) > len(fitted) // _PAIRS_EACH_COLUMN:
        return
    size = max(1, len(fitted) // _PAIRS_EACH)  # so that its error of fit does not tell
    (copula,) = Copula.fit(x[fitted], y[fitted], size)
    scores = Scores(copula.scores(x[held_out], y[held_out]))
    if is_lawless([(copula, scores)], seed):
        yield (
            "the Gaussian log-ratio is far above its InfoNCE on held-out pairs, as "
            "with pairs far out or in clusters: the value may be far too high; "
            "take auto"
        )
