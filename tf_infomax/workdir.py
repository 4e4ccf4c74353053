"""The work directory of a run: what lies where, and how it is written.

    run.flags        the resolved options, a runnable flagfile
    metrics.jsonl    one line per epoch
    events/          TensorBoard
    checkpoints/     last.npz, best.npz
    own_model.keras  a copy of the user's model, with --encoder=keras:FILE
    encoder.keras    the trained encoder, for keras.models.load_model
    results.json     what evaluation measured (results_best.json: of checkpoint best)
    probes.json      finished probes with what they depend on (probes_best.json)
    skipped.csv      files of a folder that could not be used, if there were any
    curves.png, neighbors.png (neighbors_best.png)

Every file is written under a temporary name and renamed, so that a kill at any moment
leaves the old file or the new one.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from tf_infomax.config import Config, ConfigError, format_value
from tf_infomax.flags import format_flags, read_flagfile
from tf_infomax.output import check_writable, replacing


class WorkDirectory:
    """The files of one run.

    Args:
        path: the folder; `claim` makes it.
    """

    def __init__(self, path: str):
        if not path:
            raise ConfigError("--workdir is needed: the folder of the run.")
        self.path = Path(path)
        self.run_flags = self.path / "run.flags"
        self.metrics = self.path / "metrics.jsonl"
        self.events = self.path / "events"
        self.encoder = self.path / "encoder.keras"
        self.own_model = self.path / "own_model.keras"

    def check(self, config: Config) -> None:
        """Whether a run of these options can live here; writes nothing.

        Raises:
            ConfigError: if the folder cannot be written or belongs to another run.
        """
        check_writable(self.path, f"--workdir={self.path}")
        if self.run_flags.exists():
            self._check_same_run(config)
        elif self.checkpoint("last").exists():
            raise ConfigError(
                f"--workdir={self.path} has checkpoints but no run.flags: not the "
                "folder of a run. Choose another one."
            )

    def claim(self, config: Config) -> None:
        """Makes the folder and writes run.flags, when training is about to begin."""
        try:
            (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
            kind, _, model = config.encoder.partition(":")
            if kind == "keras" and not self.own_model.exists():
                with replacing(self.own_model) as file:
                    shutil.copyfile(model, file)
            if not self.run_flags.exists():
                with replacing(self.run_flags) as file:
                    file.write_text(format_flags(config), encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"--workdir={self.path} cannot be written: {error.strerror}."
            ) from error

    def _check_same_run(self, config: Config) -> None:
        difference = config.difference(self.read_config())
        if difference:
            parts = [
                f"--{name} is {format_value(now)}, there {format_value(then)}"
                for name, (now, then) in difference.items()
            ]
            raise ConfigError(
                f"--workdir={self.path} belongs to a run with other options: "
                f"{'; '.join(parts)}. Choose another folder or the same options."
            )

    def read_config(self) -> Config:
        """The options of the run."""
        if not self.run_flags.is_file():
            raise ConfigError(
                f"--workdir={self.path} is no folder of a run: it has no run.flags."
            )
        return read_flagfile(self.run_flags)

    def localize(self, config: Config) -> Config:
        """The options with the run's own copy of a user's model, once it has one."""
        if not self.own_model.exists():
            return config
        return replace(config, encoder=f"keras:{self.own_model}")

    def checkpoint(self, which: str) -> Path:
        """Path of the "last" or the "best" checkpoint."""
        return self.path / "checkpoints" / f"{which}.npz"

    def read_metrics(self) -> list[dict]:
        """The lines of metrics.jsonl; a line cut off by a kill is left out."""
        if not self.metrics.exists():
            return []
        lines = self.metrics.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def write_metrics(self, rows: list[dict]) -> None:
        """Rewrites metrics.jsonl."""
        with replacing(self.metrics) as file:
            file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")

    def of_checkpoint(self, name: str, which: str) -> Path:
        """Path of a file about a checkpoint: "results.json" or "results_best.json"."""
        path = self.path / name
        return path.with_stem(f"{path.stem}_best") if which == "best" else path

    def read_results(self, which: str = "last") -> dict:
        """The flat dict of results of a checkpoint; empty if there is none."""
        path = self.of_checkpoint("results.json", which)
        if not path.exists():
            return {}
        return json.loads(path.read_text(encoding="utf-8"))

    def write_results(self, results: dict, which: str = "last") -> None:
        """Writes the results of a checkpoint."""
        with replacing(self.of_checkpoint("results.json", which)) as file:
            file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")

    def read_probes(self, which: str = "last") -> dict:
        """Finished probes of a checkpoint; none where the file cannot be read."""
        try:
            text = self.of_checkpoint("probes.json", which).read_text(encoding="utf-8")
            probes = json.loads(text)
        except (OSError, ValueError):
            return {}
        fine = isinstance(probes, dict) and all(
            isinstance(each, dict) for each in probes.values()
        )
        return probes if fine else {}

    def write_probes(self, probes: dict, which: str = "last") -> None:
        """Keeps the finished probes of a checkpoint."""
        with replacing(self.of_checkpoint("probes.json", which)) as file:
            file.write_text(json.dumps(probes, indent=1) + "\n", encoding="utf-8")


def save_checkpoint(path: Path, variables: list, state: dict) -> None:
    """Writes the values of variables, by position, and a small JSON state."""
    arrays = {f"v{index:05d}": np.asarray(v) for index, v in enumerate(variables)}
    # NumPy has no bfloat16 of its own and would store it as raw bytes.
    arrays = {
        key: value.astype(np.float32) if value.dtype.name == "bfloat16" else value
        for key, value in arrays.items()
    }
    arrays["state"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def read_state(path: Path) -> dict:
    """The JSON state of a checkpoint alone.

    Raises:
        ConfigError: if there is no such file or it is damaged.
    """
    with _opened(path) as arrays:
        return json.loads(arrays["state"].tobytes())


def load_checkpoint(path: Path, variables: list) -> dict:
    """Assigns the stored values to the variables and returns the state.

    Raises:
        ConfigError: if the file is damaged or was made by another model.
    """
    with _opened(path) as arrays:
        values = [arrays[f"v{i:05d}"] for i in range(len(arrays.files) - 1)]
        state = json.loads(arrays["state"].tobytes())
    shapes = [tuple(value.shape) for value in values]
    expected = [tuple(variable.shape) for variable in variables]
    if shapes != expected:
        raise ConfigError(
            f"checkpoint {path} was made by another model: it holds {len(shapes)} "
            f"arrays, this one has {len(expected)} variables of other shapes."
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return state


@contextmanager
def _opened(path: Path) -> Iterator:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays
    except FileNotFoundError as error:
        hint = ""
        if path.stem == "best":
            hint = (
                " A run chooses it on validation images only, by labels or the bound."
            )
        raise ConfigError(
            f"--workdir={path.parent.parent} has no checkpoint {path.stem!r} yet.{hint}"
        ) from error
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ConfigError(
            f"checkpoint {path} cannot be read; remove it. ({error})"
        ) from error
