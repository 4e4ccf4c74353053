"""Views of a batch: augmentations and the functions that make `x`, `y` of images.

Everything works on whole batches and is a function of (images, seed): the same seed
gives the same result, in any order and on any number of threads. Seeds are int64 `[2]`.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def _uniform(n, seed, key: int, low=0.0, high=1.0) -> tf.Tensor:
    """[N, 1, 1, 1] numbers; `key` tells the draws of one augmentation apart."""
    seed = tf.random.fold_in(seed, key, alg="philox")
    return tf.random.stateless_uniform([n, 1, 1, 1], seed, low, high)


def _luma(images: tf.Tensor) -> tf.Tensor:
    """Brightness [N, H, W, 1]; of grey images, themselves."""
    if images.shape[-1] == 1:
        return images
    return tf.tensordot(images, tf.constant(_LUMA), 1)[..., None]


def flip(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors each image left to right with probability 1/2."""
    mirrored = _uniform(tf.shape(images)[0], seed, 0) < 0.5
    return tf.where(mirrored, tf.reverse(images, axis=[2]), images)


def shift(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Shifts by up to an eighth of the side; the border is filled by reflection."""
    n = tf.shape(images)[0]
    height, width = images.shape[1:3]
    pad_y, pad_x = height // 8, width // 8
    padded = tf.pad(
        images, [[0, 0], [pad_y, pad_y], [pad_x, pad_x], [0, 0]], mode="REFLECT"
    )
    top = tf.cast(_uniform(n, seed, 0, 0, 2 * pad_y + 1)[:, :, 0, 0], tf.int32)
    left = tf.cast(_uniform(n, seed, 1, 0, 2 * pad_x + 1)[:, :, 0, 0], tf.int32)
    padded = tf.gather(padded, top + tf.range(height)[None], axis=1, batch_dims=1)
    return tf.gather(padded, left + tf.range(width)[None], axis=2, batch_dims=1)


def crop(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Cuts 30-100 % of the area at an aspect ratio of 3:4 to 4:3 and resizes it."""
    n = tf.shape(images)[0]
    area = _uniform(n, seed, 0, 0.3, 1.0)[:, 0, 0, 0]
    ratio = tf.exp(_uniform(n, seed, 1, -1.0, 1.0)[:, 0, 0, 0] * tf.math.log(4.0 / 3.0))
    height = tf.minimum(tf.sqrt(area / ratio), 1.0)
    width = tf.minimum(tf.sqrt(area * ratio), 1.0)
    top = _uniform(n, seed, 2)[:, 0, 0, 0] * (1.0 - height)
    left = _uniform(n, seed, 3)[:, 0, 0, 0] * (1.0 - width)
    boxes = tf.stack([top, left, top + height, left + width], axis=1)
    return tf.image.crop_and_resize(images, boxes, tf.range(n), images.shape[1:3])


def color(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Jitters brightness, contrast, saturation by +-40 % and hue by +-36 degrees.

    Applied to four images in five.
    """
    n = tf.shape(images)[0]
    jittered = images * _uniform(n, seed, 0, 0.6, 1.4)
    mean = tf.reduce_mean(_luma(jittered), axis=[1, 2], keepdims=True)
    jittered = mean + (jittered - mean) * _uniform(n, seed, 1, 0.6, 1.4)
    if images.shape[-1] == 3:
        grey = _luma(jittered)
        chroma = (jittered - grey) * _uniform(n, seed, 2, 0.6, 1.4)
        jittered = grey + _rotate_hue(chroma, _uniform(n, seed, 3, -0.628, 0.628))
    chosen = _uniform(n, seed, 4) < 0.8
    return tf.where(chosen, tf.clip_by_value(jittered, 0.0, 255.0), images)


def _rotate_hue(chroma: tf.Tensor, angle: tf.Tensor) -> tf.Tensor:
    """Turns R-Y, G-Y, B-Y in the plane of constant brightness (through U and V)."""
    u, v = 0.492 * chroma[..., 2:], 0.877 * chroma[..., :1]  # [N, H, W, 1]
    cos, sin = tf.cos(angle), tf.sin(angle)
    u, v = cos * u - sin * v, sin * u + cos * v
    red, blue = v / 0.877, u / 0.492
    green = -(_LUMA[0] * red + _LUMA[2] * blue) / _LUMA[1]
    return tf.concat([red, green, blue], axis=-1)


def grey(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Removes the colour of one image in four."""
    chosen = _uniform(tf.shape(images)[0], seed, 0) < 0.25
    return tf.where(chosen, _luma(images), images)


def cutout(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Blanks (mid-grey) a square of half the side, centred anywhere in the image."""
    n = tf.shape(images)[0]
    height, width = images.shape[1:3]
    y, x = _uniform(n, seed, 0, 0.0, height), _uniform(n, seed, 1, 0.0, width)
    rows = tf.range(height, dtype=tf.float32)[None, :, None, None] + 0.5
    columns = tf.range(width, dtype=tf.float32)[None, None, :, None] + 0.5
    inside = (tf.abs(rows - y) < height / 4) & (tf.abs(columns - x) < width / 4)
    return tf.where(inside, 127.5, images)


# In the order in which they are applied.
AUGMENTATIONS: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "crop": crop,
    "shift": shift,
    "flip": flip,
    "color": color,
    "grey": grey,
    "cutout": cutout,
}


def augment(images: tf.Tensor, names: Sequence[str], seed: tf.Tensor) -> tf.Tensor:
    """Applies the named augmentations, uint8 to uint8, in the order of the table."""
    if not names:
        return images
    augmented = tf.cast(images, tf.float32)
    for key, (name, function) in enumerate(AUGMENTATIONS.items()):
        if name in names:
            seed_here = tf.random.fold_in(seed, key, alg="philox")
            augmented = function(augmented, seed_here)
    augmented = tf.ensure_shape(augmented, images.shape)
    return tf.cast(tf.clip_by_value(tf.round(augmented), 0.0, 255.0), tf.uint8)


def make_one(images, names, seed) -> dict:
    """One view `x`."""
    return {"x": augment(images, names, seed)}


def make_two(images, names, seed) -> dict:
    """Two views of the same images, augmented independently."""
    other = tf.random.fold_in(seed, 1, alg="philox")
    return {"x": augment(images, names, seed), "y": augment(images, names, other)}


def make_halves(images, names, seed) -> dict:
    """The upper and the lower half of each (augmented) image."""
    images = augment(images, names, seed)
    half = images.shape[1] // 2
    return {"x": images[:, :half], "y": images[:, -half:]}


VIEWS = {"one": make_one, "two": make_two, "halves": make_halves}
