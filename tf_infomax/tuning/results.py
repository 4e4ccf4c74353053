"""The end of a search: table, CSV, JSON, HParams, figure, page, best.flags."""

import csv
import dataclasses
import json
import shutil
import textwrap
from pathlib import Path

import numpy as np

from tf_infomax.options import Config
from tf_infomax.options.flags import format_flags
from tf_infomax.reporting import page
from tf_infomax.runtime.files import replacing
from tf_infomax.runtime.seals import seal_text
from tf_infomax.tuning.board import build_table, format_value, list_rows
from tf_infomax.tuning.folder import SearchFolder, Trial, rank
from tf_infomax.tuning.space import Parameter, Space


class SearchError(RuntimeError):
    """A search without a result: what happened and where to look."""

    exit_status = 1


def write_results(
    folder: SearchFolder, space: Space, score: str, full: dict[str, int]
) -> Trial:
    """Writes everything that a search leaves, and prints the table.

    Args:
        folder: of the search.
        space: the search space.
        score: what was maximized, in words.
        full: `steps` or `epochs` of a run with the best flags; empty: as in the search.

    Returns:
        The best trial.

    Raises:
        SearchError: if no trial has a score.
    """
    trials = folder.trials()
    _write_csv(folder.path / "trials.csv", trials, space)
    ranked = rank(trials)
    _write_json(folder.path / "results.json", trials, ranked, space, score)
    _print_table(trials, space, f"{folder.path}: {score}")
    if not ranked:
        reasons = {trial.reason.rstrip(".") for trial in trials if trial.reason}
        raise SearchError(
            f"none of the {len(trials)} trials has a score"
            + (f"; {' | '.join(sorted(reasons)[:3])}" if reasons else "")
            + f". See {folder.path / 'trials.csv'}."
        )
    _write_events(folder.path / "events", trials, space, score)
    _draw(folder.path / "search.png", ranked, space, score)
    _write_best(folder, ranked[0], trials, space, score, full)
    _write_page(folder, ranked[0], trials, space, score)
    return ranked[0]


def _row(trial: Trial, space: Space) -> dict:
    active = space.active(trial.values)
    return {
        "trial": trial.id,
        "status": trial.status,
        "score": trial.score,
        "sd": trial.sd,
        "seeds": len(trial.scores) or None,
        "share": trial.share or None,
        "seconds": round(trial.seconds, 1),
        **{each.name: active.get(each.name) for each in space.parameters},
        "run": trial.run,
        "reason": trial.reason,
        "warnings": "; ".join(trial.warnings),
    }


def _write_csv(path: Path, trials: list[Trial], space: Space) -> None:
    rows = [_row(trial, space) for trial in trials]
    names = list(rows[0]) if rows else ["trial"]
    with replacing(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {
                    name: format_value(value) if isinstance(value, tuple) else value
                    for name, value in row.items()
                }
            )


def _write_json(path, trials, ranked, space, score) -> None:
    content = {
        "score": score,
        "best": ranked[0].id if ranked else None,
        "space": [dataclasses.asdict(each) for each in space.parameters],
        "trials": [_row(trial, space) for trial in trials],
    }
    with replacing(path) as file:
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _write_page(folder: SearchFolder, best, trials, space: Space, score) -> None:
    """`report.html`: the best, all trials, the figure, what follows."""
    parts = [page.paragraph(_describe_best(folder, best, trials, space, score))]
    parts += [page.paragraph(text, "warning") for text in _list_troubles(trials)]
    parts += [
        page.picture(folder.path / "search.png", "trials and their scores"),
        page.heading("Trials"),
        page.table(*list_rows(trials, space)),
        page.heading("The best options"),
        page.code(folder.best.read_text(encoding="utf-8")),
        page.heading("What may follow"),
        page.code(f"tf-infomax train --flagfile={folder.best}"),
    ]
    page.write_page(folder.path / "report.html", f"Search: {folder.path}", parts)


def _list_troubles(trials: list[Trial]) -> list[str]:
    """What went wrong in trials, a line each."""
    lines = []
    for trial in trials:
        if trial.reason or trial.warnings:
            what = "failed" if trial.reason else "looks collapsed"
            why = trial.reason or "; ".join(trial.warnings)
            lines.append(f"trial {trial.id} {what}: {why}")
    return lines


def _print_table(trials: list[Trial], space: Space, title: str) -> None:
    from rich.console import Console

    console = Console()
    console.print(build_table(trials, space, title, console=console))
    for line in _list_troubles(trials):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _write_best(folder, best: Trial, trials, space: Space, score, full) -> None:
    config = space.configure(best.values).replace(
        workdir=str(folder.path / "best"),
        **(full and {"steps": 0, "epochs": 0} | full),
    )
    text = _describe_best(folder, best, trials, space, score)
    head = textwrap.fill(text, 88, initial_indent="# ", subsequent_indent="# ")
    head += f"\n#\n#   python -m tf_infomax.train --flagfile={folder.best}\n"
    with replacing(folder.best) as file:
        file.write_text(seal_text(head + format_flags(config)), encoding="utf-8")


def _describe_best(folder, best: Trial, trials, space: Space, score: str) -> str:
    """What was found, and what its score is worth."""
    spread = "" if best.sd is None else f" ± {100 * best.sd:.1f}"
    compared = sum(trial.status == "completed" for trial in trials)
    seeds = f"{len(best.scores)} seed{'s' if len(best.scores) > 1 else ''}"
    return (
        f"The best of {compared} trials of the search in {folder.path}: trial "
        f"{best.id}. Its score, the {score}: {100 * best.score:.1f}{spread} % after "
        f"{_length(space.base)} ({seeds}). As the best of many it is too high; probes "
        "on test images, which nothing was chosen on, are not."
    )


def _length(config: Config) -> str:
    return f"{config.steps} steps" if config.steps else f"{config.epochs} epochs"


def _write_events(path: Path, trials: list[Trial], space: Space, score: str) -> None:
    """One TensorBoard run per completed trial, for the HParams tab."""
    import tensorflow as tf
    from tensorboard.plugins.hparams import api

    shutil.rmtree(path, ignore_errors=True)
    params = {
        each.name: api.HParam(each.name, _domain(each)) for each in space.parameters
    }
    with tf.summary.create_file_writer(str(path)).as_default():
        api.hparams_config(
            hparams=list(params.values()),
            metrics=[api.Metric("score", display_name=score), api.Metric("seconds")],
        )
    for trial in rank(trials):
        active = space.active(trial.values)
        values = {
            params[name]: value if _numeric(value) else format_value(value)
            for name, value in active.items()
        }
        with tf.summary.create_file_writer(str(path / trial.id)).as_default():
            api.hparams(values, trial_id=trial.id)
            tf.summary.scalar("score", trial.score, step=0)
            tf.summary.scalar("seconds", trial.seconds, step=0)


def _numeric(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _domain(parameter: Parameter):
    from tensorboard.plugins.hparams import api

    if parameter.choices:
        numeric = _numeric(parameter.choices[0])
        return api.Discrete(
            [v if numeric else format_value(v) for v in parameter.choices]
        )
    whole = isinstance(parameter.low, int)
    kind = api.IntInterval if whole else api.RealInterval
    return kind(parameter.low, parameter.high)


def _draw(path: Path, ranked: list[Trial], space: Space, score: str) -> None:
    """Parallel coordinates: one line per trial, its colour the score, the best bold."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    parameters = space.parameters
    scores = np.array([100 * trial.score for trial in ranked])
    low, high = scores.min(), max(scores.max(), scores.min() + 1e-6)
    scale, colors = Normalize(low, high), colormaps["viridis_r"]
    width = max(6.0, 1.5 * (len(parameters) + 1) + 1.5)
    figure = Figure(figsize=(width, 4.6), layout="constrained")
    axes = figure.subplots()
    rows = [space.active(trial.values) for trial in ranked]
    for trial, row in reversed(list(zip(ranked, rows, strict=True))):
        heights = [_height(each, row) for each in parameters]
        heights.append((100 * trial.score - low) / (high - low))
        best = trial is ranked[0]
        axes.plot(
            heights,
            color=colors(scale(100 * trial.score)),
            lw=3.0 if best else 1.2,
            alpha=1.0 if best else 0.7,
            marker="o",
            ms=4,
            ls="-" if trial.share >= 1 else ":",
        )
    for position, each in enumerate(parameters):
        axes.axvline(position, color="0.6", lw=0.8, zorder=0)
        for height, label in _ticks(each):
            axes.annotate(
                label,
                (position, height),
                xytext=(4, 3),
                textcoords="offset points",
                fontsize=8,
            )
    if any(each.name not in row for each in parameters for row in rows):
        axes.axhline(_ABSENT, color="0.85", lw=0.8, zorder=0)
        axes.annotate("absent", (0, _ABSENT), xytext=(-36, -3), fontsize=8,
                      textcoords="offset points")  # fmt: skip
    names = [f"{p.name}\n(log)" if p.log else p.name for p in parameters]
    axes.set_xticks(range(len(parameters) + 1), [*names, "score, %"], rotation=20)
    axes.set_yticks([])
    axes.set_xlim(-0.3, len(parameters) + 0.3)
    axes.spines[["top", "left", "right"]].set_visible(False)
    best = ranked[0]
    figure.suptitle(
        f"{score}\n{len(ranked)} trials, the best {100 * best.score:.1f} % "
        f"(trial {best.id}, bold)",
        fontsize="medium",
    )
    figure.colorbar(ScalarMappable(scale, colors), ax=axes)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


_ABSENT = -0.12  # height of a parameter that does not exist in a trial


def _height(parameter: Parameter, row: dict) -> float:
    if parameter.name not in row:
        return _ABSENT
    value = row[parameter.name]
    if parameter.choices:
        return parameter.choices.index(value) / max(1, len(parameter.choices) - 1)
    ends = np.array([parameter.low, parameter.high, value], float)
    low, high, value = np.log(ends) if parameter.log else ends
    return float((value - low) / (high - low))


def _ticks(parameter: Parameter) -> list[tuple[float, str]]:
    values = parameter.choices or (parameter.low, parameter.high)
    return [(_height(parameter, {parameter.name: v}), format_value(v)) for v in values]
