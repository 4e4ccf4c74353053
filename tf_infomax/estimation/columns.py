"""Which columns of a side carry information, and which say nothing new.

A column that never changes carries none, and a copy of another column none beside it.
Estimators do not see them: the answer is that without them.

Imports NumPy only.
"""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Columns:
    """The columns of one side that an estimator sees.

    Attributes:
        shape: of one value as it came.
        kept: positions in the flattened value; None for all, in their shape.
    """

    shape: tuple[int, ...]
    kept: np.ndarray | None = None

    def take(self, values: np.ndarray) -> np.ndarray:
        """`[n, *shape]` -> `[n, kept]`, or the values as they are."""
        if self.kept is None:
            return values
        # In rows, as values came: sums of another order differ in the last bit.
        return np.ascontiguousarray(values.reshape(len(values), -1)[:, self.kept])


def find_informative(values: np.ndarray, monotone: bool) -> Columns:
    """The columns of `[n, ...]` without constant ones and all copies but the first.

    Args:
        values: one side.
        monotone: whether strictly monotone functions of a column count as copies, as
            they are to whom ranks alone are shown.
    """
    columns = values.reshape(len(values), -1).T
    first: dict[bytes, int] = {}
    for position, column in enumerate(columns):
        if not is_constant(column):
            first.setdefault(_identify(column, monotone), position)
    kept = np.array(list(first.values()), int)
    shape = values.shape[1:]
    return Columns(shape, None if len(kept) == math.prod(shape) else kept)


def is_constant(values: np.ndarray) -> bool:
    """Whether all rows of `[n, ...]` are the same."""
    return bool((values == values[:1]).all())


def _identify(column: np.ndarray, monotone: bool) -> bytes:
    """The same for copies alone."""
    if not monotone:
        return (column + 0.0).tobytes()  # -0 is 0
    codes = np.unique(column, return_inverse=True)[1]
    return min(codes.tobytes(), (codes.max() - codes).tobytes())
