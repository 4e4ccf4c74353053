"""Values that repeat: their codes and counts, and information from a table of counts.

Imports NumPy and SciPy only.
"""

import numpy as np
from scipy.special import digamma

_BIAS = 0.02  # nats by which a table may be off before neighbours are asked
_DENSE = 4  # cells per pair up to which counting is quicker than sorting


def encode(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(code of each row, counts of the codes); equal rows share one.

    Args:
        values: `[n]` or `[n, d]`.

    Returns:
        `[n]` whole numbers from 0 on, in the order of the rows' first columns, then
        of the next; and how often each occurs.
    """
    n = len(values)
    codes, counts = np.zeros(n, np.int64), np.array([n])
    for column in values.reshape(n, -1).T:
        if len(counts) == n:
            break
        different, own = np.unique(column, return_inverse=True)
        if len(different) == 1:
            continue
        _, codes, counts = np.unique(
            codes * len(different) + own, return_inverse=True, return_counts=True
        )
    return codes, counts


def count_different(values: np.ndarray) -> int:
    """How many different rows there are."""
    return len(encode(values)[1])


def _cells(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How many pairs each cell has that has any, of codes `[n]`, `[n]`."""
    width = int(y.max()) + 1
    joint = x * width + y
    if (int(x.max()) + 1) * width > _DENSE * len(x):
        return np.unique(joint, return_counts=True)[1]
    counts = np.bincount(joint)
    return counts[counts > 0]


def is_filled(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether pairs of codes `[n]` fill the table of their values.

    The bias of the counts, by Miller & Madow (cells - rows - columns) / 2 n, is small.
    Otherwise most pairs of values are seen once or never, and a table of them says far
    too much. Rows and columns seen once have one cell whatever they are paired with, so
    that they are not taken off.
    """
    n = len(x)
    sides = [np.bincount(side) for side in (x, y)]
    if max(np.count_nonzero(side) for side in sides) > n / 2:
        return False
    repeated = sum(np.count_nonzero(side > 1) for side in sides)
    return len(_cells(x, y)) - repeated < 2 * n * _BIAS


def table_mi(x: np.ndarray, y: np.ndarray) -> float:
    """Information of discrete variables from the table of their counts, nats.

    H(x) + H(y) - H(x, y), each entropy as log n - 1/n sum n_i psi(n_i) and, for all
    three together, psi(n) for log n. The digamma function takes away what counts of a
    sample are off by: to first order the same as Miller & Madow's
    (rows + columns - cells - 1) / 2 n, and more where counts are small.
    Source: Grassberger 1988, eq. 13.

    Args:
        x, y: codes `[n]`, whole numbers from 0 on.
    """
    n = len(x)
    total = lambda counts: float(counts @ digamma(np.maximum(counts, 1)))
    sides = total(np.bincount(x)) + total(np.bincount(y))
    return float(digamma(n) - (sides - total(_cells(x, y))) / n)
