"""Run folders with one file damaged, and what the commands read of them.

A case is right if every reader either gives what the run had, or refuses with a
ConfigError of one line. `python tests/damaged_runs.py 500 0` tries 500 of seed 0.
"""

import shutil
import sys
import tempfile
import zipfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import tf_infomax  # noqa: F401  (before TensorFlow: it switches oneDNN)
from tf_infomax.evaluation.features import hash_weights
from tf_infomax.options import Config, ConfigError
from tf_infomax.runtime import seals
from tf_infomax.training import experiment
from tf_infomax.training import run as training
from tf_infomax.training.trained import load_trained
from tf_infomax.training.workdir import WorkDirectory

FILES = (
    "run.flags", "checkpoints/last.npz", "checkpoints/best.npz", "metrics.jsonl",
    "results.json", "results_best.json", "probes.json", "encoder.keras",
)  # fmt: skip


@dataclass
class Truth:
    """A run in its folder and what it had: by checkpoint, weights and step."""

    folder: Path
    config: Config
    data: experiment.Data
    objective: object
    weights: dict[str, tuple[str, int]]
    rows: list[dict]


def make_config(folder: Path, file: Path, seed: int) -> Config:
    """The smallest experiment."""
    return Config(
        dataset=f"arrays:{file}", workdir=str(folder), steps=16, batch_size=16,
        objective="multiview", views="halves", encoder="half_convnet", code_size=8,
        view_encoders="shared", seed=seed, progress="none", schedule="constant",
    )  # fmt: skip


def make_run(folder: Path, file: Path, seed: int, objective=None) -> Truth:
    """Eight steps of sixteen, with results and probes that are merely written down."""
    config = make_config(folder, file, seed)
    workdir, data = WorkDirectory(config.workdir), experiment.load_data(config)
    run = training.Run(config, workdir, data, objective)
    workdir.claim(config)
    run.until = 8
    training.train(run)
    for which in ("last", "best"):
        results = {"step": {"mean": run.step}, "mi/views": {"mean": 0.5 + seed}}
        workdir.write_results(results, which)
        workdir.write_probes({"probe/linear/code": {"key": "k", "result": {}}}, which)
    weights = {}
    for which in ("last", "best"):
        run.restore(which)
        weights[which] = (_hash(run.objective), run.step)
    rows = workdir.read_rows()
    return Truth(folder, config, data, run.objective, weights, rows)


def make_runs(root: Path) -> list[Truth]:
    """One run; one of another seed; one of the same options on other images."""
    rng, runs = np.random.default_rng(0), []
    for name, seed in (("a", 0), ("b", 1), ("c", 0)):
        images = rng.integers(0, 256, (100, 12, 12, 3), np.uint8)
        np.savez(root / "data.npz", images=images, labels=np.arange(100) % 2)
        runs.append(make_run(root / name, root / "data.npz", seed))
    return runs


def _hash(objective) -> str:
    return hash_weights(objective.get_weights())


def damage(rng: np.random.Generator, folder: Path, others: list[Path]) -> str:
    """Damages one file of a folder; says how."""
    name = str(rng.choice(FILES))
    file, kinds = folder / name, [*_KINDS]
    if not name.endswith(".npz"):
        kinds = [kind for kind in kinds if not kind.startswith("crafted")]
    kind = str(rng.choice(kinds))
    _KINDS[kind](rng, file, folder, others)
    return f"{name} {kind}"


def _cut(rng, file, folder, others):
    content = file.read_bytes()
    file.write_bytes(content[: rng.integers(1, len(content))])


def _cut_at_line(rng, file, folder, others):
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[: rng.integers(0, len(lines))]))


def _lose_line(rng, file, folder, others):
    lines = file.read_bytes().splitlines(keepends=True)
    del lines[rng.integers(0, len(lines))]
    file.write_bytes(b"".join(lines))


def _flip(rng, file, folder, others):
    content = bytearray(file.read_bytes())
    content[rng.integers(0, len(content))] ^= 1 << int(rng.integers(0, 8))
    file.write_bytes(content)


def _blank(rng, file, folder, others):
    content = bytearray(file.read_bytes())
    start = int(rng.integers(0, len(content)))
    content[start : start + 4096] = bytes(len(content[start : start + 4096]))
    file.write_bytes(content)


def _swap(rng, file, folder, others):
    other = folder / str(rng.choice(FILES))
    one, two = file.read_bytes(), other.read_bytes()
    file.write_bytes(two)
    other.write_bytes(one)


def _craft(change):
    """A rewriting of a checkpoint's arrays, with or without the former comment."""

    def craft(rng, file, folder, others):
        with np.load(file) as arrays:
            content = dict(arrays)
        change(rng, content)
        with zipfile.ZipFile(file) as archive:
            comment = archive.comment
        np.savez(file, **content)
        if rng.integers(2):
            with zipfile.ZipFile(file, "a") as archive:
                archive.comment = comment

    return craft


def _exchange(rng, content):
    names = [n for n in content if content[n].dtype.kind == "f" and content[n].ndim]
    pairs = [
        (a, b) for a in names for b in names if content[a].shape == content[b].shape
    ]
    one, other = pairs[rng.integers(len(pairs))]
    content[one], content[other] = content[other], content[one]


def _set_step(rng, content):
    text = content["state"].tobytes().decode()
    step = rng.choice(["-5", "1000000000", "7", "NaN", '"8"'])
    text = text.replace('"step": ', f'"step": {step}, "former": ')
    content["state"] = np.frombuffer(text.encode(), np.uint8)


def _set_nan(rng, content):
    names = [n for n in content if content[n].dtype.kind == "f"]
    name = str(rng.choice(names))
    content[name] = np.full_like(content[name], np.nan)


_KINDS = {
    "cut": _cut,
    "cut at a line": _cut_at_line,
    "a line lost": _lose_line,
    "emptied": lambda rng, file, *_: file.write_bytes(b""),
    "removed": lambda rng, file, *_: file.unlink(),
    "a bit flipped": _flip,
    "4 KiB blank": _blank,
    "noise": lambda rng, file, *_: file.write_bytes(rng.bytes(1000)),
    "swapped": _swap,
    "foreign": lambda rng, file, folder, others: shutil.copy(
        others[rng.integers(len(others))] / file.relative_to(folder), file
    ),
    "crafted: exchanged": _craft(_exchange),
    "crafted: step": _craft(_set_step),
    "crafted: NaN": _craft(_set_nan),
}


def check_case(truth: Truth, folder: Path) -> list[str]:
    """Reads a folder as the commands do; what each came to, "right" or "refused"."""
    config = replace(truth.config, workdir=str(folder))
    return [
        _try(lambda which=which: _evaluate(truth, folder, which))
        for which in ("last", "best")
    ] + [
        _try(lambda: _embed(truth, folder)),
        _try(lambda: _train(truth, config)),
    ]


def _try(read) -> str:
    try:
        read()
        return "right"
    except ConfigError as error:
        if "\n" in str(error):
            raise
        return "refused"


def _evaluate(truth: Truth, folder: Path, which: str) -> None:
    workdir = WorkDirectory(str(folder))
    config = workdir.read_config()
    workdir.read_state(which)
    assert not config.difference(truth.config)
    run = training.Run(config, workdir, truth.data, truth.objective, which)
    assert (_hash(run.objective), run.step) == truth.weights[which]
    assert workdir.read_rows() == truth.rows[: len(workdir.read_rows())]
    results = workdir.read_results(which)
    assert results in ({}, {"step": {"mean": 8}, "mi/views": {"mean": 0.5}})
    assert workdir.read_probes(which) in (
        {},
        {"probe/linear/code": {"key": "k", "result": {}}},
    )


def _embed(truth: Truth, folder: Path) -> None:
    build, experiment.build_objective = (
        experiment.build_objective,
        lambda *_: truth.objective,
    )
    try:
        trained = load_trained(WorkDirectory(str(folder)))
    finally:
        experiment.build_objective = build
    assert (_hash(trained.objective), trained.step) == truth.weights["last"]
    assert not trained.config.difference(truth.config)


def _train(truth: Truth, config: Config) -> None:
    workdir = WorkDirectory(config.workdir)
    with workdir.held():
        workdir.check(config)
        run = training.Run(config, workdir, truth.data, truth.objective)
        workdir.claim(config)
        states = [*truth.weights.values()] if run.resumed else []
        assert not run.resumed or (_hash(run.objective), run.step) in states
        run.until = run.step
        training.train(run)
    rows = [row for row in truth.rows if row["step"] <= run.step]
    assert run.rows == WorkDirectory(config.workdir).read_metrics() == rows
    assert not WorkDirectory(config.workdir).read_config().difference(config)
    facts = seals.open_archive(workdir.encoder, members=True)
    assert facts["step"] == run.step


def check_cases(root: Path, count: int, seed: int) -> Counter:
    """Tries damaged folders below `root`; counts what came of them."""
    truth, *others = make_runs(root)
    np.savez(root / "data.npz", images=truth.data.train.images)
    rng, found = np.random.default_rng(seed), Counter()
    for _ in range(count):
        folder = root / "damaged"
        shutil.copytree(truth.folder, folder)
        what = damage(rng, folder, [each.folder for each in others])
        try:
            found.update(check_case(truth, folder))
        except BaseException:
            print(f"WRONG: {what}", file=sys.stderr)
            raise
        left = [p.name for p in folder.rglob("*") if ".tmp" in p.name]
        assert not left, left
        shutil.rmtree(folder)
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        print(check_cases(Path(scratch), int(sys.argv[1]), int(sys.argv[2])))
