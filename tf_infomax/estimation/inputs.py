"""From what a user has to pairs of arrays: checks, marginal transforms, splits."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

_FEWEST = 20
_SPLIT = (0.6, 0.2, 0.2)  # train, choose, report
_FAR = 10.0  # deviations of a normal column, beyond which a value lies far out
_QUARTILES = 1.349  # of a normal column, their distance in deviations
_CHOOSE = 8  # of a cross-fit, one of so many pairs that are not reported on


class PairsError(ValueError):
    """Pairs that cannot be used: one line that says what and where."""

    exit_status = 2


def read_pairs(
    x: object, y: object, fewest: int = _FEWEST, must_vary: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Float arrays `[n, ...]` of arrays, tensors, or (y = None) a dataset of pairs.

    Args:
        x, y: see there. A dataset yields single pairs or batches of them.
        fewest: pairs.
        must_vary: whether constant columns of vectors are refused, and constant sides.

    Raises:
        PairsError: if they do not pair, are no finite numbers, or do not vary as asked.
    """
    if y is None:
        if not hasattr(x, "as_numpy_iterator"):
            raise PairsError("y is needed, unless x is a tf.data.Dataset of pairs.")
        x, y = _read_dataset(x)
    elif hasattr(x, "as_numpy_iterator"):
        raise PairsError("a tf.data.Dataset of pairs holds both sides: give no y.")
    x, y = (_as_array(side, name, must_vary) for side, name in ((x, "x"), (y, "y")))
    if len(x) != len(y):
        raise PairsError(
            f"x and y must have as many rows. Received: {len(x)} and {len(y)}."
        )
    if len(x) < fewest:
        raise PairsError(f"at least {fewest} pairs are needed. Received: {len(x)}.")
    return x, y


def _read_dataset(dataset) -> tuple[np.ndarray, np.ndarray]:
    """Both sides of all pairs of a tf.data.Dataset; batches are taken apart."""
    spec = dataset.element_spec
    if not isinstance(spec, tuple) or len(spec) != 2:
        raise PairsError(f"the dataset must yield pairs (x, y). Received: {spec}.")
    if int(dataset.cardinality()) == -1:
        raise PairsError("the dataset never ends: choose how many pairs by .take(n).")
    rows = list(dataset.as_numpy_iterator())
    if not rows:
        raise PairsError("the dataset is empty.")
    # Only a batch can have a length that is not known before.
    batched = all(len(side.shape) and side.shape[0] is None for side in spec)
    batched = batched or _is_batched(dataset)
    join = np.concatenate if batched else np.stack
    try:
        return tuple(join(side) for side in zip(*rows, strict=True))
    except ValueError as error:
        raise PairsError(
            "the pairs of the dataset differ in shape; of batches make single pairs by "
            ".unbatch()."
        ) from error


def _is_batched(dataset) -> bool:
    """Whether batches were made and not taken apart, whatever came after."""
    while dataset is not None:
        kind = type(dataset).__name__
        if kind.endswith(("UnbatchDataset", "FlatMapDataset", "InterleaveDataset")):
            return False
        if kind.endswith("BatchDataset"):
            return True
        dataset = getattr(dataset, "_input_dataset", None)
    return False


def _as_array(values, name: str, must_vary: bool) -> np.ndarray:
    if np.ma.is_masked(values):
        raise PairsError(f"{name} has masked values: leave these pairs out.")
    try:
        values = np.asarray(values)
    except ValueError as error:
        raise PairsError(f"{name} has rows of differing lengths.") from error
    if values.dtype.kind not in "fiub":
        raise PairsError(f"{name} must be numbers. Received: {values.dtype}.")
    if values.ndim == 0:
        raise PairsError(f"{name} must have one row per pair. Received: one number.")
    if 0 in values.shape[1:]:
        raise PairsError(f"{name} has no columns. Received: shape {values.shape}.")
    values = values[:, None] if values.ndim == 1 else values
    _check_whole_numbers(values, name)
    values = values.astype(np.float64)
    bad = np.count_nonzero(~np.isfinite(values))
    if bad:
        raise PairsError(f"{name} has {bad} values that are NaN or infinite.")
    if must_vary:
        columns = values.reshape(len(values), -1)
        constant = np.flatnonzero(columns.max(axis=0) == columns.min(axis=0))
        # Images have pixels that never change; vectors should not.
        if len(constant) and (values.ndim == 2 or len(constant) == columns.shape[1]):
            shown = ", ".join(map(str, constant[:5]))
            more = ", ..." if len(constant) > 5 else ""
            raise PairsError(
                f"{name} has {len(constant)} constant columns ({shown}{more}), which "
                "carry no information: leave them out."
            )
    return values


def _check_whole_numbers(values: np.ndarray, name: str) -> None:
    """Raises PairsError for integers that float64 would make equal to their next."""
    if values.dtype.kind not in "iu" or not values.size:
        return
    low, high = int(values.min()), int(values.max())
    if max(-low, high) > 2**53:
        raise PairsError(
            f"{name} has whole numbers from {low} to {high}; beyond 2^53 different "
            "ones would become the same. Subtract the least of them first."
        )


@dataclass(frozen=True)
class Marginal:
    """A fitted transform of one side, column by column.

    Mutual information does not change under invertible maps of either side; estimators
    do, which is why scale and tails are taken out of their way.
    """

    kind: str
    center: np.ndarray
    scale: np.ndarray
    sorted_values: np.ndarray | None = None
    tail: np.ndarray | None = None  # of `standardize`: beyond, values are compressed

    def __call__(self, values: np.ndarray) -> np.ndarray:
        if self.kind == "none":
            return values
        if self.kind == "rank":
            return self._rank(values)
        standard = (values - self.center) / self.scale
        if self.tail is not None:
            beyond = np.maximum(np.abs(standard) - self.tail, 0.0)
            kept = np.clip(standard, -self.tail, self.tail)
            beyond = np.log1p(beyond)
            return kept + np.sign(standard) * beyond / (1.0 + beyond)
        return np.arcsinh(standard) if self.kind == "asinh" else standard

    def _rank(self, values: np.ndarray) -> np.ndarray:
        from scipy.special import ndtri

        n = len(self.sorted_values)
        columns = []
        for column, known in zip(
            values.reshape(len(values), -1).T, self.sorted_values.T, strict=True
        ):
            low = np.searchsorted(known, column, "left")
            high = np.searchsorted(known, column, "right")
            columns.append(ndtri((0.5 * (low + high) + 0.5) / (n + 1.0)))
        return np.stack(columns, axis=1).reshape(values.shape)


MARGINALS = ("standardize", "rank", "asinh", "none")


def fit_marginal(values: np.ndarray, kind: str) -> Marginal:
    """Fits a marginal transform.

    * `standardize`: zero mean, unit deviation. Of a column with values further out than
      ten deviations, as its quartiles have them, mean and deviation are of values
      brought down to there, and all that lies beyond is pressed into one deviation
      more, by an increasing function, so that no information is lost;
    * `rank`: normal quantiles of the ranks (ties share one);
    * `asinh`: of (v - median) / interquartile range, which tames heavy tails;
    * `none`.
    """
    if kind not in MARGINALS:
        raise PairsError(
            f"preprocess must be one of {', '.join(MARGINALS)}. Received: {kind!r}."
        )
    # Squares of values in units of the largest neither overflow nor vanish.
    unit = np.exp2(np.frexp(np.abs(values).max(axis=0))[1] - 1.0)
    mean, deviation = (
        unit * getattr(values / unit, name)(axis=0) for name in ("mean", "std")
    )
    center, scale = mean, deviation
    if kind == "asinh":
        low, center, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
        scale = np.where(high > low, high - low, deviation)
    tail = None
    if kind == "standardize" and values.ndim == 2:
        center, scale, tail = _without_outliers(values, center, scale)
    scale = np.where(scale > 0, scale, 1.0)
    known = None
    if kind == "rank":
        known = np.sort(values.reshape(len(values), -1), axis=0)
    return Marginal(kind, center, scale, known, tail)


def _without_outliers(values: np.ndarray, center, scale) -> tuple:
    """(center, scale, where tails begin in units of it).

    Tails have their beginning also where the values at hand have none: others may.
    """
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
    reach = _FAR * (high - low) / _QUARTILES
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        places = (values - middle) / reach
    far = (reach > 0) & (np.abs(places) > 1.0).any(axis=0)
    near = np.where(reach > 0, np.clip(places, -1.0, 1.0), 0.0)
    center = np.where(far, middle + reach * near.mean(axis=0), center)
    scale = np.where(far, reach * near.std(axis=0), scale)
    tail = np.divide(reach, scale, out=np.full_like(reach, np.inf), where=reach > 0)
    return center, scale, tail


def transform(marginals: Iterable, sides: Iterable) -> tuple[np.ndarray, np.ndarray]:
    """Both sides by their marginals, float32."""
    return tuple(
        marginal(side).astype(np.float32)
        for marginal, side in zip(marginals, sides, strict=True)
    )


def split(
    n: int, seed: int, block: int = 1, folds: int = 1
) -> list[tuple[np.ndarray, ...]]:
    """Positions to train, to choose and to report on: disjoint, in whole blocks.

    Args:
        n: pairs.
        seed: of the permutation of the blocks.
        block: rows that depend on one another stay together.
        folds: 1 reports on a fifth; k on each k-th part in turn, with an eighth of the
            rest to choose on.

    Returns:
        Three arrays of positions for each fold.

    Raises:
        PairsError: for more folds than there are blocks.
    """
    blocks = -(-n // block)
    order = np.random.default_rng(seed).permutation(blocks)
    if folds == 1:
        cuts = np.round(np.cumsum(_SPLIT[:2]) * blocks).astype(int)
        parts = [np.split(order, cuts)]
    else:
        if blocks < 3 * folds:
            raise PairsError(
                f"{folds} folds need at least {3 * folds} blocks of dependent rows. "
                f"Received: {blocks}."
            )
        groups, parts = np.array_split(order, folds), []
        for k in range(folds):
            rest = np.concatenate(groups[k + 1 :] + groups[:k])
            choose = max(1, round(len(rest) / _CHOOSE))
            parts.append((rest[choose:], rest[:choose], groups[k]))
    rows = np.arange(n)
    return [
        tuple(rows[np.isin(rows // block, part)] for part in triple) for triple in parts
    ]


def check_parts(parts: Sequence, n: int) -> tuple[np.ndarray, ...]:
    """The positions to train on, to choose on and to report on, as `split` gives them.

    Raises:
        PairsError: unless they are positions of n pairs, each in one part at most, and
            two or more in each.
    """
    parts = tuple(np.asarray(part) for part in parts)
    positions = np.concatenate([part.ravel() for part in parts])
    if (
        positions.dtype.kind not in "iu"
        or min(map(len, parts)) < 2
        or positions.min() < 0
        or positions.max() >= n
        or len(np.unique(positions)) < len(positions)
    ):
        raise PairsError(
            f"parts must be positions below {n}, the number of pairs, none of them "
            "twice, and at least two in each. Received: "
            f"{', '.join(f'{len(part)}' for part in parts)} of them."
        )
    return parts
