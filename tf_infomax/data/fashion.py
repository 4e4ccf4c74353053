"""The embedded Fashion-MNIST subset, and `fashion_m`, colour images made from it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import resources

import numpy as np

from tf_infomax.data.images import ImageSet, Splits

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

_SIDE = 32  # of fashion_m
_TRAIN_TEXTURES, _TEST_TEXTURES = 0, 1  # random streams that never meet


def load_fashion() -> Splits:
    """10,000 training and 2,000 test images of Fashion-MNIST, 28 x 28 x 1.

    Stratified over the ten classes; (c) 2017 Zalando SE, MIT licence, see
    `embedded/LICENSE-fashion-mnist`.
    """
    path = resources.files("tf_infomax.data.embedded") / "fashion.npz"
    with resources.as_file(path) as file, np.load(file) as arrays:
        train, test = (
            ImageSet(
                arrays[f"{split}_images"][..., None],
                arrays[f"{split}_labels"].astype(np.int64),
                CLASS_NAMES,
            )
            for split in ("train", "test")
        )
    return Splits(train, test)


def make_fashion_m(source: Splits, seed: int = 0) -> Splits:
    """Blends grey 28 x 28 images onto procedural colour textures, 32 x 32 x 3.

    Every item is placed with a random shift of 0-4 pixels and blended as
    `|texture - item|`, the recipe of MNIST-M (Ganin et al. 2016), onto a coloured 1/f
    texture of its own. Textures come from `seed` alone; those of training and of test
    images are drawn from different random streams.
    """
    train = _blend(source.train, (seed, _TRAIN_TEXTURES))
    test = source.test and _blend(source.test, (seed, _TEST_TEXTURES))
    return Splits(train, test)


def _blend(data: ImageSet, stream: tuple[int, int], block: int = 1000) -> ImageSet:
    """Every block of images has a random stream of its own, so that threads may share
    the work and the first n images do not depend on how many there are."""
    blended = np.empty((len(data), _SIDE, _SIDE, 3), np.uint8)

    def fill(start: int) -> None:
        items = data.images[start : start + block, :, :, 0]
        rng = np.random.default_rng((*stream, start))
        blended[start : start + block] = _blend_block(items, rng)

    with ThreadPoolExecutor() as pool:
        list(pool.map(fill, range(0, len(data), block)))
    return replace(data, images=blended)


def _blend_block(items: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    count, height, width = items.shape
    texture = make_textures(count, rng)
    placed = np.zeros((count, _SIDE, _SIDE), np.int16)
    tops = rng.integers(0, _SIDE - height + 1, count)
    lefts = rng.integers(0, _SIDE - width + 1, count)
    for item, target, top, left in zip(items, placed, tops, lefts, strict=True):
        target[top : top + height, left : left + width] = item
    return np.abs(texture.astype(np.int16) - placed[..., None]).astype(np.uint8)


def make_textures(count: int, rng: np.random.Generator) -> np.ndarray:
    """uint8 [count, 32, 32, 3]: Gaussian fields whose amplitude falls as 1/f^1.5.

    A common brightness pattern and weaker patterns of each channel, on a random mean
    colour, as in natural images, whose colour channels are strongly correlated.
    """
    f = np.hypot(np.fft.fftfreq(_SIDE)[:, None], np.fft.rfftfreq(_SIDE)[None])
    amplitude = np.maximum(f, 1.0 / _SIDE) ** -1.5
    amplitude[0, 0] = 0.0  # the mean is drawn below
    noise = rng.standard_normal((count, 4, *f.shape, 2), np.float32).view(np.complex64)
    spectrum = noise[..., 0] * amplitude.astype(np.float32)
    pattern = np.fft.irfft2(spectrum, s=(_SIDE, _SIDE))
    pattern /= pattern.std(axis=(-2, -1), keepdims=True)
    mean = rng.uniform(0.0, 255.0, (count, 3, 1, 1)).astype(np.float32)
    contrast = rng.uniform(20.0, 50.0, (count, 1, 1, 1)).astype(np.float32)
    texture = mean + contrast * (0.8 * pattern[:, :1] + 0.6 * pattern[:, 1:])
    texture = np.clip(np.round(texture), 0, 255).astype(np.uint8)
    return texture.transpose(0, 2, 3, 1)
