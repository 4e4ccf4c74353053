"""What an estimate is: a number that never travels alone."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tf_infomax.estimation.inputs import read_pairs

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Estimate:
    """An estimate of mutual information (or of a related quantity).

    Attributes:
        method: a key of `ESTIMATORS`.
        value: nats (or `unit`), on pairs that nothing was chosen on. Of mutual
            information at least 0; `raw` is what the estimator gave.
        interval: confidence interval of the value over draws of these pairs; for a
            bound, of the bound that this critic gives, not of the truth. Its end is
            inf where `at_least`.
        level: of the interval.
        direction: "lower" or "upper" bound (in population), or "neither".
        ceiling: the largest value possible, inf if there is none.
        unit: of the value.
        pairs: how many were used to train, to choose and to report.
        diagnostics: figures by name.
        warnings: in words, why the value should not be taken as it is.
        history: (step, value on training batches, value on validation pairs).
        chosen: what "auto" has chosen: "ksg", "mixed", "copula" or "critic".
        density_ratio: (x, y) -> log p(x, y) / p(x) p(y) per pair, or None.
        trainings: the `loop.Training` of each fold, if there were any.
        at_least: whether the truth may be anything from the value up, as far as these
            pairs can tell.
        bracket: (lower bound, estimate, upper bound) of a known density, if asked for.
    """

    method: str
    value: float
    interval: tuple[float, float]
    level: float
    direction: str
    ceiling: float
    pairs: dict[str, int]
    unit: str = "nats"
    diagnostics: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    history: tuple[tuple[int, float, float], ...] = ()
    density_ratio: Callable | None = field(default=None, repr=False, compare=False)
    trainings: tuple = field(default=(), repr=False, compare=False)
    chosen: str = ""
    bracket: tuple[float, float, float] | None = None
    at_least: bool = False

    @property
    def bits(self) -> float:
        """The value in bits."""
        return self.value / math.log(2.0)

    @property
    def raw(self) -> float:
        """What the estimator gave, also below 0: for errors, p-values, laws."""
        return self.diagnostics.get("raw", self.value)

    def pointwise(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """log p(x_i, y_i) / (p(x_i) p(y_i)) as this method sees it, nats `[n]`.

        Raises:
            ValueError: if the method gives none.
        """
        if self.density_ratio is None:
            raise ValueError(f"{self.name} gives no density ratio of single pairs.")
        return self.density_ratio(*read_pairs(x, y, fewest=1))

    def plot(
        self,
        path: str | Path | None = None,
        truth: float | None = None,
        pairs: tuple | None = None,
    ) -> "Figure":
        """Draws value and interval, learning curve with its ceiling, pointwise ratios.

        Args:
            path: of the picture; None: the figure is returned only.
            truth: drawn where it is known.
            pairs: (x, y) whose pointwise ratios become a histogram.

        Returns:
            The `matplotlib.figure.Figure`.
        """
        from tf_infomax.estimation.figure import draw

        shown = None
        if pairs is not None and self.density_ratio is not None:
            shown = self.pointwise(*pairs)
        return draw([self], path and Path(path), truth, shown)

    def export(self, path: str | Path) -> None:
        """Writes the critic as a SavedModel: signature x, y -> log_ratio `[n]`, nats.

        It takes float32 pairs as they come: scale and ranks are part of it.

        Raises:
            ValueError: if the method has no critic.
            FileExistsError: if there is something at `path`.
        """
        if not hasattr(self.density_ratio, "export"):
            raise ValueError(f"{self.name} has no critic to export.")
        self.density_ratio.export(Path(path))

    @property
    def name(self) -> str:
        """The method, and what it has chosen if it chooses."""
        return f"{self.method} ({self.chosen})" if self.chosen else self.method

    def to_dict(self) -> dict:
        """Everything that JSON can hold; infinities become None.

        An interval without an end has None there and says `at_least`.
        """
        finite = lambda v: v if v is not None and math.isfinite(v) else None
        return {
            "method": self.method,
            "chosen": self.chosen,
            "value": finite(self.value),
            "unit": self.unit,
            "bits": finite(self.bits) if self.unit == "nats" else None,
            "interval": [finite(end) for end in self.interval],
            "at_least": self.at_least,
            "level": self.level,
            "direction": self.direction,
            "ceiling": finite(self.ceiling),
            "pairs": self.pairs,
            "diagnostics": {k: finite(float(v)) for k, v in self.diagnostics.items()},
            "warnings": list(self.warnings),
            "history": [list(map(finite, row)) for row in self.history],
            "bracket": self.bracket and [finite(value) for value in self.bracket],
        }

    def save(self, path: str | Path) -> None:
        """Writes `to_dict` as JSON."""
        text = json.dumps(self.to_dict(), indent=1) + "\n"
        Path(path).write_text(text, encoding="utf-8")

    def __str__(self) -> str:
        ceiling = f", ceiling {self.ceiling:.3f}" if self.ceiling < math.inf else ""
        kind = "" if self.direction == "neither" else f", {self.direction} bound"
        text = (
            f"{self.name}: {self.shown} {self.unit} "
            f"({100 * self.level:.0f} % {self.shown_interval}{kind}{ceiling})"
        )
        if self.bracket:
            lower, _, upper = self.bracket
            text += f", between bounds {lower:.3f} and {upper:.3f}"
        return "\n".join([text, *(f"  warning: {each}" for each in self.warnings)])

    @property
    def shown(self) -> str:
        """The value in words: "0.511", "at least 5.401", "infinite"."""
        if self.value == math.inf:
            return "infinite"
        return f"{'at least ' * self.at_least}{self.value:.3f}"

    @property
    def shown_interval(self) -> str:
        """The interval in words: "[0.48, 0.53]", open above "[5.398, inf)"."""
        low, high = self.interval
        return f"[{low:.3f}, {high:.3f}{')' if high == math.inf else ']'}"
