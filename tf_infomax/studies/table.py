"""A table of the paper, cell by cell: runs, the table, a figure, verdicts."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tf_infomax.options import ConfigError, suggest
from tf_infomax.runtime.files import replacing
from tf_infomax.runtime.progress import print_wide
from tf_infomax.studies import dim_tables
from tf_infomax.studies.cells import FAILED, Maker
from tf_infomax.studies.kept import Settings
from tf_infomax.studies.layout import Line, Table, settle
from tf_infomax.studies.outcome import Effect, Verdict, draw_effects, judge, write
from tf_infomax.studies.rules import Reading, Rule
from tf_infomax.studies.runs import Runs

_RUN = {"seed", "workdir"}  # which cell it is
_EVALUATION = "Evaluation"  # the group of options of what is measured


def run(
    name: str,
    scale: str,
    seeds: Sequence[int],
    data: Mapping,
    folder: Path,
    tell: Callable[[str], None],
    only: Sequence[str] = (),
    cells: Sequence[Path] = (),
) -> "tuple[Verdict, Cells]":
    """Makes the cells that are missing; leaves results.json, table.md and figures.

    Args:
        name: of the study, a key of `dim_tables.TABLES`.
        scale: of `Table.sizes`.
        seeds: of the runs.
        data: options of the data, `dataset` among them.
        folder: of all files.
        tell: hears how far it is.
        only: arms to make; (): all. What is finished of others stands in the table.
        cells: work directories of the same study, whose cells count where they fit.

    Returns:
        The verdict, and the table.

    Raises:
        ConfigError: if an arm is unknown, or the folder has cells of other settings.
    """
    table = dim_tables.TABLES[name]
    _check_arms(table, only)
    size = table.sizes[scale]
    maker = Maker(size, data, folder / "runs")
    # A name may mean other images elsewhere: their hashes say which they were.
    images = {"images": maker.data.fingerprints}
    settings = lambda arm: _settings(name, scale, table, arm, data, images)
    runs = Runs(folder / "cells", settings, [each / "cells" for each in cells])
    runs.collect(
        only or table.arms,
        seeds,
        lambda arm, *which: maker.make(arm, table.arms[arm], *which),
        tell,
    )
    runs.look(table.arms, seeds)
    found = Cells(table, runs, tuple(seeds))
    exploratory = dim_tables.why_exploratory(name, scale, seeds, data["dataset"])
    notes, judged = found.list_notes(), scale != "smoke"
    verdict = judge(table, found.measure, seeds, exploratory, notes, judged)
    facts = {"study": name, "scale": scale, "data": data["dataset"]}
    write(folder, runs, verdict, facts)
    with replacing(folder / "table.md") as file:
        file.write_text(found.format_markdown(), encoding="utf-8")
    found.draw(folder / "figure.png")
    draw_effects(folder / "effects.png", verdict)
    return verdict, found


def _check_arms(table: Table, only: Sequence[str]) -> None:
    for arm in only:
        if arm not in table.arms:
            raise ConfigError(
                f"--only takes {', '.join(table.arms)}. Received: {arm!r}."
                f"{suggest(arm, table.arms)}"
            )


def _settings(
    name: str, scale: str, table: Table, arm: str, data: Mapping, images: Mapping
) -> Settings:
    """All that a cell depends on but its seed."""
    config = settle(table.arms[arm], table.sizes[scale], data)
    resolved = {
        each: getattr(config, each)
        for each, field in config.__dataclass_fields__.items()
        if each not in _RUN
        and (not field.metadata["driver"] or field.metadata["group"] == _EVALUATION)
    }
    fixed = {"study": name, "trained": table.arms[arm].trained, **images}
    fields = config.__dataclass_fields__
    return Settings(fixed | resolved, {n: fields[n].default for n in resolved})


class Cells:
    """Finished cells, as a table.

    Args:
        table: of which they are.
        runs: of them.
        seeds: that were asked for.
    """

    def __init__(self, table: Table, runs: Runs, seeds: tuple[int, ...]):
        self.table, self.runs, self.seeds = table, runs, seeds

    def read(self, arm: str, curve: str) -> dict[int, float]:
        """Seed -> value, of the cells, or differences of two, that have one."""
        if arm in self.table.differences:
            first, second = (self.read(a, curve) for a in self.table.differences[arm])
            return {
                seed: v - second[seed] for seed, v in first.items() if seed in second
            }
        found = {}
        for seed in self.seeds:
            values = self.runs.found.get((arm, seed), {}).get(curve)
            if values and values[-1] is not None:
                found[seed] = values[-1]
        return found

    def measure(self, rule: Rule) -> Effect:
        """The effect of the seeds that both sides have, if none is missing."""
        values = self.read(rule.of.arm, rule.of.curve)
        less = dict.fromkeys(values, rule.less)
        if isinstance(rule.less, Reading):
            less = self.read(rule.less.arm, rule.less.curve)
        if not set(values) == set(less) == set(self.seeds):
            return Effect(rule, ())
        return Effect(rule, tuple(values[seed] - less[seed] for seed in self.seeds))

    def format_cell(self, line: Line, column: str) -> str:
        """Mean and deviation over training seeds, or why there is none."""
        curve = line.curves.get(column)
        if curve is None:
            return ""
        scale, digits = self.table.columns[column]
        values = [scale * value for value in self.read(line.arm, curve).values()]
        if not values:
            return "failed" if self.read_failures(line.arm) else "-"
        spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
        some = f" ({len(values)})" if len(values) < len(self.seeds) else ""
        return f"{statistics.fmean(values):.{digits}f}{spread}{some}"

    def read_failures(self, arm: str) -> dict[int, str]:
        """Seed -> why there is no result."""
        cells = {seed: self.runs.found.get((arm, seed), {}) for seed in self.seeds}
        return {seed: cell[FAILED][0] for seed, cell in cells.items() if FAILED in cell}

    def rows(self) -> list[list[str]]:
        """Label, a cell for each column, the paper's numbers."""
        columns = self.table.columns
        return [
            [
                line.label,
                *(self.format_cell(line, column) for column in columns),
                " / ".join(line.paper.get(column, "") for column in columns)
                if line.paper
                else "",
            ]
            for line in self.table.lines
        ]

    @property
    def head(self) -> list[str]:
        paper = f"the paper, CIFAR-10 ({' / '.join(self.table.columns)})"
        return ["", *self.table.columns, paper]

    def format_markdown(self) -> str:
        rows = [self.head, ["---"] * len(self.head), *self.rows()]
        return "".join(f"| {' | '.join(row)} |\n" for row in rows)

    def print(self) -> None:
        """The table, on standard output."""
        from rich.table import Table as Shown

        shown = Shown()
        for place, name in enumerate(self.head):
            shown.add_column(name, justify="right" if place else "left")
        for row in self.rows():
            shown.add_row(*row)
        print_wide(shown)

    def list_notes(self) -> list[str]:
        """What failed, what was warned of, what is missing."""
        notes = []
        for arm in self.table.arms:
            for seed, why in self.read_failures(arm).items():
                notes.append(f"{arm}, seed {seed}, failed: {why}.")
            cells = [self.runs.found.get((arm, seed)) for seed in self.seeds]
            told = dict.fromkeys(
                w for cell in cells if cell for w in cell.get("warnings", ())
            )
            notes += [f"{arm}: {warning}" for warning in told]
        missing = [
            f"{arm} ({', '.join(str(s) for s in seeds)})"
            for arm in self.table.arms
            if (seeds := [s for s in self.seeds if (arm, s) not in self.runs.found])
        ]
        return [*notes, f"Not made: {', '.join(missing)}."] if missing else notes

    def draw(self, path: Path) -> None:
        """A panel for each column: every cell a dot, means as bars."""
        from matplotlib.figure import Figure

        columns, lines = self.table.columns, self.table.lines[::-1]
        height = 1.2 + 0.26 * len(lines)
        figure = Figure(
            figsize=(3.0 + 2.6 * len(columns), height), layout="constrained"
        )
        panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
        for panel, (column, (scale, _)) in zip(panels, columns.items(), strict=True):
            for place, line in enumerate(lines):
                curve = line.curves.get(column)
                values = self.read(line.arm, curve).values() if curve else ()
                shown = [scale * value for value in values]
                panel.plot(shown, [place] * len(shown), "o", color="C0", ms=3)
                if shown:
                    mean = statistics.fmean(shown)
                    panel.plot([mean] * 2, [place - 0.3, place + 0.3], color="C0")
            panel.set(title=column, ylim=(-0.7, len(lines) - 0.3))
            panel.grid(alpha=0.3)
        panels[0].set_yticks(range(len(lines)), [line.label for line in lines])
        with replacing(path) as file:
            figure.savefig(file, dpi=110)
