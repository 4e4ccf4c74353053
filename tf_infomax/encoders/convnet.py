"""The convolutional encoders of Deep InfoMax, from their layer tables."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import keras


class Conv(NamedTuple):
    """Convolution without bias, batch norm, ReLU; `padding` pixels on every side."""

    filters: int
    kernel: int
    stride: int
    padding: int


class ConvTable(NamedTuple):
    """A layer table: convolutions, the index of the local map, hidden units."""

    size: int
    convs: tuple[Conv, ...]
    local: int
    units: int


# Hjelm et al. 2019, appendix A.2, and the released configurations of the same names.
CONVNETS = {
    "basic28x28": ConvTable(
        28, (Conv(64, 5, 2, 2), Conv(128, 5, 2, 2)), local=1, units=1024
    ),
    "basic32x32": ConvTable(
        32,
        (Conv(64, 4, 2, 1), Conv(128, 4, 2, 1), Conv(256, 4, 2, 1)),
        local=1,
        units=1024,
    ),
    "basic64x64": ConvTable(
        64,
        (Conv(64, 4, 2, 1), Conv(128, 4, 2, 1), Conv(256, 4, 2, 1), Conv(512, 4, 2, 1)),
        local=2,
        units=1024,
    ),
}


# Networks set against other encoders are those of a table of the same size.
_STAND_INS = {
    "alex64x64": "basic64x64",
    "foldalex64x64": "basic64x64",
    "foldmultialex64x64": "basic64x64",
    "resnet19_32x32": "basic32x32",
    "foldresnet19_32x32": "basic32x32",
}


def table_of(encoder: str) -> ConvTable | None:
    """The layers that decoders and discriminators of an encoder take; None: none."""
    return CONVNETS.get(_STAND_INS.get(encoder, encoder))


def build_convnet(
    name: str, image_shape: tuple[int, int, int], code_size: int = 64
) -> keras.Model:
    """Builds an encoder of `CONVNETS`: convolutions, one hidden layer, linear code.

    Args:
        name: a key of `CONVNETS`.
        image_shape: (H, W, C); H and W must be the table's size.
        code_size: width D of the code.

    Returns:
        A model from uint8 `[N, H, W, C]` to `local`, `conv`, `fc` and `code`.

    Raises:
        ValueError: if the images have another size than the table.
    """
    table = CONVNETS[name]
    images, x = begin(name, table.size, image_shape)
    maps = []
    for index, conv in enumerate(table.convs):
        x = _apply_conv(x, conv, f"conv_{index}")
        maps.append(x)
    local, conv = maps[table.local], maps[-1]
    return end(images, local, conv, name, table.units, code_size)


build_basic28x28 = partial(build_convnet, "basic28x28")
build_basic32x32 = partial(build_convnet, "basic32x32")
build_basic64x64 = partial(build_convnet, "basic64x64")


def build_trunk(name: str, local_shape: tuple, units: int) -> keras.Model:
    """The encoder's own layers from the local map on, ending in `units` outputs.

    The released global discriminator starts its copy at the layer that made the local
    map, which is thereby applied a second time; so does this one.
    """
    table = CONVNETS[name]
    local = keras.Input(local_shape, name="local")
    x = local
    for index, conv in enumerate(table.convs[table.local :]):
        x = _apply_conv(x, conv, f"conv_{index}")
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(table.units, use_bias=False, name="hidden")(x)
    x = apply_norm_relu(x, "hidden")
    return keras.Model(local, keras.layers.Dense(units, name="end")(x), name="trunk")


def _apply_conv(x, conv: Conv, name: str):
    return apply_norm_relu(add_conv(x, conv, name), name)


def add_conv(
    x: keras.KerasTensor, conv: Conv, name: str, **options
) -> keras.KerasTensor:
    """The convolution alone, padded as its row says; `options` are Keras'."""
    # "same" pads K - S pixels in all; only where that is the table's padding on both
    # sides does it put them where the table does.
    same = conv.kernel - conv.stride == 2 * conv.padding
    if not same and conv.padding:
        x = keras.layers.ZeroPadding2D(conv.padding, name=f"{name}_pad")(x)
    return keras.layers.Conv2D(
        conv.filters,
        conv.kernel,
        conv.stride,
        padding="same" if same else "valid",
        name=name,
        **{"use_bias": False, **options},
    )(x)


def apply_norm_relu(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Batch norm and ReLU."""
    return keras.layers.ReLU(name=f"{name}_relu")(apply_norm(x, name))


def apply_norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Batch norm."""
    return build_norm(f"{name}_norm")(x)


def build_norm(name: str | None = None) -> keras.layers.BatchNormalization:
    """The batch norm of all networks of the paper."""
    # Momentum 0.9 is the paper's framework's default; Keras' 0.99 would lag behind in
    # runs of a thousand steps.
    return keras.layers.BatchNormalization(
        momentum=0.9, epsilon=1e-5, synchronized=True, name=name
    )


def end(
    images: keras.KerasTensor,
    local: keras.KerasTensor,
    conv: keras.KerasTensor,
    name: str,
    units: int,
    code_size: int,
    hidden: Sequence[str] = ("hidden",),
) -> keras.Model:
    """The model that ends in hidden layers and a linear code.

    Args:
        images: the input.
        local, conv: these features; the hidden layers begin at the second.
        name: of the encoder.
        units: of each hidden layer.
        code_size: width D of the code.
        hidden: names of the hidden layers.
    """
    fc = keras.layers.Flatten(name="flatten")(conv)
    for layer in hidden:
        fc = keras.layers.Dense(units, use_bias=False, name=layer)(fc)
        fc = apply_norm_relu(fc, layer)
    code = keras.layers.Dense(code_size, name="code")(fc)
    features = {"local": local, "conv": conv, "fc": fc, "code": code}
    return keras.Model(images, features, name=name)


def begin(name: str, side: int, image_shape: tuple[int, int, int]) -> tuple:
    """(input, the same in [-1, 1]) of an encoder of square images.

    Raises:
        ValueError: if the images have another size.
    """
    if tuple(image_shape[:2]) != (side, side):
        raise ValueError(
            f"encoder {name} takes {side} x {side} images. Received: {image_shape[0]} "
            f"x {image_shape[1]}; resize them (image_size={side}) or take another one: "
            "auto, resnet and mlp take any size."
        )
    images = keras.Input(image_shape, dtype="uint8", name="images")
    scale = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale")
    return images, scale(images)
