"""Adversarial autoencoder: an autoencoder whose codes are matched to a prior."""

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from tf_infomax.objectives.autoencoder import (
    Autoencoder,
    build_autoencoder,
    reconstruction_options,
)
from tf_infomax.objectives.batches import IMAGES
from tf_infomax.objectives.parts import Parts, build_matching, mirror
from tf_infomax.objectives.pixels import draw_images
from tf_infomax.objectives.prior_matching import PriorMatching, as_matching
from tf_infomax.objectives.priors import Prior
from tf_infomax.objectives.replicas import fold_images
from tf_infomax.runtime.completion import spelled_out

WIDTHS = (200, 200)  # of the discriminator, as in the baseline of Hjelm et al. 2019


@keras.saving.register_keras_serializable("tf_infomax")
class AAE(Autoencoder):
    """min_E,G  E[-log p(x | G(z))] + gamma d(z, prior),  z = squash(E(x)).

    d is a loss of `PriorMatching`, in the paper that of an encoder against a
    discriminator, which is a player of its own. Where the distribution of z over images
    is the prior, G makes images of draws from it.

    Source: Makhzani et al. 2015, section 2 (here with a deterministic encoder, and both
    losses in one step); the baseline of Hjelm et al. 2019 has a normal prior, hidden
    widths of 200 and a penalty of 0.5.

    Args:
        networks: as of `Autoencoder`, whose decoder here takes codes squashed into the
            prior's support, and "prior", a `PriorMatching`.
        gamma: weight of its loss.
        **kwargs: as of `Autoencoder`.
    """

    def __init__(self, networks: Mapping, gamma: float = 1.0, **kwargs: object):
        if not gamma > 0:
            raise ValueError(
                f"gamma must be above 0: 0 is a plain autoencoder. Received: {gamma}."
            )
        super().__init__(networks, **kwargs)
        self.gamma = gamma
        self.players = {**Autoencoder.players, **self.prior.players}
        self.values = Autoencoder.values | self.prior.loss_values | self.prior.figures

    @property
    def prior(self) -> PriorMatching:
        return self.networks["prior"]

    @property
    def code_prior(self) -> Prior:
        return self.prior.distribution

    @property
    def step_values(self) -> tuple[str, ...]:
        return *Autoencoder.values, *self.prior.loss_values

    @property
    def shown(self) -> tuple[str, ...]:
        return "reconstruction", *self.prior.loss_values

    def step_losses(
        self, batch: Mapping[str, tf.Tensor], seed: tf.Tensor
    ) -> tuple[dict, dict]:
        return self._play(batch, seed)[:2]

    def test_losses(
        self, batch: Mapping[str, tf.Tensor], seed: tf.Tensor
    ) -> tuple[dict, dict]:
        """With how far the codes are from the prior, and who is winning."""
        seed = fold_images(seed, batch[IMAGES])
        losses, values, code = self._play(batch, seed)
        return losses, values | self.prior.compare(code, seed)

    def _play(self, batch: dict, seed) -> tuple[dict, dict, tf.Tensor]:
        """Losses, values, and the codes before they are squashed."""
        code = self._read_code(self.networks["encoder"](batch[IMAGES]))
        error, explained = self._decode(batch, self._squash(code))
        losses, found = self.prior.match(code, seed)
        losses["encoder"] = error + self.gamma * losses["encoder"]
        return losses, {"reconstruction": error, "explained": explained, **found}, code

    def _squash(self, code: tf.Tensor) -> tf.Tensor:
        return self.code_prior.squash(code)

    def merit(self, values: Mapping[str, float]) -> float:
        """The reconstruction: what the players have tells who is ahead only."""
        return -values["reconstruction"]

    def sample(self, count: int, seed: int) -> np.ndarray:
        """uint8 images of codes drawn from the prior."""
        decoder, seeds = self.networks["decoder"], (self.seed, seed)
        return draw_images(decoder, self.prior.prior, count, seeds)

    def describe_collapse(self, values: Mapping[str, float]) -> list[str]:
        return super().describe_collapse(values) + self.prior.describe_mismatch(values)

    def describe(self) -> dict:
        return {**super().describe(), **self.prior.describe(), "gamma": self.gamma}

    def get_config(self) -> dict:
        return {**super().get_config(), "gamma": self.gamma}


@spelled_out(AAE, build_autoencoder)
def build_aae(
    encoder: keras.Model,
    decoder: keras.Model,
    prior: str | PriorMatching = "normal",
    **kwargs: object,
) -> AAE:
    """An encoder, a decoder and a prior, by its name or as a layer.

    Args:
        encoder: a model from uint8 images to a dict of features.
        decoder: from its code to a dict of `logits` and `image`.
        prior: as above; by its name it has a penalty of 0.5 and hidden widths of 200.
        **kwargs: those of `AAE`.
    """
    if isinstance(prior, str):
        prior = PriorMatching(prior, WIDTHS, gradient_penalty=0.5)
    matching = as_matching(prior, encoder)
    networks = {"encoder": encoder, "decoder": decoder, "prior": matching}
    return AAE(networks, **kwargs)


def build(config, parts: Parts) -> AAE:
    """`build_aae` as the options say."""
    return build_aae(
        parts.encoder,
        mirror(parts),
        build_matching(config, WIDTHS),
        gamma=config.gamma,
        **reconstruction_options(config, parts),
    )
