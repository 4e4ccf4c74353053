"""Which images serve for what: training, choosing, the test, the probes.

Every class with enough images stands in each part: the test and the validation part
take their fraction of each class, and at least one image of every class that has two.
What is held out depends on the data and the fractions alone, never on a run's seed.
Nothing is chosen on test images: without validation images nothing is chosen.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tf_infomax.data.copies import describe_copies
from tf_infomax.data.images import DataError, ImageSet, Splits, split_randomly

_SPLIT_SEED = 0  # the same held-out images whatever the seed of the run
_PROBED = (2, 1)  # images of a class that a probe needs: in training, in the test
_ONLINE = (1, 1)  # that the online probe needs: in training, in validation
_FEW_TESTED = 50  # labelled test images, about which it is said
_NAMED = 4  # classes named in one line


@dataclass(frozen=True)
class Data:
    """The images of an experiment, by use.

    Attributes:
        train: what the objective is trained on (labels unused).
        validation: for choosing during training, never trained on; may be None.
        probe_train, probe_test: labelled images for the probes, of the classes that
            have at least two images in the one and one in the other; None without
            two such classes.
        test: images that nothing was chosen on.
        online_train, online_test: labelled images for the online probe, which chooses:
            training and validation images, never those of the test. None without two
            classes that both have.
        labels: "labelled", or why the probes have nothing to work on.
        left_out: classes too rare for the probes, with their numbers of images.
        unchosen: why there is no online probe to choose by; empty if there is one.
        notes: what else is to be said: how pixels were understood, exact copies on both
            sides of a split or among what is trained on.
    """

    train: ImageSet
    validation: ImageSet | None
    probe_train: ImageSet | None
    probe_test: ImageSet | None
    test: ImageSet
    online_train: ImageSet | None
    online_test: ImageSet | None
    labels: str = "labelled"
    left_out: tuple[str, ...] = ()
    unchosen: str = ""
    notes: tuple[str, ...] = ()

    @property
    def watched(self) -> tuple[str, ImageSet]:
        """What is looked at during training, and its name: never the test part."""
        if self.validation is not None and len(self.validation) > 1:
            return "validation", self.validation.single
        return "training", self.train.single

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """A hash of every byte of each part: is it the data of a run before?"""
        parts = {"training": self.train, "validation": self.validation}
        found = {f"{n} images": p.fingerprint() if p else "" for n, p in parts.items()}
        found["test images"] = self.test.fingerprint()
        labelled = hashlib.sha256()
        for part in (self.probe_train, self.probe_test):
            if part is not None:
                labelled.update(part.fingerprint().encode() + part.labels.tobytes())
        return found | {"labelled images": labelled.hexdigest()[:16]}


def require_test(splits: Splits, fraction: float, flag: str) -> Splits:
    """The splits with a test part: their own, or a fraction held out.

    Args:
        splits: as they were read.
        fraction: to hold out where there is no test part.
        flag: that named the dataset, for the error.

    Raises:
        DataError: if there are fewer than two test images, of which neither a bound
            nor the spread of the codes could be had.
    """
    if splits.test is not None:
        if len(splits.test) < 2:
            raise DataError(f"{flag} has 1 test image; at least 2 are needed.")
        return splits
    divided = split_randomly(splits.train, fraction, _SPLIT_SEED)
    held_out = 0 if divided.test is None else len(divided.test)
    if held_out < 2:
        raise DataError(
            f"--test_fraction={fraction:g} of the {len(splits.train)} images of "
            f"{flag} holds out {held_out} for the test; at least 2 are needed."
        )
    return divided


def divide(splits: Splits, labelled: Splits, fraction: float) -> Data:
    """Divides what was read by use.

    Args:
        splits: images to learn from, and of the test.
        labelled: images for the probes: `splits` itself, or those of another set.
        fraction: of the training images, and of the labelled ones, to choose on.
    """
    parts = split_randomly(splits.train, fraction, _SPLIT_SEED)
    online = parts
    if labelled is not splits:
        online = split_randomly(labelled.train, fraction, _SPLIT_SEED)
    probe, labels, left_out = _share_classes(labelled, _PROBED, "test")
    notes = _describe(parts, splits, labelled)
    if probe and len(probe.test) < _FEW_TESTED:
        count = len(probe.test)
        notes.append(
            f"{count} labelled test images: each counts {100 / count:.1f} % of an "
            "accuracy, whose spread over seeds says nothing of which images they are"
        )
    if online.test is None:
        chosen, why = None, f"no validation images (--validation_fraction={fraction:g})"
    else:
        chosen, why, _ = _share_classes(online, _ONLINE, "validation")
    return Data(
        train=parts.train,
        validation=parts.test,
        probe_train=probe and probe.train,
        probe_test=probe and probe.test,
        test=splits.test,
        online_train=chosen and chosen.train,
        online_test=chosen and chosen.test,
        labels=labels or "labelled",
        left_out=left_out if probe else (),
        unchosen=why,
        notes=tuple(notes),
    )


def _describe(parts: Splits, splits: Splits, labelled: Splits) -> list[str]:
    """Notes of the sources, and exact copies among their images."""
    held_out = {"validation": parts.test, "test": splits.test}
    if labelled is not splits:
        held_out["labelled test"] = labelled.test
    lines = [*splits.train.notes, *_describe_copies(parts.train, held_out)]
    if labelled is not splits:
        lines += labelled.train.notes
        held_out = {"labelled test": labelled.test}
        lines += _describe_copies(labelled.train, held_out, "labelled")
    return lines


def _describe_copies(training: ImageSet, held_out: dict, name: str = "") -> list[str]:
    held_out = {name: part for name, part in held_out.items() if part}
    if not all(part.digested for part in (training, *held_out.values())):
        return [
            "exact copies are not looked for among images that are decoded as they are "
            "needed (--deduplicate decodes all of them first and keeps one of each)"
        ]
    digests = {name: part.digests for name, part in held_out.items()}
    return describe_copies(training.digests, digests, name)


def _share_classes(
    splits: Splits, least: tuple[int, int], name: str
) -> tuple[Splits | None, str, tuple[str, ...]]:
    """The labelled images of the classes that both parts have enough images of.

    Args:
        splits: two parts.
        least: images of a class that the first and the second need.
        name: of the second part.

    Returns:
        The images (None without two such classes), why there are none (or ""), and the
        classes that were left out, in words.
    """
    classes, counts = _count_classes(splits)
    known = splits.train.class_names
    words = [
        f"{known[k] if known else k}: {have} training and {held} {name}"
        for k, (have, held) in zip(classes, counts, strict=True)
    ]
    enough = (counts >= least).all(axis=1)
    left_out = tuple(w for w, kept in zip(words, enough, strict=True) if not kept)
    if enough.sum() > 1:
        parts = (
            _of_classes(part.single, classes[enough])
            for part in (splits.train, splits.test)
        )
        return Splits(*parts), "", left_out
    if len(classes) < 2:
        single = f"labels of a single class ({''.join(words)} images)"
        return None, single if words else "no labels", left_out
    why = (
        f"too few labels: two classes need {least[0]} training and {least[1]} {name} "
        f"images each ({name_some(words)})"
    )
    return None, why, left_out


def _count_classes(splits: Splits) -> tuple[np.ndarray, np.ndarray]:
    """The K classes, ascending, and how many images each part has of them, `[K, 2]`."""
    labels = [
        np.empty(0, np.int64) if part.labels is None else part.labels[part.labels >= 0]
        for part in (splits.train, splits.test)
    ]
    classes = np.unique(np.concatenate(labels))
    places = (np.searchsorted(classes, own) for own in labels)
    counts = [np.bincount(place, minlength=len(classes)) for place in places]
    return classes, np.stack(counts, axis=1)


def _of_classes(images: ImageSet, classes: np.ndarray) -> ImageSet:
    """The images of these classes; the set itself, not a copy, if that is all."""
    chosen = np.isin(images.labels, classes)
    return images if chosen.all() else images.select(np.flatnonzero(chosen))


def name_some(words) -> str:
    """The first few, and how many more there are."""
    more = len(words) - _NAMED
    return "; ".join(words[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
