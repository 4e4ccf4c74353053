"""What a study leaves: a verdict, results.json and a figure."""

import json
import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tf_infomax.reporting.report import save_figure
from tf_infomax.runtime.files import replacing
from tf_infomax.runtime.progress import print_wide
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

    @property
    def shown(self) -> tuple[str, str]:
        """Mean with its unit, and interval; empty if there is none."""
        if not self.values:
            return "not measured", ""
        low, high = self.interval
        unit = f" {self.rule.unit}" if self.rule.unit else ""
        spread = f"{low:+.3g} .. {high:+.3g}" if math.isfinite(low) else ""
        return f"{self.mean:+.3g}{unit}", spread

    def __str__(self) -> str:
        if not self.values:
            return f"{self.rule.what}: not measured, undecided"
        mean, spread = self.shown
        spread = f" (95 % {spread})" if spread else ""
        return f"{self.rule.what}: {mean}{spread}, {self.rule.region}: {self.word}"


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
        judged: whether the runs were long enough to say anything.
    """

    claim: Claim
    effects: tuple[Effect, ...]
    controls: str = "passed"
    judged: bool = True

    @property
    def word(self) -> str:
        """ "reproduced", "contradicted", "undecided" or "not judged".

        Reproduced is what every effect and every control holds for; contradicted what
        an effect speaks against. A control that fails leaves all undecided.
        """
        if not self.judged:
            return "not judged"
        found = [effect.holds for effect in self.effects]
        if all(found) and self.controls == "passed":
            return "reproduced"
        if False in found and self.controls != "failed":
            return "contradicted"
        return "undecided"

    @property
    def sentence(self) -> str:
        """The claim and its word."""
        return f"{self.claim.text} {self.word.capitalize()}."

    def __str__(self) -> str:
        return f"{self.sentence.removesuffix('.')}: {_join(self.effects)}."


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

    @property
    def context(self) -> list[str]:
        """What the paper has, notes, seeds, history, a line each."""
        return [
            *(f"The paper: {finding.claim.paper}." for finding in self.findings),
            *self.notes,
            f"Seeds {', '.join(map(str, self.seeds))}; {self.status}.",
            f"History of the setting: {self.history}.",
        ]

    @property
    def effects(self) -> list[tuple[str, Effect]]:
        """All of them, with the number of the claim, or "control"."""
        claims = [
            (str(number), effect)
            for number, finding in enumerate(self.findings, 1)
            for effect in finding.effects
        ]
        return claims + [("control", effect) for effect in self.controls]

    def __str__(self) -> str:
        controls = f"Controls {judge_controls(self.controls)}: {_join(self.controls)}."
        return "\n".join([*map(str, self.findings), controls, *self.context])


def judge(
    plan,
    measured: Callable[[Rule], Effect],
    seeds: Sequence[int],
    exploratory: Sequence[str],
    notes: Sequence[str] = (),
    judged: bool = True,
) -> Verdict:
    """Holds what was measured against the rules of a plan.

    Args:
        plan: a `rules.Plan`, or another with claims, controls and a history.
        measured: rule -> effect.
        seeds, exploratory, notes: of the verdict.
        judged: whether the runs were long enough for one.
    """
    controls = tuple(map(measured, plan.controls))
    word = judge_controls(controls)
    return Verdict(
        tuple(
            Finding(claim, tuple(map(measured, claim.rules)), word, judged)
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
                "effects": _describe(finding.effects, finding.judged),
            }
            for finding in verdict.findings
        ],
        "controls": {
            "verdict": judge_controls(verdict.controls),
            "effects": _describe(verdict.controls, verdict.findings[0].judged),
        },
        "notes": verdict.notes,
        "seconds": round(runs.seconds, 1),
        "settings": settings,
        "curves": {f"{arm}-{seed}": c for (arm, seed), c in runs.found.items()},
    }
    with replacing(folder / "results.json") as file:
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _describe(effects: Iterable[Effect], judged: bool) -> list[dict]:
    return [
        {
            **asdict(effect),
            "mean": _finite(effect.mean),
            "interval": [_finite(value) for value in effect.interval],
            "holds": effect.holds,
            "shown": effect.shown,
            "region": effect.rule.region,
            "word": effect.word if judged else "",
            "text": str(effect),
        }
        for effect in effects
    ]


HEAD = ("claim", "effect", "mean", "95 % interval", "asked for", "holds")


def print_verdict(name: str, verdict: Verdict) -> None:
    """A sentence for each claim, the statistics as a table, and what else is known."""
    from rich.table import Table

    if not verdict.findings[0].judged:
        print(f"{name}: smoke scale, too short to show anything.")
    print(f"{name}: {verdict.word}.")
    for number, finding in enumerate(verdict.findings, 1):
        print(f"{number}. {finding.sentence}")
    table = Table()
    judged = verdict.findings[0].judged
    for heading in HEAD[: len(HEAD) - (not judged)]:
        table.add_column(heading, justify="right" if "%" in heading else "left")
    for number, effect in verdict.effects:
        row = [number, effect.rule.what, *effect.shown, effect.rule.region]
        table.add_row(*row, *([effect.word] if judged else []))
    print_wide(table)
    print("\n".join(verdict.context))


def draw_effects(path: Path, verdict: Verdict) -> None:
    """A forest plot, a panel for each unit: means, intervals, where they ought to be.

    Args:
        path: of the picture; the same as .svg lies beside it.
        verdict: whose effects are drawn, claims above controls.
    """
    from matplotlib.figure import Figure

    units = dict.fromkeys(each.rule.unit for _, each in verdict.effects if each.values)
    groups = [
        [(n, e) for n, e in verdict.effects if e.values and e.rule.unit == unit]
        for unit in units
    ]
    if not groups:
        return
    heights = [0.7 + 0.34 * len(group) for group in groups]
    figure = Figure(figsize=(9.0, sum(heights) + 0.3), layout="constrained")
    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights)
    for panel, unit, group in zip(panels[:, 0], units, groups, strict=True):
        _draw_group(panel, group, verdict.findings[0].judged)
        panel.set_xlabel(unit or "no unit")
    save_figure(figure, path, ".svg")


def _draw_group(panel, group: list[tuple[str, Effect]], judged: bool) -> None:
    colours = {True: "C2", False: "C3", None: "0.45"}
    ends = [0.0]
    for place, (_, effect) in enumerate(reversed(group)):
        low, high = effect.interval
        colour = colours[effect.holds] if judged else "0.45"
        if math.isfinite(low):
            panel.plot([low, high], [place, place], color=colour, lw=2.5)
            ends += [low, high]
        panel.plot(effect.mean, place, "o", color=colour, ms=6)
        ends += [effect.mean]
    margin = 0.08 * (max(ends) - min(ends) or 1.0)
    first, last = min(ends) - margin, max(ends) + margin
    for place, (_, effect) in enumerate(reversed(group)):
        for low, high in _spans(effect.rule):
            left, right = max(low, first), min(high, last)
            if left < right:
                rows = [place - 0.4, place + 0.4]
                panel.fill_betweenx(rows, left, right, color="C2", alpha=0.12, lw=0)
    panel.axvline(0.0, color="0.6", lw=0.8)
    panel.set(xlim=(first, last), ylim=(-0.7, len(group) - 0.3))
    names = [f"{number}: {effect.rule.what}" for number, effect in reversed(group)]
    panel.set_yticks(range(len(group)), [textwrap.fill(n, 48) for n in names])
    panel.tick_params(axis="y", labelsize=7)
    panel.grid(axis="x", alpha=0.3)


def _spans(rule: Rule) -> list[tuple[float, float]]:
    """Where the mean ought to be."""
    low = -math.inf if rule.low is None else rule.low
    high = math.inf if rule.high is None else rule.high
    if rule.outside:
        return [(-math.inf, low), (high, math.inf)]
    return [(low, high)]


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
