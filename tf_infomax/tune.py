"""Searches for good options: `python -m tf_infomax.tune --flagfile=configs/tune.flags`.

What is maximized is the accuracy of a probe on validation images, never the bound:
values of bounds of different kinds, batch sizes and critics cannot be compared, and
InfoNCE is capped at log K. The search ends with best.flags, which tf_infomax.train runs
as it is. A search that was interrupted, in whatever way, is continued by the same
command.
"""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tf_infomax import flags
from tf_infomax.config import Config, ConfigError, option, table_names
from tf_infomax.tuning.folder import SearchFolder
from tf_infomax.tuning.space import Space

_SEARCH = "Search"
_HYPERBAND = ("hyperband_factor", "hyperband_rungs", "hyperband_iterations")


@dataclass(frozen=True)
class TuneOptions(Config):
    """A search: the options that all trials share, and how to search the others.

    `--steps` or `--epochs` is the length of a full trial; `--workdir` the folder of the
    search; options of the evaluation are those of the final run (`--train_best`).
    """

    tune: tuple[str, ...] = option(
        (),
        _SEARCH,
        "An option to search, once for each: NAME:A,B,C; NAME:LOW..HIGH[/STEP]; "
        "NAME:log:LOW..HIGH; of names joined by +, for --augment; with a condition, "
        "NAME:VALUES@OTHER=VALUE,VALUE. The last one of a name counts; none: forget "
        "those before.",
        repeated=True,
    )
    tuner: str = option(
        "random",
        _SEARCH,
        "How values are chosen.",
        choices=table_names("tuning/search.py", "TUNERS"),
    )
    score: str = option(
        "linear",
        _SEARCH,
        "What is maximized: accuracy on validation images of a linear probe, or of 20 "
        "nearest neighbours (cheaper); without labels effective_rank (of the codes, by "
        "their size), a proxy that knows of no task (RankMe, Garrido et al. 2023).",
        choices=table_names("tuning/hypermodel.py", "SCORES"),
    )
    executions: int = option(
        1, _SEARCH, "Seeds per trial; its score is their mean.", low=1, high=100
    )
    max_trials: int = option(
        0, _SEARCH, "Trials in all; 0: no limit.", low=0, driver=True
    )
    max_minutes: float = option(
        0.0,
        _SEARCH,
        "No trial begins after so many minutes, over all starts; 0: no limit.",
        low=0.0,
        driver=True,
    )
    hyperband_factor: int = option(
        3, _SEARCH, "Of so many trials hyperband trains one on.", low=2, high=10
    )
    hyperband_rungs: int = option(
        3,
        _SEARCH,
        "Lengths of trials; the shortest is steps / factor^(rungs - 1).",
        low=2,
        high=10,
    )
    hyperband_iterations: int = option(
        1, _SEARCH, "Passes over all of hyperband's brackets.", low=1, high=1000
    )
    full_steps: int = option(
        0,
        _SEARCH,
        "Steps of a run with the best flags; 0: as in the search.",
        low=0,
        driver=True,
    )
    full_epochs: int = option(
        0, _SEARCH, "Or its epochs; 0: as in the search.", low=0, driver=True
    )
    train_best: bool = option(
        False,
        _SEARCH,
        "Then train with the best flags and evaluate on test images, which the search "
        "has not seen.",
        driver=True,
    )
    tuner_workers: int = option(
        0,
        _SEARCH,
        "Processes that run trials at the same time, with a chief; 0: this one.",
        low=0,
        high=256,
        driver=True,
    )
    keep_checkpoints: bool = option(
        False, _SEARCH, "Keep the checkpoints of the trials.", driver=True
    )

    def __post_init__(self):
        super().__post_init__()
        _ = self.space  # checked as a whole
        self.require_length()

        def refuse_if(condition: bool, message: str) -> None:
            if condition:
                raise ConfigError(message)

        refuse_if(
            not self.max_trials and not self.max_minutes and self.tuner != "hyperband",
            "give the budget of the search: --max_trials or --max_minutes, above 0.",
        )
        for name in _HYPERBAND:
            default = self.__dataclass_fields__[name].default
            refuse_if(
                self.tuner != "hyperband" and getattr(self, name) != default,
                f"--{name} belongs to --tuner=hyperband. Received: {self.tuner}.",
            )
        refuse_if(
            self.validation_fraction == 0,
            "--validation_fraction must be above 0 in a search: trials are scored on "
            "validation images.",
        )
        refuse_if(
            self.full_steps > 0 and self.full_epochs > 0,
            "give --full_steps or --full_epochs, not both. Received: "
            f"{self.full_steps} and {self.full_epochs}.",
        )
        refuse_if(
            self.strategy != "none",
            "a search does not take --strategy: give each of --tuner_workers a GPU.",
        )

    @cached_property
    def config(self) -> Config:
        """What all trials share."""
        names = [each.name for each in dataclasses.fields(Config)]
        return Config(**{name: getattr(self, name) for name in names})

    @cached_property
    def space(self) -> Space:
        """What differs between trials."""
        return Space.parse(self.tune, self.config)

    @property
    def full_length(self) -> dict[str, int]:
        """`steps` or `epochs` of a run with the best flags, if it is another."""
        given = {"steps": self.full_steps, "epochs": self.full_epochs}
        return {name: value for name, value in given.items() if value}


def __getattr__(name: str):
    """`tf_infomax.tune.InfoMaxHyperModel`, without loading it for the help."""
    if name != "InfoMaxHyperModel":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tf_infomax.tuning.hypermodel import InfoMaxHyperModel

    return InfoMaxHyperModel


def main(options: TuneOptions) -> int:
    """Searches, or continues the search, in `options.workdir`."""
    from tf_infomax.tuning.workers import command_line, end_with_parent, run_workers

    if not options.workdir:
        raise ConfigError("--workdir is needed: the folder of the search.")
    folder = SearchFolder(Path(options.workdir))
    folder.check(options)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if options.tuner_workers:
        if "KERASTUNER_ORACLE_IP" in os.environ:
            raise ConfigError(
                "--tuner_workers starts a chief and workers here, but "
                "KERASTUNER_ORACLE_IP says that this is one of them: use one way."
            )
        folder.claim(options)
        return run_workers(
            command_line(), options.tuner_workers, folder.path / "logs", _tell
        )
    end_with_parent()
    flags.load_tensorflow()

    from tf_infomax.tuning.search import role

    if role() == "worker":
        _search(options, folder)
        return 0
    folder.claim(options)
    with folder.locked():
        try:
            _search(options, folder)
        except KeyboardInterrupt:
            _tell(
                f"tf_infomax: stopped; {folder.path} holds what is done, the same "
                "command continues."
            )
            return 1
        _finish(options, folder)
    if not options.train_best:
        print(f"python -m tf_infomax.train --flagfile={folder.best}")
        return 0
    train = [sys.executable, "-m", "tf_infomax.train", f"--flagfile={folder.best}"]
    return subprocess.run(train).returncode


def _search(options: TuneOptions, folder: SearchFolder) -> None:
    """Runs trials, or serves those who do, until the budget is spent."""
    from tf_infomax.tuning.board import Board
    from tf_infomax.tuning.hypermodel import SCORES, InfoMaxHyperModel
    from tf_infomax.tuning.search import TUNERS, InfoMaxTuner, role

    chief, worker = role() == "chief", role() == "worker"
    oracle = TUNERS[options.tuner](options)
    oracle.limit(options.max_trials, options.max_minutes)
    style = "lines" if worker else options.progress
    title = f"{folder.path}: {SCORES[options.score]}"
    most, minutes = options.max_trials, options.max_minutes
    with Board(folder, options.space, title, style, most, minutes) as board:
        hypermodel = InfoMaxHyperModel(
            options.config,
            options.space,
            folder.runs,
            options.score,
            options.executions,
            board,
        )
        if not chief:
            hypermodel.load_data(hypermodel.configure({}))  # a complaint comes at once
        units = options.hyperband_factor ** (options.hyperband_rungs - 1)
        hyperband = options.tuner == "hyperband"
        tuner = InfoMaxTuner(
            oracle,
            hypermodel,
            folder,
            units if hyperband else 1,
            keep=hyperband or options.keep_checkpoints,
            watch=board.refresh,
        )
        stop = threading.Event()
        follower = threading.Thread(target=board.follow, args=[stop], daemon=True)
        if chief:
            follower.start()
        try:
            with contextlib.redirect_stdout(sys.stderr):  # Keras Tuner prints
                tuner.search(verbose=0)
        finally:
            stop.set()
            if chief:
                follower.join()
        board.refresh()


def _finish(options: TuneOptions, folder: SearchFolder) -> None:
    """Writes and prints the results."""
    from tf_infomax.tuning.hypermodel import SCORES
    from tf_infomax.tuning.results import write_results

    if not options.keep_checkpoints:
        folder.drop_checkpoints()
    score = SCORES[options.score]
    best = write_results(folder, options.space, score, options.full_length)
    print(f"trial {best.id} is the best: {folder.best}")


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    flags.run(main, "tf_infomax.tune", __doc__, TuneOptions)
