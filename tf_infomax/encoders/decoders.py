"""Decoders: functional Keras models from a code to an image, mirrors of the encoders.

Every decoder maps `[N, D]` to a dict of float32

* `logits` `[N, H, W, C]`,
* `image`, their sigmoid: intensities in [0, 1], of which 1 is 255.
"""

import math

import keras

from tf_infomax.encoders.convnet import Conv, ConvTable, apply_norm_relu, table_of

_MLP_WIDTHS = (300, 300)


def build_decoder(
    name: str, image_shape: tuple[int, int, int], code_size: int = 64
) -> keras.Model:
    """Builds the mirror of an encoder.

    Of a row of `CONVNETS` it is the table read backwards: the hidden layer, the last
    feature map, then of each convolution the transposed one, with its kernel, stride
    and padding; batch norm and ReLU after each but the last, which has a bias instead.
    AlexNet-like encoders and ResNets have that of the table of their size. Any other
    encoder gets two hidden layers of 300 ReLU units.

    Args:
        name: of the encoder.
        image_shape: (H, W, C) of its images.
        code_size: width D of the code.

    Raises:
        ValueError: if the images have another size than the table.
    """
    code = keras.Input((code_size,), name="code")
    table = table_of(name)
    if table is not None:
        logits = _mirror_convnet(table, image_shape, code, name)
    else:
        logits = _apply_mlp(image_shape, code)
    image = keras.layers.Activation("sigmoid", dtype="float32", name="image")(logits)
    return keras.Model(code, {"logits": logits, "image": image}, name="decoder")


def _apply_mlp(image_shape: tuple, x):
    for index, width in enumerate(_MLP_WIDTHS):
        x = keras.layers.Dense(width, "relu", name=f"hidden_{index}")(x)
    x = keras.layers.Dense(math.prod(image_shape), dtype="float32", name="pixels")(x)
    return keras.layers.Reshape(image_shape, dtype="float32", name="logits")(x)


def _mirror_convnet(table: ConvTable, image_shape: tuple, x, name: str):
    *sides, channels = image_shape
    if sides != [table.size, table.size]:
        raise ValueError(
            f"the decoder of {name} makes {table.size} x {table.size} images. "
            f"Received: {sides[0]} x {sides[1]}."
        )
    sizes = [table.size]
    for conv in table.convs:
        sizes.append((sizes[-1] + 2 * conv.padding - conv.kernel) // conv.stride + 1)
    top = (sizes[-1], sizes[-1], table.convs[-1].filters)
    x = keras.layers.Dense(table.units, use_bias=False, name="hidden")(x)
    x = apply_norm_relu(x, "hidden")
    x = keras.layers.Dense(math.prod(top), use_bias=False, name="map")(x)
    x = apply_norm_relu(keras.layers.Reshape(top, name="map_reshape")(x), "map")
    for index in range(len(table.convs) - 1, 0, -1):
        filters, layer = table.convs[index - 1].filters, f"conv_{index}"
        x = _transpose(x, table.convs[index], filters, sizes[index], layer)
        x = apply_norm_relu(x, layer)
    end = {"use_bias": True, "dtype": "float32"}
    return _transpose(x, table.convs[0], channels, table.size, "conv_0", **end)


def _transpose(x, conv: Conv, filters: int, size: int, name: str, **options):
    """The transposed convolution, to maps of `size`: the adjoint of `conv`."""
    # "same" takes K - S pixels off in all, the larger part at the end; only where that
    # is the padding on both sides does it take off what the convolution has added.
    same = conv.kernel - conv.stride == 2 * conv.padding
    x = keras.layers.Conv2DTranspose(
        filters,
        conv.kernel,
        conv.stride,
        padding="same" if same else "valid",
        name=name,
        **{"use_bias": False, **options},
    )(x)
    if same:
        return x
    ends = (conv.padding, x.shape[1] - size - conv.padding)
    crop = {"dtype": options["dtype"]} if "dtype" in options else {}
    return keras.layers.Cropping2D((ends, ends), name=f"{name}_crop", **crop)(x)
