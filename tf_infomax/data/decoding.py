"""From encoded or differently sized images to uint8 of one size, as TensorFlow graph.

The same functions serve training and, later, a served model: what is decoded here is
decoded there in the same way.
"""

import re

import numpy as np
import tensorflow as tf

from tf_infomax.data.graph_headers import choose, find_end_of_frame, read_layout
from tf_infomax.data.headers import LARGEST_IMAGE, MOST_PIXELS_PER_BYTE
from tf_infomax.data.images import SMALLEST_SIDE

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
    # Of uint8 as it is: a large image in float32 would take four times its memory.
    resized = tf.image.resize(image, size, antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)


def _crop_centre(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """The largest central part with the aspect ratio of `size`."""
    height, width = tf.unstack(tf.shape(image)[-3:-1])
    kept_height = tf.minimum(height, tf.maximum(width * size[0] // size[1], 1))
    kept_width = tf.minimum(width, tf.maximum(height * size[1] // size[0], 1))
    top, left = (height - kept_height) // 2, (width - kept_width) // 2
    return image[..., top : top + kept_height, left : left + kept_width, :]


def decode(
    encoded: tf.Tensor, channels: int = 3, largest: int = LARGEST_IMAGE
) -> tf.Tensor:
    """JPEG, PNG, BMP or GIF (first frame) bytes -> uint8 [h, w, channels].

    Upright by the orientation that EXIF names, transparent pixels over white.

    Args:
        encoded: string scalar.
        channels: 1 or 3.
        largest: most pixels; larger images are refused by their header, before
            anything of their size is allocated.

    Raises:
        InvalidArgumentError: for other bytes (see `graph_headers.read_layout`), damaged
            images, and those with a side below `SMALLEST_SIDE`, too many pixels, or
            more of them than the bytes can hold.
    """
    layout = read_layout(encoded)
    size, length = tf.cast(layout.size, tf.int64), tf.strings.length(encoded)
    pixels, length = tf.reduce_prod(size), tf.cast(length, tf.int64)
    small = f"image is smaller than {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels:"
    large = f"image has more than {largest} pixels:"
    short = "image bytes are too few for the size of the image:"
    with tf.control_dependencies(
        [
            tf.Assert(tf.reduce_min(size) >= SMALLEST_SIDE, [small, size]),
            tf.Assert(pixels <= largest, [large, size]),
            tf.Assert(pixels <= MOST_PIXELS_PER_BYTE * length, [short, size]),
        ]
    ):
        encoded = tf.identity(encoded)
    branches = {
        "JPEG": lambda: decode_jpeg(encoded, channels, layout.components > 3),
        "PNG": lambda: decode_png(encoded, channels, layout.transparent),
        "GIF": lambda: _to_channels(_decode_gif(encoded), channels),
        "BMP": lambda: _to_channels(_decode_bmp(encoded), channels),
    }
    image = choose(encoded, branches)
    image.set_shape([None, None, channels])
    return turn_upright(image, layout.orientation)


def decode_jpeg(encoded: tf.Tensor, channels: int, cmyk: tf.Tensor) -> tf.Tensor:
    """JPEG as stored -> uint8 [h, w, channels], to the bit what libjpeg defines."""

    def decode_to(number):
        # Otherwise TensorFlow takes a transform that is up to 11 of 255 off.
        exact = "INTEGER_ACCURATE"
        image = tf.io.decode_jpeg(encoded, number, dct_method=exact)
        return _to_channels(image, channels)

    if channels == 3:
        return decode_to(3)
    # The decoder makes RGB of CMYK, but not grey.
    return tf.cond(cmyk, lambda: decode_to(3), lambda: decode_to(channels))


def decode_png(encoded: tf.Tensor, channels: int, transparent: tf.Tensor) -> tf.Tensor:
    """PNG as stored -> uint8 [h, w, channels], over white where it is transparent."""
    return tf.cond(
        transparent,
        lambda: _to_channels(_over_white(tf.io.decode_png(encoded, 4)), channels),
        lambda: tf.io.decode_png(encoded, channels),
    )


def _over_white(image: tf.Tensor) -> tf.Tensor:
    """uint8 [h, w, RGBA] -> uint8 [h, w, RGB]."""
    # 16 bits hold 255 * 255, which is the largest sum, and half of 255 for rounding.
    alpha = tf.cast(image[..., 3:], tf.uint16)
    mixed = tf.cast(image[..., :3], tf.uint16) * alpha + 255 * (255 - alpha)
    return tf.cast((mixed + 127) // 255, tf.uint8)


def _to_channels(image: tf.Tensor, channels: int) -> tf.Tensor:
    """RGB as it is, or its luma (ITU-R 601) for one channel."""
    if channels == 3 or image.shape[-1] == 1:
        return image
    red, green, blue = (tf.cast(image[..., k : k + 1], tf.int32) for k in range(3))
    luma = 19595 * red + 38470 * green + 7471 * blue + 32768
    return tf.cast(tf.bitwise.right_shift(luma, 16), tf.uint8)


def _decode_gif(encoded: tf.Tensor) -> tf.Tensor:
    """The first frame alone: the decoder would hold all of them in memory."""
    first = tf.strings.substr(encoded, 0, find_end_of_frame(encoded)) + b";"
    image = tf.io.decode_image(first, 3, expand_animations=False)
    image.set_shape([None, None, 3])
    return image


def _decode_bmp(encoded: tf.Tensor) -> tf.Tensor:
    image = tf.io.decode_bmp(encoded)[..., :3]
    image.set_shape([None, None, 3])
    return image


def turn_upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """An image [h, w, C] as EXIF's orientation, 1 to 8, says that it is to be seen."""
    channels = image.shape[-1]

    def turn():
        turned = tf.cond(
            orientation >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image
        )
        for axis, which in ((0, (3, 4, 7, 8)), (1, (2, 3, 6, 7))):
            flipped = tf.reduce_any(tf.equal(orientation, which))
            turned = tf.cond(
                flipped,
                lambda turned=turned, axis=axis: tf.reverse(turned, [axis]),
                lambda turned=turned: turned,
            )
        return turned

    upright = tf.cond(orientation > 1, turn, lambda: image)
    upright.set_shape([None, None, channels])
    return upright


def compile_reader(image_shape: tuple[int, int, int], rule: str):
    """Functions that need no tracing, so that many threads can call them.

    Returns:
        ({"JPEG": f, "PNG": f}, g): f(encoded, orientation, special) with what
        `headers.Header` says of an image, g(pixels); both give uint8 [H, W, C].
    """
    height, width, channels = image_shape
    signature = (
        tf.TensorSpec([], tf.string),
        tf.TensorSpec([], tf.int32),
        tf.TensorSpec([], tf.bool),
    )

    def compile_one(decode_stored):
        @tf.function(input_signature=signature)
        def read(encoded, orientation, special):
            image = decode_stored(encoded, channels, special)
            image.set_shape([None, None, channels])
            return resize(turn_upright(image, orientation), (height, width), rule)

        return read.get_concrete_function()

    @tf.function(input_signature=[tf.TensorSpec([None, None, channels], tf.uint8)])
    def resize_pixels(image):
        return resize(image, (height, width), rule)

    decoders = {"JPEG": compile_one(decode_jpeg), "PNG": compile_one(decode_png)}
    return decoders, resize_pixels.get_concrete_function()


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
