"""Embeddings on the disk while they are being computed."""

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tf_infomax.config import ConfigError

_SHOWN = 3  # skipped files named in a summary


class Parts:
    """Embeddings done so far, in a folder: rows, and a journal with a line per batch.

    A batch counts once its line is complete on the disk; what a kill has left after
    that is cut off when the folder is opened again.

    Args:
        folder: made if missing.
        key: what the embeddings depend on. Parts of another key are discarded.
        width: numbers per embedding.

    Attributes:
        files: how many files are done, `count` of them embedded.
        skipped: how many could not be used; `shown` holds the first few.
        longest: length of the longest name.
        discarded: the entries of the key that differed, if parts were discarded.

    Raises:
        ConfigError: if the folder cannot be written or another process has it open.
    """

    def __init__(self, folder: Path, key: dict[str, str], width: int):
        self.folder, self.width = folder, width
        self.files = self.count = self.skipped = self.longest = 0
        self.shown: list[tuple[str, str]] = []
        self._journal, self._rows = folder / "journal.jsonl", folder / "rows.f32"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o644)
            for file in (self._journal, self._rows):
                file.touch()
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"{folder} cannot be written: {reason}.") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{folder} is being written by another run.") from None
        self.discarded = self._claim(key)
        self._recover()

    def _claim(self, key: dict[str, str]) -> list[str]:
        file = self.folder / "key.json"
        try:
            found = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            found = {}
        if found == key:
            return []
        os.truncate(self._journal, 0)
        os.truncate(self._rows, 0)
        file.write_text(json.dumps(key), "utf-8")
        return [name for name in found if found[name] != key.get(name)]

    def _recover(self) -> None:
        """Reads the journal and cuts off what is not complete."""
        size, end = self._rows.stat().st_size, 0
        with open(self._journal, "rb") as journal:
            for line in journal:
                if not line.endswith(b"\n"):
                    break
                entry = json.loads(line)
                if (self.count + len(entry["names"])) * self.width * 4 > size:
                    break
                self._note(entry)
                end += len(line)
        os.truncate(self._journal, end)
        os.truncate(self._rows, self.count * self.width * 4)

    def _note(self, entry: dict) -> None:
        names, skipped = entry["names"], entry["skipped"]
        self.files += len(names) + len(skipped)
        self.count += len(names)
        self.skipped += len(skipped)
        self.shown += map(tuple, skipped[: _SHOWN - len(self.shown)])
        self.longest = max([self.longest, *map(len, names)])

    def add(self, names: list[str], rows: np.ndarray, skipped: list) -> None:
        """Keeps a batch: names with float32 rows `[n, D]`, and (name, reason) pairs."""
        entry = {"names": names, "skipped": skipped}
        _append(self._rows, rows.tobytes())
        _append(self._journal, json.dumps(entry).encode() + b"\n")
        self._note(entry)

    def _entries(self) -> Iterator[dict]:
        with open(self._journal, "rb") as journal:
            yield from map(json.loads, journal)

    def batches(self) -> Iterator[tuple[list[str], np.ndarray]]:
        """Yields (names, float32 rows `[n, D]`) as they were added."""
        with open(self._rows, "rb") as file:
            for entry in self._entries():
                names = entry["names"]
                data = file.read(len(names) * self.width * 4)
                yield (
                    names,
                    np.frombuffer(data, np.float32).reshape(len(names), self.width),
                )

    def skipped_files(self) -> Iterator[tuple[str, str]]:
        """Yields (name, reason) of every file that could not be used."""
        for entry in self._entries():
            yield from map(tuple, entry["skipped"])

    def close(self) -> None:
        """Lets another run have the folder."""
        os.close(self._lock)


def _append(file: Path, data: bytes) -> None:
    """Adds bytes to a file; they are on the disk when this returns."""
    with open(file, "ab") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())


def parts_folder(output: Path) -> Path:
    """Where the parts of an output lie until it is complete."""
    return output.with_name(f".{output.name}.parts")
