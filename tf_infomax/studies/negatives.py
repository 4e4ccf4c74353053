"""Batches that are not independent: NWJ and InfoNCE exceed the mutual information.

All pairs of a batch share a draw (`data.synthetic.shared_context`), so that x_i and y_j
are negatives of another distribution than the product of the marginals. The critic, of
[x; y], has five hidden layers of ten units.

Source: Tschannen et al. 2020, section 4, figure 4c.
"""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tf_infomax import bounds, critics
from tf_infomax.optimizers import FusedAdam
from tf_infomax.studies.kept import Curves, Unfinished, run_in_parts

BATCH = 128
TRUTH = -0.5 * float(np.log1p(-(0.2**2)))
ARMS: dict[str, tuple[str, bool]] = {
    "nwj, shared": ("nwj", False),
    "info_nce, shared": ("info_nce", False),
    "nwj, iid": ("nwj", True),
    "info_nce, iid": ("info_nce", True),
}
_BOUNDS: dict[str, Callable] = {
    "nwj": bounds.nwj,
    "info_nce": lambda scores: bounds.info_nce(scores, "y"),
}


def _draw(key: tf.Tensor, iid: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """(x, y) `[K, 1]` each: Z + e_i with one Z per batch, or one per pair."""
    rows = BATCH if iid else 1
    noise = tf.random.stateless_normal([rows + BATCH, 2], key)
    factor = lambda off: tf.constant(
        np.linalg.cholesky([[1.0, off], [off, 1.0]]).T, tf.float32
    )
    shared, own = noise[:rows] @ factor(-0.5), noise[rows:] @ factor(0.9)
    both = shared + own
    return both[:, :1], both[:, 1:]


def train(
    arm: str,
    steps: int,
    readings: int,
    seed: int,
    unfinished: Unfinished | None = None,
) -> Curves:
    """Curves of one run: `step`, and `bound`, the mean over batches since the last.

    Args:
        arm, steps, readings, seed: of it.
        unfinished: where it is kept between its readings; None: nowhere.
    """
    name, iid = ARMS[arm]
    keras.utils.set_random_seed(seed)
    critic, optimizer = critics.Concatenated((10,) * 5), FusedAdam(1e-4)
    critic(_draw(tf.constant([0, 0]), iid))
    variables = critic.trainable_variables
    optimizer.build(variables)

    def run_steps(first, count):
        total = tf.constant(0.0)
        for number in tf.range(first, first + count):
            pairs = _draw(tf.stack([seed, number]), iid)
            with tf.GradientTape() as tape:
                value = _BOUNDS[name](critic(pairs, training=True))
                loss = -value
            optimizer.apply(tape.gradient(loss, variables), variables)
            total += value
        return total / tf.cast(count, tf.float32)

    number = tf.TensorSpec([], tf.int32)
    run = tf.function(run_steps).get_concrete_function(number, number)

    def advance(first: int, last: int) -> dict[str, float]:
        return {"bound": float(run(tf.constant(first), tf.constant(last - first)))}

    return run_in_parts(
        np.linspace(0, steps, readings + 1).astype(int),
        [*critic.variables, *optimizer.variables],
        advance,
        unfinished or Unfinished(),
    )
