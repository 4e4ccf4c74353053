"""Bootstrap your own latent: one network foretells a slow average of itself."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from tf_infomax.objectives.base import Objective, Value, move_averages
from tf_infomax.objectives.batches import IMAGES
from tf_infomax.objectives.joint import (
    OTHER,
    SPREAD,
    build_head,
    describe_collapse,
    head_of,
    spread,
)
from tf_infomax.objectives.parts import Parts, shared_options
from tf_infomax.objectives.replicas import gather
from tf_infomax.runtime.completion import spelled_out
from tf_infomax.runtime.vectors import normalize

_AVERAGED = {"target_encoder": "encoder", "target_head": "head"}


@keras.saving.register_keras_serializable("tf_infomax")
class BYOL(Objective):
    """min_E,h,q  mean |unit(q(h(E(x)))) - unit(h'(E'(y)))|^2 and the other way round.

    E' and h' are moving averages of E and h, which no gradient reaches. There are no
    negatives and no reading in nats of information: nothing but the averages and the
    predictor q keeps the embeddings from one point.

    Source: Grill et al. 2020, eq. 2, with a momentum that stays what it is.

    Args:
        networks: "encoder"; "head", from its code to the embedding; "predictor", from
            an embedding to another one; "target_encoder" and "target_head", which begin
            as copies.
        momentum: of the averages, a step; 0: they are the networks themselves.
        **kwargs: `seed`, `ema`, `views` and so on of `Objective`.
    """

    players: Mapping = {"encoder": ("encoder", "head", "predictor")}
    values: Mapping = {
        "loss/byol": Value(
            unit="squared distance", measures="of predicted and averaged directions"
        ),
        "spread": SPREAD,
    }

    def __init__(self, networks: Mapping, momentum: float = 0.99, **kwargs: object):
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum must be in [0, 1). Received: {momentum}.")
        super().__init__(networks, **kwargs)
        for target in _AVERAGED:
            self.networks[target].trainable = False
        self.momentum = momentum

    @property
    def takes(self) -> dict[str, keras.KerasTensor]:
        return dict.fromkeys((IMAGES, OTHER), self.networks["encoder"].input)

    def step_losses(
        self, batch: Mapping[str, tf.Tensor], seed: tf.Tensor
    ) -> tuple[dict, dict]:
        # Both views at once, as one batch of statistics.
        images = tf.concat([batch[IMAGES], batch[OTHER]], axis=0)
        networks = self.networks
        embedding = networks["head"](networks["encoder"](images)["code"])
        guess = networks["predictor"](embedding)
        code = networks["target_encoder"](images)["code"]
        x, y = tf.split(tf.stop_gradient(networks["target_head"](code)), 2)
        target = tf.concat([y, x], axis=0)
        apart = tf.square(normalize(guess) - normalize(target))
        error = tf.reduce_mean(tf.reduce_sum(apart, axis=-1))
        values = {"loss/byol": error, "spread": spread(gather(embedding))}
        return {"encoder": error}, values

    def after_updates(self) -> None:
        """Moves the averages; statistics of batch norm they take for themselves."""
        for target, role in _AVERAGED.items():
            pairs = zip(
                self.networks[target].weights, self.networks[role].weights, strict=True
            )
            move_averages(pairs, 1.0 - self.momentum)

    def describe_collapse(self, values: Mapping[str, float]) -> list[str]:
        return describe_collapse(values)

    def describe(self) -> dict:
        return {**super().describe(), "momentum": self.momentum}

    def get_config(self) -> dict:
        return {**super().get_config(), "momentum": self.momentum}


@spelled_out(BYOL, Objective)
def build_byol(
    encoder: keras.Model, head: Sequence[int] = (256, 128), **kwargs: object
) -> BYOL:
    """The encoder with a head, a predictor of the head's shape, and their averages.

    Args:
        encoder: a model from uint8 images to a dict of features.
        head: widths of the layers on the code, at least one.
        **kwargs: `momentum` of `BYOL`, `seed`, `ema`, `views` of `Objective`.
    """
    width = encoder.output["code"].shape[-1]
    networks = {
        "encoder": encoder,
        "head": build_head(width, head),
        "predictor": build_head(head[-1], head, "predictor"),
    }
    for target, role in _AVERAGED.items():
        networks[target] = keras.models.clone_model(networks[role])
        networks[target].set_weights(networks[role].get_weights())
    return BYOL(networks, **kwargs)


def build(config, parts: Parts) -> BYOL:
    """`build_byol` as the options say."""
    return build_byol(
        parts.encoder,
        head_of(config),
        momentum=config.momentum,
        **shared_options(config, parts),
    )
