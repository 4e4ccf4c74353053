"""IMAX: information of two modules' common signal (Becker & Hinton 1992).

Outputs a = s + noise, b = s + noise of two modules that see different parts of one
scene. `imax` is the information that the average of the two gives about the common
signal if all is Gaussian, not I(a; b).
"""

import tensorflow as tf


def imax(a: tf.Tensor, b: tf.Tensor, epsilon: float = 1e-6) -> tf.Tensor:
    """`1/2 log(det V(a + b) / det V(a - b))`, nats; differentiable.

    Args:
        a, b: outputs `[n]` or `[n, d]`, matching rows.
        epsilon: added to the diagonals, by the mean variance of a + b: without it two
            equal outputs have infinite information.

    Returns:
        A scalar.

    Raises:
        ValueError: if the shapes differ.
    """
    a, b = (tf.convert_to_tensor(side) for side in (a, b))
    if a.shape != b.shape or a.shape.rank not in (1, 2):
        raise ValueError(
            "a and b must be [n] or [n, d], of one shape. Received: "
            f"{tuple(a.shape)} and {tuple(b.shape)}."
        )
    if a.shape.rank == 1:
        a, b = a[:, None], b[:, None]
    total, difference = _covariance(a + b), _covariance(a - b)
    d = a.shape[-1]
    ridge = epsilon * tf.linalg.trace(total) / d * tf.eye(d, dtype=a.dtype)
    log_det = tf.linalg.logdet
    return 0.5 * (log_det(total + ridge) - log_det(difference + ridge))


def _covariance(values: tf.Tensor) -> tf.Tensor:
    centred = values - tf.reduce_mean(values, axis=0)
    return tf.matmul(centred, centred, transpose_a=True) / len(values)


def imax_binary(a: tf.Tensor, b: tf.Tensor, epsilon: float = 1e-12) -> tf.Tensor:
    """`H(a) + H(b) - H(a, b)` of stochastic binary units, nats; differentiable.

    Args:
        a, b: probabilities of being on, `[n]`, matching rows; co-activation is their
            product's mean over the rows.
        epsilon: least probability in a logarithm.
    """
    a, b = (tf.convert_to_tensor(side) for side in (a, b))
    both = tf.reduce_mean(a * b)
    pa, pb = tf.reduce_mean(a), tf.reduce_mean(b)
    joint = tf.stack([both, pa - both, pb - both, 1.0 - pa - pb + both])
    entropy = lambda p: -tf.reduce_sum(p * tf.math.log(tf.maximum(p, epsilon)))
    return (
        entropy(tf.stack([pa, 1.0 - pa]))
        + entropy(tf.stack([pb, 1.0 - pb]))
        - entropy(joint)
    )
