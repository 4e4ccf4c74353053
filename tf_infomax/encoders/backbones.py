"""Networks of `keras.applications` and of KerasHub as encoders.

What becomes of pixels is what the network was made for, and the features are chosen by
rule: `code` is a linear layer on the pooled last map (`fc`, `conv`), `local` the
deepest map of at least 7 x 7 places. The tokens of a vision transformer are a map, too.
"""

import math
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from tf_infomax.encoders.adapted import adapt_keras_model, find_output, read_layers

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
    images, shown = _open(image_shape)
    base = build(
        include_top=False,
        weights=_check_weights(weights),
        input_tensor=_normalize(shown, preprocess),
    )
    _freeze(base, frozen)
    maps = _choose_maps(base)
    return _finish(name, images, base.output, maps, image_shape, code_size, layers)


def build_hub_backbone(
    preset: str,
    image_shape: tuple[int, int, int],
    code_size: int = 64,
    weights: str = "",
    frozen: str = "",
    layers: dict[str, str] | None = None,
) -> keras.Model:
    """A backbone of KerasHub (`pip install keras-hub`) as an encoder.

    Args:
        preset: a name ("resnet_18_imagenet"), which KerasHub fetches unless it has it,
            or a folder that `Backbone.save_to_preset` has written.
        image_shape: (H, W, C); one channel is repeated.
        code_size: width D of the code.
        weights: "": drawn at random; "preset": those that come with it; or a file of
            weights of the backbone.
        frozen: name of the last layer that is not trained; "": all are.
        layers: feature -> layer name, instead of the rule's.

    Returns:
        A model from uint8 `[N, H, W, C]` to `local`, `conv`, `fc` and `code`.

    Raises:
        ValueError: if there is no such preset, or it is none of images.
    """
    file = _check_weights(weights, "preset")
    base, converter = _load_preset(preset, image_shape, file == "preset")
    if file not in (None, "preset"):
        base.load_weights(file)
    images, shown = _open(image_shape)
    scale = 1.0 if converter.scale is None else converter.scale
    offset = 0.0 if converter.offset is None else converter.offset
    shown = keras.layers.Rescaling(scale, offset, name="preprocessing")(shown)
    _freeze(base, frozen)
    maps = _choose_maps(base)
    found = {name: find_output(base, name) for name in (layers or {}).values()}
    found |= {name: find_output(base, name) for name in maps.values()}
    # A backbone that is used as it is stays whole: not all can be saved layer by layer.
    whole = len(found) == 1 and maps["conv"] in found
    network = base if whole else keras.Model(base.inputs, found, name="backbone")
    seen = {maps["conv"]: network(shown)} if whole else network(shown)
    seen = {name: keras.layers.Identity(name=name)(seen[name]) for name in found}
    last, own = seen.pop(maps["conv"]), Path(preset).name
    given = own, images, last, maps, image_shape, code_size, layers
    return _finish(*given, beside=list(seen.values()))


def _load_preset(preset: str, image_shape: tuple[int, int, int], trained: bool):
    """The backbone of a preset for images of this shape, and what converts pixels."""
    try:
        import keras_hub
    except ImportError as error:
        raise ValueError("needs KerasHub: pip install keras-hub.") from error
    try:
        base = keras_hub.models.Backbone.from_preset(
            preset, load_weights=trained, image_shape=(*image_shape[:2], 3)
        )
        return base, keras_hub.layers.ImageConverter.from_preset(preset)
    except Exception as error:  # of the network, of files, of other arguments
        cause = str(error).strip().splitlines()[0]
        raise ValueError(
            f"no preset of images of {image_shape[0]} x {image_shape[1]} pixels that "
            f"can be loaded ({cause}). Accepted: a name that KerasHub can fetch, or a "
            "folder that save_to_preset has written."
        ) from error


def _open(image_shape: tuple[int, int, int]) -> tuple:
    """The input, and the same in three channels."""
    images = keras.Input(image_shape, name="pixels")
    if image_shape[-1] == 1:
        return images, keras.layers.Concatenate(name="grey")([images] * 3)
    return images, images


def _finish(
    name: str, images, last, maps: dict, image_shape, code_size: int, layers, beside=()
) -> keras.Model:
    """The encoder whose last map, or last tokens, are `last`.

    Args:
        images, last: input and output of the network.
        maps: feature -> layer, as chosen by rule.
        layers: feature -> layer, as the user has them.
        beside: other outputs that are features.
    """
    if len(last.shape) == 3:
        last, maps = _as_map(last, image_shape), dict.fromkeys(maps, "places")
    pooled = keras.layers.GlobalAveragePooling2D(name="pooled")(last)
    code = keras.layers.Dense(code_size, name="code")(pooled)
    model = keras.Model(images, [code, *beside], name=name)
    chosen = {**maps, "fc": "pooled", "code": "code", **(layers or {})}
    return adapt_keras_model(model, chosen, image_shape)


def _as_map(tokens, image_shape: tuple[int, int, int]):
    """`[N, T, D]` as `[N, h, w, D]`: those of patches, which come last, row by row."""
    count, width = tokens.shape[1:]
    side = math.isqrt(count)
    if image_shape[0] != image_shape[1]:
        raise ValueError(
            f"the places of its {count} tokens are known for square images only. "
            f"Received: {image_shape[0]} x {image_shape[1]} pixels."
        )
    patches = tokens[:, count - side**2 :]
    return keras.layers.Reshape((side, side, width), name="places")(patches)


def load_hub_backbone(
    preset: str, image_shape: tuple[int, int, int], config
) -> keras.Model:
    """`build_hub_backbone` as the options say."""
    return build_hub_backbone(preset, image_shape, *_options_of(config))


def load_backbone(name: str, image_shape: tuple[int, int, int], config) -> keras.Model:
    """`build_backbone` as the options say."""
    return build_backbone(name, image_shape, *_options_of(config))


def _options_of(config) -> tuple:
    return (
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


def _check_weights(weights: str, own: str = "imagenet") -> str | None:
    """A file, the word for those that the network comes with, or None."""
    if weights in ("", own):
        return weights or None
    path = Path(weights).expanduser()
    if not path.is_file():
        raise ValueError(f"no file of weights, nor {own!r}: {weights!r}.")
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


def _choose_maps(base: keras.Model) -> dict[str, str]:
    """`conv` is the last, `local` the deepest of at least 7 x 7 places.

    Without any of so many places it is the deepest of the largest. Tokens are one map.
    """
    last = _layer_of(base)
    if len(base.output.shape) == 3:
        return {"local": last, "conv": last}
    maps = _maps(base)[1:]  # the first is the image
    if not maps:
        raise ValueError(f"{base.name} has no maps of places.")
    large = [name for name, sides in maps if min(sides) >= _PLACES]
    if not large:
        most = max(min(sides) for _, sides in maps)
        large = [name for name, sides in maps if min(sides) == most]
    return {"local": large[-1], "conv": last}


def _layer_of(base: keras.Model) -> str:
    """The layer that gives the last map."""
    return next(
        layer.name for layer in reversed(base.layers) if layer.output is base.output
    )


def _freeze(base: keras.Model, last: str) -> None:
    """Keeps the layers from training up to the one of this name."""
    if not last:
        return
    names = [layer.name for layer in base.layers]
    if last not in names:
        maps = [name for name, _ in _maps(base)][1:]
        raise ValueError(
            f"no layer {last!r} to freeze up to. Layers with maps: {', '.join(maps)}."
        )
    for layer in base.layers[: names.index(last) + 1]:
        layer.trainable = False
