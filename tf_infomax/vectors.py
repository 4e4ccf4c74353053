"""Vectors of length 1, also of what comes in half precision.

Imports TensorFlow only.
"""

import tensorflow as tf

# |z|^2 below which a vector has no direction: it is rounding, or its gradient 1 / |z|
# is more than float16 can hold.
_SMALLEST = {tf.float16: 1e-6}
_SMALLEST_ELSE = 1e-12


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
