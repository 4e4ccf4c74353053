"""Writers of finished embeddings: one row in `FORMATS` each.

A writer takes the parts, the path to write, and `thumbnails(side)`, which gives a
function from an image's name to uint8 `[side, side, C]`. None holds all rows at once.
"""

import csv
import math
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np

from tf_infomax.data.files import map_batches
from tf_infomax.embedding.parts import Parts

_PROJECTED = 10_000  # points and thumbnails that a browser still turns smoothly
_SPRITE_SIDE = 8192  # pixels: TensorBoard's limit
_THUMBNAIL_SIDE = 64


def write_npz(parts: Parts, path: Path, thumbnails: Callable) -> None:
    """`names` (unicode of fixed width) and `embeddings` (float32 `[n, D]`)."""
    text = np.dtype(f"U{parts.longest}")
    with zipfile.ZipFile(path, "w") as archive:
        with _open_array(archive, "names", text, (parts.count,)) as file:
            for names, _ in parts.batches():
                file.write(np.array(names, text).tobytes())
        shape = (parts.count, parts.width)
        with _open_array(archive, "embeddings", np.dtype(np.float32), shape) as file:
            for _, rows in parts.batches():
                file.write(rows.tobytes())


@contextmanager
def _open_array(archive, name: str, dtype: np.dtype, shape: tuple) -> Iterator:
    """A member of an `.npz`, to write the array's bytes to."""
    member = zipfile.ZipInfo(f"{name}.npy")  # without the time of day
    with archive.open(member, "w", force_zip64=True) as file:
        header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        yield file


def write_csv(parts: Parts, path: Path, thumbnails: Callable) -> None:
    """`name,e0,e1,...`, one line per image, floats to all their digits."""
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(["name", *(f"e{k}" for k in range(parts.width))])
        for names, rows in parts.batches():
            for name, row in zip(names, rows.astype(str).tolist(), strict=True):
                writer.writerow([name, *row])


def write_tfrecord(parts: Parts, path: Path, thumbnails: Callable) -> None:
    """A `tf.Example` per image: `name` (bytes) and `embedding` (D floats)."""
    import tensorflow as tf

    def example(name: str, row: np.ndarray) -> tf.train.Example:
        names = tf.train.BytesList(value=[os.fsencode(name)])
        floats = tf.train.FloatList(value=row)
        features = {
            "name": tf.train.Feature(bytes_list=names),
            "embedding": tf.train.Feature(float_list=floats),
        }
        return tf.train.Example(features=tf.train.Features(feature=features))

    with tf.io.TFRecordWriter(str(path)) as writer:
        for names, rows in parts.batches():
            for name, row in zip(names, rows, strict=True):
                writer.write(example(name, row).SerializeToString(deterministic=True))


def write_parquet(parts: Parts, path: Path, thumbnails: Callable) -> None:
    """Columns `name` (text) and `embedding` (list of D float32)."""
    import pyarrow as pa
    from pyarrow import parquet

    vectors = pa.list_(pa.float32(), parts.width)
    schema = pa.schema([("name", pa.string()), ("embedding", vectors)])
    with parquet.ParquetWriter(path, schema) as writer:
        for names, rows in parts.batches():
            # Bytes of a name that are no text become question marks.
            text = [n.encode("utf-8", "replace").decode() for n in names]
            flat = pa.array(rows.ravel(), pa.float32())
            columns = [
                pa.array(text, pa.string()),
                pa.FixedSizeListArray.from_arrays(flat, parts.width),
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))


def projected_every(count: int) -> int:
    """The projector shows every k-th of `count` images: k."""
    return math.ceil(count / _PROJECTED)


def write_projector(parts: Parts, path: Path, thumbnails: Callable) -> None:
    """A folder for `tensorboard --logdir`: vectors, names and folders, thumbnails.

    Of more than 10,000 images, every k-th is shown.
    """
    import tensorflow as tf

    path.mkdir()
    every = projected_every(parts.count)
    with (
        open(path / "tensors.tsv", "w") as tensors,
        open(path / "metadata.tsv", "w", encoding="utf-8", errors="replace") as labels,
    ):
        labels.write("name\tfolder\n")
        for name, row in islice(_pairs(parts), 0, None, every):
            tensors.write("\t".join(row.astype(str)) + "\n")
            name = " ".join(name.split())  # no tabs or line ends
            labels.write(f"{name}\t{os.path.dirname(name) or '.'}\n")
    count = math.ceil(parts.count / every)
    grid = math.ceil(math.sqrt(count))
    side = min(_THUMBNAIL_SIDE, _SPRITE_SIDE // grid)
    chosen = (name for name, _ in islice(_pairs(parts), 0, None, every))
    sprite = _make_sprite(map_batches(thumbnails(side), chosen, 256), grid, side)
    (path / "sprite.png").write_bytes(tf.io.encode_png(sprite).numpy())
    (path / "projector_config.pbtxt").write_text(
        _PROJECTOR_CONFIG.format(count=count, width=parts.width, side=side)
    )


def _pairs(parts: Parts) -> Iterator[tuple[str, np.ndarray]]:
    for names, rows in parts.batches():
        yield from zip(names, rows, strict=True)


def _make_sprite(batches, grid: int, side: int) -> np.ndarray:
    """Thumbnails in rows of `grid`: uint8 `[grid * side, grid * side, 3]`."""
    sprite, index = np.zeros((grid * side, grid * side, 3), np.uint8), 0
    for _, images in batches:
        for image in images:
            top, left = index // grid * side, index % grid * side
            index += 1
            if isinstance(image, str):  # the file has gone since
                continue
            sprite[top : top + side, left : left + side] = image
    return sprite


_PROJECTOR_CONFIG = """\
embeddings {{
  tensor_name: "embeddings"
  tensor_shape: {count}
  tensor_shape: {width}
  tensor_path: "tensors.tsv"
  metadata_path: "metadata.tsv"
  sprite {{
    image_path: "sprite.png"
    single_image_dim: {side}
    single_image_dim: {side}
  }}
}}
"""

FORMATS: dict[str, Callable[[Parts, Path, Callable], None]] = {
    "npz": write_npz,
    "csv": write_csv,
    "tfrecord": write_tfrecord,
    "parquet": write_parquet,
    "projector": write_projector,
}
