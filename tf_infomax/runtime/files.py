"""How files come into being: whole or not at all, where they can."""

import csv
import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tf_infomax.runtime import locks
from tf_infomax.runtime.errors import ConfigError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it when the block succeeds.

    What processes that were killed have left of `path` is removed.
    """
    ours = f".{glob.escape(path.stem)}.*.tmp{glob.escape(path.suffix)}"
    locks.remove_abandoned(path.parent, ours)
    with locks.temporary(path) as temporary:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that becomes `path` when the block succeeds.

    Raises:
        FileExistsError: if there is something at `path`.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists already; choose another name.")
    locks.remove_abandoned(path.parent, f".{glob.escape(path.name)}.*.tmp")
    with locks.temporary(path, folder=True) as temporary:
        yield temporary
        os.rename(temporary, path)


def write_skipped(path: Path, skipped: Iterable[tuple[str, str]]) -> None:
    """CSV `name,reason` of every file that could not be used."""
    write_rows(path, ("name", "reason"), skipped)


def write_rows(path: Path, head: Sequence[str], rows: Iterable[Sequence]) -> None:
    """CSV with names of files in it, which may hold bytes that are no text."""
    with (
        replacing(path) as temporary,
        open(
            temporary, "w", newline="", encoding="utf-8", errors="surrogateescape"
        ) as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)


def check_writable(folder: Path, given: str) -> None:
    """Whether a folder can be made or written in; writes nothing.

    Args:
        folder: the folder.
        given: the flag with its value, for the error.

    Raises:
        ConfigError: that says what is in the way.
    """
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigError(
            f"{given} cannot be written: {existing} is "
            f"{'read-only' if existing.is_dir() else 'a file'}."
        )
