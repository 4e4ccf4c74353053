"""The page of estimates, `report.html`: values, intervals, warnings, the figure."""

from collections.abc import Sequence
from pathlib import Path

from tf_infomax.estimation.estimators import ESTIMATORS
from tf_infomax.estimation.report import list_rows, row_of
from tf_infomax.estimation.result import Estimate
from tf_infomax.reporting import page


def write_estimates_page(
    path: Path,
    estimates: Sequence[Estimate],
    shapes: tuple[Sequence[int], Sequence[int]],
    truth: float | None,
    command: str,
    figure: Path,
    names: Sequence[str] = (),
) -> None:
    """Writes the page.

    Args:
        path: of it.
        estimates: at least one.
        shapes: of x and y, `[n, columns]`.
        truth: if it is known.
        command: as it was typed.
        figure: of the values.
        names: of the columns, a line each, where they have some.
    """
    head, rows = list_rows(estimates)
    parts = [page.paragraph(text) for text in _summarize(estimates, shapes, truth)]
    parts += [page.paragraph(line, "note") for line in names]
    parts += [
        page.paragraph(f"{each.name}: {warning}", "warning")
        for each in estimates
        for warning in each.warnings
    ]
    parts += [
        page.table(head, rows),
        page.heading("In pictures"),
        page.picture(figure, "values with their intervals, and the pairs"),
        page.heading("How each was computed"),
        page.table(
            ["method", "formula", "source"],
            [[each.name, *_origin(each)] for each in estimates],
            "words",
        ),
        page.heading("Command"),
        page.code(command),
    ]
    page.write_page(path, "Mutual information", parts)


def _summarize(estimates, shapes, truth: float | None) -> list[str]:
    (n, *x), (_, *y) = shapes
    first = estimates[0]
    columns = [" x ".join(map(str, each)) or "1" for each in (x, y)]
    told = [
        f"{n:,} pairs; columns: {columns[0]} of x, {columns[1]} of y.",
        f"{first.name}: {first.shown} {first.unit}, {100 * first.level:.0f} % interval "
        f"{first.shown_interval}.",
    ]
    return told + ([] if truth is None else [f"The truth is {truth:.3f} nats."])


def _origin(estimate: Estimate) -> tuple[str, str]:
    """Formula and source of what was computed, by `auto` of what it has chosen."""
    row = row_of(estimate.method)
    chosen = estimate.chosen.partition(" ")[0]
    if chosen in ESTIMATORS:  # and not the copula or the critics of `auto` itself
        row = row_of(chosen)
    return row.formula, row.source
