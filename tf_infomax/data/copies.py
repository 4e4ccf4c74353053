"""Exact copies among images: found by a digest of every image's pixels."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tf_infomax.runtime.progress import Progress

_BLOCK = 1024  # images that a thread hashes at a time
_CURE = "(--deduplicate keeps one of each)"


def digest_images(images) -> np.ndarray:
    """128 bits of the SHA-256 of every image's pixels, as uint64 `[n, 2]`.

    Args:
        images: uint8 `[n, H, W, C]`, in memory or read by its rows.
    """

    def digest_block(start: int) -> bytes:
        block = np.ascontiguousarray(images[start : start + _BLOCK])
        return b"".join(hashlib.sha256(image).digest()[:16] for image in block)

    starts, digests = range(0, len(images), _BLOCK), []
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        Progress(len(images), unit="images") as progress,
    ):
        for start, block in zip(starts, pool.map(digest_block, starts), strict=True):
            digests.append(block)
            progress.update(start + 1)
    digests = b"".join(digests)
    return np.frombuffer(digests, np.uint64).reshape(len(images), 2)


def number_images(*parts: np.ndarray) -> list[np.ndarray]:
    """A number for each image, the same for those whose digests are equal.

    Args:
        parts: digests `[n_k, 2]` of several sets of images.

    Returns:
        For each set int64 `[n_k]`.
    """
    _, numbers = np.unique(np.concatenate(parts), axis=0, return_inverse=True)
    ends = np.cumsum([len(part) for part in parts])[:-1]
    return np.split(numbers.reshape(-1), ends)


def find_firsts(numbers: np.ndarray) -> np.ndarray:
    """Positions of the first image of each number, ascending."""
    return np.sort(np.unique(numbers, return_index=True)[1])


def describe_copies(
    training: np.ndarray, held_out: dict[str, np.ndarray], name: str = ""
) -> list[str]:
    """How many images are exact copies of others, in words; nothing if none is.

    Args:
        training: digests of images that are trained on.
        held_out: name -> digests of each part that is not, in the order of use: what is
            tested on must be none that a run may have chosen on.
        name: of the training images.
    """
    own, *others = number_images(training, *held_out.values())
    seen, words = own, []
    for part, numbers in zip(held_out, others, strict=True):
        count = np.isin(numbers, seen).sum()
        if count:
            words.append(f"{count} of {len(numbers)} {part}")
        seen = np.concatenate([seen, numbers])
    kind, lines = f"{name} training images".strip(), []
    if words:
        lines.append(
            f"{' and '.join(words)} images are exact copies of {kind}, or of others "
            f"before them {_CURE}"
        )
    repeated = len(own) - len(np.unique(own))
    if repeated:
        lines.append(f"{repeated} of {len(own)} {kind} repeat another one {_CURE}")
    return lines
