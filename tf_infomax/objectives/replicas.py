"""Draws, means and the whole of a batch of which each replica sees a part."""

from collections.abc import Callable, Sequence

import tensorflow as tf


def count_replicas() -> int:
    """How many devices share a batch."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def gather(tensor: tf.Tensor) -> tf.Tensor:
    """The batch of all replicas, with gradient; the tensor itself on one device."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return tensor
    n, *rest = tensor.shape  # all_gather forgets the shape
    n = n and n * context.num_replicas_in_sync
    # Of a tensor from elsewhere several machines do not know on which device it is.
    gathered = context.all_gather(tf.identity(tensor), axis=0)
    return tf.ensure_shape(gathered, [n, *rest])


def own_rows(whole: tf.Tensor, rows: int) -> tf.Tensor:
    """This replica's part of what `gather` gives, or of anything in that order."""
    context = tf.distribute.get_replica_context()
    if context is None or count_replicas() == 1:
        return whole
    first = tf.cast(context.replica_id_in_sync_group, tf.int32) * rows
    return whole[first : first + rows]


def fold_images(seed: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """A seed of its own for these images, the same on all replicas.

    By the sum of their pixels: a test has one seed for all its batches.
    """
    pixels = gather(tf.reduce_sum(tf.cast(images, tf.int64))[None])
    return tf.random.fold_in(seed, tf.reduce_sum(pixels), alg="philox")


def draw(
    sample: Callable, rows: int, shape: Sequence[int], seed: tf.Tensor
) -> tf.Tensor:
    """This replica's rows of one draw for the whole batch.

    Args:
        sample: (shape, seed) -> numbers, as `tf.random.stateless_normal`.
        rows: of this replica.
        shape: of a row.
        seed: two integers, the same on all replicas.
    """
    return own_rows(sample([rows * count_replicas(), *shape], seed), rows)


def mean(values: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """The mean where the mask is 1, over the batch of all replicas; 0 of none.

    The sum over replicas of what each of them returns, over their number, is the mean
    over the whole batch, as the gradient of a loss must be.
    """
    mask = tf.cast(mask, values.dtype)
    total, count = tf.reduce_sum(values * mask), sum_up(tf.reduce_sum(mask))
    return count_replicas() * tf.math.divide_no_nan(total, count)


def sum_up(part: tf.Tensor) -> tf.Tensor:
    """The sum over replicas, the same on all of them."""
    if count_replicas() == 1:
        return part
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(part))


def mean_over_replicas(values: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Of numbers, each the mean over the replicas."""
    stacked = tf.stack([tf.cast(value, tf.float32) for value in values.values()])
    means = sum_up(stacked) / count_replicas()
    return dict(zip(values, tf.unstack(means), strict=True))


def variance(values: tf.Tensor) -> tf.Tensor:
    """Of each column of `[N, ...]`, over the batch of all replicas (1 / N)."""
    share = 1.0 / (count_replicas() * tf.cast(tf.shape(values)[0], values.dtype))
    center = sum_up(share * tf.reduce_sum(values, axis=0))
    return sum_up(share * tf.reduce_sum(tf.square(values - center), axis=0))
