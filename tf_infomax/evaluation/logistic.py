"""Multinomial logistic regression with an L2 penalty, solved to the end and quickly.

    min over W, b of  mean_i -log softmax(W^T x_i + b)[y_i]  +  penalty / 2 |W|^2

L-BFGS turns with the axes: an orthogonal change of basis changes none of its steps, and
the minimizer lies in the span of the rows of x. Two things make it quick. Features of
fewer examples than dimensions are rotated onto that span (`Rotated`), where nothing is
lost and rows are short. And coordinates are stretched by the root of the curvature that
the spectrum of x gives the loss, so that it is nearly the same in all directions: tens
of steps instead of thousands, to the same minimum.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

_EXACT_SIDE = 1000  # the largest side of which all principal directions are taken
_DIRECTIONS = 200  # of larger features
_GRADIENT = 1e-4  # largest, in stretched coordinates: of a loss of about 1
_STEPS = 2000


@dataclass(frozen=True)
class Rotated:
    """Features `[n, r]` with the directions in which they vary most.

    Attributes:
        rows: float32 `[n, r]`.
        turn: `[d, r]` with orthonormal columns: `rows` are the features times it; None
            where they are the features themselves.
        directions: `[r, k]`, orthonormal; None: the axes, k = r.
        variances: `[k]`, mean squares of the rows along them, descending.
    """

    rows: np.ndarray
    turn: np.ndarray | None
    directions: np.ndarray | None
    variances: np.ndarray

    def select(self, positions: np.ndarray) -> "Rotated":
        """The examples at these positions, in the same coordinates."""
        return replace(self, rows=self.rows[positions])

    def of(self, features: np.ndarray) -> np.ndarray:
        """Other features in the same coordinates."""
        return features if self.turn is None else features @ self.turn

    def back(self, weights: np.ndarray) -> np.ndarray:
        """Weights `[r, K]` as weights of the features, `[d, K]`."""
        return weights if self.turn is None else self.turn @ weights

    def stretch(self, penalty: float, classes: int) -> tuple[np.ndarray, float]:
        """Reciprocal root of the loss's curvature along the directions, and elsewhere.

        p (1 - p), the curvature of a class's log-loss, is taken as at equal shares.
        """
        share = (classes - 1) / classes**2
        along = 1.0 / np.sqrt(share * self.variances + penalty)
        return along, along[-1] if len(along) else 1.0


def rotate(features: np.ndarray) -> Rotated:
    """Principal directions of centred float32 features `[n, d]`.

    All of them, and rows turned onto them, if n or d is at most 1,000; the first 200
    of larger features, which stay as they are.
    """
    from scipy.linalg import eigh
    from sklearn.utils.extmath import randomized_svd

    n, d = features.shape
    if min(n, d) > _EXACT_SIDE:
        _, scales, directions = randomized_svd(
            features, _DIRECTIONS, n_iter=2, random_state=0
        )
        return Rotated(features, None, directions.T, scales**2 / n)
    exact = features.astype(np.float64)
    wide = d > n
    values, vectors = eigh(exact @ exact.T if wide else exact.T @ exact)
    kept = np.flatnonzero(values > 1e-10 * max(values[-1], 0.0))[::-1]
    values, vectors = values[kept], vectors[:, kept]
    turn = exact.T @ vectors / np.sqrt(values) if wide else vectors
    turn = turn.astype(np.float32)
    return Rotated(features @ turn, turn, None, values / n)


def fit(
    data: Rotated,
    classes: np.ndarray,
    count: int,
    penalty: float,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Weights and, in the last row, biases: `[r + 1, K]`, of the minimum.

    Args:
        data: the examples.
        classes: `[n]`, from 0 to `count` - 1, each of them there.
        count: K.
        penalty: above 0.
        start: to begin at, such as the minimum of another penalty.
    """
    from scipy.optimize import minimize

    rows, n = data.rows, len(data.rows)
    along, elsewhere = data.stretch(penalty, count)
    along, elsewhere = along.astype(np.float32)[:, None], np.float32(elsewhere)
    bias = np.float32(np.sqrt(count**2 / max(count - 1, 1)))
    basis, shape = data.directions, (rows.shape[1] + 1, count)
    every = np.arange(n)

    def scale(values: np.ndarray, power: int = 1) -> np.ndarray:
        """From stretched coordinates to weights; of gradients the other way."""
        inner, a, e = values[:-1], along**power, elsewhere**power
        if basis is None:
            inner = a * inner
        else:
            inner = e * inner + basis @ ((a - e) * (basis.T @ inner))
        return np.concatenate([inner, bias**power * values[-1:]])

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = scale(flat.reshape(shape).astype(np.float32))
        scores = rows @ weights[:-1] + weights[-1]
        scores -= scores.max(axis=1, keepdims=True)
        picked = scores[every, classes].copy()
        np.exp(scores, out=scores)
        total = scores.sum(axis=1, keepdims=True)
        value = float(np.mean(np.log(total[:, 0]) - picked, dtype=np.float64))
        value += penalty / 2 * float(np.sum(weights[:-1] ** 2, dtype=np.float64))
        scores /= total * n
        scores[every, classes] -= np.float32(1 / n)
        slope = rows.T @ scores + np.float32(penalty) * weights[:-1]
        gradient = scale(np.concatenate([slope, scores.sum(axis=0, keepdims=True)]))
        return value, gradient.ravel().astype(np.float64)

    first = np.zeros(shape) if start is None else scale(start, -1)
    found = minimize(
        loss,
        first.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"gtol": _GRADIENT, "ftol": 1e-9, "maxiter": _STEPS, "maxcor": 10},
    )
    fit.steps = found.nit, found.nfev, found.message
    return scale(found.x.reshape(shape).astype(np.float32))


def predict(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Scores `[n, K]` of rows in the coordinates of the weights."""
    return rows @ weights[:-1] + weights[-1]
