"""A table of what evaluations have measured beside probes, bounds and health.

A measure is a result that says what it `measures` (`evaluation.summary.describe`); the
last part of its name is the feature that it is of, if it is of one.
"""

from collections.abc import Iterator

from tf_infomax.runtime.progress import print_wide

_FEATURES = {"conv": "conv", "fc": "fc", "code": "Y (code)"}


def measures_of(results: dict) -> dict[str, dict]:
    """The measures among the results, but for those of the objective itself."""
    return {name: each for name, each in results.items() if is_measure(each)}


def is_measure(result: dict) -> bool:
    """Whether a result is one, and none of the objective itself."""
    return "measures" in result and "kind" not in result


def format_measure(result: dict | None) -> str:
    """Mean and spread, in the unit of the result; "" without one."""
    if result is None:
        return ""
    scale = 100.0 if result["unit"] == "%" else 1.0
    mean = scale * result["mean"]
    digits = 1 if scale > 1.0 or abs(mean) >= 10.0 else 3
    digits += 2 * (0.0 < abs(mean) < 0.01)
    spread = "" if result["sd"] is None else f" ± {scale * result['sd']:.{digits}f}"
    return f"{mean:.{digits}f}{spread}"


def list_rows(results: dict) -> tuple[list[str], list[list[str]]]:
    """The table of measures: its head and its rows; ([], []) without a measure."""
    found: dict[str, dict[str, dict]] = {}
    for name, result in measures_of(results).items():
        start, _, feature = name.rpartition("/")
        known = feature in _FEATURES
        row = found.setdefault(start if known else name, {})
        row[feature if known else ""] = result
    if not found:
        return [], []
    columns = [
        key for key in ("", *_FEATURES) if any(key in row for row in found.values())
    ]
    rows = []
    for name, row in found.items():
        first = next(iter(row.values()))
        cells = [format_measure(row.get(key)) for key in columns]
        rows.append([name, *cells, _describe_unit(first), first["measures"]])
    named = [_FEATURES.get(key, "") for key in columns]
    return ["measure", *named, "unit", "of"], rows


def print_measures(results: dict) -> None:
    """The table, on standard output, and the warnings; nothing without a measure."""
    from rich.table import Table

    head, rows = list_rows(results)
    if not rows:
        return
    table = Table(title="measures (mean ± sd)", title_justify="left")
    words = ("measure", "unit", "of")
    for heading in head:
        table.add_column(heading, justify="left" if heading in words else "right")
    for row in rows:
        table.add_row(*row)
    print_wide(table)
    for line in list_warnings(results):
        print(line)


def _describe_unit(result: dict) -> str:
    ceiling = result.get("ceiling")
    most = "" if ceiling is None else f"at most {ceiling:.3f}"
    return ", ".join(part for part in (result["unit"], most) if part)


def list_warnings(results: dict) -> Iterator[str]:
    """Every warning of a measure once, with the names of those that it is for."""
    of: dict[str, list[str]] = {}
    for name, result in measures_of(results).items():
        for text in result.get("warnings", ()):
            of.setdefault(text, []).append(name)
    for text, names in of.items():
        yield f"warning: {', '.join(names)}: {text}"
