"""What an encoder is trained for beside the terms of `InfoMax`."""

from collections.abc import Mapping

import keras
import tensorflow as tf

from tf_infomax.objectives.base import Value


class Task(keras.layers.Layer):
    """Something to be told from features, by a network of its own.

    Its loss, times `weight`, is added to the encoder's, whose player trains its network
    as well. A subclass lists `sides`, builds its weights in `build`, by then knows its
    `values`, and writes `call`.

    Args:
        weight: of its loss.
        **kwargs: of a Keras layer; `name` tells the tasks of an objective apart.

    Attributes:
        sides: "view.feature" of all that it is told from.
        values: name -> `Value` of what it reports, in training and in tests.
    """

    sides: tuple[str, ...] = ()
    values: Mapping[str, Value] = {}

    def __init__(self, weight: float = 1.0, **kwargs: object):
        super().__init__(**kwargs)
        self.weight = weight

    def build(self, shapes: Mapping[str, tuple]) -> None:
        """Builds the weights for features of these shapes, by side."""
        raise NotImplementedError

    def call(
        self, features: Mapping[str, tf.Tensor], seed: tf.Tensor
    ) -> tuple[tf.Tensor, dict]:
        """The mathematics of a step.

        Args:
            features: side -> tensor.
            seed: two integers, for its draws.

        Returns:
            `(loss, values)`: the mean over this replica's part of the batch, and all
            that `values` names.
        """
        raise NotImplementedError

    def describe(self) -> dict:
        """What it is, for the model card."""
        return {"weight": self.weight, "of": list(self.sides)}

    def get_config(self) -> dict:
        return {**super().get_config(), "weight": self.weight}
