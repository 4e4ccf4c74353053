"""A user's pairs by use, and what an estimator makes of them.

Imports NumPy only.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from tf_infomax.estimation.columns import Columns
from tf_infomax.estimation.inputs import (
    Marginal,
    check_parts,
    fit_marginal,
    split,
    transform,
)
from tf_infomax.estimation.options import Options
from tf_infomax.estimation.values import Scores

Sides = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Fold:
    """One split: a part to train on, one to choose the step on, one to report on.

    Attributes:
        train, choose, report: positions of the pairs.
        sides: x and y as they came.
        preprocess: a name of `inputs.MARGINALS`, fitted to the training part.
    """

    train_rows: np.ndarray
    choose_rows: np.ndarray
    report_rows: np.ndarray
    sides: Sides
    preprocess: str

    @cached_property
    def marginals(self) -> tuple[Marginal, Marginal]:
        """Of x and y, fitted to the training part."""
        return tuple(
            fit_marginal(s[self.train_rows], self.preprocess) for s in self.sides
        )

    def _take(self, rows: np.ndarray) -> Sides:
        return transform(self.marginals, tuple(side[rows] for side in self.sides))

    @cached_property
    def train(self) -> Sides:
        """Preprocessed pairs to train on."""
        return self._take(self.train_rows)

    @cached_property
    def choose(self) -> Sides:
        """Preprocessed pairs to choose the step on."""
        return self._take(self.choose_rows)

    @cached_property
    def report(self) -> Sides:
        """Preprocessed pairs to report on."""
        return self._take(self.report_rows)

    def raw(self, part: str) -> Sides:
        """The pairs of a part, "train" or "report", as they came."""
        return tuple(side[getattr(self, f"{part}_rows")] for side in self.sides)


class Samples:
    """Pairs, split or whole, as an estimator wants them; nothing is computed unasked.

    Args:
        x, y: `[n, ...]`, checked.
        options: seed, block, folds, parts, preprocess, max_reported.
        columns: which these are of the columns that came; default: all.
    """

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        options: Options,
        columns: tuple[Columns, Columns] | None = None,
    ):
        self.x, self.y, self.options = x, y, options
        self.columns = columns or tuple(Columns(side.shape[1:]) for side in (x, y))

    @cached_property
    def whole(self) -> Sides:
        """All pairs as vectors, by their own marginals."""
        kind = self.options.preprocess
        return flatten([fit_marginal(side, kind)(side) for side in (self.x, self.y)])

    @cached_property
    def folds(self) -> list[Fold]:
        """One split, or one for each fold of a cross-fit."""
        o = self.options
        most = o.max_reported
        if o.parts is not None:
            parts = [check_parts(o.parts, len(self.x))]
        else:
            parts = split(len(self.x), o.seed, o.block, o.folds)
        return [
            Fold(train, choose[:most], report[:most], (self.x, self.y), o.preprocess)
            for train, choose, report in parts
        ]


@dataclass
class Fitted:
    """What a row of `ESTIMATORS` gives.

    Attributes:
        value: weights `[n]` of the reported pairs (or, if `subsets`, positions) ->
            estimate.
        n: pairs reported on.
        subsets: whether `value` takes positions.
        candidates: pairs that are one another's negatives; n unless there are folds.
        scores: the score matrices, for diagnostics.
        trainings: the `loop.Training` of each fold.
        members: a `pointwise.Member` of each fold, for the ratio of single pairs.
        log_ratio: preprocessed (x, y) -> log density ratio, where there is no member.
        marginals: that `log_ratio` takes.
        diagnostics: further figures.
        chosen: what an automatic method has chosen, in words.
        ceiling: the largest value possible, where it does not hang on scores.
        rise: () -> how much higher the value of all pairs is than that of half of
            them, and its standard error; None where more pairs lead no further.
        lower: whether the value is one from below, whatever the method's usually are.
        broken: order `[n]` of y -> estimate of the pairs so broken up, where that
            takes no training.
        notes: in words, what is to be said of these pairs.
    """

    value: Callable
    n: int
    subsets: bool = False
    candidates: int = 0
    scores: tuple[Scores, ...] = ()
    trainings: tuple = ()
    members: tuple = ()
    log_ratio: Callable | None = None
    marginals: tuple = ()
    diagnostics: dict[str, float] = field(default_factory=dict)
    chosen: str = ""
    ceiling: float = math.inf
    rise: Callable[[], tuple[float, float]] | None = None
    lower: bool = False
    broken: Callable | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        self.candidates = self.candidates or self.n


def flatten(sides: Sides) -> Sides:
    """Both sides as vectors, `[n, d]`."""
    return tuple(side.reshape(len(side), -1) for side in sides)


def combine(parts: list[Fitted]) -> Fitted:
    """The estimates of all folds as one: a mean, weighted by their pairs."""
    if len(parts) == 1:
        return parts[0]
    cuts = np.cumsum([part.n for part in parts])[:-1]

    def value(weights: np.ndarray) -> float:
        shares = np.split(weights, cuts)
        total = weights.sum()
        return float(
            sum(
                share.sum() / total * part.value(share)
                for share, part in zip(shares, parts, strict=True)
                if share.sum() > 0
            )
        )

    names = parts[0].diagnostics
    return Fitted(
        value=value,
        n=sum(part.n for part in parts),
        candidates=min(part.n for part in parts),
        scores=tuple(s for part in parts for s in part.scores),
        trainings=tuple(t for part in parts for t in part.trainings),
        members=tuple(m for part in parts for m in part.members),
        log_ratio=parts[0].log_ratio,
        marginals=parts[0].marginals,
        diagnostics={
            name: float(np.mean([part.diagnostics[name] for part in parts]))
            for name in names
        },
    )


def per_fold(
    fit: Callable[[Fold, Options], Fitted],
) -> Callable[[Samples, Options], Fitted]:
    """An estimator of whole samples from one of a single split."""

    def fit_all(samples: Samples, options: Options) -> Fitted:
        return combine([fit(fold, options) for fold in samples.folds])

    return fit_all
