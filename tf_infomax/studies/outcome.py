"""What a study leaves: runs, a verdict, results.json and a figure."""

import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from tf_infomax.output import replacing
from tf_infomax.progress import format_left
from tf_infomax.studies import kept
from tf_infomax.studies.kept import Unfinished

_LOWEST = -5.0  # drawn for all below: NWJ may start at minus millions
_BESIDE = {"bound/test": "bound/train"}


@dataclass(frozen=True)
class Effect:
    """A difference between arms, paired by seed.

    Attributes:
        what: it is, in words.
        values: one per seed.
        unit: of them.
        expected: the sign that the claim needs: 1 or -1.
    """

    what: str
    values: tuple[float, ...]
    unit: str
    expected: int = 1

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Student interval of the mean over seeds; infinite for one seed."""
        from scipy.stats import t

        n = len(self.values)
        if n < 2:
            return -math.inf, math.inf
        half = t.ppf(0.975, n - 1) * float(np.std(self.values, ddof=1)) / math.sqrt(n)
        return self.mean - half, self.mean + half

    @property
    def holds(self) -> bool | None:
        """Whether the interval lies on the claim's side; None if it contains 0."""
        low, high = self.interval
        if low <= 0.0 <= high:
            return None
        return (self.mean > 0) == (self.expected > 0)

    def __str__(self) -> str:
        low, high = self.interval
        spread = f" (95 % {low:+.3f} .. {high:+.3f})" if math.isfinite(low) else ""
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.what}: {self.mean:+.3f}{unit}{spread}"


@dataclass(frozen=True)
class Verdict:
    """What a study says of its claim.

    Attributes:
        claim: the paper's, with its figure.
        paper: what the paper shows, in words.
        effects: all that the claim needs.
        notes: further facts, in words.
    """

    claim: str
    paper: str
    effects: tuple[Effect, ...]
    notes: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """ "reproduced", "contradicted" or "undecided"."""
        found = [effect.holds for effect in self.effects]
        if all(found):
            return "reproduced"
        return "contradicted" if False in found else "undecided"

    def __str__(self) -> str:
        parts = "; ".join(map(str, self.effects))
        return " ".join(
            [
                f"{self.claim} {self.word.capitalize()}: {parts}.",
                f"The paper: {self.paper}.",
                *self.notes,
            ]
        )


@dataclass
class Runs:
    """The finished runs of a study, one JSON file each: arm and seed -> curves.

    Attributes:
        folder: of the files.
        settings: that a file must have been made with.
        found: the curves.
        seconds: that the runs have taken, over all starts.
    """

    folder: Path
    settings: dict
    found: dict[tuple[str, int], dict] = field(default_factory=dict)
    seconds: float = 0.0

    def collect(
        self,
        arms: Iterable[str],
        seeds: Sequence[int],
        run: Callable[[str, int, Unfinished], dict],
        tell: Callable[[str], None],
    ) -> None:
        """Runs what is missing, from where it was interrupted.

        Args:
            arms, seeds: all of which are wanted.
            run: (arm, seed, `Unfinished`) -> curves.
            tell: hears how far they are.

        Raises:
            ConfigError: if the folder holds runs of other settings.
        """
        wanted = [(arm, seed) for seed in seeds for arm in arms]
        began, before = time.monotonic(), 0
        for count, (arm, seed) in enumerate(wanted):
            path = self.folder / f"{arm}-{seed}.json"
            content = kept.read(path, self.settings, "--workdir")
            if content is None:
                name = f"{self.folder.parent.name}: {arm}, seed {seed}"
                show = lambda share, name=name, count=count, before=before: tell(
                    f"{name}, run {count + 1}/{len(wanted)}, {share:.0%}  "
                    f"{_left(count + share, before, len(wanted), began)}".rstrip()
                )
                state = path.with_suffix(".npz")
                unfinished = Unfinished(state, self.settings, show)
                curves = run(arm, seed, unfinished)
                content = {"seconds": unfinished.count_seconds(), "curves": curves}
                kept.write(path, self.settings, **content)
                state.unlink(missing_ok=True)
            else:
                before += 1
            self.seconds += content["seconds"]
            self.found[arm, seed] = content["curves"]

    def last(self, arm: str, curve: str) -> list[float]:
        """The curve's last value, one per seed."""
        return [values[-1] for values in self.all(arm, curve)]

    def first(self, arm: str, curve: str) -> list[float]:
        """The curve's first value, one per seed."""
        return [values[0] for values in self.all(arm, curve)]

    def all(self, arm: str, curve: str) -> list[list[float]]:
        """The whole curve, one per seed."""
        return [
            curves[curve] for (name, _), curves in self.found.items() if name == arm
        ]


def _left(done: float, before: int, total: int, began: float) -> str:
    """How long the rest takes if it goes on as since `began`, with `before` done."""
    speed = (done - before) / (time.monotonic() - began)
    return format_left(total - done, speed)


def subtract(a: Iterable[float], b: Iterable[float]) -> tuple[float, ...]:
    """Differences of values paired by seed."""
    return tuple(x - y for x, y in zip(a, b, strict=True))


def write(folder: Path, runs: Runs, verdict: Verdict) -> None:
    """results.json: the verdict, its effects, the settings and the curves."""
    content = {
        "verdict": verdict.word,
        "sentence": str(verdict),
        "claim": verdict.claim,
        "paper": verdict.paper,
        "notes": verdict.notes,
        "seconds": round(runs.seconds, 1),
        "effects": [
            {
                **asdict(e),
                "mean": e.mean,
                "interval": [_finite(v) for v in e.interval],
                "text": str(e),
            }
            for e in verdict.effects
        ],
        "settings": runs.settings,
        "curves": {f"{arm}-{seed}": c for (arm, seed), c in runs.found.items()},
    }
    with replacing(folder / "results.json") as file:
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _values(runs: Runs, arm: str, curve: str) -> Iterable[float]:
    """All values of a curve, none if it is kept by percentiles."""
    for (name, _), curves in runs.found.items():
        if name == arm:
            yield from curves.get(curve, ())


def _middle_and_bands(runs: Runs, arm: str, curve: str):
    """The line of an arm, and (low, high) of each band about it."""
    curves = next(c for (name, _), c in runs.found.items() if name == arm)
    if curve in curves:
        values = np.maximum(runs.all(arm, curve), _LOWEST)
        mean, sd = values.mean(axis=0), values.std(axis=0)
        return mean, [(mean - sd, mean + sd)]
    percentiles = sorted(
        int(name.removeprefix(f"{curve}/"))
        for name in curves
        if name.startswith(f"{curve}/")
    )
    found = {p: np.mean(runs.all(arm, f"{curve}/{p}"), axis=0) for p in percentiles}
    pairs = [(p, 100 - p) for p in percentiles if p < 50]
    return found[50], [(found[low], found[high]) for low, high in pairs]


def draw(
    path: Path,
    runs: Runs,
    panels: Sequence[tuple[str, str]],
    lines: dict[str, tuple[str, float]],
) -> None:
    """Curves of all arms: means over seeds with a band of one deviation.

    Args:
        path: of the picture.
        runs: all of the study.
        panels: (curve, label of the axis). A curve that is kept by percentiles,
            `curve/P`, is drawn as the median in bands of the others.
        lines: curve -> (what, level), drawn across its panel.

    What `_BESIDE` names is drawn with its curve, dashed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(panels), 3.8), layout="constrained")
    axes = np.ravel(figure.subplots(1, len(panels)))
    arms = list(dict.fromkeys(arm for arm, _ in runs.found))
    for panel, (curve, label) in zip(axes, panels, strict=True):
        for number, arm in enumerate(arms):
            steps, colour = runs.all(arm, "step")[0], f"C{number}"
            middle, bands = _middle_and_bands(runs, arm, curve)
            panel.plot(steps, middle, color=colour, marker="o", ms=3, label=arm)
            for low, high in bands:
                panel.fill_between(steps, low, high, color=colour, alpha=0.15, lw=0)
            if beside := _BESIDE.get(curve):
                middle, _ = _middle_and_bands(runs, arm, beside)
                panel.plot(steps, middle, color=colour, ls="--", lw=1, alpha=0.7)
        if curve in lines:
            what, level = lines[curve]
            panel.axhline(level, color="0.3", ls=":", lw=1.5)
            place = {"xycoords": ("axes fraction", "data"), "ha": "right"}
            panel.annotate(
                what, (1.0, level), (-3, 3), textcoords="offset points", **place
            )
        if any(v < _LOWEST for arm in arms for v in _values(runs, arm, curve)):
            note = f"what is below {_LOWEST:g} is drawn there"
            panel.set_title(note, fontsize="small")
        panel.set(xlabel="step", ylabel=label)
        panel.grid(alpha=0.3)
    axes[0].legend(fontsize="small")
    with replacing(path) as file:
        figure.savefig(file, dpi=110)
