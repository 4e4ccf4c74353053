"""Images as numbers between 0 and 1, how much of them comes back, and new ones."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tf_infomax.objectives.base import Value
from tf_infomax.objectives.priors import PRIORS
from tf_infomax.objectives.replicas import variance

EXPLAINED = Value(
    kind="score",
    unit="share",
    measures="of the variance of the pixels over images that is reconstructed",
    ceiling=lambda batch_size: 1.0,
    chance=0.0,
)


def to_unit(images: tf.Tensor) -> tf.Tensor:
    """uint8 images as float32 intensities in [0, 1]."""
    return tf.cast(images, tf.float32) / 255.0


def to_bytes(images: tf.Tensor) -> np.ndarray:
    """Intensities in [0, 1] as uint8 images."""
    rounded = tf.round(255.0 * tf.clip_by_value(images, 0.0, 1.0))
    return tf.cast(rounded, tf.uint8).numpy()


def draw_images(
    decoder: keras.Model, prior: str, count: int, seed: tuple[int, int]
) -> np.ndarray:
    """uint8 images of codes that are drawn from a prior."""
    shape = [count, decoder.input.shape[-1]]
    code = PRIORS[prior].sample(shape, tf.constant(seed, tf.int64))
    return to_bytes(decoder(code, training=False)["image"])


def explain(images: tf.Tensor, reconstructed: tf.Tensor) -> tf.Tensor:
    """1 - |x - x'|^2 / |x - m|^2, m the mean image, each a mean over the batch.

    1 is a perfect reconstruction, 0 what the mean image alone would reach, and also
    what is said of images that do not vary. Each replica's number is of its part, the
    mean over replicas is of the whole batch.

    Args:
        images, reconstructed: `[N, H, W, C]`.
    """
    errors = tf.reduce_sum(tf.square(images - reconstructed), axis=[1, 2, 3])
    spread = tf.reduce_sum(variance(images))
    found = 1.0 - tf.math.divide_no_nan(tf.reduce_mean(errors), spread)
    return tf.where(spread > 0.0, found, 0.0)


def check_decoder(
    encoder: keras.Model, decoder: keras.Model, gives: Sequence[str] = ("image",)
) -> None:
    """Refuses a decoder that does not lead from the encoder's code to its images.

    Raises:
        ValueError: with what it takes and gives, and what is wanted.
    """
    code, shape = encoder.output["code"].shape[1:], tuple(encoder.input.shape[1:])
    takes = decoder.input.shape[1:]
    made = {name: tuple(each.shape[1:]) for name, each in decoder.output.items()}
    if takes != code or any(made.get(name) != shape for name in gives):
        raise ValueError(
            f"the decoder must lead from codes {list(code)} to {' and '.join(gives)} "
            f"{list(shape)}. Received: from {list(takes)} to "
            f"{', '.join(f'{name} {list(each)}' for name, each in made.items())}."
        )
