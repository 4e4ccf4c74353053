"""Critics trained on pairs, and the score matrix afterwards.

What is compiled is kept: the folds of an estimate, and later estimates of pairs of the
same columns with the same options, train with it again.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tf_infomax import bounds, critics
from tf_infomax.critics import Critic
from tf_infomax.estimation import values
from tf_infomax.estimation.loop import Loop, Training, climb
from tf_infomax.estimation.options import SHALLOW, Options, TrainOptions
from tf_infomax.estimation.values import Scores
from tf_infomax.runtime.seeds import seeded

_ROWS = 1024  # pairs that are embedded at a time
_MOST_SHAPES = 8  # of score matrices, for which the scores are kept compiled


class Model:
    """Encoders, critic, and what some objectives need beside it.

    Args:
        critic: scores of pairs.
        encoders: of x and y; None for the values as they are.
        baseline: log a(y), or None.
        log_inverse_ratio: u of [x, y], or None.
    """

    def __init__(
        self,
        critic: Critic,
        encoders: Iterable,
        baseline: keras.Model | None = None,
        log_inverse_ratio: keras.Model | None = None,
    ):
        self.critic, self.encoders = critic, tuple(encoders)
        self.baseline, self.log_inverse_ratio = baseline, log_inverse_ratio
        self._compiled: dict = {}  # scores, by the shapes of the embeddings

    @property
    def parts(self) -> list[keras.layers.Layer]:
        """Everything with weights."""
        parts = [*self.encoders, self.critic, self.baseline, self.log_inverse_ratio]
        return [part for part in parts if part is not None]

    @property
    def trainable_variables(self) -> list:
        return [v for part in self.parts for v in part.trainable_variables]

    @property
    def variables(self) -> list:
        return [v for part in self.parts for v in part.variables]

    def get_weights(self) -> list[np.ndarray]:
        return [v.numpy() for v in self.variables]

    def set_weights(self, weights: list[np.ndarray]) -> None:
        for variable, value in zip(self.variables, weights, strict=True):
            variable.assign(value)

    def encode(
        self, x: tf.Tensor, y: tf.Tensor, training: bool = False
    ) -> list[tf.Tensor]:
        """Vectors of either side."""
        pair = [
            side if encoder is None else encoder(side, training=training)
            for encoder, side in zip(self.encoders, (x, y), strict=True)
        ]
        return [tf.cast(flatten(vectors), tf.float32) for vectors in pair]

    def beside(self, x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """log a(y_i) and u(x_i, y_i) of encoded pairs, 0 where there is none."""
        zeros = tf.zeros_like(x[:, 0])
        baseline = zeros if self.baseline is None else self.baseline(y)[:, 0]
        if self.log_inverse_ratio is None:
            return baseline, zeros
        return baseline, self.log_inverse_ratio(tf.concat([x, y], axis=1))[:, 0]

    def score(self, hx: tf.Tensor, hy: tf.Tensor) -> np.ndarray:
        """Scores `[n, n]` of all pairs of embeddings, computed in blocks."""
        shapes = hx.shape, hy.shape
        if shapes not in self._compiled:
            if len(self._compiled) == _MOST_SHAPES:
                self._compiled.clear()
            score = tf.function(self.critic.score)
            self._compiled[shapes] = score.get_concrete_function(hx, hy)
        return self._compiled[shapes](hx, hy).numpy()

    def paired(self, x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores `[K]` of the pairs, and of each x with the y of the next pair.

        The order of a batch is random, so that the shift is a random derangement: no
        pair ever is its own negative, as it may be after a mere permutation.
        """
        hx, hy = self.critic.embed(*self.encode(x, y, True), training=True)
        shifted = tf.roll(hy, -1, axis=0)
        return self.critic.score_pairs(hx, hy), self.critic.score_pairs(hx, shifted)

    def outputs_of(self, x: tf.Tensor, y: tf.Tensor, training: bool = False) -> tuple:
        """(scores [K, K], log a of y [K], u of the pairs [K])."""
        x, y = self.encode(x, y, training)
        return (self.critic((x, y), training=training), *self.beside(x, y))


def flatten(values: tf.Tensor) -> tf.Tensor:
    """[K, ...] -> [K, product of the rest]."""
    return tf.reshape(values, [-1, math.prod(values.shape[1:])])


def critic_of(options: TrainOptions) -> critics.Critic:
    """The critic of these options; of "copula", which needs pairs, see `_starts_of`."""
    if options.critic not in critics.VECTOR_CRITICS:
        raise ValueError(
            f"critic must be one of {', '.join(critics.VECTOR_CRITICS)}, copula. "
            f"Received: {options.critic!r}."
        )
    build = critics.VECTOR_CRITICS[options.critic]
    if options.critic in SHALLOW:
        return build()
    return build(options.widths)


def _starts_of(options: TrainOptions, train, choose, encoders) -> list[Callable]:
    """() -> critic, of which the one is kept that is best after training."""
    if options.critic != "copula":
        return [lambda: critic_of(options)]
    if any(encoder is not None for encoder in encoders):
        raise ValueError(
            "critic='copula' goes without encoders, whose codes have no copula yet."
        )
    from tf_infomax.estimation import copula

    return copula.starts(train, choose, options.widths)


def copy_encoder(
    encoder: keras.Model | None, side: str, values: tf.Tensor
) -> keras.Model | None:
    """The encoder anew, with its weights of now: no training sees another's.

    Args:
        encoder: a Keras model or layer, or None.
        side: "x" or "y".
        values: `[n, ...]` of that side.
    """
    if encoder is None:
        return None
    if not isinstance(encoder, keras.layers.Layer):
        raise ValueError(
            f"{side}_encoder must be a Keras model or layer. Received: {encoder!r}."
        )
    shape = np.shape(values)[1:]
    try:
        encoder(values[:2])
        if isinstance(encoder, keras.Model):
            copy = keras.models.clone_model(encoder)
        else:
            copy = type(encoder).from_config(encoder.get_config())
        copy(values[:2])
    except Exception as error:
        lines = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split("\n")
        told = (line.strip() for line in lines if "Exception encountered" not in line)
        cause = next(filter(None, told), type(error).__name__)
        raise ValueError(
            f"{side}_encoder cannot take {side} of shape {shape}, or cannot be copied: "
            f"{cause}"
        ) from error
    copy.set_weights(encoder.get_weights())
    return copy


def build_mlp(
    widths: Sequence[int], outputs: int = 1, activation: str = "relu"
) -> keras.Sequential:
    """Hidden layers of these widths and a linear one of `outputs`."""
    layers = [keras.layers.Dense(width, activation) for width in widths]
    return keras.Sequential([*layers, keras.layers.Dense(outputs)])


@dataclass(frozen=True)
class Objective:
    """What is maximized in training, and which value is validated.

    Attributes:
        loss: (scores, log a, u, log average) -> (value to maximize, new log average).
        criterion: (Scores, baseline, u) -> the same on validation pairs.
        needs: the part of a `Model` that it needs beside the critic.
    """

    loss: Callable
    criterion: Callable[..., float]
    needs: str = ""


def _plain(bound: Callable) -> Callable:
    return lambda scores, baseline, u, average: (bound(scores), average)


def _jsd_value(s: Scores, baseline, u) -> float:
    softplus = lambda v: np.logaddexp(0.0, v)
    lost = s.mean_positive(softplus(-s.positive)) + s.mean_negative(softplus(s.matrix))
    return 2.0 * math.log(2.0) - lost


def interpolated(alpha: float) -> Objective:
    """I_alpha."""
    return Objective(
        lambda s, a, u, m: (bounds.interpolated(s, a, alpha), m),
        lambda s, a, u: values.interpolated(s, a, alpha),
        "baseline",
    )


OBJECTIVES: dict[str, Objective] = {
    "dv": Objective(_plain(bounds.dv), lambda s, a, u: values.dv(s)),
    "mine": Objective(
        lambda s, a, u, average: bounds.mine(s, average), lambda s, a, u: values.dv(s)
    ),
    "nwj": Objective(_plain(bounds.nwj), lambda s, a, u: values.nwj(s)),
    "tuba": Objective(
        lambda s, a, u, m: (bounds.tuba(s, a), m),
        lambda s, a, u: values.tuba(s, a),
        "baseline",
    ),
    "info_nce": Objective(
        _plain(lambda s: bounds.info_nce(s, "both")),
        lambda s, a, u: values.info_nce(s, "both"),
    ),
    "info_nce_rows": Objective(
        _plain(lambda s: bounds.info_nce(s, "y")),
        lambda s, a, u: values.info_nce(s, "y"),
    ),
    "info_nce_columns": Objective(
        _plain(lambda s: bounds.info_nce(s, "x")),
        lambda s, a, u: values.info_nce(s, "x"),
    ),
    "jsd": Objective(_plain(bounds.jsd), _jsd_value),
    "flo": Objective(
        lambda s, a, u, m: (bounds.flo(s, u), m),
        lambda s, a, u: values.flo(s, u),
        "log_inverse_ratio",
    ),
}


def _paired_mine(positive, negative, average):
    batch = bounds.log_mean_exp(negative)
    average = bounds.moving_average(average, batch)
    return tf.reduce_mean(positive) - bounds.safe_exp(batch - average), average


# Objectives of one negative per pair: (positive [K], negative [K], log average) ->
# (value to maximize, new log average).
_PAIRED: dict[str, Callable] = {
    "dv": lambda p, n, m: (tf.reduce_mean(p) - bounds.log_mean_exp(n), m),
    "mine": _paired_mine,
    "nwj": lambda p, n, m: (
        tf.reduce_mean(p) - bounds.safe_exp(bounds.log_mean_exp(n) - 1.0),
        m,
    ),
    "jsd": lambda p, n, m: (
        2.0 * math.log(2.0) - tf.reduce_mean(tf.nn.softplus(-p) + tf.nn.softplus(n)),
        m,
    ),
}


def train(
    x: np.ndarray,
    y: np.ndarray,
    validation: tuple,
    name: str,
    options: Options,
    encoders: tuple = (None, None),
    starts: Iterable[Callable] | None = None,
) -> Training:
    """Trains a critic on pairs.

    Args:
        x, y: training pairs, float32 `[n, ...]`.
        validation: (x, y) for choosing the step, and among several starts.
        name: of the objective.
        options: an `Options`.
        encoders: of x and y, or None each; copies of them are trained.
        starts: () -> critic each, all of which are trained; default: as the options
            say.

    Returns:
        The best `Training`.
    """
    kind = name if starts else (name, options.critic)
    starts = starts or _starts_of(options, (x, y), validation, encoders)
    trainings = [
        _train_once(x, y, validation, name, options, encoders, start, kind)
        for start in starts
    ]
    return max(trainings, key=lambda each: each.best)


def _train_once(
    x, y, validation, name, options, encoders, build_critic, kind
) -> Training:
    pairs = x, y = tuple(tf.constant(side, tf.float32) for side in (x, y))

    def build() -> Model:
        with seeded(options.seed):
            needs = _objective(name, options).needs
            beside = {needs: build_mlp(options.widths)} if needs else {}
            critic = build_critic()
            model = Model(critic, map(copy_encoder, encoders, "xy", pairs), **beside)
            model.outputs_of(x[:2], y[:2])
        return model

    training = Training(build())
    key = kind, *_key(training.model, name, options, encoders, pairs)
    # Nobody else has it meanwhile.
    program = _PROGRAMS.pop(key, None) or _Program(build(), name, options, pairs)
    program.train(training, pairs, validation, options)
    _PROGRAMS[key] = program
    _forget_the_oldest()
    return training


def _objective(name: str, options: Options) -> Objective:
    return interpolated(options.alpha) if name == "interpolated" else OBJECTIVES[name]


class _Program:
    """Compiled training of a model and of all that differ from it by weights alone."""

    def __init__(self, model: Model, name: str, options: Options, pairs: tuple):
        self.model, self._objective = model, _objective(name, options)
        self._average = average = tf.Variable(-math.inf, trainable=False)
        objective, derange = self._objective, options.negatives == "derangement"

        def loss(x, y, key):
            before = average.read_value()
            if derange:
                value, after = _PAIRED[name](*model.paired(x, y), before)
            else:
                outputs = model.outputs_of(x, y, training=True)
                value, after = objective.loss(*outputs, before)
            average.assign(after)
            return -value, value

        self._loop = Loop(model.trainable_variables, loss, pairs, options)

    @property
    def size(self) -> int:
        """How many weights there are."""
        return sum(math.prod(v.shape) for v in self.model.variables)

    def train(
        self, training: Training, pairs: tuple, validation: tuple, options: Options
    ) -> None:
        """Trains from the weights of `training.model`, which has the best in the end.

        Args:
            training: filled in.
            pairs, validation: (x, y) to train on, and for choosing the step.
            options: see `Options`.
        """
        trained, model = training.model, self.model
        model.set_weights(trained.get_weights())
        self._loop.restart()
        self._average.assign(-math.inf)

        def criterion():
            return self._objective.criterion(*evaluate(model, *validation))

        training.model = model
        try:
            climb(training, self._loop, pairs, criterion, options)
        finally:
            training.model = trained
        trained.set_weights(model.get_weights())


_PROGRAMS: dict[tuple, _Program] = {}  # the latest last
_MOST_PROGRAMS, _MOST_WEIGHTS = 8, 5_000_000
# Options that a compiled step has in it.
_COMPILED = (
    "learning_rate", "weight_decay", "negatives", "schedule",
)  # fmt: skip


def _key(
    model: Model, name: str, options: Options, encoders: tuple, pairs: tuple
) -> tuple:
    """What two models have in common that one program can train."""
    trained = {id(variable) for variable in model.trainable_variables}
    return (
        *(type(model.critic), min(options.batch_size, len(pairs[0]))),
        *(getattr(options, each) for each in _COMPILED),
        tuple(options.widths),
        options.max_steps if options.schedule == "cosine" else None,
        options.alpha if name == "interpolated" else None,
        *(tuple(side.shape[1:]) for side in pairs),
        *((tuple(v.shape), v.dtype, id(v) in trained) for v in model.variables),
        # A copy of an encoder is what its class makes of its configuration.
        *(
            None if each is None else (each, repr(each.get_config()))
            for each in encoders
        ),
        *(pairs[0].device, keras.config.floatx(), keras.config.dtype_policy().name),
    )


def _forget_the_oldest() -> None:
    """Until few programs with few weights are kept."""
    sizes = [program.size for program in list(_PROGRAMS.values())]
    while len(sizes) > _MOST_PROGRAMS or (
        len(sizes) > 1 and sum(sizes) > _MOST_WEIGHTS
    ):
        _PROGRAMS.pop(next(iter(_PROGRAMS)), None)
        del sizes[0]


def evaluate(
    model: Model, x: np.ndarray, y: np.ndarray
) -> tuple[Scores, np.ndarray, np.ndarray]:
    """(Scores of all pairs, log a(y_i), u(x_i, y_i)), computed in blocks."""
    hx, hy, beside = [], [], []
    for start in range(0, len(x), _ROWS):
        part = slice(start, start + _ROWS)
        vectors = model.encode(*(tf.constant(side[part]) for side in (x, y)))
        for kept, embedding in zip(
            (hx, hy), model.critic.embed(*vectors, training=False), strict=True
        ):
            kept.append(embedding)
        beside.append(np.stack([values.numpy() for values in model.beside(*vectors)]))
    hx, hy = tf.concat(hx, axis=0), tf.concat(hy, axis=0)
    baseline, u = np.concatenate(beside, axis=1).astype(np.float64)
    return Scores(model.score(hx, hy)), baseline, u
