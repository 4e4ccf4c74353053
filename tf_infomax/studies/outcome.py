"""What a study leaves: a verdict, results.json and a figure."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tf_infomax.runtime.files import replacing
from tf_infomax.studies.rules import Claim, Rule
from tf_infomax.studies.runs import Runs

_LOWEST = -5.0  # drawn for all below: NWJ may start at minus millions
_BESIDE = {"bound/test": "bound/train"}


@dataclass(frozen=True)
class Effect:
    """What runs say of a rule.

    Attributes:
        rule: that the mean is held against.
        values: the difference, one per seed; () if nothing was measured.
    """

    rule: Rule
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.values)) if self.values else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Student interval of the mean over seeds; infinite for one seed."""
        from scipy.stats import t

        n = len(self.values)
        if n < 2:
            return -math.inf, math.inf
        half = float(t.ppf(0.975, n - 1) * np.std(self.values, ddof=1)) / math.sqrt(n)
        return self.mean - half, self.mean + half

    @property
    def holds(self) -> bool | None:
        """Whether the interval lies in the rule's region; None if it crosses an end."""
        low, high = self.interval
        first = -math.inf if self.rule.low is None else self.rule.low
        last = math.inf if self.rule.high is None else self.rule.high
        inside = (low > first or first == -math.inf) and (
            high < last or last == math.inf
        )
        beyond = high < first or low > last
        if math.isinf(low) or inside == beyond:
            return None
        return beyond if self.rule.outside else inside

    @property
    def word(self) -> str:
        """ "yes", "no" or "undecided"."""
        return {True: "yes", False: "no", None: "undecided"}[self.holds]

    def __str__(self) -> str:
        if not self.values:
            return f"{self.rule.what}: not measured, undecided"
        low, high = self.interval
        spread = f" (95 % {low:+.3g} .. {high:+.3g})" if math.isfinite(low) else ""
        unit = f" {self.rule.unit}" if self.rule.unit else ""
        return (
            f"{self.rule.what}: {self.mean:+.3g}{unit}{spread}, "
            f"{self.rule.region}: {self.word}"
        )


def measure(rule: Rule, runs: Runs) -> Effect:
    """The effect of finished runs that a rule asks for."""
    values = runs.read(rule.of)
    if isinstance(rule.less, float):
        less = [rule.less] * len(values)
    else:
        less = runs.read(rule.less)
    return Effect(rule, tuple(a - b for a, b in zip(values, less, strict=True)))


def judge_controls(controls: Sequence[Effect]) -> str:
    """ "passed", "failed" (one does not hold) or "undecided"."""
    found = [control.holds for control in controls]
    if all(found):
        return "passed"
    return "failed" if False in found else "undecided"


@dataclass(frozen=True)
class Finding:
    """What a study says of one of its claims.

    Attributes:
        claim: the sentence and its rules.
        effects: one per rule.
        controls: the word of the study's controls.
    """

    claim: Claim
    effects: tuple[Effect, ...]
    controls: str = "passed"

    @property
    def word(self) -> str:
        """ "reproduced", "contradicted" or "undecided".

        Reproduced is what every effect and every control holds for; contradicted what
        an effect speaks against. A control that fails leaves all undecided.
        """
        found = [effect.holds for effect in self.effects]
        if all(found) and self.controls == "passed":
            return "reproduced"
        if False in found and self.controls != "failed":
            return "contradicted"
        return "undecided"

    def __str__(self) -> str:
        return f"{self.claim.text} {self.word.capitalize()}: {_join(self.effects)}."


@dataclass(frozen=True)
class Verdict:
    """What a study says.

    Attributes:
        findings: one per claim, each with a word of its own.
        controls: effects that hold if the study measures what it means to.
        exploratory: in which settings it is not as it was frozen; () if in none.
        seeds: of the runs.
        history: of the setting.
        notes: further facts, in words.
    """

    findings: tuple[Finding, ...]
    controls: tuple[Effect, ...]
    exploratory: tuple[str, ...]
    seeds: tuple[int, ...]
    history: str
    notes: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """The word of all claims, or the words of each in turn."""
        words = [finding.word for finding in self.findings]
        return words[0] if len(set(words)) == 1 else ", ".join(words)

    @property
    def status(self) -> str:
        """Whether the rules were fixed before these runs."""
        if self.exploratory:
            return f"exploratory ({'; '.join(self.exploratory)})"
        return "by rules frozen before the runs"

    def __str__(self) -> str:
        lines = [
            *map(str, self.findings),
            f"Controls {judge_controls(self.controls)}: {_join(self.controls)}.",
            *(f"The paper: {finding.claim.paper}." for finding in self.findings),
            *self.notes,
            f"Seeds {', '.join(map(str, self.seeds))}; {self.status}.",
            f"History of the setting: {self.history}.",
        ]
        return "\n".join(lines)


def judge(
    plan,
    measured: Callable[[Rule], Effect],
    seeds: Sequence[int],
    exploratory: Sequence[str],
    notes: Sequence[str] = (),
) -> Verdict:
    """Holds what was measured against the rules of a plan.

    Args:
        plan: a `rules.Plan`, or another with claims, controls and a history.
        measured: rule -> effect.
        seeds, exploratory, notes: of the verdict.
    """
    controls = tuple(map(measured, plan.controls))
    word = judge_controls(controls)
    return Verdict(
        tuple(
            Finding(claim, tuple(map(measured, claim.rules)), word)
            for claim in plan.claims
        ),
        controls,
        tuple(exploratory),
        tuple(seeds),
        plan.history,
        tuple(notes),
    )


def _join(effects: Iterable[Effect]) -> str:
    return "; ".join(map(str, effects))


def write(folder: Path, runs: Runs, verdict: Verdict, settings: dict) -> None:
    """results.json: words, claims, controls, effects, the settings and the curves."""
    content = {
        "verdict": verdict.word,
        "sentence": str(verdict),
        "status": verdict.status,
        "exploratory": verdict.exploratory,
        "seeds": verdict.seeds,
        "history": verdict.history,
        "claims": [
            {
                "claim": finding.claim.text,
                "paper": finding.claim.paper,
                "verdict": finding.word,
                "effects": _describe(finding.effects),
            }
            for finding in verdict.findings
        ],
        "controls": {
            "verdict": judge_controls(verdict.controls),
            "effects": _describe(verdict.controls),
        },
        "notes": verdict.notes,
        "seconds": round(runs.seconds, 1),
        "settings": settings,
        "curves": {f"{arm}-{seed}": c for (arm, seed), c in runs.found.items()},
    }
    with replacing(folder / "results.json") as file:
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _describe(effects: Iterable[Effect]) -> list[dict]:
    return [
        {
            **asdict(effect),
            "mean": _finite(effect.mean),
            "interval": [_finite(value) for value in effect.interval],
            "holds": effect.holds,
            "text": str(effect),
        }
        for effect in effects
    ]


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
    hidden: Sequence[str] = (),
) -> None:
    """Curves of all arms: means over seeds with a band of one deviation.

    Args:
        path: of the picture.
        runs: all of the study.
        panels: (curve, label of the axis). A curve that is kept by percentiles,
            `curve/P`, is drawn as the median in bands of the others.
        lines: curve -> (what, level), drawn across its panel.
        hidden: arms that are not drawn.

    What `_BESIDE` names is drawn with its curve, dashed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(panels), 3.8), layout="constrained")
    names = [n for n in dict.fromkeys(arm for arm, _ in runs.found) if n not in hidden]
    axes = np.ravel(figure.subplots(1, len(panels)))
    for panel, (curve, label) in zip(axes, panels, strict=True):
        for number, arm in enumerate(names):
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
        if any(v < _LOWEST for arm in names for v in _values(runs, arm, curve)):
            note = f"what is below {_LOWEST:g} is drawn there"
            panel.set_title(note, fontsize="small")
        panel.set(xlabel="step", ylabel=label)
        panel.grid(alpha=0.3)
    axes[0].legend(fontsize="small")
    with replacing(path) as file:
        figure.savefig(file, dpi=110)
