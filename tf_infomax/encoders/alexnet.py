"""The AlexNet-like encoders of Deep InfoMax for images of 64 x 64.

Source: Hjelm et al. 2019, appendix A.2, and the released configurations of the same
names.
"""

from typing import NamedTuple

import keras

from tf_infomax.encoders.convnet import Conv, add_conv, apply_norm_relu, begin, end
from tf_infomax.encoders.crops import fold, unfold


class _Conv(NamedTuple):
    """A convolution of 3 x 3, its filters, and whether 3 x 3 / 2 pooling follows."""

    filters: int
    pooled: bool = False


SIDE, CROP = 64, 16
# A description, of which every layer makes an initializer, and thus a draw, of its own.
_NORMAL = {"class_name": "RandomNormal", "config": {"stddev": 0.02}}
_DRAWN = {"kernel_initializer": _NORMAL}
_CONVS = (
    _Conv(96, pooled=True),
    _Conv(192, pooled=True),
    _Conv(384),
    _Conv(384),
    _Conv(192, pooled=True),
)
_LOCAL = 2
_UNITS = 4096


def build_alexnet(
    image_shape: tuple[int, int, int], code_size: int = 64
) -> keras.Model:
    """`alex64x64`: five convolutions, two hidden layers of 4,096, linear code.

    `local` is `[N, 15, 15, 384]`, the third convolution; `conv` `[N, 7, 7, 192]`.

    Args:
        image_shape: (64, 64, C).
        code_size: width D of the code.

    Returns:
        A model from uint8 `[N, 64, 64, C]` to `local`, `conv`, `fc` and `code`.

    Raises:
        ValueError: if the images have another size.
    """
    images, x = begin("alex64x64", SIDE, image_shape)
    maps = _apply_convs(x)
    local, conv = maps[_LOCAL], maps[-1]
    hidden = ("hidden_0", "hidden_1")
    return end(images, local, conv, "alex64x64", _UNITS, code_size, hidden)


def build_folded_alexnet(
    image_shape: tuple[int, int, int], code_size: int = 64
) -> keras.Model:
    """`foldalex64x64`: the convolutions on 7 x 7 crops of 16 pixels, then on their map.

    A crop sees nothing of the others before they meet in `conv`, so that none of its
    features can be told from its surroundings: the network of the comparison with CPC.
    `local` is `[N, 7, 7, 192]`, one location for each crop; `conv` `[N, 3, 3, 384]`;
    one hidden layer of 4,096. Weights are drawn from N(0, 0.02), and convolutions of
    crops have biases.

    Args, returns and errors are those of `build_alexnet`.
    """
    images, local = _encode_crops("foldalex64x64", image_shape)
    x = add_conv(local, Conv(384, 3, 2, 0), "fold_conv", **_DRAWN)
    conv = apply_norm_relu(keras.layers.Dropout(0.1)(x), "fold_conv")
    x = keras.layers.Flatten(name="flatten")(conv)
    x = keras.layers.Dense(_UNITS, use_bias=False, name="hidden", **_DRAWN)(x)
    fc = keras.layers.Dropout(0.1)(apply_norm_relu(x, "hidden"))
    code = keras.layers.Dense(code_size, name="code", **_DRAWN)(fc)
    features = {"local": local, "conv": conv, "fc": fc, "code": code}
    return keras.Model(images, features, name="foldalex64x64")


def build_folded_alexnet_of_places(
    image_shape: tuple[int, int, int], code_size: int = 64
) -> keras.Model:
    """`foldmultialex64x64`: crops as `foldalex64x64` has them, and 5 x 5 codes.

    Two convolutions, of 3 x 3 and of 1 x 1, on the map of crops give `globals`
    `[N, 5, 5, D]`, one vector for each block of 3 x 3 crops: the multiple globals of
    the comparison with CPC. There D is 192 and there is no code; here it is the mean of
    the globals, so that it has no weights of its own. `conv` is another name of
    `globals`; there is no `fc`.

    Args, returns and errors are those of `build_alexnet`.
    """
    images, local = _encode_crops("foldmultialex64x64", image_shape)
    x = add_conv(local, Conv(192, 3, 1, 0), "fold_conv", **_DRAWN)
    x = apply_norm_relu(x, "fold_conv")
    x = add_conv(x, Conv(code_size, 1, 1, 0), "globals", **_DRAWN)
    places = apply_norm_relu(x, "globals")
    code = keras.layers.GlobalAveragePooling2D(name="code")(places)
    features = {"local": local, "conv": places, "globals": places, "code": code}
    return keras.Model(images, features, name="foldmultialex64x64")


def _encode_crops(name: str, image_shape: tuple[int, int, int]):
    """(input, map of crops `[N, 7, 7, 192]`)."""
    images, x = begin(name, SIDE, image_shape)
    crops, grid = unfold(x, CROP)
    return images, fold(_apply_convs(crops, use_bias=True, **_DRAWN)[-1], grid)


def _apply_convs(x, **options) -> list:
    """The map after each convolution, with its pooling."""
    maps = []
    for index, conv in enumerate(_CONVS):
        name = f"conv_{index}"
        row = Conv(conv.filters, kernel=3, stride=1, padding=1)
        x = apply_norm_relu(add_conv(x, row, name, **options), name)
        if conv.pooled:
            x = keras.layers.MaxPooling2D(3, 2, name=f"{name}_pool")(x)
        maps.append(x)
    return maps
