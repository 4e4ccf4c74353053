"""Makes `fashion.npz`, the Fashion-MNIST subset that comes with the package.

Usage: python -m tf_infomax.data.embedded.make_fashion SOURCE_FOLDER

SOURCE_FOLDER holds the four files `{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz`, as
the Debian package `dataset-fashion-mnist` installs them. The subset is stratified: of
every class the first 1,000 training and the first 200 test images, in their order.
"""

import gzip
import hashlib
import struct
import sys
from pathlib import Path

import numpy as np

# sha256 of the uncompressed upstream files.
SOURCES = {
    "train-images-idx3-ubyte": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
    ),
    "train-labels-idx1-ubyte": (
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
    ),
    "t10k-images-idx3-ubyte": (
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
    ),
    "t10k-labels-idx1-ubyte": (
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
    ),
}


def read_idx(folder: Path, name: str) -> np.ndarray:
    """Reads `name.gz` of an idx folder and checks its content."""
    content = gzip.decompress((folder / f"{name}.gz").read_bytes())
    found = hashlib.sha256(content).hexdigest()
    if found != SOURCES[name]:
        raise ValueError(f"{name} has sha256 {found}, expected {SOURCES[name]}.")
    axes = content[3]
    shape = struct.unpack(f">{axes}I", content[4 : 4 + 4 * axes])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def select_first(labels: np.ndarray, per_class: int) -> np.ndarray:
    """Indices of the first `per_class` examples of each class, in their order."""
    chosen = [np.flatnonzero(labels == c)[:per_class] for c in np.unique(labels)]
    return np.sort(np.concatenate(chosen))


def main(folder: str) -> None:
    arrays = {}
    for split, source, per_class in (("train", "train", 1000), ("test", "t10k", 200)):
        images = read_idx(Path(folder), f"{source}-images-idx3-ubyte")
        labels = read_idx(Path(folder), f"{source}-labels-idx1-ubyte")
        chosen = select_first(labels, per_class)
        arrays[f"{split}_images"] = images[chosen]
        arrays[f"{split}_labels"] = labels[chosen]
    np.savez_compressed(Path(__file__).with_name("fashion.npz"), **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
