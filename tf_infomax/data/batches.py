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


def draw_pass(
    number: tf.Tensor, count: int, batch_size: int, seed: int, consecutive: bool = False
) -> tf.Tensor:
    """Which images stand in the batches of a pass: int32 `[batches, batch_size]`.

    Every pass over the data is a random permutation of its own, uniform among all of
    them: of the images, or, if `consecutive`, of runs of neighbouring images, cut anew
    for each pass.
    """
    batches = count_batches(count, batch_size)
    stream = tf.stack([tf.constant(seed, tf.int64), tf.cast(number, tf.int64)])
    # Folded in: the numbers of (seed, k) itself are what step k draws from.
    key = lambda use: tf.random.fold_in(stream, use, alg="philox")
    if consecutive:
        left = count - batches * batch_size
        start = tf.random.stateless_uniform([], key(1), 0, left + 1, tf.int32)
        runs = batch_size * _permute(batches, key(0))
        return start + runs[:, None] + tf.range(batch_size)
    order = _permute(count, key(0))[: batches * batch_size]
    return tf.reshape(order, [batches, batch_size])


def _permute(count: int, key: tf.Tensor) -> tf.Tensor:
    return tf.random.experimental.stateless_shuffle(tf.range(count), key, alg="philox")


def draw_batches(
    count: int,
    batch_size: int,
    first_step: int,
    last_step: int,
    seed: int = 0,
    consecutive: bool = False,
) -> tf.data.Dataset:
    """Which images stand in the batches of the steps first_step <= k < last_step.

    A pass is drawn once, while the one before is being used.

    Returns:
        A dataset of known cardinality of `(k, indices)`, int64 `[]`, `[batch_size]`.
    """
    per_pass = count_batches(count, batch_size)

    def draw(number):
        batches = draw_pass(number, count, batch_size, seed, consecutive)
        before = number * per_pass
        return batches[tf.maximum(first_step - before, 0) : last_step - before]

    passes = tf.data.Dataset.range(first_step // per_pass, -(-last_step // per_pass))
    steps = passes.map(draw).prefetch(1).unbatch().enumerate(first_step)
    steps = steps.apply(tf.data.experimental.assert_cardinality(last_step - first_step))
    return steps.map(lambda step, indices: (step, tf.cast(indices, tf.int64)))


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
    labels: np.ndarray | None = None,
    part: tuple[int, int] | None = None,
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
        labels: also `label`, int64 `[batch_size]`, of these `[n]`.
        part: first and last (exclusive) row of each batch that are wanted; others are
            not read. None: all of them.

    Returns:
        A dataset of known cardinality of dicts of uint8 `[batch_size, H, W, C]`.
    """
    drawn = draw_batches(
        len(images), batch_size, first_step, last_step, seed, consecutive
    )
    first, last = part or (0, batch_size)
    take, label = _make_reader(images, last - first), _make_labels(labels)

    def make_batch(step, indices):
        view_seed = tf.stack([tf.constant(seed, tf.int64), step])
        indices = indices[first:last]
        batch = make_views(take(indices), view_seed)
        batch |= {"index": indices} if with_index else {}
        return batch | label(indices)

    def make_views(own, view_seed):
        if last - first == batch_size or (not augmentations and view not in AUGMENTED):
            return VIEWS[view](own, augmentations, view_seed)
        # What is drawn for an image hangs on its place in the whole batch.
        around = [[first, batch_size - last], *([[0, 0]] * (images.ndim - 1))]
        whole = tf.ensure_shape(tf.pad(own, around), [batch_size, *images.shape[1:]])
        views = VIEWS[view](whole, augmentations, view_seed)
        return {name: each[first:last] for name, each in views.items()}

    return _read_ahead(drawn, make_batch)


def make_fixed_batches(
    images: np.ndarray | MappedImages,
    batch_size: int,
    view: str = "one",
    augmentations: tuple[str, ...] = (),
    consecutive: bool = False,
    labels: np.ndarray | None = None,
) -> tf.data.Dataset:
    """All images once, in full batches of views, always the same.

    Images are not augmented, unless augmenting is what makes the views: then two views
    of an image that is left as it is would be one and the same.

    In random order, since neighbours in a folder may be of one class: as one another's
    negatives they would be no draws from the product of the marginals. `consecutive`
    keeps the order of the images.
    """
    take, label = _make_reader(images, batch_size), _make_labels(labels)
    names = augmentations if view in AUGMENTED else ()
    order = np.arange(len(images))
    if not consecutive:
        order = np.random.default_rng(0).permutation(order)
    order = tf.constant(order, tf.int64)

    def make_batch(k):
        rows = order[k * batch_size : (k + 1) * batch_size]
        rows = tf.ensure_shape(rows, [batch_size])
        seed = tf.stack([tf.constant(0, tf.int64), k])
        return VIEWS[view](take(rows), names, seed) | label(rows)

    steps = tf.data.Dataset.range(count_batches(len(images), batch_size))
    return _read_ahead(steps, make_batch)


def _read_ahead(dataset: tf.data.Dataset, make_batch) -> tf.data.Dataset:
    dataset = dataset.map(make_batch, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.prefetch(tf.data.AUTOTUNE)


def _make_labels(labels: np.ndarray | None):
    """indices -> `{"label": ...}`; without labels nothing."""
    if labels is None:
        return lambda indices: {}
    with tf.device("CPU:0"):
        held = tf.constant(labels, tf.int64)
    return lambda indices: {"label": tf.gather(held, indices)}


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
