"""What an encoder is worth as a start: trained further, with all or a few labels.

The whole encoder and a small network (200 ReLU units) on its last convolution, or on
its code where it has none, are trained to tell classes; a fifth of the labelled images
chooses the step. Beside it stands the same with initial weights: a classifier that has
seen no more than these labels.

Source: Hjelm et al. 2019, section 4.1 (STL-10, "SS").
"""

import math
from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from tf_infomax.estimation.loop import Loop, Training, climb
from tf_infomax.estimation.options import TrainOptions
from tf_infomax.evaluation.features import draw_some, list_encoders
from tf_infomax.evaluation.few_labels import draw_few
from tf_infomax.evaluation.probes import deal
from tf_infomax.evaluation.summary import describe
from tf_infomax.runtime.progress import Progress
from tf_infomax.runtime.seeds import seeded

_HIDDEN = 200
_BATCH, _LOOKS, _CHOOSING = 32, 4, 500
_HELD_OUT = 5  # one of so many labelled images of each class chooses
_ROWS = 250  # images that are told at a time
_UNTRAINED_SEEDS = 1  # a baseline
_STARTS = {True: "the encoder", False: "initial weights"}


def evaluate(subject) -> Iterator[tuple[str, dict]]:
    """Accuracy on test images by part of the labels; nothing without labels."""
    config, data = subject.config, subject.data
    if data.probe_train is None:
        subject.tell(f"fine_tuning has nothing to learn from: {data.labels}")
        return
    feature = "conv" if "conv" in subject.objective.encoder.output else "code"
    encoders = list_encoders(config)
    seeds = {True: config.probe_seeds, False: _UNTRAINED_SEEDS}
    percents, steps = config.fine_tuning_percents, config.fine_tuning_steps
    total = len(percents) * steps * sum(seeds[trained] for _, trained in encoders)
    done = 0
    unit = "steps of fine-tuning"
    with Progress(total, 0, config.progress, unit) as shown:
        for percent in percents:
            drawn = draw_few(data.probe_train, int(percent) / 100, config.probe_seeds)
            for label, trained in encoders:
                found = []
                for seed in range(seeds[trained]):
                    hear = lambda steps, done=done: shown.update(done + steps)
                    found.append(_score(subject, trained, feature, drawn, seed, hear))
                    done += steps
                yield (
                    f"fine_tuning/{percent}%/{label}{feature}",
                    describe(
                        found,
                        "%",
                        f"test images told right, trained from {_STARTS[trained]} on "
                        f"with {percent} % of the labels",
                        labels=len(drawn[0]),
                        steps=steps,
                    ),
                )


def _score(subject, trained: bool, feature: str, drawn, seed: int, hear) -> float:
    """The accuracy of one classifier."""
    config, data = subject.config, subject.data
    known = np.unique(data.probe_train.labels)
    part = data.probe_train.select(drawn[seed])
    options = TrainOptions(
        batch_size=_BATCH,
        learning_rate=config.fine_tuning_rate,
        max_steps=config.fine_tuning_steps,
        check_every=-(-config.fine_tuning_steps // _LOOKS),
        schedule="cosine",
        seed=seed,
        shown=hear,
    )
    encoder = subject.copy_encoder(trained)
    model = build_classifier(encoder, feature, len(known), seed)
    fine_tune(model, part.images, np.searchsorted(known, part.labels), options)
    found = known[tell(model, data.probe_test.images)]
    return float(np.mean(found == data.probe_test.labels))


def build_classifier(
    encoder: keras.Model, feature: str, classes: int, seed: int
) -> keras.Model:
    """From images to logits, by a feature and a hidden layer that follows it.

    Args:
        encoder: whose layers up to the feature become the classifier's own.
        feature: its name.
        classes: how many.
        seed: of the new weights.
    """
    with seeded(seed):
        x = keras.layers.Flatten(name="flat")(encoder.output[feature])
        x = keras.layers.Dense(_HIDDEN, "relu", name="head_hidden")(x)
        logits = keras.layers.Dense(classes, dtype="float32", name="head_logits")(x)
    return keras.Model(encoder.input, logits, name="classifier")


def fine_tune(
    model: keras.Model, images: Sequence, classes: np.ndarray, options: TrainOptions
) -> Training:
    """Trains a classifier; some of the labelled images choose the step.

    Args:
        model: from uint8 images to logits.
        images: uint8 `[n, H, W, C]`, an array or rows that are read later.
        classes: `[n]`, from 0.
        options: of training. No more images are read than its steps can see.
    """
    held_out = deal(classes, _HELD_OUT, options.seed) == 0
    held_out &= np.bincount(classes)[classes] > 1  # the only one is trained on
    train, chosen = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    chosen = chosen if len(chosen) else train
    train = draw_some(train, options.max_steps * options.batch_size)
    chosen = draw_some(chosen, _CHOOSING)
    seen, targets = images[chosen], classes[chosen]

    from scipy.special import log_softmax

    training = Training(model)

    def loss(images, classes, key):
        logits = model(images, training=True)
        lost = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
        lost = tf.reduce_mean(lost)
        return lost, -lost

    def criterion() -> float:
        """Accuracy; of equals, the mean log-loss decides. The start is none of them."""
        if not training.steps:
            return -math.inf
        logits = model.predict(seen, _ROWS, verbose=0).astype(np.float64)
        right = logits.argmax(axis=1) == targets
        logs = log_softmax(logits, axis=1)
        likelihood = np.exp(logs[np.arange(len(targets)), targets].mean())
        return float(right.mean() + 0.5 * likelihood / len(targets))

    rows = tf.constant(images[train]), tf.constant(classes[train], tf.int32)
    loop = Loop(model.trainable_variables, loss, rows, options)
    climb(training, loop, rows, criterion, options)
    return training


def tell(model: keras.Model, images: Sequence) -> np.ndarray:
    """The class of each image."""
    parts = range(0, len(images), _ROWS)
    logits = [model.predict(images[at : at + _ROWS], _ROWS, verbose=0) for at in parts]
    return np.concatenate(logits).argmax(axis=1)
