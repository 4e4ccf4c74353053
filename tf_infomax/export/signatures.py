"""What an exported encoder answers: named functions of batches, and what they owe.

Every signature takes and gives tensors with a leading batch axis of any size; shapes
are enforced inside the graph, since neither TensorFlow Serving nor the C runtime holds
a request to the declared ones. Outputs are float32 (class names: strings).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tf_infomax.data.decoding import decode, resize

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Classifier:
    """A linear probe on codes.

    Attributes:
        weights, bias: `[D, K]` and `[K]`; softmax of codes @ weights + bias.
        names: of the K classes.
        accuracy: on test images, None if there were none.
    """

    weights: np.ndarray
    bias: np.ndarray
    names: tuple[str, ...]
    accuracy: float | None = None


@dataclass(frozen=True)
class Parts:
    """All that the signatures are made of.

    Attributes:
        encoder: from uint8 `[N, H, W, C]` to named features. With methods
            `inverse(code)` and `log_det_jacobian(images)` these are served as well.
        image_shape: (H, W, C).
        resize: a rule of `decoding.RESIZE_RULES`, for encoded images.
        largest: most pixels of an encoded image.
        classifier: served as `classify`, or None.
        critics: (name, feature of x, feature of y, critic), served as `score`.
        empty_batches: whether batches of no image are answered.
    """

    encoder: keras.Model
    image_shape: tuple[int, int, int]
    resize: str
    largest: int
    classifier: Classifier | None = None
    critics: tuple[tuple[str, str, str, keras.layers.Layer], ...] = ()
    empty_batches: bool = True

    def encode(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """All features, float32, of images whose shape is enforced."""
        images = tf.ensure_shape(images, (None, *self.image_shape))
        count = tf.shape(images)[0]
        if self.empty_batches:
            # An empty batch goes through as one image: oneDNN's convolution, which a
            # server may use, gives it a wrong shape.
            missing = tf.cast(tf.equal(count, 0), tf.int32)
            images = tf.pad(images, [[0, missing], [0, 0], [0, 0], [0, 0]])
        features = self.encoder(images, training=False)
        return {
            name: tf.cast(value[:count] if self.empty_batches else value, tf.float32)
            for name, value in features.items()
        }

    def decode(self, image_bytes: tf.Tensor) -> tf.Tensor:
        """string [N] -> uint8 [N, H, W, C], as images from files are read."""
        height, width, channels = self.image_shape

        def decode_one(encoded):
            image = decode(encoded, channels, self.largest)
            return resize(image, (height, width), self.resize)

        return tf.map_fn(
            decode_one,
            tf.ensure_shape(image_bytes, [None]),
            fn_output_signature=tf.TensorSpec(self.image_shape, tf.uint8),
        )


@dataclass(frozen=True)
class Signature:
    """One served function.

    Attributes:
        function: the graph; keyword arguments as `inputs`, a dict out.
        inputs: specs, each named as its argument.
        request: uint8 images -> the arrays of a request about them.
        expected: uint8 images -> what the model in memory answers, computed in another
            way than `function` where there is one.
    """

    function: Callable[..., dict[str, tf.Tensor]]
    inputs: tuple[tf.TensorSpec, ...]
    request: Callable[[np.ndarray], Arrays]
    expected: Callable[[np.ndarray], Arrays]


def make_embed(parts: Parts) -> Signature:
    """`images` -> `embedding`, the code."""
    return Signature(
        lambda images: {"embedding": parts.encode(images)["code"]},
        (_images_spec(parts),),
        lambda images: {"images": images},
        lambda images: {"embedding": parts.encoder(images)["code"]},
    )


def make_encoded(parts: Parts) -> Signature:
    """`image_bytes` (JPEG, PNG, GIF, BMP; see `decoding.decode`) -> `embedding`."""
    return Signature(
        lambda image_bytes: {
            "embedding": parts.encode(parts.decode(image_bytes))["code"]
        },
        (tf.TensorSpec([None], tf.string, name="image_bytes"),),
        lambda images: {"image_bytes": _encode_png(images)},
        lambda images: {"embedding": parts.encoder(images)["code"]},
    )


def make_features(parts: Parts) -> Signature:
    """`images` -> every feature of the encoder, maps as maps."""
    return Signature(
        parts.encode,
        (_images_spec(parts),),
        lambda images: {"images": images},
        parts.encoder,
    )


def make_classify(parts: Parts) -> Signature | None:
    """`inputs`, tf.Examples with a feature `image_bytes` -> `classes`, `scores`.

    The contract of the Classify API: all K class names and their probabilities.
    """
    classifier = parts.classifier
    if classifier is None:
        return None
    features = {"image_bytes": tf.io.FixedLenFeature([], tf.string)}

    def classify(inputs):
        examples = tf.io.parse_example(tf.ensure_shape(inputs, [None]), features)
        codes = parts.encode(parts.decode(examples["image_bytes"]))["code"]
        weights, bias = (
            tf.constant(array, tf.float32)
            for array in (classifier.weights, classifier.bias)
        )
        names = tf.constant(classifier.names)[None]
        return {
            "classes": tf.repeat(names, tf.shape(codes)[0], axis=0),
            "scores": tf.nn.softmax(codes @ weights + bias),
        }

    def expect(images):
        codes = np.asarray(parts.encoder(images)["code"], np.float64)
        logits = codes @ classifier.weights + classifier.bias
        scores = np.exp(logits - logits.max(axis=1, keepdims=True))
        names = np.array([name.encode() for name in classifier.names], object)
        return {
            "classes": np.tile(names, (len(images), 1)),
            "scores": scores / scores.sum(axis=1, keepdims=True),
        }

    return Signature(
        classify,
        (tf.TensorSpec([None], tf.string, name="inputs"),),
        lambda images: {"inputs": _make_examples(_encode_png(images))},
        expect,
    )


def make_score(parts: Parts) -> Signature | None:
    """Pairs of images `x`, `y` -> the critics' scores of each pair.

    One output for each critic, `[N]`, or `[N, L]` where x is scored at L locations.
    """
    if not parts.critics:
        return None

    def score(x, y):
        x, y = parts.encode(x), parts.encode(y)
        return {
            name: score_pairs(critic, x[feature_x], y[feature_y])
            for name, feature_x, feature_y, critic in parts.critics
        }

    def expect(images):
        x, y = parts.encoder(images), parts.encoder(images[::-1])
        return {
            # The diagonal of all pairs: [..., N, N] -> [N, ...].
            name: tf.einsum("...nn->n...", critic((x[feature_x], y[feature_y])))
            for name, feature_x, feature_y, critic in parts.critics
        }

    return Signature(
        score,
        (_images_spec(parts, "x"), _images_spec(parts, "y")),
        lambda images: {"x": images, "y": images[::-1]},
        expect,
    )


def make_inverse(parts: Parts) -> Signature | None:
    """`embedding` -> `images`, float32 on the scale of pixels (invertible encoders)."""
    if not hasattr(parts.encoder, "inverse"):
        return None
    width = int(np.prod(parts.image_shape))
    return Signature(
        lambda embedding: {
            "images": parts.encoder.inverse(tf.ensure_shape(embedding, [None, width]))
        },
        (tf.TensorSpec([None, width], tf.float32, name="embedding"),),
        lambda images: {"embedding": np.asarray(parts.encoder(images)["code"])},
        lambda images: {"images": images.astype(np.float32)},
    )


def make_log_det_jacobian(parts: Parts) -> Signature | None:
    """`images` -> `log_det_jacobian` (invertible encoders)."""
    if not hasattr(parts.encoder, "log_det_jacobian"):
        return None

    def log_det_jacobian(images):
        images = tf.ensure_shape(images, (None, *parts.image_shape))
        return {"log_det_jacobian": parts.encoder.log_det_jacobian(images)}

    return Signature(
        log_det_jacobian,
        (_images_spec(parts),),
        lambda images: {"images": images},
        lambda images: {"log_det_jacobian": parts.encoder.log_det_jacobian(images)},
    )


SIGNATURES: dict[str, Callable[[Parts], Signature | None]] = {
    "serving_default": make_embed,
    "encoded": make_encoded,
    "features": make_features,
    "classify": make_classify,
    "score": make_score,
    "inverse": make_inverse,
    "log_det_jacobian": make_log_det_jacobian,
}


def build_signatures(parts: Parts) -> dict[str, Signature]:
    """The signatures that these parts allow, by name."""
    made = {name: make(parts) for name, make in SIGNATURES.items()}
    return {name: signature for name, signature in made.items() if signature}


def _images_spec(parts: Parts, name: str = "images") -> tf.TensorSpec:
    return tf.TensorSpec((None, *parts.image_shape), tf.uint8, name=name)


def score_pairs(critic: keras.layers.Layer, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """f(x_i, y_i), `[N, ...]`, without the scores of all other pairs."""
    embedded = critic.embed(x, y, training=False)

    def score_one(pair):
        one = tf.nest.map_structure(lambda tensor: tensor[None], pair)
        return critic.score(*one)[..., 0, 0]

    shape = critic((x[:1], y[:1])).shape[:-2]
    return tf.map_fn(
        score_one, embedded, fn_output_signature=tf.TensorSpec(shape, tf.float32)
    )


def _encode_png(images: np.ndarray) -> np.ndarray:
    return np.array([tf.io.encode_png(image).numpy() for image in images], object)


def _make_examples(image_bytes: np.ndarray) -> np.ndarray:
    def make(encoded):
        value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded]))
        features = tf.train.Features(feature={"image_bytes": value})
        return tf.train.Example(features=features).SerializeToString()

    return np.array([make(encoded) for encoded in image_bytes], object)
