"""How alike two images look: structural similarity, at one scale or at five.

    SSIM = mean over places of  (2 m m' + C1) (2 s_xx' + C2)
                                / ((m^2 + m'^2 + C1) (s^2 + s'^2 + C2))

m are means, s^2 variances and s_xx' the covariance in a Gaussian window of 11 x 11
pixels and deviation 1.5, which lies within the image; C1 = 0.01^2, C2 = 0.03^2 for
intensities between 0 and 1. Colours are averaged. MS-SSIM is the product of the second
factors at scales 1, 1/2, ... 1/8 and of SSIM at 1/16, to the powers that were fitted to
human judgement. At that scale the window needs images of 176 pixels: smaller ones have
one scale only.

Source: Wang et al. 2004; Wang, Simoncelli & Bovik 2003.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import tensorflow as tf

_WINDOW = 11
_SCALES = 5
_IMAGES = 100  # at a time


def structural_similarity(
    images: np.ndarray, others: np.ndarray, scales: int = 1
) -> np.ndarray:
    """SSIM, or MS-SSIM, of each image with its other: float64 `[n]`, at most 1.

    Args:
        images, others: `[n, H, W, C]`, intensities between 0 and 1.
        scales: 1, or 5 for MS-SSIM.

    Raises:
        ValueError: if the images are too small.
    """
    least = smallest_side(scales)
    if min(images.shape[1:3]) < least:
        raise ValueError(
            f"structural similarity at {scales} scales needs images of {least} x "
            f"{least} pixels or more. Received: {images.shape[1]} x {images.shape[2]}."
        )
    measure = _MEASURES[scales]
    parts = [
        measure(*(tf.constant(each[at : at + _IMAGES], tf.float32) for each in pair))
        for pair in [(images, others)]
        for at in range(0, len(images), _IMAGES)
    ]
    return np.concatenate(parts).astype(np.float64)


def smallest_side(scales: int) -> int:
    """Pixels that an image needs, so that a window lies in it at the last scale."""
    return _WINDOW * 2 ** (scales - 1)


def count_scales(sides: tuple[int, int]) -> int:
    """5 if images of this size have so many scales, 1 if they have one, else 0."""
    return next((n for n in (_SCALES, 1) if min(sides) >= smallest_side(n)), 0)


# TensorFlow's own have the constants and the window above as defaults.
_MEASURES: dict[int, Callable] = {
    1: partial(tf.image.ssim, max_val=1.0),
    _SCALES: partial(tf.image.ssim_multiscale, max_val=1.0),
}
