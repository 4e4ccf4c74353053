"""The input pipeline: batch k is a function of the seed and of k, and of nothing else.

A run that resumes at step k therefore sees what an uninterrupted one would have seen,
and no iterator state has to be saved.
"""

import numpy as np
import tensorflow as tf

from tf_infomax.data.images import DataError, MappedImages
from tf_infomax.data.views import AUGMENTED, VIEWS


def count_batches(count: int, batch_size: int) -> int:
    """Batches in one pass over `count` images (the last partial one is dropped)."""
    if not 2 <= batch_size <= count:
        raise DataError(
            "batch_size must be at least 2 and at most the number of training images, "
            f"{count}. Received: {batch_size}."
        )
    return count // batch_size


def batch_indices(
    step: tf.Tensor, count: int, batch_size: int, seed: int, consecutive: bool = False
) -> tf.Tensor:
    """Which images stand in the batch of this step: int64 `[batch_size]`.

    Every pass over the data is a new pseudo-random permutation, computed for the
    positions of the batch alone: of the images, or, if `consecutive`, of runs of
    neighbouring images, cut anew for each pass.
    """
    per_epoch = count_batches(count, batch_size)
    step = tf.cast(step, tf.int64)
    places = tf.range(batch_size, dtype=tf.int64)
    key = tf.stack([tf.constant(seed, tf.int64), step // per_epoch, 0])
    if consecutive:
        run = _shuffled((step % per_epoch)[None], key, per_epoch)
        left = count - per_epoch * batch_size
        first = tf.random.stateless_uniform([], key[:2], 0, left + 1, tf.int64)
        return first + run * batch_size + places
    return _shuffled((step % per_epoch) * batch_size + places, key, count)


def _shuffled(positions: tf.Tensor, key: tf.Tensor, count: int) -> tf.Tensor:
    """Where a permutation of `count`, a function of the key, sends these positions."""
    # The raw op: its Python wrapper mistakes the shape of the seeds of a vector of
    # positions inside of Dataset.map.
    return tf.raw_ops.RandomIndexShuffle(
        index=positions,
        seed=tf.tile(tf.cast(key, tf.uint32)[None], [positions.shape[0], 1]),
        max_index=tf.constant(count - 1, tf.int64),
        rounds=4,
    )


def make_batches(
    images: np.ndarray | MappedImages,
    batch_size: int,
    first_step: int,
    last_step: int,
    seed: int = 0,
    view: str = "one",
    augmentations: tuple[str, ...] = (),
    with_index: bool = False,
    consecutive: bool = False,
) -> tf.data.Dataset:
    """Batches of views for the steps first_step <= k < last_step.

    Args:
        images: uint8 `[n, H, W, C]`, in memory or `MappedImages`.
        batch_size: images per batch.
        first_step, last_step: the range of steps.
        seed: of order and augmentation.
        view: a key of `views.VIEWS`.
        augmentations: keys of `views.AUGMENTATIONS`.
        with_index: also `index`, which images these are, int64 `[batch_size]`.
        consecutive: batches of neighbouring images, which may have something in common.

    Returns:
        A dataset of known cardinality of dicts of uint8 `[batch_size, H, W, C]`.
    """
    count = len(images)
    count_batches(count, batch_size)
    take = _make_reader(images, batch_size)

    def make_batch(step):
        indices = batch_indices(step, count, batch_size, seed, consecutive)
        view_seed = tf.stack([tf.constant(seed, tf.int64), step])
        views = VIEWS[view](take(indices), augmentations, view_seed)
        return views | {"index": indices} if with_index else views

    return _map_range(make_batch, first_step, last_step)


def make_fixed_batches(
    images: np.ndarray | MappedImages,
    batch_size: int,
    view: str = "one",
    augmentations: tuple[str, ...] = (),
    consecutive: bool = False,
) -> tf.data.Dataset:
    """All images once, in full batches of views, always the same.

    Images are not augmented, unless augmenting is what makes the views: then two views
    of an image that is left as it is would be one and the same.

    In random order, since neighbours in a folder may be of one class: as one another's
    negatives they would be no draws from the product of the marginals. `consecutive`
    keeps the order of the images.
    """
    take = _make_reader(images, batch_size)
    names = augmentations if view in AUGMENTED else ()
    order = np.arange(len(images))
    if not consecutive:
        order = np.random.default_rng(0).permutation(order)
    order = tf.constant(order, tf.int64)

    def make_batch(k):
        rows = order[k * batch_size : (k + 1) * batch_size]
        batch = take(tf.ensure_shape(rows, [batch_size]))
        return VIEWS[view](batch, names, tf.stack([tf.constant(0, tf.int64), k]))

    return _map_range(make_batch, 0, count_batches(len(images), batch_size))


def _map_range(make_batch, first: int, last: int) -> tf.data.Dataset:
    dataset = tf.data.Dataset.range(first, last)
    dataset = dataset.map(make_batch, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.prefetch(tf.data.AUTOTUNE)


def _make_reader(images: np.ndarray | MappedImages, batch_size: int):
    """indices -> images: a gather in memory, or rows of a memory-mapped file."""
    shape = [batch_size, *images.shape[1:]]
    if not isinstance(images, np.ndarray):
        return lambda indices: tf.ensure_shape(
            tf.numpy_function(images.__getitem__, [indices], tf.uint8, stateful=False),
            shape,
        )
    with tf.device("CPU:0"):
        held = tf.constant(images)
    return lambda indices: tf.ensure_shape(tf.gather(held, indices), shape)
