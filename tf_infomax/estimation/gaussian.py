"""Mutual information of Gaussians, from canonical correlations.

Imports NumPy only.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

_SHRINK = 1e-10  # keeps constant directions from counting as perfectly correlated
_ROUNDING = 1e-12  # correlations as near to 1 are those of equal columns


@dataclass(frozen=True)
class Canonical:
    """Canonical coordinates: uncorrelated, of variance 1, and paired.

    Attributes:
        rho: `[k]` correlations of the first k coordinates of x and y, descending, in
            [0, 1]; all other coordinates are uncorrelated.
        x_mean, x_map: `[dx]`, `[dx, rank of x]`: u = (x - x_mean) @ x_map.
        x_scale: root of the mean variance of the columns.
        y_mean, y_map, y_scale: the same of y.
    """

    rho: np.ndarray
    x_mean: np.ndarray
    x_map: np.ndarray
    x_scale: float
    y_mean: np.ndarray
    y_map: np.ndarray
    y_scale: float

    def transform(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Canonical coordinates of x and y."""
        return (x - self.x_mean) @ self.x_map, (y - self.y_mean) @ self.y_map


def fit_canonical(x: np.ndarray, y: np.ndarray, most: int | None = None) -> Canonical:
    """Canonical coordinates of pairs `[n, dx]`, `[n, dy]`.

    Args:
        x, y: more rows than columns, or than `most`.
        most: principal components of either side to keep; default: all that vary.
    """
    return fit_canonical_of_sizes(x, y, [most])[0]


def fit_canonical_of_sizes(
    x: np.ndarray, y: np.ndarray, sizes: Iterable[int]
) -> list[Canonical]:
    """`fit_canonical` for each `most` in `sizes`."""
    (x_mean, ux, x_map), (y_mean, uy, y_map) = _whiten(x), _whiten(y)
    scales = [float(np.sqrt(side.var(axis=0).mean())) or 1.0 for side in (x, y)]

    def fit(most: int | None) -> Canonical:
        left, rho, right = np.linalg.svd(ux[:, :most].T @ uy[:, :most])
        rho = np.where(rho > 1.0 - _ROUNDING, 1.0, rho)
        maps = x_map[:, :most] @ left, y_map[:, :most] @ right.T
        return Canonical(rho, x_mean, maps[0], scales[0], y_mean, maps[1], scales[1])

    return [fit(most) for most in sizes]


def _whiten(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean, orthonormal columns, map to coordinates of variance 1), largest first."""
    mean = values.mean(axis=0)
    u, s, vt = np.linalg.svd(values - mean, full_matrices=False)
    kept = s > _SHRINK * max(s[0], np.finfo(float).tiny)
    scale = np.sqrt(len(values) - 1.0) / s[kept]
    return mean, u[:, kept], vt[kept].T * scale


def canonical_correlations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Correlations of x and y along their canonical directions, descending.

    Args:
        x, y: `[n, dx]`, `[n, dy]`, more rows than columns.

    Returns:
        `[min(dx, dy)]`, in [0, 1].
    """
    return fit_canonical(x, y).rho


def gaussian_mi(
    x: np.ndarray, y: np.ndarray, correct: bool = True, most: int | None = None
) -> float:
    """`-1/2 sum log(1 - rho_i^2)` over the canonical correlations, nats.

    The mutual information if (x, y) is Gaussian, a lower bound on it if only the
    marginals are.

    Args:
        x, y: `[n, dx]`, `[n, dy]`.
        correct: whether to subtract the bias of a finite sample, about dx dy / (2 n)
            and known exactly for Gaussians.
        most: principal components of either side to keep; default: all.
    """
    canonical = fit_canonical(x, y, most)
    rho = canonical.rho
    with np.errstate(divide="ignore"):
        value = float(-0.5 * np.log1p(-np.square(rho)).sum())
    sizes = canonical.x_map.shape[1], canonical.y_map.shape[1]
    return value - _bias(len(x), *sizes) if correct else value


def _bias(n: int, dx: int, dy: int) -> float:
    """Mean of the estimate minus the truth, for Gaussians of any correlation.

    The log-determinant of a Wishart matrix of m = n - 1 degrees of freedom in d
    dimensions has the mean sum_(i < d) psi((m - i) / 2) + d log 2 + log |S|; the last
    two cancel between the marginals and the joint.
    """
    from scipy.special import digamma

    if n - 1 <= dx + dy:
        return float("inf")
    part = lambda d: digamma(0.5 * (n - 1 - np.arange(d))).sum()
    return float(0.5 * (part(dx) + part(dy) - part(dx + dy)))
