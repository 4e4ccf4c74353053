"""Critics: Keras layers that score all pairs of two batches of features.

`critic((x, y))` gives `scores[..., i, j] = f(x_i, y_j)`, float32. If x is a map of
local features `[N, H, W, C]`, the scores are `[L, N, N]` with L = H W locations; if x
is a vector `[N, D]`, they are `[N, N]`. y is a vector, or for dot products a map as x
is: then each location is scored against the same location of the others.

A critic works in two steps, so that a caller may put something between them (gathering
the embeddings of all replicas, caching one side):

* `embed(x, y)` works on each example by itself;
* `score(hx, hy)` compares every x with every y.
"""

import inspect
import math
import re
from collections.abc import Sequence

import keras
import tensorflow as tf

from tf_infomax.runtime.vectors import normalize

__all__ = [
    "GLOBAL_CRITICS",
    "LOCAL_CRITICS",
    "VECTOR_CRITICS",
    "Bilinear",
    "Concatenated",
    "Cosine",
    "Critic",
    "EncodeAndDot",
    "EveryPlace",
    "GlobalConcatenated",
    "GlobalDot",
    "InnerProduct",
    "LayerCritic",
    "ProjectionBlock",
    "Separable",
    "as_critic",
]

_LARGEST_PAIR_TENSOR = 2**26  # elements; larger hidden layers on pairs are not stored
_BLOCK = 2**20  # elements of a hidden layer on pairs that stay in a CPU's caches


def _flatten_locations(x: tf.Tensor) -> tf.Tensor:
    """[N, H, W, C] -> [N, L, C]; a vector stays what it is."""
    if x.shape.rank == 2:
        return x
    _, height, width, channels = x.shape
    return tf.reshape(x, [-1, height * width, channels])


def _dot_scores(hx: tf.Tensor, hy: tf.Tensor) -> tf.Tensor:
    """[N, D] or [N, L, D] against [M, D] (or [M, L, D]) -> [N, M] or [L, N, M]."""
    hx, hy = tf.cast(hx, tf.float32), tf.cast(hy, tf.float32)
    if hx.shape.rank == 2:
        return tf.matmul(hx, hy, transpose_b=True)
    if hy.shape.rank == 3:
        return tf.einsum("nld,mld->lnm", hx, hy)
    # The order "nlm" keeps the large operand as it lies, in both directions.
    return tf.transpose(tf.einsum("nld,md->nlm", hx, hy), [1, 0, 2])


@tf.custom_gradient
def _correlate(z: tf.Tensor, p: tf.Tensor, epsilon: tf.Tensor):
    """((z - mean z) / sd z) . p for rows p of mean 0: [R, D], [M, D] -> [R, M].

    As p has mean 0, the gradient through the mean of z drops out, and neither the
    normalized rows nor their gradient through the normalization are formed: the
    gradient is one product and one multiple of z - mean z.
    """
    # Both of the differences: E[z^2] - mean^2, and z . p, lose all digits where the
    # mean is large.
    centred = z - tf.reduce_mean(z, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
    scale = tf.math.rsqrt(variance + epsilon)  # [R, 1]
    products = tf.matmul(centred, p, transpose_b=True)

    def gradient(upstream):
        scaled = scale * upstream
        along = tf.reduce_sum(scaled * products, axis=-1, keepdims=True)
        along *= -tf.square(scale) / tf.cast(tf.shape(z)[-1], z.dtype)
        dz = tf.matmul(scaled, p) + along * centred
        return dz, tf.matmul(scaled, centred, transpose_a=True), tf.zeros_like(epsilon)

    return scale * products, gradient


def _near_identity(shape, dtype=None):
    """U(-0.01, 0.01) with ones on the diagonal: the shortcut starts as a copy."""
    noise = keras.initializers.RandomUniform(-0.01, 0.01)(shape, dtype)
    eye = keras.ops.eye(*shape, dtype=dtype)
    return noise * (1.0 - eye) + eye


keras.saving.register_keras_serializable("tf_infomax", "near_identity")(_near_identity)


class Critic(keras.layers.Layer):
    """Base of all critics: `call((x, y))` is `score(*embed(x, y))`.

    The defaults are the identity for `embed` and the inner product for `score`.
    """

    @property
    def kind(self) -> str:
        """What it is called in a model card."""
        return re.sub("(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()

    def embed(
        self, x: tf.Tensor, y: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """One embedding per example (and location) of either side."""
        return _flatten_locations(x), _flatten_locations(y)

    def score(self, hx: tf.Tensor, hy: tf.Tensor) -> tf.Tensor:
        """Scores `[..., N, N]` of all pairs of embeddings."""
        return _dot_scores(hx, hy)

    def score_pairs(self, hx: tf.Tensor, hy: tf.Tensor) -> tf.Tensor:
        """Scores `[N]` of matching embeddings of vectors: the diagonal of `score`."""
        hx, hy = tf.cast(hx, tf.float32), tf.cast(hy, tf.float32)
        return tf.reduce_sum(hx * hy, axis=-1)

    def call(self, inputs: Sequence[tf.Tensor], training: bool = False) -> tf.Tensor:
        return self.score(*self.embed(*inputs, training=training))


@keras.saving.register_keras_serializable("tf_infomax")
class InnerProduct(Critic):
    """f(x, y) = x . y, without weights; both sides need the same width."""


@keras.saving.register_keras_serializable("tf_infomax")
class Bilinear(Critic):
    """f(x, y) = x^T W y. Source: van den Oord et al. 2018; Tschannen et al. 2020."""

    def build(self, input_shape: Sequence) -> None:
        (*_, dx), (*_, dy) = input_shape
        self.kernel = self.add_weight(shape=(dy, dx), name="kernel")
        super().build(input_shape)

    def embed(
        self, x: tf.Tensor, y: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        y = _flatten_locations(y)
        return _flatten_locations(x), tf.tensordot(y, tf.cast(self.kernel, y.dtype), 1)


@keras.saving.register_keras_serializable("tf_infomax")
class Cosine(Critic):
    """f(x, y) = cos(x, y) / T, without weights; both sides need the same width.

    An embedding of zeros has no direction and scores 0 with everything.

    Source: Tian et al. 2019 (contrastive multiview coding; T = 0.07).
    """

    def __init__(self, temperature: float = 0.07, **kwargs: object):
        super().__init__(**kwargs)
        self.temperature = temperature

    def embed(
        self, x: tf.Tensor, y: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        hx, hy = super().embed(x, y)
        return normalize(hx) / self.temperature, normalize(hy)

    def get_config(self) -> dict:
        return {**super().get_config(), "temperature": self.temperature}


def _build_mlp(widths, name: str) -> keras.Sequential:
    """Dense layers of these widths, ReLU between them, linear at the end."""
    hidden = [keras.layers.Dense(width, "relu") for width in widths[:-1]]
    return keras.Sequential([*hidden, keras.layers.Dense(widths[-1])], name=name)


def _apply_to_rows(net, x: tf.Tensor) -> tf.Tensor:
    """A network of vectors applied over the last axis of x."""
    rows = net(tf.reshape(x, [-1, x.shape[-1]]))
    return tf.reshape(rows, tf.concat([tf.shape(x)[:-1], [rows.shape[-1]]], axis=0))


@keras.saving.register_keras_serializable("tf_infomax")
class Separable(Critic):
    """f(x, y) = phi(x) . psi(y), both MLPs of the given widths.

    Source: Tschannen et al. 2020, section 3.2 (widths 100, 100).
    """

    def __init__(self, widths: Sequence[int] = (100, 100), **kwargs: object):
        super().__init__(**kwargs)
        self.widths = tuple(widths)
        self.x_net = _build_mlp(self.widths, "x_net")
        self.y_net = _build_mlp(self.widths, "y_net")

    def build(self, input_shape: Sequence) -> None:
        (*_, dx), (*_, dy) = input_shape
        self.x_net.build((None, dx))
        self.y_net.build((None, dy))
        super().build(input_shape)

    def embed(
        self, x: tf.Tensor, y: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        hx = _apply_to_rows(self.x_net, x)
        hx = tf.ensure_shape(hx, [*x.shape[:-1], self.widths[-1]])
        return _flatten_locations(hx), self.y_net(y)

    def get_config(self) -> dict:
        return {**super().get_config(), "widths": self.widths}


@keras.saving.register_keras_serializable("tf_infomax")
class Concatenated(Critic):
    """f(x, y) = MLP([x; y]) with the given hidden widths and one output.

    On a map x the MLP acts at every location: the "concatenate and convolve" critic of
    Deep InfoMax, 1 x 1 convolutions on the map with y tiled over it. The first layer is
    split, `[x; y] W = x W_x + y W_y`, so that no pair is ever concatenated. Hidden
    layers are computed in blocks of y, and those larger than `largest_pair_tensor`
    elements once more in the backward pass instead of being stored.

    Source: Hjelm et al. 2019, tables 6 and 7 (widths 512, 512); Tschannen et al. 2020,
    section 3.2 (width 200).
    """

    def __init__(
        self,
        widths: Sequence[int] = (200,),
        largest_pair_tensor: int = _LARGEST_PAIR_TENSOR,
        **kwargs: object,
    ):
        super().__init__(**kwargs)
        self.widths = tuple(widths)
        self.largest_pair_tensor = largest_pair_tensor
        self.x_layer = keras.layers.Dense(self.widths[0], use_bias=False)
        self.y_layer = keras.layers.Dense(self.widths[0])
        self.head = _build_mlp((*self.widths[1:], 1), "head")

    def build(self, input_shape: Sequence) -> None:
        (*_, dx), (*_, dy) = input_shape
        self.x_layer.build((None, dx))
        self.y_layer.build((None, dy))
        self.head.build((None, self.widths[0]))
        super().build(input_shape)

    def embed(
        self, x: tf.Tensor, y: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return self.x_layer(_flatten_locations(x)), self.y_layer(y)

    def score(self, hx: tf.Tensor, hy: tf.Tensor) -> tf.Tensor:
        hx = hx[:, None] if hx.shape.rank == 2 else hx  # [N, L, D]
        n, locations, width = hx.shape
        m = hy.shape[0]
        # As arguments: a recomputed function in a loop must not capture variables.
        weights = [variable.value for variable in self.head.trainable_variables]
        blocks, stored = 1, True
        if None not in (n, m):
            column = n * locations * width
            stored = m * column <= self.largest_pair_tensor
            blocks = _count_blocks(
                m, column, min(_block_size(), self.largest_pair_tensor)
            )
        if blocks == 1:
            scores = self._score_block(hx, hy, *weights)
        else:
            block = self._score_block
            if not stored:
                block = tf.recompute_grad(block)
            columns = -(-m // blocks)
            padded = tf.pad(hy, [[0, blocks * columns - m], [0, 0]])
            scores = tf.map_fn(
                lambda part: block(hx, part, *weights),
                tf.reshape(padded, [blocks, columns, width]),
                fn_output_signature=tf.float32,
            )
            shape = [locations, n, blocks * columns]
            scores = tf.reshape(tf.transpose(scores, [1, 2, 0, 3]), shape)[..., :m]
        return scores[0] if locations == 1 else scores

    def score_pairs(self, hx: tf.Tensor, hy: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.head(tf.nn.relu(hx + hy))[:, 0], tf.float32)

    def _score_block(self, hx, hy, *weights):
        """[N, L, D], [M, D] -> [L, N, M], through all M N L hidden vectors."""
        pairs = tf.nn.relu(hx[:, :, None] + hy[None, None])  # [N, L, M, D]
        head = lambda rows: self.head.stateless_call(weights, [], rows)[0]
        scores = tf.cast(_apply_to_rows(head, pairs)[..., 0], tf.float32)
        return tf.transpose(scores, [1, 0, 2])

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "widths": self.widths,
            "largest_pair_tensor": self.largest_pair_tensor,
        }


def _block_size() -> int:
    """Elements of a hidden layer on pairs that are computed at a time."""
    return _LARGEST_PAIR_TENSOR if tf.config.list_physical_devices("GPU") else _BLOCK


def _count_blocks(columns: int, elements_per_column: int, largest: int) -> int:
    """The fewest blocks of whole columns of which each stays within `largest`."""
    return -(-columns // max(1, largest // elements_per_column))


@keras.saving.register_keras_serializable("tf_infomax")
class ProjectionBlock(keras.layers.Layer):
    """Nonlinear block plus linear shortcut into the critic's space.

    * "code": Dense(no bias) - BN - ReLU - Dense, plus a shortcut that starts close to a
      copy, then layer norm: what the authors' released program does on either side.
    * "paper": Dense - ReLU - Dense plus ReLU(shortcut), with layer norm on the local
      side only: tables 8 and 9 of Hjelm et al. 2019.
    * "plain": "code" without its final layer norm. Then the block ends in linear maps
      which `EncodeAndDot` folds onto the other side: the same scores, cheaper.
    """

    def __init__(
        self,
        units: int,
        variant: str = "code",
        layer_norm: bool = True,
        **kwargs: object,
    ):
        super().__init__(**kwargs)
        self.units, self.variant, self.layer_norm = units, variant, layer_norm
        paper = variant == "paper"
        self.hidden = keras.layers.Dense(units, use_bias=paper, name="hidden")
        self.norm = None if paper else _build_batch_norm("hidden_norm")
        self.output_layer = keras.layers.Dense(units, name="output")
        self.shortcut = keras.layers.Dense(
            units,
            use_bias=paper,
            kernel_initializer="glorot_uniform" if paper else _near_identity,
            name="shortcut",
        )
        self.output_norm = (
            keras.layers.LayerNormalization(epsilon=1e-5, name="output_norm")
            if layer_norm
            else None
        )

    def build(self, input_shape: Sequence) -> None:
        width = input_shape[-1]
        self.hidden.build((None, width))
        if self.norm is not None:
            self.norm.build((None, self.units))
        self.output_layer.build((None, self.units))
        self.shortcut.build((None, width))
        if self.output_norm is not None:
            self.output_norm.build((None, self.units))
        super().build(input_shape)

    def hidden_features(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """What stands before the last linear map: `[..., units]`."""
        h = self.hidden(x)
        h = h if self.norm is None else self.norm(h, training=training)
        return tf.nn.relu(h)

    def before_norm(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """What the final layer norm is applied to: `[..., units]`."""
        shortcut = self.shortcut(x)
        shortcut = tf.nn.relu(shortcut) if self.variant == "paper" else shortcut
        return self.output_layer(self.hidden_features(x, training=training)) + shortcut

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        h = self.before_norm(x, training=training)
        return h if self.output_norm is None else self.output_norm(h)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "units": self.units,
            "variant": self.variant,
            "layer_norm": self.layer_norm,
        }


def _build_batch_norm(name: str) -> keras.layers.BatchNormalization:
    return keras.layers.BatchNormalization(
        momentum=0.9, epsilon=1e-5, synchronized=True, name=name
    )


@keras.saving.register_keras_serializable("tf_infomax")
class EncodeAndDot(Critic):
    """f(x, y) = phi(x) . psi(y) with a `ProjectionBlock` on either side.

    The critic of Deep InfoMax's main results: phi acts at each location of the local
    feature map, psi on the code. Dot products are not scaled.

    In the "plain" variant the last linear maps of phi are moved to the other side,
    `(h W + b + x S) . g = h . (W g) + x . (S g) + b . g`: identical scores without the
    `units x units` product at every location.

    Source: Hjelm et al. 2019, section 3.1 and tables 8, 9; see `ProjectionBlock`.
    """

    def __init__(self, units: int = 2048, variant: str = "code", **kwargs: object):
        super().__init__(**kwargs)
        if variant not in ("code", "paper", "plain"):
            raise ValueError(
                f"variant must be 'code', 'paper' or 'plain'. Received: {variant!r}."
            )
        self.units, self.variant = units, variant
        self.x_block = ProjectionBlock(units, variant, variant != "plain", name="x")
        self.y_block = ProjectionBlock(units, variant, variant == "code", name="y")

    @property
    def kind(self) -> str:
        return super().kind + ("" if self.variant == "code" else f"_{self.variant}")

    def build(self, input_shape: Sequence) -> None:
        (*_, dx), (*_, dy) = input_shape
        self.x_block.build((None, dx))
        self.y_block.build((None, dy))
        super().build(input_shape)

    def embed(
        self, x: tf.Tensor, y: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        # One matrix of N L rows: a product of two matrices is faster than a 1 x 1
        # convolution, and the batch norm then runs over [rows, units].
        rows = tf.reshape(x, [-1, x.shape[-1]])
        hy = self.y_block(y, training=training)
        if self.variant == "plain":
            hidden = self.x_block.hidden_features(rows, training=training)
            hx = tf.concat([hidden, tf.cast(rows, hidden.dtype)], axis=-1)
            hy = self._fold(hy)
        else:
            hx = self.x_block.before_norm(rows, training=training)
        if x.shape.rank == 4:
            hx = tf.reshape(hx, [-1, x.shape[1] * x.shape[2], hx.shape[-1]])
        return hx, hy

    def _fold(self, hy):
        """psi(y) -> [W psi(y); S psi(y); b . psi(y)], the folded global side."""
        out, shortcut = self.x_block.output_layer, self.x_block.shortcut
        kernel = tf.concat(
            [out.kernel, shortcut.kernel, out.bias[None, :]], axis=0
        )  # [units + C + 1, units]
        return tf.matmul(hy, tf.cast(kernel, hy.dtype), transpose_b=True)

    def score(self, hx: tf.Tensor, hy: tf.Tensor) -> tf.Tensor:
        if self.variant != "plain":
            return self._score_normalized(hx, hy)
        offset = tf.cast(hy[:, -1], tf.float32)  # one bias per y, a column
        return _dot_scores(hx, hy[:, :-1]) + offset

    def _score_normalized(self, z, hy):
        """layer_norm(z) . hy, the norm applied to the scores instead of to z."""
        z, hy = tf.cast(z, tf.float32), tf.cast(hy, tf.float32)
        norm = self.x_block.output_norm
        p = hy * norm.gamma
        p -= tf.reduce_mean(p, axis=-1, keepdims=True)
        rows = tf.reshape(z, [-1, self.units])
        scores = _correlate(rows, p, tf.constant(norm.epsilon))
        scores += tf.linalg.matvec(hy, norm.beta)
        if z.shape.rank == 2:
            return scores
        scores = tf.reshape(scores, [-1, z.shape[1], tf.shape(hy)[0]])
        return tf.transpose(scores, [1, 0, 2])

    def get_config(self) -> dict:
        return {**super().get_config(), "units": self.units, "variant": self.variant}


@keras.saving.register_keras_serializable("tf_infomax")
class GlobalDot(Critic):
    """f(x, y) = trunk(x) . (A y): global Deep InfoMax as the released program does it.

    `trunk` maps the local feature map to `units` numbers (there: the encoder's layers
    from the local one on, with a wider end); y goes through one linear layer.
    """

    def __init__(self, trunk: keras.Model, units: int = 2048, **kwargs: object):
        super().__init__(**kwargs)
        self.trunk, self.units = trunk, units
        self.y_layer = keras.layers.Dense(units)

    def build(self, input_shape: Sequence) -> None:
        _, (*_, dy) = input_shape
        self.y_layer.build((None, dy))
        super().build(input_shape)

    def embed(
        self, x: tf.Tensor, y: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return self.trunk(x, training=training), self.y_layer(y)

    def get_config(self) -> dict:
        trunk = keras.saving.serialize_keras_object(self.trunk)
        return {**super().get_config(), "trunk": trunk, "units": self.units}

    @classmethod
    def from_config(cls, config: dict) -> "GlobalDot":
        trunk = keras.saving.deserialize_keras_object(config.pop("trunk"))
        return cls(trunk=trunk, **config)


@keras.saving.register_keras_serializable("tf_infomax")
class GlobalConcatenated(Concatenated):
    """f(x, y) = MLP([flatten(x); y]): the global critic of Hjelm et al. 2019, table 6.

    A map x is flattened into one vector, so that the scores are `[N, N]`.
    """

    def __init__(self, widths: Sequence[int] = (512, 512), **kwargs: object):
        super().__init__(widths, **kwargs)

    def build(self, input_shape: Sequence) -> None:
        x_shape, y_shape = input_shape
        super().build(((None, math.prod(x_shape[1:])), y_shape))

    def embed(
        self, x: tf.Tensor, y: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        width = math.prod(x.shape[1:])
        return super().embed(tf.reshape(x, [-1, width]), y, training=training)


@keras.saving.register_keras_serializable("tf_infomax")
class EveryPlace(Critic):
    """Scores every place of a map y, one after the other: `[G, L, N, N]`.

    `scores[g, l, i, j]` is the score that another critic gives x_i at location l and
    y_j at place g. For y `[N, H, W, C]` with G = H W places; x as that critic takes it.

    Source: the multiple globals of Hjelm et al. 2019 (comparison with CPC).

    Args:
        critic: of x and single vectors y.
    """

    def __init__(self, critic: Critic, **kwargs: object):
        super().__init__(**kwargs)
        self.critic = as_critic(critic)

    @property
    def kind(self) -> str:
        return self.critic.kind

    def build(self, input_shape: Sequence) -> None:
        x_shape, y_shape = input_shape
        if not self.critic.built:  # that of a file is
            self.critic.build((x_shape, (None, y_shape[-1])))
        super().build(input_shape)

    def embed(
        self, x: tf.Tensor, y: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        places = _flatten_locations(y)
        rows = tf.reshape(places, [-1, places.shape[-1]])
        hx, hy = self.critic.embed(x, rows, training=training)
        return hx, tf.reshape(hy, [-1, places.shape[1], hy.shape[-1]])

    def score(self, hx: tf.Tensor, hy: tf.Tensor) -> tf.Tensor:
        _, places, width = hy.shape
        scores = self.critic.score(hx, tf.reshape(hy, [-1, width]))  # [..., N, N G]
        shape = tf.concat([tf.shape(scores)[:-1], [-1, places]], axis=0)
        scores = tf.reshape(scores, shape)
        last = scores.shape.rank - 1
        return tf.transpose(scores, [last, *range(last)])

    def get_config(self) -> dict:
        critic = keras.saving.serialize_keras_object(self.critic)
        return {**super().get_config(), "critic": critic}

    @classmethod
    def from_config(cls, config: dict) -> "EveryPlace":
        critic = keras.saving.deserialize_keras_object(config.pop("critic"))
        return cls(critic, **config)


LOCAL_CRITICS = {
    "encode_and_dot": lambda units: EncodeAndDot(units, "code"),
    "encode_and_dot_paper": lambda units: EncodeAndDot(units, "paper"),
    "encode_and_dot_plain": lambda units: EncodeAndDot(units, "plain"),
    "concat_and_convolve": lambda units: Concatenated((units, units)),
}

GLOBAL_CRITICS = {
    "concat_mlp": lambda units, trunk: GlobalConcatenated((units, units)),
    "global_dot": lambda units, trunk: GlobalDot(trunk(units), units),
}

VECTOR_CRITICS = {
    "inner_product": InnerProduct,
    "bilinear": Bilinear,
    "separable": Separable,
    "concatenated": Concatenated,
    "cosine": Cosine,
}


@keras.saving.register_keras_serializable("tf_infomax")
class LayerCritic(Critic):
    """The scores of a plain layer, `layer(x, y)` or `layer((x, y))`, for all pairs.

    Args:
        layer: of x `[R, D]` and y `[M, E]` gives scores of all pairs `[R, M]`; or, of
            as many x as y, one score of each pair, `[R]` or `[R, 1]`.
    """

    def __init__(self, layer: keras.layers.Layer, **kwargs: object):
        super().__init__(**{"name": layer.name, **kwargs})
        self.layer, self.of_pairs = layer, False

    @property
    def kind(self) -> str:
        return type(self.layer).__name__

    def build(self, input_shape: Sequence) -> None:
        widths = [shape[-1] for shape in input_shape]
        rows = 3
        scores = self._apply(*(tf.zeros([rows, width]) for width in widths))
        shape = tuple(scores.shape)
        self.of_pairs = shape in ((rows,), (rows, 1))
        if not self.of_pairs and shape != (rows, rows):
            raise ValueError(
                f"critic {self.name} must give scores of all pairs [N, N], or of each "
                f"pair [N], of x [N, {widths[0]}] and y [N, {widths[1]}]. Received: "
                f"{list(shape)} for N = {rows}."
            )
        super().build(input_shape)

    def _apply(self, x, y) -> tf.Tensor:
        names = inspect.signature(self.layer.call).parameters
        together = len([n for n in names if n not in ("training", "mask")]) == 1
        return self.layer((x, y)) if together else self.layer(x, y)

    def score(self, hx: tf.Tensor, hy: tf.Tensor) -> tf.Tensor:
        rows = tf.reshape(hx, [-1, hx.shape[-1]])
        if self.of_pairs:
            r, m = tf.shape(rows)[0], tf.shape(hy)[0]
            each = self._apply(tf.repeat(rows, m, axis=0), tf.tile(hy, [r, 1]))
            scores = tf.reshape(each, [r, m])
        else:
            scores = self._apply(rows, hy)
        scores = tf.cast(scores, tf.float32)
        if hx.shape.rank == 2:
            return scores
        scores = tf.reshape(scores, [-1, hx.shape[1], tf.shape(hy)[0]])
        return tf.transpose(scores, [1, 0, 2])

    def score_pairs(self, hx: tf.Tensor, hy: tf.Tensor) -> tf.Tensor:
        if self.of_pairs:
            return tf.reshape(tf.cast(self._apply(hx, hy), tf.float32), [-1])
        return tf.linalg.diag_part(self.score(hx, hy))

    def get_config(self) -> dict:
        layer = keras.saving.serialize_keras_object(self.layer)
        return {**super().get_config(), "layer": layer}

    @classmethod
    def from_config(cls, config: dict) -> "LayerCritic":
        layer = keras.saving.deserialize_keras_object(config.pop("layer"))
        return cls(layer, **config)


def as_critic(critic: keras.layers.Layer) -> Critic:
    """The critic itself, or a plain layer as one (`LayerCritic`).

    Raises:
        ValueError: if it is no layer.
    """
    if isinstance(critic, Critic):
        return critic
    if not isinstance(critic, keras.layers.Layer):
        raise ValueError(
            "a critic must be a Keras layer: a tf_infomax.critics.Critic, or one with "
            f"call(x, y). Received: {critic!r}."
        )
    return LayerCritic(critic)
