"""Critics that cannot be steep: Wasserstein dependency and predictive coding.

    I_W = sup over 1-Lipschitz f of E_p[f] - E_q[f]
    WPC = sup over 1-Lipschitz f of E[f(x_i, y_i) - log(1/K sum_j e^f(x_i, y_j))]

I_W is a distance: how far the joint lies from the product, in the units of the metric.
WPC is none, but InfoNCE of critics that the metric restricts: nats, at most log K, a
lower bound on mutual information that falls to 0 as x and y are measured in ever
larger units.

The Lipschitz constraint is a penalty on gradients at points between joint pairs and
pairs of the product, or the spectral norm of every layer. As the first is only a
penalty, f is divided by the largest gradient norm seen on held-out points, if that is
above 1; on those points it is then 1-Lipschitz. Neither value is invariant under
invertible maps.

Source: Ozair et al. 2019; the penalty: Gulrajani et al. 2017, one-sided; the norm:
Miyato et al. 2018, here exact; sorted pairs: Anil et al. 2019.
"""

import math

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tf_infomax import bounds
from tf_infomax.estimation import intervals, values
from tf_infomax.estimation.inputs import fit_marginal, read_pairs, split
from tf_infomax.estimation.loop import Loop, Training, climb
from tf_infomax.estimation.neural import build_mlp
from tf_infomax.estimation.options import TrainOptions
from tf_infomax.estimation.result import Estimate
from tf_infomax.estimation.values import Scores
from tf_infomax.runtime.seeds import seeded

LIPSCHITZ = {"penalty": False, "spectral": True}  # whether by the form of the critic
_MOST = 1000  # pairs of a held-out part whose scores are a matrix
_BLOCK = 1 << 16  # pairs that are scored at a time


class _PairCritic:
    """f(x, y) of single pairs, an MLP of their concatenation.

    Args:
        widths: hidden widths.
        sizes: columns of x and of y.
        spectral: whether kernels are divided by their largest singular value (the
            first by those of its parts of x and of y) and hidden values are sorted in
            pairs, which bends without loss.
    """

    def __init__(self, widths, sizes: tuple[int, int], spectral: bool = False):
        self.sizes, self.spectral = sizes, spectral
        # Smooth, so that gradients say how steep the function is between points.
        self.net = build_mlp(widths, activation="softplus")
        self.net.build((None, sum(sizes)))

    def get_weights(self) -> list[np.ndarray]:
        return self.net.get_weights()

    def set_weights(self, weights: list[np.ndarray]) -> None:
        self.net.set_weights(weights)

    def __call__(self, pairs):
        if not self.spectral:
            return self.net(pairs)[:, 0]
        norm = lambda kernel: tf.linalg.svd(kernel, compute_uv=False)[0] + 1e-12
        for place, layer in enumerate(self.net.layers):
            kernel = tf.convert_to_tensor(layer.kernel)
            parts = [kernel] if place else tf.split(kernel, self.sizes, axis=0)
            kernel = tf.concat([part / norm(part) for part in parts], axis=0)
            pairs = tf.matmul(pairs, kernel) + layer.bias
            if layer is not self.net.layers[-1]:  # keeps every gradient's norm
                a, b = tf.split(pairs, 2, axis=1)
                pairs = tf.concat([tf.maximum(a, b), tf.minimum(a, b)], axis=1)
        return pairs[:, 0]

    def matrix(self, x, y):
        """f of all x with all y, `[n, m]`."""
        n, m = len(x), len(y)
        pairs = tf.concat([tf.repeat(x, m, axis=0), tf.tile(y, [n, 1])], axis=1)
        return tf.reshape(self(pairs), [n, m])

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
    x: "ArrayLike",
    y: "ArrayLike",
    widths: tuple[int, ...] = (64, 64),
    lipschitz: str = "penalty",
    penalty: float = 100.0,
    predictive: bool = False,
    preprocess: str = "none",
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    max_steps: int = 3000,
    level: float = 0.9,
    block: int = 1,
    seed: int = 0,
) -> Estimate:
    """I_W, or WPC, with the metric |x - x'| + |y - y'|, either Euclidean.

    Args:
        x, y: `[n, ...]`.
        widths: of the critic.
        lipschitz: "penalty" on gradients, or "spectral" norm of every layer.
        penalty: weight of the squared excess of gradient norms over 1.
        predictive: WPC, Wasserstein predictive coding.
        preprocess: of either side; anything but "none" changes the metric.
        batch_size, learning_rate, max_steps: of training.
        level, block, seed: as for `estimate_mi`.

    Returns:
        An `Estimate`, of I_W in units of the metric, of WPC in nats;
        `diagnostics["largest_gradient"]` is that of the trained critic before the
        division.

    Raises:
        ValueError: for an unknown way to be Lipschitz, or odd widths for "spectral".
    """
    if lipschitz not in LIPSCHITZ:
        raise ValueError(
            f"lipschitz must be one of {', '.join(LIPSCHITZ)}. Received: {lipschitz!r}."
        )
    spectral = LIPSCHITZ[lipschitz]
    if spectral and any(width % 2 for width in widths):
        raise ValueError(
            f"widths must be even for lipschitz='spectral'. Received: {widths!r}."
        )
    x, y = (side.reshape(len(side), -1) for side in read_pairs(x, y, must_vary=True))
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
    with seeded(seed):
        critic = _PairCritic(widths, [side.shape[1] for side in sides], spectral)

    def loss(x, y, key):
        joint, product, points = _between(x, y, key)
        if predictive:
            value = bounds.info_nce(critic.matrix(x, y), "y")
        else:
            value = tf.reduce_mean(critic(joint)) - tf.reduce_mean(critic(product))
        if critic.spectral:
            return -value, value
        excess = tf.nn.relu(critic.gradient_norms(points) - 1.0)
        return penalty * tf.reduce_mean(tf.square(excess)) - value, value

    def assess(pair):
        """(what each pair adds to the value, the largest gradient norm)."""
        joint, product, points = _between(*pair, tf.constant([seed, -1]))
        steepest = max(
            float(tf.reduce_max(critic.gradient_norms(p))) for p in (joint, points)
        )
        scale = max(1.0, steepest)
        if not predictive:
            each = (critic(joint) - critic(product)).numpy().astype(np.float64)
            return each / scale, steepest
        x, y = (side[:_MOST] for side in pair)
        rows = max(1, _BLOCK // len(y))
        blocks = [critic.matrix(x[at : at + rows], y) for at in range(0, len(x), rows)]
        scores = np.concatenate(blocks).astype(np.float64) / scale
        return values.info_nce_terms(Scores(scores), "y"), steepest

    def criterion():
        return float(assess(choose)[0].mean())

    training = Training(critic)
    loop = Loop(critic.net.trainable_variables, loss, train, options)
    climb(training, loop, train, criterion, options)
    each, steepest = assess(report)
    interval = intervals.of_mean(each, level, seed, max(block, 2))
    return Estimate(
        method="wpc" if predictive else "wasserstein",
        value=float(each.mean()),
        interval=interval,
        level=level,
        # A penalty makes no critic 1-Lipschitz where it did not look; InfoNCE bounds
        # mutual information with any critic.
        direction="lower" if spectral or predictive else "neither",
        ceiling=math.log(len(each)) if predictive else math.inf,
        unit="nats" if predictive else "units of the metric",
        pairs=dict(zip(("train", "choose", "report"), map(len, parts), strict=True)),
        diagnostics={"largest_gradient": steepest, "steps": training.steps},
        history=tuple(training.history),
        trainings=(training,),
    )
