"""Several machines train as one, on the collectives of TensorFlow.

Keras' own loop does not do this; here it is written out. Every process has the same
weights and its part of each batch, and all decide alike: a signal that one has got ends
the training of all at the same step. The chief alone evaluates and writes.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import keras
import numpy as np
import tensorflow as tf

from tf_infomax.objectives.replicas import sum_up

_GONE = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
    tf.errors.CancelledError,
)
_WORDS = 4096  # bytes of the state that the chief tells


class LostWorkerError(RuntimeError):
    """A process of the cluster does not answer any more."""

    exit_status = 1


def fit(
    run,
    batches: tf.data.Dataset,
    first_epoch: int,
    epochs: int,
    steps_per_epoch: int,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """What Keras' `fit` does, in step with the other processes.

    Args:
        run: the run; `run.asked_to_stop` is the name of a signal that has come.
        batches: of this process' part.
        first_epoch, epochs, steps_per_epoch: as of `fit`.
        callbacks: as of `fit`.
    """
    objective = run.objective
    hooks = keras.callbacks.CallbackList(callbacks, model=objective)
    step = _compile(run)
    rows = iter(batches)
    objective.stop_training = False
    hooks.on_train_begin()
    for epoch in range(first_epoch, epochs):
        objective.reset_metrics()
        hooks.on_epoch_begin(epoch)
        logs = {}
        for number in range(steps_per_epoch):
            hooks.on_train_batch_begin(number)
            asked = tf.constant(1.0 if run.asked_to_stop else 0.0)
            logs, stop = step(next(rows), asked)
            if float(stop):
                run.stopped = run.asked_to_stop or "a signal to another worker"
            hooks.on_train_batch_end(number, logs)
            if objective.stop_training:
                break
        hooks.on_epoch_end(epoch, {n: float(value) for n, value in logs.items()})
        if objective.stop_training:
            break
    hooks.on_train_end()


def _compile(run):
    """A step of all: (batch, whether to stop) -> what is reported, whether to stop."""
    strategy, objective = run.strategy, run.objective

    def step(batch, asked):
        logs = objective.train_step(batch)
        return logs, sum_up(asked)

    @tf.function(autograph=False)
    def together(batch, asked):
        logs, stop = strategy.run(step, (batch, asked))
        first = lambda value: strategy.experimental_local_results(value)[0]
        return {name: first(value) for name, value in logs.items()}, first(stop)

    return together


@contextmanager
def watching() -> Iterator[None]:
    """Says what to do if another process has gone.

    Raises:
        LostWorkerError: instead of what TensorFlow raises then.
    """
    try:
        yield
    except _GONE as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise LostWorkerError(
            f"another worker does not answer ({lines[0][-160:]}). Start all of them "
            "again: the run continues from its last checkpoint."
        ) from error


def sum_over(run, tensors: Iterable[np.ndarray]) -> list[np.ndarray]:
    """The sums over all processes; all have to call this at the same moment."""

    @tf.function(autograph=False)
    def add(tensors):
        found = run.strategy.run(lambda: [sum_up(each) for each in tensors])
        return [run.strategy.experimental_local_results(each)[0] for each in found]

    return [each.numpy() for each in add([tf.constant(t) for t in tensors])]


class Held:
    """A value in the place of a variable that is not to be assigned yet."""

    def __init__(self, variable):
        self.shape, self.dtype, self.value = variable.shape, variable.dtype, None

    def assign(self, value: np.ndarray) -> None:
        """Keeps it."""
        self.value = value


def follow_chief(run) -> None:
    """Step, state and variables of the chief, for all."""
    told = json.dumps({"step": run.step, "state": run.state}).encode()
    words = np.frombuffer(told.ljust(_WORDS), np.uint8).astype(np.int64)
    held = [each.value for each in run.loaded.values()]
    values = held or [run.read(variable) for variable in run.variables.values()]
    values = [_widen(value) for value in values]
    if not run.place.chief:
        words, values = np.zeros_like(words), [np.zeros_like(v) for v in values]
    words, *values = sum_over(run, [words, *values])
    found = json.loads(words.astype(np.uint8).tobytes())
    run.step = found["step"]
    run.state |= found["state"]
    for variable, value in zip(run.variables.values(), values, strict=True):
        run.assign(variable, value)
    run.loaded = {}


def _widen(value: np.ndarray) -> np.ndarray:
    """In a type that can be summed, and holds it."""
    return value.astype(np.float64 if value.dtype.kind in "fV" else np.int64)


def wait_for_all(run) -> None:
    """Returns when every process has come here."""
    sum_over(run, [np.zeros(1)])
