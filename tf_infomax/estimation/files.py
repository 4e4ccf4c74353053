"""Pairs from files (.npy, .npz, .csv) or from a task; nothing in them is executed."""

import csv
import os
import stat
from functools import partial
from pathlib import Path

import numpy as np

from tf_infomax.data.arrays import load_arrays
from tf_infomax.data.images import DataError
from tf_infomax.estimation.inputs import PairsError, read_pairs

_LARGEST = 4 << 30  # bytes of an .npz unpacked


def read_given(x: str, y: str, data: str) -> tuple[np.ndarray, np.ndarray]:
    """Checked pairs of two .npy files, or of arrays or columns of one file.

    Args:
        x, y: .npy files; with `data`, names of arrays (default x and y) or of columns,
            comma-separated.
        data: .npz or .csv.

    Raises:
        PairsError: with one line that names the file or column.
    """
    given = f"--data={data}" if data else f"--x={x}, --y={y}"
    sides = _read_sides(x, y, Path(data)) if data else _read_files(x, y)
    try:
        return read_pairs(*sides)
    except PairsError as error:
        raise PairsError(f"{given}: {error}") from error


def _read_files(x: str, y: str) -> list[np.ndarray]:
    return [_read_array(x, "x"), _read_array(y, "y")]


def _read_sides(x: str, y: str, path: Path) -> list[np.ndarray]:
    """Both sides out of one file."""
    if path.suffix == ".csv":
        columns = _read_csv(path)
        sides = [
            _pick(columns, names, flag, path) for names, flag in ((x, "x"), (y, "y"))
        ]
        return [np.stack(side, axis=1) for side in sides]
    names = [x or "x", y or "y"]
    loaded = _load(path, "data", partial(_check_names, path, names))
    if isinstance(loaded, np.ndarray):
        raise PairsError(f"--data={path} is one array; give --x and --y for two.")
    return [loaded[name] for name in names]


def _check_names(path: Path, names: list[str], found: list[str]) -> list[str]:
    for name in names:
        if name not in found:
            raise DataError(
                f"{path} has no array {name!r}. It has: "
                f"{', '.join(found) or 'nothing'}."
            )
    return list(dict.fromkeys(names))


def _read_array(file: str, flag: str) -> np.ndarray:
    loaded = _load(Path(file), flag, list)
    if not isinstance(loaded, np.ndarray):
        raise PairsError(f"--{flag}={file} is an .npz; give it as --data.")
    return loaded


def _load(path: Path, flag: str, choose) -> np.ndarray | dict[str, np.ndarray]:
    try:
        return load_arrays(path, _LARGEST, choose)
    except DataError as error:
        raise PairsError(f"--{flag}: {error}") from error


def _read_csv(path: Path) -> dict[str, list[str]]:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError("it is no regular file")
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except FileNotFoundError as error:
        raise PairsError(f"--data={path}: no such file.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PairsError(f"--data={path} cannot be read as CSV: {error}.") from error
    while rows and not rows[-1]:  # blank lines at the end
        rows.pop()
    if len(rows) < 2:
        raise PairsError(f"--data={path} has no rows below its header.")
    header, *body = rows
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise PairsError(
            f"--data={path}: columns must have different names. Received twice: "
            f"{', '.join(twice)}."
        )
    for number, row in enumerate(body, 2):
        if len(row) != len(header):
            raise PairsError(
                f"--data={path}, line {number}: {len(row)} values, the header has "
                f"{len(header)}."
            )
    return dict(zip(header, map(list, zip(*body, strict=True)), strict=True))


def _pick(columns: dict, names: str, flag: str, path: Path) -> list[np.ndarray]:
    if not names:
        raise PairsError(
            f"--{flag} is needed: columns of {path}, of {', '.join(columns)}."
        )
    picked = []
    for name in [names] if names in columns else names.split(","):
        if name not in columns:
            hint = " Columns are separated by commas." * (len(columns) == 1)
            raise PairsError(
                f"--{flag}={names}: {path} has no column {name!r}. It has: "
                f"{', '.join(map(repr, columns))}.{hint}"
            )
        numbers = []
        for line, text in enumerate(columns[name], 2):
            try:
                numbers.append(_read_number(text))
            except ValueError as error:
                what = f"is no number. Received: {text!r}" if text else "is missing"
                raise PairsError(
                    f"--{flag}={names}: {path}, line {line}: column {name!r} {what}."
                ) from error
        picked.append(np.array(numbers))
    return picked


def _read_number(text: str) -> float:
    if "_" in text:  # which Python leaves out: 1_2 would be 12
        raise ValueError(text)
    return float(text)
