"""A residual encoder of images of any size, and the choice of an encoder by size.

Source: the blocks of He et al. 2016 (two convolutions and a shortcut), ending as
ResNets do in a mean over places, with the features of Deep InfoMax (Hjelm et al. 2019).
"""

import math

import keras

from tf_infomax.encoders.convnet import (
    CONVNETS,
    Conv,
    add_conv,
    apply_norm,
    apply_norm_relu,
    build_convnet,
    build_norm,
)

_LOCAL_SIDE = 12  # largest side of the local map, of square images
_SMALLEST = 8  # side of images, in pixels
_FIRST, _WIDEST, _LAST, _UNITS = 64, 256, 512, 1024


def build_resnet_of_any_size(
    image_shape: tuple[int, int, int], code_size: int = 64
) -> keras.Model:
    """`resnet`: residual blocks, each half as large as the one before.

    As many as it takes until the shorter side of the local map is at most 12 (8 of
    images of 32, 64 or 128 pixels, 7 of 28 or 224); one more gives `conv` with 512
    channels, whose mean over places goes through a hidden layer of 1024.

    Args:
        image_shape: (H, W, C), H and W at least 8.
        code_size: width D of the code.

    Returns:
        A model from uint8 `[N, H, W, C]` to `local`, `conv`, `fc` and `code`.

    Raises:
        ValueError: if the images are smaller.
    """
    side = min(image_shape[:2])
    if side < _SMALLEST:
        raise ValueError(
            f"encoder resnet takes images of {_SMALLEST} x {_SMALLEST} or more. "
            f"Received: {image_shape[0]} x {image_shape[1]}."
        )
    images = keras.Input(image_shape, dtype="uint8", name="images")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale")(images)
    halvings = max(0, math.ceil(math.log2(side / _LOCAL_SIDE)))
    kernel, stride = (4, 2) if halvings > 1 else (3, 1)
    x = add_conv(x, Conv(_FIRST, kernel, stride, padding=1), "first")
    x = apply_norm_relu(x, "first")
    for index in range(1, max(halvings, 2)):
        width = min(_FIRST << index, _WIDEST)
        x = _apply_block(x, width, f"block_{index}", stride=2 if halvings else 1)
    local = x
    x = conv = _apply_block(x, _LAST, "last")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dense(_UNITS, use_bias=False, name="hidden")(x)
    fc = keras.layers.ReLU(name="hidden_relu")(build_norm("hidden_norm")(x))
    code = keras.layers.Dense(code_size, name="code")(fc)
    features = {"local": local, "conv": conv, "fc": fc, "code": code}
    return keras.Model(images, features, name="resnet")


def build_auto(image_shape: tuple[int, int, int], code_size: int = 64) -> keras.Model:
    """`auto`: the paper's convolutional encoder of this size, else `resnet`.

    Args, returns and errors are those of `build_resnet_of_any_size`.
    """
    for name, table in CONVNETS.items():
        if tuple(image_shape[:2]) == (table.size, table.size):
            return build_convnet(name, image_shape, code_size)
    return build_resnet_of_any_size(image_shape, code_size)


def name_row(asked: str, encoder: keras.Model) -> str:
    """The row that an encoder is of: what was asked for, but for `auto`."""
    return encoder.name if asked == "auto" else asked


def _apply_block(x, width: int, name: str, stride: int = 2):
    """ReLU(two convolutions + a convolution of 1 x 1 of means)."""
    y = add_conv(x, Conv(width, 2 + stride, stride, padding=1), f"{name}_0")
    y = apply_norm_relu(y, f"{name}_0")
    y = apply_norm(add_conv(y, Conv(width, 3, 1, padding=1), f"{name}_1"), f"{name}_1")
    pool = {"padding": "same", "name": f"{name}_pool"}
    x = keras.layers.AveragePooling2D(stride, **pool)(x)
    x = add_conv(x, Conv(width, 1, 1, padding=0), f"{name}_shortcut")
    x = apply_norm(x, f"{name}_shortcut")
    return keras.layers.ReLU(name=f"{name}_relu")(keras.layers.Add()([x, y]))
