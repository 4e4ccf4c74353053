"""Image sets of TensorFlow Datasets: prepared, else local files, else a download.

TFDS tries the network for minutes before it gives up, so nothing here calls it without
having asked first what is there: prepared data are read, official files in a local
folder are prepared from, and the network is used only on request.
"""

from pathlib import Path

import numpy as np

from tf_infomax.data.images import DataError, ImageSet, Splits


def read(name: str, options) -> Splits:
    """Reads the train and the test split of a TFDS image set.

    Args:
        name: as TFDS spells it, `cifar10` or `imagenette/160px-v2`.
        options: `sources.ReadOptions`.

    Raises:
        DataError: unknown set or split, no images in it, nothing prepared and nothing
            to prepare from.
    """
    if not name:
        raise DataError("dataset tfds:NAME needs a name, for example tfds:cifar10.")
    builder = _make_builder(name, options)
    if not builder.is_prepared():
        _prepare(builder, options)
    train = _read_split(builder, options.train_split, options)
    test = _read_split(builder, options.test_split, options)
    return Splits(train, test)


def _make_builder(name: str, options):
    import tensorflow_datasets as tfds

    data_dir = options.data_dir and str(Path(options.data_dir).expanduser())
    try:
        return tfds.builder(name, data_dir=data_dir, try_gcs=False)
    except tfds.core.DatasetNotFoundError as error:
        import difflib

        close = difflib.get_close_matches(name, tfds.list_builders(), n=3)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise DataError(f"TFDS has no dataset {name!r}.{hint}") from error
    except (ValueError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"TFDS cannot make {name!r}: {reason}") from error


def _prepare(builder, options) -> None:
    import tensorflow_datasets as tfds

    if not options.local_files and not options.download:
        raise DataError(
            f"{builder.name} is not prepared in {builder.data_dir}, and the network is "
            "not used unasked. Give the folder with its official files (--local_files) "
            "or allow the download (--download)."
        )
    # TFDS keeps what it unpacks under the bare file name; two sets whose files have the
    # same names (MNIST and Fashion-MNIST) would read each other's data from a shared
    # folder.
    root = Path(builder.data_dir).parents[len(Path(builder.info.full_name).parts) - 1]
    config = tfds.download.DownloadConfig(
        extract_dir=str(root / "downloads" / "extracted" / builder.name),
        manual_dir=options.local_files and str(Path(options.local_files).expanduser()),
    )
    if not options.download:
        _check_local_files(builder, options)
    try:
        builder.download_and_prepare(download_config=config)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        where = options.local_files or "the network"
        raise DataError(
            f"TFDS could not prepare {builder.name} from {where}: {reason[:300]}"
        ) from error


def _check_local_files(builder, options) -> None:
    """Raises unless every official file is there, since TFDS would fetch the others."""
    folder = Path(options.local_files).expanduser()
    names = sorted({info.filename or "" for info in (builder.url_infos or {}).values()})
    missing = [name for name in names if not name or not (folder / name).is_file()]
    if not names or missing:
        raise DataError(
            f"{builder.name} cannot be prepared from {options.local_files}: missing "
            f"{', '.join(missing) or 'a list of its official files'}. Put them there, "
            "or allow the download (--download)."
        )


def _read_split(builder, split: str, options) -> ImageSet:
    import tensorflow as tf
    import tensorflow_datasets as tfds

    from tf_infomax.data.decoding import resize

    features = builder.info.features
    if "image" not in features:
        raise DataError(
            f"{builder.name} has no feature 'image'. It has: {', '.join(features)}."
        )
    shape = features["image"].shape
    size = (options.image_size, options.image_size)
    if None in shape[:2] and not options.image_size:
        raise DataError(
            f"the images of {builder.name} have many sizes; choose one: image_size."
        )
    with_labels = "label" in features and isinstance(
        features["label"], tfds.features.ClassLabel
    )

    def select(example):
        image = example["image"]
        if None in shape[:2]:
            image = resize(image, size, options.resize)
        return (image, example["label"]) if with_labels else (image,)

    try:
        # Reading in file order makes the order of the examples a fact, not a race.
        config = tfds.ReadConfig(interleave_cycle_length=1)
        dataset = builder.as_dataset(split=split, read_config=config)
    except (ValueError, KeyError) as error:
        known = ", ".join(builder.info.splits) or "none"
        raise DataError(
            f"{builder.name} has no split {split!r}. Its splits: {known} "
            "(and slices of them such as 'train[:90%]')."
        ) from error
    dataset = dataset.map(select, num_parallel_calls=tf.data.AUTOTUNE).batch(512)
    parts = list(tfds.as_numpy(dataset))
    if not parts:
        raise DataError(f"split {split!r} of {builder.name} is empty.")
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    if columns[0].dtype != np.uint8:
        raise DataError(
            f"the images of {builder.name} are {columns[0].dtype}, not uint8."
        )
    if not with_labels:
        return ImageSet(columns[0])
    names = tuple(features["label"].names)
    return ImageSet(columns[0], columns[1].astype(np.int64), names)
