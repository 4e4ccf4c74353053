"""The folder of a search: what lies where, and what it tells without Keras Tuner.

search.flags     the options of the search
trials/          Keras Tuner's project: oracle.json, trial_ID/{trial,outcome}.json
runs/            the work directories of the trials, one per seed
trials.csv, results.json, search.png, report.html, events/ (TensorBoard HParams)
best.flags       the best trial as a flagfile for tf_infomax.train
logs/            what the workers said
best/            the final run, with --train_best
"""

import json
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tf_infomax.options import ConfigError, Options, format_value
from tf_infomax.options.flags import format_flags, open_flagfile
from tf_infomax.runtime import locks, seals
from tf_infomax.runtime.files import check_writable, replacing
from tf_infomax.runtime.progress import tell
from tf_infomax.runtime.seals import DamagedError


@dataclass(frozen=True)
class Trial:
    """What is on record of a trial.

    Attributes:
        id: its number.
        values: as Keras Tuner keeps them.
        status: "running", "completed" or "failed".
        score: None unless it is completed; scores: of each seed.
        share: steps done of a full trial.
        seconds: spent on it.
        run: folder of its runs, below `runs/`.
        reason: why it failed.
        warnings: signs that something is wrong with a completed one.
    """

    id: str
    values: dict
    status: str
    score: float | None = None
    scores: tuple[float, ...] = ()
    share: float = 0.0
    seconds: float = 0.0
    run: str = ""
    reason: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def sd(self) -> float | None:
        """Deviation of the scores over the seeds; None of a single one."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else None


@dataclass(frozen=True)
class SearchFolder:
    """Paths and records of a search.

    Args:
        path: the folder.
    """

    path: Path
    project: str = field(default="trials", init=False)

    @property
    def flags(self) -> Path:
        """The options of the search."""
        return self.path / "search.flags"

    @property
    def runs(self) -> Path:
        """The work directories of the trials."""
        return self.path / "runs"

    @property
    def best(self) -> Path:
        """The best trial's flagfile."""
        return self.path / "best.flags"

    def check(self, options: Options) -> None:
        """Whether this search can live here; writes nothing.

        Raises:
            ConfigError: if the folder cannot be written or has another search.
        """
        check_writable(self.path, f"--workdir={self.path}")
        if not self.flags.exists():
            if (self.path / "run.flags").exists():
                raise ConfigError(
                    f"--workdir={self.path} is the folder of a run, not of a search. "
                    "Choose another one."
                )
            return
        there = self._read_flags(type(options))
        difference = options.difference(there)
        if difference:
            parts = [_describe(name, *pair) for name, pair in difference.items()]
            raise ConfigError(
                f"--workdir={self.path} has a search with other options: "
                f"{'; '.join(parts)}. Choose another folder or the same options."
            )

    def _read_flags(self, options: type[Options]) -> Options:
        try:
            there, facts = open_flagfile(self.flags, options)
        except DamagedError as error:
            raise ConfigError(
                f"{self.flags} {error}. Put it back or choose another folder."
            ) from error
        if facts is None:
            tell(
                f"{self.flags} has no seal, as of an earlier version or written by "
                "hand: it is taken as it stands"
            )
        return there

    def claim(self, options: Options) -> None:
        """Makes the folder and writes search.flags."""
        self.runs.mkdir(parents=True, exist_ok=True)
        if not self.flags.exists():
            with replacing(self.flags) as file:
                text = seals.seal_text(format_flags(options))
                file.write_text(text, encoding="utf-8")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second search out of the folder while the block runs.

        The lock goes with the process, however it ends.
        """
        lock = self.path / "lock"
        with locks.locked(lock) as taken:
            if not taken:
                raise ConfigError(
                    f"--workdir={self.path} is being searched by "
                    f"{locks.describe_holder(lock)}. Wait for its end or choose "
                    "another folder."
                )
            for folder in (self.path, *(self.path / self.project).glob("**/")):
                locks.remove_abandoned(folder)
            yield

    def trial(self, number: str) -> Path:
        """Folder of a trial's records."""
        return self.path / self.project / f"trial_{number}"

    def write_outcome(self, number: str, outcome: dict) -> None:
        """Keeps what a trial gave, or why it failed."""
        self.trial(number).mkdir(parents=True, exist_ok=True)
        with replacing(self.trial(number) / "outcome.json") as file:
            file.write_text(seals.seal_json(outcome), encoding="utf-8")

    def read_outcome(self, number: str) -> dict:
        """What was kept of a trial; empty if it has not ended."""
        path = self.trial(number) / "outcome.json"
        try:
            return seals.open_json(path.read_bytes())[0]
        except FileNotFoundError:
            return {}
        except DamagedError as error:
            tell(f"{path} {error}: the trial counts as unfinished")
            return {}

    def drop_checkpoints(self, run: str = "") -> None:
        """Removes the weights of the runs of a trial, or of all; records stay."""
        for file in self.runs.glob(f"{run or '*'}/seed*/checkpoints/*.npz"):
            file.unlink()

    def trials(self) -> list[Trial]:
        """Every trial that was begun, in this order."""
        found = []
        for file in sorted((self.path / self.project).glob("trial_*/trial.json")):
            state = _read_json(file)
            if not state:
                continue  # being written at this moment
            number = state["trial_id"]
            outcome = self.read_outcome(number)
            status = "running"
            if outcome:
                status = "failed" if outcome.get("reason") else "completed"
            steps = outcome.get("steps", 0)
            found.append(
                Trial(
                    number,
                    state["hyperparameters"]["values"],
                    status,
                    outcome.get("score"),
                    tuple(outcome.get("scores", ())),
                    outcome["step"] / steps if steps else 0.0,
                    outcome.get("seconds", 0.0),
                    outcome.get("run", ""),
                    outcome.get("reason", ""),
                    tuple(outcome.get("warnings", ())),
                )
            )
        return sorted(found, key=lambda trial: int(trial.id))


def rank(trials: list[Trial]) -> list[Trial]:
    """The completed ones, the best first.

    A trial that was trained longer stands before one that was cut short: their scores
    cannot be compared.
    """
    completed = [trial for trial in trials if trial.status == "completed"]
    return sorted(completed, key=lambda trial: (-trial.share, -trial.score))


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def _describe(name: str, now, then) -> str:
    if name != "tune":
        return f"--{name} is {format_value(now)}, there {format_value(then)}"
    added = [spec for spec in now if spec not in then]
    removed = [spec for spec in then if spec not in now]
    parts = [f"--tune={spec} is new" for spec in added]
    parts += [f"--tune={spec} is missing" for spec in removed]
    return "; ".join(parts) or "the --tune flags are in another order"
