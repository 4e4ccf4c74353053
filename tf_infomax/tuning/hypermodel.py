"""The experiment as a Keras Tuner `HyperModel`: from values to a score."""

import hashlib
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import keras
import keras_tuner
import numpy as np
import tensorflow as tf

from tf_infomax.data.images import DataError
from tf_infomax.evaluation.health import describe_collapse, health_of
from tf_infomax.options import Config, ConfigError
from tf_infomax.runtime.progress import Progress
from tf_infomax.training import experiment
from tf_infomax.training.run import Run, TrainingError, fit_until_signal
from tf_infomax.training.workdir import WorkDirectory
from tf_infomax.tuning.space import Space

OBJECTIVE = keras_tuner.Objective("score", "max")


class Score(NamedTuple):
    """A row of `SCORES`.

    Attributes:
        words: for tables, figures and best.flags.
        online_probe: which one the runs compute; "none" needs no labels.
        value: from a row of metrics.jsonl and the size of the code.
    """

    words: str
    online_probe: str
    value: Callable[[Mapping, int], float]


SCORES = {
    "linear": Score(
        "validation accuracy of a linear probe",
        "linear",
        lambda row, size: row["probe/linear"],
    ),
    "knn": Score(
        "validation accuracy of 20 nearest neighbours",
        "knn",
        lambda row, size: row["probe/knn"],
    ),
    "effective_rank": Score(
        "effective rank of the validation codes / their size (a proxy)",
        "none",
        lambda row, size: row["health/effective_rank"] / size,
    ),
}


class Stopped(KeyboardInterrupt):
    """A signal has ended a trial; what it had is saved."""


@dataclass(frozen=True)
class Outcome:
    """What a trial gave.

    Attributes:
        score: mean over the seeds.
        scores: of each seed.
        step, steps: steps done, and those of a full trial.
        run: folder of the trial's runs.
        seconds: spent on it.
        warnings: signs of a collapse that the score does not share.
    """

    score: float
    scores: tuple[float, ...]
    step: int
    steps: int
    run: str
    seconds: float
    warnings: tuple[str, ...] = ()


class InfoMaxHyperModel(keras_tuner.HyperModel):
    """Deep InfoMax experiments for any tuner of Keras Tuner.

    `build` gives the compiled objective of a trial, `fit` trains it and returns its
    score: the accuracy of a probe on validation images (mean over seeds), or a proxy
    where there are no labels. The value of the bound is never the score: bounds of
    different kinds, batch sizes and critics cannot be compared, and InfoNCE is capped
    at log K. Test images are not looked at.

    Each seed of a trial is a run with a work directory of its own below `directory`,
    so that a trial that was interrupted, or that Hyperband promotes, goes on where it
    stood, optimizer and data order included.

        config = Config(dataset="fashion_m", critic_units=64, epochs=3)
        space = Space.parse(["learning_rate:log:1e-4..1e-2", "bound:info_nce,jsd"],
                            config)
        tuner = keras_tuner.RandomSearch(
            InfoMaxHyperModel(config, space, "search/runs"),
            objective=OBJECTIVE, max_trials=8, directory="search")
        tuner.search()

    Args:
        config: the options that all trials share, the length of a full trial included.
        space: what differs between them.
        directory: folder of the runs.
        score: a key of `SCORES`.
        seeds: runs per trial, of seeds `config.seed`, `config.seed + 1`, ...
        shown: where the progress of a trial appears.
        interrupted: whether to stop before the next run.
    """

    def __init__(
        self,
        config: Config,
        space: Space,
        directory: str | Path,
        score: str = "linear",
        seeds: int = 1,
        shown: Progress | None = None,
        interrupted: Callable[[], bool] = lambda: False,
    ):
        super().__init__(name="infomax")
        if score not in SCORES:
            raise ConfigError(
                f"score must be one of {', '.join(SCORES)}. Received: {score!r}."
            )
        config.require_length()
        self.config, self.space, self.directory = config, space, Path(directory)
        self.score, self.seeds = score, seeds
        self.shown = shown or Progress(1, style="none")
        self.interrupted = interrupted
        self._data: dict[tuple, experiment.Data] = {}

    def configure(self, values: Mapping, seed: int = 0) -> Config:
        """The options of a trial's run: those of its values and of this seed."""
        config = self.space.configure(values)
        return replace(
            config,
            seed=config.seed + seed,
            workdir="",
            online_probe=SCORES[self.score].online_probe,
            progress="none",
        )

    def load_data(self, config: Config) -> experiment.Data:
        """The images, read once for all trials that want them alike.

        Raises:
            ConfigError: if there is nothing to score on.
        """
        key = (config.image_size, config.resize)
        if key not in self._data:
            data = experiment.load_data(config)
            if data.watched[0] != "validation":
                raise ConfigError(
                    f"--validation_fraction={config.validation_fraction:g} of the "
                    f"{len(data.train)} training images leaves fewer than 2 to score "
                    "on."
                )
            labels_needed = SCORES[self.score].online_probe != "none"
            if labels_needed and data.online_train is None:
                flag = "eval_dataset" if config.eval_dataset else "dataset"
                raise ConfigError(
                    f"--score={self.score} needs labels of two classes to train and to "
                    f"score on, but --{flag}={getattr(config, flag)} has "
                    f"{data.unchosen}: give an --eval_dataset that has, or "
                    "--score=effective_rank, a proxy that knows of no task."
                )
            self._data[key] = data
        return self._data[key]

    def check(self) -> None:
        """Reads the data and complains of what would fail in every trial alike.

        Raises:
            ConfigError: with the complaint.
        """
        config = self.configure({})
        images = self.load_data(config).train
        searched = {each.name for each in self.space.parameters}
        if not searched & {"encoder", "image_size", "resize", "code_size"}:
            experiment.build_encoder(config, images.image_shape)
        if "batch_size" not in searched:
            experiment.count_steps(config, len(images))

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """The compiled objective with fresh weights of the first seed.

        Raises:
            keras_tuner.errors.FailedTrialError: if these values do not fit the data.
        """
        self.space.declare(hp)
        try:
            config = self.configure(hp.values)
            data = self.load_data(config)
            _, steps = experiment.count_steps(config, len(data.train))
            with experiment.prepare_machine(config).scope():
                return experiment.build_objective(
                    config, data.train.image_shape, steps, len(data.train)
                )
        except (ConfigError, DataError) as error:
            raise keras_tuner.errors.FailedTrialError(str(error)) from error

    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: keras.Model,
        epochs: int | None = None,
        initial_epoch: int = 0,
        callbacks=(),
        verbose=0,
        **unknown,
    ) -> dict[str, float]:
        """Trains for `epochs` passes over the data (default: a full trial), scores.

        Args:
            hp, model: as Keras Tuner passes them.
            epochs: where to stop, as Hyperband asks.
            initial_epoch: unused: a run knows where it stands.
            callbacks: called in the runs of every seed.
            verbose: unused: progress appears in `shown`.
            unknown: refused; the data are those of the configuration.

        Returns:
            `{"score": mean over the seeds}`.

        Raises:
            keras_tuner.errors.FailedTrialError: with the reason: a loss that is no
                longer finite, a collapse, too little memory.
        """
        if unknown:
            raise keras_tuner.errors.FatalTypeError(
                "search() takes no data or options of fit here: they belong to the "
                f"configuration. Received: {', '.join(unknown)}."
            )
        share = 1.0
        if epochs is not None:
            config = self.configure(hp.values)
            count = len(self.load_data(config).train)
            per_epoch, steps = experiment.count_steps(config, count)
            share = min(1.0, epochs * per_epoch / steps)
        return {"score": self.train(hp.values, share, model, callbacks).score}

    def train(
        self,
        values: Mapping,
        share: float = 1.0,
        model: keras.Model | None = None,
        callbacks=(),
    ) -> Outcome:
        """Trains the runs of a trial up to this share of a full trial and scores them.

        Args:
            values: as Keras Tuner keeps them.
            share: of the steps, in (0, 1].
            model: what `build` gave for them, if it was called.
            callbacks: called in every run.
        """
        began = time.monotonic()
        folder = self.folder(values)
        try:
            runs = []
            for seed in range(self.seeds):
                # Of the runs only their results are kept, or memory would grow.
                runs.append(
                    self._run_seed(values, seed, share, folder, model, callbacks)
                )
                model = None
        except (ConfigError, DataError, TrainingError) as error:
            raise keras_tuner.errors.FailedTrialError(str(error)) from error
        except (tf.errors.ResourceExhaustedError, MemoryError) as error:
            raise keras_tuner.errors.FailedTrialError("out of memory") from error
        scores, warnings, (step, *_), (steps, *_) = zip(*runs, strict=True)
        return Outcome(
            statistics.fmean(scores),
            scores,
            step,
            steps,
            folder.name,
            time.monotonic() - began,
            tuple(dict.fromkeys(each for signs in warnings for each in signs)),
        )

    def folder(self, values: Mapping) -> Path:
        """Where the runs of these values lie, at whatever rung of Hyperband."""
        bracket = values.get("tuner/bracket", "")
        text = repr((sorted(self.space.active(values).items()), bracket))
        return self.directory / hashlib.sha256(text.encode()).hexdigest()[:10]

    def _run_seed(self, values, seed, share, folder, model, callbacks):
        """(score, warnings, steps done, steps of a full trial) of one run."""
        config = self.configure(values, seed)
        data = self.load_data(config)
        workdir = WorkDirectory(str(folder / f"seed{config.seed}"))
        workdir.path.mkdir(parents=True, exist_ok=True)
        # Two trials of the same values are one run: the second finds it done.
        with workdir.held(wait=True):
            return self._train_run(config, workdir, share, data, model, callbacks)

    def _train_run(self, config, workdir, share, data, model, callbacks):
        workdir.check(config)
        run = Run(config, workdir, data, model)
        workdir.claim(config)
        execution = config.steps_per_execution
        calls = math.ceil(share * run.steps / execution - 1e-9)
        run.until = min(max(1, calls) * execution, run.steps)
        try:
            if not self.interrupted():
                fit_until_signal(run, self.shown, [*callbacks])
        finally:
            # Whatever went wrong on the way out is no failure of the trial.
            if run.stopped or self.interrupted():
                raise Stopped
        row = next((row for row in run.rows if row["step"] == run.until), None)
        if row is None:
            raise TrainingError(f"{workdir.path} has no score at step {run.until}.")
        return *self._score(row, run), run.until, run.steps

    def _score(self, row: dict, run: Run) -> tuple[float, list[str]]:
        """The score and signs of a collapse.

        Raises:
            keras_tuner.errors.FailedTrialError: if it has collapsed: there are signs,
                and a probe, if there is one, does no better than the same answer
                everywhere.
        """
        code_size = run.objective.encoder.output["code"].shape[-1]
        score = SCORES[self.score].value(row, code_size)
        signs = describe_collapse(health_of(row), code_size)
        trivial = math.inf
        if SCORES[self.score].online_probe != "none":
            labels = run.data.online_test.labelled_part().labels
            trivial = np.unique(labels, return_counts=True)[1].max() / len(labels)
        if signs and score <= trivial:
            raise keras_tuner.errors.FailedTrialError(f"collapsed: {'; '.join(signs)}")
        return score, signs
