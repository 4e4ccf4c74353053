"""Batches that are not independent: NWJ and InfoNCE exceed the mutual information.

All pairs of a batch share a draw (`data.synthetic.shared_context`), so that x_i and y_j
are negatives of another distribution than the product of the marginals. The critic, of
[x; y], has five hidden layers of ten units.

Source: Tschannen et al. 2020, section 4, figure 4c.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tf_infomax import bounds, critics
from tf_infomax.optimizers import FusedAdam
from tf_infomax.runtime.seeds import seeded
from tf_infomax.studies.kept import Curves, Unfinished, run_in_parts

BATCH = 128
TRUTH = -0.5 * float(np.log1p(-(0.2**2)))
CONSTANTS = {"batch": BATCH, "critic": (10,) * 5, "rate": 1e-4}


@dataclass(frozen=True)
class Arm:
    """One way to draw and to bound.

    Attributes:
        bound: "nwj" or "info_nce".
        pairs: "shared", all of a batch share Z; "iid", each has its own; "shuffled",
            as shared, but y of another draw, so that positives are like negatives.
    """

    bound: str
    pairs: str


@dataclass(frozen=True)
class Size:
    """Steps of training, and readings of the curve."""

    steps: int = 20_000
    readings: int = 20


_BOUNDS: dict[str, Callable] = {
    "nwj": bounds.nwj,
    "info_nce": lambda scores: bounds.info_nce(scores, "y"),
}


def _draw(key: tf.Tensor, pairs: str) -> tuple[tf.Tensor, tf.Tensor]:
    """(x, y) `[K, 1]` each: Z + e_i with one Z per batch, or one per pair.

    Shuffled, x_i and y_i share Z and come from e_i of two draws.
    """
    rows = BATCH if pairs == "iid" else 1
    draws = 2 if pairs == "shuffled" else 1
    noise = tf.random.stateless_normal([rows + draws * BATCH, 2], key)
    factor = lambda off: tf.constant(
        np.linalg.cholesky([[1.0, off], [off, 1.0]]).T, tf.float32
    )
    shared, own = noise[:rows] @ factor(-0.5), noise[rows:] @ factor(0.9)
    return shared[:, :1] + own[:BATCH, :1], shared[:, 1:] + own[-BATCH:, 1:]


def train(
    arm: Arm, size: Size, data, seed: int, unfinished: Unfinished | None = None
) -> Curves:
    """Curves of one run: `step`, and `bound`, the mean over batches since the last.

    Args:
        arm, size, seed: of it.
        data: not used: pairs are drawn.
        unfinished: where it is kept between its readings; None: nowhere.
    """
    optimizer = FusedAdam(CONSTANTS["rate"])
    with seeded(seed):
        critic = critics.Concatenated(CONSTANTS["critic"])
        critic(_draw(tf.constant([0, 0]), arm.pairs))
    variables = critic.trainable_variables
    optimizer.build(variables)

    def run_steps(first, count):
        total = tf.constant(0.0)
        for number in tf.range(first, first + count):
            pairs = _draw(tf.stack([seed, number]), arm.pairs)
            with tf.GradientTape() as tape:
                value = _BOUNDS[arm.bound](critic(pairs, training=True))
                loss = -value
            optimizer.apply(tape.gradient(loss, variables), variables)
            total += value
        return total / tf.cast(count, tf.float32)

    number = tf.TensorSpec([], tf.int32)
    run = tf.function(run_steps).get_concrete_function(number, number)

    def advance(first: int, last: int) -> dict[str, float]:
        return {"bound": float(run(tf.constant(first), tf.constant(last - first)))}

    return run_in_parts(
        np.linspace(0, size.steps, size.readings + 1).astype(int),
        [*critic.variables, *optimizer.variables],
        advance,
        unfinished or Unfinished(),
    )
