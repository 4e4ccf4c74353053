"""`tfrecord:PATTERN` and `array_record:PATTERN`: examples of pictures in large files.

The files are gone through once, for where each picture lies and what its label is; what
was found is kept in the folder of the caches.
"""

import glob
import mmap
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tf_infomax.data.encoded import Encoded, number_labels
from tf_infomax.data.examples import find_features
from tf_infomax.data.files import describe_file
from tf_infomax.data.headers import PictureError
from tf_infomax.data.images import DataError
from tf_infomax.data.lists import LABEL_NAMES, find_column, require_image_column
from tf_infomax.runtime import seals
from tf_infomax.runtime.files import replacing
from tf_infomax.runtime.progress import Progress, tell
from tf_infomax.runtime.seals import DamagedError

_HEAD, _TAIL = 12, 4  # bytes around a record of a TFRecord file: length, sums
_GZIP = b"\x1f\x8b"
_AT_A_TIME = 256  # records of an ArrayRecord file
_EXAMPLE = 0x0A  # the first byte of a tf.train.Example, and of no picture


@dataclass(frozen=True)
class _Place:
    """Where a picture lies: its record, and its bytes in there (or in the file)."""

    record: int
    start: int
    size: int
    label: str


def read_tfrecord(argument: str, options) -> Encoded:
    """Pictures in TFRecord files that are not compressed.

    Raises:
        DataError: if there are none, or the files are no such files.
    """
    files = match_files(argument, "tfrecord")
    maps = [_map(file) for file in files]
    index = _Index(files, options, lambda k: _scan_tfrecord(files[k], maps[k], options))

    def fetch(number: int) -> bytes:
        start = index.starts[number]
        return maps[index.files[number]][start : start + index.sizes[number]]

    return index.encode("TFRecord files", argument, fetch)


def read_array_record(argument: str, options) -> Encoded:
    """Pictures in ArrayRecord files: examples, or each record a picture.

    Raises:
        DataError: if there are none, or the files are no such files.
    """
    files = match_files(argument, "array_record")
    readers = [_open_array_record(file) for file in files]
    turns = [threading.Lock() for _ in files]
    scan = lambda k: _scan_array_record(files[k], readers[k], options)
    index = _Index(files, options, scan)

    def fetch(number: int) -> bytes:
        file = index.files[number]
        with turns[file]:
            (record,) = readers[file].read([int(index.records[number])])
        start = index.starts[number]
        return record[start : start + index.sizes[number]]

    return index.encode("ArrayRecord files", argument, fetch)


def match_files(pattern: str, kind: str) -> list[Path]:
    files = [Path(each) for each in sorted(glob.glob(str(Path(pattern).expanduser())))]
    files = [file for file in files if file.is_file()]
    if not pattern or not files:
        raise DataError(
            f"no files match {pattern!r} (dataset {kind}:PATTERN, * for any name)."
        )
    return files


class _Index:
    """Where all pictures of some files lie, and their labels: found once, then kept.

    Args:
        files: with the pictures.
        options: `sources.ReadOptions`.
        scan: number of a file -> the places of its pictures.
    """

    def __init__(
        self,
        files: Sequence[Path],
        options,
        scan: Callable[[int], Iterator[_Place]],
    ):
        columns = (options.image_column, options.label_column)
        self.key, self._names = (
            repr((describe_files(files), columns)),
            [f.name for f in files],
        )
        folder = Path(options.cache_dir).expanduser()
        kept = folder / f"records-{seals.digest(self.key)[:24]}.npz"
        arrays = _read_index(kept)
        if arrays is None:
            arrays = _make_index(files, scan)
            _keep_index(kept, arrays)
        self.files, self.records, self.starts, self.sizes, self.words = arrays

    def encode(self, kind: str, pattern: str, fetch: Callable[[int], bytes]) -> Encoded:
        """The pictures as a source."""
        labels, names = None, None
        if self.words.any():
            labels, names = number_labels(self.words)
        pairs = zip(self.files, self.records, strict=True)
        return Encoded(
            what=f"pictures in {kind} {pattern}",
            names=[f"{self._names[file]}:{record}" for file, record in pairs],
            measure=lambda number: int(self.sizes[number]),
            fetch=fetch,
            key=self.key,
            label=lambda kept: (None if labels is None else labels[kept], names, ()),
        )


def describe_files(files: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Where they lie, their sizes and times of change."""
    return [(str(file.resolve()), *describe_file(file)) for file in files]


def _make_index(files: Sequence[Path], scan) -> list[np.ndarray]:
    columns = [[] for _ in range(5)]
    total = sum(file.stat().st_size for file in files)
    done = 0
    with Progress(max(total >> 20, 1), unit="MB") as progress:
        for number, file in enumerate(files):
            for place in scan(number):
                row = (number, place.record, place.start, place.size, place.label)
                for column, value in zip(columns, row, strict=True):
                    column.append(value)
                progress.update(done + place.start >> 20)
            done += file.stat().st_size
    if not columns[0]:
        raise DataError(f"there are no records in {files[0]} and the files beside it.")
    *numbers, words = columns
    return [*(np.array(each, np.int64) for each in numbers), np.array(words, str)]


def _read_index(path: Path) -> list[np.ndarray] | None:
    try:
        if seals.open_archive(path, members=True) is None:
            return None
        with np.load(path, allow_pickle=False) as arrays:
            return [arrays[f"arr_{k}"] for k in range(5)]
    except (OSError, KeyError, DamagedError):
        return None


def _keep_index(path: Path, arrays: list[np.ndarray]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            np.savez(temporary, *arrays)
            seals.seal_archive(temporary)
    except OSError as error:
        tell(f"{path} cannot be written ({error.strerror or error}): not kept")


def _columns_of(features: dict, where: str, options) -> tuple[str, str]:
    """Names of the features with the picture and with the label."""
    known = sorted(features)
    pictures = [name for name in known if isinstance(features[name], tuple)]
    image = require_image_column(pictures, options.image_column, where)
    given = options.label_column
    return image, find_column(known, given, LABEL_NAMES, "label_column", where)


def _read_place(record: memoryview, number: int, columns: tuple) -> _Place:
    """Where an example's picture lies within it."""
    features = find_features(record)
    image, label = (features.get(name) for name in columns)
    if not isinstance(image, tuple):
        raise PictureError(f"no feature {columns[0]!r} of bytes")
    if isinstance(label, tuple):
        label = str(record[slice(*label)], "utf-8", "replace")
    word = "" if label is None else str(label)
    return _Place(number, image[0], image[1] - image[0], word)


def _map(file: Path) -> mmap.mmap:
    try:
        with open(file, "rb") as opened:
            content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise DataError(f"{file} is empty.") from error
    if content[:2] == _GZIP:
        raise DataError(
            f"{file} is compressed, and cannot be read from its middle: decompress it."
        )
    return content


def _scan_tfrecord(file: Path, content: mmap.mmap, options) -> Iterator[_Place]:
    view, start, number, columns = memoryview(content), 0, 0, None
    while start < len(view):
        size = int.from_bytes(view[start : start + 8], "little")
        first, end = start + _HEAD, start + _HEAD + size
        if end + _TAIL > len(view):
            raise DataError(
                f"{file} is cut off, or no TFRecord file: record {number} ends behind "
                "the end of the file."
            )
        record = view[first:end]
        with _naming(file, number):
            columns = columns or _columns_of(find_features(record), str(file), options)
            place = _read_place(record, number, columns)
        yield _Place(number, first + place.start, place.size, place.label)
        start, number = end + _TAIL, number + 1


def _scan_array_record(file: Path, reader, options) -> Iterator[_Place]:
    columns, count = None, reader.num_records()
    for first in range(0, count, _AT_A_TIME):
        last = min(first + _AT_A_TIME, count)
        for number, record in enumerate(reader.read(first, last), first):
            if record[:1] != bytes([_EXAMPLE]):
                yield _Place(number, 0, len(record), "")
                continue
            view = memoryview(record)
            with _naming(file, number):
                columns = columns or _columns_of(
                    find_features(view), str(file), options
                )
                yield _read_place(view, number, columns)


class _naming:  # noqa: N801 - reads as a function
    """Says in which record of which file something is wrong."""

    def __init__(self, file: Path, number: int):
        self.where = f"{file}, record {number}"

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, PictureError):
            raise DataError(f"{self.where}: {error}.") from error


def _open_array_record(file: Path):
    try:
        from array_record.python.array_record_module import ArrayRecordReader
    except ImportError as error:
        raise DataError(
            "array_record: is read by the package array_record, which is not "
            "installed: pip install array_record."
        ) from error
    make = partial(ArrayRecordReader, options="readahead_buffer_size:0")
    try:
        reader = make(str(file))
        if not reader.ok():
            raise ValueError("its end is not that of one.")
    except Exception as error:  # it raises what its C++ side makes of a wrong file
        reason = str(error).splitlines()[0][:160]
        raise DataError(f"{file} is no ArrayRecord file: {reason}") from error
    return reader
