"""From encoded or differently sized images to uint8 of one size, as TensorFlow graph.

The same functions serve training and, later, a served model: what is decoded here is
decoded there in the same way.
"""

import numpy as np
import tensorflow as tf

RESIZE_RULES = ("crop", "stretch")


def resize(image: tf.Tensor, size: tuple[int, int], rule: str = "crop") -> tf.Tensor:
    """uint8 [..., h, w, C] -> uint8 [..., H, W, C], bilinear with antialiasing.

    Args:
        image: one image or a batch of one size.
        size: (H, W).
        rule: "crop" cuts the central part of the target's aspect ratio, "stretch"
            takes the whole image.
    """
    if rule == "crop":
        image = _crop_centre(image, size)
    resized = tf.image.resize(tf.cast(image, tf.float32), size, antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)


def _crop_centre(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """The largest central part with the aspect ratio of `size`."""
    height, width = tf.unstack(tf.shape(image)[-3:-1])
    kept_height = tf.minimum(height, tf.maximum(width * size[0] // size[1], 1))
    kept_width = tf.minimum(width, tf.maximum(height * size[1] // size[0], 1))
    top, left = (height - kept_height) // 2, (width - kept_width) // 2
    return image[..., top : top + kept_height, left : left + kept_width, :]


def decode(encoded: tf.Tensor, channels: int = 3) -> tf.Tensor:
    """JPEG, PNG, BMP or GIF (first frame) bytes -> uint8 [h, w, channels]."""
    image = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
    image.set_shape([None, None, channels])
    return image


def resize_array(
    images: np.ndarray, size: tuple[int, int], rule: str, block: int = 1000
) -> np.ndarray:
    """`resize` for a whole uint8 array [n, h, w, C], in blocks."""
    if tuple(images.shape[1:3]) == tuple(size):
        return images
    resized = np.empty((len(images), *size, images.shape[-1]), np.uint8)
    for start in range(0, len(images), block):
        part = np.asarray(images[start : start + block])
        resized[start : start + block] = resize(part, size, rule).numpy()
    return resized
