"""What every reader returns: uint8 images in one array, labels where there are any."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePosixPath

import numpy as np

from tf_infomax.data.copies import digest_images, find_firsts, number_images

SMALLEST_SIDE = 8  # pixels; below, there is nothing left to learn from


class DataError(ValueError):
    """Data that cannot be used: one line that says what, where, and what to do."""

    exit_status = 2


class MappedImages:
    """Rows of a memory-mapped array `[n, H, W, C]`, read when they are asked for."""

    def __init__(self, array: np.memmap, rows: np.ndarray):
        self.array, self.rows = array, rows
        self.shape, self.ndim = (len(rows), *array.shape[1:]), array.ndim
        self.dtype = array.dtype

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key) -> np.ndarray:
        return np.asarray(self.array[self.rows[key]])

    def select(self, indices: np.ndarray) -> "MappedImages":
        """Some of the rows, still unread."""
        return MappedImages(self.array, self.rows[indices])


class PairedImages:
    """Two sets of images, row by row one behind the other in the channels."""

    def __init__(self, first: Sequence, second: Sequence):
        self.first, self.second = first, second
        *shape, channels = first.shape
        self.shape, self.ndim, self.dtype = (*shape, 2 * channels), 4, first.dtype

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, key) -> np.ndarray:
        return np.concatenate([self.first[key], self.second[key]], axis=-1)

    def select(self, indices: np.ndarray) -> "PairedImages":
        """Some of the rows."""
        return PairedImages(*(_select(each, indices) for each in self.sides))

    @property
    def sides(self) -> tuple[Sequence, Sequence]:
        """Both sets."""
        return self.first, self.second


def _identify(images) -> bytes | None:
    """What tells images that are decoded on demand from others; None of other kinds."""
    if isinstance(images, PairedImages):
        found = [_identify(side) for side in images.sides]
        if not any(found):
            return None
        pairs = zip(found, images.sides, strict=True)
        return b"".join(own or digest_images(side).tobytes() for own, side in pairs)
    identify = getattr(images, "identify", None)
    return identify() if identify else None


def _list_unusable(images) -> list[tuple[str, str]]:
    if isinstance(images, PairedImages):
        return [each for side in images.sides for each in _list_unusable(side)]
    pile = getattr(images, "pile", None)
    return pile.list_unusable() if pile else []


def _select(images, indices: np.ndarray):
    return images[indices] if isinstance(images, np.ndarray) else images.select(indices)


def pair(first: "ImageSet", second: "ImageSet") -> "ImageSet":
    """Aligned images as one set, with the labels and names of the first.

    Those with file names go by these (less the suffix), and a file that cannot be used
    takes its partner with it; others go row by row.

    Raises:
        DataError: if the numbers or the shapes of the images differ, or a file has no
            partner.
    """
    if first.names is not None and second.names is not None:
        first, second = _match_names(first, second)
    if len(first) != len(second):
        raise DataError(
            f"pairs need as many images on either side. Received: {len(first)} and "
            f"{len(second)}."
        )
    if first.image_shape != second.image_shape:
        raise DataError(
            "pairs need images of one shape (see image_size). Received: "
            f"{first.image_shape} and {second.image_shape}."
        )
    return replace(
        first,
        images=PairedImages(first.images, second.images),
        notes=first.notes + second.notes,
    )


def _match_names(first: "ImageSet", second: "ImageSet"):
    """Both sets in the order of the first, less what either could not use."""
    stem = lambda name: str(PurePosixPath(name).with_suffix(""))
    places, lost = [], set()
    for images in (first, second):
        places.append({stem(name): place for place, name in enumerate(images.names)})
        lost |= {stem(name) for name, _ in images.skipped}
        if len(places[-1]) < len(images.names):
            raise DataError(
                "pairs of two folders go by file name, and two files of one have the "
                "same but for their suffix."
            )
    alone = sorted((places[0].keys() ^ places[1].keys()) - lost)
    if alone:
        raise DataError(
            "pairs of two folders go by file name (less the suffix). Without a "
            f"partner: {', '.join(alone[:3])}{', ...' if len(alone) > 3 else ''} "
            f"({len(alone)} files)."
        )
    common = [name for name in places[0] if name in places[1]]
    first, second = (
        each.select(np.array([where[name] for name in common], int))
        for each, where in zip((first, second), places, strict=True)
    )
    skipped = [(name, f"{why} (second folder)") for name, why in second.skipped]
    return replace(first, skipped=(*first.skipped, *skipped)), second


@dataclass(frozen=True)
class ImageSet:
    """Images of one size with optional labels.

    Attributes:
        images: uint8 `[n, H, W, C]`, C = 1 or 3 (twice that for `PairedImages`), in
            memory, mapped from a file, or decoded on demand (`streams`); `images[:]`
            is in memory in any case.
        labels: int64 `[n]`, -1 where an example has none, or None.
        class_names: name of class k at index k, or None.
        names: file name of each image, or None.
        skipped: (file name, reason) of every file that could not be used.
        others: (suffix, how many) of the files of a folder that are no images by name.
        notes: how the source was understood, where that is not plain.
    """

    images: np.ndarray | Sequence
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None
    skipped: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    others: tuple[tuple[str, int], ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        if not isinstance(self.images, PairedImages):
            check_images(self.images)
        if self.labels is not None:
            check_labels(self.labels, len(self.images))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return tuple(self.images.shape[1:])

    @property
    def single(self) -> "ImageSet":
        """Of pairs the first images; else the set itself."""
        paired = isinstance(self.images, PairedImages)
        return replace(self, images=self.images.first) if paired else self

    @property
    def labelled(self) -> bool:
        """Whether there are labels of at least two classes."""
        return (
            self.labels is not None
            and len(np.unique(self.labels[self.labels >= 0])) > 1
        )

    @property
    def classes(self) -> int:
        """How many classes the labels have; 0 without labels."""
        if self.class_names is not None:
            return len(self.class_names)
        return 0 if self.labels is None else int(self.labels.max(initial=-1)) + 1

    def select(self, indices: np.ndarray) -> "ImageSet":
        """The examples at these positions."""
        chosen = replace(
            self,
            images=_select(self.images, indices),
            labels=None if self.labels is None else self.labels[indices],
            names=None if self.names is None else tuple(self.names[i] for i in indices),
        )
        if "digests" in self.__dict__:  # hashed once, whatever is made of the set
            chosen.__dict__["digests"] = self.digests[indices]
        return chosen

    def keep_labels(self, fraction: float, seed: int = 0) -> np.ndarray:
        """The labels of a part of each class, drawn at random; elsewhere -1.

        At least one of each class stays, so that every class can be learned.
        """
        labels = self.labels.copy()
        rng = np.random.default_rng(seed)
        for label in np.unique(labels[labels >= 0]):
            places = rng.permutation(np.flatnonzero(labels == label))
            labels[places[max(1, round(fraction * len(places))) :]] = -1
        return labels

    def labelled_part(self, limit: int = 0, seed: int = 0) -> "ImageSet":
        """The examples that have a label, at most `limit` of them (0: all).

        They are drawn at random, but two of each class come first: a draw must not
        leave a rare one out.
        """
        indices = np.flatnonzero(self.labels >= 0)
        if limit and limit < len(indices):
            drawn = np.random.default_rng(seed).permutation(indices)
            later = _count_before(self.labels[drawn]) >= 2
            indices = np.sort(drawn[np.argsort(later, kind="stable")][:limit])
        return self.select(indices)

    @cached_property
    def digests(self) -> np.ndarray:
        """Of every image; see `copies.digest_images`."""
        return digest_images(self.images)

    @property
    def digested(self) -> bool:
        """Whether `digests` are at hand without decoding what nobody has asked for."""
        return "digests" in self.__dict__ or _identify(self.images) is None

    def fingerprint(self) -> str:
        """A short hash of the shape and of every byte of the images, in their order.

        Of images that are decoded on demand, of names, sizes and times of their files.
        """
        digest = hashlib.sha256(repr(self.images.shape).encode())
        own = _identify(self.images)
        digest.update(np.ascontiguousarray(self.digests) if own is None else own)
        return digest.hexdigest()[:16]

    def list_unusable(self) -> list[tuple[str, str]]:
        """(file name, reason) of the files that could not be used, so far."""
        return [*self.skipped, *_list_unusable(self.images)]


@dataclass(frozen=True)
class Splits:
    """Training images, and test images where the source has them."""

    train: ImageSet
    test: ImageSet | None = None

    def deduplicate(self) -> "Splits":
        """Of exact copies one: a test image rather than a training image, the first.

        Raises:
            DataError: if no training image is left.
        """
        alone = lambda data: data.select(find_firsts(*number_images(data.digests)))
        if self.test is None:
            return Splits(alone(self.train))
        test = alone(self.test)
        return Splits(alone(self.train), test).without(test)

    def without(self, others: ImageSet) -> "Splits":
        """Without the training images that are exact copies of others.

        Raises:
            DataError: if no training image is left.
        """
        own, taken = number_images(self.train.digests, others.digests)
        kept = np.flatnonzero(~np.isin(own, taken))
        if not len(kept):
            raise DataError("every training image is an exact copy of a test image.")
        if len(kept) == len(own):
            return self
        return Splits(self.train.select(kept), self.test)


def name_class(names: tuple[str, ...] | None, label: int) -> str:
    """The name of a class, or its label where classes have no names."""
    return names[label] if names else str(label)


def check_images(images: np.ndarray | MappedImages) -> None:
    """Raises DataError unless images are uint8 [n, H, W, 1 or 3] of a usable size."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise DataError(
            "images must be uint8 [n, H, W, C] with C = 1 or 3. Received: "
            f"{images.dtype} {list(images.shape)}."
        )
    if len(images) == 0:
        raise DataError("there are no images.")
    if min(images.shape[1:3]) < SMALLEST_SIDE:
        raise DataError(
            f"images must be at least {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels. "
            f"Received: {images.shape[1]} x {images.shape[2]}."
        )


def check_labels(labels: np.ndarray, count: int) -> None:
    """Raises DataError unless labels are integers, one for each image."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(
            "labels must be one integer for each image. Received: "
            f"{labels.dtype} {list(labels.shape)}."
        )
    if len(labels) and labels.min() < -1:
        raise DataError(
            "labels are 0, 1, ..., or -1 where an image has none. Received: "
            f"{labels.min()}."
        )
    if len(labels) != count:
        raise DataError(f"there are {count} images but {len(labels)} labels.")


def _count_before(labels: np.ndarray) -> np.ndarray:
    """For each label, how many equal ones stand before it."""
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    counts = np.empty(len(labels), np.int64)
    counts[order] = np.arange(len(labels)) - np.searchsorted(ordered, ordered)
    return counts


def split_randomly(data: ImageSet, fraction: float, seed: int) -> Splits:
    """Holds out a fraction of the examples, of each class where there are labels.

    Of two or more images of a class at least one is held out and one is kept (unless
    the fraction is 0). Images that are alone in their class are divided together, as
    if they were of one. The held-out examples become `test`; both parts keep the order
    of `data`.
    """
    rng = np.random.default_rng(seed)
    groups = np.zeros(len(data), np.int64) if data.labels is None else data.labels
    names, which, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    which = np.where(sizes[which] == 1, len(names), which)
    held_out = []
    for group in np.unique(which):
        members = rng.permutation(np.flatnonzero(which == group))
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        held_out.append(members[: count if fraction else 0])
    held_out = np.sort(np.concatenate(held_out))
    if len(held_out) == 0:
        return Splits(data)
    kept = np.setdiff1d(np.arange(len(data)), held_out)
    return Splits(data.select(kept), data.select(held_out))
