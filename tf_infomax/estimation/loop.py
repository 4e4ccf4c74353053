"""The loop of training, compiled, and when it ends.

The pairs lie on the device, each call runs many steps with batches drawn there, and the
host looks in only to validate. The step with the best value on validation pairs is the
one that is kept.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import keras
import tensorflow as tf

from tf_infomax.estimation.options import TrainOptions
from tf_infomax.optimizers import FusedAdam


@dataclass
class Training:
    """A trained model and how it came about.

    Attributes:
        model: a `Model` or a `conditional.Conditional`, with the best weights.
        steps: done; best_step: the one that is kept; best: its value on validation
            pairs.
        stopped: why training ended: "patience", "max_steps" or "diverged".
        history: (step, value on the training batches, value on validation pairs).
    """

    model: object
    steps: int = 0
    best_step: int = 0
    best: float = -math.inf
    stopped: str = "max_steps"
    history: list[tuple[int, float, float]] = field(default_factory=list)


class Loop:
    """Steps of training, compiled once for pairs of any number.

    Args:
        variables: to train.
        loss: (x, y, key) of a batch -> (loss, value for the history); the key are two
            integers for further draws.
        pairs: x and y (or other tensors of as many rows each), of which the shapes of
            rows and the most that a batch can have are taken.
        options: see `TrainOptions`; of the seed nothing is kept.
    """

    def __init__(
        self,
        variables: list,
        loss: Callable,
        pairs: Sequence[tf.Tensor],
        options: TrainOptions,
    ):
        k = min(options.batch_size, len(pairs[0]))
        rate = options.learning_rate
        if options.schedule == "cosine":
            rate = keras.optimizers.schedules.CosineDecay(rate, options.max_steps)
        optimizer = FusedAdam(rate, weight_decay=options.weight_decay or None)
        optimizer.build(variables)
        self._of_optimizer = optimizer.variables
        self._start = [variable.numpy() for variable in optimizer.variables]

        def run_steps(first, count, seed, pairs):
            n = tf.shape(pairs[0])[0]
            per_round = n // k

            def draw_order(number):
                key = tf.stack([seed, number // per_round])
                return tf.random.experimental.stateless_shuffle(tf.range(n), key)

            total, order = tf.constant(0.0), draw_order(first)
            for number in tf.range(first, first + count):
                key, place = tf.stack([seed, number]), number % per_round
                # Folded: the order is drawn by such a key itself.
                key = tf.random.fold_in(key, 1, alg="philox")
                if place == 0:
                    order = draw_order(number)
                rows = tf.ensure_shape(order[place * k : (place + 1) * k], [k])
                batch = [tf.gather(side, rows) for side in pairs]
                with tf.GradientTape() as tape:
                    lost, value = loss(*batch, key)
                optimizer.apply(tape.gradient(lost, variables), variables)
                total += value
            return total / tf.cast(count, tf.float32)

        # Concrete: TensorFlow would warn of a function that is traced once per loop.
        number = tf.TensorSpec([], tf.int32)
        rows = [tf.TensorSpec([None, *side.shape[1:]], side.dtype) for side in pairs]
        compiled = tf.function(run_steps)
        self._run = compiled.get_concrete_function(number, number, number, rows)

    def restart(self) -> None:
        """Forgets what the optimizer has learned."""
        for variable, value in zip(self._of_optimizer, self._start, strict=True):
            variable.assign(value)

    def run(
        self, first: int, count: int, seed: int, pairs: Sequence[tf.Tensor]
    ) -> float:
        """So many steps from the one with this number; the mean value of the batches.

        Args:
            first: number of the first step, from 0.
            count: of steps.
            seed: of batches and further draws.
            pairs: of the shapes that were compiled for; each batch is a part of a
                random order of them, drawn anew after each round.
        """
        numbers = (tf.constant(number) for number in (first, count, seed))
        return float(self._run(*numbers, list(pairs)))


def climb(
    training: Training,
    loop: Loop,
    pairs: Sequence[tf.Tensor],
    criterion: Callable[[], float],
    options: TrainOptions,
) -> None:
    """Trains until `criterion` has not risen for a while; keeps the best weights.

    Args:
        training: whose model has `get_weights` and `set_weights`; is filled in.
        loop: of the same model, at its start.
        pairs: to train on, on the device.
        criterion: the value on validation pairs, with the weights of the moment.
        options: see `TrainOptions`.
    """
    shown = options.shown or (lambda steps: None)
    model = training.model
    best, kept, waited = criterion(), model.get_weights(), 0
    best = best if math.isfinite(best) else -math.inf
    while training.steps < options.max_steps:
        count = min(options.check_every, options.max_steps - training.steps)
        on_batches = loop.run(training.steps, count, options.seed, pairs)
        training.steps += count
        value = criterion()
        training.history.append((training.steps, on_batches, value))
        shown(training.steps)
        if not math.isfinite(on_batches):
            training.stopped = "diverged"
            break
        if value > best:
            best, kept, waited = value, model.get_weights(), 0
            training.best_step = training.steps
        elif (waited := waited + 1) >= options.patience:
            training.stopped = "patience"
            break
    training.best = best
    model.set_weights(kept)
