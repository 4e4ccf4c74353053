"""Matching the distribution of codes to a prior, and nothing else."""

from collections.abc import Mapping

import keras
import tensorflow as tf

from tf_infomax.objectives.base import Objective
from tf_infomax.objectives.batches import IMAGES
from tf_infomax.objectives.parts import Parts, build_matching, shared_options
from tf_infomax.objectives.prior_matching import PriorMatching, as_matching
from tf_infomax.objectives.priors import Prior
from tf_infomax.objectives.replicas import fold_images
from tf_infomax.runtime.completion import spelled_out


@keras.saving.register_keras_serializable("tf_infomax")
class OnlyPrior(Objective):
    """min_E d(squash(E(x)), prior), d a loss of `PriorMatching`.

    The prior's term of Deep InfoMax by itself: codes that are distributed as the prior
    need not say anything about their images.

    Source: Hjelm et al. 2019, eq. 7 alone.

    Args:
        networks: "encoder", and "prior", a `PriorMatching`.
        **kwargs: `seed`, `ema` and `front` of `Objective`.
    """

    def __init__(self, networks: Mapping, **kwargs: object):
        super().__init__(networks, **kwargs)
        self.players = {**Objective.players, **self.prior.players}
        self.values = self.prior.loss_values | self.prior.figures

    @property
    def prior(self) -> PriorMatching:
        return self.networks["prior"]

    @property
    def code_prior(self) -> Prior:
        return self.prior.distribution

    @property
    def step_values(self) -> tuple[str, ...]:
        return tuple(self.prior.loss_values)

    def step_losses(
        self, batch: Mapping[str, tf.Tensor], seed: tf.Tensor
    ) -> tuple[dict, dict]:
        return self.prior.match(self.networks["encoder"](batch[IMAGES])["code"], seed)

    def test_losses(
        self, batch: Mapping[str, tf.Tensor], seed: tf.Tensor
    ) -> tuple[dict, dict]:
        """With how far the codes are from the prior, and who is winning."""
        code = self.networks["encoder"](batch[IMAGES])["code"]
        seed = fold_images(seed, batch[IMAGES])
        losses, values = self.prior.match(code, seed)
        return losses, values | self.prior.compare(code, seed)

    def merit(self, values: Mapping[str, float]) -> float:
        """How near the codes are to the prior: losses tell who is ahead only."""
        return -values["mmd"]

    def describe_collapse(self, values: Mapping[str, float]) -> list[str]:
        return self.prior.describe_mismatch(values)

    def describe(self) -> dict:
        return {**super().describe(), **self.prior.describe()}


@spelled_out(Objective)
def build_only_prior(
    encoder: keras.Model, prior: str | PriorMatching = "uniform", **kwargs: object
) -> OnlyPrior:
    """The encoder and a prior, by its name or as a layer.

    Args:
        encoder: a model from uint8 images to a dict of features.
        prior: as above.
        **kwargs: `seed`, `ema` and `front` of `Objective`.
    """
    networks = {"encoder": encoder, "prior": as_matching(prior, encoder)}
    return OnlyPrior(networks, **kwargs)


def build(config, parts: Parts) -> OnlyPrior:
    """`build_only_prior` as the options say."""
    matching = build_matching(config)
    return build_only_prior(parts.encoder, matching, **shared_options(config, parts))
