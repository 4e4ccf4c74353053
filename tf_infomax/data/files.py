"""Image files below a folder: names in order, decoded in threads, few at a time.

TensorFlow is imported when the first image is decoded.
"""

import hashlib
import io
import os
import stat
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np

from tf_infomax.data.gate import Gate
from tf_infomax.data.headers import LARGEST_FILE, PictureError
from tf_infomax.data.images import DataError

# What `make_decoder` makes of a file; changed with it, so that what has been decoded
# otherwise and kept is not taken for the same.
DECODING = "upright, over white, exact JPEG"

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp",
    ".tif", ".tiff", ".avif",
)  # fmt: skip
# Looked at as well, so that they are named where they cannot be read.
_OTHER_IMAGE_SUFFIXES = (
    ".heic", ".heif", ".jxl", ".jp2", ".psd", ".svg", ".ico", ".ppm", ".pgm", ".tga",
)  # fmt: skip


class ImageFolder:
    """The image files below a folder, in the order of their names.

    The names are read from the disk whenever they are asked for, never kept. What has
    the suffix of an image is among them even if it is a link to nowhere or no regular
    file, and a folder that cannot be listed is, with a slash: none is left out unsaid.
    Folders whose name begins with a dot are. Links to folders are followed, but each
    folder is gone through once, where it really lies if that is below this one.

    Attributes:
        count: how many there are.
        fingerprint: of their names, sizes and times of change.
        others: how many other files there are of each suffix, the commonest first.

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
        digest, self.count, others = hashlib.sha256(), 0, Counter()
        for name in self._walk():
            if not _is_image(name):
                others[Path(name).suffix.lower()] += 1
                continue
            digest.update(repr((name, *describe_file(self.path / name))).encode())
            self.count += 1
        self.fingerprint = digest.hexdigest()
        self.others = tuple(others.most_common())
        if not self.count:
            raise DataError(
                f"no images in {self.path} ({others.total()} other files). Accepted: "
                f"{', '.join(IMAGE_SUFFIXES)}, in the folder or below it."
            )

    def __iter__(self) -> Iterator[str]:
        return filter(_is_image, self._walk())

    @property
    def where(self) -> str:
        """Where it really lies."""
        return str(self.path.resolve())

    def measure(self, name: str) -> int:
        """As `measure_file`, of one of its files."""
        return measure_file(self.path / name)

    def fetch(self, name: str) -> bytes:
        """As `read_file`, of one of its files."""
        return read_file(self.path / name)

    def _walk(self) -> Iterator[str]:
        """Names of all files, and of folders that cannot be listed."""
        below, seen = [self._list("")], {_identify(self.path)}
        while below:
            name, entry = next(below[-1], (None, None))
            if name is None:
                below.pop()
            elif entry is None or not _is_folder(entry):
                yield name
            elif not entry.name.startswith(".") and self._is_new(entry, seen):
                below.append(self._list(f"{name}/"))

    def _list(self, below: str) -> Iterator[tuple[str, os.DirEntry | None]]:
        """(name, entry) of what a folder holds, sorted."""
        try:
            with os.scandir(self.path / below) as entries:
                ordered = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if not below:
                reason = error.strerror or error
                raise DataError(f"{self.path} cannot be read: {reason}.") from error
            yield below, None
            return
        for entry in ordered:
            yield below + entry.name, entry

    def _is_new(self, entry: os.DirEntry, seen: set) -> bool:
        """Whether a folder is to be gone through here, which is then noted."""
        identity = _identify(entry)
        if identity is None:  # then it cannot be listed either, which is said
            return True
        elsewhere = entry.is_symlink() and identity in self._real_folders
        if identity in seen or elsewhere:
            return False
        seen.add(identity)
        return True

    @cached_property
    def _real_folders(self) -> set:
        """All folders below this one that are reached without a link."""
        found, left = {_identify(self.path)}, [self.path]
        while left:
            try:
                with os.scandir(left.pop()) as entries:
                    folders = [e for e in entries if e.is_dir(follow_symlinks=False)]
            except OSError:
                continue
            folders = [each for each in folders if not each.name.startswith(".")]
            found.update(map(_identify, folders))
            found.discard(None)
            left += [each.path for each in folders]
        return found


def open_folder(path: str):
    """The images below a folder: here, or where a scheme (`gs://`) says.

    Raises:
        DataError: as `ImageFolder` does.
    """
    if "://" not in path:
        return ImageFolder(path)
    from tf_infomax.data.remote import RemoteFolder

    return RemoteFolder(path, _is_image)


def _is_image(name: str) -> bool:
    return name.lower().endswith((*IMAGE_SUFFIXES, *_OTHER_IMAGE_SUFFIXES, "/"))


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _identify(path: Path | os.DirEntry) -> tuple[int, int] | None:
    """Device and inode; None if rights, or a link's end, do not let one see."""
    try:
        # Not `entry.stat()`, which may answer from what the listing knew.
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def describe_file(path: Path) -> tuple[int, int]:
    """Size and time of change; zeros of what cannot be found."""
    try:
        found = path.stat()
    except OSError:  # a link to nowhere
        return 0, 0
    return found.st_size, found.st_mtime_ns


def count_others(others: Sequence[tuple[str, int]]) -> str:
    """How many files are no images by their names, as part of a line; else empty."""
    if not others:
        return ""
    shown = [f"{suffix or 'no suffix'} {number}" for suffix, number in others[:3]]
    total, more = sum(number for _, number in others), ", ..." * (len(others) > 3)
    files = "1 file is no image" if total == 1 else f"{total} files are no images"
    return f"; {files} by name ({', '.join(shown)}{more})"


def measure_file(path: Path) -> int:
    """The bytes of a regular file; nothing else is to be opened, since it might wait.

    Raises:
        PictureError: if it is none, or larger than `headers.LARGEST_FILE`.
        OSError: if it cannot be found.
    """
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise PictureError("folder cannot be listed")
    if not stat.S_ISREG(status.st_mode):
        raise PictureError("no regular file")
    if status.st_size > LARGEST_FILE:
        raise PictureError(f"file is larger than {LARGEST_FILE >> 20} MiB")
    return status.st_size


def read_file(path: Path) -> bytes:
    """The content of a file that `measure_file` has found regular."""
    # Should another have taken its place, opening does not wait either.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with io.FileIO(descriptor) as file:
        return file.readall()


def make_decoder(folder: Path, image_shape: tuple[int, int, int], rule: str):
    """A function from a file's name to uint8 `[H, W, C]`, or to why it has none."""
    measure, fetch = lambda n: measure_file(folder / n), lambda n: read_file(folder / n)
    return decode_by(measure, fetch, image_shape, rule)


def decode_by(
    measure: Callable[[object], int],
    fetch: Callable[[object], bytes],
    image_shape: tuple[int, int, int],
    rule: str,
):
    """A function from what `fetch` takes to uint8 `[H, W, C]`, or to why there is none.

    Args:
        measure: the bytes that `fetch` will give, before they are read.
        fetch: the encoded picture. Both may raise PictureError and OSError.
        image_shape: (H, W, C).
        rule: of `decoding.RESIZE_RULES`.
    """
    from tf_infomax.data.pictures import make_reader

    read = make_reader(image_shape, rule)
    gate = Gate(LARGEST_FILE)  # of what has been read and not yet decoded

    def decode(key) -> np.ndarray | str:
        try:
            with gate.hold(measure(key)):
                return read(fetch(key))
        except PictureError as error:
            return str(error)
        except OSError as error:
            return error.strerror or str(error)
        except MemoryError:
            return "not enough memory"

    return decode


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
