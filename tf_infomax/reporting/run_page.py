"""The page of a run, `report.html`: what was asked for, what came out, in pictures."""

import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import tf_infomax
from tf_infomax.reporting import measures, page, report
from tf_infomax.reporting.summary import Facts, list_next, summarize

_PAIRS = 5  # classes that are confused most often
_FIGURES = {
    "reconstructions.png": "Images and what is made of their codes",
    "samples.png": "Images of codes that were drawn",
}


def write_run_page(
    path: Path,
    results: dict,
    facts: Facts,
    warnings: Sequence[str],
    find: Callable[[str], Path],
) -> None:
    """Writes the page.

    Args:
        path: of it.
        results: of the run (`training.results`).
        facts: what was asked for.
        warnings: in words.
        find: where a picture of the run is, by its name.
    """
    warnings = [*warnings, *measures.list_warnings(results)]
    parts = [page.paragraph(sentence) for sentence in summarize(results, facts)]
    parts += [page.paragraph(text, "warning") for text in warnings]
    parts += _show_probes(results, facts.before)
    parts += _show(find("curves.png"), "Over the steps", "curves of training")
    parts += _show_values(results)
    parts += _show_confusion(results)
    parts += _show(
        find("neighbors.png"),
        "Nearest neighbours",
        "rows of images: a test image, and those whose codes are nearest (L1)",
    )
    parts += _show(find("map.png"), "Map of the codes", "test images by their codes")
    for name, title in _FIGURES.items():
        parts += _show(find(name), title, title)
    parts += [
        page.heading("Command"),
        page.code(facts.command),
        page.paragraph("What may follow:"),
        page.code("\n".join(list_next(results, facts))),
        page.paragraph(_describe_versions(), "note"),
    ]
    page.write_page(path, f"{facts.objective}: {facts.workdir}", parts)


def _show(path: Path, title: str, what: str) -> list[str]:
    shown = page.picture(path, what)
    return [page.heading(title), shown] if shown else []


def _show_probes(results: dict, before: str) -> list[str]:
    rows = report.list_probes(results, before)
    if not rows:
        return []
    head = ["probe", "features of", "conv", "fc", "Y (code)"]
    note = (
        "Accuracy on test images in %: mean ± deviation over draws of labelled images"
    )
    majority = results.get("probe/majority", {})
    if majority.get("unbalanced"):
        note += f"; balanced accuracy in brackets; {report.describe_majority(majority)}"
    return [
        page.heading("What probes read off it"),
        page.table(head, rows, "probes"),
        page.paragraph(f"{note}.", "note"),
    ]


def _show_values(results: dict) -> list[str]:
    lines = [
        report.describe_reading(name, each)
        for name, each in report.readings_of(results).items()
    ]
    lines += [text] if (text := report.describe_health(results)) else []
    parts = [page.heading("What it reached"), page.listing(lines)] if lines else []
    head, rows = measures.list_rows(results)
    if rows:
        parts += [page.heading("Measures"), page.table(head, rows, "words")]
    return parts


def _show_confusion(results: dict) -> list[str]:
    found = results.get("probe/linear/code", {}).get("confusion")
    if not found:
        return []
    names, rows = found["classes"], found["counts"]
    pairs = [
        (rows[i][j] / max(1, sum(rows[i])), names[i], names[j])
        for i in range(len(names))
        for j in range(len(names))
        if i != j and rows[i][j]
    ]
    worst = sorted(pairs, reverse=True)[:_PAIRS]
    return [
        page.heading("What the linear probe of the code confuses"),
        page.counts(names, rows),
        page.paragraph("Rows: the true class; columns: what the probe says.", "note"),
        page.listing([f"{a} taken for {b}: {100 * s:.0f} %" for s, a, b in worst]),
    ]


def _describe_versions() -> str:
    import keras
    import tensorflow as tf

    return (
        f"tf_infomax {tf_infomax.__version__}, TensorFlow {tf.__version__}, Keras "
        f"{keras.__version__}, Python {platform.python_version()}."
    )
