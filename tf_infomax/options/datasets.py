"""The datasets that can be chosen, and their options."""

from collections.abc import Iterator
from dataclasses import dataclass

from tf_infomax.options import tables
from tf_infomax.options.core import Options, Row, option

_GROUP = "Data"


@dataclass(frozen=True)
class Tfds(Options):
    """Of TensorFlow Datasets."""

    train_split: str = option("train", _GROUP, "TFDS split to train on.")
    test_split: str = option("test", _GROUP, "TFDS split to test on.")
    local_files: str = option(
        "",
        _GROUP,
        "Folder with the official files of a TFDS set, to prepare it from.",
        driver=True,
    )
    download: bool = option(False, _GROUP, "Let TFDS use the network.", driver=True)


@dataclass(frozen=True)
class Arrays(Options):
    """Of .npy and .npz files."""

    labels: str = option("", _GROUP, ".npy file with the labels of arrays:FILE.npy.")
    pixel_range: str = option(
        "auto",
        _GROUP,
        "What black and white are in arrays:FILE; auto: by all their values.",
        choices=("auto", *tables.PIXEL_RANGES),
    )


@dataclass(frozen=True)
class Columns(Options):
    """Of tables and records."""

    image_column: str = option(
        "", _GROUP, "Column, or feature, of the images; empty: by usual names."
    )
    label_column: str = option(
        "", _GROUP, "Column, or feature, of the labels; empty: by usual names."
    )


DATASETS: dict[str, Row] = {
    "fashion": Row("tf_infomax.data.sources:read_fashion"),
    "fashion_m": Row("tf_infomax.data.sources:read_fashion_m", argument="[SOURCE]"),
    "tfds": Row("tf_infomax.data.sources:read_tfds", options=Tfds, argument="NAME"),
    "folder": Row("tf_infomax.data.sources:read_folder", argument="PATH"),
    "files": Row(
        "tf_infomax.data.sources:read_files", options=Columns, argument="LIST"
    ),
    "tfrecord": Row(
        "tf_infomax.data.sources:read_tfrecord", options=Columns, argument="PATTERN"
    ),
    "array_record": Row(
        "tf_infomax.data.sources:read_array_record",
        options=Columns,
        argument="PATTERN",
    ),
    "parquet": Row(
        "tf_infomax.data.sources:read_parquet", options=Columns, argument="PATTERN"
    ),
    "arrays": Row(
        "tf_infomax.data.sources:read_arrays", options=Arrays, argument="FILE"
    ),
}


def rows_of(text: str) -> Iterator[tuple[str, Row]]:
    """The rows that the value of a flag chooses, with what stands behind a colon."""
    name, _, argument = text.partition(":")
    if name in DATASETS:
        yield name, DATASETS[name]
        if DATASETS[name].argument == "[SOURCE]":
            yield from rows_of(argument)
