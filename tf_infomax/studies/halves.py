"""Multi-view InfoMax on image halves, as Tschannen et al. 2020 train and evaluate it.

x is the upper half of an image, y the lower, pixels in [0, 1]; g1 and g2 are separate
encoders of one architecture; Adam 1e-4, batches of 128. The representation that is
evaluated is g1(x).
"""

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tf_infomax import critics, encoders
from tf_infomax.data.batches import draw_batches
from tf_infomax.encoders import RealNVP
from tf_infomax.evaluation.jacobian import JacobianSpectrum, log_condition
from tf_infomax.evaluation.probes import run_probe
from tf_infomax.objectives import InfoMax, Term
from tf_infomax.optimizers import FusedAdam
from tf_infomax.runtime.seeds import seeded
from tf_infomax.studies.kept import Curves, Unfinished, run_in_parts

BATCH = 128
CODE = 100  # of MLP and ConvNet
PERCENTILES = (0, 20, 40, 50, 60, 80, 100)
PIXELS = "pixels"
# Of the published program.
CRITIC_WIDTHS = {"bilinear": (), "separable": (100, 100), "concatenated": (200,)}
SAGA = {"tol": 0.1, "C": 10.0}
_BATCHES = 15  # of a reading of the bound
_OTHER_IMAGES = 1_000_000  # added to the seed of a batch: another draw of images
CONSTANTS = {
    "batch": BATCH,
    "code": CODE,
    "critics": CRITIC_WIDTHS,
    "saga": SAGA,
    "batches of a reading": _BATCHES,
}


@dataclass(frozen=True)
class Images:
    """Labelled images of a data set: uint8 `[n, H, W, C]`, int `[n]`."""

    name: str
    train: np.ndarray
    labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray

    @property
    def digest(self) -> str:
        """SHA-256 of shapes, pixels and labels: what the data are, however named."""
        found = hashlib.sha256()
        for images, labels in (
            (self.train, self.labels),
            (self.test, self.test_labels),
        ):
            found.update(repr(images.shape).encode())
            found.update(np.ascontiguousarray(images, np.uint8).tobytes())
            found.update(np.ascontiguousarray(labels, np.int64).tobytes())
        return found.hexdigest()


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        encoder: a key of `ENCODERS`, or `PIXELS`, which are classified as they are.
        critic: a key of `CRITICS`.
        bound: "nwj" or "info_nce".
        target: of |I_EST - target|, or None.
        noise: standard deviation of the noise, the same on both halves of an image.
        jacobian: whether to read the condition numbers of g1's Jacobian.
        widths: of the hidden layers of an MLP, or filters of a ConvNet.
        shuffled: whether the halves are of two images drawn independently, so that
            their information is 0; so is then their noise.
    """

    encoder: str
    critic: str = "bilinear"
    bound: str = "info_nce"
    target: float | None = None
    noise: float = 0.0
    jacobian: bool = False
    widths: tuple[int, ...] = ()
    shuffled: bool = False


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


# (shape of images, arm, size, seed) -> encoder
ENCODERS: dict[str, Callable] = {
    "real_nvp": lambda shape, arm, size, seed: encoders.build_real_nvp(
        shape, couplings=size.couplings, widths=(size.width,) * 2, seed=seed
    ),
    "mlp": lambda shape, arm, *_: encoders.build_mlp(arm.widths, shape, CODE),
    "skip_mlp": lambda shape, *_: encoders.build_skip_mlp(shape),
    "convnet": lambda shape, arm, *_: encoders.build_half_convnet(
        shape, CODE, arm.widths
    ),
}
CRITICS: dict[str, Callable] = {
    "bilinear": lambda widths: critics.Bilinear(),
    "separable": critics.Separable,
    "concatenated": critics.Concatenated,
}


def split_halves(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Upper and lower half; the middle row of an odd height is in neither."""
    half = images.shape[1] // 2
    return images[:, :half], images[:, images.shape[1] - half :]


def build(arm: Arm, size: Size, shape: tuple[int, int, int], seed: int) -> InfoMax:
    """The compiled objective of an arm, of float pixels in [0, 1]."""
    with seeded(seed):
        g1, g2 = (
            encoders.strip_scaling(
                ENCODERS[arm.encoder](shape, arm, size, 2 * seed + k)
            )
            for k in range(2)
        )
        term = Term(
            "views",
            "x.code",
            "y.code",
            CRITICS[arm.critic](CRITIC_WIDTHS[arm.critic]),
            arm.bound,
            target=arm.target,
        )
        objective = InfoMax(g1, [term], view_encoders={"y": g2}, seed=seed)
    objective.compile(FusedAdam(size.rate))
    return objective


def make_batches(
    images: np.ndarray, first: int, last: int, seed: int, noise=0.0, shuffled=False
):
    """Batches of halves for the steps first <= k < last, a function of seed and k.

    Pixels in [0, 1], with the same draw of noise added to both halves of an image.
    `shuffled` draws the lower halves, and their noise, independently of the upper.
    """
    upper, lower = (tf.constant(half) for half in split_halves(images))
    seeds = seed, seed + _OTHER_IMAGES * shuffled

    def batch(*drawn):
        halves = [
            _scale(tf.gather(half, rows))
            for half, (_, rows) in zip((upper, lower), drawn, strict=True)
        ]
        if noise:
            step = drawn[0][0]
            keys = [tf.stack([tf.constant(each, tf.int64), step]) for each in seeds]
            halves = [
                half + noise * tf.random.stateless_normal(half.shape, key)
                for half, key in zip(halves, keys, strict=True)
            ]
        return dict(zip("xy", halves, strict=True))

    drawn = [draw_batches(len(images), BATCH, first, last, each) for each in seeds]
    dataset = tf.data.Dataset.zip(*drawn)
    return dataset.map(batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)


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
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import MinMaxScaler

    scaler = MinMaxScaler().fit(codes)
    model = LogisticRegression(solver="saga", random_state=seed, **SAGA)
    with warnings.catch_warnings():
        # Ending at the iteration limit is part of the protocol, not news.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(scaler.transform(codes), labels)
    return float(model.score(scaler.transform(test_codes), test_labels))


def read_pixels(data: Images, images: int, seed: int, noise: float = 0.0) -> Curves:
    """Accuracies of the pixels of upper halves, `accuracy` and `accuracy/converged`."""
    sides = [data.train[:images], data.test]
    flat = [upper_pixels(side, noise).reshape(len(side), -1) for side in sides]
    return {
        "step": [0],
        "accuracy": [_early_stopped(flat, data, seed)],
        "accuracy/converged": [_converged(flat, data)],
    }


def _early_stopped(features, data: Images, seed: int) -> float:
    labels = data.labels[: len(features[0])]
    return linear_accuracy(features[0], labels, features[1], data.test_labels, seed)


def _converged(features, data: Images) -> float:
    labels = data.labels[: len(features[0])]
    found = run_probe("linear", features[0], labels, features[1], data.test_labels, 1)
    return float(found.accuracy[0])


class Accuracies:
    """How well labels are read off the codes of the upper halves of test images.

    Args:
        encoder: of upper halves in [0, 1].
        data: the images.
        images: how many of them train the classifier.
        seed: of the classifier.
        noise: standard deviation of that on the pixels.
    """

    def __init__(self, encoder, data: Images, images: int, seed: int, noise=0.0):
        self._encoder, self._data, self._seed = encoder, data, seed
        self.held_out = upper_pixels(data.test, noise)
        self._kept = upper_pixels(data.train[:images], noise)

    def _codes(self):
        return [encode(self._encoder, part) for part in (self._kept, self.held_out)]

    def early_stopped(self) -> float:
        """By `linear_accuracy`."""
        return _early_stopped(self._codes(), self._data, self._seed)

    def converged(self) -> float:
        """By logistic regression of standardized codes, trained to the end."""
        return _converged(self._codes(), self._data)


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
        the end `accuracy/converged`, that of a converged classifier, `parameters` of
        g1, and for RealNVP `round_trip` and `round_trip/float64`, the largest
        |g1^-1(g1(x)) - x| relative to the largest |x|. With `arm.jacobian` also
        `log_condition/P`, percentiles over a batch. Of pixels the accuracies alone.
    """
    if arm.encoder == PIXELS:
        return read_pixels(data, size.images, seed, arm.noise)
    images, test = data.train, data.test
    objective = build(arm, size, split_halves(images[:1])[0].shape[1:], seed)
    encoder = objective.encoder
    accuracies = Accuracies(encoder, data, size.images, seed, arm.noise)
    conditions = _conditions(arm, size, encoder, accuracies.held_out)

    def batches(given, first, last, seed):
        return make_batches(given, first, last, seed, arm.noise, arm.shuffled)

    def read() -> dict[str, float]:
        row = {}
        for part, given in (("test", test), ("train", images)):
            drawn = batches(given, 0, _BATCHES, seed + 1000)
            found = objective.evaluate(drawn, verbose=0, return_dict=True)
            row[f"bound/{part}"] = float(found["views"])
        return row | {"accuracy": accuracies.early_stopped()} | conditions()

    def advance(first: int, last: int) -> dict[str, float]:
        objective.fit(batches(images, first, last, seed), verbose=0, shuffle=False)
        return read()

    curves = run_in_parts(
        np.linspace(0, size.steps, size.readings).astype(int),
        [*objective.variables, *objective.optimizer.variables],
        advance,
        unfinished or Unfinished(),
        read,
    )
    curves["accuracy/converged"] = [accuracies.converged()]
    curves["parameters"] = [encoder.count_params()]
    if arm.encoder == "real_nvp":
        for name, dtype in (
            ("round_trip", "float32"),
            ("round_trip/float64", "float64"),
        ):
            curves[name] = [round_trip(encoder, accuracies.held_out[:500], dtype)]
    return curves


def _conditions(arm: Arm, size: Size, encoder, pixels: np.ndarray) -> Callable:
    """() -> percentiles of the log condition number over a batch, if they are read."""
    if not arm.jacobian:
        return dict
    spectrum = JacobianSpectrum(encoder)
    inputs = min(BATCH, size.images // 40)  # a batch, as the paper; few if all is few

    def read() -> dict[str, float]:
        found = np.percentile(log_condition(spectrum(pixels[:inputs])), PERCENTILES)
        return {
            f"log_condition/{percentile}": float(value)
            for percentile, value in zip(PERCENTILES, found, strict=True)
        }

    return read


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
