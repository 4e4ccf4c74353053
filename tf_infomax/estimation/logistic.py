"""Multinomial logistic regression with an L2 penalty, solved to the end and quickly.

    min over W, b of  mean_i -log softmax(W^T x_i + b)[y_i]  +  penalty / 2 |W|^2

L-BFGS turns with the axes: an orthogonal change of basis changes none of its steps, and
the minimizer lies in the span of the rows of x. Two things make it quick. Features of
fewer examples than dimensions are rotated onto that span (`Rotated`), where nothing is
lost and rows are short. And coordinates are stretched by the root of the curvature that
the spectrum of x gives the loss, so that it is nearly the same in all directions: tens
of steps instead of thousands, to the same minimum.
"""

from dataclasses import dataclass, replace

import numpy as np

_EXACT_SIDE = 1200  # the largest side of which all principal directions are taken
LEADING = 300  # directions of larger features, and what `lead` keeps
PRECISE, ROUGH = 1e-3, 3e-2  # largest gradient, stretched, over the penalty
_LARGEST = 3e-3  # of a gradient at the end: below what chance alone has at the start
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

    @property
    def leading(self) -> np.ndarray:
        """The examples along the first 300 principal directions alone."""
        return self.lead(self.rows)

    def lead(self, rows: np.ndarray) -> np.ndarray:
        """Rows in these coordinates, along the first principal directions alone."""
        if self.directions is None:
            return rows[:, :LEADING]
        return rows @ self.directions

    def of(self, features: np.ndarray) -> np.ndarray:
        """Other features in the same coordinates."""
        return features if self.turn is None else features @ self.turn

    def back(self, weights: np.ndarray) -> np.ndarray:
        """Weights `[r, K]` as weights of the features, `[d, K]`."""
        return weights if self.turn is None else self.turn @ weights


def rotate(features: np.ndarray) -> Rotated:
    """Principal directions of centred float32 features `[n, d]`.

    All of them, and rows turned onto them, if n or d is at most 1,200; the first 300
    of larger features, which stay as they are.
    """
    from scipy.linalg import eigh
    from sklearn.utils.extmath import randomized_svd

    n, d = features.shape
    if min(n, d) > _EXACT_SIDE:
        _, scales, directions = randomized_svd(
            features, LEADING, n_iter=1, random_state=0
        )
        return Rotated(features, None, directions.T, scales**2 / n)
    exact = features.astype(np.float64)
    wide = d > n
    values, vectors = eigh(exact @ exact.T if wide else exact.T @ exact)
    kept = np.flatnonzero(values > 1e-10 * max(values[-1], 0.0))[::-1]
    kept = kept if len(kept) else [len(values) - 1]  # constant features: one, of zeros
    values, vectors = np.maximum(values[kept], 1e-30), vectors[:, kept]
    turn = exact.T @ vectors / np.sqrt(values) if wide else vectors
    turn = turn.astype(np.float32)
    return Rotated(features @ turn, turn, None, values / n)


def fit(
    data: Rotated,
    classes: np.ndarray,
    count: int,
    penalty: float,
    start: np.ndarray | None = None,
    kept: np.ndarray | None = None,
    gradient: float = PRECISE,
) -> np.ndarray:
    """Weights and, in the last row, biases: `[r + 1, m, K]`, of m minima.

    The m problems are of the same examples, less what each leaves out, and are solved
    at once: a product with many columns takes little longer than with few.

    Args:
        data: the examples.
        classes: `[n]`, from 0 to `count` - 1.
        count: K.
        penalty: above 0.
        start: to begin at, such as the minima of another penalty.
        kept: bool `[n, m]`, the examples of each problem; by default one with all.
        gradient: ends when no part of it, in stretched coordinates, is above this
            times the penalty (or 1), nor above 0.003: where classes are all but
            separated the penalty is the curvature, and a gradient as small as it is far
            from the minimum.
    """
    from scipy.optimize import minimize

    rows, n = data.rows, len(data.rows)
    kept = np.ones((n, 1), bool) if kept is None else kept
    share = (kept / kept.sum(axis=0)).astype(np.float32)
    shape = rows.shape[1] + 1, kept.shape[1] * count
    stretch = _Stretch(data, penalty, count)
    every, of = np.arange(n)[:, None], np.arange(kept.shape[1])
    labels = classes[:, None]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = stretch(flat.reshape(shape).astype(np.float32))
        scores = (rows @ weights[:-1] + weights[-1]).reshape(n, len(of), count)
        scores -= scores.max(axis=2, keepdims=True)
        picked = scores[every, of, labels]
        np.exp(scores, out=scores)
        total = scores.sum(axis=2)
        value = float(np.sum(share * (np.log(total) - picked), dtype=np.float64))
        value += penalty / 2 * float(np.sum(weights[:-1] ** 2, dtype=np.float64))
        scores *= (share / total)[:, :, None]
        scores[every, of, labels] -= share
        scores = scores.reshape(n, -1)
        slope = rows.T @ scores + np.float32(penalty) * weights[:-1]
        slope = stretch(np.concatenate([slope, scores.sum(axis=0, keepdims=True)]))
        return value, slope.ravel().astype(np.float64)

    first = np.zeros(shape) if start is None else stretch(start.reshape(shape), -1)
    found = minimize(
        loss,
        first.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={
            "gtol": min(gradient * min(1.0, penalty), _LARGEST),
            "ftol": 1e-10,
            "maxiter": _STEPS,
            "maxcor": 10,
        },
    )
    weights = stretch(found.x.reshape(shape).astype(np.float32))
    return weights.reshape(shape[0], -1, count)


class _Stretch:
    """From coordinates of even curvature to weights and biases (power -1: back).

    It is symmetric, so that gradients go the other way by the same product. The
    curvature of a class's log-loss, p (1 - p), is taken as at equal shares.
    """

    def __init__(self, data: Rotated, penalty: float, count: int):
        share = (count - 1) / count**2
        along = 1.0 / np.sqrt(share * data.variances + penalty)
        self.along = along.astype(np.float32)[:, None]
        self.elsewhere = along[-1:].astype(np.float32)
        self.bias = np.float32(share**-0.5)
        self.directions = data.directions

    def __call__(self, values: np.ndarray, power: int = 1) -> np.ndarray:
        inner, along = values[:-1], self.along**power
        if self.directions is None:
            inner = along * inner
        else:
            rest = self.elsewhere**power
            inner = rest * inner + self.directions @ (
                (along - rest) * (self.directions.T @ inner)
            )
        return np.concatenate([inner, self.bias**power * values[-1:]])


def predict(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Scores `[n, m, K]` of rows in the coordinates of the weights."""
    scores = rows @ weights[:-1].reshape(rows.shape[1], -1)
    return scores.reshape(len(rows), *weights.shape[1:]) + weights[-1]
