"""From encoded or differently sized images to uint8 of one size, as TensorFlow graph.

The same functions serve training and, later, a served model: what is decoded here is
decoded there in the same way.
"""

import re

import numpy as np
import tensorflow as tf

from tf_infomax.data.images import SMALLEST_SIDE

RESIZE_RULES = ("crop", "stretch")
LARGEST_IMAGE = 64_000_000  # pixels: 192 MB decoded, 8,000 x 8,000


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


def read_size(encoded: tf.Tensor) -> tf.Tensor:
    """Height and width, int32 [2], by the header of a JPEG, PNG, BMP or GIF.

    Raises:
        InvalidArgumentError: for bytes of any other kind.
    """
    # Padded, so that bytes cut off within the header are no error of their own.
    head = tf.strings.substr(encoded, 0, 32) + tf.constant(b"\0" * 32)

    def number(position, bits, little):
        dtype, width = {16: (tf.uint16, 2), 32: (tf.int32, 4)}[bits]
        raw = tf.strings.substr(head, position, width)
        value = tf.io.decode_raw(raw, dtype, little_endian=little)[0]
        return tf.cast(value, tf.int32)

    def starts(*magics):
        return tf.reduce_any([tf.strings.substr(head, 0, len(m)) == m for m in magics])

    def refuse():
        with tf.control_dependencies(
            [tf.Assert(False, ["image bytes must be JPEG, PNG, GIF or BMP"])]
        ):
            return tf.zeros([2], tf.int32)

    return tf.case(
        [
            (
                starts(b"\xff\xd8\xff"),
                lambda: tf.io.extract_jpeg_shape(encoded)[:2],
            ),
            (
                starts(b"\x89PNG\r\n\x1a\n"),
                lambda: tf.stack([number(20, 32, False), number(16, 32, False)]),
            ),
            (
                starts(b"GIF87a", b"GIF89a"),
                lambda: tf.stack([number(8, 16, True), number(6, 16, True)]),
            ),
            (
                starts(b"BM"),  # the height is negative where rows run downwards
                lambda: tf.abs(tf.stack([number(22, 32, True), number(18, 32, True)])),
            ),
        ],
        default=refuse,
        exclusive=True,
    )


def decode(
    encoded: tf.Tensor, channels: int = 3, largest: int = LARGEST_IMAGE
) -> tf.Tensor:
    """JPEG, PNG, BMP or GIF (first frame) bytes -> uint8 [h, w, channels].

    Args:
        encoded: string scalar.
        channels: 1 or 3.
        largest: most pixels; larger images are refused by their header, before
            anything of their size is allocated.

    Raises:
        InvalidArgumentError: for other bytes, damaged images, and those with a side
            below `SMALLEST_SIDE` or too many pixels.
    """
    size = tf.cast(read_size(encoded), tf.int64)
    small = f"image is smaller than {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels:"
    large = f"image has more than {largest} pixels:"
    with tf.control_dependencies(
        [
            tf.Assert(tf.reduce_min(size) >= SMALLEST_SIDE, [small, size]),
            tf.Assert(tf.reduce_prod(size) <= largest, [large, size]),
        ]
    ):
        encoded = tf.identity(encoded)
    image = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
    image.set_shape([None, None, channels])
    return image


def explain(error: tf.errors.OpError) -> str:
    """What was wrong with an image, of the many lines of a graph's error."""
    lines = [line for line in error.message.splitlines() if line[:1].strip()]
    reason = lines[-1].partition(" [[{{node")[0] if lines else type(error).__name__
    reason = re.sub(r"^\{\{.*?\}\} ", "", reason)
    if reason.startswith("assertion failed: "):  # its parts stand in brackets
        reason = reason.removeprefix("assertion failed: ").replace("] [", " ")
        reason = reason.strip("[]")
    return reason[:160]


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
