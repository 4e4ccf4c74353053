"""Estimates as functionals of a score matrix, each pair with a weight.

`scores[i, j] = f(x_i, y_j)` of n held-out pairs that were drawn together on the
diagonal; `weights[i]` counts pair i (all 1: the estimate itself; multinomial counts:
one draw of the bootstrap). A pair never is its own negative. Everything is computed in
float64; a value may be infinite, which the diagnostics report.

The functions `dv`, `nwj` and `info_nce` agree with `tf_infomax.bounds` at weights of 1;
those are for training, in float32 and with finite gradients.

Imports NumPy only.
"""

import math

import numpy as np


class Scores:
    """A score matrix with what several functionals need of it.

    Args:
        matrix: `[n, n]`.
        weights: `[n]`, default 1.
    """

    def __init__(self, matrix: np.ndarray, weights: np.ndarray | None = None):
        self.matrix = np.asarray(matrix, np.float64)
        n = len(self.matrix)
        if self.matrix.shape != (n, n) or n < 2:
            raise ValueError(
                f"scores must be [n, n] with n >= 2. Received: {self.matrix.shape}."
            )
        self.weights = np.ones(n) if weights is None else np.asarray(weights, float)
        self._exponentials: dict[str, tuple] = {}

    def weighted(self, weights: np.ndarray) -> "Scores":
        """The same scores with other weights; exponentials are computed once."""
        other = Scores(self.matrix, weights)
        other._exponentials = self._exponentials
        return other

    @property
    def transposed(self) -> "Scores":
        """x and y exchanged."""
        return Scores(self.matrix.T, self.weights)

    @property
    def total(self) -> float:
        return float(self.weights.sum())

    @property
    def positive(self) -> np.ndarray:
        return np.diagonal(self.matrix)

    @property
    def count_negative(self) -> float:
        """Weight of all pairs i != j."""
        return self.total**2 - float(self.weights @ self.weights)

    def mean_positive(self, values: np.ndarray | None = None) -> float:
        """Weighted mean over the pairs, of their scores by default."""
        values = self.positive if values is None else values
        return float(self.weights @ values / self.total)

    def mean_negative(self, values: np.ndarray) -> float:
        """Weighted mean of a matrix of values over i != j."""
        own = np.square(self.weights) @ np.diagonal(values)
        with np.errstate(invalid="ignore"):  # nan of weights that leave no pair
            return float(
                (self.weights @ values @ self.weights - own) / self.count_negative
            )

    def exponentials(self, axis: int | None) -> tuple[np.ndarray, np.ndarray]:
        """(top, e^(f - top)) off the diagonal: top of columns (0), rows (1) or all."""
        key = str(axis)
        if key not in self._exponentials:
            off = self.matrix.copy()
            np.fill_diagonal(off, -np.inf)
            top = off.max(axis=axis, keepdims=True)
            top = np.where(np.isfinite(top), top, 0.0)
            self._exponentials[key] = top, np.exp(off - top)
        return self._exponentials[key]

    def log_mean_exp_negative(self, offset: np.ndarray | None = None) -> float:
        """log of the mean of e^(f_ij - offset_j) over i != j."""
        if offset is None:
            top, terms = self.exponentials(None)
            total = self.weights @ terms @ self.weights
            return _log(total / self.count_negative) + top.item()
        top, terms = self.exponentials(0)
        exponents = top[0] - offset
        largest = exponents.max()
        total = (self.weights @ terms) @ (self.weights * np.exp(exponents - largest))
        return _log(total / self.count_negative) + float(largest)

    def log_mean_exp_of_others(self) -> np.ndarray:
        """log of the mean of e^f(x, y_j) over the x of the other pairs: `[n]`."""
        top, terms = self.exponentials(0)
        with np.errstate(divide="ignore"):
            return top[0] + np.log(self.weights @ terms / (self.total - self.weights))


def dv(s: Scores) -> float:
    """`E_p[f] - log E_q[e^f]` (Donsker & Varadhan)."""
    return s.mean_positive() - s.log_mean_exp_negative()


def nwj(s: Scores) -> float:
    """`E_p[f] - E_q[e^(f - 1)]`; optimum at f = 1 + log p/q."""
    return s.mean_positive() - _exp(s.log_mean_exp_negative() - 1.0)


def nwj_of_log_ratio(s: Scores) -> float:
    """`1 + E_p[f] - E_q[e^f]`: NWJ of a critic whose optimum is f = log p/q.

    The value for a critic trained by the Jensen-Shannon objective; `nwj` would be 1/e
    too low.
    """
    return 1.0 + s.mean_positive() - _exp(s.log_mean_exp_negative())


def density_ratio(s: Scores) -> float:
    """`E_p[f]`: the plug-in of a critic that estimates log p/q."""
    return s.mean_positive()


def smile(s: Scores, tau: float) -> float:
    """`E_p[f] - log E_q[clip(e^f, e^-tau, e^tau)]`; only the negatives are clipped."""
    clipped = np.exp(np.clip(s.matrix, -tau, tau))
    return s.mean_positive() - math.log(s.mean_negative(clipped))


def info_nce(s: Scores, candidates: str = "both") -> float:
    """`E[f_ii - log(1/K sum_j e^(f_ij))]`, K = the weight of all pairs.

    In its own row a pair stands once among the candidates, however often it was drawn:
    its copies are no negatives.

    Args:
        s: the scores.
        candidates: "x" ranks all x for each y, "y" all y for each x, "both" averages.
    """
    return s.mean_positive(info_nce_terms(s, candidates))


def info_nce_terms(s: Scores, candidates: str = "both") -> np.ndarray:
    """What each pair contributes to `info_nce`: `[n]`, of which it is the mean."""
    if candidates == "both":
        return 0.5 * (info_nce_terms(s, "x") + info_nce_terms(s, "y"))
    top, terms = s.exponentials(0 if candidates == "x" else 1)
    sums = s.weights @ terms if candidates == "x" else terms @ s.weights
    count = s.total - s.weights
    with np.errstate(divide="ignore"):
        negative = np.ravel(top) + np.log(sums)
    log_mean = np.logaddexp(negative, s.positive) - np.log(count + 1.0)
    return s.positive - log_mean


def tuba(s: Scores, log_baseline: np.ndarray) -> float:
    """`1 + E_p[f - log a(y)] - E_q[e^f / a(y)]` with log a(y_j) given `[n]`."""
    positive = s.mean_positive(s.positive - log_baseline)
    return 1.0 + positive - _exp(s.log_mean_exp_negative(log_baseline))


def interpolated(s: Scores, log_baseline: np.ndarray, alpha: float) -> float:
    """I_alpha: TUBA with baseline alpha m(y; x) + (1 - alpha) a(y).

    m is the mean of e^f over a batch from which one draw is left out. alpha = 0 is
    TUBA with a(y), alpha = 1 InfoNCE with that baseline, at most log(n - 1); in
    between at most log((n - 1) / alpha).
    Source: Poole et al. 2019, the interpolated bound.
    """
    if alpha == 0.0:
        return tuba(s, log_baseline)
    w = s.weights
    top, terms = s.exponentials(0)
    own = np.exp(s.positive - top[0])  # of each column its own pair, also left in
    column = w @ terms + w * own
    left = np.maximum(column[None] - w[:, None] * terms, 0.0)
    left /= (s.total - w)[:, None]
    with np.errstate(divide="ignore"):
        log_mean = top + np.log(left)  # [j left out, column y_i]
    np.fill_diagonal(log_mean, s.log_mean_exp_of_others())
    log_a = np.logaddexp(
        math.log(alpha) + log_mean,
        (math.log1p(-alpha) if alpha < 1 else -np.inf) + log_baseline[None],
    )
    first = s.mean_negative(s.positive[None] - log_a)  # j left out, pair i
    own = np.diagonal(log_a)  # of y_j, without x_j: negatives only
    return 1.0 + first - _exp(s.log_mean_exp_negative(own))


def flo(s: Scores, log_inverse_ratio: np.ndarray) -> float:
    """`1 - E[u + e^(-u + log mean_j e^(f(x, y_j)) - f(x, y))]`, u = u(x_i, y_i) `[n]`.

    The Fenchel-Legendre bound, tight at u = -log p/q (Guo et al. 2022).
    """
    log_mean = s.transposed.log_mean_exp_of_others()
    with np.errstate(over="ignore"):
        exponent = np.exp(-log_inverse_ratio + log_mean - s.positive)
    return 1.0 - s.mean_positive(log_inverse_ratio + exponent)


def leave_one_out(s: Scores) -> float:
    """`E[log(q(y|x) / mean over the other x' of q(y|x'))]` of scores log q(y_j | x_i).

    An upper bound if q is the true conditional, not limited by log n; else no bound.
    Source: Poole et al. 2019.
    """
    return s.mean_positive(s.positive - s.log_mean_exp_of_others())


def club(s: Scores) -> float:
    """`E_p[log q(y|x)] - E_q[log q(y|x)]` of scores log q(y_j | x_i).

    An upper bound if q is the true conditional, or close enough to it; else no bound
    (Cheng et al. 2020).
    """
    return s.mean_positive() - s.mean_negative(s.matrix)


def effective_size(s: Scores) -> float:
    """(sum of e^f)^2 / sum of e^(2 f) over the negatives.

    How many of them carry the exponential mean: near 1, one pair decides the value.
    """
    doubled = Scores(2.0 * s.matrix, s.weights).log_mean_exp_negative()
    return float(np.exp(2.0 * s.log_mean_exp_negative() - doubled) * s.count_negative)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _exp(exponent: float) -> float:
    return math.exp(exponent) if exponent < 700 else math.inf
