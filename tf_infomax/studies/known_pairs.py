"""Estimators against pairs of known information: bias, spread, what was solved."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tf_infomax.data.synthetic import Pairs, draw
from tf_infomax.estimation.estimators import ESTIMATORS
from tf_infomax.estimation.options import used_of
from tf_infomax.estimation.protocol import estimate_mi
from tf_infomax.runtime.files import replacing
from tf_infomax.runtime.progress import print_wide
from tf_infomax.studies import kept

SOLVED = math.log(1.5)  # |log(estimate / truth)| below it, as Czyz et al. 2023 count


@dataclass(frozen=True)
class Case:
    """A distribution to draw from.

    Attributes:
        name: of it.
        draw: seed -> `Pairs`.
    """

    name: str
    draw: Callable[[int], Pairs]


# Of each kind of difficulty one or two: dimension, sparsity, tails, curvature, ties.
_TASKS: tuple[tuple[str, dict], ...] = (
    ("gaussian", {"dim": 1, "mi": 0.4}),
    ("gaussian", {"dim": 20, "mi": 2.0}),
    ("gaussian", {"dim": 20, "mi": 6.0, "transform": "cubic"}),
    ("dense", {"dim": 25}),
    ("two_pair", {"dim": 5}),
    ("two_pair", {"dim": 25}),
    ("student", {"dim": 1, "dof": 1.0}),
    ("student", {"dim": 3, "dof": 2.0}),
    ("student", {"dim": 5, "dof": 2.0, "transform": "asinh"}),
    ("additive_uniform", {"noise": 0.1}),
    ("additive_uniform", {"noise": 0.75}),
    ("bimodal", {}),
    ("swiss_roll", {}),
    ("spiral", {"dim": 3, "speed": 0.3}),
    ("spiral", {"dim": 5, "speed": 0.3}),
    ("xor", {}),
)


def tasks(samples: int) -> list[Case]:
    """The samplers of `data.synthetic`, with options that make them differ."""

    def case(task: str, options: dict) -> Case:
        shown = ",".join(f"{name}={value}" for name, value in options.items())
        return Case(
            f"{task}({shown})", lambda seed: draw(task, samples, seed, **options)
        )

    return [case(task, options) for task, options in _TASKS]


@dataclass(frozen=True)
class Record:
    """One estimate of a case: the raw value, since errors are taken of it.

    `high` is None where the interval is open above.
    """

    case: str
    method: str
    seed: int
    truth: float
    value: float
    low: float
    high: float | None
    chosen: str
    seconds: float

    @property
    def solved(self) -> bool:
        """Whether the value is within a factor of 1.5 of the truth."""
        return self.value > 0 and abs(math.log(self.value / self.truth)) < SOLVED


def run(
    cases: Sequence[Case],
    methods: Iterable[str],
    seeds: Iterable[int],
    options: dict,
    path: Path | None,
    tell: Callable[[str], None],
    settings: dict | None = None,
) -> list[Record]:
    """Estimates every case; what stands in `path` already is not repeated.

    Args:
        cases, methods, seeds: all combinations are run.
        options: of `estimate_mi`; each method is given those that it uses.
        path: JSON of what could be estimated, written after every estimate; None:
            nothing is kept.
        tell: hears of each as it is done.
        settings: what else must be the same for `path` to be continued.

    Raises:
        ConfigError: if `path` holds results of other options.
    """
    settings = {**options, **(settings or {})}
    found = kept.read(path, settings, "--output") or {"records": []}
    records = [Record(**each) for each in found["records"]]
    done = {(each.case, each.method, each.seed) for each in records}
    wanted = [(c, m, s) for c in cases for s in seeds for m in methods]
    waiting = [w for w in wanted if (w[0].name, w[1], w[2]) not in done]
    for count, (case, method, seed) in enumerate(waiting, 1):
        pairs, began = case.draw(seed), time.monotonic()
        own = used_of(ESTIMATORS[method], options)
        try:
            estimate = estimate_mi(pairs.x, pairs.y, method, **own, seed=seed)
        except ValueError as error:  # the others may still be possible
            tell(f"{count}/{len(waiting)} {case.name} seed {seed} {method}: {error}")
            continue
        if not math.isfinite(estimate.raw):
            reason = "; ".join(estimate.warnings)
            tell(f"{count}/{len(waiting)} {case.name} seed {seed} {method}: {reason}")
            continue
        record = Record(
            case.name,
            method,
            seed,
            pairs.mi,
            estimate.raw,
            *(end if math.isfinite(end) else None for end in estimate.interval),
            estimate.chosen,
            round(time.monotonic() - began, 1),
        )
        records.append(record)
        kept.write(path, settings, records=[vars(each) for each in records])
        chosen = f" ({record.chosen})" if record.chosen else ""
        tell(
            f"{count}/{len(waiting)} {case.name} seed {seed} {method}{chosen}: "
            f"{record.value:.3f}, truth {record.truth:.3f}, {record.seconds:.0f} s"
        )
    names = {(c.name, m, s) for c, m, s in wanted}
    return [each for each in records if (each.case, each.method, each.seed) in names]


def summarize(records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """By method: mean absolute error, bias, RMSE, cases solved (mean over seeds)."""
    summary = {}
    for method in dict.fromkeys(each.method for each in records):
        rows = _by_case([each for each in records if each.method == method])
        errors = [[each.value - each.truth for each in row] for row in rows.values()]
        every = np.concatenate(errors)
        summary[method] = {
            "mae": float(np.mean([np.mean(np.abs(row)) for row in errors])),
            "bias": float(every.mean()),
            "rmse": float(np.sqrt(np.mean(every**2))),
            "solved": float(sum(np.mean([e.solved for e in r]) for r in rows.values())),
            "cases": len(rows),
            "seconds": float(np.mean([e.seconds for r in rows.values() for e in r])),
        }
    return summary


def _by_case(records: Iterable[Record]) -> dict[str, list[Record]]:
    rows: dict[str, list[Record]] = {}
    for each in records:
        rows.setdefault(each.case, []).append(each)
    return rows


def print_table(records: Sequence[Record]) -> None:
    """A row per case with mean +- sd of each method; the summary below."""
    from rich.table import Table

    summary = summarize(records)
    table = Table(title="mutual information, nats", title_justify="left")
    for heading in ("pairs", "truth", *summary):
        table.add_column(heading, justify="left" if heading == "pairs" else "right")
    for name, row in _by_case(records).items():
        cells = []
        for method in summary:
            of_method = [each for each in row if each.method == method]
            if not of_method:
                cells.append("failed")
                continue
            found = [each.value for each in of_method]
            mark = "" if all(each.solved for each in of_method) else " !"
            cells.append(f"{np.mean(found):.3f} ± {np.std(found):.3f}{mark}")
        table.add_row(name, f"{row[0].truth:.3f}", *cells)
    table.add_section()
    for label, key, form in (
        ("mean absolute error", "mae", "{:.3f}"),
        ("bias", "bias", "{:+.3f}"),
        ("RMSE", "rmse", "{:.3f}"),
        ("solved (within a factor of 1.5; ! if not)", "solved", "{:.1f}"),
        ("of", "cases", "{}"),
        ("seconds each", "seconds", "{:.0f}"),
    ):
        cells = [form.format(figures[key]) for figures in summary.values()]
        table.add_row(label, "", *cells)
    print_wide(table)


def draw_figure(records: Sequence[Record], path: Path) -> None:
    """The error of every estimate, a row per case."""
    from matplotlib.figure import Figure

    rows = _by_case(records)
    methods = list(dict.fromkeys(each.method for each in records))
    figure = Figure(figsize=(8.5, 1.2 + 0.28 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for position, row in enumerate(reversed(rows.values())):
        for number, method in enumerate(methods):
            errors = [e.value - e.truth for e in row if e.method == method]
            shift = 0.5 * (number - 0.5 * (len(methods) - 1)) / max(len(methods), 1)
            axes.plot(
                errors,
                [position - shift] * len(errors),
                "o",
                color=f"C{number}",
                ms=4,
                alpha=0.8,
                label=method if not position else None,
            )
    axes.axvspan(-0.1, 0.1, color="0.92", zorder=0)
    axes.axvline(0.0, color="0.3", lw=1)
    labels = [f"{name}  {row[0].truth:.2f}" for name, row in reversed(rows.items())]
    axes.set_yticks(range(len(rows)), labels, fontsize=7)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set(xlabel="estimate - truth, nats (grey: within 0.1)")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize="small", loc="lower left")
    with replacing(path) as file:
        figure.savefig(file, dpi=110)
