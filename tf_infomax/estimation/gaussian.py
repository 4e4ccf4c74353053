"""Mutual information of Gaussians, from canonical correlations.

Imports NumPy only.
"""

import numpy as np

_SHRINK = 1e-10  # keeps constant directions from counting as perfectly correlated


def canonical_correlations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Correlations of x and y along their canonical directions, descending.

    Args:
        x, y: `[n, dx]`, `[n, dy]`, more rows than columns.

    Returns:
        `[min(dx, dy)]`, in [0, 1].
    """

    def whiten(values: np.ndarray) -> np.ndarray:
        centred = values - values.mean(axis=0)
        u, s, _ = np.linalg.svd(centred, full_matrices=False)
        return u[:, s > _SHRINK * max(s[0], np.finfo(float).tiny)]

    correlations = np.linalg.svd(whiten(x).T @ whiten(y), compute_uv=False)
    return np.clip(correlations, 0.0, 1.0)


def gaussian_mi(x: np.ndarray, y: np.ndarray, correct: bool = True) -> float:
    """`-1/2 sum log(1 - rho_i^2)` over the canonical correlations, nats.

    The mutual information if (x, y) is Gaussian, a lower bound on it if only the
    marginals are.

    Args:
        x, y: `[n, dx]`, `[n, dy]`.
        correct: whether to subtract the bias of a finite sample, about dx dy / (2 n)
            and known exactly for Gaussians.
    """
    rho = canonical_correlations(x, y)
    with np.errstate(divide="ignore"):
        value = float(-0.5 * np.log1p(-np.square(rho)).sum())
    return value - _bias(len(x), x.shape[1], y.shape[1]) if correct else value


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
