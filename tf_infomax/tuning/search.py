"""Keras Tuner's oracles and tuner, made to survive a kill and to name failures."""

import contextlib
import json
import random
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import keras
import keras_tuner

from tf_infomax.runtime.errors import describe_error
from tf_infomax.runtime.files import replacing
from tf_infomax.runtime.progress import tell
from tf_infomax.runtime.signals import first_signal
from tf_infomax.tuning.board import Board
from tf_infomax.tuning.folder import SearchFolder
from tf_infomax.tuning.hypermodel import (
    OBJECTIVE,
    SCORES,
    InfoMaxHyperModel,
    Stopped,
)
from tf_infomax.tuning.options import TuneOptions
from tf_infomax.tuning.workers import role

_ATTEMPTS = 3  # after so many processes have died in a trial it counts as failed
_NO_LIMIT = 10**9


class Lasting:
    """Mixin of an oracle: a first trial, an end, files whole at any moment.

    The first trial has the values of the base configuration, if those are in the space:
    a search should not end below what it set out from. Where the settings can be
    counted none is tried twice, and the search ends with the last one. Keras Tuner
    writes its files in place, reloads nothing when it was killed before the first
    trial's end, and forgets a trial that was begun but not yet entered.
    """

    first: dict | None = None
    points: list[dict] | None = None  # all settings, where they can be counted
    active: Callable = dict  # of values, those that have an effect
    exhausted = False
    minutes = 0.0
    spent = 0.0  # seconds of earlier starts
    began = 0.0

    def limit(self, trials: int, minutes: float) -> None:
        """No trial is begun after so many trials or minutes (0: no limit)."""
        self.max_trials, self.minutes = trials or None, minutes
        self.began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Spent in the search, over all starts."""
        return self.spent + time.monotonic() - self.began

    def populate_space(self, trial_id):
        if self.minutes and self.seconds >= 60 * self.minutes:
            return {"status": "STOPPED"}
        response = super().populate_space(trial_id)
        if not self.trials and self.first and response.get("values"):
            own = {k: v for k, v in response["values"].items() if "/" in k}
            response["values"] = self.first | own
        return response if self.points is None else self._spare_repetition(response)

    def _spare_repetition(self, response: dict) -> dict:
        """The same, or a setting not tried yet in place of one that was."""
        tried = [self.active(t.hyperparameters.values) for t in self.trials.values()]
        values = response.get("values")
        if values and self.active(values) not in tried:
            return response
        left = [point for point in self.points if self.active(point) not in tried]
        if not left:
            self.exhausted = True
            return {"status": "STOPPED"}
        chosen = random.Random(f"{self.seed} {len(tried)}").choice(left)
        return {"status": "RUNNING", "values": chosen}

    def get_state(self):
        return {**super().get_state(), "seconds": self.seconds}

    def set_state(self, state):
        super().set_state(state)
        self.spent = state["seconds"]

    def save(self):
        with replacing(Path(self._get_oracle_fname())) as file:
            file.write_text(json.dumps(self.get_state()), encoding="utf-8")

    def _save_trial(self, trial):
        folder = Path(self._get_trial_dir(trial.trial_id))
        with replacing(folder / "trial.json") as file:
            file.write_text(json.dumps(trial.get_state()), encoding="utf-8")

    def resume(self) -> None:
        """Takes up what is on record; trials that were under way run again."""
        if not Path(self._get_oracle_fname()).exists():
            return
        self.reload()
        known = {*self._retry_queue, *self.end_order}
        self._retry_queue += [name for name in self.trials if name not in known]


class RandomOracle(Lasting, keras_tuner.oracles.RandomSearchOracle):
    """Values drawn independently."""


class BayesianOracle(Lasting, keras_tuner.oracles.BayesianOptimizationOracle):
    """Values by a Gaussian process of the scores so far."""


class HyperbandOracle(Lasting, keras_tuner.oracles.HyperbandOracle):
    """Many short trials, of which the best are trained on."""


def make_random(options: TuneOptions) -> Lasting:
    """Random search."""
    return RandomOracle(**_common(options))


def make_bayesian(options: TuneOptions) -> Lasting:
    """Bayesian optimization; a third of the trials, at most 3 per parameter, is random.

    Keras Tuner's default of 3 per parameter leaves nothing but random trials to a
    search of a dozen.
    """
    most = 3 * len(options.space.parameters)
    first = min(most, max(2, options.max_trials // 3)) if options.max_trials else most
    return BayesianOracle(num_initial_points=first, **_common(options))


def make_hyperband(options: TuneOptions) -> Lasting:
    """Hyperband; its "epochs" are units of which the shortest rung is one."""
    return HyperbandOracle(
        max_epochs=options.hyperband_factor ** (options.hyperband_rungs - 1),
        factor=options.hyperband_factor,
        hyperband_iterations=options.hyperband_iterations,
        **_common(options),
    )


TUNERS: dict[str, Callable[..., Lasting]] = {
    "random": make_random,
    "bayesian": make_bayesian,
    "hyperband": make_hyperband,
}


def _common(options: TuneOptions) -> dict:
    hyperparameters = keras_tuner.HyperParameters()
    options.space.declare(hyperparameters)
    return dict(
        objective=OBJECTIVE,
        hyperparameters=hyperparameters,
        seed=options.seed + 1,  # 0 would be taken for "any"
        max_consecutive_failed_trials=_NO_LIMIT,
    )


class InfoMaxTuner(keras_tuner.Tuner):
    """Runs the trials of an oracle; each leaves an outcome or a reason.

    Args:
        oracle: of `TUNERS`.
        hypermodel: what a trial is.
        folder: where everything lies.
        units: Hyperband's "epochs" of a full trial.
        keep: whether the checkpoints of a trial stay when it has ended.
        watch: called when a trial begins and when it ends.
    """

    def __init__(
        self,
        oracle: Lasting,
        hypermodel: InfoMaxHyperModel,
        folder: SearchFolder,
        units: int = 1,
        keep: bool = True,
        watch: Callable[[], None] = lambda: None,
    ):
        self.folder, self.units, self.keep, self.watch = folder, units, keep, watch
        super().__init__(
            oracle=oracle,
            hypermodel=hypermodel,
            directory=str(folder.path),
            project_name=folder.project,
        )
        if not self._is_worker():
            self.oracle.resume()

    def _populate_initial_space(self):
        """The oracle has the whole space already."""

    def save(self):
        """The oracle's state is all there is, and a worker has none."""
        if not self._is_worker():
            self.oracle.save()

    def pre_create_trial(self):
        """An idle worker asks again at once; once in a while is enough."""
        if self.hypermodel.interrupted():
            raise Stopped
        time.sleep(0.1)

    def on_trial_begin(self, trial):
        super().on_trial_begin(trial)
        self.watch()

    def on_trial_end(self, trial):
        super().on_trial_end(trial)
        self.watch()

    def run_trial(self, trial, **options):
        """The score of a trial that has one."""
        return {"score": self.outcome(trial)["score"]}

    def _try_run_and_update_trial(self, trial, **options):
        """Keras Tuner prints the traceback of every failure; these have a reason."""
        reason = self.outcome(trial).get("reason")
        if reason:
            trial.status, trial.message = "FAILED", reason
        else:
            super()._try_run_and_update_trial(trial, **options)

    def outcome(self, trial) -> dict:
        """Trains and scores a trial, unless that was done before.

        Returns:
            What `Outcome` holds, or the `reason` why there is none; it is on record.
        """
        outcome = self.folder.read_outcome(trial.trial_id)
        if not outcome:
            outcome = self._run(trial)
            self.folder.write_outcome(trial.trial_id, outcome)
            if not self.keep and outcome.get("run"):
                self.folder.drop_checkpoints(outcome["run"])
        return outcome

    def _run(self, trial) -> dict:
        attempts = self._count_attempt(trial.trial_id, 1)
        if attempts > _ATTEMPTS:
            return {"reason": f"{_ATTEMPTS} processes died in this trial"}
        keras.backend.clear_session()
        values = trial.hyperparameters.values
        share = values.get("tuner/epochs", self.units) / self.units
        began = time.monotonic()
        try:
            return asdict(self.hypermodel.train(values, share))
        except Stopped:
            self._count_attempt(trial.trial_id, -1)
            raise
        except Exception as error:
            failure = {"seconds": time.monotonic() - began}
            failure["run"] = self.hypermodel.folder(values).name
            if isinstance(error, keras_tuner.errors.FailedTrialError):
                return failure | {"reason": str(error)}
            reason = describe_error(error)
            return failure | {"reason": reason, "traceback": traceback.format_exc()}

    def _count_attempt(self, number: str, change: int) -> int:
        file = self.folder.trial(number) / "attempts"
        count = int(file.read_text()) if file.exists() else 0
        with replacing(file) as temporary:
            temporary.write_text(str(count + change), encoding="utf-8")
        return count + change


def run_search(options: TuneOptions, folder: SearchFolder) -> None:
    """Runs trials, or serves those who do, until the budget is spent.

    Args:
        options: of the search.
        folder: claimed and locked, unless this is a worker.

    Raises:
        KeyboardInterrupt: if a signal came; what was done is saved.
        ConfigError: if there is nothing to score on.
    """
    chief, worker = role() == "chief", role() == "worker"
    oracle = TUNERS[options.tuner](options)
    oracle.limit(options.max_trials, options.max_minutes)
    oracle.first = options.space.base_values()
    if options.tuner != "hyperband":  # which trains the same settings on
        oracle.points = options.space.list_points()
        oracle.active = options.space.active
    style = "lines" if worker else options.progress
    title = f"{folder.path}: {SCORES[options.score].words}"
    most, minutes = options.max_trials, options.max_minutes
    noted: list[str] = []
    with (
        # A chief waits in a loop that only an exception ends.
        contextlib.nullcontext() if chief else first_signal(noted.append),
        Board(folder, options.space, title, style, most, minutes) as board,
    ):
        hypermodel = InfoMaxHyperModel(
            options.config,
            options.space,
            folder.runs,
            options.score,
            options.executions,
            board,
            interrupted=lambda: bool(noted),
        )
        if not chief:
            hypermodel.check()
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
            with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
                # Keras Tuner prints, and its Gaussian process complains of few points.
                warnings.filterwarnings("ignore", module="sklearn")
                tuner.search(verbose=0)
        finally:
            stop.set()
            if chief:
                follower.join()
        board.refresh()
    if oracle.exhausted:
        count = len(oracle.points)
        tell(f"the space has {count} settings, and all of them are tried")
