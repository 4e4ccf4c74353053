"""A bijective encoder that keeps all information and is useless to a linear classifier.

A RealNVP with softplus scales and a linear classifier of its codes take turns: the
classifier lowers its cross-entropy, the encoder that to uniform labels. A fresh
classifier then says what is left for it; the inverse, that nothing was lost.

Source: Tschannen et al. 2020, section 3.1, figure 1c.
"""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tf_infomax import encoders
from tf_infomax.data.batches import count_batches, draw_pass
from tf_infomax.optimizers import FusedAdam
from tf_infomax.runtime.seeds import seeded
from tf_infomax.studies import halves
from tf_infomax.studies.halves import BATCH, Images
from tf_infomax.studies.kept import Curves, Unfinished, run_in_parts


@dataclass(frozen=True)
class Size:
    """How long and how large; the defaults are the paper's.

    Attributes:
        iterations: of `turns` classifier steps and one encoder step.
        readings: of the curves, the first before the encoder is trained.
        couplings, width: of RealNVP.
        images: to train the fresh classifier on.
        warm_up: classifier steps before.
        rate: Adam's step size of the encoder.
    """

    iterations: int = 4001
    readings: int = 11
    couplings: int = 30
    width: int = 512
    images: int = 60_000
    warm_up: int = 1000
    turns: int = 10
    rate: float = 1e-5


@dataclass(frozen=True)
class Arm:
    """Who plays.

    Attributes:
        player: "real_nvp", or `halves.PIXELS`, which are classified as they are.
        shuffled: whether the labels of the game are shuffled among the images: the
            classifier learns nothing that the encoder could hide.
    """

    player: str = "real_nvp"
    shuffled: bool = False


class Game:
    """Encoder, classifier and their turns.

    Args:
        encoder: of float pixels, with a `code`.
        images, labels: uint8 `[n, H, W, C]` upper halves, int `[n]`.
        rate: of the encoder's Adam; the classifier's is 1e-3.
        turns: classifier steps per encoder step.
        seed: of the batches.
    """

    def __init__(self, encoder, images, labels, rate: float, turns: int, seed: int):
        self.encoder, self.turns, self.seed = encoder, turns, seed
        self._images, self._labels = tf.constant(images), tf.constant(labels, tf.int64)
        # The pass that is being played: its number, and its batches.
        self._per_pass = count_batches(len(labels), BATCH)
        self._number = tf.Variable(-1, dtype=tf.int64)
        self._batches = tf.Variable(tf.zeros([self._per_pass, BATCH], tf.int64))
        classes = int(labels.max()) + 1
        self.classifier = keras.layers.Dense(classes, name="classifier")
        self.classifier.build(encoder.output["code"].shape)
        self._optimizers = FusedAdam(rate), FusedAdam(1e-3)
        for optimizer, part in zip(self._optimizers, self._parts, strict=True):
            optimizer.build(part.trainable_variables)

    @property
    def _parts(self):
        return self.encoder, self.classifier

    @property
    def variables(self) -> list:
        """All that the game changes."""
        both = (*self._parts, *self._optimizers)
        return [variable for each in both for variable in each.variables]

    def _rows(self, step):
        """Of batch `step`; its pass is drawn when it begins."""
        number = step // self._per_pass
        if number != self._number:
            drawn = draw_pass(number, len(self._labels), BATCH, self.seed)
            self._batches.assign(tf.cast(drawn, tf.int64))
            self._number.assign(number)
        return self._batches[step % self._per_pass]

    def _codes_and_labels(self, first, batches: int):
        """Of the batches first <= k < first + batches, one after another."""
        rows = tf.concat([self._rows(first + k) for k in range(batches)], axis=0)
        pixels = tf.cast(tf.gather(self._images, rows), tf.float32) / 255.0
        codes = self.encoder(pixels, training=True)["code"]
        return codes, tf.gather(self._labels, rows)

    def _step(self, player: int, loss_of):
        variables = self._parts[player].trainable_variables
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(loss_of())
        self._optimizers[player].apply(tape.gradient(loss, variables), variables)
        return loss

    def teach_classifier(self, first):
        """Its turns, from batch `first` on; the last cross-entropy."""
        # The encoder stands still: its codes of all these batches are computed at once.
        codes, labels = self._codes_and_labels(first, self.turns)
        loss = tf.constant(0.0)
        for turn in range(self.turns):
            part = slice(turn * BATCH, (turn + 1) * BATCH)
            cross_entropy = lambda part=part: (
                tf.nn.sparse_softmax_cross_entropy_with_logits(
                    labels[part], self.classifier(codes[part])
                )
            )
            loss = self._step(1, cross_entropy)
        return loss

    def teach_encoder(self, step):
        """A step of the encoder; its cross-entropy to uniform labels before."""

        def loss():
            logits = self.classifier(self._codes_and_labels(step, 1)[0])
            # Cross-entropy of the uniform distribution to the softmax.
            return tf.reduce_logsumexp(logits, -1) - tf.reduce_mean(logits, -1)

        return self._step(0, loss)

    @tf.function
    def warm_up(self, steps):
        """About so many steps of the classifier; its last cross-entropy."""
        loss = tf.constant(0.0)
        for first in tf.range(0, steps, self.turns):
            loss = self.teach_classifier(tf.cast(first, tf.int64))
        return loss

    @tf.function
    def play(self, first, last):
        """The iterations first <= k < last; the classifier's last cross-entropy."""
        loss = tf.constant(0.0)
        for number in tf.range(first, last):
            step = tf.cast(number, tf.int64) * (self.turns + 1)
            loss = self.teach_classifier(step)
            self.teach_encoder(step + self.turns)
        return loss


def train(
    arm: Arm, size: Size, data: Images, seed: int, unfinished: Unfinished | None = None
) -> Curves:
    """Curves of one run.

    Args:
        arm, size, data, seed: of it.
        unfinished: where it is kept between its readings; None: nowhere.

    Returns:
        `step`; `accuracy`, the paper's linear evaluation of the codes of upper halves;
        `round_trip` and `round_trip/float64`, as `halves.round_trip`; `cross_entropy`
        of the classifier that plays; and at the end `accuracy/converged`. Labels are
        the true ones for all accuracies. Of pixels the accuracies alone.
    """
    if arm.player == halves.PIXELS:
        return halves.read_pixels(data, size.images, seed)
    upper, _ = halves.split_halves(data.train)
    labels = data.labels
    if arm.shuffled:
        labels = np.random.default_rng(seed).permutation(labels)
    with seeded(seed):
        encoder = encoders.strip_scaling(
            encoders.build_real_nvp(
                upper.shape[1:],
                couplings=size.couplings,
                widths=(size.width,) * 2,
                scale="softplus",
                seed=seed,
            )
        )
        game = Game(encoder, upper, labels, size.rate, size.turns, seed)
    accuracies = halves.Accuracies(encoder, data, size.images, seed)
    some = accuracies.held_out[:500]

    def read(loss) -> dict[str, float]:
        return {
            "accuracy": accuracies.early_stopped(),
            "round_trip": halves.round_trip(encoder, some),
            "round_trip/float64": halves.round_trip(encoder, some, "float64"),
            "cross_entropy": float(loss),
        }

    curves = run_in_parts(
        np.linspace(0, size.iterations, size.readings).astype(int),
        game.variables,
        lambda first, last: read(game.play(tf.constant(first), tf.constant(last))),
        unfinished or Unfinished(),
        lambda: read(game.warm_up(tf.constant(size.warm_up))),
    )
    curves["accuracy/converged"] = [accuracies.converged()]
    return curves
