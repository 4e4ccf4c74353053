"""`files:LIST`: pictures whose paths, and perhaps labels, stand in a file."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tf_infomax.data.encoded import Encoded, number_labels
from tf_infomax.data.files import describe_file, measure_file, read_file
from tf_infomax.data.images import DataError
from tf_infomax.runtime import seals

# Names by which a column or a feature is found if none is given.
IMAGE_NAMES = (
    "image", "image/encoded", "image_raw", "encoded", "jpeg", "png", "bytes",
    "file_name", "filename", "file", "path", "image_path",
)  # fmt: skip
LABEL_NAMES = ("label", "image/class/label", "class", "target", "category")


def find_column(
    known: Sequence[str], given: str, names: Sequence[str], flag: str, where: str
) -> str:
    """The column of this name, or the first of some usual names; "" if there is none.

    Raises:
        DataError: if the one that was given is not there.
    """
    if given and given not in known:
        raise DataError(
            f"--{flag}={given}: {where} has no such column. It has: "
            f"{', '.join(known) or 'none'}."
        )
    return given or next((name for name in names if name in known), "")


def require_image_column(known: Sequence[str], given: str, where: str) -> str:
    """The column of the images.

    Raises:
        DataError: if there is none by a usual name.
    """
    found = find_column(known, given, IMAGE_NAMES, "image_column", where)
    if not found:
        raise DataError(
            f"{where} has no column of images by a usual name. It has: "
            f"{', '.join(known) or 'none'}. Give it: --image_column."
        )
    return found


def read_list(argument: str, options) -> Encoded:
    """The files that a `.txt`, a path on each line, or a `.csv` with a head names.

    Paths are relative to the folder of the list.

    Raises:
        DataError: if the list cannot be read, or names nothing.
    """
    path = Path(argument).expanduser()
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"no such file: {argument!r} (dataset files:LIST).") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text in UTF-8: {error.reason}.") from error
    labels = None
    if path.suffix.lower() == ".csv":
        names, labels = _read_table(text, path, options)
    else:
        names = [line.strip() for line in text.splitlines() if line.strip()]
    if not names:
        raise DataError(f"{path} names no images.")
    files = [path.parent / name for name in names]
    numbers, class_names = (None, None) if labels is None else number_labels(labels)

    def label(kept: np.ndarray):
        return (None if numbers is None else numbers[kept]), class_names, ()

    return Encoded(
        what=f"images of {path}",
        names=names,
        measure=lambda number: measure_file(files[number]),
        fetch=lambda number: read_file(files[number]),
        key=f"{path.resolve()} {seals.digest(content)} {_describe(files)}",
        label=label,
    )


def _describe(files: Sequence[Path]) -> str:
    """A digest of sizes and times of change."""
    found = np.array([describe_file(file) for file in files], np.int64)
    return seals.digest(found.tobytes())


def _read_table(text: str, path: Path, options):
    """(paths, labels or None)."""
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise DataError(f"{path} is no table: {error}.") from error
    head = [name.strip() for name in rows[0]] if rows else []
    image = head.index(require_image_column(head, options.image_column, str(path)))
    label = find_column(
        head, options.label_column, LABEL_NAMES, "label_column", str(path)
    )
    names, labels = [], []
    for number, row in enumerate(rows[1:], 2):
        if not row:
            continue
        if len(row) != len(head):
            raise DataError(
                f"{path}, line {number} has {len(row)} columns, the head {len(head)}."
            )
        names.append(row[image].strip())
        labels.append(row[head.index(label)] if label else "")
    return names, labels if label else None
