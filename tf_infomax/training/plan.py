"""What a run would be, found out by a few of its steps: `--dry_run`."""

import resource
import sys
import time

import keras
import numpy as np
import tensorflow as tf

from tf_infomax.runtime.progress import format_duration
from tf_infomax.training.run import Run, describe_data

_SECONDS = 3.0  # of steps that are timed
_WARM = 2  # calls that are not: the first one compiles


class _Clock(keras.callbacks.Callback):
    """Ends `fit` when enough steps are timed."""

    def __init__(self):
        super().__init__()
        self.times: list[float] = []

    def on_train_batch_end(self, batch, logs=None):
        self.times.append(time.monotonic())
        timed = len(self.times) - _WARM
        if timed > 1 and self.times[-1] - self.times[_WARM - 1] > _SECONDS:
            self.model.stop_training = True

    @property
    def seconds(self) -> float | None:
        """Of a call; None if there were too few."""
        timed = np.diff(self.times[_WARM - 1 :])
        return float(np.median(timed)) if len(timed) else None


def describe_plan(run: Run) -> list[tuple[str, str]]:
    """(what, how much) of a run: weights, steps, time, memory. Trains a few steps.

    Nothing of it is kept; the run is not to be used for anything else.
    """
    config, objective = run.config, run.objective
    rows = [
        (f"trained weights of {role}", f"{_count_trained(network):,}")
        for role, network in objective.networks.items()
    ]
    rows += [
        ("data", describe_data(run.data)),
        ("code", f"{objective.encoder.output['code'].shape[-1]} numbers"),
        (
            "steps",
            f"{run.steps:,} of {config.batch_size} images, {run.per_epoch:,} an epoch",
        ),
    ]
    if run.resumed:
        rows.append(("steps that are done", f"{run.step:,}"))
    if run.step == run.steps:
        return rows
    left = run.steps - run.step
    clock = _Clock()
    began = time.monotonic()
    run.fit([clock])
    rows.append(("until the first step is done", f"{clock.times[0] - began:.1f} s"))
    if clock.seconds:
        step = clock.seconds / config.steps_per_execution
        speed = config.batch_size / step
        rows += [
            ("step", f"{1000 * step:.1f} ms, {speed:,.0f} images/s"),
            ("training", f"{format_duration(step * left)}, without the probes"),
        ]
    return [*rows, ("most memory", _measure_memory())]


def _count_trained(network: keras.Model) -> int:
    return sum(int(np.prod(v.shape)) for v in network.trainable_variables)


def _measure_memory() -> str:
    """The peak of this process, and of each GPU."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    text = f"{peak / 2**20:,.0f} MiB"
    for number, device in enumerate(tf.config.list_logical_devices("GPU")):
        info = tf.config.experimental.get_memory_info(device.name)
        text += f", GPU {number} {info['peak'] / 2**20:,.0f} MiB"
    return text
