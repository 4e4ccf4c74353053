"""Mutual information from distances to nearest neighbours: no training, no bound.

Each estimator returns the contribution of every point; the estimate is their mean.
Distances are the maximum norm. Neighbours are found with SciPy: by trees, in many
dimensions by all distances, block by block.

Imports NumPy and SciPy only.
"""

from functools import cache

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.special import digamma

_TREE_DIMENSIONS = 12  # in more, a tree looks at all points anyway, and slowly
_BLOCK = 1 << 24  # distances at a time


def _column(values: np.ndarray) -> np.ndarray:
    return values[:, None] if values.ndim == 1 else values


def _check_k(n: int, k: int) -> None:
    if not 1 <= k < n:
        raise ValueError(f"k must be at least 1 and below n = {n}. Received: {k}.")


def _count_within(values: np.ndarray, radius: np.ndarray, strict: bool) -> np.ndarray:
    """How many other points lie within (strictly inside) each point's radius."""
    # The next float towards 0 turns "<=" into "<".
    radius = np.nextafter(radius, 0.0) if strict else radius
    if values.shape[1] > _TREE_DIMENSIONS:
        counts = [
            np.count_nonzero(distances <= radius[rows, None], axis=1)
            for rows, distances in _all_distances(values)
        ]
        return np.concatenate(counts) - 1
    tree = cKDTree(values)
    counts = tree.query_ball_point(
        values, radius, p=np.inf, workers=-1, return_length=True
    )
    return counts - 1


def _all_distances(values: np.ndarray):
    """(rows, distances of these rows to all points), block by block."""
    count = max(1, _BLOCK // len(values))
    for start in range(0, len(values), count):
        rows = slice(start, start + count)
        yield rows, cdist(values[rows], values, "chebyshev")


def _nearest(values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(distance to the k-th neighbour `[n]`, positions of the k nearest `[n, k]`)."""
    if values.shape[1] <= _TREE_DIMENSIONS:
        distances, index = cKDTree(values).query(values, k + 1, p=np.inf, workers=-1)
        return distances[:, k], index[:, 1:]
    radii, positions = [], []
    for rows, distances in _all_distances(values):
        own = np.arange(rows.start, rows.start + len(distances))
        distances[np.arange(len(distances)), own] = -1.0  # the point itself comes first
        index = np.argpartition(distances, k, axis=1)[:, : k + 1]
        found = np.take_along_axis(distances, index, axis=1)
        order = np.argsort(found, axis=1)
        radii.append(np.take_along_axis(found, order, axis=1)[:, k])
        positions.append(np.take_along_axis(index, order, axis=1)[:, 1:])
    return np.concatenate(radii), np.concatenate(positions)


def ksg_ceiling(n: int, k: int) -> float:
    """What `ksg1` gives where x and y are functions of one another: psi(n) - psi(k)."""
    return float(digamma(n) - digamma(k))


def ksg2_ceiling(n: int, k: int) -> float:
    """The same of `ksg2`, which counts the k neighbours too: 1 / k less."""
    return ksg_ceiling(n, k) - 1.0 / k


def mixed_ceiling(n: int, k: int) -> float:
    """The same of `mixed`, which takes log n."""
    return float(np.log(n) - digamma(k))


def ksg1(x: np.ndarray, y: np.ndarray, k: int = 5) -> np.ndarray:
    """Kraskov, Stoegbauer & Grassberger's first estimator, point by point.

    `psi(k) + psi(n) - psi(n_x + 1) - psi(n_y + 1)`, n_x the points of x strictly
    closer than the k-th neighbour in the joint space.
    Source: Kraskov et al. 2004, eq. 8.

    Args:
        x, y: `[n, dx]`, `[n, dy]` (or `[n]`).
        k: neighbours; few: less bias, more variance.

    Returns:
        `[n]`, nats.
    """
    x, y = _column(x), _column(y)
    n = len(x)
    _check_k(n, k)
    distance, _ = _nearest(np.concatenate([x, y], axis=1), k)
    nx, ny = (_count_within(side, distance, strict=True) for side in (x, y))
    return digamma(k) + digamma(n) - digamma(nx + 1) - digamma(ny + 1)


def ksg2(x: np.ndarray, y: np.ndarray, k: int = 5) -> np.ndarray:
    """The second estimator, of rectangles, point by point.

    `psi(k) - 1/k + psi(n) - psi(n_x) - psi(n_y)`, n_x the points within the largest
    x-distance among the k neighbours. Source: Kraskov et al. 2004, eq. 9.
    """
    x, y = _column(x), _column(y)
    n = len(x)
    _check_k(n, k)
    _, index = _nearest(np.concatenate([x, y], axis=1), k)
    counts = []
    for side in (x, y):
        extent = np.abs(side[index] - side[:, None]).max(axis=(1, 2))
        counts.append(_count_within(side, extent, strict=False))
    nx, ny = counts
    return digamma(k) - 1.0 / k + digamma(n) - digamma(nx) - digamma(ny)


def lnc(
    x: np.ndarray, y: np.ndarray, k: int = 5, alpha: float | None = None
) -> np.ndarray:
    """KSG-2 with a correction for local non-uniformity, point by point.

    Where the k neighbours fill a box along their principal axes of volume V_pca much
    smaller than the box along the coordinates, log(V_box / V_pca) is added: strong
    dependence makes the density in the box far from uniform.
    Source: Gao, Ver Steeg & Galstyan 2015.

    Args:
        x, y: `[n, dx]`, `[n, dy]`.
        k: neighbours; at least dx + dy + 1 are used.
        alpha: ratio of volumes below which a point is corrected; default: the ratio
            that k uniform points in a box fall below once in 200 times, so that few
            neighbours in many dimensions do not look dependent by themselves.
    """
    x, y = _column(x), _column(y)
    both = np.concatenate([x, y], axis=1)
    n, d = both.shape
    if d + 1 >= n:
        raise ValueError(f"lnc needs more than {d + 1} pairs of {d} columns, not {n}.")
    k = max(k, d + 1)
    _check_k(n, k)
    _, index = _nearest(both, k)
    ratio = _log_volume_ratio(both[index] - both[:, None])
    threshold = _uniform_ratio(k, d) if alpha is None else np.log(alpha)
    corrected = (ratio < threshold) & np.isfinite(ratio)
    return ksg2(x, y, k) - np.where(corrected, ratio, 0.0)


def _log_volume_ratio(centred: np.ndarray) -> np.ndarray:
    """log(V_pca / V_box) of neighbours around their points `[n, k, d]`: `[n]`."""
    covariance = np.einsum("nki,nkj->nij", centred, centred)
    axes = np.linalg.eigh(covariance)[1]
    rotated = np.einsum("nki,nij->nkj", centred, axes)
    with np.errstate(divide="ignore"):
        principal, box = (
            np.log(np.abs(values).max(axis=1)).sum(axis=1)
            for values in (rotated, centred)
        )
    return principal - box


@cache
def _uniform_ratio(k: int, d: int) -> float:
    """The 0.5 % quantile of the log ratio for k points uniform in a box."""
    rng = np.random.default_rng(0)
    return float(
        np.quantile(_log_volume_ratio(rng.uniform(-1.0, 1.0, (20_000, k, d))), 0.005)
    )


def mixed(x: np.ndarray, y: np.ndarray, k: int = 5) -> np.ndarray:
    """For discrete, continuous and mixed variables alike, point by point.

    `psi(k_i) + log n - psi(n_x) - psi(n_y)`: where the k-th neighbour is at distance 0,
    k_i, n_x and n_y are the points at distance 0; elsewhere k_i = k and n_x the points
    strictly closer, as for `ksg1`. All count the point itself but k.
    Source: Gao, Kannan, Oh & Viswanath 2017, with the digamma functions and strict
    radii of their program; the paper's logarithms are the same for large k alone.
    """
    x, y = _column(x), _column(y)
    n = len(x)
    _check_k(n, k)
    both = np.concatenate([x, y], axis=1)
    distance, _ = _nearest(both, k)
    tied = distance == 0.0

    def count(side: np.ndarray) -> np.ndarray:
        equal = _count_within(side, np.zeros(n), strict=False)
        return 1 + np.where(tied, equal, _count_within(side, distance, strict=True))

    ki = np.where(tied, count(both), k)
    return digamma(ki) + np.log(n) - digamma(count(x)) - digamma(count(y))


def discrete_continuous(labels: np.ndarray, y: np.ndarray, k: int = 5) -> np.ndarray:
    """A discrete variable against a continuous one, point by point.

    `psi(n) - psi(n_label) + psi(k) - psi(m)`: m points of any label lie within the
    distance of the k-th neighbour of the same label. Labels that occur once give 0.
    Source: Ross 2014, eq. 5.

    Args:
        labels: `[n]`, any type that can be compared.
        y: `[n, dy]`.
        k: neighbours; fewer where a label is rarer.
    """
    y = _column(y)
    _, inverse, counts = np.unique(
        np.asarray(labels).reshape(len(y), -1), axis=0, return_inverse=True,
        return_counts=True,
    )  # fmt: skip
    if counts.max() == 1:
        raise ValueError(
            "x must be discrete: no value of it occurs twice. If y is the discrete "
            "side, exchange them; if neither is, take ksg."
        )
    inverse = inverse.ravel()
    radius, neighbors = np.zeros(len(y)), np.zeros(len(y), int)
    for label, count in enumerate(counts):
        if count == 1:
            continue
        members = np.flatnonzero(inverse == label)
        here = min(k, count - 1)
        found = cKDTree(y[members]).query(y[members], here + 1, p=np.inf)[0]
        radius[members], neighbors[members] = found[:, here], here
    used = neighbors > 0
    m = _count_within(y[used], radius[used], strict=True) + 1
    result = np.zeros(len(y))
    result[used] = (
        digamma(used.sum())
        - digamma(counts[inverse[used]])
        + digamma(neighbors[used])
        - digamma(m)
    )
    return result
