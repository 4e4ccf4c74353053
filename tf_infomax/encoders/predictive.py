"""Encoders for contrastive predictive coding: codes z, contexts c, and their pairs.

Beside `code`, `conv` and the like they give, for each distance k that is predicted,
`past_k` (contexts c_t) and `future_k` (codes z_(t+k)), maps of equal size: a term
between them with a bilinear critic is the k-step head f_k = z_(t+k)^T W_k c_t.

Source: van den Oord et al. 2018.
"""

import math

import keras

_MOST_AHEAD = 5  # rows
_WIDTH = 256


def predicted_distances(encoder: keras.Model) -> list[int]:
    """The k of an encoder's `past_k` and `future_k`, ascending."""
    names = [name for name in encoder.output if name.startswith("past_")]
    return sorted(int(name.removeprefix("past_")) for name in names)


def _pair_up(codes, contexts, distances) -> dict:
    """past_k and future_k of maps `[N, T, L, D]` that run along their first axis."""
    features = {}
    for k in distances:
        features[f"past_{k}"] = contexts[:, :-k]
        features[f"future_{k}"] = codes[:, k:]
    return features


def build_cpc(
    image_shape: tuple[int, int, int], code_size: int = 64, overlap: bool = True
) -> keras.Model:
    """Contrastive predictive coding on a grid of overlapping patches.

    Patches of a quarter of the side, half overlapping (7 x 7 of them), are encoded each
    by itself; a GRU runs down each column of the grid. Distances below the overlap are
    skipped, since such patches share pixels. The code is the mean of z over the grid.

    Args:
        image_shape: (H, W, C); H = W, at least 16.
        code_size: width of z and of `code`.
        overlap: whether patches overlap by half.

    Returns:
        A model from uint8 images to `conv` (z), `code`, `past_k`, `future_k`.

    Raises:
        ValueError: if the images are not square or too small.
    """
    side = image_shape[0]
    if image_shape[1] != side or side < 16:
        raise ValueError(
            "encoder cpc takes square images of at least 16 pixels. Received: "
            f"{image_shape[0]} x {image_shape[1]}."
        )
    patch = side // 4
    stride = patch // 2 if overlap else patch
    images = keras.Input(image_shape, dtype="uint8", name="images")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale")(images)
    # Layers of 1 x 1 after the first see one patch only; batch norm would not.
    for index in range(3):
        kernel, step = (patch, stride) if index == 0 else (1, 1)
        x = keras.layers.Conv2D(
            _WIDTH, kernel, step, activation="relu", name=f"patch_{index}"
        )(x)
    codes = keras.layers.Conv2D(code_size, 1, name="z")(x)
    rows = codes.shape[1]
    # Columns are sequences of a batch; TimeDistributed would build one GRU for each.
    by_column = keras.layers.Permute((2, 1, 3), name="by_column")(codes)
    sequences = keras.ops.reshape(by_column, (-1, rows, code_size))
    gru = keras.layers.GRU(_WIDTH, return_sequences=True, unroll=True, name="contexts")
    found = keras.ops.reshape(gru(sequences), (-1, rows, rows, _WIDTH))
    contexts = keras.layers.Permute((2, 1, 3), name="by_row")(found)
    first = math.ceil(patch / stride)
    distances = range(first, min(first + _MOST_AHEAD, rows))
    features = {
        "conv": codes,
        "code": keras.layers.GlobalAveragePooling2D(name="code")(codes),
        **_pair_up(codes, contexts, distances),
    }
    return keras.Model(images, features, name="cpc")


def build_cpc_sequence(
    steps: int,
    channels: int,
    code_size: int = 16,
    context_size: int = 64,
    widths: tuple[int, ...] = (64,),
    ahead: int = 1,
) -> keras.Model:
    """Contrastive predictive coding of sequences `[N, T, C]`, float32.

    Each step is encoded by itself, a GRU makes contexts; distances 1 .. `ahead` are
    predicted. The code is the last context.
    """
    inputs = keras.Input((steps, channels), name="sequence")
    z = inputs
    for index, width in enumerate(widths):
        z = keras.layers.Dense(width, "relu", name=f"step_{index}")(z)
    z = keras.layers.Dense(code_size, name="z")(z)
    gru = keras.layers.GRU(context_size, return_sequences=True, name="contexts")
    contexts = gru(z)
    as_map = lambda value: keras.ops.expand_dims(value, 2)
    features = {
        "code": contexts[:, -1],
        **_pair_up(as_map(z), as_map(contexts), range(1, ahead + 1)),
    }
    return keras.Model(inputs, features, name="cpc_sequence")
