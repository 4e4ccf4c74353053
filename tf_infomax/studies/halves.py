"""Multi-view InfoMax on image halves, as Tschannen et al. 2020 train and evaluate it.

x is the upper half of an image, y the lower, pixels in [0, 1]; g1 and g2 are separate
encoders of one architecture; Adam 1e-4, batches of 128. The representation that is
evaluated is g1(x).
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tf_infomax import critics, encoders
from tf_infomax.data.batches import batch_indices
from tf_infomax.encoders import RealNVP
from tf_infomax.evaluation.jacobian import JacobianSpectrum, log_condition
from tf_infomax.evaluation.probes import fit_and_score, run_probe
from tf_infomax.objectives import InfoMax, Term
from tf_infomax.optimizers import FusedAdam
from tf_infomax.studies.kept import Curves, Unfinished, run_in_parts

BATCH = 128
PERCENTILES = (0, 20, 40, 50, 60, 80, 100)
_BATCHES = 15  # of a reading of the bound


@dataclass(frozen=True)
class Images:
    """Labelled images of a data set: uint8 `[n, H, W, C]`, int `[n]`."""

    name: str
    train: np.ndarray
    labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        encoder: a key of `ENCODERS`.
        critic: a key of `CRITICS`.
        bound: "nwj" or "info_nce".
        target: of |I_EST - target|, or None.
        noise: standard deviation of the noise, the same on both halves of an image.
        jacobian: whether to read the condition numbers of g1's Jacobian.
    """

    encoder: str
    critic: str
    bound: str
    target: float | None = None
    noise: float = 0.0
    jacobian: bool = False


@dataclass(frozen=True)
class Size:
    """How long and how large.

    Attributes:
        steps: of training.
        readings: of the curves, the first before training.
        couplings, width: of RealNVP.
        images: to train the linear classifier on.
        rate: Adam's step size.
    """

    steps: int
    readings: int
    couplings: int = 30
    width: int = 512
    images: int = 10_000
    rate: float = 1e-4


ENCODERS: dict[str, Callable] = {
    "real_nvp": lambda shape, size, seed: encoders.build_real_nvp(
        shape, couplings=size.couplings, widths=(size.width,) * 2, seed=seed
    ),
    "mlp": lambda shape, size, seed: encoders.build_mlp((300, 300), shape, 100),
    "skip_mlp": lambda shape, size, seed: encoders.build_skip_mlp(shape),
    "convnet": lambda shape, size, seed: encoders.build_half_convnet(shape, 100),
}
# Widths of the published program.
CRITICS: dict[str, Callable] = {
    "bilinear": critics.Bilinear,
    "separable": lambda: critics.Separable((100, 100)),
    "concatenated": lambda: critics.Concatenated((200,)),
}


def split_halves(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Upper and lower half; the middle row of an odd height is in neither."""
    half = images.shape[1] // 2
    return images[:, :half], images[:, images.shape[1] - half :]


def build(arm: Arm, size: Size, shape: tuple[int, int, int], seed: int) -> InfoMax:
    """The compiled objective of an arm, of float pixels in [0, 1]."""
    keras.utils.set_random_seed(seed)
    g1, g2 = (
        encoders.strip_scaling(ENCODERS[arm.encoder](shape, size, 2 * seed + k))
        for k in range(2)
    )
    term = Term(
        "views",
        "x.code",
        "y.code",
        CRITICS[arm.critic](),
        arm.bound,
        target=arm.target,
    )
    objective = InfoMax(g1, [term], view_encoders={"y": g2}, seed=seed)
    objective.compile(FusedAdam(size.rate))
    return objective


def make_batches(images: np.ndarray, first: int, last: int, seed: int, noise=0.0):
    """Batches of halves for the steps first <= k < last, a function of seed and k.

    Pixels in [0, 1], with the same draw of noise added to both halves of an image.
    """
    upper, lower = (tf.constant(half) for half in split_halves(images))

    def batch(step):
        rows = batch_indices(step, len(images), BATCH, seed)
        x, y = (_scale(tf.gather(half, rows)) for half in (upper, lower))
        if noise:
            key = tf.stack([tf.constant(seed, tf.int64), step])
            drawn = noise * tf.random.stateless_normal(x.shape, key)
            x, y = x + drawn, y + drawn
        return {"x": x, "y": y}

    dataset = tf.data.Dataset.range(first, last).map(
        batch, num_parallel_calls=tf.data.AUTOTUNE
    )
    return dataset.prefetch(2)


def _scale(pixels):
    return tf.cast(pixels, tf.float32) / 255.0


def upper_pixels(images: np.ndarray, noise: float = 0.0) -> np.ndarray:
    """Upper halves, float32 in [0, 1] and the same noise at every call."""
    pixels = split_halves(images)[0] / np.float32(255.0)
    if noise:
        rng = np.random.default_rng(0)
        pixels = pixels + noise * rng.standard_normal(pixels.shape, np.float32)
    return pixels


def encode(encoder: keras.Model, pixels: np.ndarray) -> np.ndarray:
    """g1 of upper halves in [0, 1], float32 `[n, D]`."""
    return encoder.predict(pixels, batch_size=500, verbose=0)["code"]


def linear_accuracy(codes, labels, test_codes, test_labels, seed: int) -> float:
    """The paper's linear evaluation: SAGA, stopped early, on features in [0, 1].

    scikit-learn's logistic regression with C = 10 and tol = 0.1 after min-max scaling:
    the solver stops long before it has converged, as in the published program.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import MinMaxScaler

    scaler = MinMaxScaler().fit(codes)
    model = LogisticRegression(solver="saga", tol=0.1, C=10.0, random_state=seed)
    return fit_and_score(
        model,
        scaler.transform(codes),
        labels,
        scaler.transform(test_codes),
        test_labels,
    )


def pixel_accuracy(data: Images, size: Size, noise: float = 0.0) -> float:
    """`linear_accuracy` of the pixels of upper halves."""
    sides = [data.train[: size.images], data.test]
    flat = [upper_pixels(s, noise).reshape(len(s), -1) for s in sides]
    return linear_accuracy(
        flat[0], data.labels[: size.images], flat[1], data.test_labels, 0
    )


def train(
    arm: Arm, size: Size, data: Images, seed: int, unfinished: Unfinished | None = None
) -> Curves:
    """Curves of one run.

    Args:
        arm, size, data, seed: of it.
        unfinished: where it is kept between its readings; None: nowhere.

    Returns:
        `step`; `bound/test` and `bound/train`, I_EST on test and on training batches,
        nats; `accuracy`, the paper's linear evaluation of g1 on test images; and at
        the end `accuracy/converged`, that of a converged classifier, and for RealNVP
        `round_trip` and `round_trip/float64`, the largest |g1^-1(g1(x)) - x| relative
        to the largest |x|. With `arm.jacobian` also `log_condition/P`, percentiles
        over a batch.
    """
    images, test = data.train, data.test
    shape = split_halves(images[:1])[0].shape[1:]
    objective = build(arm, size, shape, seed)
    labels = data.labels[: size.images]
    kept = upper_pixels(images[: size.images], arm.noise)
    held_out = upper_pixels(test, arm.noise)
    spectrum = JacobianSpectrum(objective.encoder)
    inputs = min(BATCH, size.images // 40)  # a batch, as the paper; few if all is few

    def read() -> dict[str, float]:
        row = {}
        for part, given in (("test", test), ("train", images)):
            batches = make_batches(given, 0, _BATCHES, seed + 1000, arm.noise)
            found = objective.evaluate(batches, verbose=0, return_dict=True)
            row[f"bound/{part}"] = float(found["views"])
        codes = encode(objective.encoder, kept), encode(objective.encoder, held_out)
        row["accuracy"] = linear_accuracy(
            codes[0], labels, codes[1], data.test_labels, seed
        )
        if arm.jacobian:
            conditions = log_condition(spectrum(held_out[:inputs]))
            found = np.percentile(conditions, PERCENTILES)
            for percentile, value in zip(PERCENTILES, found, strict=True):
                row[f"log_condition/{percentile}"] = float(value)
        return row

    def advance(first: int, last: int) -> dict[str, float]:
        batches = make_batches(images, first, last, seed, arm.noise)
        objective.fit(batches, verbose=0, shuffle=False)
        return read()

    curves = run_in_parts(
        np.linspace(0, size.steps, size.readings).astype(int),
        [*objective.variables, *objective.optimizer.variables],
        advance,
        unfinished or Unfinished(),
        read,
    )
    codes = encode(objective.encoder, kept), encode(objective.encoder, held_out)
    converged = run_probe("linear", codes[0], labels, codes[1], data.test_labels, 1)
    curves["accuracy/converged"] = [float(converged[0])]
    if arm.encoder == "real_nvp":
        curves["round_trip"] = [round_trip(objective.encoder, held_out[:500])]
        exact = round_trip(objective.encoder, held_out[:500], "float64")
        curves["round_trip/float64"] = [exact]
    return curves


def round_trip(encoder: keras.Model, pixels: np.ndarray, dtype="float32") -> float:
    """Largest error of the inverse of the codes, relative to the largest pixel.

    Args:
        encoder: a RealNVP of pixels.
        pixels: upper halves.
        dtype: that the same weights are computed in. "float64" tells a map that is no
            bijection from one whose inverse float32 cannot resolve.
    """
    pixels = pixels.reshape(len(pixels), -1)
    layer = encoder.get_layer("real_nvp")
    if dtype == "float64":
        layer = RealNVP.from_config({**layer.get_config(), "dtype": dtype})
        layer.build(pixels.shape)
        layer.set_weights(encoder.get_layer("real_nvp").get_weights())
    pixels = pixels.astype(dtype)
    back = layer.inverse(layer(pixels).numpy()).numpy()
    return float(np.abs(back - pixels).max() / np.abs(pixels).max())
