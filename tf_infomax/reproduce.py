"""Reproduces claims: `python -m tf_infomax.reproduce --study=critics --workdir=DIR`.

Trains all arms of a study with several seeds, and prints a verdict with its effects and
their intervals over seeds; results.json and figure.png are in the work directory.
Finished runs are not repeated. `--study=all` runs every study in turn and writes
report.html and report.md.
"""

import base64
import html
import json
from dataclasses import dataclass
from pathlib import Path

from tf_infomax import flags
from tf_infomax.config import (
    ConfigError,
    Options,
    option,
    refuse_if,
    shared_option,
    table_names,
)
from tf_infomax.output import check_writable, replacing
from tf_infomax.progress import tell

_STUDIES = table_names("studies/claims.py", "STUDIES")
_RUN, _DATA = "Run", "Data"


@dataclass(frozen=True)
class ReproduceOptions(Options):
    """Which study, at which scale, on which data."""

    study: str = option("", _RUN, "Of the critique.", choices=(*_STUDIES, "all"))
    scale: str = option(
        "cpu",
        _RUN,
        "smoke: a minute, shows nothing; cpu: at most 45 minutes on two cores; paper: "
        "its own setting.",
        choices=("smoke", "cpu", "paper"),
    )
    seeds: int = option(3, _RUN, "Runs of each arm.", low=1)
    workdir: str = option("", _RUN, "Folder of the runs and results.")
    dataset: str = option(
        "fashion", _DATA, "Labelled images: fashion, tfds:mnist, arrays:FILE, ..."
    )
    data_dir: str = shared_option("data_dir")
    local_files: str = shared_option("local_files")
    download: bool = shared_option("download")
    debug: bool = shared_option("debug")

    def __post_init__(self):
        super().__post_init__()
        if not self.study:
            raise ConfigError(f"--study is needed: {', '.join(_STUDIES)} or all.")
        if not self.workdir:
            raise ConfigError("--workdir is needed: a folder for runs and results.")


def read_images(options: ReproduceOptions):
    """The labelled training and test images."""
    import numpy as np

    from tf_infomax.data import sources
    from tf_infomax.studies.halves import BATCH, Images

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
    return Images(
        options.dataset,
        np.asarray(train.images[:]),
        train.labels,
        np.asarray(test.images[:]),
        test.labels,
    )


def main(options: ReproduceOptions) -> int:
    """Runs the study, or all, and prints the verdicts."""
    root = Path(options.workdir)
    check_writable(root, f"--workdir={root}")
    flags.load_tensorflow()
    from tf_infomax.studies.claims import STUDIES

    names = _STUDIES if options.study == "all" else (options.study,)
    images = None
    if any(STUDIES[name].needs_images for name in names):
        images = read_images(options)
    for name in names:
        folder = root / name if options.study == "all" else root
        folder.mkdir(parents=True, exist_ok=True)
        _check_study(folder / "results.json", name)
        run, seeds = STUDIES[name].run, range(options.seeds)
        verdict = run(name, options.scale, seeds, images, folder, tell)
        if options.scale == "smoke":
            print(f"{name}: smoke scale, too short to show anything.")
        print(f"{name}: {verdict}")
        print(f"{folder / 'results.json'}, {folder / 'figure.png'}")
    if options.study == "all":
        write_report(root, names)
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
    """report.html, figures inside, and report.md, a table of verdicts."""
    rows = [
        "| study | claim | verdict | effects | the paper |",
        "|---|---|---|---|---|",
    ]
    parts = []
    for name in names:
        content = json.loads((root / name / "results.json").read_text())
        picture = base64.b64encode((root / name / "figure.png").read_bytes()).decode()
        effects = [effect["text"] for effect in content["effects"]]
        cells = (
            name,
            content["claim"],
            f"{content['verdict']} ({_describe_settings(content)})",
            "; ".join(effects),
            content["paper"],
        )
        rows.append(
            "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
        )
        items = [
            *effects,
            f"The paper: {content['paper']}.",
            *content["notes"],
            _describe_settings(content),
        ]
        listed = "".join(f"<li>{html.escape(item)}</li>\n" for item in items)
        parts.append(
            f"<h2>{name}: {content['verdict']}</h2>\n"
            f"<p>{html.escape(content['claim'])}</p>\n<ul>\n{listed}</ul>\n"
            f'<img alt="{name}" src="data:image/png;base64,{picture}">\n'
        )
    page = (
        "<!doctype html>\n<meta charset=utf-8>\n<title>tf_infomax: the critique</title>"
        "\n<style>body{font-family:sans-serif;max-width:60em;margin:2em auto}"
        "img{max-width:100%}</style>\n" + "".join(parts)
    )
    for file, text in (("report.html", page), ("report.md", "\n".join(rows) + "\n")):
        with replacing(root / file) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(root / file)


def _describe_settings(content: dict) -> str:
    """Scale, data, seeds and time of a study's results.json."""
    settings = content["settings"]
    scale = settings["scale"]
    seeds = len({name.rpartition("-")[2] for name in content["curves"]})
    parts = [
        f"scale {scale}" + (", too short to show anything" if scale == "smoke" else ""),
        f"{seeds} seed" + "s" * (seeds > 1),
        f"data {settings.get('data', 'drawn')}",
        f"{content['seconds'] / 60:.1f} minutes of runs",
    ]
    return ", ".join(parts)


if __name__ == "__main__":
    flags.run(main, "tf_infomax.reproduce", __doc__, ReproduceOptions)
