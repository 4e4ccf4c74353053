"""Networks of `keras.applications` as encoders, with random or trained weights.

What becomes of pixels is read off the network's own `preprocess_input`, and the
features are chosen by rule: `code` is a linear layer on the pooled last map (`fc`,
`conv`), `local` the deepest map of at least 7 x 7 places.
"""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from tf_infomax.encoders.adapted import adapt_keras_model, read_layers

_PLACES = 7  # of a local map, a side
_WHITE = 255.0


def build_backbone(
    name: str,
    image_shape: tuple[int, int, int],
    code_size: int = 64,
    weights: str = "",
    frozen: str = "",
    layers: dict[str, str] | None = None,
) -> keras.Model:
    """A network of `keras.applications`, without its top, as an encoder.

    Args:
        name: of the network, "EfficientNetV2B0", "ResNet50", ...
        image_shape: (H, W, C); one channel is repeated.
        code_size: width D of the code.
        weights: "": drawn at random; "imagenet": trained ones, which Keras fetches
            unless it has them; or a file of weights without the top.
        frozen: name of the last layer that is not trained; "": all are.
        layers: feature -> layer name, instead of the rule's.

    Returns:
        A model from uint8 `[N, H, W, C]` to `local`, `conv`, `fc` and `code`.

    Raises:
        ValueError: for names that are unknown, and images that are too small.
    """
    build, preprocess = _find(name)
    images = keras.Input(image_shape, name="pixels")
    shown = images
    if image_shape[-1] == 1:
        shown = keras.layers.Concatenate(name="grey")([images] * 3)
    base = build(
        include_top=False,
        weights=_check_weights(weights),
        input_tensor=_normalize(shown, preprocess),
    )
    chosen = {"local": _choose_local(base), "conv": _layer_of(base)} | (layers or {})
    pooled = keras.layers.GlobalAveragePooling2D(name="pooled")(base.output)
    code = keras.layers.Dense(code_size, name="code")(pooled)
    model = keras.Model(images, code, name=name)
    _freeze(model, frozen)
    chosen = {"fc": "pooled", "code": "code"} | chosen
    return adapt_keras_model(model, chosen, image_shape)


def load_backbone(name: str, image_shape: tuple[int, int, int], config) -> keras.Model:
    """`build_backbone` as the options say."""
    return build_backbone(
        name,
        image_shape,
        config.code_size,
        config.backbone_weights,
        config.frozen_layers,
        read_layers(config),
    )


def list_backbones() -> list[str]:
    """The networks there are."""
    return sorted(n for n in dir(keras.applications) if n[0].isupper())


def _find(name: str) -> tuple[Callable, Callable]:
    """The function that builds a network, and what it does to pixels."""
    if name not in list_backbones():
        raise ValueError(
            f"must be one of {', '.join(list_backbones())}. Received: {name!r}."
        )
    for each in vars(keras.applications).values():
        if hasattr(each, name) and hasattr(each, "preprocess_input"):
            return getattr(keras.applications, name), each.preprocess_input
    raise ValueError(f"{name} does not say what it expects of pixels.")


def _check_weights(weights: str) -> str | None:
    if weights in ("", "imagenet"):
        return weights or None
    path = Path(weights).expanduser()
    if not path.is_file():
        raise ValueError(f"no file of weights: {weights!r}.")
    return str(path)


def _normalize(images, preprocess: Callable):
    """What `preprocess` does to pixels 0 to 255, by layers that every Keras has.

    It takes channels in some order and each one linearly: black and one picture of each
    colour tell all of it.
    """
    black = np.asarray(preprocess(np.zeros((1, 1, 3), np.float32)))[0, 0]
    slopes = []
    for channel in range(3):
        colour = np.zeros((1, 1, 3), np.float32)
        colour[..., channel] = _WHITE
        slopes.append((np.asarray(preprocess(colour))[0, 0] - black) / _WHITE)
    slopes = np.array(slopes)  # [given, seen]
    order = np.abs(slopes).argmax(axis=0)
    scale = slopes[order, np.arange(3)]
    if not np.allclose(slopes, np.eye(3)[order].T * scale):
        raise ValueError("its preprocessing mixes channels.")
    if tuple(order) == (2, 1, 0):
        images = images[..., ::-1]
    if np.allclose(scale, 1.0) and np.allclose(black, 0.0):
        return images
    return keras.layers.Rescaling(
        [float(each) for each in scale],
        [float(each) for each in black],
        name="preprocessing",
    )(images)


def _maps(base: keras.Model) -> list:
    """Layers whose output is one map of some places, from the input on."""
    found = []
    for layer in base.layers:
        shape = getattr(getattr(layer, "output", None), "shape", ())
        if isinstance(layer, keras.layers.ZeroPadding2D):
            continue
        if len(shape) == 4 and None not in shape[1:]:
            found.append((layer.name, tuple(shape[1:3])))
    return found


def _choose_local(base: keras.Model) -> str:
    """The deepest map of at least 7 x 7 places; else the deepest of the largest."""
    maps = _maps(base)[1:]  # the first is the image
    large = [name for name, sides in maps if min(sides) >= _PLACES]
    if large:
        return large[-1]
    most = max(min(sides) for _, sides in maps)
    return [name for name, sides in maps if min(sides) == most][-1]


def _layer_of(base: keras.Model) -> str:
    """The layer that gives the last map."""
    return next(
        layer.name for layer in reversed(base.layers) if layer.output is base.output
    )


def _freeze(model: keras.Model, last: str) -> None:
    """Keeps the layers from training up to the one of this name."""
    if not last:
        return
    names = [layer.name for layer in model.layers]
    if last not in names[:-2]:
        maps = [name for name, _ in _maps(model)][1:]
        raise ValueError(
            f"no layer {last!r} to freeze up to. Layers with maps: {', '.join(maps)}."
        )
    for layer in model.layers[: names.index(last) + 1]:
        layer.trainable = False
