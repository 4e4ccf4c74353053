"""The work directory of a run: what lies where, and how it is written and read.

    run.flags        the resolved options, a runnable flagfile
    metrics.jsonl    one line per epoch
    events/          TensorBoard
    checkpoints/     last.npz, best.npz
    own_model.keras  a copy of the user's model, with --encoder=keras:FILE
    encoder.keras    the trained encoder, for keras.models.load_model
    results.json     what evaluation measured (results_best.json: of checkpoint best)
    probes.json      finished probes with what they depend on (probes_best.json)
    skipped.csv      files of a folder that could not be used, if there were any
    report.html      all of it on one page (report_best.html)
    curves.png, neighbors.png, map.png (neighbors_best.png, map_best.png)
    lock             while a process writes here: which one

Every file is written under a temporary name and renamed, so that a kill at any moment
leaves the old file or the new one. What is read again is sealed (`runtime.seals`) and
belongs to its run by a number that run.flags, checkpoints and results have in common. A
checkpoint holds the options and the rows of metrics.jsonl, too: it restores them.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tf_infomax.options import Config, ConfigError, format_value
from tf_infomax.runtime import locks, seals
from tf_infomax.runtime.files import check_writable, replacing
from tf_infomax.runtime.progress import tell
from tf_infomax.runtime.seals import DamagedError
from tf_infomax.training.checkpoints import (
    DamagedCheckpointError,
    load_checkpoint,
    read_state,
)
from tf_infomax.training.run_options import LENGTH, RunOptions

CHECKPOINTS = ("last", "best")


class WorkDirectory:
    """The files of one run.

    Args:
        path: the folder; `claim` makes it.
    """

    def __init__(self, path: str):
        if not path:
            raise ConfigError("--workdir is needed: the folder of the run.")
        self.path = Path(path)
        self.options = RunOptions(self.path, [*map(self.checkpoint, CHECKPOINTS)])
        self.metrics = self.path / "metrics.jsonl"
        self.events = self.path / "events"
        self.encoder = self.path / "encoder.keras"
        self._lock = self.path / "lock"
        self._held: ExitStack | None = None
        self._locked = False

    @contextmanager
    def held(self, wait: bool = False) -> Iterator[None]:
        """Keeps other processes from writing here while the block runs.

        The lock is taken at once if the folder is there, else when `claim` has made
        it. What processes that were killed have left half-written is removed.

        Args:
            wait: until no other process holds it.

        Raises:
            ConfigError: if another process holds it.
        """
        try:
            with ExitStack() as self._held:
                if self.path.is_dir():
                    self._take(wait)
                yield
        finally:
            self._held, self._locked = None, False

    def _take(self, wait: bool = False) -> None:
        try:
            taken = self._held.enter_context(locks.locked(self._lock, wait))
        except OSError as error:
            raise self._unwritable(error) from error
        if not taken:
            raise ConfigError(
                f"--workdir={self.path} is in use by "
                f"{locks.describe_holder(self._lock)}. Wait for its end or choose "
                "another folder."
            )
        self._locked = True
        for folder in (self.path, self.path / "checkpoints"):
            locks.remove_abandoned(folder)

    def _unwritable(self, error: OSError) -> ConfigError:
        return ConfigError(
            f"--workdir={self.path} cannot be written: {error.strerror}."
        )

    def check(self, config: Config) -> None:
        """Whether a run of these options can live here; writes nothing.

        Raises:
            ConfigError: if the folder cannot be written or belongs to another run.
        """
        check_writable(self.path, f"--workdir={self.path}")
        if self.options.begun:
            self._check_same_run(config)

    def claim(self, config: Config) -> None:
        """Makes the folder and writes run.flags, when training is about to begin."""
        try:
            (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
            if self._held is not None and not self._locked:
                self._take()
                if self.options.begun:
                    raise ConfigError(
                        f"--workdir={self.path}: another process has begun a run here "
                        "meanwhile. The same command continues it."
                    )
            self.options.write(config)
        except OSError as error:
            raise self._unwritable(error) from error

    def _check_same_run(self, config: Config) -> None:
        there = self.read_config()
        difference = config.difference(there)
        if difference.keys() <= {*LENGTH}:
            if difference:
                self._check_length(config, there)
            return
        parts = [
            f"--{name} is {format_value(now)}, there {format_value(then)}"
            for name, (now, then) in difference.items()
        ]
        raise ConfigError(
            f"--workdir={self.path} belongs to a run with other options: "
            f"{'; '.join(parts)}. Choose another folder or the same options."
        )

    def _check_length(self, config: Config, there: Config) -> None:
        """Whether what has been trained is the beginning of a run of this length."""
        step = self._count_steps()
        now, then = (
            f"--steps={c.steps}" if c.steps else f"--epochs={c.epochs}"
            for c in (config, there)
        )
        if config.schedule != "constant" and step:
            raise ConfigError(
                f"{now}: the {step} steps in --workdir={self.path} were trained with "
                f"the learning rates of --schedule={config.schedule} over {then}, "
                f"which no run of another length has. Keep {then}, or choose another "
                "folder to train anew."
            )
        if config.steps and config.steps < step:
            raise ConfigError(
                f"{now}: the run in --workdir={self.path} has done {step} steps "
                "already. Give as many at least, or choose another folder."
            )

    def _count_steps(self) -> int:
        """Steps done, by the checkpoint that training would continue from."""
        for which in CHECKPOINTS:
            if self.checkpoint(which).exists():
                with suppress(DamagedCheckpointError):
                    return self.read_state(which)["step"]
        return 0

    def read_config(self) -> Config:
        """The options of the run.

        They are those of run.flags or, if that is damaged or was edited, those that a
        checkpoint holds, which is said.

        Raises:
            ConfigError: if there are none that can be believed.
        """
        return self.options.read()[0]

    def localize(self, config: Config) -> Config:
        """`RunOptions.localize`."""
        return self.options.localize(config)

    def checkpoint(self, which: str) -> Path:
        """Path of the "last" or the "best" checkpoint."""
        return self.path / "checkpoints" / f"{which}.npz"

    def read_state(self, which: str) -> dict:
        """The state of a checkpoint.

        Raises:
            DamagedCheckpointError: if it is not what was saved.
            ConfigError: if there is none or it is of another run.
        """
        path = self.checkpoint(which)
        try:
            state = read_state(path)
            self._check_state(path, state)
        except FileNotFoundError as error:
            hint = ""
            if which == "best":
                hint = (
                    " A run chooses it on validation images only, by labels or the "
                    "bound."
                )
            raise ConfigError(
                f"--workdir={self.path} has no checkpoint {which!r}.{hint}"
            ) from error
        except DamagedCheckpointError as error:
            other = self.checkpoint("last" if which == "best" else "best")
            hint = f" There is {other}, too." if other.exists() else ""
            raise DamagedCheckpointError(f"{error}{hint}") from error
        return state

    def _check_state(self, path: Path, state: dict) -> None:
        run = self.options.run
        if run and state.get("run", run) != run:
            raise ConfigError(
                f"{path} is of another run than {self.options.file}. Put the run's own "
                "file back, or remove it."
            )
        if state.get("checkpoint", path.stem) != path.stem:
            raise DamagedCheckpointError(
                f"checkpoint {path} cannot be read; remove it. (It is the checkpoint "
                f"{state['checkpoint']!r} under another name.)"
            )
        step, steps, shape = (state.get(n) for n in ("step", "steps", "image_shape"))
        counts = [step, steps, *(shape if isinstance(shape, list) else ())]
        if (
            any(type(count) is not int or count < 0 for count in counts)
            or step > steps
            or len(counts) != 5
        ):
            raise DamagedCheckpointError(
                f"checkpoint {path} cannot be read; remove it. (It says: step {step} "
                f"of {steps}, images of {shape}.)"
            )

    def load(self, which: str, variables: dict) -> dict:
        """Assigns a checkpoint to variables and returns its state, as read_state."""
        self.read_state(which)
        return load_checkpoint(self.checkpoint(which), variables)

    def read_rows(self) -> list[dict]:
        """The rows of metrics.jsonl, from a checkpoint if it holds them."""
        for which in CHECKPOINTS:
            try:
                return self.read_state(which)["rows"]
            except (ConfigError, KeyError):
                continue
        return self.read_metrics()

    def read_metrics(self) -> list[dict]:
        """The lines of metrics.jsonl; a last one cut off by a kill is left out.

        Raises:
            ConfigError: if another one is damaged.
        """
        if not self.metrics.exists():
            return []
        lines = self.metrics.read_bytes().splitlines(keepends=True)
        rows = []
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                break
            try:
                row = json.loads(line)
                row["step"] + 0  # rows are told apart by it
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigError(
                    f"{self.metrics} is damaged in line {number}. Remove it."
                ) from error
            rows.append(row)
        return rows

    def restore_metrics(self, rows: list[dict]) -> None:
        """Makes metrics.jsonl what it was at a checkpoint; says so if it was damaged.

        Rows of later than the checkpoint are no damage: a kill came between the two.
        """
        try:
            found = self.read_metrics()
        except ConfigError:
            found = []
        if found != rows:
            last = rows[-1]["step"] if rows else 0
            if [row for row in found if row["step"] <= last] != rows:
                tell(f"{self.metrics} was damaged: restored from the checkpoint")
            self.write_metrics(rows)

    def write_metrics(self, rows: list[dict]) -> None:
        """Rewrites metrics.jsonl."""
        with replacing(self.metrics) as file:
            file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")

    def of_checkpoint(self, name: str, which: str) -> Path:
        """Path of a file about a checkpoint: "results.json" or "results_best.json"."""
        path = self.path / name
        return path.with_stem(f"{path.stem}_best") if which == "best" else path

    def read_results(self, which: str = "last") -> dict:
        """The flat dict of results of a checkpoint; empty if there are none to believe.

        Those that are damaged or of another run are left out, which is said.
        """
        path = self.of_checkpoint("results.json", which)
        if not path.exists():
            return {}
        try:
            results, facts = self._read_sealed(path)
        except DamagedError as error:
            tell(f"{path} {error}: left out; tf_infomax.evaluate measures again")
            return {}
        if facts is None:
            tell(f"{path} has no seal, as of an earlier version: taken as it stands")
        return results

    def write_results(self, results: dict, which: str = "last") -> None:
        """Writes the results of a checkpoint."""
        self._write_sealed(self.of_checkpoint("results.json", which), results)

    def read_probes(self, which: str = "last") -> dict:
        """Finished probes of a checkpoint; none where they cannot be believed."""
        path = self.of_checkpoint("probes.json", which)
        if not path.exists():
            return {}
        try:
            probes, facts = self._read_sealed(path)
            if facts is None:
                raise DamagedError("has no seal")
        except DamagedError as error:
            tell(f"{path} {error}: its probes are made again")
            return {}
        return probes

    def write_probes(self, probes: dict, which: str = "last") -> None:
        """Keeps the finished probes of a checkpoint."""
        self._write_sealed(self.of_checkpoint("probes.json", which), probes)

    def _read_sealed(self, path: Path) -> tuple[dict, dict | None]:
        content, facts = seals.open_json(path.read_bytes())
        if facts is None:
            return content, facts
        run = self.options.run
        if run and facts.get("run") != run:
            raise DamagedError("is of another run")
        if facts.get("file") != path.name:
            raise DamagedError("is another file under this name")
        return content, facts

    def _write_sealed(self, path: Path, content: dict) -> None:
        with replacing(path) as file:
            text = seals.seal_json(content, run=self.options.run, file=path.name)
            file.write_text(text, encoding="utf-8")

    def write_encoder(self, save, step: int) -> None:
        """Has `save(path)` write encoder.keras, unless that of this step is there."""
        facts = {"run": self.options.run, "step": step}
        try:
            if seals.open_archive(self.encoder, members=True) == facts:
                return
        except (DamagedError, OSError):
            pass  # it is written anew in any case
        with replacing(self.encoder) as temporary:
            save(temporary)
            seals.seal_archive(temporary, **facts)
