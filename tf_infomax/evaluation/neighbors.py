"""Nearest neighbours in a space of codes."""

from collections.abc import Iterator

import numpy as np

from tf_infomax.evaluation.probes import draw_examples, score_online
from tf_infomax.evaluation.summary import summarize


def evaluate(subject) -> Iterator[tuple[str, dict]]:
    """Accuracy of the 20 nearest neighbours in Y, trained and untrained.

    Cosine distance of standardized codes; each repetition has labelled images of its
    own, as the probes have. Nothing without labels.
    """
    data, config = subject.data, subject.config
    if data.probe_train is None:
        return
    drawn = draw_examples(
        len(data.probe_train), config.probe_images, config.probe_seeds
    )
    labels, targets = data.probe_train.labels, data.probe_test.labels
    for label, trained in (("", True), ("random/", False)):
        train, test = (
            subject.features("code", part.images, trained)
            for part in (data.probe_train, data.probe_test)
        )
        accuracies = [
            score_online("knn", train[rows], labels[rows], test, targets)
            for rows in drawn
        ]
        yield f"probe/knn/{label}code", summarize(accuracies)


def find_neighbors(queries: np.ndarray, codes: np.ndarray, k: int) -> np.ndarray:
    """Positions `[q, k]` of the k codes nearest in L1, the paper's distance.

    Source: Hjelm et al. 2019, appendix A.4.
    """
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=k, metric="manhattan").fit(codes)
    return search.kneighbors(queries, return_distance=False)
