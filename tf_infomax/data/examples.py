"""Where the features of a serialized `tf.train.Example` lie, without copying them.

A record is gone through by the lengths in it, so that the bytes of a picture are not
touched before it is decoded.
"""

from collections.abc import Iterator

from tf_infomax.data.headers import PictureError

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5  # wire types of protocol buffers
_BYTES, _INTEGERS = 1, 3  # fields of `Feature`; 2 are floats


def find_features(record: memoryview) -> dict[str, tuple[int, int] | int]:
    """Name -> (start, end) of its first value if that is bytes, or the number itself.

    Features of floats, and those without a value, are left out.

    Raises:
        PictureError: if the record is no Example.
    """
    found = {}
    try:
        for features in _find(record, 0, len(record), 1):
            for entry in _find(record, *features, 1):
                key = next(_find(record, *entry, 1))
                value = next(_find(record, *entry, 2))
                first = _first_value(record, *value)
                if first is not None:
                    found[str(record[slice(*key)], "utf-8")] = first
    except (IndexError, StopIteration, ValueError) as error:
        raise PictureError("damaged record, or no tf.train.Example") from error
    return found


def _first_value(record: memoryview, start: int, end: int):
    for span in _find(record, start, end, _BYTES):
        return next(_find(record, *span, 1), None)
    for span in _find(record, start, end, _INTEGERS):
        for kind, value in _fields(record, *span, 1):
            if kind == _LENGTH:  # packed
                if value[0] == value[1]:
                    return None
                value = _read_varint(record, *value)[0]
            return value - (1 << 64) if value >= 1 << 63 else value
    return None


def _find(record: memoryview, start: int, end: int, number: int):
    """Spans of the fields of this number that have a length."""
    return (v for kind, v in _fields(record, start, end, number) if kind == _LENGTH)


def _fields(
    record: memoryview, start: int, end: int, number: int
) -> Iterator[tuple[int, tuple[int, int] | int]]:
    """(wire type, span or integer) of the fields of this number."""
    while start < end:
        key, start = _read_varint(record, start, end)
        kind = key & 7
        if kind == _VARINT:
            value, start = _read_varint(record, start, end)
        elif kind in (_LENGTH, _FIXED64, _FIXED32):
            size = {_FIXED64: 8, _FIXED32: 4}.get(kind)
            if size is None:
                size, start = _read_varint(record, start, end)
            value, start = (start, start + size), start + size
            if start > end:
                raise IndexError(start)
        else:
            raise ValueError(f"wire type {kind}")
        if key >> 3 == number:
            yield kind, value


def _read_varint(record: memoryview, start: int, end: int) -> tuple[int, int]:
    """(number, where it ends)."""
    value = 0
    for place in range(start, min(end, start + 10)):
        byte = record[place]
        value |= (byte & 127) << (7 * (place - start))
        if byte < 128:
            return value, place + 1
    raise IndexError(end)
