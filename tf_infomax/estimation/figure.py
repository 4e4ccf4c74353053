"""Figures of an estimate: how it was trained, and what single pairs say."""

import math
from pathlib import Path

import numpy as np

from tf_infomax.estimation.result import Estimate
from tf_infomax.runtime.figures import cut_below


def draw(
    estimates: list[Estimate],
    path: Path | None,
    truth: float | None = None,
    pointwise: np.ndarray | None = None,
    pointwise_of: str = "",
    pairs: tuple[np.ndarray, np.ndarray] | None = None,
):
    """Values with their intervals, the pairs, learning curves, a histogram.

    Args:
        estimates: at least one.
        path: of the picture, or None.
        truth: drawn as a line where it is known.
        pointwise: log density ratios of pairs, for the histogram.
        pointwise_of: whose they are.
        pairs: of two columns of numbers, to look at.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure

    trained = [each for each in estimates if each.history]
    panels = 1 + bool(trained) + (pointwise is not None) + (pairs is not None)
    figure = Figure(figsize=(4.6 * panels, 3.8), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(1, panels)))
    _draw_values(axes.pop(0), estimates, truth)
    if pairs is not None:
        panel = axes.pop(0)
        panel.plot(*pairs, ".", color="C0", ms=3, alpha=0.5)
        panel.set(title=f"{len(pairs[0]):,} of the pairs", xlabel="x", ylabel="y")
        panel.grid(alpha=0.3)
    if trained:
        _draw_curves(axes.pop(0), trained, truth)
    if pointwise is not None:
        panel = axes.pop(0)
        panel.hist(pointwise, bins=50, color="C0", alpha=0.8)
        panel.axvline(float(np.mean(pointwise)), color="0.2", ls="--", label="mean")
        panel.set(
            title=f"single pairs {pointwise_of}".rstrip(),
            xlabel="log density ratio, nats",
            ylabel="pairs",
        )
        panel.legend(fontsize="small")
    if path is not None:
        figure.savefig(path, dpi=110)
    return figure


def _draw_values(axes, estimates: list[Estimate], truth: float | None) -> None:
    markers = {"lower": "^", "upper": "v", "neither": "o"}
    for position, each in enumerate(reversed(estimates)):
        if not math.isfinite(each.value):
            continue
        low, high = each.interval
        end = high if math.isfinite(high) else each.value
        if math.isfinite(low):
            axes.plot([low, end], [position, position], color="C0", lw=2)
        if high == math.inf:  # open above
            arrow = {"arrowstyle": "<-", "color": "C0", "lw": 2}
            start = (each.value, position)
            axes.annotate(
                "", start, (30, 0), textcoords="offset points", arrowprops=arrow
            )
        if each.bracket:
            ends = each.bracket[0], each.bracket[2]
            axes.plot(ends, [position - 0.2] * 2, color="0.5", lw=1)
            for end, marker in zip(ends, "^v", strict=True):
                axes.plot(end, position - 0.2, marker, color="0.5", ms=5)
        axes.plot(each.value, position, markers[each.direction], color="C0", ms=7)
    names = [e.name if e.unit == "nats" else f"{e.name} (not nats)" for e in estimates]
    axes.set_yticks(range(len(estimates)), names[::-1])
    axes.set_ylim(-0.6, len(estimates) - 0.4)
    if truth is not None:
        axes.axvline(truth, color="C3", ls="--", label="truth")
        axes.legend(fontsize="small")
    axes.set(
        title=f"estimate, {100 * estimates[0].level:.0f} % interval",
        xlabel="nats" if any(e.unit == "nats" for e in estimates) else "not nats",
    )
    axes.grid(alpha=0.3)


def _draw_curves(axes, trained: list[Estimate], truth: float | None) -> None:
    best = max(max(row[2] for row in each.history) for each in trained)
    curves, ceilings = [], {}
    for index, each in enumerate(trained):
        steps, on_train, on_validation = zip(*each.history, strict=True)
        label = each.method if each.unit == "nats" else f"{each.method} (not nats)"
        if math.isfinite(each.ceiling):
            label += f", at most {each.ceiling:.2f}"
            if each.ceiling < 4.0 * max(best, 0.5):
                ceilings[f"C{index}"] = each.ceiling
        axes.plot(steps, on_validation, color=f"C{index}", label=label)
        axes.plot(steps, on_train, color=f"C{index}", lw=0.8, alpha=0.5)
        curves += [
            list(zip(steps, values, strict=True))
            for values in (on_validation, on_train)
        ]
    cut_below(axes, curves, top=max(ceilings.values(), default=-math.inf))
    for color, ceiling in ceilings.items():
        axes.axhline(ceiling, color=color, ls=":")
    if truth is not None:
        axes.axhline(truth, color="C3", ls="--")
    axes.set(
        title="validation pairs (thin: batches; dotted: at most)",
        xlabel="step",
        ylabel="objective, nats" if any(e.unit == "nats" for e in trained) else "",
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
