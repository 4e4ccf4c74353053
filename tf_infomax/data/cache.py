"""Decoded images in a memory-mapped file, checked before they are believed.

Beside the array `KEY.npy` lies `KEY.json`, sealed: what the decoder found, and the
CRC-32 of every 16 MiB. All of it is read once when it is opened, by all cores. What is
damaged, or of a version without sums, is made again.
"""

import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tf_infomax.data.images import DataError
from tf_infomax.runtime import locks, seals
from tf_infomax.runtime.progress import tell
from tf_infomax.runtime.seals import DamagedError

_CHUNK = 16 << 20  # bytes


def read_or_make(
    cache: Path,
    key: str,
    shape: tuple[int, ...],
    fill: Callable[[np.ndarray], list],
) -> tuple[np.ndarray, list]:
    """A uint8 array from the cache, and what `fill` returned when it was made.

    Of several processes that want it one makes it, and the others wait.

    Args:
        cache: folder; made if missing.
        key: of all that the content depends on.
        shape: of the array.
        fill: writes the array and returns what is kept beside it, for JSON.

    Raises:
        DataError: if it has to be made and the folder cannot be written.
    """
    stem = seals.digest(key)[:24]
    array, index = cache / f"{stem}.npy", cache / f"{stem}.json"
    try:
        return _read(array, index, shape)
    except (OSError, DamagedError):
        pass
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with locks.locked(cache / f"{stem}.lock", wait=True):
            for left in cache.glob(f"{stem}.*.tmp"):  # of versions without locks
                left.unlink()
            locks.remove_abandoned(cache)
            try:
                return _read(array, index, shape)  # another may have just made it
            except FileNotFoundError:
                pass
            except DamagedError as error:
                tell(f"{error}: the images are decoded again")
            _make(array, index, shape, fill)
    except OSError as error:
        raise DataError(
            f"--cache_dir={cache} cannot be written: {error.strerror or error}."
        ) from error
    return _read(array, index, shape)


def _read(array: Path, index: Path, shape: tuple) -> tuple[np.ndarray, list]:
    try:
        content, facts = seals.open_json(index.read_bytes())
        if facts is None:
            raise DamagedError("has no seal, as of an earlier version")
    except DamagedError as error:
        raise DamagedError(f"{index} {error}") from error
    try:
        images = np.load(array, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise
    except Exception as error:  # NumPy raises what a wrong byte in the head leads to
        raise DamagedError(f"{array} is cut off or no array") from error
    if (images.shape, images.dtype) != (shape, np.uint8):
        raise DamagedError(f"{array} holds {images.dtype} {list(images.shape)}")
    if _sum(images) != content.get("sums"):
        raise DamagedError(f"{array} was changed after it was written")
    return images, content["found"]


def _make(array: Path, index: Path, shape: tuple, fill: Callable) -> None:
    with locks.temporary(array) as temporary:
        images = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
        content = {"found": fill(images), "sums": _sum(images)}
        images.flush()
        os.replace(temporary, array)
    with locks.temporary(index) as temporary:
        temporary.write_text(seals.seal_json(content), encoding="utf-8")
        os.replace(temporary, index)


def _sum(images: np.ndarray) -> list[int]:
    """CRC-32 of each 16 MiB."""
    flat = images.reshape(-1)
    parts = [flat[start : start + _CHUNK] for start in range(0, len(flat), _CHUNK)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(zlib.crc32, parts))
