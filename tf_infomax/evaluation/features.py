"""Frozen features of many images, computed once, and what they depend on."""

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

from tf_infomax.data.views import build_front

_MOST_KEPT = 1 << 30  # bytes of features


def hash_weights(weights: Iterable[np.ndarray]) -> str:
    """SHA-256 over dtypes, shapes and values, in order."""
    digest = hashlib.sha256()
    for array in weights:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def list_encoders(config) -> tuple[tuple[str, bool], ...]:
    """(label in names, whether trained): and its baseline, with the initial weights."""
    return (("", True), ("random/", False))[: 1 + config.baselines]


def see_part(images: np.ndarray, view: str) -> np.ndarray:
    """What an encoder of view x sees of whole images: a part of them, or all."""
    front = build_front(view, images.shape[1:])
    images = images[:]
    return images if front is None else front.predict(images, 500, verbose=0)


def draw_some(images, most: int):
    """At most so many images, from all places of an array or of what is read later.

    Neighbours may be of one class. The images themselves, if they are no more.
    """
    if len(images) <= most:
        return images
    rows = np.sort(np.random.default_rng(0).permutation(len(images))[:most])
    return images[rows] if isinstance(images, np.ndarray) else images.select(rows)


def draw_share(parts: Sequence, most: int) -> list:
    """Of each part the same share, so that all together have at most so many numbers.

    At least two images of each.
    """
    size = math.prod(parts[0].shape[1:]) * sum(map(len, parts))
    share = min(1.0, most / size)
    return [draw_some(part, max(2, int(share * len(part)))) for part in parts]


def compile_features(
    encode: Callable, image_shape: tuple[int, int, int], batch_size: int
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """A function from uint8 `[n, H, W, C]`, n <= batch_size, to float32 `[n, width]`.

    Compiled once, for batches of one size: fewer images are padded.

    Args:
        encode: from a batch of images to named features; maps are flattened.
        image_shape: (H, W, C).
        batch_size: most images of a call.
    """
    shape = (batch_size, *image_shape)

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8)])
    def extract(images):
        flat = {n: tf.reshape(v, [batch_size, -1]) for n, v in encode(images).items()}
        return {n: tf.cast(value, tf.float32) for n, value in flat.items()}

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        padded = np.zeros(shape, np.uint8)
        padded[: len(images)] = images
        features = extract(tf.constant(padded))
        return {n: value.numpy()[: len(images)] for n, value in features.items()}

    return run


class FeatureExtractor:
    """Runs an encoder in inference mode, compiled once.

    Args:
        encoder: a model from uint8 images to a dict of features.
        names: which features to compute.
        batch_size: images per call; the last batch is padded and cut.
    """

    def __init__(
        self, encoder: keras.Model, names: Sequence[str], batch_size: int = 250
    ):
        self.names = list(names)
        self.batch_size = batch_size

        def encode(images):
            features = encoder(images, training=False)
            return {name: features[name] for name in self.names}

        shape = tuple(encoder.input.shape[1:])
        self._run = compile_features(encode, shape, batch_size)

    def __call__(
        self, images: np.ndarray, shown: Callable[[int], None] = lambda done: None
    ) -> dict[str, np.ndarray]:
        """uint8 [n, H, W, C] -> name -> float32 [n, width], maps flattened.

        Args:
            images: an array, or rows that are read when they are asked for.
            shown: hears how many of them are done.
        """
        outputs: dict[str, np.ndarray] = {}
        for start in range(0, len(images), self.batch_size):
            part = images[start : start + self.batch_size]
            for name, value in self._run(part).items():
                if name not in outputs:
                    shape = (len(images), value.shape[1])
                    outputs[name] = np.empty(shape, np.float32)
                outputs[name][start : start + len(part)] = value
            shown(start + len(part))
        return outputs


class FeatureStore:
    """Features of many images, each computed once for all who ask for them.

    An encoder and images are known again if they are the same objects; weights must
    not change meanwhile. Of more than `most` bytes, those that were asked for the
    longest ago go; one that alone is more is not kept.

    Args:
        most: bytes to keep.
    """

    def __init__(self, most: int = _MOST_KEPT):
        self.most = most
        self._extractors: dict[tuple, FeatureExtractor] = {}  # each is compiled
        # Key -> (what the key is the identity of, features).
        self._kept: OrderedDict[tuple, tuple[tuple, np.ndarray]] = OrderedDict()

    @property
    def size(self) -> int:
        """Bytes of the features that are kept."""
        return sum(value.nbytes for _, value in self._kept.values())

    def __call__(
        self,
        encoder: keras.Model,
        names: Sequence[str],
        images: np.ndarray,
        shown: Callable[[int], None] = lambda done: None,
    ) -> dict[str, np.ndarray]:
        """These features of the images, `[n, width]` each; see `FeatureExtractor`."""
        keys = {name: (id(encoder), id(images), name) for name in names}
        missing = tuple(name for name, key in keys.items() if key not in self._kept)
        found = {}
        if missing:
            extractor = id(encoder), missing
            if extractor not in self._extractors:
                self._extractors[extractor] = FeatureExtractor(encoder, missing)
            found = self._extractors[extractor](images, shown)
        for name, key in keys.items():
            value = found[name] if name in found else self._kept.pop(key)[1]
            found[name] = value
            if value.nbytes <= self.most:
                self._kept[key] = (encoder, images), value
        while self.size > self.most:
            self._kept.popitem(last=False)
        return {name: found[name] for name in names}
