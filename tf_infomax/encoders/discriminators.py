"""A discriminator of pairs of an image and a code."""

import keras

from tf_infomax.encoders.convnet import add_conv, table_of

_SLOPE = 0.2  # of the leaky ReLU below 0
_MLP_WIDTHS = (300, 300)
_UNITS = 256  # of each side
_JOINT_WIDTHS = (512, 128)


def build_pair_discriminator(
    name: str, image_shape: tuple[int, int, int], code_size: int = 64
) -> keras.Model:
    """Builds D(x, z): a logit of whether a pair is (image, its code).

    The image goes through the convolutions of `convnet.table_of` (through two layers
    of 300 units where it has none) to 256 units, the code to another 256, both together
    through 512 and 128 to one. Biases and leaky ReLU; no batch norm, so that a logit,
    and its gradient, is of its own pair.

    Source: Donahue et al. 2017, section 3; the widths are those of the baselines of
    Hjelm et al. 2019.

    Args:
        name: of the encoder.
        image_shape: (H, W, C).
        code_size: width D of the code.

    Returns:
        A model from `[image, code]`, the image in [0, 1], to logits `[N, 1]`, float32.
    """
    image = keras.Input(image_shape, name="image")
    code = keras.Input((code_size,), name="code")
    x = keras.layers.Rescaling(2.0, offset=-1.0, name="rescale")(image)
    table = table_of(name)
    if table is not None:
        for index, conv in enumerate(table.convs):
            x = _leak(add_conv(x, conv, f"conv_{index}", use_bias=True))
        x = keras.layers.Flatten(name="flatten")(x)
    else:
        x = _apply_dense(keras.layers.Flatten(name="flatten")(x), _MLP_WIDTHS, "hidden")
    x = _apply_dense(x, (_UNITS,), "image_side")
    z = _apply_dense(code, (_UNITS,), "code_side")
    both = _apply_dense(keras.layers.Concatenate()([x, z]), _JOINT_WIDTHS, "joint")
    logits = keras.layers.Dense(1, dtype="float32", name="logits")(both)
    return keras.Model([image, code], logits, name="discriminator")


def _apply_dense(x, widths: tuple[int, ...], name: str):
    for index, width in enumerate(widths):
        x = _leak(keras.layers.Dense(width, name=f"{name}_{index}")(x))
    return x


def _leak(x):
    return keras.layers.LeakyReLU(negative_slope=_SLOPE)(x)
