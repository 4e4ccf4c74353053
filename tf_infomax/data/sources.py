"""Readers: from a dataset's name to arrays. One row each in `options.datasets`.

A dataset is named `kind` or `kind:argument`: `fashion_m`, `tfds:cifar10`,
`folder:photos/`, `arrays:images.npy`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tf_infomax.data.arrays import load_arrays
from tf_infomax.data.encoded import Encoded, make_set
from tf_infomax.data.fashion import load_fashion, make_fashion_m
from tf_infomax.data.files import open_folder
from tf_infomax.data.images import (
    DataError,
    ImageSet,
    MappedImages,
    Splits,
)
from tf_infomax.data.scale import convert_to_uint8
from tf_infomax.data.streams import StreamedImages
from tf_infomax.options.datasets import DATASETS

_SHAPES = "[n, H, W] or [n, H, W, C]"


@dataclass(frozen=True)
class ReadOptions:
    """How to read a source.

    Attributes:
        image_size: side of the square images, 0 for the source's own size.
        resize: a rule of `decoding.RESIZE_RULES`.
        train_split, test_split: names of the splits of a TFDS set.
        data_dir: where TFDS keeps prepared sets (None: its own default).
        local_files: folder with the official files of a TFDS set.
        download: whether TFDS may use the network.
        labels: `.npy` with the labels of an `arrays:` source of one `.npy`.
        pixel_range: of arrays, a key of `scale.PIXEL_RANGES` or "auto".
        image_column, label_column: of tables and records; "": by usual names.
        cache: where decoded images are kept; see `cache.open_store`.
        memory_limit: bytes of decoded images to hold in memory.
        cache_dir: folder of what is kept on the disk.
    """

    image_size: int = 0
    resize: str = "crop"
    train_split: str = "train"
    test_split: str = "test"
    data_dir: str | None = None
    local_files: str | None = None
    download: bool = False
    labels: str | None = None
    pixel_range: str = "auto"
    image_column: str = ""
    label_column: str = ""
    cache: str = "auto"
    memory_limit: int = 4 << 30
    cache_dir: str = "~/.cache/tf_infomax"


def read(name: str, options: ReadOptions = ReadOptions()) -> Splits:
    """Reads the dataset of this name.

    Raises:
        DataError: with one line that says what is wrong and what to do.
    """
    kind, _, argument = name.partition(":")
    if kind not in DATASETS:
        raise DataError(f"unknown dataset {name!r}. Known: {', '.join(DATASETS)}.")
    splits = DATASETS[kind].load()(argument, options)
    if not options.image_size or isinstance(splits.train.images, StreamedImages):
        return splits
    return Splits(
        _resize(splits.train, options), splits.test and _resize(splits.test, options)
    )


def _resize(data: ImageSet, options: ReadOptions) -> ImageSet:
    from tf_infomax.data.decoding import resize_array

    size = (options.image_size, options.image_size)
    return replace(data, images=resize_array(data.images, size, options.resize))


def _refuse_argument(name: str, argument: str) -> None:
    if argument:
        raise DataError(f"dataset {name} takes no argument. Received: {argument!r}.")


def read_fashion(argument: str, options: ReadOptions) -> Splits:
    """`fashion`: the embedded subset, 28 x 28 x 1."""
    _refuse_argument("fashion", argument)
    return load_fashion()


def read_fashion_m(argument: str, options: ReadOptions) -> Splits:
    """`fashion_m`, or `fashion_m:SOURCE` for other grey 28 x 28 images."""
    if not argument:
        return make_fashion_m(load_fashion())
    kind = argument.partition(":")[0]
    if kind not in DATASETS or kind == "fashion_m":
        raise DataError(f"fashion_m cannot be made of {argument!r}.")
    source = DATASETS[kind].load()(argument.partition(":")[2], options)
    if source.train.image_shape != (28, 28, 1):
        raise DataError(
            "fashion_m is made of 28 x 28 x 1 images. Received: "
            f"{source.train.image_shape} from {argument}."
        )
    return make_fashion_m(source)


def read_arrays(argument: str, options: ReadOptions) -> Splits:
    """`arrays:FILE`: `.npy` images, or `.npz` with images and labels by name.

    Names in an `.npz`: `images`, `labels` or `train_images`, `train_labels`,
    `test_images`, `test_labels` (Keras' `x_train`, `y_train`, ... as well).
    """
    path = Path(argument).expanduser()
    if not path.exists():
        raise DataError(f"no such file: {argument!r} (dataset arrays:FILE).")
    advice = (
        " Raise --memory_limit_mb, or give the images as .npy, which is not held in "
        "memory."
    )
    found = []

    def choose(names: list[str]) -> list[str]:
        found.extend(names)
        return _choose_names(path, names)

    loaded = load_arrays(path, options.memory_limit, choose, True, advice)
    if isinstance(loaded, np.ndarray):
        labels = _load_labels(options.labels)
        return _make_splits({"images": loaded, "labels": labels}, path, options)
    if options.labels:
        raise DataError("labels of an .npz stand in the file itself; drop --labels.")
    arrays = {_KERAS_NAMES.get(name, name): array for name, array in loaded.items()}
    splits = _make_splits(arrays, path, options)
    return _tell_unread(splits, path, [name for name in found if name not in loaded])


def _tell_unread(splits: Splits, path: Path, names: list[str]) -> Splits:
    if not names:
        return splits
    note = f"{path}: not read: {', '.join(names)} (known: {', '.join(_ARRAY_NAMES)})"
    train = replace(splits.train, notes=(*splits.train.notes, note))
    return replace(splits, train=train)


def _make_splits(arrays: dict, path: Path, options: ReadOptions) -> Splits:
    """Images and labels, by their names in an `.npz`, of one range of pixels."""
    prefix = "train_" if "train_images" in arrays else ""
    prefixes = [prefix] + ["test_"] * ("test_images" in arrays)
    images = [arrays[f"{each}images"] for each in prefixes]
    try:
        for each in images:
            if each.ndim not in (3, 4):
                raise DataError(
                    f"images must be {_SHAPES}. Received: {each.dtype} "
                    f"{list(each.shape)}."
                )
        images, note = convert_to_uint8(images, options.pixel_range)
        note = note and f"{path}: {note}"
        sets = [
            _make_image_set(each, arrays.get(f"{prefix}labels"), note)
            for each, prefix in zip(images, prefixes, strict=True)
        ]
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return Splits(*sets)


_MOST_LABELS = 1 << 30  # bytes
_PARTS = ("images", "labels")
_ARRAY_NAMES = [
    f"{prefix}{part}" for prefix in ("", "train_", "test_") for part in _PARTS
]
_KERAS_NAMES = {
    "x_train": "train_images",
    "y_train": "train_labels",
    "x_test": "test_images",
    "y_test": "test_labels",
}


def _choose_names(path: Path, found: list[str]) -> list[str]:
    """Of the arrays of an `.npz` those that mean something."""
    known = {name: _KERAS_NAMES.get(name, name) for name in found}
    prefix = "train_" if "train_images" in known.values() else ""
    if f"{prefix}images" not in known.values():
        raise DataError(
            f"{path} has no array 'images' or 'train_images'. It has: "
            f"{', '.join(found) or 'nothing'}."
        )
    kinds = {f"{each}{what}" for each in (prefix, "test_") for what in _PARTS}
    chosen = [name for name in found if known[name] in kinds]
    if len({known[name] for name in chosen}) < len(chosen):
        raise DataError(f"{path} has two arrays of one meaning: {', '.join(chosen)}.")
    return chosen


def _load_labels(file: str | None) -> np.ndarray | None:
    if not file:
        return None
    try:
        labels = load_arrays(Path(file).expanduser(), limit=_MOST_LABELS)
    except DataError as error:
        raise DataError(f"--labels: {error}") from error
    if not isinstance(labels, np.ndarray):
        raise DataError(f"--labels={file} must be an .npy.")
    return labels


def _make_image_set(images, labels, note: str) -> ImageSet:
    images = images[..., None] if images.ndim == 3 else images
    if labels is not None:
        labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
        if labels.dtype.kind in "iu":
            if labels.size and labels.max() >= 2**63:  # would come out negative
                raise DataError(f"labels go up to {labels.max()}, beyond 64 bits.")
            labels = labels.astype(np.int64)
    if isinstance(images, np.memmap):
        images = MappedImages(images, np.arange(len(images)))
    return ImageSet(images, labels, notes=(note,) if note else ())


def read_folder(argument: str, options: ReadOptions) -> Splits:
    """`folder:PATH`: image files, flat or nested, of any mix of formats and sizes.

    If every image lies in a subfolder of PATH, the names of these are the labels;
    otherwise there are none. Files that cannot be decoded are left out and listed
    (`ImageSet.list_unusable`); those that are no images by their names are counted in
    `others`.
    """
    folder = open_folder(argument)
    names = list(folder)
    source = Encoded(
        what=f"image files in {folder.path}",
        names=names,
        measure=lambda number: folder.measure(names[number]),
        fetch=lambda number: folder.fetch(names[number]),
        key=f"{folder.where} {folder.fingerprint}",
        label=lambda kept: _label_by_folder([names[number] for number in kept]),
        others=folder.others,
    )
    return Splits(make_set(source, options))


def read_files(argument: str, options: ReadOptions) -> Splits:
    """`files:LIST`: pictures that a text or a table names. See `lists`."""
    from tf_infomax.data.lists import read_list

    return Splits(make_set(read_list(argument, options), options))


def read_tfrecord(argument: str, options: ReadOptions) -> Splits:
    """`tfrecord:PATTERN`: examples in TFRecord files. See `records`."""
    from tf_infomax.data import records

    return Splits(make_set(records.read_tfrecord(argument, options), options))


def read_array_record(argument: str, options: ReadOptions) -> Splits:
    """`array_record:PATTERN`: examples or pictures in ArrayRecord files."""
    from tf_infomax.data import records

    return Splits(make_set(records.read_array_record(argument, options), options))


def read_parquet(argument: str, options: ReadOptions) -> Splits:
    """`parquet:PATTERN`: tables with a column of pictures. See `parquet`."""
    from tf_infomax.data import parquet

    return Splits(make_set(parquet.read_parquet(argument, options), options))


def _label_by_folder(names: Sequence[str]):
    """(labels, class names, notes): the first two are None if there are none."""
    tops = [name.split("/")[0] if "/" in name else None for name in names]
    classes = sorted({top for top in tops if top is not None})
    outside = tops.count(None)
    # A few strays, not a flat folder with some subfolders.
    if len(classes) > 1 and 0 < outside < len(names) / 2:
        note = (
            f"no labels: {outside} of {len(names)} images lie outside the "
            f"{len(classes)} subfolders that would name classes "
            f"({names[tops.index(None)]})"
        )
        return None, None, (note,)
    if len(classes) < 2 or outside:
        return None, None, ()
    index = {name: k for k, name in enumerate(classes)}
    return np.array([index[top] for top in tops], np.int64), tuple(classes), ()


def read_tfds(argument: str, options: ReadOptions) -> Splits:
    """`tfds:NAME`: an image set of TensorFlow Datasets. See `tfds_source`."""
    from tf_infomax.data.tfds_source import read

    return read(argument, options)
