"""What the numbers of an array of images mean: which are black and which are white."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tf_infomax.data.images import DataError

PIXEL_RANGES = {
    "0_255": (0.0, 255.0),
    "0_1": (0.0, 1.0),
    "-1_1": (-1.0, 1.0),
    "0_65535": (0.0, 65535.0),
}

_TOLERANCE = 1e-3  # of a range, beyond its ends: what arithmetic leaves
_CLIPPED = 0.01  # most of the values may lie outside a range that is asked for
_DARK = 1 / 8  # images of which none is brighter are likely of another range
_BLOCK = 1 << 22  # values looked at in one go


@dataclass
class _Values:
    """What is known of all values: ends, how many are bright, what kind they are."""

    kind: str
    low: float = np.inf
    high: float = -np.inf
    count: int = 0
    positive: int = 0
    above_one: int = 0

    def __str__(self) -> str:
        return f"{self.kind} values from {self.low:.9g} to {self.high:.9g}"


def convert_to_uint8(
    arrays: Sequence[np.ndarray], pixel_range: str = "auto"
) -> tuple[list[np.ndarray], str]:
    """Pixels of several arrays of one data set as uint8, 0 for black, 255 for white.

    The range is decided once, for all arrays together.

    Args:
        arrays: numbers of any kind, of any shape.
        pixel_range: a key of `PIXEL_RANGES`, or "auto".

    Returns:
        The arrays, uint8 ones of 0 to 255 as they are, and how they were understood
        (empty if they were such).

    Raises:
        DataError: for values that are not finite or no numbers, that no range fits, or
            that would be of another one than they seem to be.
    """
    if _are_pixels(arrays, pixel_range):
        return list(arrays), ""
    values = _measure(arrays)
    if pixel_range == "auto":
        pixel_range = _guess(values)
    low, high = PIXEL_RANGES[pixel_range]
    slack = _TOLERANCE * (high - low)
    outside = sum(_count_outside(each, low - slack, high + slack) for each in arrays)
    if outside > _CLIPPED * values.count:
        raise DataError(
            f"{outside} of the {values} do not lie in --pixel_range={pixel_range}."
        )
    note = f"{values} taken as --pixel_range={pixel_range}"
    if outside:
        note += f", {outside} of {values.count} clipped"
    return [_scale(each, low, high) for each in arrays], note


def choose_range(arrays: Sequence[np.ndarray], pixel_range: str = "auto") -> str:
    """The key of `PIXEL_RANGES` by which `convert_to_uint8` takes these arrays.

    Others of the same source, which may be too dark to tell, are then taken as they.

    Raises:
        DataError: if it is not clear.
    """
    if pixel_range != "auto":
        return pixel_range
    return "0_255" if _are_pixels(arrays, "auto") else _guess(_measure(arrays))


def _are_pixels(arrays: Sequence[np.ndarray], pixel_range: str) -> bool:
    """Whether all are uint8 of 0 to 255; of "auto" the first bright value says it."""
    other = pixel_range not in ("auto", "0_255")
    if other or any(each.dtype != np.uint8 for each in arrays):
        return False
    bright = 0 if pixel_range == "0_255" else _DARK * 255
    blocks = (block for each in arrays for _, block in _blocks(each) if block.size)
    return any(block.max() >= bright for block in blocks)


def _blocks(array: np.ndarray):
    """The rows of an array, some at a time."""
    size = math.prod(array.shape[1:])
    rows = max(1, _BLOCK // max(1, size))
    # Without a value there may be rows without end.
    for start in range(0, len(array) if size else 0, rows):
        yield start, array[start : start + rows]


def _measure(arrays: Sequence[np.ndarray]) -> _Values:
    kinds = sorted({array.dtype.name for array in arrays})
    values, bad = _Values(" and ".join(kinds)), 0
    for array in arrays:
        if array.dtype.kind not in "buif":
            raise DataError(f"images must be numbers. Received: {array.dtype}.")
        for _, block in _blocks(array):
            if block.dtype.kind == "f":
                finite = np.isfinite(block)
                bad += block.size - np.count_nonzero(finite)
                block = block[finite]
            if block.size:
                values.low = min(values.low, float(block.min()))
                values.high = max(values.high, float(block.max()))
            values.count += block.size
            if array.dtype != np.uint8:
                values.positive += np.count_nonzero(block > 0)
                values.above_one += np.count_nonzero(block > 1 + _TOLERANCE)
    if bad:
        raise DataError(f"images have {bad} values that are NaN or infinite.")
    if not values.count:
        raise DataError("there are no images.")
    return values


def _guess(values: _Values) -> str:
    """The range that the values fill.

    Raises:
        DataError: if there is none, or if it may be another.
    """
    low, high = values.low, values.high
    if low >= -_TOLERANCE and high <= 1 + _TOLERANCE:
        return "0_1"
    if low >= -1 - 2 * _TOLERANCE and high <= 1 + 2 * _TOLERANCE:
        if low <= -0.9 and high >= 0.9:
            return "-1_1"
    elif low >= -255 * _TOLERANCE:
        bits = "0_255" if high <= 255 * (1 + _TOLERANCE) else "0_65535"
        white = PIXEL_RANGES[bits][1]
        whole = bits == "0_255" or values.kind == "uint16"
        few = values.kind != "uint8" and values.above_one < values.positive / 2
        if whole and high >= _DARK * white and not few:
            return bits
    raise DataError(
        f"it is not clear what is black and what is white: {values}. Say it by "
        f"--pixel_range: {', '.join(PIXEL_RANGES)}."
    )


def _count_outside(array: np.ndarray, low: float, high: float) -> int:
    return sum(
        np.count_nonzero((block < low) | (block > high)) for _, block in _blocks(array)
    )


def _scale(array: np.ndarray, low: float, high: float) -> np.ndarray:
    """`low` becomes 0 and `high` 255; what lies outside is clipped."""
    scaled = np.empty(array.shape, np.uint8)
    for start, block in _blocks(array):
        unit = (block.astype(np.float32) - low) * (255.0 / (high - low))
        scaled[start : start + len(block)] = np.clip(np.round(unit), 0, 255)
    return scaled
