"""Folders on file systems that TensorFlow reads: `gs://bucket/photos` and others."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from tf_infomax.data.headers import LARGEST_FILE, PictureError
from tf_infomax.data.images import DataError


class RemoteFolder:
    """What `files.ImageFolder` is, of a path with a scheme.

    Args:
        path: `scheme://...`.
        is_image: whether a file of this name is to be decoded.

    Raises:
        DataError: if this TensorFlow cannot read the scheme, or there is no such
            folder, or no image in it.
    """

    def __init__(self, path: str, is_image: Callable[[str], bool]):
        self.path = self.where = path.rstrip("/")
        self._is_image = is_image
        digest, self.count, others = hashlib.sha256(), 0, Counter()
        _check_scheme(path)
        try:
            if not _gfile().isdir(self.path):
                raise DataError(f"no such folder, or no access to it: {path!r}.")
            for name in self._walk():
                if not is_image(name):
                    others[Path(name).suffix.lower()] += 1
                    continue
                status = _gfile().stat(self._join(name))
                described = (name, status.length, status.mtime_nsec)
                digest.update(repr(described).encode())
                self.count += 1
        except _errors() as error:
            raise DataError(f"{path} cannot be read: {_first_line(error)}.") from error
        self.fingerprint = digest.hexdigest()
        self.others = tuple(others.most_common())
        if not self.count:
            raise DataError(
                f"no images in {path} ({others.total()} other files), nor below it."
            )

    def __iter__(self) -> Iterator[str]:
        return filter(self._is_image, self._walk())

    def measure(self, name: str) -> int:
        """The bytes of a file."""
        try:
            size = _gfile().stat(self._join(name)).length
        except _errors() as error:
            raise PictureError(_first_line(error)) from error
        if size > LARGEST_FILE:
            raise PictureError(f"file is larger than {LARGEST_FILE >> 20} MiB")
        return size

    def fetch(self, name: str) -> bytes:
        """What a file holds."""
        try:
            with _gfile().GFile(self._join(name), "rb") as file:
                return file.read()
        except _errors() as error:
            raise PictureError(_first_line(error)) from error

    def _join(self, name: str) -> str:
        return f"{self.path}/{name}"

    def _walk(self) -> Iterator[str]:
        """Names of all files, in the order of names."""
        for folder, folders, files in _gfile().walk(self.path):
            folders.sort()
            below = folder.rstrip("/").removeprefix(self.path).strip("/")
            for name in sorted(files):
                yield f"{below}/{name}" if below else name


def _gfile():
    import tensorflow as tf

    return tf.io.gfile


def _errors() -> type[Exception]:
    import tensorflow as tf

    return tf.errors.OpError


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:160]


def _check_scheme(path: str) -> None:
    scheme, known = path.partition("://")[0], sorted(_gfile().get_registered_schemes())
    if scheme not in known:
        raise DataError(
            f"{path}: this TensorFlow reads no {scheme}://. Accepted: "
            f"{', '.join(f'{each}://' for each in known if each)}, or a local folder, "
            "such as one at which the bucket is mounted."
        )
