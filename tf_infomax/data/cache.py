"""Where decoded images are kept: in memory, on the disk, or nowhere.

Every store has `read` and `write` of rows by number, for many threads at a time. On the
disk a row counts only if its CRC-32, written after it, is that of its bytes: what a
killed process leaves half written, or what was damaged since, is as if it were not
there, and no process needs to wait for another, since all write the same.
"""

import os
import threading
import zlib
from pathlib import Path
from typing import Protocol

import numpy as np

from tf_infomax.data.images import DataError
from tf_infomax.runtime import seals
from tf_infomax.runtime.progress import tell

_SHARD = 256 << 20  # bytes of a file, unless there would be too many of them
_MOST_SHARDS = 256
_SPARE = 2  # of free disk, in sizes of the images, before `auto` takes it


class Store(Protocol):
    """Rows of images that have been decoded before."""

    def read(self, rows: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Fills in the images of the rows that are here; which they are, bool `[k]`."""

    def write(self, row: int, image: np.ndarray) -> None:
        """Keeps an image."""


class Nowhere:
    """Keeps nothing: every image is decoded whenever it is needed."""

    def read(self, rows: np.ndarray, images: np.ndarray) -> np.ndarray:
        return np.zeros(len(rows), bool)

    def write(self, row: int, image: np.ndarray) -> None:
        pass


class Memory:
    """One array, of which the system gives what is written to."""

    def __init__(self, count: int, image_shape: tuple[int, ...]):
        self._images = np.empty((count, *image_shape), np.uint8)
        self._here = np.zeros(count, bool)

    def read(self, rows: np.ndarray, images: np.ndarray) -> np.ndarray:
        here = self._here[rows]
        images[here] = self._images[rows[here]]
        return here

    def write(self, row: int, image: np.ndarray) -> None:
        self._images[row] = image
        self._here[row] = True


class Disk:
    """Files of a few hundred rows each, and one with the sum of every row.

    Args:
        folder: made if missing.
        count, image_shape: of the images.

    Raises:
        OSError: if the folder cannot be written.
    """

    def __init__(self, folder: Path, count: int, image_shape: tuple[int, ...]):
        self._size = int(np.prod(image_shape))
        self._rows = max(_SHARD // self._size, -(-count // _MOST_SHARDS), 1)
        self._folder, self._files, self._full = folder, {}, False
        self._turn = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        file = self._open("sums")
        os.ftruncate(file, 4 * count)
        self._sums = np.frombuffer(os.pread(file, 4 * count, 0), np.uint32).copy()

    @property
    def share(self) -> float:
        """The part of the rows that was written, by this process or before."""
        return float(np.mean(self._sums != 0))

    def read(self, rows: np.ndarray, images: np.ndarray) -> np.ndarray:
        here = self._sums[rows] != 0
        for place in np.flatnonzero(here):
            row = int(rows[place])
            file, start = self._place(row)
            content = os.pread(file, self._size, start)
            here[place] = _sum(content) == self._sums[row]
            if here[place]:
                image = np.frombuffer(content, np.uint8)
                images[place] = image.reshape(images.shape[1:])
        return here

    def write(self, row: int, image: np.ndarray) -> None:
        if self._full:
            return
        content = np.ascontiguousarray(image).tobytes()
        file, start = self._place(row)
        total = np.uint32(_sum(content))
        try:
            os.pwrite(file, content, start)
            os.pwrite(self._open("sums"), total.tobytes(), 4 * row)
        except OSError as error:  # the images are needed, the cache is not
            self._give_up(error)
            return
        self._sums[row] = total

    def _give_up(self, error: OSError) -> None:
        """Keeps no more, and says so once, whichever thread it has met."""
        with self._turn:
            if self._full:
                return
            self._full = True
        tell(
            f"{self._folder} cannot be written ({error.strerror or error}): no more "
            "decoded images are kept"
        )

    def _place(self, row: int) -> tuple[int, int]:
        shard, within = divmod(row, self._rows)
        return self._open(f"{shard:03d}"), self._size * within

    def _open(self, name: str) -> int:
        """A file of the folder; it stays open as long as the process runs."""
        if name not in self._files:
            with self._turn:
                if name not in self._files:
                    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
                    self._files[name] = os.open(self._folder / name, flags, 0o644)
        return self._files[name]


def _sum(content: bytes) -> int:
    """CRC-32, but never 0, which stands for a row that is not there."""
    return zlib.crc32(content) or 1


def open_store(
    cache: str,
    count: int,
    image_shape: tuple[int, ...],
    key: str,
    memory_limit: int,
    cache_dir: str,
) -> Store:
    """The store for these images, which is told in a line.

    Args:
        cache: "memory", "disk", "none"; "auto" takes memory if the images fit, else the
            disk if it has twice the room, else nothing.
        count, image_shape: of the images.
        key: of all that the images depend on.
        memory_limit: bytes.
        cache_dir: folder of the stores on the disk.

    Raises:
        DataError: if memory was asked for and they do not fit, or the disk and it
            cannot be written.
    """
    size, folder = count * int(np.prod(image_shape)), Path(cache_dir).expanduser()
    amount = f"{count} images, {size / 1e6:,.0f} MB"
    if cache == "memory" and size > memory_limit:
        raise DataError(
            f"--cache=memory: {amount} do not fit in --memory_limit_mb="
            f"{memory_limit >> 20}. Accepted: more of it, --cache=disk or none."
        )
    if cache == "auto":
        cache = "memory" if size <= memory_limit else "disk"
        if cache == "disk" and _free(folder) < _SPARE * size:
            cache = "none"
    if cache == "memory":
        tell(f"images are decoded as they are needed and kept in memory ({amount})")
        return Memory(count, image_shape)
    if cache == "none":
        tell(f"images are decoded whenever they are needed, and not kept ({amount})")
        return Nowhere()
    folder = folder / f"images-{seals.digest(key)[:24]}"
    try:
        store = Disk(folder, count, image_shape)
    except OSError as error:
        raise DataError(
            f"--cache_dir={cache_dir} cannot be written: {error.strerror or error}."
        ) from error
    tell(
        f"images are decoded as they are needed and kept in {folder} ({amount}; "
        f"{store.share:.0%} are there)"
    )
    return store


def _free(folder: Path) -> int:
    """Bytes that may be written below a folder that may not be there yet."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    found = os.statvfs(there)
    return found.f_bavail * found.f_frsize
