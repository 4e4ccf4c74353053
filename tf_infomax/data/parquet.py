"""`parquet:PATTERN`: tables with a column of encoded pictures.

A column is either bytes, or a struct with a field `bytes` (as the `datasets` library
writes images). Rows of a compressed table cannot be read one by one: the columns are
held in memory, or, beyond the limit, written once into a file that is mapped.
"""

from pathlib import Path

import numpy as np

from tf_infomax.data.encoded import Encoded, number_labels
from tf_infomax.data.headers import PictureError
from tf_infomax.data.images import DataError
from tf_infomax.data.lists import LABEL_NAMES, find_column, require_image_column
from tf_infomax.data.records import describe_files, match_files
from tf_infomax.runtime import seals
from tf_infomax.runtime.files import replacing
from tf_infomax.runtime.progress import Progress


def read_parquet(argument: str, options) -> Encoded:
    """The pictures of all files that match.

    Raises:
        DataError: if there are none, or the files are no such tables.
    """
    files = match_files(argument, "parquet")
    tables = [_open(file) for file in files]
    schema, where = tables[0].schema_arrow, str(files[0])
    image = require_image_column(schema.names, options.image_column, where)
    label = find_column(
        schema.names, options.label_column, LABEL_NAMES, "label_column", where
    )
    _check_kind(schema.field(image).type, image, where)
    key = repr((describe_files(files), image, label))
    columns = [image, label] if label else [image]
    try:
        table = _load(files, tables, columns, key, options)
    except DataError:
        raise
    except Exception as error:  # of a damaged file, whatever Arrow raises
        reason = str(error).splitlines()[0][:160]
        raise DataError(f"{argument} cannot be read: {reason}") from error
    return _encode(table, image, label, argument, key)


def _open(file: Path):
    import pyarrow
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file, memory_map=True)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0][:160]
        raise DataError(f"{file} is no Parquet file: {reason}") from error


def _check_kind(kind, image: str, where: str) -> None:
    import pyarrow.types as types

    if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not (types.is_binary(kind) or types.is_large_binary(kind)):
        raise DataError(
            f"column {image!r} of {where} holds {kind}. Accepted: bytes of encoded "
            "pictures, or a struct with a field `bytes` (--image_column)."
        )


def _load(files, tables, columns: list[str], key: str, options):
    """The columns of all files, in memory or mapped."""
    import pyarrow as pa

    parts = lambda: (
        table.read_row_group(group, columns=columns)
        for table in tables
        for group in range(table.num_row_groups)
    )
    size = sum(
        table.metadata.row_group(group).total_byte_size
        for table in tables
        for group in range(table.num_row_groups)
    )
    if size <= options.memory_limit:
        return pa.concat_tables(list(parts()))
    path = Path(options.cache_dir).expanduser()
    path /= f"rows-{seals.digest(key)[:24]}.arrow"
    if not path.exists():
        _write(path, parts(), sum(table.num_row_groups for table in tables))
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _write(path: Path, parts, count: int) -> None:
    import pyarrow as pa

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            replacing(path) as temporary,
            Progress(count, unit="row groups") as progress,
        ):
            writer = None
            for done, part in enumerate(parts, 1):
                writer = writer or pa.ipc.new_file(str(temporary), part.schema)
                writer.write_table(part)
                progress.update(done)
            writer.close()
    except OSError as error:
        raise DataError(
            f"--cache_dir={path.parent} cannot be written: {error.strerror or error}."
        ) from error


def _encode(table, image: str, label: str, pattern: str, key: str) -> Encoded:
    import pyarrow as pa

    pictures = table.column(image)
    if pa.types.is_struct(pictures.type):
        place = pictures.type.get_field_index("bytes")
        pictures = pa.chunked_array([each.field(place) for each in pictures.chunks])
    ends = np.cumsum([len(each) for each in pictures.chunks])
    if not len(pictures):
        raise DataError(f"there are no rows in {pattern}.")

    def find(number: int):
        chunk = int(np.searchsorted(ends, number, "right"))
        start = int(ends[chunk - 1]) if chunk else 0
        value = pictures.chunk(chunk)[number - start].as_buffer()
        if value is None:
            raise PictureError("no picture in this row")
        return value

    labels, names = None, None
    if label:
        words = ["" if v is None else v for v in table.column(label).to_pylist()]
        labels, names = number_labels(words)
    return Encoded(
        what=f"pictures in {pattern}",
        names=[f"row {number}" for number in range(len(pictures))],
        measure=lambda number: find(number).size,
        fetch=lambda number: find(number).to_pybytes(),
        key=key,
        label=lambda kept: (None if labels is None else labels[kept], names, ()),
    )
