"""The bottleneck ResNets of Deep InfoMax for images of 32 x 32, whole and folded.

Source: the released configurations `resnet19_32x32` and `foldresnet19_32x32` of Hjelm
et al. 2019.
"""

from typing import NamedTuple

import keras

from tf_infomax.encoders.convnet import (
    Conv,
    add_conv,
    apply_norm,
    apply_norm_relu,
    begin,
    end,
)
from tf_infomax.encoders.crops import fold, unfold


class _Block(NamedTuple):
    """Convolutions 1 x 1, 3 x 3 (with the stride), 1 x 1 of these filters."""

    filters: int
    wide: int
    stride: int = 1


SIDE, CROP = 32, 8
_BLOCKS = (
    _Block(64, 256),
    _Block(64, 256),
    _Block(128, 512, stride=2),
    _Block(128, 512),
    _Block(256, 1024, stride=2),
    _Block(256, 1024),
)
_LOCAL = 3  # the block whose map is as large as that of basic32x32
_UNITS = 1024


def build_resnet(image_shape: tuple[int, int, int], code_size: int = 64) -> keras.Model:
    """`resnet19_32x32`: a convolution, six residual blocks, a hidden layer, the code.

    `local` is `[N, 8, 8, 512]`; `conv` `[N, 4, 4, 1024]`. A block ends in a ReLU after
    the sum; where its shape changes, the shortcut is a convolution of 1 x 1.

    Args:
        image_shape: (32, 32, C).
        code_size: width D of the code.

    Returns:
        A model from uint8 `[N, 32, 32, C]` to `local`, `conv`, `fc` and `code`.

    Raises:
        ValueError: if the images have another size.
    """
    images, x = begin("resnet19_32x32", SIDE, image_shape)
    maps = _apply_blocks(x)
    local, conv = maps[_LOCAL], maps[-1]
    return end(images, local, conv, "resnet19_32x32", _UNITS, code_size)


def build_folded_resnet(
    image_shape: tuple[int, int, int], code_size: int = 64
) -> keras.Model:
    """`foldresnet19_32x32`: the same on 7 x 7 crops of 8 pixels, each by itself.

    `local` and `conv` are `[N, 7, 7, 1024]`, one location for each crop.

    Args, returns and errors are those of `build_resnet`.
    """
    images, x = begin("foldresnet19_32x32", SIDE, image_shape)
    crops, grid = unfold(x, CROP)
    local = fold(_apply_blocks(crops)[-1], grid)
    return end(images, local, local, "foldresnet19_32x32", _UNITS, code_size)


def _apply_blocks(x) -> list:
    """The map after each block."""
    x = apply_norm_relu(_conv(x, 64, 3, 2, "first"), "first")
    maps = []
    for index, block in enumerate(_BLOCKS):
        x = _apply_block(x, block, f"block_{index}")
        maps.append(x)
    return maps


def _apply_block(x, block: _Block, name: str):
    y = apply_norm_relu(_conv(x, block.filters, 1, 1, f"{name}_0"), f"{name}_0")
    y = _conv(y, block.filters, 3, block.stride, f"{name}_1")
    y = apply_norm_relu(y, f"{name}_1")
    y = apply_norm(_conv(y, block.wide, 1, 1, f"{name}_2"), f"{name}_2")
    if block.stride > 1 or x.shape[-1] != block.wide:
        x = _conv(x, block.wide, 1, block.stride, f"{name}_shortcut")
        x = apply_norm(x, f"{name}_shortcut")
    return keras.layers.ReLU(name=f"{name}_relu")(keras.layers.Add()([x, y]))


def _conv(x, filters: int, kernel: int, stride: int, name: str):
    return add_conv(x, Conv(filters, kernel, stride, padding=kernel // 2), name)
