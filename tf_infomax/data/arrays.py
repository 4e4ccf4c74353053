"""Arrays of numbers from .npy and .npz files that may be damaged or made to do harm.

What a file claims is looked at before anything of that size is allocated.
"""

import math
import os
import stat
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from tf_infomax.data.images import DataError

_LONGEST_HEADER = 10_000  # bytes, NumPy's own limit
_NO_OBJECTS = "it is no .npy or .npz file of numbers (Python objects are never loaded)"


def load_arrays(
    path: Path,
    limit: int,
    choose: Callable[[list[str]], Iterable[str]] = lambda names: names,
    map_large: bool = False,
    advice: str = "",
) -> np.ndarray | dict[str, np.ndarray]:
    """The array of a .npy file, or those of an .npz by name.

    Args:
        path: the file.
        limit: most bytes of an .npz unpacked.
        choose: of the names of an .npz, those whose arrays are wanted.
        map_large: whether a .npy of more than `limit` bytes is memory-mapped.
        advice: what to do about an .npz beyond the limit.

    Raises:
        DataError: one line with the file's name: why it cannot be read.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("it is no regular file")
        if zipfile.is_zipfile(path):
            return _load_zip(path, limit, choose, advice)
        return _load_npy(path, limit if map_large else math.inf)
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"no such file: {str(path)!r}.") from error
    except (MemoryError, OverflowError) as error:
        raise DataError(f"{path} needs more memory than there is.") from error
    except Exception as error:  # damage shows as whatever it makes the readers raise
        raise DataError(f"{path} cannot be read: {_explain(error)}.") from error


def _explain(error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    reason = " ".join(reason.split()).rstrip(".")
    # NumPy's own advice would be to allow pickles.
    return _NO_OBJECTS if "pickle" in reason else reason[:200]


def _load_npy(path: Path, limit: float) -> np.ndarray:
    with open(path, "rb") as file:
        needed = _read_claim(file)
        held = os.fstat(file.fileno()).st_size - file.tell()
        if needed > held:
            raise ValueError(f"it is cut off: {held} of {needed} bytes are there")
    mode = "r" if os.path.getsize(path) > limit else None
    return np.load(path, allow_pickle=False, mmap_mode=mode)


def _load_zip(path: Path, limit: int, choose, advice: str) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        members = {
            info.filename.removesuffix(".npy"): info for info in archive.infolist()
        }
        if len(members) < len(archive.infolist()):
            raise ValueError("it has two arrays of one name")
        wanted = list(choose(list(members)))
        size = sum(members[name].file_size for name in wanted)
        if size > limit:
            raise DataError(
                f"{path} unpacks to {size / 2**20:,.0f} MB, more than "
                f"{limit / 2**20:,.0f}.{advice}"
            )
        return {name: _load_member(archive, members[name], path) for name in wanted}


def _load_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path):
    try:
        with archive.open(info) as file:
            needed = _read_claim(file)
        with archive.open(info) as file:
            if needed > info.file_size:
                raise ValueError(f"it is cut off: {info.file_size} of {needed} bytes")
            array = npy.read_array(file, allow_pickle=False)
            file.read()  # to the end, where the checksum is compared
            return array
    except (MemoryError, OverflowError):
        raise
    except Exception as error:
        name = info.filename.removesuffix(".npy")
        raise DataError(f"{path}, array {name!r}: {_explain(error)}.") from error


def _read_claim(file: BinaryIO) -> int:
    """Bytes of the array that the header, which is read, says will follow."""
    try:
        version = npy.read_magic(file)
    except ValueError as error:
        raise ValueError(_NO_OBJECTS) from error
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in read:
        raise ValueError(f"its version {version} is not known")
    _check_header_length(file, 2 * version[0])
    shape, _, dtype = read[version](file)
    if dtype.hasobject:
        raise ValueError(_NO_OBJECTS)
    if any(axis < 0 for axis in shape):
        raise ValueError(f"its shape is {shape}")
    return math.prod(shape) * dtype.itemsize


def _check_header_length(file: BinaryIO, bytes_of_length: int) -> None:
    """Raises ValueError for a header that would take memory only to be refused."""
    place = file.tell()
    length = int.from_bytes(file.read(bytes_of_length), "little")
    if length > _LONGEST_HEADER:
        raise ValueError(f"its header claims {length} bytes")
    file.seek(place)
