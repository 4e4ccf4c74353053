"""Singular values of an encoder's Jacobian: how it stretches and squeezes its input."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

_ITERATIONS = 4  # of the subspace, before the largest values are read
_SPARE = 10  # directions beyond those asked for


class JacobianSpectrum:
    """All singular values of d encoder(x) / dx, compiled once for many calls.

    Args:
        encoder: from floats `[n, ...]` to features by name, or to one tensor; float32,
            or float64 for a layer that computes in it. One of this package's takes
            uint8: give it through `encoders.strip_scaling`. Where it has a
            `jacobian(x)` of its own, as `encoders.RealNVP` has, that is taken.
        feature: which feature; it is flattened.
        chunk: inputs at a time; memory is chunk x inputs x outputs.
    """

    def __init__(self, encoder: Callable, feature: str = "code", chunk: int = 16):
        encode, self.chunk = _flatten(encoder, feature), chunk
        self._dtype = _dtype_of(encoder)
        own = getattr(encoder, "jacobian", None)
        self._jacobian = tf.function(own or (lambda x: _jacobian(encode, x)))

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """float `[n, ...]` -> float64 `[n, k]`, largest first.

        k is the smaller of the numbers of inputs and outputs.
        """
        spectra = []
        for part, count in _chunks(_as_floats(inputs, self._dtype), self.chunk):
            found = self._jacobian(tf.constant(part)).numpy()[:count]
            spectra.append(np.linalg.svd(found.astype(np.float64), compute_uv=False))
        return np.concatenate(spectra)


def measure_spectrum(
    encoder: keras.Model | Callable,
    inputs: np.ndarray,
    feature: str = "code",
    top: int | None = None,
    chunk: int = 16,
    seed: int = 0,
) -> np.ndarray:
    """Singular values of d encoder(x) / dx at each input, largest first.

    Args:
        encoder, feature: as `JacobianSpectrum` has them.
        inputs: float `[n, ...]`.
        top: only this many of the largest, by randomized subspace iteration, which
            never forms the Jacobian (Halko, Martinsson & Tropp 2011, algorithm 4.4) and
            is close where the values fall off, less so where they are all alike; None:
            all, by the exact decomposition.
        chunk: inputs at a time; memory is chunk x inputs x outputs.
        seed: of the random directions.

    Returns:
        float64 `[n, k]`, k = `top` or the smaller of the numbers of inputs and outputs.

    Raises:
        ValueError: if `top` is not between 1 and the number of singular values, or if
            the inputs are not floats, which have no derivatives.
    """
    if top is None:
        return JacobianSpectrum(encoder, feature, chunk)(inputs)
    encode = _flatten(encoder, feature)
    inputs = _as_floats(inputs, _dtype_of(encoder))
    return _measure_top(encode, inputs, top, chunk, seed)


def log_condition(spectrum: np.ndarray) -> np.ndarray:
    """log(largest / smallest singular value), `[n]`; infinite for singular Jacobians.

    Source: Tschannen et al. 2020, figure 2.
    """
    with np.errstate(divide="ignore"):
        return np.log(spectrum[:, 0]) - np.log(spectrum[:, -1])


def _flatten(encoder: Callable, feature: str) -> Callable:
    """The encoder as a function to one feature `[n, D]`."""
    taken = str(getattr(getattr(encoder, "input", None), "dtype", "float32"))
    if "float" not in taken:
        raise ValueError(
            f"the encoder takes {taken}, which has no derivatives: see "
            "encoders.strip_scaling."
        )
    options = {"training": False} if isinstance(encoder, keras.Model) else {}

    def encode(x):
        features = encoder(x, **options)
        value = features
        if isinstance(features, dict):
            if feature not in features:
                raise ValueError(
                    f"feature must be one of {', '.join(features)}. Received: "
                    f"{feature!r}."
                )
            value = features[feature]
        return tf.reshape(value, [x.shape[0], -1])

    return encode


def _dtype_of(encoder: Callable) -> str:
    """Of a layer that computes in float64; other encoders are given float32."""
    own = getattr(encoder, "compute_dtype", "float32")
    return "float64" if own == "float64" else "float32"


def _as_floats(inputs, dtype: str) -> np.ndarray:
    inputs = np.asarray(inputs)
    if inputs.dtype.kind != "f":
        raise ValueError(
            f"inputs must be floats: integers have no derivatives. Received: "
            f"{inputs.dtype}. See encoders.strip_scaling."
        )
    return inputs.astype(dtype)


def _chunks(inputs: np.ndarray, chunk: int):
    """(inputs of one shape, how many are meant): the last part is filled up."""
    if chunk < 1 or not len(inputs):
        raise ValueError(
            "chunk and the number of inputs must be at least 1. Received: "
            f"{chunk} and {len(inputs)}."
        )
    chunk = min(chunk, len(inputs))
    for start in range(0, len(inputs), chunk):
        part = inputs[start : start + chunk]
        count = len(part)
        if count < chunk:
            part = np.concatenate([part, np.repeat(part[:1], chunk - count, axis=0)])
        yield part, count


def _jacobian(encode: Callable, x: tf.Tensor) -> tf.Tensor:
    """[n, outputs, inputs]."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = encode(x)
    n, outputs = y.shape
    return tf.reshape(tape.batch_jacobian(y, x), [n, outputs, -1])


def _measure_top(encode, inputs, top: int, chunk: int, seed: int) -> np.ndarray:
    size = int(np.prod(inputs.shape[1:]))
    outputs = encode(tf.constant(inputs[:1])).shape[1]
    if not 1 <= top <= min(size, outputs):
        raise ValueError(
            f"top must be between 1 and {min(size, outputs)}, the number of singular "
            f"values. Received: {top}."
        )
    directions = min(top + _SPARE, size, outputs)

    def repeat(x):
        return tf.repeat(x, directions, axis=0)

    def pull(x, v):
        """J^T v: [n, outputs, k] -> [n, inputs, k]."""
        x = repeat(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = encode(x)
        rows = tf.reshape(tf.linalg.matrix_transpose(v), [-1, outputs])
        found = tape.gradient(y, x, output_gradients=rows)
        return tf.linalg.matrix_transpose(tf.reshape(found, [-1, directions, size]))

    def push(x, v):
        """J v: [n, inputs, k] -> [n, outputs, k]."""
        x = repeat(x)
        rows = tf.reshape(tf.linalg.matrix_transpose(v), tf.shape(x))
        with tf.autodiff.ForwardAccumulator(x, rows) as accumulator:
            y = encode(x)
        found = accumulator.jvp(y, unconnected_gradients="zero")
        return tf.linalg.matrix_transpose(tf.reshape(found, [-1, directions, outputs]))

    @tf.function
    def largest(x, start):
        q = tf.linalg.qr(push(x, start)).q
        for _ in range(_ITERATIONS):
            q = tf.linalg.qr(pull(x, q)).q
            q = tf.linalg.qr(push(x, q)).q
        return tf.linalg.svd(pull(x, q), compute_uv=False)[:, :top]

    spectra = []
    for number, (part, count) in enumerate(_chunks(inputs, chunk)):
        start = tf.random.stateless_normal(
            [len(part), size, directions], [seed, number], dtype=part.dtype
        )
        spectra.append(largest(tf.constant(part), start).numpy()[:count])
    return np.concatenate(spectra).astype(np.float64)
