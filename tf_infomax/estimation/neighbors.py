"""Mutual information from distances to nearest neighbours: no training, no bound.

Each estimator returns the contribution of every point; the estimate is their mean.
Distances are the maximum norm. Imports NumPy and SciPy only.
"""

from functools import cache

import numpy as np
from scipy.special import digamma

from tf_infomax.estimation.discrete import encode
from tf_infomax.estimation.nearest import Points, count_within, find_nearest


def _column(values: np.ndarray) -> np.ndarray:
    return values[:, None] if values.ndim == 1 else values


def _check_k(n: int, k: int) -> None:
    if not 1 <= k < n:
        raise ValueError(f"k must be at least 1 and below n = {n}. Received: {k}.")


def ksg_ceiling(n: int, k: int) -> float:
    """What `ksg1` gives where x and y are functions of one another: psi(n) - psi(k)."""
    return float(digamma(n) - digamma(k))


def ksg2_ceiling(n: int, k: int) -> float:
    """The same of `ksg2`, which counts the k neighbours too: 1 / k less."""
    return ksg_ceiling(n, k) - 1.0 / k


def ksg1(x: np.ndarray, y: np.ndarray, k: int = 5) -> np.ndarray:
    """Kraskov, Stoegbauer & Grassberger's first estimator, point by point.

    `psi(k_i) + psi(n) - psi(n_x) - psi(n_y)`: of the points strictly closer than the
    k-th neighbour in the joint space, k_i are so in both sides together, n_x in x and
    n_y in y, each with the point itself. Without ties k_i is k, and this is the
    published estimator. With ties others share the border with the k-th neighbour, and
    k_i is less than k: k itself, as is usual, would see information in independent
    counts or rounded numbers. Where the k-th neighbour is at distance 0, k_i, n_x and
    n_y are the points at distance 0, as in a table of counts.
    Source: Kraskov et al. 2004, eq. 8; at distance 0 Gao et al. 2017.

    Args:
        x, y: `[n, dx]`, `[n, dy]` (or `[n]`), of comparable scale.
        k: neighbours; few: less bias, more variance.

    Returns:
        `[n]`, nats.
    """
    x, y = _column(x), _column(y)
    n, dx = x.shape
    _check_k(n, k)
    both = Points.of(np.concatenate([x, y], axis=1))
    found = find_nearest(both, k)
    sides = both.values[:, :dx], both.values[:, dx:]
    nx, ny = (
        count_within(Points.of(side), queries, found.radius, strict=True)
        for side, queries in zip((x, y), sides, strict=True)
    )
    result = digamma(found.inside) + digamma(n) - digamma(nx) - digamma(ny)
    return result[both.code]


def ksg2(x: np.ndarray, y: np.ndarray, k: int = 5) -> np.ndarray:
    """The second estimator, of rectangles, point by point.

    `psi(k) - 1/k + psi(n) - psi(n_x) - psi(n_y)`, n_x the points within the largest
    x-distance among the k neighbours. Source: Kraskov et al. 2004, eq. 9.
    """
    x, y = _column(x), _column(y)
    n, dx = x.shape
    _check_k(n, k)
    both = Points.of(np.concatenate([x, y], axis=1))
    index = find_nearest(both, k).index
    counts = []
    for side, of_side in ((x, np.s_[:, :dx]), (y, np.s_[:, dx:])):
        queries = both.values[of_side]
        extent = np.abs(queries[index] - queries[:, None]).max(axis=(1, 2))
        counts.append(count_within(Points.of(side), queries, extent, strict=False))
    nx, ny = (count - 1 for count in counts)
    result = digamma(k) - 1.0 / k + digamma(n) - digamma(nx) - digamma(ny)
    return result[both.code]


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
    both = Points.of(np.concatenate([x, y], axis=1))
    n, d = len(x), both.values.shape[1]
    if d + 1 >= n:
        raise ValueError(f"lnc needs more than {d + 1} pairs of {d} columns, not {n}.")
    k = max(k, d + 1)
    _check_k(n, k)
    index = find_nearest(both, k).index
    ratio = _log_volume_ratio(both.values[index] - both.values[:, None])
    threshold = _uniform_ratio(k, d) if alpha is None else np.log(alpha)
    corrected = (ratio < threshold) & np.isfinite(ratio)
    return ksg2(x, y, k) - np.where(corrected, ratio, 0.0)[both.code]


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
    with np.errstate(invalid="ignore"):  # both are 0 where neighbours are copies
        return principal - box


@cache
def _uniform_ratio(k: int, d: int) -> float:
    """The 0.5 % quantile of the log ratio for k points uniform in a box."""
    rng = np.random.default_rng(0)
    return float(
        np.quantile(_log_volume_ratio(rng.uniform(-1.0, 1.0, (20_000, k, d))), 0.005)
    )


def discrete_continuous(labels: np.ndarray, y: np.ndarray, k: int = 5) -> np.ndarray:
    """A discrete variable against any other, point by point.

    `psi(n) - psi(n_label) + psi(k_i) - psi(m)`: of the points strictly closer than the
    k-th neighbour of the same label, k_i have that label (k, if no distances tie) and m
    any, each with the point itself; at distance 0 those at distance 0. Labels that
    occur once give 0. Source: Ross 2014, eq. 5; ties as in `ksg1`.

    Args:
        labels: `[n]`, or rows `[n, d]`, any type that can be compared.
        y: `[n, dy]`.
        k: neighbours; fewer where a label is rarer.
    """
    y = _column(y)
    code, counts = encode(np.asarray(labels))
    if counts.max() == 1:
        raise ValueError(
            "labels must be discrete: no value of them occurs twice. Take ksg."
        )
    n = len(y)
    radius, inside = np.zeros(n), np.zeros(n, int)
    by_label = np.split(np.argsort(code, kind="stable"), np.cumsum(counts)[:-1])
    for members in by_label:
        if len(members) == 1:
            continue
        here = Points.of(y[members])
        found = find_nearest(here, min(k, len(members) - 1))
        radius[members] = found.radius[here.code]
        inside[members] = found.inside[here.code]
    used = inside > 0
    m = count_within(Points.of(y[used]), y[used], radius[used], strict=True)
    result = np.zeros(n)
    result[used] = (
        digamma(used.sum())
        - digamma(counts[code[used]])
        + digamma(inside[used])
        - digamma(m)
    )
    return result
