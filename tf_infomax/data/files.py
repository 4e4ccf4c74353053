"""Image files below a folder: names in order, decoded in threads, few at a time.

TensorFlow is imported when the first image is decoded.
"""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from tf_infomax.data.images import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
# Looked at only to say that they are not supported.
_OTHER_IMAGE_SUFFIXES = (".webp", ".tif", ".tiff", ".heic", ".avif")


class ImageFolder:
    """The image files below a folder, in the order of their names.

    The names are read from the disk whenever they are asked for, never kept.

    Attributes:
        count: how many there are.
        fingerprint: of their names, sizes and times of change.

    Raises:
        DataError: if there is no such folder, or no image in it.
    """

    def __init__(self, path: str | Path):
        if not str(path):
            raise DataError("the folder of the images is not named: folder:PATH.")
        self.path = Path(path).expanduser()
        if self.path.is_file():
            raise DataError(f"{str(path)!r} is a file, where a folder is wanted.")
        if not self.path.is_dir():
            raise DataError(f"no such folder: {str(path)!r}.")
        digest, self.count = hashlib.sha256(), 0
        for name in self:
            found = (self.path / name).stat()
            digest.update(repr((name, found.st_size, found.st_mtime_ns)).encode())
            self.count += 1
        self.fingerprint = digest.hexdigest()
        if not self.count:
            others = sum(path.is_file() for path in self.path.rglob("*"))
            raise DataError(
                f"no images in {self.path} ({others} other files). Accepted: "
                f"{', '.join(IMAGE_SUFFIXES)}, in the folder or below it."
            )

    def __iter__(self) -> Iterator[str]:
        yield from self._walk("", frozenset())

    def _walk(self, below: str, above: frozenset[str]) -> Iterator[str]:
        """Names below a folder; a link back to a folder above is not followed."""
        here = os.path.realpath(self.path / below)
        if here in above:
            return
        suffixes = IMAGE_SUFFIXES + _OTHER_IMAGE_SUFFIXES
        with os.scandir(self.path / below) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
        for entry in ordered:
            if entry.is_dir():
                if not entry.name.startswith("."):
                    yield from self._walk(f"{below}{entry.name}/", above | {here})
            elif entry.name.lower().endswith(suffixes) and entry.is_file():
                yield below + entry.name


def make_decoder(folder: Path, image_shape: tuple[int, int, int], rule: str):
    """A function from a file's name to uint8 `[H, W, C]`, or to why it has none."""
    import tensorflow as tf

    from tf_infomax.data.decoding import decode, explain, resize

    height, width, channels = image_shape

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def decode_and_resize(encoded):
        return resize(decode(encoded, channels), (height, width), rule)

    # Traced here and not by the first of many threads.
    decode_and_resize = decode_and_resize.get_concrete_function()

    def decode_file(name: str) -> np.ndarray | str:
        if not name.lower().endswith(IMAGE_SUFFIXES):
            return f"format not supported ({', '.join(IMAGE_SUFFIXES)} are)"
        try:
            encoded = (folder / name).read_bytes()
            if not encoded:
                return "empty file"
            return decode_and_resize(tf.constant(encoded)).numpy()
        except tf.errors.OpError as error:
            return explain(error)
        except OSError as error:
            return error.strerror or str(error)

    return decode_file


def map_batches(
    function: Callable, names: Iterable[str], batch_size: int
) -> Iterator[tuple[list[str], list]]:
    """Yields (names, results) of `batch_size` names at a time, computed in threads.

    The next batch is on its way while one is consumed, so that at most two exist.
    """
    names, waiting = iter(names), deque()
    pool = ThreadPoolExecutor(max_workers=os.cpu_count())
    try:
        while batch := list(islice(names, batch_size)):
            waiting.append((batch, [pool.submit(function, name) for name in batch]))
            if len(waiting) == 2:
                done, futures = waiting.popleft()
                yield done, [future.result() for future in futures]
        for done, futures in waiting:
            yield done, [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)
