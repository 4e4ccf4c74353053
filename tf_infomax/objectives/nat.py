"""Noise as targets: each image at a point of its own, drawn uniformly on the sphere."""

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from tf_infomax.objectives.base import Objective, Value
from tf_infomax.objectives.batches import IMAGES, INDEX
from tf_infomax.objectives.parts import Parts, shared_options
from tf_infomax.objectives.priors import PRIORS
from tf_infomax.objectives.replicas import fold_images, gather, own_rows
from tf_infomax.runtime.completion import spelled_out
from tf_infomax.runtime.vectors import normalize

_UNIT = "squared length"
_LEAST_GAIN = 0.1  # of what uniform codes gain by the choice of their targets


def assign(codes: tf.Tensor, points: tf.Tensor) -> tf.Tensor:
    """Which point each code gets, no two the same, so that sum |z - t|^2 is least.

    Of all orders of the points it is that with the largest sum of z.t, by SciPy's
    `linear_sum_assignment` on the processor: XLA cannot compile it. Codes that are not
    finite keep the order.

    Args:
        codes, points: `[N, D]`.

    Returns:
        int64 `[N]`: code i gets points[order[i]].
    """
    products = tf.matmul(codes, points, transpose_b=True)
    order = tf.numpy_function(_find_order, [products], tf.int64, stateful=False)
    return tf.ensure_shape(order, codes.shape[:1])


def _find_order(products: np.ndarray) -> np.ndarray:
    from scipy.optimize import linear_sum_assignment

    if not np.isfinite(products).all():
        return np.arange(len(products))
    return linear_sum_assignment(products, maximize=True)[1]


@keras.saving.register_keras_serializable("tf_infomax")
class Targets(keras.layers.Layer):
    """Points of the unit sphere, one for each training image.

    They are drawn once, uniformly; after that the images exchange them.

    Args:
        images: how many training images there are.
        width: D of the points.
        seed: of the draw.
    """

    def __init__(self, images: int, width: int, seed: int = 0, **kwargs: object):
        super().__init__(**{"dtype": "float32", **kwargs})
        if images < 2:
            raise ValueError(
                "targets are exchanged among images, of which there must be 2 at least "
                f"(`images`, how many are trained on). Received: {images}."
            )
        self.images, self.width, self.seed = images, width, seed
        self.supports_jit = False
        self.points = self.add_weight(
            shape=(images, width),
            initializer=self._draw,
            trainable=False,
            aggregation="only_first_replica",  # all of them compute the same
            name="points",
        )
        self.built = True

    def _draw(self, shape, dtype=None):
        return PRIORS["sphere"].sample(shape, tf.constant([self.seed, 0], tf.int64))

    def exchange(
        self, codes: tf.Tensor, index: tf.Tensor, due: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Gives these images their points in the best order, if it is due.

        Args:
            codes: unit vectors `[N, D]`.
            index: which images these are, `[N]`, each once.
            due: a bool.

        Returns:
            `(points, moved)`: of each image `[N, D]`, and whether it is another one
            than before `[N]`.
        """
        once = tf.size(tf.unique(index).y) == tf.size(index)
        message = "a batch must have each image once: two would have one target"
        with tf.control_dependencies([tf.debugging.Assert(once, [message, index])]):
            before = tf.gather(self.points.value, index)
        places = tf.range(tf.size(index, tf.int64))
        order = tf.cond(due, lambda: assign(codes, before), lambda: places)
        points = tf.gather(before, order)
        self.points.value.scatter_update(tf.IndexedSlices(points, index))
        return points, order != places

    def get_config(self) -> dict:
        names = ("images", "width", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable("tf_infomax")
class NAT(Objective):
    """min_E min_P  1/2 E |z - t_P(x)|^2,  z = E(x) / |E(x)|.

    t are as many points as there are training images, drawn uniformly on the unit
    sphere and fixed; P says which image has which. The images of a batch exchange
    theirs for the best assignment within the batch, then the encoder steps towards
    them. Codes spread over the sphere as the points do, which maximizes their entropy,
    and an image can be told by its code.

    Test images have no targets: what is reported of them is the squared error to fresh
    points, one for each image of the batch, best assigned. Beside it stands that of
    directions drawn uniformly, which is the same where codes are spread uniformly, and
    that in any order, which is the same where all codes have one direction.

    Source: Bojanowski & Joulin 2017, section 3 and algorithm 1.

    Args:
        networks: "encoder", and "targets", the `Targets` of its code.
        assign_every: passes over the images from one in which targets are exchanged to
            the next.
        **kwargs: `seed`, `ema` and `front` of `Objective`.
    """

    asks = frozenset({INDEX})
    code_prior = PRIORS["sphere"]
    step_values = ("squared_error", "moved")
    values: Mapping = {
        "squared_error/fresh": Value(
            unit=_UNIT,
            measures="of directions of codes to fresh points, best assigned",
        ),
        "squared_error/unassigned": Value(
            unit=_UNIT, measures="the same, the mean over all orders of the points"
        ),
        "squared_error/uniform": Value(
            unit=_UNIT,
            measures="of directions drawn uniformly to the points, best assigned",
        ),
    }

    def __init__(self, networks: Mapping, assign_every: int = 1, **kwargs: object):
        if not assign_every >= 1:
            raise ValueError(
                f"assign_every must be at least 1. Received: {assign_every}."
            )
        super().__init__(networks, **kwargs)
        self.assign_every = assign_every
        width = self.networks["encoder"].output["code"].shape[-1]
        if self.networks["targets"].width != width:
            raise ValueError(
                f"targets must be as wide as the code, {width}. Received: "
                f"{self.networks['targets'].width}."
            )

    def step_losses(
        self, batch: Mapping[str, tf.Tensor], seed: tf.Tensor
    ) -> tuple[dict, dict]:
        code = self._encode(batch)
        whole, index = gather(tf.stop_gradient(code)), gather(batch[INDEX])
        due = self._is_due(tf.size(index, tf.int64))
        points, moved = self.networks["targets"].exchange(whole, index, due)
        rows = code.shape[0] or tf.shape(code)[0]
        error = _mean_square(code - own_rows(points, rows))
        moved = tf.reduce_mean(tf.cast(moved, tf.float32))
        return {"encoder": 0.5 * error}, {"squared_error": error, "moved": moved}

    def test_losses(
        self, batch: Mapping[str, tf.Tensor], seed: tf.Tensor
    ) -> tuple[dict, dict]:
        """Of fresh points, other ones for other images."""
        codes, seed = gather(self._encode(batch)), fold_images(seed, batch[IMAGES])
        points, directions = (
            PRIORS["sphere"].sample(tf.shape(codes), each)
            for each in (seed, tf.random.fold_in(seed, 1, alg="philox"))
        )
        fresh, uniform = (
            _mean_square(each - tf.gather(points, assign(each, points)))
            for each in (codes, directions)
        )
        centers = [tf.reduce_mean(each, axis=0) for each in (codes, points)]
        unassigned = 2.0 - 2.0 * tf.tensordot(*centers, axes=1)
        found = (fresh, unassigned, uniform)
        values = dict(zip(self.values, found, strict=True))
        return {"encoder": 0.5 * fresh}, values

    def _encode(self, batch: dict) -> tf.Tensor:
        """Directions of the codes, `[N, D]`."""
        return normalize(self.networks["encoder"](batch[IMAGES])["code"])

    def _is_due(self, count: tf.Tensor) -> tf.Tensor:
        """Whether this pass over the images is one in which targets are exchanged."""
        steps = tf.maximum(self.networks["targets"].images // count, 1)
        return self.step.value // steps % self.assign_every == 0

    def describe_collapse(self, values: Mapping[str, float]) -> list[str]:
        fresh, unassigned, uniform = (values[name] for name in self.values)
        if unassigned - fresh >= _LEAST_GAIN * (2.0 - uniform):
            return []
        return [
            "the codes have collapsed: nearly all of them have the same direction, so "
            "that it hardly matters which image has which target (squared error "
            f"{fresh:.3g}, in any order {unassigned:.3g}; of uniform codes "
            f"{uniform:.3g})."
        ]

    def describe(self) -> dict:
        return {**super().describe(), "assign_every": self.assign_every}

    def get_config(self) -> dict:
        return {**super().get_config(), "assign_every": self.assign_every}


def _mean_square(differences: tf.Tensor) -> tf.Tensor:
    """The mean of |d|^2 over the rows of `[N, D]`."""
    return tf.reduce_mean(tf.reduce_sum(tf.square(differences), axis=-1))


@spelled_out(NAT, Objective)
def build_nat(
    encoder: keras.Model, images: int, seed: int = 0, **kwargs: object
) -> NAT:
    """The encoder with fresh targets.

    Args:
        encoder: a model from uint8 images to a dict of features.
        images: how many training images there are.
        seed: of the targets, and of all draws.
        **kwargs: `assign_every` of `NAT`, `ema` and `front` of `Objective`.
    """
    targets = Targets(images, encoder.output["code"].shape[-1], seed, name="targets")
    return NAT({"encoder": encoder, "targets": targets}, seed=seed, **kwargs)


def build(config, parts: Parts) -> NAT:
    """`build_nat` as the options say."""
    return build_nat(
        parts.encoder,
        parts.images,
        assign_every=config.assign_every,
        **shared_options(config, parts),
    )
