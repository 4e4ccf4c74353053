"""BiGAN: a generator and an encoder, its inverse, against one discriminator."""

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from tf_infomax.encoders import build_pair_discriminator
from tf_infomax.objectives.adversaries import (
    describe_winner,
    share,
    value_of_told,
)
from tf_infomax.objectives.base import Objective, Value, computes_in_half
from tf_infomax.objectives.batches import IMAGES
from tf_infomax.objectives.parts import Parts, mirror, shared_options
from tf_infomax.objectives.pixels import (
    EXPLAINED,
    check_decoder,
    draw_images,
    explain,
    to_bytes,
    to_unit,
)
from tf_infomax.objectives.priors import PRIORS, Prior
from tf_infomax.objectives.replicas import draw, variance
from tf_infomax.runtime.completion import spelled_out

_NARROW = 0.1  # of the images' variance, that of samples which are nearly all the same
_SURE = 30.0  # log-odds of a right answer, beyond which gradients are nearly 0


@keras.saving.register_keras_serializable("tf_infomax")
class BiGAN(Objective):
    """min_E,G max_D  E_x[log D(x, E(x))] + E_z[log(1 - D(G(z), z))].

    Of a pair of image and code the discriminator says whether the image was there first
    (and has been encoded) or the code (and has been decoded). Encoder and generator
    have the non-saturating loss, that of the labels exchanged. At the optimum of both
    E and G are each other's inverse, and D's loss is 2 log 2.

    The penalty of the discriminator is 1/2 mean(|grad D|^2) of either kind of pairs,
    of logits by image and code together.

    Source: Donahue et al. 2017, eq. 3 and section 3.2 (here with a deterministic
    encoder, as there); Dumoulin et al. 2017; penalty: Mescheder et al. 2018. The
    baseline of Hjelm et al. 2019 has a penalty of 0.5 and a normal prior.

    Args:
        networks: "encoder"; "generator", a decoder of its code to a dict of which
            `image` is in [0, 1]; "discriminator", from `[image, code]` to a logit,
            of each pair by itself (no batch norm).
        prior: of z, a key of `PRIORS`; codes are squashed into its support.
        gradient_penalty: weight of the penalty.
        **kwargs: `seed`, `ema` and `front` of `Objective`.
    """

    players: Mapping = {
        "encoder": ("encoder", "generator"),
        "discriminator": ("discriminator",),
    }
    values: Mapping = {
        "bigan/encoder": Value(measures="loss of encoder and generator"),
        "bigan/discriminator": Value(measures="loss of the discriminator"),
        "accuracy/encoded": value_of_told("pairs (image, its code)"),
        "accuracy/generated": value_of_told("pairs (sample, its z)"),
        "spread": Value(
            kind="score",
            unit="ratio",
            measures="variance of the pixels of samples, over that of images",
        ),
        "explained": EXPLAINED,
    }
    step_values = tuple(name for name in values if name != "explained")

    def __init__(
        self,
        networks: Mapping,
        prior: str = "normal",
        gradient_penalty: float = 0.0,
        **kwargs: object,
    ):
        if prior not in PRIORS:
            raise ValueError(
                f"prior must be one of {', '.join(PRIORS)}. Received: {prior!r}."
            )
        if not gradient_penalty >= 0:
            raise ValueError(
                f"gradient_penalty must be at least 0. Received: {gradient_penalty}."
            )
        super().__init__(networks, **kwargs)
        check_decoder(self.networks["encoder"], self.networks["generator"])
        self.prior, self.gradient_penalty = prior, gradient_penalty

    @property
    def code_prior(self) -> Prior:
        return PRIORS[self.prior]

    def step_losses(
        self, batch: Mapping[str, tf.Tensor], seed: tf.Tensor
    ) -> tuple[dict, dict]:
        return self._play(batch, seed, self._lose_at_once)[:2]

    def test_losses(
        self, batch: Mapping[str, tf.Tensor], seed: tf.Tensor
    ) -> tuple[dict, dict]:
        """With what the generator makes of the codes."""
        losses, values, code = self._play(batch, seed, self._lose)
        made = self.networks["generator"](code)["image"]
        return losses, values | {"explained": explain(to_unit(batch[IMAGES]), made)}

    def _play(self, batch: dict, seed, lose) -> tuple[dict, dict, tf.Tensor]:
        """Losses, values, and the codes as the generator takes them."""
        images, code = (
            to_unit(batch[IMAGES]),
            self.place_codes(self.networks["encoder"](batch[IMAGES])),
        )
        rows = code.shape[0] or tf.shape(code)[0]
        z = draw(self.code_prior.sample, rows, code.shape[1:], seed)
        samples = self.networks["generator"](z)["image"]
        pairs = (images, samples), (code, z)
        # Both kinds of pairs at once: one large product is faster than two.
        fooled, judged, told = lose([tf.concat(each, 0) for each in pairs])
        losses = {"encoder": fooled, "discriminator": judged}
        encoded, generated = tf.split(told, 2)
        values = {
            "bigan/encoder": fooled,
            "bigan/discriminator": judged,
            "accuracy/encoded": share(encoded > 0),
            "accuracy/generated": share(generated > 0),
            "spread": tf.math.divide_no_nan(_spread(samples), _spread(images)),
        }
        return losses, values, code

    def _lose(self, pairs: list) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The losses of both sides, and the log-odds of the right answer, `[2N, 1]`.

        Args:
            pairs: images and codes, the encoded pairs before the generated ones.
        """
        if not self.gradient_penalty:
            return _losses_of(self.networks["discriminator"](pairs))
        logits, slopes = self._judge(pairs)
        fooled, judged, told = _losses_of(logits)
        return fooled, judged + self._punish(slopes), told

    def _lose_at_once(self, pairs: list) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """`_lose`, whose losses have one way back through the discriminator, not two.

        It judges each pair by itself, so that the gradients of both losses by a pair
        are multiples of one another. Those of the discriminator's loss, or, where the
        penalty asks for them, those of the logit, are scaled to be the other side's.
        """
        discriminator = self.networks["discriminator"]
        if computes_in_half(discriminator):  # whose gradients need a scaled loss
            return self._lose(pairs)
        if self.gradient_penalty:
            logits, slopes = self._judge(pairs)
            fooled, judged, told = _losses_of(logits)
            scale = _scale_of(tf.ones_like(logits), logits)
            fooled = _with_gradients(fooled, pairs, _scale(slopes, scale))
            return fooled, judged + self._punish(slopes), told
        weights = [v.value for v in discriminator.trainable_variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([pairs, weights])
            logits = discriminator(pairs)
        fooled, judged, told = _losses_of(logits)
        sign, rows = _signs_of(logits), _half(logits)
        slope = -sign * tf.sigmoid(-tf.minimum(told, _SURE)) / rows
        by_pairs, by_weights = tape.gradient(logits, [pairs, weights], slope)
        by_pairs = _scale(by_pairs, _scale_of(slope, logits))
        fooled = _with_gradients(fooled, pairs, by_pairs)
        return fooled, _with_gradients(judged, weights, by_weights), told

    def _judge(self, pairs: list) -> tuple[tf.Tensor, list]:
        """Logits `[2N, 1]`, and the gradient of each by its own pair."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(pairs)
            logits = self.networks["discriminator"](pairs)
        return logits, tape.gradient(logits, pairs)

    def _punish(self, slopes: list) -> tf.Tensor:
        squares = tf.add_n([tf.reduce_sum(tf.square(each)) for each in slopes])
        return self.gradient_penalty * 0.5 * squares / _half(slopes[0])

    def merit(self, values: Mapping[str, float]) -> float:
        """How well E and G are each other's inverse: a loss tells who is ahead only."""
        return values["explained"]

    @property
    def shown(self) -> tuple[str, ...]:
        return "bigan/encoder", "bigan/discriminator"

    def reconstruct(self, images: tf.Tensor) -> np.ndarray:
        """What the generator makes of the codes of uint8 images, as uint8 images.

        The codes are those of `encoder`, the average where there is one.
        """
        code = self.place_codes(self.encoder(images, training=False))
        return to_bytes(self.networks["generator"](code, training=False)["image"])

    def sample(self, count: int, seed: int) -> np.ndarray:
        """uint8 images of codes drawn from the prior."""
        decoder, seeds = self.networks["generator"], (self.seed, seed)
        return draw_images(decoder, self.prior, count, seeds)

    def describe_collapse(self, values: Mapping[str, float]) -> list[str]:
        told = {
            "the encoded": values["accuracy/encoded"],
            "the generated pairs": values["accuracy/generated"],
        }
        found = describe_winner(told)
        if values["spread"] < _NARROW:
            found.append(
                "the generator has collapsed: its samples vary "
                f"{values['spread']:.2g} times as much as images do."
            )
        return found

    def describe(self) -> dict:
        return {
            **super().describe(),
            "prior": self.prior,
            "gradient_penalty": self.gradient_penalty,
        }

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "prior": self.prior,
            "gradient_penalty": self.gradient_penalty,
        }


def _half(rows: tf.Tensor) -> tf.Tensor:
    """N of `[2N, ...]`."""
    return tf.cast(tf.shape(rows)[0], tf.float32) / 2.0


def _signs_of(logits: tf.Tensor) -> tf.Tensor:
    """1 for the encoded pairs, -1 for the generated ones: the right answers."""
    encoded, generated = tf.split(tf.ones_like(logits), 2)
    return tf.concat([encoded, -generated], 0)


def _losses_of(logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """-log(1 - p) and -log p of the right answers' probabilities p, and log p/(1-p).

    The losses are the sums of the means of both kinds of pairs.
    """
    told = _signs_of(logits) * logits
    fooled, judged = (tf.reduce_sum(tf.nn.softplus(u)) for u in (told, -told))
    return fooled / _half(told), judged / _half(told), told


def _scale_of(slope: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """The derivative of the first loss by a logit, over another slope of it."""
    sign = _signs_of(logits)
    return sign * tf.sigmoid(sign * logits) / _half(logits) / slope


def _scale(gradients: list, scale: tf.Tensor) -> list:
    """Each row `[...]` of each gradient times its own factor, of `[2N, 1]`."""
    return [
        each * tf.reshape(scale, [-1] + [1] * (len(each.shape) - 1))
        for each in gradients
    ]


def _with_gradients(loss: tf.Tensor, inputs: list, gradients: list) -> tf.Tensor:
    """A loss whose gradients by some inputs are these, and by others nothing."""

    @tf.custom_gradient
    def attach(*inputs):
        return tf.identity(loss), lambda scale: [scale * each for each in gradients]

    return attach(*inputs)


def _spread(images: tf.Tensor) -> tf.Tensor:
    """The variance of a pixel over the batch, the mean of all."""
    return tf.reduce_mean(variance(images))


@spelled_out(BiGAN, Objective)
def build_bigan(
    encoder: keras.Model,
    generator: keras.Model,
    discriminator: keras.Model,
    **kwargs: object,
) -> BiGAN:
    """The three networks; `kwargs` are those of `BiGAN`."""
    networks = {
        "encoder": encoder,
        "generator": generator,
        "discriminator": discriminator,
    }
    return BiGAN(networks, **kwargs)


def build(config, parts: Parts) -> BiGAN:
    """`build_bigan` as the options say."""
    return build_bigan(
        parts.encoder,
        mirror(parts),
        mirror(parts, build_pair_discriminator),
        prior=config.prior,
        gradient_penalty=config.gradient_penalty,
        **shared_options(config, parts),
    )
