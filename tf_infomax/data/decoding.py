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
        "JPEG": lambda: _decode("JPEG", encoded, channels, layout.special),
        "PNG": lambda: _decode("PNG", encoded, channels, layout.special),
        "GIF": lambda: _to_channels(_decode_gif(encoded), channels),
        "BMP": lambda: _to_channels(_decode_bmp(encoded), channels),
    }
    image = choose(encoded, branches)
    image.set_shape([None, None, channels])
    return turn_upright(image, layout.orientation)


def _decode(kind: str, encoded, channels: int, special: tf.Tensor) -> tf.Tensor:
    ordinary, other = DECODERS[kind]
    image = tf.cond(
        special, lambda: other(encoded, channels), lambda: ordinary(encoded, channels)
    )
    image.set_shape([None, None, channels])
    return image


def decode_jpeg(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    """JPEG but CMYK -> uint8 [h, w, channels], to the bit what libjpeg defines."""
    # Otherwise TensorFlow takes a transform that is up to 11 of 255 off.
    return tf.io.decode_jpeg(encoded, channels, dct_method="INTEGER_ACCURATE")


def decode_cmyk(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    """JPEG in CMYK -> uint8 [h, w, channels]; the decoder makes RGB of it, not grey."""
    return _to_channels(decode_jpeg(encoded, 3), channels)


def decode_transparent(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    """PNG -> uint8 [h, w, channels], over white."""
    image = tf.io.decode_png(encoded, 4)
    # 16 bits hold 255 * 255, which is the largest sum, and what rounding adds to it.
    alpha = tf.cast(image[..., 3:], tf.uint16)
    mixed = tf.cast(image[..., :3], tf.uint16) * alpha + 255 * (255 - alpha) + 128
    shift = tf.constant(8, tf.uint16)
    mixed += tf.bitwise.right_shift(mixed, shift)  # division by 255
    image = tf.cast(tf.bitwise.right_shift(mixed, shift), tf.uint8)
    return _to_channels(image, channels)


# By kind: what is stored as it is seen, and what is special (see `headers.Header`).
DECODERS = {
    "JPEG": (decode_jpeg, decode_cmyk),
    "PNG": (tf.io.decode_png, decode_transparent),
}


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
        (functions by kind ("JPEG", "PNG") of an image that is upright and not special,
        functions by kind of any with its orientation, and whether it is special, a
        function of pixels); all give uint8 [H, W, C].
    """
    height, width, channels = image_shape
    encoded = tf.TensorSpec([], tf.string)
    orientation, special = tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.bool)
    pixels = tf.TensorSpec([None, None, channels], tf.uint8)

    def finish(image):
        image.set_shape([None, None, channels])
        return resize(image, (height, width), rule)

    def compile_all(kind):
        plain = lambda encoded: finish(DECODERS[kind][0](encoded, channels))
        any_ = lambda encoded, orientation, special: finish(
            turn_upright(_decode(kind, encoded, channels, special), orientation)
        )
        return _compile(plain, encoded), _compile(any_, encoded, orientation, special)

    compiled = {kind: compile_all(kind) for kind in DECODERS}
    return (
        {kind: plain for kind, (plain, _) in compiled.items()},
        {kind: any_ for kind, (_, any_) in compiled.items()},
        _compile(finish, pixels),
    )


def _compile(function, *signature: tf.TensorSpec):
    return tf.function(function, input_signature=signature).get_concrete_function()


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
