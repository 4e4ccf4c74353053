"""Classification with labels, all or a few: the reference with supervision."""

from collections.abc import Mapping

import keras
import tensorflow as tf

from tf_infomax.objectives.base import Objective, Value
from tf_infomax.objectives.batches import IMAGES, LABEL
from tf_infomax.objectives.parts import Parts, shared_options
from tf_infomax.objectives.replicas import mean
from tf_infomax.runtime.completion import spelled_out


@keras.saving.register_keras_serializable("tf_infomax")
class Supervised(Objective):
    """min_E,h  E[-log p(label | image)],  p = softmax(h(E(image))).

    An image whose label is -1 has none: it counts in nothing but the statistics of
    batch norm. The mean is over the labelled images of the whole batch; of a batch
    without any it is 0.

    Source: the rows "fully supervised" of Hjelm et al. 2019, tables 1 and 2: the
    encoder of all other rows, trained with labels.

    Args:
        networks: "encoder", and "head", from its code to a logit for each class.
        **kwargs: `seed`, `ema` and `front` of `Objective`.
    """

    players: Mapping = {"encoder": ("encoder", "head")}
    asks = frozenset({LABEL})
    step_values = ("accuracy",)
    values: Mapping = {
        "accuracy": Value(
            kind="accuracy",
            unit="share",
            measures="images whose own class is the likeliest",
            ceiling=lambda batch_size: 1.0,
        ),
        "cross_entropy": Value(measures="-log p(label | image)"),
    }

    def step_losses(
        self, batch: Mapping[str, tf.Tensor], seed: tf.Tensor
    ) -> tuple[dict, dict]:
        labels = tf.cast(batch[LABEL], tf.int64)
        code = self.networks["encoder"](batch[IMAGES])["code"]
        logits = tf.cast(self.networks["head"](code), tf.float32)
        labels = _check_labels(labels, logits.shape[-1])
        known = labels >= 0
        errors = tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.where(known, labels, 0), logits
        )
        right = tf.cast(tf.argmax(logits, axis=-1) == labels, tf.float32)
        return {"encoder": mean(errors, known)}, {"accuracy": mean(right, known)}

    def test_losses(
        self, batch: Mapping[str, tf.Tensor], seed: tf.Tensor
    ) -> tuple[dict, dict]:
        losses, values = super().test_losses(batch, seed)
        return losses, values | {"cross_entropy": losses["encoder"]}

    def describe(self) -> dict:
        classes = self.networks["head"].output.shape[-1]
        return {**super().describe(), "classes": classes}


def _check_labels(labels: tf.Tensor, classes: int) -> tf.Tensor:
    """The same; on a GPU a label of no class would be NaN, in silence."""
    complaint = f"labels must be below {classes}, the classes of the head"
    most = tf.constant(classes, labels.dtype)
    with tf.control_dependencies([tf.debugging.assert_less(labels, most, complaint)]):
        return tf.identity(labels)


@spelled_out(Objective)
def build_supervised(
    encoder: keras.Model, classes: int, **kwargs: object
) -> Supervised:
    """The encoder with a linear layer on the ReLU of its code.

    Args:
        encoder: a model from uint8 images to a dict of features.
        classes: how many; labels are 0 to `classes` - 1, or -1.
        **kwargs: `seed`, `ema` and `front` of `Objective`.
    """
    code = keras.Input(encoder.output["code"].shape[1:], name="code")
    # Logits in float32 whatever the policy, as all that goes into an exponential.
    logits = keras.layers.Dense(classes, dtype="float32", name="logits")
    head = keras.Model(code, logits(keras.layers.ReLU()(code)), name="head")
    return Supervised({"encoder": encoder, "head": head}, **kwargs)


def build(config, parts: Parts) -> Supervised:
    """`build_supervised` as the options say."""
    return build_supervised(
        parts.encoder, parts.classes, **shared_options(config, parts)
    )
