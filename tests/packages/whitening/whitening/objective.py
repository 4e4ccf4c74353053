"""Codes without correlation, of variance 1."""

from collections.abc import Mapping

import keras
import tensorflow as tf

from tf_infomax.objectives import Objective, Value


@keras.saving.register_keras_serializable("whitening")
class Whitening(Objective):
    """min_E  strength * mean((cov(E(x)) - 1)^2)."""

    values: Mapping = {
        "whiteness": Value(measures="squared distance of the covariance from 1")
    }

    def __init__(self, networks, strength=1.0, **kwargs):
        super().__init__(networks, **kwargs)
        self.strength = strength

    def step_losses(self, batch, seed):
        code = tf.cast(self.networks["encoder"](batch["x"])["code"], tf.float32)
        centred = code - tf.reduce_mean(code, axis=0)
        covariance = tf.matmul(centred, centred, transpose_a=True) / code.shape[0]
        distance = tf.reduce_mean(tf.square(covariance - tf.eye(code.shape[-1])))
        return {"encoder": self.strength * distance}, {"whiteness": distance}

    def get_config(self):
        return {**super().get_config(), "strength": self.strength}


def build(config, parts):
    """The objective as the options say."""
    return Whitening(
        {"encoder": parts.encoder}, config.strength, seed=config.seed, ema=config.ema
    )
