"""Embeddings on the disk while they are being computed."""

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from tf_infomax.options import ConfigError
from tf_infomax.runtime import locks

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
            self._held = ExitStack()
            taken = self._held.enter_context(locks.locked(folder / "lock"))
            for file in (self._journal, self._rows):
                file.touch()
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"{folder} cannot be written: {reason}.") from error
        if not taken:
            holder = locks.describe_holder(folder / "lock")
            raise ConfigError(f"{folder} is being written by {holder}.")
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
        # Nothing has differed from what was never begun.
        return [name for name in key if found and found.get(name) != key[name]]

    def _recover(self) -> None:
        """Reads journal and rows, and cuts off what is not whole."""
        end = 0
        with open(self._journal, "rb") as journal, open(self._rows, "rb") as rows:
            for line in journal:
                if (entry := self._read_entry(line, rows)) is None:
                    break
                self._note(entry)
                end += len(line)
        os.truncate(self._journal, end)
        os.truncate(self._rows, self.count * self.width * 4)

    def _read_entry(self, line: bytes, rows) -> dict | None:
        """A line of the journal; None unless it and its rows are what was added."""
        try:
            entry = json.loads(line)
            data = rows.read(len(entry["names"]) * self.width * 4)
            whole = line == _format_entry(entry["names"], entry["skipped"], data)
            return entry if whole else None
        except (ValueError, KeyError, TypeError):
            return None

    def _note(self, entry: dict) -> None:
        names, skipped = entry["names"], entry["skipped"]
        self.files += len(names) + len(skipped)
        self.count += len(names)
        self.skipped += len(skipped)
        self.shown += map(tuple, skipped[: _SHOWN - len(self.shown)])
        self.longest = max([self.longest, *map(len, names)])

    def add(self, names: list[str], rows: np.ndarray, skipped: list) -> None:
        """Keeps a batch: names with float32 rows `[n, D]`, and (name, reason) pairs."""
        data = rows.tobytes()
        _append(self._rows, data)
        _append(self._journal, _format_entry(names, skipped, data))
        self._note({"names": names, "skipped": skipped})

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
        self._held.close()


def _format_entry(names: list[str], skipped: list, data: bytes) -> bytes:
    """A line of the journal, with a sum over itself and the bytes of its rows."""
    entry = {"names": names, "skipped": skipped}
    entry["sum"] = zlib.crc32(json.dumps(entry).encode(), zlib.crc32(data))
    return json.dumps(entry).encode() + b"\n"


def _append(file: Path, data: bytes) -> None:
    """Adds bytes to a file; they are on the disk when this returns."""
    with open(file, "ab") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())


def parts_folder(output: Path) -> Path:
    """Where the parts of an output lie until it is complete."""
    return output.with_name(f".{output.name}.parts")
