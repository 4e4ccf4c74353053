"""Runs a study as its plan says, and holds the runs against the plan's rules."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from tf_infomax.studies import adversarial, halves, invariance, negatives, protocol
from tf_infomax.studies.halves import Images
from tf_infomax.studies.outcome import (
    Verdict,
    draw,
    draw_effects,
    judge,
    measure,
    write,
)
from tf_infomax.studies.rules import Plan
from tf_infomax.studies.runs import Runs


def run(
    name: str,
    scale: str,
    seeds: Sequence[int],
    data: Images | None,
    folder: Path,
    tell: Callable[[str], None],
) -> Verdict:
    """Makes the runs that are missing; leaves results.json, figure.png, effects.png.

    Args:
        name: of the study, a key of `protocol.STUDIES`.
        scale: of `Plan.sizes`.
        seeds: of the runs.
        data: the images; None if the study draws its own.
        folder: of all files.
        tell: hears how far it is.
    """
    plan = protocol.STUDIES[name]
    kind, size = KINDS[plan.kind], plan.sizes[scale]
    if data is not None and hasattr(size, "images"):
        size = replace(size, images=min(size.images, len(data.train)))
    runs = Runs(folder / "runs", _settings(name, scale, size, data))
    runs.collect(
        plan.arms,
        seeds,
        lambda arm, *which: kind.train(plan.arms[arm], size, data, *which),
        tell,
    )
    exploratory = protocol.why_exploratory(name, scale, seeds, data and data.name)
    notes = [*kind.note(plan, runs), f"Data: {data.name if data else 'drawn'}."]
    judged = scale != "smoke"
    measured = partial(measure, runs=runs)
    verdict = judge(plan, measured, seeds, exploratory, notes, judged)
    write(folder, runs, verdict, runs.settings)
    draw_effects(folder / "effects.png", verdict)
    kind.draw(folder / "figure.png", plan, runs)
    return verdict


def _settings(name: str, scale: str, size, data: Images | None) -> dict:
    """All that a run depends on: runs of other settings are refused."""
    plan = protocol.STUDIES[name]
    return {
        "study": name,
        "scale": scale,
        **({"data": data.name} if plan.data else {}),
        **asdict(size),
        "arms": {arm: asdict(settings) for arm, settings in plan.arms.items()},
        "constants": plan.constants or halves.CONSTANTS,
    }


@dataclass(frozen=True)
class Kind:
    """How the arms of a study are trained and shown.

    Attributes:
        train: (arm, size, data, seed, unfinished) -> curves.
        note: (plan, runs) -> further facts, in words.
        draw: (path, plan, runs) draws the figure.
    """

    train: Callable
    note: Callable[[Plan, Runs], list[str]]
    draw: Callable[[Path, Plan, Runs], None]


def _means(plan: Plan, runs: Runs, curve: str, form: str) -> str:
    """A curve's last value in each arm that has it."""
    found = {arm: _mean(runs, arm, curve) for arm in plan.arms}
    return "; ".join(f"{a}: {v:{form}}" for a, v in found.items() if v is not None)


def _mean(runs: Runs, arm: str, curve: str) -> float | None:
    has_it = all(
        curve in curves for (name, _), curves in runs.found.items() if name == arm
    )
    return float(np.mean(runs.last(arm, curve))) if has_it else None


def _note_accuracies(plan: Plan, runs: Runs) -> list[str]:
    early, converged = (
        _means(plan, runs, curve, ".3f") for curve in ("accuracy", "accuracy/converged")
    )
    return [
        f"Accuracy by early-stopped SAGA, {early}.",
        f"Accuracy by a classifier trained to the end, {converged}.",
    ]


def _note_halves(plan: Plan, runs: Runs) -> list[str]:
    notes = _note_accuracies(plan, runs)
    notes.append(f"Parameters of g1, {_means(plan, runs, 'parameters', ',.0f')}.")
    for curve, what in (
        ("round_trip", "Relative round-trip errors"),
        ("log_condition/50", "Median log condition numbers over images"),
        ("log_condition/0", "Lowest log condition numbers over images"),
        ("log_condition/100", "Highest log condition numbers over images"),
    ):
        if found := _means(plan, runs, curve, ".2g"):
            notes.append(f"{what} at the end, {found}.")
    return notes


def _note_adversarial(plan: Plan, runs: Runs) -> list[str]:
    worst = [
        f"{what}: {max(max(values) for values in runs.all('adversarial', curve)):.1e}"
        for curve, what in (
            ("round_trip", "float32"),
            ("round_trip/float64", "float64"),
        )
    ]
    largest = f"Largest relative round-trip error of all readings, {'; '.join(worst)}."
    return [*_note_accuracies(plan, runs), largest]


def _note_negatives(plan: Plan, runs: Runs) -> list[str]:
    return [
        "Gaussian pairs that share a draw per batch. Closed forms: NWJ tends to "
        "0.1081, InfoNCE to at least 0.2018."
    ]


def _note_invariance(plan: Plan, runs: Runs) -> list[str]:
    parts = (
        f"{method}: {_means(plan, runs, method, '.3f')}"
        for method in invariance.METHODS
    )
    return [f"Means, nats, {'. '.join(parts)}."]


def _draw_curves(path: Path, plan: Plan, runs: Runs, panels) -> None:
    """Panels of curves, with a line across for what the study has of pixels."""
    first = next(iter(plan.arms))
    curves = {
        name for (arm, _), found in runs.found.items() if arm == first for name in found
    }
    shown = [
        panel for panel in panels if panel[0] in curves or f"{panel[0]}/50" in curves
    ]
    pixels = _mean(runs, halves.PIXELS, "accuracy")
    draw(path, runs, shown, {"accuracy": ("pixels", pixels)}, (halves.PIXELS,))


def _draw_negatives(path: Path, plan: Plan, runs: Runs) -> None:
    panels = [("bound", "bound on batches, nats")]
    draw(path, runs, panels, {"bound": ("information", negatives.TRUTH)})


KINDS: dict[str, Kind] = {
    "halves": Kind(
        halves.train,
        _note_halves,
        partial(
            _draw_curves,
            panels=[
                ("bound/test", "I_EST on test pairs, nats (dashed: training)"),
                ("accuracy", "accuracy"),
                ("log_condition", "log condition number of dg1/dx"),
            ],
        ),
    ),
    "adversarial": Kind(
        adversarial.train,
        _note_adversarial,
        partial(
            _draw_curves,
            panels=[("accuracy", "accuracy"), ("cross_entropy", "cross-entropy, nats")],
        ),
    ),
    "negatives": Kind(negatives.train, _note_negatives, _draw_negatives),
    "invariance": Kind(
        invariance.train,
        _note_invariance,
        lambda path, plan, runs: invariance.draw(path, runs, tuple(plan.arms)),
    ),
}
