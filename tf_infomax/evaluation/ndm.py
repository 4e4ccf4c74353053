"""Neural dependency measure: how far the units of a code are from being independent.

    NDM = E_p[T(y)] - log E_q[e^T(y)]  <=  TC(Y) = KL(p(y) || p(y_1) ... p(y_D))

p are codes, q the same codes with every unit permuted by itself, T a network of 1000
and 200 ReLU units. It is trained by the Fenchel dual of the same divergence, E_p[T] -
E_q[e^(T - 1)]; what is reported is the Donsker-Varadhan value of codes of test images.
Total correlation is the same of Y and of sigmoid(Y), or of any other invertible map of
single units; what a network finds of it is not, which is why both are there. The larger
is the better estimate, both lie below the truth.

Source: Hjelm et al. 2019, table 3, and the released program; total correlation:
Watanabe 1960.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_infomax import bounds
from tf_infomax.estimation.loop import Loop, Training, climb
from tf_infomax.estimation.neural import build_mlp
from tf_infomax.estimation.options import TrainOptions
from tf_infomax.evaluation.probes import standardize
from tf_infomax.evaluation.summary import describe
from tf_infomax.runtime.progress import Progress
from tf_infomax.runtime.seeds import seeded

_WIDTHS = (1000, 200)
_BATCH, _RATE = 500, 1e-4
_CHECK, _PATIENCE = 50, 5  # steps, looks without a better value
_CHOOSING, _REPORTING = 5, 20  # permutations of held-out codes
_ROWS = 5000  # codes that are scored at a time
_FEWEST_EFFECTIVE, _REACH = 30, 0.5  # as of estimates of mutual information


class Dependence(NamedTuple):
    """An estimate of the total correlation of the units of codes.

    Attributes:
        raw: nats; below 0, too, where there is none or nothing was found.
        effective: how many of the permuted codes carry the mean of e^T.
        training: of the network.
    """

    raw: float
    effective: float
    training: Training


def permute_units(codes: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Every column of `[n, D]` in a random order of its own.

    Args:
        codes: as above.
        key: two integers, of which the orders are a function.
    """
    order = tf.argsort(tf.random.stateless_uniform(tf.shape(codes), key), axis=0)
    return tf.transpose(
        tf.gather(tf.transpose(codes), tf.transpose(order), axis=1, batch_dims=1)
    )


def estimate_ndm(
    train: np.ndarray, choose: np.ndarray, report: np.ndarray, options: TrainOptions
) -> Dependence:
    """The neural dependency measure of codes `[n, D]`.

    Args:
        train: to train on.
        choose: to choose the step on.
        report: that the value is of.
        options: of training; critic, widths and negatives are not among them.
    """
    with seeded(options.seed):
        network = build_mlp(_WIDTHS)
        network.build((None, train.shape[1]))

    def loss(codes, key):
        both = tf.concat([codes, permute_units(codes, key)], axis=0)
        positive, negative = tf.split(network(both)[:, 0], 2)
        normalizer = bounds.safe_exp(bounds.log_mean_exp(negative) - 1.0)
        value = tf.reduce_mean(positive) - normalizer
        return -value, value

    score = _compile_scores(network, train.shape[1])
    broken = _permute_held_out(choose, _CHOOSING, options.seed)
    training = Training(network)
    rows = (tf.constant(train, tf.float32),)
    climb(
        training,
        Loop(network.trainable_variables, loss, rows, options),
        rows,
        lambda: _donsker_varadhan(score(choose), score(broken))[0],
        options,
    )
    broken = _permute_held_out(report, _REPORTING, options.seed)
    return Dependence(*_donsker_varadhan(score(report), score(broken)), training)


def _compile_scores(network: keras.Model, width: int) -> Callable:
    """Codes `[n, width]` -> float64 `[n]`, in parts."""
    signature = [tf.TensorSpec([None, width], tf.float32)]
    run = tf.function(lambda codes: network(codes)[:, 0], input_signature=signature)

    def score(codes: np.ndarray) -> np.ndarray:
        parts = [
            run(tf.constant(codes[at : at + _ROWS], tf.float32)).numpy()
            for at in range(0, len(codes), _ROWS)
        ]
        return np.concatenate(parts).astype(np.float64)

    return score


def _permute_held_out(codes: np.ndarray, times: int, seed: int) -> np.ndarray:
    """`[times * n, D]`: so many draws of codes with independent units."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permuted(codes, axis=0) for _ in range(times)])


def _donsker_varadhan(positive, negative) -> tuple[float, float]:
    """(E_p[T] - log E_q[e^T], effective number of the negatives)."""
    top = negative.max()
    terms = np.exp(negative - top)
    value = positive.mean() - top - math.log(terms.mean())
    return float(value), float(terms.sum() ** 2 / np.square(terms).sum())


def evaluate(subject) -> Iterator[tuple[str, dict]]:
    """The measure of Y and of sigmoid(Y); Y is standardized unit by unit."""
    train, choose, test = (
        subject.features("code", images) for images in subject.unlabelled
    )
    config = subject.config
    kinds = {
        "ndm/code": ("the units of Y", standardize(train, choose, test)),
        "ndm/sigmoid/code": (
            "the units of sigmoid(Y)",
            [_sigmoid(codes) for codes in (train, choose, test)],
        ),
    }
    total = len(kinds) * config.probe_seeds * config.ndm_steps
    with Progress(total, 0, config.progress, "steps of ndm") as shown:
        for place, (name, (what, parts)) in enumerate(kinds.items()):
            found = [
                estimate_ndm(*parts, _options(config, place, seed, shown))
                for seed in range(config.probe_seeds)
            ]
            yield name, _describe(what, found, [len(part) for part in parts])


def _sigmoid(codes: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(0.5 * codes)


def _options(config, place: int, seed: int, shown: Progress) -> TrainOptions:
    before = (place * config.probe_seeds + seed) * config.ndm_steps
    return TrainOptions(
        batch_size=_BATCH,
        learning_rate=_RATE,
        max_steps=config.ndm_steps,
        check_every=_CHECK,
        patience=_PATIENCE,
        seed=seed,
        shown=lambda steps: shown.update(before + steps),
    )


def _describe(what: str, found: list[Dependence], counts: list[int]) -> dict:
    """The result of all repetitions, with what is to be said of it."""
    raw = [each.raw for each in found]
    return describe(
        np.maximum(raw, 0.0),  # which total correlation never is below
        "nats",
        f"total correlation of {what}: a lower bound, by a network",
        warnings=[text for each in found for text in _warn(each, counts[-1])],
        raw=float(np.mean(raw)),
        effective_negatives=min(each.effective for each in found),
        pairs=dict(zip(("train", "choose", "report"), counts, strict=True)),
    )


def _warn(found: Dependence, reported: int) -> Iterator[str]:
    """Why a value should not be taken as it is, in words."""
    training = found.training
    if found.raw > math.log(reported) - _REACH:
        yield (
            f"near or beyond log n = {math.log(reported):.2f} of the {reported} test "
            "codes, above which no lower bound that holds for every distribution can "
            "be had: dependent, but not known how much"
        )
    if found.effective < _FEWEST_EFFECTIVE:
        yield (
            "the exponential mean rests on a few of the permuted codes (see "
            "effective_negatives): another draw may give another value"
        )
    if training.stopped == "diverged":
        yield f"training diverged at step {training.steps}: the step before was kept"
    elif training.stopped == "max_steps" and training.best_step == training.steps:
        yield "still rising at the last step: raise --ndm_steps"
