"""Coordinates as a task: where in the image does a local feature lie?"""

import math
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from tf_infomax.encoders.convnet import build_norm
from tf_infomax.objectives.base import Value
from tf_infomax.objectives.replicas import draw
from tf_infomax.objectives.tasks import Task

KINDS = ("absolute", "relative")


@keras.saving.register_keras_serializable("tf_infomax")
class Coordinates(Task):
    """min E[-log p(row | ...) - log p(column | ...)] over images and places of a map.

    Absolute: i and j given c_ij and y, the local feature at row i and column j and the
    code. Relative: the offsets i' - i and j' - j given c_i'j' of one place of each
    image, drawn anew in each step, c_ij of every place (that one as well), and y.

    Rows and columns are categorical, independent given the features; their logits are
    those of one MLP with batch norm and ReLU. Its first layer is split,
    `[c; y] W = c W_c + y W_y`, so that the code is never tiled over the map. Of several
    views each has its own map and its own code; loss and values are the means.

    Source: Hjelm et al. 2019, section 4.3 and appendix A.7.

    Args:
        kind: "absolute" or "relative".
        weight: of the loss.
        views: those whose places are told.
        widths: hidden widths of the MLP.
    """

    def __init__(
        self,
        kind: str = "absolute",
        weight: float = 1.0,
        views: Sequence[str] = ("x",),
        widths: Sequence[int] = (512, 512),
        **kwargs: object,
    ):
        if kind not in KINDS:
            raise ValueError(
                f"kind must be one of {', '.join(KINDS)}. Received: {kind!r}."
            )
        super().__init__(weight, **{"name": f"coordinates_{kind}", **kwargs})
        self.kind, self.views, self.widths = kind, tuple(views), tuple(widths)
        self.pairs = tuple((f"{view}.local", f"{view}.code") for view in self.views)
        self.sides = tuple(side for pair in self.pairs for side in pair)

    def build(self, shapes: Mapping[str, tuple]) -> None:
        found = {(tuple(shapes[x][1:]), tuple(shapes[y][1:])) for x, y in self.pairs}
        (local, code), *others = found
        if others or len(local) != 3 or len(code) != 1 or math.prod(local[:2]) < 2:
            raise ValueError(
                "coordinates are those of maps [N, H, W, C] of more than one place, "
                "with codes [N, D], the same of all views. Received: "
                f"{', '.join(f'{side} {list(shapes[side])}' for side in self.sides)}."
            )
        self.map_shape = local[:2]
        # Made here and not before, so that all other networks draw the same weights
        # with this task as without it.
        self.first = {"place": _build_first(self.widths[0], local[-1], "place")}
        self.first["code"] = _build_first(self.widths[0], code[-1], "code")
        if self.kind == "relative":
            self.first["source"] = _build_first(self.widths[0], local[-1], "source")
        self.head = _build_head(self.widths, sum(self._classes))
        self.head.build((None, self.widths[0]))
        self.built = True

    @property
    def _classes(self) -> tuple[int, int]:
        """How many rows and columns there are, or offsets in each."""
        relative = self.kind == "relative"
        return tuple(2 * side - 1 if relative else side for side in self.map_shape)

    @property
    def values(self) -> dict[str, Value]:
        relative = self.kind == "relative"
        found, offset = {}, "offset " if relative else ""
        for axis, side in zip(("row", "column"), self.map_shape, strict=True):
            found[f"{self.name}/{axis}"] = Value(
                kind="accuracy",
                unit="share",
                measures=f"places of the map whose likeliest {axis} {offset}is right",
                ceiling=lambda batch_size: 1.0,
                chance=1.0 / side,  # the commonest offset is 0
            )
        what = "offset of two places" if relative else "place in the map"
        found[f"{self.name}/cross_entropy"] = Value(
            measures=f"-log p({what} | local features, code)",
            chance=sum(_entropy(side, relative) for side in self.map_shape),
        )
        return found

    def call(
        self, features: Mapping[str, tf.Tensor], seed: tf.Tensor
    ) -> tuple[tf.Tensor, dict]:
        found = []
        for place, (local, code) in enumerate(self.pairs):
            own = tf.random.fold_in(seed, place, alg="philox")
            found.append(self._tell(features[local], features[code], own))
        means = [tf.reduce_mean(each) for each in zip(*found, strict=True)]
        return means[-1], dict(zip(self.values, means, strict=True))

    def _tell(self, local, code, seed) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """How often row and column are right, and the cross-entropy of both, nats."""
        n, places = local.shape[0] or tf.shape(local)[0], math.prod(self.map_shape)
        c = tf.reshape(local, [-1, places, local.shape[-1]])
        hidden = self.first["place"](c) + self.first["code"](code)[:, None]
        labels = np.indices(self.map_shape, np.int32).reshape(2, 1, places)
        if self.kind == "relative":
            source = draw(_draw_places(places), n, [], seed)
            of_source = tf.gather(c, source, batch_dims=1)
            hidden += self.first["source"](of_source)[:, None]
            labels = self._offsets(tf.gather(labels[:, 0], source, axis=1), labels)
        logits = self.head(tf.reshape(hidden, [-1, self.widths[0]]))  # [N L, classes]
        labels = tf.reshape(tf.broadcast_to(labels, [2, n, places]), [2, -1])
        sides = tf.split(logits, self._classes, axis=-1)
        right, errors = zip(*map(_score, tf.unstack(labels), sides), strict=True)
        return *right, sum(errors)

    def _offsets(self, source: tf.Tensor, labels: np.ndarray) -> tf.Tensor:
        """Rows and columns of a place of each image less those of all, from 0 on.

        Args:
            source: `[2, N]`.
            labels: `[2, 1, L]`.
        """
        least = np.reshape([1 - side for side in self.map_shape], [2, 1, 1])
        return source[..., None] - labels - least.astype(np.int32)

    def describe(self) -> dict:
        return {**super().describe(), "kind": self.kind}

    def get_config(self) -> dict:
        names = ("kind", "views", "widths")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _build_first(units: int, width: int, name: str) -> keras.layers.Dense:
    """What the first linear map does to one feature."""
    # Without a bias: the batch norm after it has one.
    layer = keras.layers.Dense(units, use_bias=False, name=name)
    layer.build((None, width))
    return layer


def _build_head(widths: Sequence[int], classes: int) -> keras.Sequential:
    """All of the MLP that follows its first linear map."""
    layers = []
    for width in (*widths[1:], None):
        layers += [build_norm(), keras.layers.ReLU()]
        if width:
            layers.append(keras.layers.Dense(width, use_bias=False))
    # Logits in float32 whatever the policy, as all that goes into an exponential.
    layers.append(keras.layers.Dense(classes, dtype="float32"))
    return keras.Sequential(layers, name="head")


def _score(labels: tf.Tensor, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The share of labels that are the likeliest, and the mean of -log p(label)."""
    errors = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    found = tf.argmax(logits, axis=-1, output_type=tf.int32)
    right = tf.cast(tf.equal(found, labels), tf.float32)
    return tf.reduce_mean(right), tf.reduce_mean(errors)


def _draw_places(places: int):
    """(shape, seed) -> places of a map."""
    return lambda shape, seed: tf.random.stateless_uniform(
        shape, seed, maxval=places, dtype=tf.int32, alg="philox"
    )


def _entropy(side: int, relative: bool) -> float:
    """Of the row (column) of a random place, or of the offset of two; nats."""
    counts = np.ones(side) if not relative else side - np.abs(np.arange(1 - side, side))
    p = counts / counts.sum()
    return float(-np.sum(p * np.log(p)))
