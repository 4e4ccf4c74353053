"""One feature of a frozen encoder, of a run or of a SavedModel, as a function."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tf_infomax.options import ConfigError


@dataclass(frozen=True)
class Embedder:
    """One feature of a frozen encoder, and how to feed it.

    Attributes:
        extract: uint8 `[N, H, W, C]` -> tensor `[N, ...]`.
        feature: its name.
        image_shape: (H, W, C).
        resize: a rule of `decoding.RESIZE_RULES`.
        fingerprint: of the weights.
    """

    extract: Callable
    feature: str
    image_shape: tuple[int, int, int]
    resize: str
    fingerprint: str


def from_model(encoder, feature: str = "code", resize: str = "crop") -> Embedder:
    """An encoder of this package: a Keras model from images to named features.

    Raises:
        ConfigError: if it has no such feature.
    """
    _check_feature(feature, encoder.output)
    from tf_infomax.evaluation.features import hash_weights

    return Embedder(
        extract=lambda images: encoder(images, training=False)[feature],
        feature=feature,
        image_shape=tuple(encoder.input.shape[1:]),
        resize=resize,
        fingerprint=hash_weights(encoder.get_weights()),
    )


def from_saved_model(
    version: Path, feature: str = "code", resize: str = "crop"
) -> Embedder:
    """An exported encoder: a SavedModel with the signature `features`.

    Raises:
        ConfigError: if it cannot be loaded or has no such signature or feature.
    """
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(version)
    except (OSError, ValueError, tf.errors.OpError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"{version} cannot be loaded: {reason}") from error
    if "features" not in loaded.signatures:
        raise ConfigError(
            f"{version} has no signature 'features'. It has: "
            f"{', '.join(loaded.signatures)}."
        )
    signature = loaded.signatures["features"]
    _check_feature(feature, signature.structured_outputs)
    digest = hashlib.sha256()
    for file in [version / "saved_model.pb", *sorted(version.glob("variables/*"))]:
        with open(file, "rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return Embedder(
        # By way of `loaded`: a signature alone does not keep its variables alive.
        extract=lambda images: loaded.signatures["features"](images=images)[feature],
        feature=feature,
        image_shape=tuple(signature.structured_input_signature[1]["images"].shape[1:]),
        resize=resize,
        fingerprint=digest.hexdigest(),
    )


def _check_feature(feature: str, known: Iterable[str]) -> None:
    if feature not in known:
        raise ConfigError(
            f"the encoder has no feature {feature!r}. It has: {', '.join(known)}."
        )
