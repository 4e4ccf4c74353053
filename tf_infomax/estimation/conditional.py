"""Gaussian conditionals q(y|x) by maximum likelihood, for what takes a conditional.

Where p(y|x) is no such Gaussian, L1Out and CLUB of them are no upper bounds.
"""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tf_infomax.estimation.loop import Loop, Training, climb
from tf_infomax.estimation.neural import build_mlp, flatten
from tf_infomax.estimation.options import TrainOptions
from tf_infomax.runtime.seeds import seeded

_LOG_VARIANCE = 10.0  # |log variance| at most: e^-10 of a standardized y


class Conditional:
    """q(y|x) = N(mean(x), diag(variance(x))), both one network's outputs."""

    def __init__(self, widths: Sequence[int], dy: int):
        self.net = build_mlp(widths, 2 * dy)

    def get_weights(self) -> list[np.ndarray]:
        return self.net.get_weights()

    def set_weights(self, weights: list[np.ndarray]) -> None:
        self.net.set_weights(weights)

    @property
    def trainable_variables(self) -> list:
        return self.net.trainable_variables

    def parameters(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and log-variance `[n, dy]`."""
        mean, log_variance = tf.split(self.net(x), 2, axis=1)
        # A soft limit, so that the gradient never vanishes altogether.
        return mean, _LOG_VARIANCE * tf.tanh(log_variance / _LOG_VARIANCE)


def log_density(mean: tf.Tensor, log_variance: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """log N(y; mean, variance) of matching rows, `[n]`."""
    squares = tf.square(y - mean) * tf.exp(-log_variance) + log_variance
    return -0.5 * tf.reduce_sum(squares + math.log(2.0 * math.pi), axis=1)


def log_density_matrix(
    mean: ArrayLike, log_variance: ArrayLike, y: ArrayLike
) -> np.ndarray:
    """log N(y_j; mean_i, variance_i), float64 `[n, m]`, never an [n, m, dy] tensor."""
    mean, log_variance, y = (np.asarray(v, np.float64) for v in (mean, log_variance, y))
    precision = np.exp(-log_variance)
    squares = (
        precision @ np.square(y).T
        - 2.0 * (precision * mean) @ y.T
        + np.sum(precision * np.square(mean) + log_variance, axis=1)[:, None]
    )
    return -0.5 * (squares + y.shape[1] * math.log(2.0 * math.pi))


def fit(
    x: np.ndarray, y: np.ndarray, validation: tuple, options: TrainOptions
) -> "Training":
    """Fits q(y|x) on pairs of vectors.

    Args:
        x, y: training pairs, float32 `[n, dx]`, `[n, dy]`.
        validation: (x, y) for choosing the step.
        options: widths, batch size and so on; the critic is unused.

    Returns:
        A `Training` whose model is a `Conditional`; its history holds mean
        log-likelihoods.
    """
    x, y = (flatten(tf.constant(side, tf.float32)) for side in (x, y))
    vx, vy = (flatten(tf.constant(side, tf.float32)) for side in validation)
    with seeded(options.seed):
        model = Conditional(options.widths, y.shape[1])
        model.net(x[:2])

    def loss(x, y, key):
        likelihood = tf.reduce_mean(log_density(*model.parameters(x), y))
        return -likelihood, likelihood

    def criterion():
        return float(tf.reduce_mean(log_density(*model.parameters(vx), vy)))

    training = Training(model)
    loop = Loop(model.trainable_variables, loss, (x, y), options)
    climb(training, loop, (x, y), criterion, options)
    return training


def log_densities(model: Conditional, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """log q(y_j | x_i), float64 `[len(x), len(y)]`."""
    mean, log_variance = model.parameters(flatten(tf.constant(x, tf.float32)))
    flat = np.asarray(y, np.float64).reshape(len(y), -1)
    return log_density_matrix(mean, log_variance, flat)
