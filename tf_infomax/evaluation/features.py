"""Frozen features of many images, computed once, and what they depend on."""

import hashlib
from collections.abc import Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf


def hash_weights(weights: Iterable[np.ndarray]) -> str:
    """SHA-256 over dtypes, shapes and values, in order."""
    digest = hashlib.sha256()
    for array in weights:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


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

        @tf.function(
            input_signature=[
                tf.TensorSpec((batch_size, *encoder.input.shape[1:]), tf.uint8)
            ]
        )
        def extract(images):
            features = encoder(images, training=False)
            flat = {n: tf.reshape(features[n], [batch_size, -1]) for n in self.names}
            return {n: tf.cast(value, tf.float32) for n, value in flat.items()}

        self._extract = extract

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """uint8 [n, H, W, C] -> name -> float32 [n, width], maps flattened."""
        outputs: dict[str, np.ndarray] = {}
        for start in range(0, len(images), self.batch_size):
            part = np.asarray(images[start : start + self.batch_size])
            missing = self.batch_size - len(part)
            padded = np.pad(part, [(0, missing), (0, 0), (0, 0), (0, 0)])
            for name, value in self._extract(tf.constant(padded)).items():
                if name not in outputs:
                    shape = (len(images), value.shape[1])
                    outputs[name] = np.empty(shape, np.float32)
                outputs[name][start : start + len(part)] = value[: len(part)]
        return outputs
