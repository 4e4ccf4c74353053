"""Vectors in batches: of length 1, and how far two samples of them are apart.

Imports TensorFlow only.
"""

import tensorflow as tf

# |z|^2 below which a vector has no direction: it is rounding, or its gradient 1 / |z|
# is more than float16 can hold.
_SMALLEST = {tf.float16: 1e-6}
_SMALLEST_ELSE = 1e-12
_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # of the kernels, about the points' own


def normalize(z: tf.Tensor) -> tf.Tensor:
    """z / |z| over the last axis, in float32 (float64 if z is).

    A vector without a direction, as the code of an image for which every ReLU is off,
    gives 0 with a gradient of 0, where z / |z| itself has no limit.

    Args:
        z: `[..., D]`.
    """
    smallest = _SMALLEST.get(z.dtype, _SMALLEST_ELSE)
    z = z if z.dtype == tf.float64 else tf.cast(z, tf.float32)
    square = tf.reduce_sum(tf.square(z), axis=-1, keepdims=True)
    return tf.nn.l2_normalize(tf.where(square >= smallest, z, 0.0), axis=-1)


def mmd(x: tf.Tensor, y: tf.Tensor, scale: float) -> tf.Tensor:
    """The squared maximum mean discrepancy, unbiased: 0 in expectation for equal laws.

    sum_{i!=j} k(x_i, x_j) / (n (n - 1)) + sum_{i!=j} k(y_i, y_j) / (m (m - 1))
    - 2 sum_ij k(x_i, y_j) / (n m),  k(a, b) = mean_s s c / (s c + |a - b|^2)

    with s from 0.1 to 10. It may be negative, and is 2 at most.

    Args:
        x: `[n, D]`, y: `[m, D]`, two points or more each.
        scale: c, about |a - b|^2 of two points of one sample.

    Source: Gretton et al. 2012, eq. 3; inverse multiquadratic kernels, of several
    scales: Tolstikhin et al. 2018, section 4.
    """
    across = tf.reduce_mean(_kernel(x, y, scale))
    return _mean_of_others(x, scale) + _mean_of_others(y, scale) - 2.0 * across


def _mean_of_others(x: tf.Tensor, scale: float) -> tf.Tensor:
    """The mean kernel of two different points."""
    kernel = _kernel(x, x, scale)
    n = tf.cast(tf.shape(x)[0], x.dtype)
    off = tf.linalg.set_diag(kernel, tf.zeros_like(kernel[0]))
    return tf.reduce_sum(off) / (n * (n - 1.0))


def _kernel(x: tf.Tensor, y: tf.Tensor, scale: float) -> tf.Tensor:
    lengths = [tf.reduce_sum(tf.square(each), axis=-1) for each in (x, y)]
    products = tf.matmul(x, y, transpose_b=True)
    squares = lengths[0][:, None] + lengths[1] - 2.0 * products
    ratios = tf.maximum(squares, 0.0) / scale  # rounding makes some negative
    return tf.add_n([s / (s + ratios) for s in _SCALES]) / len(_SCALES)


def sliced_wasserstein(x: tf.Tensor, y: tf.Tensor, directions: tf.Tensor) -> tf.Tensor:
    """The mean over directions of the squared Wasserstein-2 distance along them.

    Along one it is the mean squared difference of the sorted projections. Of samples
    of one law it is above 0, and falls with their size.

    Args:
        x, y: `[n, D]`.
        directions: unit vectors `[K, D]`; drawn uniformly they make an unbiased
            estimate of the mean over all directions.

    Source: Rabin et al. 2012; as a loss of codes: Kolouri et al. 2019.
    """
    sides = (tf.matmul(directions, each, transpose_b=True) for each in (x, y))
    x, y = (tf.sort(side, axis=-1) for side in sides)
    return tf.reduce_mean(tf.square(x - y))
