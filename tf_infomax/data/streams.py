"""Images that are decoded when they are asked for.

They stand where an array of images stands: rows can be read, counted and selected, and
nothing is decoded before. A picture turns out to be unusable when it is its turn; then
the next one of its class takes its place, always the same one, so that a batch stays a
function of the seed and its number.
"""

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np

from tf_infomax.data.cache import Store
from tf_infomax.data.images import DataError
from tf_infomax.runtime.progress import tell

_MOST_IN_A_ROW = 1000  # unusable pictures, before one gives up
_TOLD = 3  # unusable pictures that are named on the screen


class Pile:
    """Pictures by number, decoded in threads, and kept where the store has room.

    Args:
        decode: number -> uint8 `[H, W, C]`, or why the picture cannot be used.
        names: of the pictures.
        image_shape: (H, W, C).
        key: of all that the pixels depend on.
        store: of what was decoded.
        labels: int64 `[n]`, or None.

    Attributes:
        unusable: number -> why, of the pictures that have been found to be so.
    """

    def __init__(
        self,
        decode: Callable[[int], np.ndarray | str],
        names: tuple[str, ...],
        image_shape: tuple[int, int, int],
        key: str,
        store: Store,
        labels: np.ndarray | None = None,
    ):
        self.names, self.image_shape, self.key = names, image_shape, key
        self.labels = np.zeros(len(names), np.int64) if labels is None else labels
        self.unusable: dict[int, str] = {}
        self._decode, self._store = decode, store
        self._telling = threading.Lock()

    def read(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(images `[k, H, W, C]`, which of them could be had, bool `[k]`)."""
        images = np.empty((len(numbers), *self.image_shape), np.uint8)
        here = self._store.read(numbers, images)
        missing = np.flatnonzero(~here)
        decoded = self._threads.map(self._make, numbers[missing].tolist())
        for place, image in zip(missing, decoded, strict=True):
            if image is not None:
                images[place], here[place] = image, True
        return images, here

    def list_unusable(self) -> list[tuple[str, str]]:
        """(name, reason), in the order of the pictures."""
        return [(self.names[k], why) for k, why in sorted(self.unusable.items())]

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(os.cpu_count(), "decoding")

    def _make(self, number: int) -> np.ndarray | None:
        if number in self.unusable:
            return None
        found = self._decode(number)
        if isinstance(found, str):
            self._note(number, found)
            return None
        self._store.write(number, found)
        return found

    def _note(self, number: int, reason: str) -> None:
        with self._telling:
            if number in self.unusable:
                return
            self.unusable[number] = reason
            count = len(self.unusable)
        if count <= _TOLD:
            tell(
                f"{self.names[number]} cannot be used ({reason}): the next image of "
                "its class takes its place"
            )
        elif count == _TOLD + 1:
            tell("more images cannot be used; all that were met are listed at the end")


class StreamedImages:
    """Some of the pictures of a pile, as an array of images that is read by rows."""

    def __init__(self, pile: Pile, rows: np.ndarray):
        self.pile, self.rows = pile, rows
        self.shape, self.ndim = (len(rows), *pile.image_shape), 4
        self.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key) -> np.ndarray:
        rows = np.atleast_1d(self.rows[key])
        images, here = self.pile.read(rows)
        for place in np.flatnonzero(~here):
            images[place] = self._find_other(int(rows[place]))
        return images if np.ndim(self.rows[key]) else images[0]

    def select(self, indices: np.ndarray) -> "StreamedImages":
        """Some of the rows, still unread."""
        return StreamedImages(self.pile, self.rows[indices])

    def identify(self) -> bytes:
        """What tells these images from others, without decoding one."""
        digest = hashlib.sha256(self.pile.key.encode())
        digest.update(np.ascontiguousarray(self.rows, np.int64))
        return digest.digest()

    def _find_other(self, row: int) -> np.ndarray:
        """The next usable image of the same class, or of any if it has no other."""
        place = int(np.flatnonzero(self.rows == row)[0])
        after = np.roll(self.rows, -place)[1:]
        own = self.pile.labels[after] == self.pile.labels[row]
        for number in np.concatenate([after[own], after[~own]])[:_MOST_IN_A_ROW]:
            images, here = self.pile.read(np.array([number]))
            if here[0]:
                return images[0]
        tried = min(len(after), _MOST_IN_A_ROW) + 1
        raise DataError(
            f"none of {tried} images can be used; the first: "
            f"{self.pile.names[row]} ({self.pile.unusable[row]})."
        )
