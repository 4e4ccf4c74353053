"""Multi-layer perceptron on flattened images."""

from collections.abc import Sequence
from functools import partial

import keras


def build_mlp(
    widths: Sequence[int], image_shape: tuple[int, int, int], code_size: int = 100
) -> keras.Model:
    """Builds Dense layers with ReLU and a linear code; `fc` is the last hidden layer.

    With widths (300, 300) and a code of 100 this is the MLP encoder of Tschannen et
    al. 2020, section 3.2. It has no feature map, hence no `local` and `conv`.
    """
    images = keras.Input(image_shape, dtype="uint8", name="images")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale")(images)
    x = keras.layers.Flatten(name="flatten")(x)
    for index, width in enumerate(widths):
        x = keras.layers.Dense(width, "relu", name=f"hidden_{index}")(x)
    code = keras.layers.Dense(code_size, name="code")(x)
    return keras.Model(images, {"fc": x, "code": code}, name="mlp")


build_wide_mlp = partial(build_mlp, (300, 300))
