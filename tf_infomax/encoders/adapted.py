"""A user's own Keras model as an encoder, its features named by layer."""

import difflib
from collections.abc import Mapping
from pathlib import Path

import keras

FEATURES = ("local", "conv", "fc", "globals", "code")
_MAPS = ("local", "globals")
_CLOSE, _SHOWN = 3, 12  # layers that are named where one is not found


def adapt_keras_model(
    model: keras.Model,
    layers: Mapping[str, str],
    image_shape: tuple[int, int, int],
    input_range: tuple[float, float] = (0.0, 255.0),
) -> keras.Model:
    """Wraps a functional or sequential model as an encoder of uint8 images.

    Args:
        model: a built model with one image input.
        layers: feature name -> layer name, for example
            `{"local": "block2_out", "code": "embedding"}`. `code` is needed and must be
            a vector; `local` and `globals` must be maps.
        image_shape: (H, W, C) of the images.
        input_range: what the model expects pixels 0 and 255 to become.

    Returns:
        A model from uint8 images to a dict with these features. It shares its weights
        with `model`, whose layers from now on compute in the precision that
        `keras.config.dtype_policy` says.

    Raises:
        ValueError: for unknown features or layers, and outputs of the wrong rank.
    """
    unknown = set(layers) - set(FEATURES)
    if unknown or "code" not in layers:
        raise ValueError(
            f"layers must name the code and may name {', '.join(FEATURES[:-1])}. "
            f"Received: {dict(layers)}."
        )
    tops = {name: find_output(model, layer) for name, layer in layers.items()}
    for name, output in tops.items():
        rank = 4 if name in _MAPS else 2
        if name in (*_MAPS, "code") and len(output.shape) != rank:
            raise ValueError(
                f"feature {name} must have {rank} axes. Received: layer "
                f"{layers[name]!r} with output shape {output.shape}."
            )
    _set_precision(model)
    low, high = input_range
    images = keras.Input(image_shape, dtype="uint8", name="images")
    scale = keras.layers.Rescaling((high - low) / 255.0, offset=low, name="rescale")
    features = keras.Model(model.inputs, tops, name="features")
    return keras.Model(images, features(scale(images)), name=model.name)


def _set_precision(model: keras.Model) -> None:
    """Gives float32 weights the present policy of computing, as new layers have it.

    A layer keeps the policy that it was saved with, so that mixed precision, or its
    absence, would otherwise end at the file.
    """
    policy = keras.config.dtype_policy()
    for layer in model._flatten_layers():
        own = layer.dtype_policy
        if own.variable_dtype == "float32" and own.quantization_mode is None:
            layer.dtype_policy = policy


def strip_scaling(encoder: keras.Model) -> keras.Model:
    """The encoder of pixels that are scaled already, as float32; shares its weights.

    For what uint8 images cannot have: noise, and derivatives by pixels.

    Raises:
        ValueError: if it has no layer `rescale`, as every encoder here has.
    """
    if not any(layer.name == "rescale" for layer in encoder.layers):
        raise ValueError(
            f"encoder {encoder.name!r} has no layer 'rescale' after its input. Its "
            f"layers: {', '.join(layer.name for layer in encoder.layers)}."
        )
    outputs = {}
    for name, value in encoder.output.items():
        # Keras loses a tensor that a graph which starts midway gives out twice.
        twice = any(value is other for other in outputs.values())
        outputs[name] = (
            keras.layers.Identity(name=f"{name}_too")(value) if twice else value
        )
    scaled = encoder.get_layer("rescale").output
    return keras.Model(scaled, outputs, name=encoder.name)


def find_output(model: keras.Model, layer: str) -> keras.KerasTensor:
    """The output of a layer; a ValueError names those that can be taken."""
    try:
        return model.get_layer(layer).output
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"layer {layer!r} of model {model.name!r} has no output that can be used. "
            f"{_list_layers(model, layer)}"
        ) from error


def _list_layers(model: keras.Model, wanted: str) -> str:
    """Layers that can be taken: the last one of each shape, and close names."""
    shapes = {}
    for each in model.layers:
        shape = getattr(getattr(each, "output", None), "shape", None)
        if shape is not None and len(shape) in (2, 4):
            shapes[each.name] = tuple(shape[1:])
    last = {shape: name for name, shape in shapes.items()}
    close = difflib.get_close_matches(wanted, shapes, n=_CLOSE)
    names = dict.fromkeys([*close, *list(last.values())[-_SHOWN:]])
    shown = ", ".join(f"{name} {list(shapes[name])}" for name in names)
    return f"Maps [H, W, C] and vectors [D] are those of: {shown or 'no layer'}."


def read_layers(config) -> dict[str, str]:
    """Feature -> layer name, as `--encoder_layers` has them."""
    return dict(pair.split("=") for pair in config.encoder_layers)


def load_adapted(path: str, image_shape: tuple[int, int, int], config) -> keras.Model:
    """The model in a `.keras` file as an encoder, as the options say.

    Raises:
        ValueError: if it is none, or has no such layers.
    """
    file = str(Path(path).expanduser())
    try:
        model = keras.models.load_model(file, compile=False, safe_mode=True)
    except (ValueError, OSError, TypeError) as error:
        raise ValueError(
            f"cannot be loaded as a Keras model: {_explain_loading(error)}"
        ) from error
    layers = read_layers(config)
    low, _, high = config.encoder_input.partition("_")
    return adapt_keras_model(model, layers, image_shape, (float(low), float(high)))


def _explain_loading(error: Exception) -> str:
    """The cause: of an error in a layer Keras tells the model first, the layer last."""
    cause = str(error).rpartition("Exception encountered: ")[2].strip()
    return cause.splitlines()[0].partition(" Full object config")[0]
