"""Encoders of Tschannen et al. 2020 for half images, besides the MLP and RealNVP."""

import keras


def build_skip_mlp(
    image_shape: tuple[int, int, int], layers: int = 5, kernel_sd: float = 1e-4
) -> keras.Model:
    """x <- layer(x) + x as wide as the image, ReLU but in the last layer.

    Starts near the identity. It may become hard to invert, which its Jacobian shows.
    Source: Tschannen et al. 2020, section 3.1, figure 2 (5 layers of 392).
    """
    images = keras.Input(image_shape, dtype="uint8", name="images")
    x = keras.layers.Rescaling(1 / 255.0, name="rescale")(images)
    x = keras.layers.Flatten(name="flatten")(x)
    for index in range(layers):
        last = index == layers - 1
        layer = keras.layers.Dense(
            x.shape[-1],
            None if last else "relu",
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=kernel_sd),
            name=f"layer_{index}",
        )
        x = keras.layers.Add(name="code" if last else f"sum_{index}")([layer(x), x])
    return keras.Model(images, {"code": x}, name="skip_mlp")


def build_half_convnet(
    image_shape: tuple[int, int, int],
    code_size: int = 100,
    filters: tuple[int, ...] = (64, 128),
) -> keras.Model:
    """5 x 5 convolutions of stride 2, layer norm, mean over places, a dense code.

    The norm is over height, width and channels, with a gain and a bias per channel.
    Source: Tschannen et al. 2020, section 3.2, figure 4 (14 x 28 images, code 100,
    and the default's two convolutions).
    """
    images = keras.Input(image_shape, dtype="uint8", name="images")
    x = keras.layers.Rescaling(1 / 255.0, name="rescale")(images)
    for index, count in enumerate(filters):
        x = keras.layers.Conv2D(
            count, 5, 2, "same", activation="relu", name=f"conv_{index}"
        )(x)
    # One group is a norm over everything but the batch.
    x = keras.layers.GroupNormalization(groups=1, epsilon=1e-6, name="norm")(x)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    code = keras.layers.Dense(code_size, name="code")(pooled)
    return keras.Model(
        images, {"local": x, "conv": x, "fc": pooled, "code": code}, name="half_convnet"
    )


def build_of_image_size(
    image_shape: tuple[int, int, int], code_size: int = 0
) -> keras.Model:
    """`build_skip_mlp`, whose code is as large as the image, whatever is asked."""
    return build_skip_mlp(image_shape)
