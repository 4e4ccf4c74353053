"""Prior distributions that the code can be matched to.

A prior is a pair: `sample(shape, seed)` draws from it (stateless, seed of two
integers), and `squash(y)` maps the encoder's linear code into its support before the
discriminator compares the two. The code itself stays linear for every other use.

Imports TensorFlow only.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf


class Prior(NamedTuple):
    """A row of `PRIORS`: `sample([N, D], seed) -> [N, D]` and `squash(code)`."""

    sample: Callable[..., tf.Tensor]
    squash: Callable[[tf.Tensor], tf.Tensor]


def _sample_sphere(shape, seed) -> tf.Tensor:
    return tf.math.l2_normalize(tf.random.stateless_normal(shape, seed), axis=-1)


def _sample_ball(shape, seed) -> tf.Tensor:
    """Uniform in the unit ball: a direction times U^(1/D)."""
    n, d = shape
    radius = tf.random.stateless_uniform([n, 1], tf.bitwise.invert(seed))
    return _sample_sphere(shape, seed) * tf.pow(radius, 1.0 / d)


def _squash_to_ball(y: tf.Tensor) -> tf.Tensor:
    """y / sqrt(1 + |y|^2), a bijection onto the open unit ball."""
    return y * tf.math.rsqrt(1.0 + tf.reduce_sum(tf.square(y), -1, keepdims=True))


# Hjelm et al. 2019, section 4.2: uniform worked better than Gaussian, ball and sphere.
PRIORS = {
    "uniform": Prior(tf.random.stateless_uniform, tf.sigmoid),
    "normal": Prior(tf.random.stateless_normal, tf.identity),
    "ball": Prior(_sample_ball, _squash_to_ball),
    "sphere": Prior(_sample_sphere, lambda y: tf.math.l2_normalize(y, axis=-1)),
}
