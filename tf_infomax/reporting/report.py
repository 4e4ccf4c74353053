"""Results for the eye: a table on the screen, curves, nearest neighbours."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tf_infomax.data.images import name_class
from tf_infomax.evaluation import health
from tf_infomax.reporting.measures import print_measures
from tf_infomax.runtime.figures import cut_below
from tf_infomax.runtime.files import replacing
from tf_infomax.runtime.progress import printable

RANDOM = "random encoder"  # what there was before training, with weights of its own
_ROWS = (("trained", ""), ("", "random/"))
_PANELS = 4  # beside one another
_HIT = (0, 160, 60)  # colour of the frame of a neighbour of the same class
_KINDS = ("mi/", "divergence/", "score/")  # of values; see `objectives.terms`


def format_result(result: dict | None) -> str:
    """Accuracy in per cent with its spread, or a dash."""
    if result is None:
        return "-"
    spread = "" if result["sd"] is None else f" ± {100 * result['sd']:.1f}"
    return f"{100 * result['mean']:.1f}{spread}"


def describe_health(results: dict) -> str:
    """One line on the codes of test images; empty if they were not looked at."""
    figures = health.health_of(results)
    if not figures:
        return ""
    parts = []
    for name, each in figures.items():
        most = f" of at most {each['ceiling']}" if each.get("ceiling") else ""
        parts.append(f"{name.replace('_', ' ')} {each['mean']:.3g}{most}")
    count = next(iter(figures.values()))["images"]
    return f"health of the codes of {count} test images: {', '.join(parts)}"


def readings_of(results: dict) -> dict[str, dict]:
    """What the objective itself reports among the results."""
    return {name: each for name, each in results.items() if "kind" in each}


def describe_reading(name: str, result: dict) -> str:
    """One line: value, spread, ceiling, and what it is."""
    if "bound" not in result:
        return _describe_value(name, result)
    ceiling, chance = result["ceiling"], result["chance"]
    above = "no ceiling" if ceiling is None else f"ceiling {ceiling:.3f}"
    spread = "" if result["sd"] is None else f" ± {result['sd']:.3f}"
    pooled = ", pooled" if result["pooled"] else ""
    text = (
        f"{name} ({result['bound']}{pooled}, {result['n']} test batches): "
        f"{result['mean']:.3f}{spread}, {above}; {_describe_meaning(result)}"
    )
    if result["mean"] < chance:
        text += f"; below {chance:.3g}, where no critic at all would be"
    return text


def _describe_meaning(result: dict) -> str:
    """What it measures, and on which images where training had others."""
    images = result.get("codes_of")
    return result["measures"] + (f"; codes of {images}" if images else "")


def _describe_value(name: str, result: dict) -> str:
    """The same of what is no bound between features."""
    spread = "" if result["sd"] is None else f" ± {result['sd']:.4g}"
    ceiling = "" if result["ceiling"] is None else f" of at most {result['ceiling']:g}"
    best = result["chance"]
    chance = "" if best is None else f", the best constant has {best:.4g}"
    return (
        f"{name} ({result['n']} test batches): {result['mean']:.4g}{spread}{ceiling} "
        f"({result['unit']}{chance}); {_describe_meaning(result)}"
    )


def _format_cell(result: dict | None, unbalanced: bool) -> str:
    """A cell of the table of probes."""
    balanced = (result or {}).get("balanced")
    if not unbalanced or balanced is None:
        return format_result(result)
    return f"{format_result(result)} ({100 * balanced['mean']:.1f})"


def describe_majority(majority: dict) -> str:
    """What the same answer everywhere would get."""
    return (
        f"unbalanced classes: always the commonest of {majority['classes']} is right "
        f"for {100 * majority['mean']:.1f} % of the test images"
    )


def _probed(results: dict, probe: str) -> bool:
    return any(name.startswith(f"probe/{probe}/") for name in results)


def list_probes(results: dict, before: str = RANDOM) -> list[list[str]]:
    """Rows of the table of probes: probe, features of, conv, fc, code.

    Args:
        results: of a run.
        before: what the encoder was before training.
    """
    unbalanced = results.get("probe/majority", {}).get("unbalanced", False)
    probes = sorted({n.split("/")[1] for n in results if n.count("/") > 1})
    rows = []
    for probe in (name for name in probes if _probed(results, name)):
        for label, key in _ROWS:
            cells = [
                _format_cell(results.get(f"probe/{probe}/{key}{part}"), unbalanced)
                for part in ("conv", "fc", "code")
            ]
            if set(cells) != {"-"}:
                rows.append([probe, label or before, *cells])
        pixels = results.get(f"probe/{probe}/pixels")
        if pixels:
            rows.append([probe, "raw pixels", _format_cell(pixels, unbalanced), "", ""])
    return rows


def print_results(
    results: dict, title: str, told: Sequence[str] = (), before: str = RANDOM
) -> None:
    """Tables of probes, bounds and measures, on standard output; `told` at the end."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if rows := list_probes(results, before):
        majority = results.get("probe/majority", {})
        unbalanced = majority.get("unbalanced", False)
        heading = "test accuracy, % (mean ± sd)"
        if unbalanced:
            heading += f"; balanced accuracy in brackets\n{describe_majority(majority)}"
        heading = escape(printable(title)) + f": {heading}"
        table = Table(title=heading, title_justify="left")
        for heading in ("probe", "features of"):
            table.add_column(heading)
        for heading in ("conv", "fc", "Y (code)"):
            table.add_column(heading, justify="right")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for name, result in readings_of(results).items():
        line = describe_reading(name, result)
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if text := describe_health(results):
        console.print(text, highlight=False)
    print_measures(results)
    for line in told:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def draw_curves(
    rows: list[dict],
    readings: dict[str, dict],
    path: Path,
    watched: str = "validation",
) -> None:
    """Values by their kinds, prior losses, health and online probe over the steps.

    As `path`, a .png, and beside it as a drawing, .svg.

    Args:
        rows: of metrics.jsonl.
        readings: of test images (`readings_of`), with ceilings and what they measure.
        path: of the picture.
        watched: names the images whose codes the health in the rows is of.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    panels = {
        _title("effective rank of the codes", rows, "health/images", watched): [
            "health/effective_rank"
        ],
        _title("online probe: accuracy ± se", rows, "probe/images", "validation"): [
            "probe/knn",
            "probe/linear",
        ],
    }
    panels = {
        title: curves
        for title, names in panels.items()
        if (curves := {n: _points(rows, n) for n in names if _points(rows, n)})
    }
    values = {
        title: (curves, members)
        for title, members in _by_title(readings).items()
        if (curves := _curves_of(rows, members))
    }
    count = len(values) + len(panels)
    wide = min(count, _PANELS)
    high = -(-count // _PANELS)
    figure = Figure(figsize=(4.2 * wide, 3.4 * high), layout="constrained")
    all_axes = [figure.add_subplot(high, wide, place + 1) for place in range(count)]
    for axes, (title, curves) in zip(
        all_axes,
        [*((title, curves) for title, (curves, _) in values.items()), *panels.items()],
        strict=True,
    ):
        for label, points in curves.items():
            axes.plot(*zip(*points, strict=True), ".-", label=label)
        if title in values and all("bound" in v for v in values[title][1].values()):
            _show_limits(axes, *values[title])
        for name in curves:
            _draw_errors(axes, rows, name)
        axes.set(title=title, xlabel="step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    save_figure(figure, path, ".svg")


def _title(text: str, rows: list[dict], count: str, part: str) -> str:
    """A title that says of how many images of which part."""
    counts = [row[count] for row in rows if count in row]
    return f"{text}\n({f'{counts[-1]} ' if counts else ''}{part} images)"


def _draw_errors(axes, rows: list[dict], name: str) -> None:
    """Standard errors of a curve where its rows have them."""
    error = f"{name}_se"
    points = [(row["step"], row[name], row[error]) for row in rows if error in row]
    if points:
        steps, values, errors = zip(*points, strict=True)
        axes.errorbar(steps, values, errors, fmt="none", ecolor="0.6", capsize=2)


def _points(rows: list[dict], name: str) -> list[tuple[int, float]]:
    return [(row["step"], row[name]) for row in rows if name in row]


def _by_title(readings: dict[str, dict]) -> dict[str, dict[str, dict]]:
    """Readings by the title of the panel that they share."""
    panels: dict[str, dict[str, dict]] = {}
    for name in sorted(readings, key=_rank):
        reading = readings[name]
        if "bound" not in reading:
            title = f"{reading['kind']} ({reading['unit']})"
        elif name.startswith("score/"):
            title = "score (no bound)"
        elif name.startswith("mi/"):
            title = f"{reading['measures']}, lower bound"
        else:
            title = f"{reading['measures']},\nlower bound (not mutual information)"
        panels.setdefault(title, {})[name] = reading
    return panels


def _rank(name: str) -> int:
    """Bounds first, then all that has another kind."""
    kind = name.partition("/")[0] + "/"
    return _KINDS.index(kind) if kind in _KINDS else len(_KINDS)


def _curves_of(rows: list[dict], readings: dict[str, dict]) -> dict[str, list]:
    """Label -> points: on training batches what was maximized, on validation all."""
    curves = {}
    for name, reading in readings.items():
        if "bound" not in reading:
            curves[f"{name}, training batches"] = _points(rows, name)
        elif reading["objective"]:
            plain = name.partition("/")[2]
            curves[f"{plain}, training batches"] = _points(rows, plain)
        curves[f"{name}, validation"] = _points(rows, f"validation/{name}")
    return {label: points for label, points in curves.items() if points}


def _show_limits(axes, curves: dict[str, list], readings: dict[str, dict]) -> None:
    """Ceilings, and the end of the axis below."""
    ceilings = {name: each["ceiling"] for name, each in readings.items()}
    ceilings = {name: c for name, c in ceilings.items() if c is not None}
    chance = min(each["chance"] for each in readings.values())
    top = max(ceilings.values(), default=-math.inf)
    cut_below(axes, list(curves.values()), chance, top)
    for name, ceiling in ceilings.items():
        axes.axhline(ceiling, color="0.5", ls="--", label=f"ceiling of {name}")


def draw_neighbors(
    images: np.ndarray,
    neighbors: np.ndarray,
    path: Path,
    labels: np.ndarray | None = None,
    names: Sequence[str] | None = None,
) -> None:
    """One row per query image, its nearest neighbours in code space to the right.

    The query has a black frame. With labels its class stands beside the row, and
    neighbours of the same class have a green frame.

    Args:
        images: uint8 `[n, H, W, C]`.
        neighbors: positions `[q, 1 + k]`, the query itself first.
        path: of the picture.
        labels: `[n]`, or None; negative ones are none.
        names: of class k at index k, or None.
    """
    frames = np.full((*neighbors.shape, 3), 255, np.uint8)
    title, classes = "query | nearest in Y (L1)", None
    if labels is not None:
        found = np.asarray(labels)[neighbors]
        known = found >= 0 if found.dtype.kind in "iu" else np.ones(found.shape, bool)
        frames[(found == found[:, :1]) & known] = _HIT
        title += "; green: of the same class"
        classes = [
            name_class(names, k) if there else ""
            for k, there in zip(found[:, 0], known[:, 0], strict=True)
        ]
    frames[:, 0] = 0
    draw_images(images[neighbors], title, path, frames, classes)


def draw_images(
    images: np.ndarray,
    title: str,
    path: Path,
    frames: np.ndarray | None = None,
    names: Sequence[str] | None = None,
) -> None:
    """Rows of images: uint8 `[rows, columns, H, W, C]`, grey ones from 0 to 255.

    Args:
        images: as above.
        title: above them.
        path: of the picture.
        frames: colour of the frame of each, uint8 `[rows, columns, 3]`; None: none.
        names: what stands beside each row.
    """
    from matplotlib.figure import Figure

    rows, columns, height, width, _ = images.shape
    size = (0.7 * columns * width / height + bool(names), 0.7 * rows + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    sheet = _tile(images, frames)
    # One picture: axes for each image would take a hundred times as long.
    axes.imshow(sheet, interpolation="nearest")
    axes.axis("off")
    for row, name in enumerate(names or ()):
        place = (row + 0.5) * len(sheet) / rows
        axes.text(-0.01 * len(sheet[0]), place, name, ha="right", va="center", size=7)
    figure.suptitle(title, fontsize="small")
    save_figure(figure, path)


def _tile(images: np.ndarray, frames: np.ndarray | None) -> np.ndarray:
    """`[rows, columns, H, W, C]` -> one image of all, with white between them."""
    rows, columns, height, width, _ = images.shape
    gap, line = max(2, height // 12), max(1, height // 24)
    shape = (rows, columns, height + 2 * gap, width + 2 * gap, 3)
    sheet = np.full(shape, 255, np.uint8)
    around = slice(gap - line, line - gap)
    if frames is not None:
        sheet[:, :, around, around] = frames[:, :, None, None]
    sheet[:, :, gap:-gap, gap:-gap] = images
    joined = sheet.transpose(0, 2, 1, 3, 4)
    return joined.reshape(rows * shape[2], columns * shape[3], 3)


def save_figure(figure, path: Path, *more: str) -> None:
    """As `path`, and beside it with other suffixes."""
    for suffix in (path.suffix, *more):
        with replacing(path.with_suffix(suffix)) as temporary:
            figure.savefig(temporary, dpi=110, format=suffix.removeprefix("."))
