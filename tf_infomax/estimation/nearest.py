"""Nearest neighbours by the maximum norm, and how many points lie within a radius.

Found with SciPy: by trees, in one column by sorting, in many dimensions by all
distances, block by block. Points that occur more than once are looked up once, so that
ties cost nothing.

Imports NumPy and SciPy only.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from tf_infomax.estimation.discrete import encode

_TREE_DIMENSIONS = 12  # in more, a tree looks at all points anyway, and slowly
_BLOCK = 1 << 24  # distances at a time
_ALONE = 2000  # points that one thread looks up
_ROUNDING = 1e-9  # relative; distances that differ by less are equal


@dataclass(frozen=True)
class Points:
    """Different points, and how often each occurs.

    Attributes:
        values: `[u, d]`.
        code: `[n]`, which of them each row is.
        counts: `[u]`.
    """

    values: np.ndarray
    code: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "Points":
        n, d = values.shape
        if d > _TREE_DIMENSIONS:  # all distances are looked at anyway
            return cls(values, np.arange(n), np.ones(n, int))
        code, counts = encode(values)
        if len(counts) == n:
            return cls(values, np.arange(n), counts)
        first = np.empty(len(counts), int)
        first[code[::-1]] = np.arange(n)[::-1]
        return cls(values[first], code, counts)


def _workers(queries: np.ndarray) -> int:
    """Threads to look up so many points with; few are done before others start."""
    return -1 if len(queries) > _ALONE else 1


def _limits(radius: np.ndarray, strict: bool = True) -> np.ndarray:
    """Radii to compare distances to by "<=", whatever rounding does; 0 stays 0."""
    return radius * (1.0 - _ROUNDING if strict else 1.0 + _ROUNDING)


def _count_on_line(
    points: Points, center: np.ndarray, radius: np.ndarray, strict: bool
) -> np.ndarray:
    """`count_within` of one column: two searches in the sorted values."""
    order = np.argsort(points.values[:, 0])
    line = points.values[order, 0]
    total = np.concatenate([[0], np.cumsum(points.counts[order])])
    # A sum is rounded to what its larger part can hold, a difference is not.
    sign = -2.0 if strict else 2.0
    radius = np.where(
        radius > 0.0, np.maximum(radius + sign * np.spacing(np.abs(center)), 0.0), 0.0
    )
    low = np.searchsorted(line, center - radius, "left")
    return total[np.searchsorted(line, center + radius, "right")] - total[low]


def count_within(
    points: Points, queries: np.ndarray, radius: np.ndarray, strict: bool
) -> np.ndarray:
    """How many points lie within (strictly inside) the radius of each query.

    With a radius of 0, those that are equal.

    Args:
        points: among which the queries are.
        queries: `[m, d]`.
        radius: `[m]`.
        strict: whether the border is outside.
    """
    radius = _limits(radius, strict)
    d = queries.shape[1]
    if d == 1:
        return _count_on_line(points, queries[:, 0], radius, strict)
    if d > _TREE_DIMENSIONS:
        counts = [
            np.count_nonzero(distances <= radius[rows, None], axis=1)
            for rows, distances in _all_distances(queries, points.values)
        ]
        return np.concatenate(counts)
    tree = cKDTree(points.values)
    if len(points.values) == len(points.code):
        return tree.query_ball_point(
            queries, radius, p=np.inf, workers=_workers(queries), return_length=True
        )
    found = tree.query_ball_point(queries, radius, p=np.inf, workers=_workers(queries))
    return np.array([points.counts[each].sum() for each in found])


def _all_distances(queries: np.ndarray, values: np.ndarray):
    """(rows, distances of these queries to all points), block by block."""
    count = max(1, _BLOCK // len(values))
    for start in range(0, len(queries), count):
        rows = slice(start, start + count)
        yield rows, cdist(queries[rows], values, "chebyshev")


@dataclass(frozen=True)
class Neighbors:
    """The k nearest of each different point.

    One that occurs twice is two neighbours; copies of the point itself come first.

    Attributes:
        index: `[u, k]`, which of the different points.
        radius: `[u]`, distance to the k-th.
        inside: `[u]`, how many points are strictly closer, the point itself included;
            where the radius is 0, how many are equal. Without ties, k.
    """

    index: np.ndarray
    radius: np.ndarray
    inside: np.ndarray


def find_nearest(points: Points, k: int) -> Neighbors:
    values = points.values
    if values.shape[1] > _TREE_DIMENSIONS:
        return _nearest_of_all(points, k)
    ranks = np.arange(1, min(k + 1, len(values)) + 1)
    distances, index = cKDTree(values).query(
        values, ranks, p=np.inf, workers=_workers(values)
    )
    weights = points.counts[index]
    which = np.broadcast_to(np.arange(1, k + 1), (len(values), k))
    if len(values) < len(points.code):
        places = np.cumsum(weights, axis=1)
        which = (places[:, :, None] <= np.arange(1, k + 1)).sum(axis=1)
    radius = np.take_along_axis(distances, which[:, -1:], axis=1)
    inside = np.sum(weights * (distances <= _limits(radius)), axis=1)
    return Neighbors(np.take_along_axis(index, which, axis=1), radius[:, 0], inside)


def _nearest_of_all(points: Points, k: int) -> Neighbors:
    """`find_nearest` by all distances, of points that may repeat."""
    values, parts = points.values, []
    for rows, distances in _all_distances(values, values):
        own = np.arange(rows.start, rows.start + len(distances))
        distances[np.arange(len(distances)), own] = -1.0  # the point itself comes first
        index = np.argpartition(distances, k, axis=1)[:, : k + 1]
        found = np.take_along_axis(distances, index, axis=1)
        order = np.argsort(found, axis=1)
        index = np.take_along_axis(index, order, axis=1)[:, 1:]
        radius = found.max(axis=1)
        inside = np.sum(distances <= _limits(radius)[:, None], axis=1)
        parts.append((index, radius, inside))
    return Neighbors(*map(np.concatenate, zip(*parts, strict=True)))
