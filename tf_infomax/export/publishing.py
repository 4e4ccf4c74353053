"""Versions of a served model: numbered entries of a folder, each there by one rename.

TensorFlow Serving polls the folder and takes every entry whose name is a number, so
nothing under such a name may ever be incomplete.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tf_infomax.embedding.versions import read_version
from tf_infomax.options import ConfigError
from tf_infomax.runtime import locks


def choose_version(folder: Path, wanted: int, suffix: str = "") -> int:
    """The version wanted, or for 0 the one after the highest there is.

    Raises:
        ConfigError: if the version wanted exists.
    """
    entries = folder.iterdir() if folder.is_dir() else ()
    found = (read_version(entry.name.split(".")[0]) for entry in entries)
    highest = max((each for each in found if each is not None), default=0)
    if wanted and (folder / f"{wanted}{suffix}").exists():
        raise ConfigError(
            f"--version={wanted}: {folder / f'{wanted}{suffix}'} exists and is not "
            "overwritten. Leave --version out for the next free one."
        )
    return wanted or highest + 1


@contextmanager
def publishing(target: Path) -> Iterator[Path]:
    """A temporary path beside `target` that becomes it when the block succeeds.

    Raises:
        ConfigError: if the folder cannot be written or another export has taken the
            name in the meantime.
    """
    folder = target.parent
    with ExitStack() as made:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            locks.remove_abandoned(folder)
            # Probed now: minutes of work should not end at the rename.
            temporary = made.enter_context(locks.temporary(target, folder=True))
        except OSError as error:
            raise ConfigError(
                f"{folder} cannot be written: {error.strerror}."
            ) from error
        built = temporary / target.name
        try:
            yield built
            _sync(built)
            if target.exists():  # rename would replace an empty folder, or any file
                raise FileExistsError(target)
            os.rename(built, target)
        except FileExistsError as error:
            raise ConfigError(
                f"{target} was taken by another export meanwhile."
            ) from error


def _sync(path: Path) -> None:
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    for each in files:
        with open(each, "rb") as file:
            os.fsync(file.fileno())
