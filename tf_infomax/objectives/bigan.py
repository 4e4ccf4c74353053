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
from tf_infomax.objectives.base import Objective, Value
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
        return self._play(batch, seed)[:2]

    def test_losses(
        self, batch: Mapping[str, tf.Tensor], seed: tf.Tensor
    ) -> tuple[dict, dict]:
        """With what the generator makes of the codes."""
        losses, values, code = self._play(batch, seed)
        made = self.networks["generator"](code)["image"]
        return losses, values | {"explained": explain(to_unit(batch[IMAGES]), made)}

    def _play(self, batch: dict, seed) -> tuple[dict, dict, tf.Tensor]:
        """Losses, values, and the codes as the generator takes them."""
        images, code = (
            to_unit(batch[IMAGES]),
            self.place_codes(self.networks["encoder"](batch[IMAGES])),
        )
        rows = code.shape[0] or tf.shape(code)[0]
        z = draw(self.code_prior.sample, rows, code.shape[1:], seed)
        samples = self.networks["generator"](z)["image"]
        encoded, generated, penalty = self._judge((images, samples), (code, z))
        judged = _mean_softplus(-encoded) + _mean_softplus(generated)
        losses = {
            "encoder": _mean_softplus(encoded) + _mean_softplus(-generated),
            "discriminator": judged + self.gradient_penalty * penalty,
        }
        values = {
            "bigan/encoder": losses["encoder"],
            "bigan/discriminator": losses["discriminator"],
            "accuracy/encoded": share(encoded > 0),
            "accuracy/generated": share(generated < 0),
            "spread": tf.math.divide_no_nan(_spread(samples), _spread(images)),
        }
        return losses, values, code

    def _judge(self, images, codes) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Logits `[N, 1]` of encoded and of generated pairs, and the penalty of both.

        Args:
            images, codes: of encoded and of generated pairs. Both kinds go through the
                network at once: one large product is faster than two.
        """
        discriminator = self.networks["discriminator"]
        pairs = [tf.concat(images, 0), tf.concat(codes, 0)]
        if not self.gradient_penalty:
            return *tf.split(discriminator(pairs), 2), 0.0
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(pairs)
            logits = discriminator(pairs)
        gradients = tape.gradient(logits, pairs)
        squares = tf.add_n([tf.reduce_sum(tf.square(each)) for each in gradients])
        rows = tf.cast(tf.shape(codes[0])[0], tf.float32)
        return *tf.split(logits, 2), 0.5 * squares / rows

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


def _mean_softplus(logits: tf.Tensor) -> tf.Tensor:
    """Mean log(1 + e^u), which is -log(1 - sigmoid(u))."""
    return tf.reduce_mean(tf.nn.softplus(logits))


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
