"""Prior distributions that the code can be matched to.

A prior is three functions: `sample(shape, seed)` draws from it (stateless, seed of two
integers), `squash(y)` maps the encoder's linear code into its support before the two
are compared, and `scale(D)` tells how far apart its draws are. The code itself stays
linear for every other use. A draw is the same in every way of running TensorFlow, to
the rounding of its functions.

Imports TensorFlow and `vectors` only.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tf_infomax.runtime.vectors import normalize


class Prior(NamedTuple):
    """A row of `PRIORS`.

    Attributes:
        name: of it.
        sample: ([N, D], seed) -> draws `[N, D]`.
        squash: codes `[N, D]` -> points of its support.
        scale: D -> E|v - v'|^2 of two draws, twice the sum of the variances.
    """

    name: str
    sample: Callable[..., tf.Tensor]
    squash: Callable[[tf.Tensor], tf.Tensor]
    scale: Callable[[int], float]


def _bits(shape, seed) -> tf.Tensor:
    """Uniform 23-bit integers. XLA makes other floats of a seed, but the same bits."""
    draws = tf.random.stateless_uniform(
        shape, seed, minval=None, maxval=None, dtype=tf.int32, alg="philox"
    )
    return tf.cast(tf.bitwise.bitwise_and(draws, 2**23 - 1), tf.float32)


def _sample_uniform(shape, seed) -> tf.Tensor:
    return _bits(shape, seed) * 2.0**-23


def _sample_normal(shape, seed) -> tf.Tensor:
    """Box & Muller 1958: two uniform draws make two normal ones."""
    n = tf.reduce_prod(shape)
    uniform = tf.reshape(_sample_uniform([2 * ((n + 1) // 2)], seed), [-1, 2])
    radius = tf.sqrt(-2.0 * tf.math.log(tf.maximum(uniform[:, 0], 1e-7)))
    angle = 2.0 * math.pi * uniform[:, 1]
    both = tf.stack([radius * tf.sin(angle), radius * tf.cos(angle)], axis=1)
    return tf.reshape(tf.reshape(both, [-1])[:n], shape)


def _sample_sphere(shape, seed) -> tf.Tensor:
    return normalize(_sample_normal(shape, seed))


def _sample_ball(shape, seed) -> tf.Tensor:
    """Uniform in the unit ball: a direction times U^(1/D)."""
    n, d = shape
    radius = _sample_uniform([n, 1], tf.bitwise.invert(seed))
    return _sample_sphere(shape, seed) * tf.pow(radius, 1.0 / d)


def _squash_to_ball(y: tf.Tensor) -> tf.Tensor:
    """y / sqrt(1 + |y|^2), a bijection onto the open unit ball."""
    return y * tf.math.rsqrt(1.0 + tf.reduce_sum(tf.square(y), -1, keepdims=True))


# Hjelm et al. 2019, section 4.2: uniform worked better than Gaussian, ball and sphere.
_ROWS = (
    Prior("uniform", _sample_uniform, tf.sigmoid, lambda d: d / 6.0),
    Prior("normal", _sample_normal, tf.identity, lambda d: 2.0 * d),
    Prior("ball", _sample_ball, _squash_to_ball, lambda d: 2.0 * d / (d + 2.0)),
    Prior("sphere", _sample_sphere, normalize, lambda d: 2.0),
)
PRIORS = {row.name: row for row in _ROWS}
