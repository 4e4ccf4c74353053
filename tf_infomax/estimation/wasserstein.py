"""Wasserstein dependency: how far the joint lies from the product, in the data's units.

    I_W = sup over 1-Lipschitz f of E_p[f] - E_q[f]

The Lipschitz constraint is a penalty on gradients at points between joint pairs and
pairs of the product. As it is only a penalty, the value is divided by the largest
gradient norm seen on held-out points, if that is above 1; on those points f is then
1-Lipschitz. Not invariant under invertible maps, and not in nats.

Source: Ozair et al. 2019; the penalty: Gulrajani et al. 2017, one-sided.
"""

import math

import keras
import numpy as np
import tensorflow as tf

from tf_infomax.estimation import intervals
from tf_infomax.estimation.inputs import fit_marginal, read_pairs, split
from tf_infomax.estimation.neural import Training, build_mlp, climb
from tf_infomax.estimation.options import TrainOptions
from tf_infomax.estimation.result import Estimate


class _PairCritic:
    """f(x, y) of single pairs, an MLP of their concatenation.

    Args:
        widths: hidden widths.
        sizes: columns of x and of y.
    """

    def __init__(self, widths, sizes: tuple[int, int]):
        self.sizes = sizes
        # Smooth, so that gradients say how steep the function is between points.
        self.net = build_mlp(widths, activation="softplus")
        self.net.build((None, sum(sizes)))

    def get_weights(self) -> list[np.ndarray]:
        return self.net.get_weights()

    def set_weights(self, weights: list[np.ndarray]) -> None:
        self.net.set_weights(weights)

    def __call__(self, pairs):
        return self.net(pairs)[:, 0]

    def gradient_norms(self, pairs) -> tf.Tensor:
        """The larger of |df/dx| and |df/dy|: at most 1 if f is 1-Lipschitz."""
        with tf.GradientTape() as tape:
            tape.watch(pairs)
            total = tf.reduce_sum(self(pairs))
        sides = tf.split(tf.square(tape.gradient(total, pairs)), self.sizes, axis=1)
        larger = tf.maximum(*(tf.reduce_sum(side, axis=1) for side in sides))
        return tf.sqrt(larger + 1e-12)


def _between(x, y, key) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Joint pairs, pairs of the product (rows shifted by one) and points between."""
    joint = tf.concat([x, y], axis=1)
    product = tf.concat([x, tf.roll(y, 1, axis=0)], axis=1)
    share = tf.random.stateless_uniform([tf.shape(x)[0], 1], key)
    return joint, product, share * joint + (1.0 - share) * product


def wasserstein_dependency(
    x,
    y,
    widths: tuple[int, ...] = (64, 64),
    penalty: float = 100.0,
    preprocess: str = "none",
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    max_steps: int = 3000,
    level: float = 0.9,
    block: int = 1,
    seed: int = 0,
) -> Estimate:
    """I_W with the metric |x - x'| + |y - y'|, either Euclidean.

    Args:
        x, y: `[n, ...]`.
        widths: of the critic.
        penalty: weight of the squared excess of gradient norms over 1.
        preprocess: of either side; anything but "none" changes the metric.
        batch_size, learning_rate, max_steps: of training.
        level, block, seed: as for `estimate_mi`.

    Returns:
        An `Estimate` in units of the metric; `diagnostics["largest_gradient"]` is that
        of the trained critic before the division.
    """
    x, y = (side.reshape(len(side), -1) for side in read_pairs(x, y))
    parts = split(len(x), seed, block)[0]
    sides = [
        fit_marginal(side[parts[0]], preprocess)(side).astype(np.float32)
        for side in (x, y)
    ]
    train, choose, report = ([tf.constant(s[rows]) for s in sides] for rows in parts)
    options = TrainOptions(
        batch_size=batch_size,
        learning_rate=learning_rate,
        max_steps=max_steps,
        seed=seed,
    )
    keras.utils.set_random_seed(seed)
    critic = _PairCritic(widths, [side.shape[1] for side in sides])

    def loss(x, y, key):
        joint, product, points = _between(x, y, key)
        value = tf.reduce_mean(critic(joint)) - tf.reduce_mean(critic(product))
        excess = tf.nn.relu(critic.gradient_norms(points) - 1.0)
        return penalty * tf.reduce_mean(tf.square(excess)) - value, value

    def assess(pair):
        joint, product, points = _between(*pair, tf.constant([seed, -1]))
        steepest = max(
            float(tf.reduce_max(critic.gradient_norms(p))) for p in (joint, points)
        )
        return critic(joint).numpy(), critic(product).numpy(), steepest

    def criterion():
        positive, negative, steepest = assess(choose)
        return float(positive.mean() - negative.mean()) / max(1.0, steepest)

    training = Training(critic)
    climb(training, critic.net.trainable_variables, train, loss, criterion, options)
    positive, negative, steepest = assess(report)
    each = (positive - negative).astype(np.float64) / max(1.0, steepest)
    interval = intervals.of_mean(each, level, seed, max(block, 2))
    return Estimate(
        method="wasserstein",
        value=float(each.mean()),
        interval=interval,
        level=level,
        direction="lower",
        ceiling=math.inf,
        unit="units of the metric",
        pairs=dict(zip(("train", "choose", "report"), map(len, parts), strict=True)),
        diagnostics={"largest_gradient": steepest, "steps": training.steps},
        history=tuple(training.history),
        trainings=(training,),
    )
