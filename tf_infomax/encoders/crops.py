"""Overlapping crops of an image as a batch of their own, and back as a map.

Source: the "strided crops" of Hjelm et al. 2019, section 4.2, as van den Oord et al.
2018 have them.
"""

import keras


def unfold(images: keras.KerasTensor, size: int) -> keras.KerasTensor:
    """`[N, H, W, C]` -> `[N h w, size, size, C]`: square crops, half a crop apart.

    Args:
        images: of which height and width are multiples of half a crop.
        size: of a crop, even.

    Returns:
        The crops of the first image row by row, then those of the next one, and (h, w),
        how many there are below and beside each other.

    Raises:
        ValueError: if crops do not cover the images.
    """
    height, width, channels = images.shape[1:]
    stride = size // 2
    if size % 2 or height % stride or width % stride or min(height, width) < size:
        raise ValueError(
            f"crops of {size} pixels, half a crop apart, must cover the images. "
            f"Received: {height} x {width}."
        )
    patches = keras.ops.image.extract_patches(images, size, strides=stride)
    grid = tuple(patches.shape[1:3])
    return keras.ops.reshape(patches, (-1, size, size, channels)), grid


def fold(features: keras.KerasTensor, grid: tuple[int, int]) -> keras.KerasTensor:
    """`[N h w, 1, 1, C]` -> `[N, h, w, C]`: features of crops, where they were cut."""
    return keras.ops.reshape(features, (-1, *grid, features.shape[-1]))
