"""Training a run: Keras `fit`, resumable at any step, watched and reported."""

import math
import time
from collections.abc import Iterator, Sequence
from functools import cached_property, partial

import keras
import numpy as np
import tensorflow as tf

from tf_infomax.data.batches import draw_batches, make_batches, make_fixed_batches
from tf_infomax.data.division import name_some
from tf_infomax.data.files import count_others
from tf_infomax.data.images import ImageSet
from tf_infomax.evaluation.features import FeatureExtractor
from tf_infomax.evaluation.health import describe_collapse, measure_health
from tf_infomax.evaluation.probes import score_online
from tf_infomax.objectives import Objective
from tf_infomax.options import Config, ConfigError
from tf_infomax.runtime.cluster import Place, read_place
from tf_infomax.runtime.progress import Progress, format_left, tell
from tf_infomax.runtime.signals import first_signal
from tf_infomax.training import experiment, together
from tf_infomax.training.checkpoints import DamagedCheckpointError, save_checkpoint
from tf_infomax.training.workdir import CHECKPOINTS, WorkDirectory

_HEALTH_IMAGES = 2000
_LASTING = 2  # epochs in a row that look collapsed
_DETOURS = 3  # times that a run goes back and takes its images in another order
_LOOKED = 5.0  # seconds between two looks for numbers that are not finite
_NAMED = 4  # images of a step that are named
_TOLERATED = 20  # steps that are skipped, before half of all of them are too many
_ONLINE_IMAGES = 5000  # labelled training images of the online probe


class TrainingError(RuntimeError):
    """A run that failed: what happened, what was saved, how to go on."""

    exit_status = 1


def describe_data(data: experiment.Data) -> str:
    """One line: how many images of what size, how many are skipped, labels or not."""
    train = data.train
    height, width, channels = train.image_shape
    held_out = 0 if data.validation is None else len(data.validation)
    text = (
        f"{len(train)} training images of {height} x {width} x {channels}, {held_out} "
        f"for validation, {len(data.test)} for the test, "
        f"{data.labels}"
    )
    if train.skipped:
        shown = ", ".join(f"{name} ({why})" for name, why in train.skipped[:3])
        more = ", ... (skipped.csv)" if len(train.skipped) > 3 else ""
        text += f"; skipped {len(train.skipped)} files: {shown}{more}"
    return text + count_others(train.others)


def _explain_no_best(config: Config, data: experiment.Data) -> str:
    """Why no best checkpoint can be chosen; empty if one can."""
    if config.best == "probe":
        return "--online_probe=none" if config.online_probe == "none" else data.unchosen
    held_out = 0 if data.validation is None else len(data.validation)
    if held_out < config.batch_size:
        return (
            f"{held_out} validation images are less than a batch "
            "(--validation_fraction, --batch_size)"
        )
    return ""


def describe_limits(config: Config, data: experiment.Data) -> list[str]:
    """What the data do not allow, and what is to be known of them, a line each."""
    lines = list(data.notes)
    if data.left_out:
        lines.append(f"too rare for the probes, left out: {name_some(data.left_out)}")
    if data.unchosen and config.online_probe != "none":
        best = ", nor a best checkpoint (--best=probe)" * (config.best == "probe")
        lines.append(f"no online probe{best}: {data.unchosen}")
    return lines


def _require_choice(config: Config, data: experiment.Data) -> None:
    """Refuses a best checkpoint that is asked for and that nothing can choose."""
    asked = config.checkpoint == "best" or config.best == "bound"
    if asked and (why := _explain_no_best(config, data)):
        flags = f"--best={config.best}"
        if config.checkpoint == "best":
            flags = f"--checkpoint=best, {flags}"
        raise ConfigError(f"{flags}: there is nothing to choose by: {why}.")


def _accuracy_error(accuracy: float, count: int) -> float:
    """Standard error of an accuracy on `count` examples.

    The deviation of Beta(right + 1, wrong + 1), the posterior under a uniform prior:
    unlike sqrt(p (1 - p) / n) it is not 0 where all examples happen to be right.
    """
    share = (accuracy * count + 1) / (count + 2)
    return math.sqrt(share * (1 - share) / (count + 3))


def segments(step: int, per_epoch: int, steps: int) -> Iterator[tuple[int, int, int]]:
    """Divides the steps left into calls of fit: (first, last, steps per epoch).

    One call takes all whole epochs; what is left of an epoch that was interrupted, and
    an incomplete last one, are calls of their own.
    """
    while step < steps:
        whole = (steps - step) // per_epoch
        if step % per_epoch == 0 and whole:
            last, length = step + whole * per_epoch, per_epoch
        else:
            last = min(steps, (step // per_epoch + 1) * per_epoch)
            length = last - step
        yield step, last, length
        step = last


class Run:
    """One run in its work directory: objective, data, state, and the loop.

    Attributes:
        step: steps done.
        fit_end: steps after which the present call of `fit` ends.
        until: steps after which `train` ends; below `steps` for a part of the run.
        state: what a checkpoint keeps beside the variables: `best` (value of the best
            checkpoint so far), `seconds` (spent in training so far), `detours` (how
            often it has gone back and changed the order of its images) and `skipped`
            (how many steps have left the weights as they were).
        fault: what was not finite, of a run that has to go back; or "".
        stopped: the name of the signal that ended training, or "".
        asked_to_stop: of the one that has come, before all workers know of it.
        place: which of several workers this is.
        loaded: what the chief of several has read, by the names of `variables`, until
            all of them assign it.

    Args:
        config, workdir, data: of the run.
        objective: as `experiment.build_objective` gives it, if that was done before.
        checkpoint: to restore; "": the last, or the best if that cannot be used, and
            none if there is none.
    """

    def __init__(
        self,
        config: Config,
        workdir: WorkDirectory,
        data: experiment.Data,
        objective: Objective | None = None,
        checkpoint: str = "",
    ):
        config = workdir.localize(config)
        _require_choice(config, data)
        self.config, self.workdir, self.data = config, workdir, data
        self.strategy = experiment.prepare_machine(config)
        several = config.strategy == "multi_worker"
        self.place = read_place() if several else Place()
        self.per_epoch, self.steps = experiment.count_steps(config, len(data.train))
        with self.strategy.scope():
            self.objective = objective or experiment.build_objective(
                config,
                data.train.image_shape,
                self.steps,
                len(data.train),
                data.train.classes,
            )
        self._require_labels()
        self.objective.shares_values = self.place.count > 1
        self.until = self.steps
        self.variables = self.objective.state()
        self.state = {"best": None, "seconds": 0.0, "detours": 0, "skipped": 0}
        self.step, self.fit_end, self.stopped, self.fault = 0, 0, "", ""
        self.asked_to_stop, self.loaded = "", {}
        self.rows: list[dict] = []
        self.resumed = self._resume([checkpoint] if checkpoint else CHECKPOINTS)
        if self.place.count > 1:
            together.follow_chief(self)
        if self.step > self.steps:
            raise ConfigError(
                f"a length of {self.steps} steps: the run in {workdir.path} has done "
                f"{self.step} already. Give as many at least (--steps, --epochs), or "
                "choose another --workdir."
            )

    def _resume(self, checkpoints: Sequence[str]) -> bool:
        """Restores the first checkpoint that can be used; False if there is none."""
        there = [c for c in checkpoints if self.workdir.checkpoint(c).exists()]
        complaint = "" if there[:1] == [*checkpoints][:1] else "there is no last.npz"
        for which in there:
            try:
                self.restore(which)
            except DamagedCheckpointError as error:
                if which == there[-1]:
                    raise
                complaint = str(error)
                continue
            if complaint:
                tell(f"{complaint}: continues from {self.workdir.checkpoint(which)}")
            return True
        return False

    @cached_property
    def training_labels(self) -> np.ndarray | None:
        """Those of `labels_of` that training may see."""
        config, train = self.config, self.data.train
        if self.labels_of(train) is None or config.label_fraction == 1.0:
            return self.labels_of(train)
        return train.keep_labels(config.label_fraction, config.seed)

    def labels_of(self, part: ImageSet) -> np.ndarray | None:
        """The labels of a part, if the objective asks for labels."""
        return part.labels if "label" in self.objective.asks else None

    def _require_labels(self) -> None:
        """Refuses test or validation images without the labels that are asked for."""
        if "label" not in self.objective.asks:
            return
        for name, part in (("test", self.data.test), ("training", self.data.train)):
            if part.labels is None:
                raise ConfigError(
                    f"--objective={self.config.objective} needs labels, and the {name} "
                    f"images of --dataset={self.config.dataset} have none."
                )

    @property
    def metric_variables(self) -> list:
        return [v for metric in self.objective.metrics for v in metric.variables]

    def save(self, which: str) -> None:
        """Writes a checkpoint of this moment, unless a weight is not finite."""
        values = {n: self.read(variable) for n, variable in self.variables.items()}
        for name, value in values.items():
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                self._meet_fault(f"{name} is no longer finite by step {self.step}")
                return
        if not self.place.chief:
            return
        state = {
            **self.workdir.options.describe(),
            **self.state,
            "checkpoint": which,
            "rows": self.rows,
            "step": self.step,
            "steps": self.steps,
            "image_shape": self.data.train.image_shape,
            "images": len(self.data.train),
            "classes": self.data.train.classes,
            "data": self.data.fingerprints,
        }
        save_checkpoint(self.workdir.checkpoint(which), values, state)

    def read(self, variable) -> np.ndarray:
        """The value of a variable, without asking other workers for theirs."""
        if not self._is_shared(variable):
            return np.asarray(variable)
        return self.strategy.experimental_local_results(variable.value)[0].numpy()

    def assign(self, variable, value: np.ndarray) -> None:
        """Makes this the value that `read` gives, on every worker."""
        shared = self._is_shared(variable)
        scale = self.strategy.num_replicas_in_sync if shared else 1
        variable.assign(tf.cast(scale * value, variable.dtype))

    def _is_shared(self, variable) -> bool:
        """Whether its value is the sum of those of all workers: a running mean's."""
        raw = getattr(variable, "value", variable)
        on_read = tf.VariableSynchronization.ON_READ
        shared = getattr(raw, "synchronization", None) == on_read
        return shared and self.place.count > 1

    def restore(self, which: str) -> None:
        """Back to the moment of a checkpoint."""
        if self.place.count == 1:
            state = self.workdir.load(which, self.variables)
        else:  # all workers have to assign at the same moment: `follow_chief`
            self.loaded = {n: together.Held(v) for n, v in self.variables.items()}
            state = self.workdir.load(which, self.loaded)
        self._compare_data(state.pop("data"))
        self.step = state.pop("step")
        self.state |= {name: state[name] for name in self.state if name in state}
        rows = state["rows"] if "rows" in state else self.workdir.read_metrics()
        self.rows = [row for row in rows if row["step"] <= self.step]

    def _compare_data(self, then: dict[str, str] | str) -> None:
        """Refuses other images than the run has been trained and chosen on."""
        if isinstance(then, str):
            tell("the run is of an earlier version: its images cannot be compared")
            return
        now = self.data.fingerprints
        changed = [name for name in now if then.get(name) != now[name]]
        if set(changed) & {"training images", "validation images"}:
            raise ConfigError(
                f"the {' and '.join(changed)} of --dataset={self.config.dataset} have "
                f"changed since the run in {self.workdir.path} began. Choose another "
                "--workdir."
            )
        if changed:
            tell(f"the {' and '.join(changed)} have changed since the run began")

    def look_for_faults(self) -> bool:
        """Whether training cannot go on as it is.

        Raises:
            TrainingError: if it cannot go on at all.
        """
        faults = self.objective.faults
        first, count = int(faults.first.numpy()), int(faults.count.numpy())
        if first < 0:
            return bool(self.fault)
        faults.clear()
        what = f"the loss is no longer finite in step {first} ({self._name(first)})"
        if not self.objective.skip_faulty:
            self._meet_fault(what)
            return True
        self.state["skipped"] += count
        tell(
            f"warning: loss or gradient not finite in step {first} "
            f"({self._name(first)}): skipped, {self.state['skipped']} steps so far"
        )
        skipped = self.state["skipped"]
        if skipped > _TOLERATED and skipped > 0.5 * self.step:
            self._fail(f"{skipped} of {self.step} steps were not finite")
        return False

    def describe_faults(self) -> list[str]:
        """What was left out because it was not finite, in words; nothing if nothing."""
        skipped, detours = self.state["skipped"], self.state["detours"]
        found = []
        if skipped:
            found.append(f"{skipped} of {self.step} steps were not finite, and skipped")
        if detours:
            found.append(
                "training has gone back to a checkpoint, and on with the images in "
                f"another order, {detours} time{'s' * (detours > 1)}, because numbers "
                "were not finite"
            )
        return found

    def _name(self, step: int) -> str:
        """Which images a step has, in words."""
        train, config = self.data.train, self.config
        drawn = draw_batches(
            len(train), config.batch_size, step, step + 1, self.order, self.consecutive
        )
        ((_, rows),) = drawn.as_numpy_iterator()
        names = [train.names[k] if train.names else str(k) for k in rows[:_NAMED]]
        more = len(rows) - len(names)
        return f"training images {', '.join(names)} and {more} more"

    def _meet_fault(self, what: str) -> None:
        """Remembers to go back, or ends the run."""
        if self.config.on_nan != "restore":
            self._fail(what)
        self.fault = what

    def _fail(self, what: str) -> None:
        saved = self.workdir.checkpoint("last")
        kept = f"{saved} holds the state before" if saved.exists() else "nothing saved"
        raise TrainingError(
            f"{what}: {kept}. A new run with a lower --learning_rate or with "
            "--clip_norm may help; --on_nan=skip or restore goes on with this one."
        )

    def _go_back(self) -> None:
        """To the last checkpoint, from where images come in another order."""
        what, self.fault = self.fault, ""
        detours = self.state["detours"] + 1
        if detours > _DETOURS:
            self._fail(f"{what}, after {_DETOURS} other orders of the images")
        if not self.workdir.checkpoint("last").exists():
            self._fail(what)
        self.restore("last")
        self.state["detours"] = detours
        self.objective.faults.clear()
        tell(
            f"warning: {what}: back to step {self.step}, and on with the images in "
            f"another order ({detours} of at most {_DETOURS} times)"
        )

    @property
    def order(self) -> int:
        """The seed of which images stand in which batch."""
        return self.config.seed + 1_000_003 * self.state["detours"]

    @property
    def consecutive(self) -> bool:
        """Whether images that are neighbours share a batch."""
        return self.config.negatives == "shared_context"

    def fit(self, callbacks: list[keras.callbacks.Callback]) -> None:
        """Trains from the current step to `until`, or to a signal."""
        self._fit(callbacks)
        while self.fault:
            self._go_back()
            self._fit(callbacks)

    def _fit(self, callbacks: list[keras.callbacks.Callback]) -> None:
        """The same, or to a fault."""
        for first, last, length in segments(self.step, self.per_epoch, self.until):
            self.fit_end = last
            batches = make_batches(
                self.data.train.images,
                self.config.batch_size,
                first,
                last,
                self.order,
                self.config.views,
                self.config.augment,
                with_index="index" in self.objective.asks,
                labels=self.training_labels,
                consecutive=self.consecutive,
                part=self.place.part_of(self.config.batch_size),
            )
            epoch = first // self.per_epoch
            epochs = epoch + (last - first) // length
            if self.place.count > 1:
                together.fit(self, batches, epoch, epochs, length, callbacks)
                if self.stopped:
                    return
                continue
            self.objective.fit(
                batches,
                initial_epoch=epoch,
                epochs=epochs,
                steps_per_epoch=length,
                shuffle=False,
                verbose=0,
                callbacks=callbacks,
            )
            if self.stopped or self.fault:
                return


class Monitor(keras.callbacks.Callback):
    """At the end of an epoch: validation values, health, online probe, one row of all.

    What the terms have on training batches, with weights that change from one to the
    next, stands under their plain names; on validation images a value's kind stands
    before its name: `validation/mi/local`, `validation/score/local`. Rows go to
    metrics.jsonl and TensorBoard; a collapse is told in words.
    """

    def __init__(self, run: Run, shown: Progress):
        super().__init__()
        self.run, self.shown, self.tell = run, shown, shown.tell
        self.writer = tf.summary.create_file_writer(str(run.workdir.events))
        self.extract = FeatureExtractor(run.objective.encoder, ["code"])
        self.validation = self._make_validation()
        self.collapsed = 0  # epochs in a row

    def _make_validation(self):
        run, config = self.run, self.run.config
        held_out = run.data.validation
        if held_out is None or len(held_out) < config.batch_size:
            return None
        return make_fixed_batches(
            held_out.images,
            config.batch_size,
            config.views,
            config.augment,
            consecutive=run.consecutive,
            labels=run.labels_of(held_out),
        )

    def on_epoch_end(self, epoch, logs=None):
        run = self.run
        if run.step % run.per_epoch and run.step < run.until:
            return  # stopped by a signal within the epoch
        if run.look_for_faults():
            self.model.stop_training = True
            return
        if not run.place.chief:
            return
        row = {"epoch": epoch + 1, "step": run.step}
        row |= {name: float(value) for name, value in logs.items()}
        warnings: list[str] = []
        if self.validation is not None:
            values = self._evaluate()
            named = ("loss", *run.objective.values)
            values = {name: float(values[name]) for name in named}
            row |= {f"validation/{name}": value for name, value in values.items()}
            warnings += run.objective.describe_collapse(values)
        row |= self._look_at_codes(epoch, warnings)
        self._warn(warnings)
        row["seconds"] = round(run.state["seconds"], 2)
        run.rows.append(row)
        run.workdir.write_metrics(run.rows)
        with self.writer.as_default():
            for name, value in row.items():
                if name not in ("epoch", "step"):
                    tf.summary.scalar(name, value, step=run.step)
        self.writer.flush()
        self._save_best(row)
        run.save("last")
        if run.fault:  # a weight is not finite, though no loss was
            self.model.stop_training = True

    def _evaluate(self) -> dict:
        """Values on validation images; the running means of the epoch stay.

        A run that ends within an epoch may be continued.
        """
        if self.run.place.count > 1:
            return self._evaluate_alone()
        means = [variable.numpy() for variable in self.run.metric_variables]
        count = self.validation.cardinality().numpy()
        watch = keras.callbacks.LambdaCallback(
            on_test_batch_end=lambda batch, logs: self._show("batches", batch, count)
        )
        values = self.run.objective.evaluate(
            self.validation, verbose=0, return_dict=True, callbacks=[watch]
        )
        for variable, mean in zip(self.run.metric_variables, means, strict=True):
            variable.assign(mean)
        return values

    def _evaluate_alone(self) -> dict:
        """By this process, while the others wait at their next step."""
        measure = tf.function(self.run.objective.measure, autograph=False)
        rows = [measure(batch) for batch in self.validation]
        return {name: np.mean([float(row[name]) for row in rows]) for name in rows[0]}

    def _show(self, what: str, done: int, count: int) -> None:
        """How far the look at validation images is, if it takes long."""
        if self.shown.waited:
            self.shown.show(self.run.step, f"validation: {what} {done}/{count}")

    def _warn(self, warnings: list[str]) -> None:
        """Tells of a collapse that lasts: many begin with an epoch that looks like one.

        Once when it does, and at the end of training.
        """
        self.collapsed = self.collapsed + 1 if warnings else 0
        if self.collapsed == _LASTING or (warnings and self.run.step >= self.run.until):
            for warning in warnings:
                self.tell(f"warning: {warning}")

    def _look_at_codes(self, epoch: int, warnings: list[str]) -> dict:
        """Values for the row; adds to the warnings."""
        data, config = self.run.data, self.run.config
        _, watched = data.watched
        codes = self.extract(watched.images[:_HEALTH_IMAGES])["code"]
        health = measure_health(codes)
        warnings += describe_collapse(health, codes.shape[1])
        row = {f"health/{name}": value for name, value in health.items()}
        due = (epoch + 1) % config.probe_every == 0 or self.run.step == self.run.until
        if config.online_probe != "none" and due and data.online_train:
            train = data.online_train.labelled_part(_ONLINE_IMAGES)
            chosen = data.online_test.labelled_part()
            name, count = f"probe/{config.online_probe}", len(chosen)
            codes = [
                self.extract(p.images, partial(self._show, "images", count=len(p)))
                for p in (train, chosen)
            ]
            row[name] = score_online(
                config.online_probe,
                codes[0]["code"],
                train.labels,
                codes[1]["code"],
                chosen.labels,
            )
            row[f"{name}_se"] = _accuracy_error(row[name], count)
            row["probe/images"] = count
        return row

    def _save_best(self, row: dict) -> None:
        run, config = self.run, self.run.config
        if config.best == "probe":
            value = row.get(f"probe/{config.online_probe}")
        elif self.validation is not None:
            named = ("loss", *run.objective.values)
            value = run.objective.merit({n: row[f"validation/{n}"] for n in named})
        else:
            value = None
        if value is not None and (
            run.state["best"] is None or value > run.state["best"]
        ):
            run.state["best"] = value
            run.save("best")


class Keeper(keras.callbacks.Callback):
    """Counts steps and seconds, saves checkpoints, and stops on a signal."""

    def __init__(self, run: Run):
        super().__init__()
        self.run = run

    def on_train_begin(self, logs=None):
        run = self.run
        self.saved_at, self.metric_values = run.step, None
        if run.step % run.per_epoch:
            self.metric_values = [v.numpy() for v in run.metric_variables]
        self.clock = self.looked = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        if self.metric_values is not None:  # fit has just reset them
            for variable, value in zip(
                self.run.metric_variables, self.metric_values, strict=True
            ):
                variable.assign(value)
            self.metric_values = None
        self.clock = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        run, now = self.run, time.monotonic()
        run.step = min(run.step + run.config.steps_per_execution, run.fit_end)
        run.state["seconds"] += now - self.clock
        self.clock = now
        due = run.step - self.saved_at >= run.config.checkpoint_every
        saved = run.stopped or (due and run.step % run.per_epoch)
        if saved or now - self.looked >= _LOOKED:
            self.looked = now
            run.look_for_faults()
        if saved and not run.fault:
            run.save("last")
            self.saved_at = run.step
        if run.stopped or run.fault:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        self.saved_at = self.run.step


class Reporter(keras.callbacks.Callback):
    """Shows the progress of training: steps, images/s, time left, the bound."""

    def __init__(self, run: Run, shown: Progress):
        super().__init__()
        self.run, self.shown = run, shown
        self.first_step, self.first_seconds = run.step, run.state["seconds"]

    def describe(self, logs: dict) -> str:
        run = self.run
        done = run.step - self.first_step
        seconds = run.state["seconds"] - self.first_seconds
        parts = []
        if done and seconds:
            speed = done / seconds
            parts.append(f"{speed * run.config.batch_size:.0f} images/s")
            parts.append(format_left(run.until - run.step, speed) or "0:00 left")
        for name in run.objective.shown:
            if name in logs:
                parts.append(f"{name} {float(logs[name]):.3f}")
        return "  ".join(parts)

    def on_train_batch_end(self, batch, logs=None):
        if self.run.step < self.run.until and self.shown.due(self.run.step):
            self.shown.show(self.run.step, self.describe(logs))

    def on_epoch_end(self, epoch, logs=None):
        if self.run.step == self.run.until and self.shown.style != "none":
            self.shown.show(self.run.step, self.describe(logs))


def train(run: Run) -> None:
    """Trains to the end or to SIGINT / SIGTERM, whichever comes first.

    Raises:
        TrainingError: if the loss or a weight is no longer finite.
    """
    if run.resumed:
        run.workdir.restore_metrics(run.rows)
    if run.step < run.until:
        with Progress(run.until, run.step, run.config.progress, "step") as shown:
            if run.resumed:
                shown.tell(f"continues at step {run.step} of {run.steps}")
            fit_until_signal(run, shown)
    if not run.stopped:
        run.workdir.write_encoder(run.objective.encoder.save, run.step)


def fit_until_signal(
    run: Run, shown: Progress, callbacks: Sequence[keras.callbacks.Callback] = ()
) -> None:
    """Trains to `run.until` or to SIGINT / SIGTERM, which `run.stopped` then names.

    Args:
        run: the run; nothing is done if it is there already.
        shown: where progress appears.
        callbacks: called after the run's own.
    """
    if run.step >= run.until:
        return

    def stop(name: str) -> None:
        run.asked_to_stop = name
        if run.place.count == 1:
            run.stopped = name

    with first_signal(stop):
        own = [Keeper(run), Monitor(run, shown), Reporter(run, shown)]
        run.fit([*own, *callbacks])
