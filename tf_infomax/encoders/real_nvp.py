"""RealNVP: invertible encoders, for which mutual information cannot change.

Couplings of TensorFlow Probability around Keras networks. Every bijector is made anew
at each call, around weights that Keras owns: TFP caches results by the identity of a
tensor, so that a bijector kept alive would give the output of older weights, no
gradients, and an inverse that merely looks up its argument.
"""

from collections.abc import Sequence
from numbers import Integral

import keras
import numpy as np
import tensorflow as tf

from tf_infomax.runtime.completion import spelled_out

SCALES = ("none", "exp", "softplus")
MASKS = ("random", "checkerboard", "channel")
_LOG_SCALE = 3.0  # |log scale| of "exp" at most: products of couplings stay finite


@keras.saving.register_keras_serializable("tf_infomax")
class RealNVP(keras.layers.Layer):
    """An invertible map of vectors `[N, D]` or images `[N, H, W, C]`, of equal shape.

    Each coupling leaves half of the dimensions as they are and shifts (and scales) the
    others by a network of the first half. Which half: a fixed random permutation goes
    before each coupling, or for images a checkerboard or halves of the channels, in
    turns. At the start couplings are the identity up to kernels of `kernel_sd`.

    Args:
        couplings: how many.
        widths: hidden widths of each network, ReLU.
        scale: "none" (additive, volume-preserving), "exp" (of a softly limited log
            scale) or "softplus" (1e-7 + softplus, 0.69 at the start; training may crush
            dimensions so that only float64 inverts them).
        masks: "random", "checkerboard" or "channel".
        kernel_sd: of the truncated normal kernels; biases start at 0.
        seed: of permutations and kernels.

    Source: Dinh et al. 2017; Tschannen et al. 2020, section 3.1 (30 couplings, widths
    512, 512, none; softplus for the adversarial encoder).
    """

    def __init__(
        self,
        couplings: int = 30,
        widths: Sequence[int] = (512, 512),
        scale: str = "none",
        masks: str = "random",
        kernel_sd: float = 1e-4,
        seed: int = 0,
        **kwargs: object,
    ):
        super().__init__(**kwargs)
        for name, value, accepted in (
            ("scale", scale, SCALES),
            ("masks", masks, MASKS),
        ):
            if value not in accepted:
                raise ValueError(
                    f"{name} must be one of {', '.join(accepted)}. Received: {value!r}."
                )
        for name, value, low in (("couplings", couplings, 1), ("seed", seed, 0)):
            if not isinstance(value, Integral) or value < low:
                raise ValueError(
                    f"{name} must be a whole number of at least {low}. Received: "
                    f"{value!r}."
                )
        if not isinstance(widths, Sequence) or not all(
            isinstance(width, Integral) and width > 0 for width in widths
        ):
            raise ValueError(
                "widths must be whole numbers above 0, as (512, 512) is. Received: "
                f"{widths!r}."
            )
        self.couplings, self.widths = couplings, tuple(widths)
        self.scale, self.masks, self.kernel_sd = scale, masks, kernel_sd
        self.seed = seed

    def build(self, input_shape: Sequence) -> None:
        shape = tuple(input_shape[1:])
        size = int(np.prod(shape))
        if size < 2:
            raise ValueError(f"RealNVP needs 2 dimensions. Received: {shape}.")
        if self.masks != "random" and len(shape) != 3:
            raise ValueError(
                f"masks={self.masks!r} need images [N, H, W, C]. Received: {shape}."
            )
        if self.masks == "channel" and shape[2] < 2:
            raise ValueError(
                f"masks='channel' needs at least 2 channels. Received: {shape}; take "
                "'checkerboard'."
            )
        self._shape, self._size = shape, size
        self._orders, self._kept = self._make_orders()
        for index in range(self.couplings):
            # As attributes: Keras tracks the layers of a list, tf.train does not.
            setattr(self, f"net_{index}", self._make_net(index))
        super().build(input_shape)

    def _make_net(self, index: int) -> keras.Sequential:
        kept = self._kept[index]
        outputs = (self._size - kept) * (1 if self.scale == "none" else 2)
        layers = []
        for place, width in enumerate((*self.widths, outputs)):
            kernel = keras.initializers.TruncatedNormal(
                stddev=self.kernel_sd, seed=self.seed * 100_003 + index * 101 + place
            )
            activation = "relu" if place < len(self.widths) else None
            layers.append(
                keras.layers.Dense(
                    width,
                    activation,
                    kernel_initializer=kernel,
                    dtype=self.dtype_policy,
                )
            )
        net = keras.Sequential(layers, name=f"net_{index}")
        net.build((None, kept))
        return net

    def _make_orders(self) -> tuple[list[np.ndarray], list[int]]:
        """For each coupling the order of the dimensions, and how many are kept."""
        if self.masks == "random":
            rng = np.random.default_rng(self.seed)
            orders = [rng.permutation(self._size) for _ in range(self.couplings)]
            return orders, [self._size // 2] * self.couplings
        rows, columns, channels = np.indices(self._shape)
        if self.masks == "checkerboard":
            colour = ((rows + columns) % 2).ravel()
        else:
            colour = (channels >= -(-self._shape[2] // 2)).ravel()
        first = np.argsort(colour, kind="stable")
        second = np.argsort(1 - colour, kind="stable")
        counts = int(np.sum(colour == 0)), int(np.sum(colour == 1))
        turns = [index % 2 for index in range(self.couplings)]
        return [(first, second)[k] for k in turns], [counts[k] for k in turns]

    def _make_bijector(self):
        """The chain of couplings, anew."""
        from tensorflow_probability import bijectors as tfb

        steps = []
        for index, order in enumerate(self._orders):
            there, coupling = _permute(order), self._make_coupling(index)
            if self.masks == "random":
                steps += [there, coupling]
            else:  # places of an image mean something: back where they were
                steps += [there, coupling, _permute(np.argsort(order))]
        return tfb.Chain(steps[::-1])  # a chain applies its last part first

    def _make_coupling(self, index: int):
        from tensorflow_probability import bijectors as tfb

        net = getattr(self, f"net_{index}")
        sizes = [self._kept[index], self._size - self._kept[index]]

        def bijector_of(kept, size, **conditions):
            shift = net(kept)
            if self.scale == "none":
                return tfb.Shift(shift)
            shift, raw = tf.split(shift, 2, axis=-1)
            if self.scale == "softplus":
                factor = tfb.Scale(self._factor(raw))
            else:
                factor = tfb.Scale(log_scale=_limit(raw))
            return tfb.Chain([tfb.Shift(shift), factor])

        class Coupling(tfb.RealNVP):
            def _forward(self, x):
                # TFP's slices have gradients that are padded and added up.
                kept, other = tf.split(x, sizes, axis=-1)
                moved = bijector_of(kept, sizes[1]).forward(other)
                return tf.concat([kept, moved], axis=-1)

        return Coupling(num_masked=sizes[0], bijector_fn=bijector_of)

    def jacobian(self, x: tf.Tensor) -> tf.Tensor:
        """dy/dx at each x, flattened: `[N, D, D]`, row i the derivatives of y_i.

        The Jacobian of a network goes from the kept half alone to the other, so that
        multiplying these through the couplings takes about half the products of
        differentiating the whole map in all directions.
        """
        value = self._flat(x)
        found = tf.eye(self._size, batch_shape=[tf.shape(value)[0]], dtype=value.dtype)
        for index, order in enumerate(self._orders):
            value = tf.gather(value, order, axis=1)
            found = tf.gather(found, order, axis=1)
            value, found = self._push(index, value, found)
            if self.masks != "random":
                value = tf.gather(value, np.argsort(order), axis=1)
                found = tf.gather(found, np.argsort(order), axis=1)
        return found

    def _push(self, index: int, value: tf.Tensor, found: tf.Tensor):
        """A coupling's output for `[N, D]`, and the Jacobian `[N, D, D]` to there."""
        sizes = [self._kept[index], self._size - self._kept[index]]
        kept, other = tf.split(value, sizes, axis=1)
        rows_of_kept, rows = tf.split(found, sizes, axis=1)
        shift, change = _differentiate(getattr(self, f"net_{index}"), kept)
        if self.scale == "none":
            other = other + shift
        else:
            shift, raw = tf.split(shift, 2, axis=1)
            factor, slope = self._factor(raw), self._slope(raw)
            change, change_of_raw = tf.split(change, 2, axis=2)
            change += change_of_raw * (slope * other)[:, None, :]
            other, rows = other * factor + shift, rows * factor[:, :, None]
        rows += tf.matmul(change, rows_of_kept, transpose_a=True)
        return tf.concat([kept, other], 1), tf.concat([rows_of_kept, rows], 1)

    def _factor(self, raw: tf.Tensor) -> tf.Tensor:
        if self.scale == "softplus":
            return 1e-7 + tf.nn.softplus(raw)
        return tf.exp(_limit(raw))

    def _slope(self, raw: tf.Tensor) -> tf.Tensor:
        """d factor / d raw."""
        if self.scale == "softplus":
            return tf.sigmoid(raw)
        return self._factor(raw) * (1 - (_limit(raw) / _LOG_SCALE) ** 2)

    def _flat(self, values) -> tf.Tensor:
        values = tf.cast(tf.convert_to_tensor(values), self.compute_dtype)
        if not self.built:
            self.build(values.shape)
        if tuple(values.shape[1:]) != self._shape:
            raise ValueError(
                f"RealNVP was built for {self._shape}. Received: {values.shape[1:]}."
            )
        return tf.reshape(values, [-1, self._size])

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """y of x, of the same shape."""
        x = self._flat(x)  # builds the layer, which the bijector needs
        flat = self._make_bijector().forward(x)
        return tf.reshape(flat, [-1, *self._shape])

    def forward(self, x: tf.Tensor) -> tf.Tensor:
        """y of x: the layer called, by the name that goes with `inverse`."""
        return self(x)

    def inverse(self, y: tf.Tensor) -> tf.Tensor:
        """x of y, computed backwards through the couplings."""
        y = self._flat(y)
        flat = self._make_bijector().inverse(y)
        return tf.reshape(flat, [-1, *self._shape])

    def log_det_jacobian(self, x: tf.Tensor) -> tf.Tensor:
        """log |det dy/dx| at each x, `[N]`; 0 where scale is "none"."""
        flat = self._flat(x)
        value = self._make_bijector().forward_log_det_jacobian(flat, event_ndims=1)
        return tf.broadcast_to(value, [tf.shape(flat)[0]])

    def compute_output_shape(self, input_shape: Sequence) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        names = ("couplings", "widths", "scale", "masks", "kernel_sd", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _limit(log_scale: tf.Tensor) -> tf.Tensor:
    """Softly between -_LOG_SCALE and _LOG_SCALE."""
    return _LOG_SCALE * tf.tanh(log_scale / _LOG_SCALE)


def _permute(order: np.ndarray):
    """The bijector of a fixed order of the dimensions of `[N, D]`."""
    from tensorflow_probability import bijectors as tfb

    def taker(order, back):
        # Rows are gathered ten times as fast as columns, and autodiff would scatter.
        @tf.custom_gradient
        def take(x):
            rows = tf.gather(tf.transpose(x), order)
            return tf.transpose(rows), taker(back, order)

        return take

    back = np.argsort(order)
    return tfb.Inline(
        forward_fn=taker(order, back),
        inverse_fn=taker(back, order),
        forward_log_det_jacobian_fn=lambda x: tf.zeros([], x.dtype),
        forward_min_event_ndims=1,
        is_constant_jacobian=True,
    )


def _differentiate(net: keras.Sequential, x: tf.Tensor):
    """Dense layers at `[N, k]`: the output `[N, m]` and its derivatives `[N, k, m]`."""
    found = None
    for layer in net.layers:
        x, kernel = layer(x), tf.cast(layer.kernel, x.dtype)
        if found is None:
            found = tf.tile(kernel[None], [tf.shape(x)[0], 1, 1])
        else:
            rows = tf.reshape(found, [-1, kernel.shape[0]])
            shape = [-1, found.shape[1], kernel.shape[1]]
            found = tf.reshape(tf.matmul(rows, kernel), shape)
        if layer.activation is keras.activations.relu:
            found *= tf.cast(x > 0, x.dtype)[:, None, :]
    return x, found


@spelled_out(RealNVP)
def build_real_nvp(image_shape: tuple[int, int, int], **options) -> keras.Model:
    """RealNVP on pixels in [0, 1]; the code has as many numbers as the image.

    Args:
        image_shape: `[H, W, C]`, uint8.
        **options: of `RealNVP`.
    """
    images = keras.Input(image_shape, dtype="uint8", name="images")
    pixels = keras.layers.Rescaling(1 / 255.0, name="rescale")(images)
    if options.get("masks", "random") == "random":
        pixels = keras.layers.Flatten(name="flatten")(pixels)
    code = RealNVP(**options, name="real_nvp")(pixels)
    if len(code.shape) > 2:
        code = keras.layers.Flatten(name="code")(code)
    return keras.Model(images, {"code": code}, name="real_nvp")


def build_of_image_size(
    image_shape: tuple[int, int, int], code_size: int = 0
) -> keras.Model:
    """`build_real_nvp`, whose code is as large as the image, whatever is asked."""
    return build_real_nvp(image_shape)
