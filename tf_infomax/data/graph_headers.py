"""What the header of an encoded image says, as TensorFlow graph, for served models.

`headers` is the same in Python, where images are read from files.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

KINDS = ("JPEG", "PNG", "GIF", "BMP")
_MAGICS = (
    (b"\xff\xd8\xff",),
    (b"\x89PNG\r\n\x1a\n",),
    (b"GIF87a", b"GIF89a"),
    (b"BM",),
)


class Layout(NamedTuple):
    """How the pixels of an encoded image are stored.

    Attributes:
        size: height and width, int32 [2], before the orientation.
        orientation: by EXIF, int32, 1 to 8.
        special: of a PNG whether pixels may be transparent, of a JPEG that it is CMYK.
    """

    size: tf.Tensor
    orientation: tf.Tensor
    special: tf.Tensor


def choose(encoded: tf.Tensor, branches: dict[str, Callable]):
    """The branch of the kind that the first bytes name.

    Raises:
        InvalidArgumentError: for bytes of any other kind.
    """

    def is_kind(magics):
        return tf.reduce_any([tf.strings.substr(head, 0, len(m)) == m for m in magics])

    head = tf.strings.substr(encoded, 0, 8) + tf.constant(b"\0" * 8)
    is_each = tf.stack([is_kind(magics) for magics in _MAGICS])
    message = "image bytes must be JPEG, PNG, GIF or BMP"
    with tf.control_dependencies([tf.Assert(tf.reduce_any(is_each), [message])]):
        which = tf.argmax(tf.cast(is_each, tf.int32), output_type=tf.int32)
    return tf.switch_case(which, [branches[kind] for kind in KINDS])


def read_layout(encoded: tf.Tensor) -> Layout:
    """The layout of a JPEG, PNG, BMP or GIF.

    Raises:
        InvalidArgumentError: for bytes of any other kind, for BMP with a palette, masks
            or compression, and for GIF whose first frame is transparent or smaller
            than the image: TensorFlow would decode these to something else.
    """
    readers = {"JPEG": _read_jpeg, "PNG": _read_png, "GIF": _read_gif, "BMP": _read_bmp}
    made = {kind: lambda read=read: read(encoded) for kind, read in readers.items()}
    return Layout(*choose(encoded, made))


def _number(encoded: tf.Tensor, place, bits: int, big) -> tf.Tensor:
    """A number of 16 bits, or a signed one of 32, as int32; 0 beyond the end."""
    place = tf.clip_by_value(place, 0, tf.strings.length(encoded))
    raw = tf.strings.substr(encoded, place, bits // 8) + tf.constant(b"\0" * 4)
    values = tf.cast(tf.io.decode_raw(tf.strings.substr(raw, 0, 4), tf.uint8), tf.int32)
    values = values[: bits // 8]
    values = tf.where(big, values, values[::-1])
    weights = tf.constant([1 << shift for shift in range(bits - 8, -8, -8)], tf.int64)
    return tf.cast(tf.reduce_sum(tf.cast(values, tf.int64) * weights), tf.int32)


def _layout(size, orientation=1, special=False) -> Layout:
    return Layout(
        tf.ensure_shape(tf.convert_to_tensor(size, tf.int32), [2]),
        tf.convert_to_tensor(orientation, tf.int32),
        tf.convert_to_tensor(special, tf.bool),
    )


def _read_jpeg(encoded: tf.Tensor) -> Layout:
    shape = tf.io.extract_jpeg_shape(encoded)
    length = tf.strings.length(encoded)

    def goes_on(place, *_):
        marker = _number(encoded, place, 16, True)
        return (place < length) & (marker != 0xFFD9) & (marker != 0xFFDA)

    def step(place, exif, adobe):
        marker = _number(encoded, place, 16, True)
        head = tf.strings.substr(encoded, tf.minimum(place + 4, length), 6)
        exif = tf.where((marker == 0xFFE1) & (head == b"Exif\0\0"), place + 10, exif)
        adobe |= (marker == 0xFFEE) & (tf.strings.substr(head, 0, 5) == b"Adobe")
        size = tf.maximum(_number(encoded, place + 2, 16, True), 2)
        empty = (marker < 0xFF02) | ((marker >= 0xFFD0) & (marker <= 0xFFD8))
        following = tf.where(empty, 2, 2 + size)
        stray = (marker < 0xFF00) | (marker == 0xFFFF)
        return place + tf.where(stray, 1, following), exif, adobe

    start = (tf.constant(2), tf.constant(-1), tf.constant(False))
    _, exif, adobe = tf.while_loop(goes_on, step, start)
    # Only Adobe's is known to be stored inverted; TensorFlow takes the rest literally.
    message = "JPEG in CMYK must be Adobe's, or be sent as PNG"
    with tf.control_dependencies([tf.Assert((shape[2] < 4) | adobe, [message])]):
        exif = tf.identity(exif)
    orientation = tf.cond(
        exif < 0, lambda: tf.constant(1), lambda: _read_orientation(encoded, exif)
    )
    return _layout(shape[:2], orientation, shape[2] > 3)


def _read_orientation(encoded: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Tag 274 of the first directory of the TIFF that starts there."""
    magic = tf.strings.substr(encoded, start, 4)
    big = magic == b"MM\0*"
    known = big | (magic == b"II*\0")
    offset, length = _number(encoded, start + 4, 32, big), tf.strings.length(encoded)
    folder = start + tf.where(offset < 0, length, tf.minimum(offset, length))
    count = tf.where(known, _number(encoded, folder, 16, big), 0)

    def goes_on(k, _):
        return k < count

    def step(k, found):
        entry = folder + 2 + 12 * k
        is_it = _number(encoded, entry, 16, big) == 274
        form = _number(encoded, entry + 2, 16, big)
        single = _number(encoded, entry + 4, 32, big) == 1
        short = _number(encoded, entry + 8, 16, big)
        value = tf.where(form == 3, short, _number(encoded, entry + 8, 32, big))
        known = single & ((form == 3) | (form == 4))
        value = tf.where(known & (value >= 1) & (value <= 8), value, 1)
        return tf.where(is_it, count, k + 1), tf.where(is_it, value, found)

    return tf.while_loop(goes_on, step, (tf.constant(0), tf.constant(1)))[1]


def _read_png(encoded: tf.Tensor) -> Layout:
    """Chunks are looked for by name: one found within pixels does no harm.

    Transparency costs time alone, EXIF has a beginning of its own.
    """
    size = [_number(encoded, 20, 32, True), _number(encoded, 16, 32, True)]
    colour = _number(encoded, 24, 16, True) % 256
    transparent = (colour == 4) | (colour == 6) | (_find(encoded, b"tRNS") >= 0)
    exif = _find(encoded, b"eXIf")
    orientation = tf.cond(
        exif < 0, lambda: tf.constant(1), lambda: _read_orientation(encoded, exif + 4)
    )
    return _layout(size, orientation, transparent)


def _find(encoded: tf.Tensor, part: bytes) -> tf.Tensor:
    """Where some bytes stand first, -1 if nowhere."""
    before = tf.strings.split(encoded, part, maxsplit=1)[0]
    length = tf.strings.length(before)
    return tf.where(length < tf.strings.length(encoded), length, -1)


def find_end_of_frame(encoded: tf.Tensor) -> tf.Tensor:
    """Where the first frame of a GIF ends."""
    return _walk_gif(encoded)[2]


def _walk_gif(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """(first frame's descriptor, whether it is transparent, where it ends)."""
    data = tf.cast(tf.io.decode_raw(encoded, tf.uint8), tf.int32)
    data = tf.concat([data, tf.zeros([16], tf.int32)], axis=0)
    last = tf.shape(data)[0] - 1
    at = lambda place: data[tf.minimum(place, last)]

    def skip_blocks(place):
        one = lambda place: (place + at(place) + 1,)
        return tf.while_loop(lambda place: at(place) > 0, one, (place,))[0] + 1

    def table(flags):
        return tf.where(flags >= 128, 3 * tf.bitwise.left_shift(2, flags % 8), 0)

    def skip_extension(place, transparent):
        graphics = at(place + 1) == 0xF9
        bit = at(place + 3) % 2 == 1
        return skip_blocks(place + 2), tf.where(graphics, bit, transparent)

    place, transparent = tf.while_loop(
        lambda place, _: at(place) == 0x21,
        skip_extension,
        (13 + table(at(10)), tf.constant(False)),
    )
    end = skip_blocks(place + 11 + table(at(place + 9)))
    return place, transparent, tf.minimum(end, tf.strings.length(encoded))


def _read_gif(encoded: tf.Tensor) -> Layout:
    """That of the first frame; it must be all of the image."""
    whole = [_number(encoded, 8, 16, False), _number(encoded, 6, 16, False)]
    place, transparent, _ = _walk_gif(encoded)
    frame = [_number(encoded, place + k, 16, False) for k in (7, 5, 1, 3)]
    covered = tf.reduce_all(tf.stack(frame) == tf.stack([*whole, 0, 0]))
    message = "GIF with transparent pixels must be sent as PNG"
    refused = tf.Assert(covered & ~transparent, [message])
    with tf.control_dependencies([refused]):
        return _layout(tf.identity(tf.stack(whole)))


def _read_bmp(encoded: tf.Tensor) -> Layout:
    bits, coding = _number(encoded, 28, 16, False), _number(encoded, 30, 32, False)
    old = _number(encoded, 14, 32, False) < 40
    message = "BMP must have 24 or 32 bits a pixel, uncompressed, or be sent as PNG"
    known = ((bits == 24) | (bits == 32)) & (coding == 0) & ~old
    with tf.control_dependencies([tf.Assert(known, [message])]):
        # The height is negative where rows run downwards.
        size = [_number(encoded, 22, 32, False), _number(encoded, 18, 32, False)]
        return _layout(tf.abs(tf.stack(size)))
