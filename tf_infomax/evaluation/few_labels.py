"""What frozen features are worth where labels are few.

A part of the labels of each class, of at least one image, is drawn anew for each
repetition; on these images and no others a probe chooses and trains: `linear`, the one
of `probes`, and `knn`, the nearest neighbours by the cosine of standardized features,
as many as do best in cross-validation.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from tf_infomax.data.images import ImageSet
from tf_infomax.evaluation.features import list_encoders
from tf_infomax.evaluation.probes import deal, run_probe, standardize
from tf_infomax.evaluation.probing import PROBED
from tf_infomax.evaluation.summary import describe
from tf_infomax.runtime.progress import Progress

_NEIGHBORS = (1, 2, 5, 10, 20)  # the fewer of equals are taken
_FOLDS = 3


def evaluate(subject) -> Iterator[tuple[str, dict]]:
    """Accuracies by part of the labels, probe and feature, and of an untrained encoder.

    Nothing without labels.
    """
    config, data = subject.config, subject.data
    if data.probe_train is None:
        subject.tell(f"few_labels has nothing to learn from: {data.labels}")
        return
    drawn = {
        percent: draw_few(data.probe_train, int(percent) / 100, config.probe_seeds)
        for percent in config.few_labels_percents
    }
    used = np.unique(np.concatenate([rows for each in drawn.values() for rows in each]))
    train, test = data.probe_train.select(used), data.probe_test
    names = [name for name in PROBED if name in subject.objective.encoder.output]
    encoders = list_encoders(config)
    total = len(encoders) * len(names) * len(drawn) * len(_METHODS)
    done = 0
    for label, trained in encoders:
        features = [
            subject.all_features(names, part.images, trained) for part in (train, test)
        ]
        with Progress(total, done, config.progress, "few_labels") as shown:
            for name in names:
                parts = [each[name] for each in features]
                for percent, each in drawn.items():
                    rows = [np.searchsorted(used, own) for own in each]
                    for method, score in _METHODS.items():
                        found = score(parts, train.labels, test.labels, rows)
                        done += 1
                        shown.update(done)
                        yield (
                            f"few_labels/{percent}%/{method}/{label}{name}",
                            _describe(found, percent, method, label, rows),
                        )


def draw_few(images: ImageSet, fraction: float, seeds: int) -> list[np.ndarray]:
    """Positions, ascending, of every seed's own images: a part of each class."""
    return [
        np.flatnonzero(images.keep_labels(fraction, seed) >= 0) for seed in range(seeds)
    ]


def _score_linear(features, labels, targets, rows) -> np.ndarray:
    """Accuracy of each repetition."""
    train, test = features
    return run_probe("linear", train, labels, test, targets, examples=rows).accuracy


def score_neighbors(
    features: np.ndarray,
    labels: np.ndarray,
    targets: np.ndarray,
    rows: Sequence[np.ndarray],
) -> np.ndarray:
    """Accuracy of each repetition, of the number of neighbours that it has chosen.

    Args:
        features: `[n, D]` to learn from and of the test.
        labels, targets: theirs.
        rows: positions of the examples of each repetition.
    """
    train, test = standardize(*features)
    return np.array(
        [
            _score_some(train[own], labels[own], test, targets, seed)
            for seed, own in enumerate(rows)
        ]
    )


def _score_some(train, labels, test, targets, seed: int) -> float:
    part = deal(labels, min(_FOLDS, len(labels)), seed)
    right = {}
    for count in _NEIGHBORS:
        told = [
            _tell(count, train[part != k], labels[part != k], train[part == k])
            == labels[part == k]
            for k in range(part.max() + 1)
        ]
        right[count] = np.concatenate(told).mean()
    best = max(right, key=right.get)
    return float(np.mean(_tell(best, train, labels, test) == targets))


def _tell(count: int, train, labels, test) -> np.ndarray:
    from sklearn.neighbors import KNeighborsClassifier

    model = KNeighborsClassifier(min(count, len(train)), metric="cosine")
    return model.fit(train, labels).predict(test)


_METHODS = {"linear": _score_linear, "knn": score_neighbors}


def _describe(found, percent: str, method: str, label: str, rows) -> dict:
    how = "a linear probe" if method == "linear" else "nearest neighbours"
    whose = "untrained features" if label else "features"
    return describe(
        found,
        "%",
        f"test images told right by {how} of {whose}, with {percent} % of the labels",
        ceiling=None,
        labels=len(rows[0]),
    )
