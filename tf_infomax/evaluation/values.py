"""What the objective itself reports of test images."""

from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from tf_infomax.evaluation.summary import summarize
from tf_infomax.runtime.progress import Progress


def evaluate(subject) -> Iterator[tuple[str, dict]]:
    """`assess_values` on the test images of a run."""
    size = subject.batch_size
    count = len(subject.data.test) // size
    style = subject.config.progress
    with Progress(count, 0, style, "test batches") as shown:
        batches = _watched(subject.batches(), shown)
        labels = subject.run.labels_of(subject.data.test)
        commonest = None if labels is None else _commonest(labels[: count * size])
        yield from assess_values(subject.objective, batches, size, commonest)


def _commonest(labels: np.ndarray) -> float | None:
    """The share of the commonest class among what has labels."""
    known = labels[labels >= 0]
    return float(np.bincount(known).max() / len(known)) if len(known) else None


def assess_values(
    objective, batches: Iterable, batch_size: int, commonest: float | None = None
) -> Iterator[tuple[str, dict]]:
    """Yields all that the objective itself reports of batches of test images.

    A result says beside the value what it `measures`, of which `kind` it is, its
    `ceiling` (None if it has none) and what the best constant has (`chance`); of a term
    also which `bound` it is, of which `negatives`, and whether it is the `objective`,
    the value that was maximized.

    Args:
        objective, batches, batch_size: what reports, of what.
        commonest: share of the commonest class, which the best constant has of an
            accuracy.
    """
    measure = tf.function(objective.measure)
    rows = [{k: float(v) for k, v in measure(batch).items()} for batch in batches]
    for name, value in objective.values.items():
        found = summarize([row[name] for row in rows])
        if value.kind == "accuracy" and value.chance is None:
            value = value._replace(chance=commonest)
        yield name, {**found, **value.describe(batch_size)}


def _watched(batches: Iterable, shown: Progress) -> Iterator:
    """The batches, counted."""
    for done, batch in enumerate(batches, 1):
        yield batch
        if done < shown.total:  # the last one is told by the results
            shown.update(done)
