"""How much of an image a place of a feature map sees."""

from bisect import bisect_left

import keras
import numpy as np

_LEAST = 1e-5  # of a difference, relative to the feature


def find_receptive_field(
    encoder: keras.Model, feature: str = "local"
) -> tuple[int, int]:
    """Height and width, in pixels, of what the middle place of a map depends on.

    Tried on the encoder itself, by exchanging all pixels on one side of a line, so that
    it holds for any network: of convolutions of kernels k and strides s it is
    1 + sum_i (k_i - 1) prod_(j<i) s_j, or all of an image that is no larger.

    Args:
        encoder: a model from uint8 images `[N, H, W, C]` to a dict of features.
        feature: a map `[N, H', W', C']` of it.
    """
    shape = encoder.input.shape[1:]
    image, other = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
    row, column = (side // 2 for side in encoder.output[feature].shape[1:3])

    def look(pixels: np.ndarray) -> np.ndarray:
        found = encoder(pixels[None], training=False)[feature]
        return np.asarray(found[0, row, column], np.float64)

    here = look(image)

    def sees(exchanged: np.ndarray) -> bool:
        difference = look(np.where(exchanged, other, image)) - here
        return bool(np.abs(difference).max() > _LEAST * np.abs(here).max())

    def measure(axis: int) -> int:
        side = shape[axis]
        line = np.arange(side).reshape([-1 if k == axis else 1 for k in range(3)])
        # The fewest lines from either end of which it sees the last.
        before, after = (
            bisect_left(range(side), True, key=lambda k, at=at: sees(at <= k))
            for at in (line, line[::-1] if axis == 0 else line[:, ::-1])
        )
        return side - before - after

    return measure(0), measure(1)
