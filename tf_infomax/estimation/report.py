"""Several estimates side by side: a table, a JSON file and a figure."""

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tf_infomax.estimation.checks import permutation_test
from tf_infomax.estimation.estimators import ESTIMATORS, Estimator
from tf_infomax.estimation.figure import draw
from tf_infomax.estimation.options import used_of
from tf_infomax.estimation.protocol import MAYBE_INDEPENDENT, estimate_mi
from tf_infomax.estimation.related import RELATED, Related
from tf_infomax.estimation.result import Estimate
from tf_infomax.runtime.files import replacing
from tf_infomax.runtime.progress import print_wide

_SHOWN = 1000  # pairs in the histogram


def run_all(
    x: np.ndarray,
    y: np.ndarray,
    methods: Iterable[str],
    options: dict,
    permutations: int,
    tell: Callable[[str], None],
) -> Iterator[Estimate]:
    """Runs estimators one after the other; `tell` hears of each as it is done.

    With permutations each has a p-value among its diagnostics.
    """
    for method in methods:
        began = time.monotonic()
        estimate = _estimate(x, y, method, options)
        line, *_ = str(estimate).splitlines()
        tell(f"{line}  {time.monotonic() - began:.0f} s")
        if permutations:
            again = lambda x, y, method=method: _estimate(x, y, method, options)
            test = permutation_test(
                x, y, again, permutations, options["seed"], estimate.raw
            )
            found = {**estimate.diagnostics, "p_value": test.p_value}
            rest = [w for w in estimate.warnings if w != MAYBE_INDEPENDENT]
            estimate = replace(estimate, diagnostics=found, warnings=tuple(rest))
            tell(f"{estimate.name}: p = {test.p_value:.3g}, {permutations} broken up")
        yield estimate


def _estimate(x, y, method: str, options: dict) -> Estimate:
    row = row_of(method)
    own = used_of(row, options)
    if method in RELATED:
        return row.estimate(x, y, **own)
    return estimate_mi(x, y, method, **own)


def row_of(method: str) -> Estimator | Related:
    """The row of a method; `v_information/linear` is a row's name and a family."""
    name = method.partition("/")[0]
    return ESTIMATORS.get(name) or RELATED[name]


def list_rows(estimates: Sequence[Estimate]) -> tuple[list[str], list[list[str]]]:
    """(headings, a row for each): value, interval, kind, ceiling, p-value if tested."""
    level = 100 * estimates[0].level
    tested = any("p_value" in each.diagnostics for each in estimates)
    headings = ["method", "value", f"{level:.0f} % interval", "kind", "ceiling"]
    rows = []
    for each in estimates:
        kind = each.direction if each.direction != "neither" else ""
        if each.unit != "nats":
            kind = f"not nats, but {each.unit}"
        elif not kind and each.method.partition("/")[0] in RELATED:
            kind = "not mutual information"
        kind = kind or "no bound"
        ceiling = f"{each.ceiling:.2f}" if math.isfinite(each.ceiling) else "none"
        p_value = [f"{each.diagnostics['p_value']:.3g}"] if tested else []
        row = [each.name, each.shown, each.shown_interval, kind, ceiling]
        rows.append(row + p_value)
    return headings + ["p"] * tested, rows


def print_table(estimates: list[Estimate], truth: float | None) -> None:
    """Method, value, interval, kind, ceiling; the truth if it is known; warnings."""
    from rich.console import Console
    from rich.table import Table

    title = "estimates, nats"
    if truth is not None:
        title += f" (truth {truth:.3f})"
    table = Table(title=title, title_justify="left")
    headings, rows = list_rows(estimates)
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "method" else "right")
    for row in rows:
        table.add_row(*row)
    print_wide(table)
    console = Console()
    for each in estimates:
        for warning in each.warnings:
            console.print(
                f"{each.method}: {warning}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )


def write(
    folder: Path,
    estimates: list[Estimate],
    x: np.ndarray,
    y: np.ndarray,
    truth: float | None,
    settings: dict,
) -> None:
    """Writes estimates.json, with the settings it was made with, and estimates.png."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        **settings,
        "shapes": {"x": list(x.shape), "y": list(y.shape)},
        "truth": truth,
        "estimates": [
            {
                **each.to_dict(),
                "formula": row_of(each.method).formula,
                "source": row_of(each.method).source,
            }
            for each in estimates
        ],
    }
    with replacing(folder / "estimates.json") as file:
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    pointwise, name = None, ""
    with_ratio = [each for each in estimates if each.density_ratio is not None]
    if with_ratio:
        # Those of all pairs, for the shape alone: some were trained on.
        shown, name = slice(0, _SHOWN), f"by {with_ratio[-1].name}"
        pointwise = with_ratio[-1].pointwise(x[shown], y[shown])
    with replacing(folder / "estimates.png") as file:
        draw(estimates, file, truth, pointwise, name, _choose_pairs(x, y))


def _choose_pairs(x: np.ndarray, y: np.ndarray):
    """Some pairs of two columns, for the eye; None of more columns."""
    if any(np.size(each) != len(each) for each in (x, y)):
        return None
    every = math.ceil(len(x) / _SHOWN)
    return tuple(np.ravel(each)[::every] for each in (x, y))
