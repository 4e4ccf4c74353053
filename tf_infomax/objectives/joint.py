"""Joint embedding: two views of each image are made to agree, all images to differ."""

import math
from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from tf_infomax import bounds
from tf_infomax.objectives.base import Objective, Value
from tf_infomax.objectives.batches import IMAGES, LABEL
from tf_infomax.objectives.joint_losses import LOSSES
from tf_infomax.objectives.parts import Parts, shared_options
from tf_infomax.objectives.replicas import gather
from tf_infomax.runtime.completion import spelled_out
from tf_infomax.runtime.vectors import normalize

OTHER = "y"  # the view beside IMAGES
_COLLAPSED = 0.1  # of the deviation of directions that are spread uniformly
SPREAD = Value(
    kind="score",
    unit="ratio",
    measures="deviation of the directions of embeddings, over that of uniform ones",
)


def build_head(width: int, widths: Sequence[int], name: str = "head") -> keras.Model:
    """A projection of codes: hidden layers with batch norm and ReLU, a linear one.

    Args:
        width: of the code.
        widths: of the layers, the last of the embedding; (): the code as it is.
        name: of the model.

    Source: Chen et al. 2020, section 4.2; Grill et al. 2020, section 3.3.
    """
    code = x = keras.Input((width,), name="code")
    for place, units in enumerate(widths):
        last = place == len(widths) - 1
        x = keras.layers.Dense(units, use_bias=last, name=f"dense_{place}")(x)
        if not last:
            norm = keras.layers.BatchNormalization(synchronized=True)
            x = keras.layers.ReLU()(norm(x))
    # Losses are computed in float32, whatever the policy.
    x = keras.layers.Activation("linear", dtype="float32", name="embedding")(x)
    return keras.Model(code, x, name=name)


def spread(embeddings: tf.Tensor) -> tf.Tensor:
    """The deviation of the directions of `[N, D]`, over that of uniform ones.

    1 where their mean is 0, 0 where all are one.
    """
    mean = tf.reduce_mean(normalize(embeddings), axis=0)
    return tf.sqrt(tf.maximum(1.0 - tf.reduce_sum(tf.square(mean)), 0.0))


def describe_collapse(values: Mapping[str, float]) -> list[str]:
    """A warning where all embeddings have one direction."""
    if values["spread"] >= _COLLAPSED:
        return []
    return [
        "the embeddings have collapsed: nearly all images have one direction "
        f"(deviation {values['spread']:.2g} of 1)."
    ]


@keras.saving.register_keras_serializable("tf_infomax")
class JointEmbedding(Objective):
    """min_E,h  loss(h(E(x)), h(E(y))),  x and y views of the same images.

    Both views go through the encoder at once. Under a distribution strategy every
    replica has the loss of the whole batch, so that the summed gradient is the
    single-device one. Of a loss whose scores are cos / temperature, tests report the
    InfoNCE of both directions, a lower bound on the information of the two embeddings;
    others have no reading in nats of information.

    Args:
        networks: "encoder", and "head", from its code to the embedding. What is probed
            is the encoder.
        loss: a key of `joint_losses.LOSSES`.
        options: of the loss.
        **kwargs: `seed`, `ema`, `views` and so on of `Objective`.
    """

    players: Mapping = {"encoder": ("encoder", "head")}

    def __init__(
        self,
        networks: Mapping,
        loss: str = "nt_xent",
        options: Mapping[str, float] | None = None,
        **kwargs: object,
    ):
        if loss not in LOSSES:
            raise ValueError(
                f"loss must be one of {', '.join(LOSSES)}. Received: {loss!r}."
            )
        row, given = LOSSES[loss], dict(options or {})
        if set(given) != set(row.options):
            raise ValueError(
                f"loss={loss!r} takes the options {', '.join(row.options)}. Received: "
                f"{', '.join(given) or 'none'}."
            )
        super().__init__(networks, **kwargs)
        self.loss_name, self.options, self._row = loss, given, row
        self.asks = frozenset({LABEL} if row.labels else ())
        measures = row.function.__doc__.split("\n")[0].replace("`", "").rstrip(".")
        self.values = {
            f"loss/{loss}": Value(unit=row.unit, measures=measures),
            **row.parts,
            "spread": SPREAD,
        }
        if row.contrastive:
            self.values["mi/views"] = Value(
                kind="mi",
                measures="mutual information, nats",
                ceiling=math.log,
                chance=0.0,
                facts={
                    "bound": "info_nce",
                    "negatives": "iid",
                    "pooled": False,
                    "objective": False,
                },
            )

    @property
    def step_values(self) -> tuple[str, ...]:
        return (f"loss/{self.loss_name}", *self._row.parts, "spread")

    @property
    def shown(self) -> tuple[str, ...]:
        return (f"loss/{self.loss_name}",)

    @property
    def takes(self) -> dict[str, keras.KerasTensor]:
        return dict.fromkeys((IMAGES, OTHER), self.networks["encoder"].input)

    def _embed(self, batch: dict) -> list[tf.Tensor]:
        """Of both views, `[N, D]` each, of the whole batch."""
        images = tf.concat([batch[IMAGES], batch[OTHER]], axis=0)
        embeddings = self.networks["head"](self.networks["encoder"](images)["code"])
        return [gather(each) for each in tf.split(embeddings, 2)]

    def _measure(self, x: tf.Tensor, y: tf.Tensor, batch: dict) -> tuple[dict, dict]:
        labels = gather(batch[LABEL]) if self._row.labels else None
        loss, parts = self._row.function(x, y, labels, *self._ordered)
        values = {f"loss/{self.loss_name}": loss, **parts, "spread": spread(x)}
        return {"encoder": loss}, values

    @property
    def _ordered(self) -> list[float]:
        return [self.options[name] for name in self._row.options]

    def step_losses(
        self, batch: Mapping[str, tf.Tensor], seed: tf.Tensor
    ) -> tuple[dict, dict]:
        return self._measure(*self._embed(batch), batch)

    def test_losses(
        self, batch: Mapping[str, tf.Tensor], seed: tf.Tensor
    ) -> tuple[dict, dict]:
        """With InfoNCE of the same scores, where that bounds information."""
        x, y = self._embed(batch)
        losses, values = self._measure(x, y, batch)
        if self._row.contrastive:
            scores = tf.matmul(normalize(x), normalize(y), transpose_b=True)
            scores /= self.options["similarity_temperature"]
            values["mi/views"] = bounds.info_nce(scores, "both")
        return losses, values

    def describe_collapse(self, values: Mapping[str, float]) -> list[str]:
        return describe_collapse(values)

    def describe(self) -> dict:
        return {
            **super().describe(),
            "loss": self.loss_name,
            "options": self.options,
            "embedding": self.networks["head"].output.shape[-1],
        }

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "loss": self.loss_name,
            "options": self.options,
        }


@spelled_out(Objective)
def build_joint(
    encoder: keras.Model,
    loss: str = "nt_xent",
    head: Sequence[int] = (256, 128),
    options: Mapping[str, float] | None = None,
    **kwargs: object,
) -> JointEmbedding:
    """The encoder with a head, and a loss by its name.

    Args:
        encoder: a model from uint8 images to a dict of features.
        loss: a key of `joint_losses.LOSSES`.
        head: widths of the layers on the code; (): the code is the embedding.
        options: of the loss.
        **kwargs: `seed`, `ema`, `views` and so on of `Objective`.
    """
    width = encoder.output["code"].shape[-1]
    networks = {"encoder": encoder, "head": build_head(width, head)}
    return JointEmbedding(networks, loss, options, **kwargs)


def head_of(config) -> tuple[int, ...]:
    """Widths as the options say."""
    hidden = (config.head_units,) * (config.head_layers - 1)
    return (*hidden, config.embedding_size) if config.head_layers else ()


def _build(loss: str):
    def build(config, parts: Parts) -> JointEmbedding:
        options = {name: getattr(config, name) for name in LOSSES[loss].options}
        shared = shared_options(config, parts)
        return build_joint(parts.encoder, loss, head_of(config), options, **shared)

    build.__doc__ = f"`build_joint` of {loss} as the options say."
    return build


build_nt_xent, build_decoupled = _build("nt_xent"), _build("decoupled")
build_debiased = _build("debiased")
build_supervised_contrast = _build("supervised_contrast")
build_vicreg, build_barlow_twins = _build("vicreg"), _build("barlow_twins")
build_log_determinant = _build("log_determinant")
