"""Occlusion: the code is of an image of which a rectangle is hidden."""

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_infomax.encoders import find_receptive_field
from tf_infomax.objectives.replicas import draw
from tf_infomax.runtime.errors import ConfigError

_GREY = 128  # of what is hidden
_GLOBAL = {"code", "globals"}  # features of which the others are local


def choose_block(encoder: keras.Model) -> tuple[int, int]:
    """The receptive field of the encoder's local feature, height and width in pixels.

    A quarter of either side where that is too large for one block to be hidden while
    another is visible.
    """
    sides = tuple(encoder.input.shape[1:3])
    field = find_receptive_field(encoder)
    return field if fits(field, sides) else tuple(max(1, s // 4) for s in sides)


def fits(block: tuple[int, int], sides: tuple[int, int]) -> bool:
    """Whether one block of an image can be hidden while another is visible."""
    pairs = list(zip(block, sides, strict=True))
    return all(0 < b <= s for b, s in pairs) and any(2 * b <= s for b, s in pairs)


def check_block(block: tuple[int, int] | None, takes: Mapping) -> None:
    """Refuses a block that a view has no room for twice.

    Args:
        block: height and width in pixels, or None.
        takes: view -> what its encoder takes.
    """
    for view, images in takes.items():
        shape = tuple(images.shape[1:])
        taken = images.dtype == "uint8" and len(shape) == 3
        if block and not (taken and fits(block, shape[:2])):
            raise ConfigError(
                "occlusion hides one block of uint8 images [H, W, C] and shows "
                f"another. Received: a block of {block[0]} x {block[1]}, and "
                f"{images.dtype} {list(shape)} of view {view}."
            )


class _Intervals(NamedTuple):
    """All intervals of rows (columns) that are no shorter than a block.

    Attributes:
        limits: first and last of each, `[K, 2]`.
        roomy: those with room for a block before or after them are the first `roomy`.
    """

    limits: np.ndarray
    roomy: int


@cache
def _list_intervals(side: int, block: int) -> _Intervals:
    firsts, lasts = np.triu_indices(side, block - 1)
    room = np.maximum(firsts, side - 1 - lasts) >= block
    order = np.argsort(~room, kind="stable")
    limits = np.stack([firsts, lasts], axis=1)[order].astype(np.int32)
    return _Intervals(limits, int(room.sum()))


def occlude(images: tf.Tensor, block: tuple[int, int], seed: tf.Tensor) -> tf.Tensor:
    """Images with a rectangle of each in mid-grey.

    It is drawn uniformly from all rectangles that hide at least one block and leave at
    least one visible. A visible block lies above, below or beside the rectangle: these
    are the pairs of an interval of rows and one of columns, neither shorter than the
    block, of which one has room for a block before or after it.

    Source: Hjelm et al. 2019, section 4.3 and appendix A.7.

    Args:
        images: uint8 `[N, H, W, C]`, of this replica.
        block: height and width in pixels.
        seed: two integers.
    """
    n, (_, *sides, _) = images.shape[0] or tf.shape(images)[0], images.shape
    rows, columns = map(_list_intervals, sides, block)
    count = len(rows.limits) * columns.roomy
    count += rows.roomy * (len(columns.limits) - columns.roomy)
    index = draw(_draw_below(count), n, [], seed)
    row, column = _split(index, rows, columns)
    hidden_rows = _cover(tf.gather(rows.limits, row), sides[0])
    hidden_columns = _cover(tf.gather(columns.limits, column), sides[1])
    hidden = hidden_rows[:, :, None, None] & hidden_columns[:, None, :, None]
    return tf.where(hidden, tf.constant(_GREY, images.dtype), images)


def _draw_below(count: int):
    """(shape, seed) -> whole numbers from 0 to `count` - 1."""
    return lambda shape, seed: tf.random.stateless_uniform(
        shape, seed, maxval=count, dtype=tf.int64, alg="philox"
    )


def _split(index: tf.Tensor, rows: _Intervals, columns: _Intervals):
    """The number of a pair -> those of its intervals.

    Roomy rows with all columns come first, then the others with roomy columns.
    """
    first = rows.roomy * len(columns.limits)
    rest = tf.maximum(index - first, 0)
    few = max(columns.roomy, 1)  # of none there is no rest
    row = tf.where(
        index < first, index // len(columns.limits), rows.roomy + rest // few
    )
    column = tf.where(index < first, index % len(columns.limits), rest % few)
    return row, column


def _cover(limits: tf.Tensor, side: int) -> tf.Tensor:
    """Which rows (columns) intervals `[N, 2]` have: `[N, side]`."""
    places = tf.range(side)
    return (places >= limits[:, :1]) & (places <= limits[:, 1:])


def encode_occluded(
    encoder: keras.Model, images: tf.Tensor, block: tuple[int, int], seed: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Features of images, but for code and globals: these are of the images occluded.

    Whole and occluded images are one batch, so that batch norm sees the same mixture
    in every layer, and its statistics, by which tests see whole images, are those that
    training had.
    """
    both = encoder(tf.concat([images, occlude(images, block, seed)], axis=0))
    halves = {name: tf.split(feature, 2) for name, feature in both.items()}
    whole = {name: half for name, (half, _) in halves.items()}
    return whole | {name: halves[name][1] for name in _GLOBAL & halves.keys()}
