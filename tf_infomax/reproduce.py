"""Reproduces claims: `python -m tf_infomax.reproduce --study=critics --workdir=DIR`.

Trains all arms of a study with several seeds, and prints a verdict on each of its
claims with effects and their intervals over seeds; results.json and figure.png are in
the work directory. Settings, rules and seeds are frozen in studies/protocol.py and
studies/dim_tables.py; a verdict by others says that it is exploratory. Finished runs
are not repeated, and a second process of the same folder shares the work.
`--study=all` runs every study of the critique in turn and writes report.html and
report.md. The tables of Deep InfoMax (`dim_table`) can be made in parts: `--only`,
`--cells`.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from tf_infomax.options import (
    ConfigError,
    Options,
    command,
    option,
    refuse_if,
    shared_option,
    tables,
)
from tf_infomax.reporting import page
from tf_infomax.runtime.files import check_writable, replacing
from tf_infomax.runtime.progress import tell

_STUDIES, _TABLES = tables.STUDIES, tables.DIM_TABLES
_RUN, _DATA = "Run", "Data"


@dataclass(frozen=True)
class ReproduceOptions(Options):
    """Which study, at which scale, on which data."""

    study: str = option(
        "",
        _RUN,
        "Of the critique, or a table of Deep InfoMax.",
        choices=(*_STUDIES, "all", *_TABLES),
    )
    scale: str = option(
        "cpu",
        _RUN,
        "smoke: minutes, shows nothing; cpu: at most 45 minutes on two cores (tables: "
        "3 for each cell); paper: its own setting.",
        choices=("smoke", "cpu", "paper"),
    )
    seeds: int = option(
        3,
        _RUN,
        "Runs of each arm, of the seeds 100, 101, ...; but for 3 a verdict is "
        "exploratory.",
        low=1,
    )
    workdir: str = option("", _RUN, "Folder of the runs and results.")
    only: tuple[str, ...] = option(
        (), _RUN, "Of a table, the rows to make now, comma-separated; empty: all."
    )
    cells: tuple[str, ...] = option(
        (), _RUN, "Of a table, work directories whose cells count where they fit."
    )
    dataset: str = option(
        "",
        _DATA,
        "Labelled images: fashion, tfds:mnist, arrays:FILE, ...; empty: fashion, of "
        "tables fashion_m.",
    )
    data_dir: str = shared_option("data_dir")
    local_files: str = shared_option("local_files")
    download: bool = shared_option("download")
    debug: bool = shared_option("debug")

    def __post_init__(self):
        super().__post_init__()
        if not self.study:
            known = ", ".join((*_STUDIES, *_TABLES))
            raise ConfigError(f"--study is needed: {known} or all.")
        if not self.workdir:
            raise ConfigError("--workdir is needed: a folder for runs and results.")
        for name in ("only", "cells"):
            given = getattr(self, name)
            refuse_if(
                bool(given) and self.study not in _TABLES,
                f"--{name}={','.join(given)} goes with --study={', '.join(_TABLES)}. "
                f"Received: --study={self.study}.",
            )
        for folder in self.cells:
            refuse_if(
                not (Path(folder) / "cells").is_dir(),
                f"--cells={folder} is no work directory of a table.",
            )
        if not self.dataset:
            dataset = "fashion_m" if self.study in _TABLES else "fashion"
            object.__setattr__(self, "dataset", dataset)


def read_images(options: ReproduceOptions):
    """The labelled training and test images."""
    import numpy as np

    from tf_infomax.data import sources
    from tf_infomax.studies.halves import BATCH, Images
    from tf_infomax.studies.protocol import name_data

    read = sources.ReadOptions(
        data_dir=options.data_dir or None,
        local_files=options.local_files or None,
        download=options.download,
    )
    splits = sources.read(options.dataset, read)
    if splits.test is None or splits.train.labels is None:
        raise ConfigError(
            f"--dataset={options.dataset} must have labels and a test part."
        )
    train, test = splits.train, splits.test
    for part, images in (("training", train.images), ("test", test.images)):
        refuse_if(
            len(images) < BATCH,
            f"--dataset={options.dataset} has {len(images)} {part} images; a study "
            f"takes at least a batch of {BATCH}.",
        )
    images = Images(
        options.dataset,
        np.asarray(train.images[:]),
        train.labels,
        np.asarray(test.images[:]),
        test.labels,
    )
    return replace(images, name=name_data(options.dataset, images.digest))


def main(options: ReproduceOptions) -> int:
    """Runs the study, or all, and prints the verdicts."""
    root = Path(options.workdir)
    check_writable(root, f"--workdir={root}")
    command.load_tensorflow()
    if options.study in _TABLES:
        return _make_table(options, root)
    from tf_infomax.studies.claims import run
    from tf_infomax.studies.outcome import print_verdict
    from tf_infomax.studies.protocol import FIRST_SEED, STUDIES

    names = _STUDIES if options.study == "all" else (options.study,)
    images = None
    if any(STUDIES[name].data for name in names):
        images = read_images(options)
    seeds = range(FIRST_SEED, FIRST_SEED + options.seeds)
    for name in names:
        folder = root / name if options.study == "all" else root
        folder.mkdir(parents=True, exist_ok=True)
        _check_study(folder / "results.json", name)
        given = images if STUDIES[name].data else None
        verdict = run(name, options.scale, seeds, given, folder, tell)
        print_verdict(name, verdict)
        print(f"{folder / 'results.json'}, {folder / 'figure.png'}")
    if options.study == "all":
        write_report(root, names)
    return 0


def _make_table(options: ReproduceOptions, folder: Path) -> int:
    from tf_infomax.studies.dim_tables import SEEDS
    from tf_infomax.studies.outcome import print_verdict
    from tf_infomax.studies.table import run

    folder.mkdir(parents=True, exist_ok=True)
    _check_study(folder / "results.json", options.study)
    names = ("dataset", "data_dir", "local_files", "download")
    given = {name: value for name in names if (value := getattr(options, name))}
    verdict, found = run(
        options.study,
        options.scale,
        range(SEEDS[0], SEEDS[0] + options.seeds),
        given,
        folder,
        tell,
        options.only,
        [Path(each) for each in options.cells],
    )
    found.print()
    print_verdict(options.study, verdict)
    print(
        ", ".join(str(folder / n) for n in ("results.json", "table.md", "figure.png"))
    )
    return 0


def _check_study(path: Path, name: str) -> None:
    """Refuses a folder that another study has written."""
    if not path.exists():
        return
    try:
        found = json.loads(path.read_text())["settings"].get("study")
    except (ValueError, KeyError, TypeError, AttributeError):
        return  # of nothing that could be lost
    if found != name:
        raise ConfigError(
            f"--workdir={path.parent} holds the study {found}; choose another for "
            f"{name}."
        )


def write_report(root: Path, names: tuple[str, ...]) -> None:
    """report.html, figures inside, and report.md, a table with a row per claim."""
    rows = [
        "| study | claim | verdict | effects | controls | the paper |",
        "|---|---|---|---|---|---|",
    ]
    parts, notes = [], []
    for name in names:
        content = json.loads((root / name / "results.json").read_text())
        rows += _table_rows(name, content)
        notes += [f"* {name}: {item}" for item in _further(content)]
        parts += _section(name, content, root / name / "figure.png")
    page.write_page(root / "report.html", "tf_infomax: the critique", parts)
    with replacing(root / "report.md") as file:
        file.write_text("\n".join([*rows, "", *notes]) + "\n", encoding="utf-8")
    for name in ("report.html", "report.md"):
        print(root / name)


def _table_rows(name: str, content: dict) -> list[str]:
    """A row of Markdown for each claim of a results.json."""
    controls = content["controls"]
    rows = []
    for claim in content["claims"]:
        cells = (
            name,
            claim["claim"],
            f"{claim['verdict']}, {content['status']}",
            _texts(claim["effects"]),
            f"{controls['verdict']}: {_texts(controls['effects'])}",
            claim["paper"],
        )
        rows.append(
            "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
        )
    return rows


def _texts(effects: list[dict]) -> str:
    return "; ".join(effect["text"] for effect in effects)


def _further(content: dict) -> list[str]:
    """What is said once for all claims of a study."""
    return [
        f"{content['status'].capitalize()}.",
        f"History of the setting: {content['history']}.",
        *content["notes"],
        f"{_describe_settings(content)}.",
    ]


def _section(name: str, content: dict, picture: Path) -> list[str]:
    """The parts of a page that show a study: effects, then what they mean."""
    from tf_infomax.studies.outcome import HEAD

    controls, rows = content["controls"], []
    parts = [page.heading(f"{name}: {content['verdict']}")]
    for number, claim in enumerate(content["claims"], 1):
        word = claim["verdict"].capitalize()
        parts.append(page.paragraph(f"{number}. {claim['claim']} {word}."))
        rows += [_row(str(number), effect) for effect in claim["effects"]]
    rows += [_row("control", effect) for effect in controls["effects"]]
    papers = [f"The paper: {claim['paper']}." for claim in content["claims"]]
    return [
        *parts,
        page.paragraph(f"Controls: {controls['verdict']}."),
        page.picture(picture.with_name("effects.png"), f"effects of {name}"),
        page.table(HEAD, rows, "words"),
        page.picture(picture, name),
        page.listing([*papers, *_further(content)]),
    ]


def _row(number: str, effect: dict) -> list[str]:
    """An effect of a results.json for the table."""
    what = effect["rule"]["what"]
    return [number, what, *effect["shown"], effect["region"], effect["word"]]


def _describe_settings(content: dict) -> str:
    """Scale, data, seeds and time of a study's results.json."""
    settings, seeds = content["settings"], content["seeds"]
    scale = settings["scale"]
    parts = [
        f"scale {scale}" + (", too short to show anything" if scale == "smoke" else ""),
        f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}",
        f"data {settings.get('data', 'drawn')}",
        f"{content['seconds'] / 60:.1f} minutes of runs",
    ]
    return "; ".join(parts)


if __name__ == "__main__":
    command.run(main, "tf_infomax.reproduce", __doc__, ReproduceOptions)
