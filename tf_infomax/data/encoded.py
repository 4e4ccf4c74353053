"""From encoded pictures, wherever they lie, to a set of images of one size.

A source says how many pictures it has, how one is read and what its label is. Few small
ones are decoded at once, so that the unusable are left out before anything is divided;
others when they are needed (`streams`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tf_infomax.data.cache import open_store
from tf_infomax.data.files import DECODING, decode_by, map_batches
from tf_infomax.data.headers import PictureError
from tf_infomax.data.images import DataError, ImageSet
from tf_infomax.data.streams import Pile, StreamedImages

# What is decoded before the first step, a matter of seconds: pictures, bytes of their
# files, and of their images. No option bears on it, since which files are left out must
# not hang on where images are kept.
_FEW, _SMALL, _LITTLE = 2000, 64 << 20, 512 << 20
_DECODED = 64 << 20  # bytes of images in a batch on their way

Labels = tuple[np.ndarray | None, tuple[str, ...] | None, tuple[str, ...]]


@dataclass(frozen=True)
class Encoded:
    """Encoded pictures by number.

    Attributes:
        what: they are, and where, for a line on the screen.
        names: of the pictures.
        measure: number -> bytes of the picture, before it is read.
        fetch: number -> the picture; both may raise OSError and `PictureError`.
        key: of all that their content depends on.
        label: numbers -> labels, class names, what is to be said of them.
        others: (suffix, how many) of files that are no images by name.
    """

    what: str
    names: Sequence[str]
    measure: Callable[[int], int]
    fetch: Callable[[int], bytes]
    key: str
    label: Callable[[np.ndarray], Labels]
    others: tuple[tuple[str, int], ...] = ()


def make_set(source: Encoded, options) -> ImageSet:
    """The pictures as images of `image_size`.

    Args:
        source: of the pictures.
        options: `sources.ReadOptions`.

    Raises:
        DataError: if no size was given, or none of the pictures can be used.
    """
    side = options.image_size
    if not side:
        raise DataError(
            f"{source.what} need a size to be resized to: --image_size, from 8 to 1024."
        )
    shape = (side, side, 3)
    decode = decode_by(source.measure, source.fetch, shape, options.resize)
    if _is_little(source, shape):
        return _decode_all(source, decode, shape)
    return _stream(source, decode, shape, options)


def _is_little(source: Encoded, shape: tuple) -> bool:
    count, size = len(source.names), 0
    if count > _FEW or count * np.prod(shape) > _LITTLE:
        return False
    for number in range(count):
        try:
            size += source.measure(number)
        except (OSError, PictureError):  # it is left out later, by its name
            continue
    return size <= _SMALL


def _decode_all(source: Encoded, decode, shape: tuple) -> ImageSet:
    """All that can be used, in memory."""
    images = np.empty((len(source.names), *shape), np.uint8)
    kept, skipped = [], []
    batch_size = min(max(_DECODED // int(np.prod(shape)), 1), 256)
    for numbers, batch in map_batches(decode, range(len(source.names)), batch_size):
        for number, result in zip(numbers, batch, strict=True):
            if isinstance(result, str):
                skipped.append((source.names[number], result))
            else:
                images[len(kept)] = result
                kept.append(number)
    if not kept:
        raise DataError(
            f"none of the {len(source.names)} {source.what} can be used; the first: "
            f"{skipped[0][0]} ({skipped[0][1]})."
        )
    labels, class_names, notes = source.label(np.array(kept))
    names = tuple(source.names[k] for k in kept)
    told = (tuple(skipped), source.others, notes)
    return ImageSet(images[: len(kept)], labels, class_names, names, *told)


def _stream(source: Encoded, decode, shape: tuple, options) -> ImageSet:
    """All of them, decoded when they are needed."""
    names = tuple(source.names)
    numbers = np.arange(len(names))
    labels, class_names, notes = source.label(numbers)
    key = f"{source.key} {shape} {options.resize} {DECODING}"
    limits = (options.memory_limit, options.cache_dir)
    store = open_store(options.cache, len(names), shape, key, *limits)
    images = StreamedImages(Pile(decode, names, shape, key, store, labels), numbers)
    return ImageSet(images, labels, class_names, names, (), source.others, notes)


def number_labels(values: Sequence) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """(labels, class names) of whole numbers, or of words, in the order of the words.

    A number below 0 and an empty word are no label: -1.

    Raises:
        DataError: for numbers that are not whole.
    """
    words = [str(value).strip() for value in values]
    if all(_is_whole(word) for word in words if word):
        numbers = [int(word) if word else -1 for word in words]
        return np.maximum(np.array(numbers, np.int64), -1), None
    known = sorted({word for word in words if word})
    index = {word: k for k, word in enumerate(known)}
    return np.array([index.get(word, -1) for word in words], np.int64), tuple(known)


def _is_whole(word: str) -> bool:
    digits = word.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < 19
