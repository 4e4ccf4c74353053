"""Views of a batch: augmentations and the functions that make `x`, `y` of images.

Everything works on whole batches and is a function of (images, seed): the same seed
gives the same result, in any order and on any number of threads. Seeds are int64 `[2]`.
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from tf_infomax.data.images import DataError

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_GREY = np.outer(_LUMA, np.ones(3)).astype(np.float32)  # (R, G, B) @ it = (Y, Y, Y)


def _uniform(n, seed, key: int, low=0.0, high=1.0) -> tf.Tensor:
    """[N, 1, 1, 1] numbers; `key` tells the draws of one augmentation apart."""
    seed = tf.random.fold_in(seed, key, alg="philox")
    return tf.random.stateless_uniform([n, 1, 1, 1], seed, low, high)


def _luma(images: tf.Tensor) -> tf.Tensor:
    """Brightness [N, H, W, 1]; of grey images, themselves."""
    if images.shape[-1] == 1:
        return images
    return tf.tensordot(images, tf.constant(_LUMA), 1)[..., None]


def _take(images: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """The pixels in these rows [N, H] and columns [N, W] of each image: one gather."""
    n, (_, height, width, channels) = tf.shape(images)[0], images.shape
    rows += height * tf.range(n)[:, None]  # positions count through the batch
    positions = width * rows[:, :, None] + columns[:, None]
    return tf.gather(tf.reshape(images, [-1, channels]), positions)


def flip(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors each image left to right with probability 1/2."""
    n, (_, height, width, _) = tf.shape(images)[0], images.shape
    mirrored = _uniform(n, seed, 0)[:, :, 0, 0] < 0.5
    columns = tf.range(width)[None]
    columns = tf.where(mirrored, width - 1 - columns, columns)
    return _take(images, tf.range(height)[None], columns)


def shift(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Shifts by up to an eighth of the side; the border is filled by reflection."""
    n = tf.shape(images)[0]

    def draw(key, side):
        most = side // 8
        offset = tf.floor(_uniform(n, seed, key, -most, most + 1)[:, :, 0, 0])
        index = tf.abs(tf.cast(offset, tf.int32) + tf.range(side)[None])
        return (side - 1) - tf.abs((side - 1) - index)

    return _take(images, draw(0, images.shape[1]), draw(1, images.shape[2]))


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
    n, channels = tf.shape(images)[0], images.shape[-1]
    draw = lambda key, low, high: _uniform(n, seed, key, low, high)[:, 0]  # [N, 1, 1]
    brightness, contrast = draw(0, 0.6, 1.4), draw(1, 0.6, 1.4)
    # The mean of the pixels, before their brightness: that of the image.
    mean = _luma(tf.reduce_mean(images, axis=[1, 2], keepdims=True))[:, 0]
    offset = brightness * (1.0 - contrast) * mean
    chosen = draw(4, 0.0, 1.0) < 0.8
    scale = tf.where(chosen, brightness * contrast, 1.0)
    offset = tf.where(chosen, offset, 0.0)
    if channels == 1:
        jittered = scale[..., None] * images + offset[..., None]
    else:
        # All of it is linear in (R, G, B): one matrix per image.
        turned = draw(2, 0.6, 1.4) * _rotation_of_hue(draw(3, -0.628, 0.628))
        chroma = tf.eye(3) - _GREY
        matrix = _GREY + tf.where(chosen, tf.matmul(chroma[None], turned), chroma)
        jittered = _mix_channels(images, scale * matrix) + offset[..., None]
    return tf.clip_by_value(jittered, 0.0, 255.0)


def _rotation_of_hue(angle: tf.Tensor) -> tf.Tensor:
    """[N, 1, 1] angles -> [N, 3, 3]: turns rows (R-Y, G-Y, B-Y) through U and V."""
    to_uv = tf.constant([[0.0, 0.877], [0.0, 0.0], [0.492, 0.0]])
    red, blue = (0.0, 1.0 / 0.877), (1.0 / 0.492, 0.0)  # of (U, V)
    # Green is what keeps the brightness.
    from_uv = tf.constant(
        [
            [r, -(_LUMA[0] * r + _LUMA[2] * b) / _LUMA[1], b]
            for r, b in zip(red, blue, strict=True)
        ]
    )
    cos, sin = tf.cos(angle), tf.sin(angle)
    turn = tf.concat(
        [tf.concat([cos, sin], axis=2), tf.concat([-sin, cos], axis=2)], axis=1
    )
    return tf.matmul(to_uv[None], tf.matmul(turn, from_uv[None]))


def grey(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Removes the colour of one image in four."""
    if images.shape[-1] == 1:
        return images
    chosen = _uniform(tf.shape(images)[0], seed, 0)[:, 0] < 0.25
    return _mix_channels(images, tf.where(chosen, _GREY, tf.eye(3)))


def _mix_channels(images: tf.Tensor, matrices: tf.Tensor) -> tf.Tensor:
    """Every pixel of image i times `matrices[i]`: [N, H, W, 3], [N, 3, 3]."""
    pixels = tf.reshape(images, [-1, images.shape[1] * images.shape[2], 3])
    return tf.reshape(tf.matmul(pixels, matrices), tf.shape(images))


def cutout(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Blanks (mid-grey) a square of half the side, centred anywhere in the image."""
    n = tf.shape(images)[0]
    height, width = images.shape[1:3]
    y, x = _uniform(n, seed, 0, 0.0, height), _uniform(n, seed, 1, 0.0, width)
    rows = tf.range(height, dtype=tf.float32)[None, :, None, None] + 0.5
    columns = tf.range(width, dtype=tf.float32)[None, None, :, None] + 0.5
    inside = (tf.abs(rows - y) < height / 4) & (tf.abs(columns - x) < width / 4)
    # Faster than a choice that is broadcast over the channels.
    blank = tf.cast(inside, tf.float32)
    return images * (1.0 - blank) + 127.5 * blank


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


def make_one(images: tf.Tensor, names: Sequence[str], seed: tf.Tensor) -> dict:
    """One view `x`."""
    return {"x": augment(images, names, seed)}


def make_augmented(images: tf.Tensor, names: Sequence[str], seed: tf.Tensor) -> dict:
    """Two views of the same images, augmented independently."""
    other = tf.random.fold_in(seed, 1, alg="philox")
    return {"x": augment(images, names, seed), "y": augment(images, names, other)}


def make_crops(images: tf.Tensor, names: Sequence[str], seed: tf.Tensor) -> dict:
    """Two crops of the same images, each augmented by itself."""
    return make_augmented(images, {"crop", *names}, seed)


def _take_halves(images) -> dict:
    half = images.shape[1] // 2
    return {"x": images[:, :half], "y": images[:, images.shape[1] - half :]}


def _take_quadrants(images) -> dict:
    height, width = images.shape[1] // 2, images.shape[2] // 2
    top, bottom = images[:, :height], images[:, images.shape[1] - height :]
    right = images.shape[2] - width
    return {
        "x": top[:, :, :width],
        "y": top[:, :, right:],
        "z": bottom[:, :, :width],
        "w": bottom[:, :, right:],
    }


def rgb_to_lab(images: tf.Tensor) -> tf.Tensor:
    """sRGB in [0, 255] `[..., 3]` -> CIE L*a*b* of white point D65, L* in [0, 100]."""
    rgb = keras.ops.cast(images, "float32") / 255.0
    linear = keras.ops.where(
        rgb <= 0.04045, rgb / 12.92, keras.ops.power((rgb + 0.055) / 1.055, 2.4)
    )
    xyz = keras.ops.matmul(linear, _TO_XYZ)
    f = keras.ops.where(
        xyz > (6.0 / 29.0) ** 3,
        keras.ops.power(keras.ops.maximum(xyz, 1e-6), 1.0 / 3.0),
        xyz * (29.0 / 6.0) ** 2 / 3.0 + 4.0 / 29.0,
    )
    return keras.ops.matmul(f, _TO_LAB) - _LAB_OFFSET


# IEC 61966-2-1 over the white point (0.95047, 1, 1.08883); columns X, Y, Z.
_TO_XYZ = (
    np.array(
        [
            [0.4124564, 0.2126729, 0.0193339],
            [0.3575761, 0.7151522, 0.1191920],
            [0.1804375, 0.0721750, 0.9503041],
        ]
    )
    / [0.95047, 1.0, 1.08883]
).astype(np.float32)
# Columns L*, a*, b*.
_TO_LAB = np.array([[0, 500, 0], [116, -500, 200], [0, 0, -200]], np.float32)
_LAB_OFFSET = np.array([16.0, 0.0, 0.0], np.float32)


def _take_color(images) -> dict:
    """Lightness and the two chromatic channels of Lab, as uint8."""
    if images.shape[-1] != 3:
        raise DataError(
            "lightness and chroma are of images with three channels. Received: "
            f"{images.shape[-1]}."
        )
    lab = rgb_to_lab(images)
    to_bytes = lambda v: keras.ops.cast(
        keras.ops.clip(keras.ops.round(v), 0.0, 255.0), "uint8"
    )
    return {"x": to_bytes(lab[..., :1] * 2.55), "y": to_bytes(lab[..., 1:] + 128.0)}


def _take_pairs(images) -> dict:
    """The two images of a pair, which lie one behind the other in the channels."""
    channels = images.shape[-1] // 2
    return {"x": images[..., :channels], "y": images[..., channels:]}


# Views that are parts of one image: functions of the (augmented) image alone, which
# take tensors and Keras' symbolic ones.
PARTS: dict[str, Callable] = {
    "halves": _take_halves,
    "quadrants": _take_quadrants,
    "color": _take_color,
    "pairs": _take_pairs,
}


def _make_parts(take: Callable):
    return lambda images, names, seed: take(augment(images, names, seed))


VIEWS: dict[str, Callable] = {
    "one": make_one,
    "augment": make_augmented,
    "crops": make_crops,
    "halves": _make_parts(_take_halves),
    "quadrants": _make_parts(_take_quadrants),
    "color": _make_parts(_take_color),
    "pairs": _make_parts(_take_pairs),
}

# Views that differ by their augmentation.
AUGMENTED = ("augment", "crops")


def view_shapes(view: str, image_shape: tuple[int, int, int]) -> dict[str, tuple]:
    """Name -> (H, W, C) of every view of images of this shape."""
    images = tf.zeros([1, *image_shape], tf.uint8)
    made = VIEWS[view](images, (), tf.zeros([2], tf.int64))
    return {name: tuple(value.shape[1:]) for name, value in made.items()}


def build_front(view: str, image_shape: tuple[int, int, int]) -> keras.Model | None:
    """A model from whole images to their view x; None where x is an image itself."""
    if view not in PARTS or view == "pairs":
        return None
    images = keras.Input(image_shape, dtype="uint8", name="images")
    return keras.Model(images, PARTS[view](images)["x"], name=f"{view}_x")
