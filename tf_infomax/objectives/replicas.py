"""Draws and means over the batch of all replicas, of which each sees a part."""

from collections.abc import Callable, Sequence

import tensorflow as tf


def count_replicas() -> int:
    """How many devices share a batch."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def draw(sample: Callable, rows: int, shape: Sequence[int], seed) -> tf.Tensor:
    """This replica's rows of one draw for the whole batch.

    Args:
        sample: (shape, seed) -> numbers, as `tf.random.stateless_normal`.
        rows: of this replica.
        shape: of a row.
        seed: two integers, the same on all replicas.
    """
    replicas = count_replicas()
    context = tf.distribute.get_replica_context()
    drawn = sample([rows * replicas, *shape], seed)
    if context is None or replicas == 1:
        return drawn
    first = tf.cast(context.replica_id_in_sync_group, tf.int32) * rows
    return drawn[first : first + rows]


def mean(values: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """The mean where the mask is 1, over the batch of all replicas; 0 of none.

    The sum over replicas of what each of them returns, over their number, is the mean
    over the whole batch, as the gradient of a loss must be.
    """
    mask = tf.cast(mask, values.dtype)
    total, count = tf.reduce_sum(values * mask), _sum_up(tf.reduce_sum(mask))
    return count_replicas() * tf.math.divide_no_nan(total, count)


def _sum_up(part: tf.Tensor) -> tf.Tensor:
    """The sum over replicas, the same on all of them."""
    if count_replicas() == 1:
        return part
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, part)


def variance(values: tf.Tensor) -> tf.Tensor:
    """Of each column of `[N, ...]`, over the batch of all replicas (1 / N)."""
    share = 1.0 / (count_replicas() * tf.cast(tf.shape(values)[0], values.dtype))
    center = _sum_up(share * tf.reduce_sum(values, axis=0))
    return _sum_up(share * tf.reduce_sum(tf.square(values - center), axis=0))
