"""Nearest neighbours in a space of codes."""

from collections.abc import Iterator

import numpy as np

from tf_infomax.evaluation.features import list_encoders
from tf_infomax.evaluation.probes import score_online
from tf_infomax.evaluation.summary import summarize


def evaluate(subject) -> Iterator[tuple[str, dict]]:
    """Accuracy of the 20 nearest neighbours in Y, trained and untrained.

    Cosine distance of standardized codes; each repetition has labelled images of its
    own, as the probes have. Nothing without labels.
    """
    if subject.labelled is None:
        subject.tell(f"knn has nothing to learn from: {subject.data.labels}")
        return
    train, test, examples = subject.labelled
    for label, trained in list_encoders(subject.config):
        codes, of_test = (
            subject.features("code", part.images, trained) for part in (train, test)
        )
        accuracies = [
            score_online("knn", codes[rows], train.labels[rows], of_test, test.labels)
            for rows in examples
        ]
        yield f"probe/knn/{label}code", summarize(accuracies)


def find_neighbors(queries: np.ndarray, codes: np.ndarray, k: int) -> np.ndarray:
    """Positions `[q, k]` of the k codes nearest in L1, the paper's distance.

    Source: Hjelm et al. 2019, appendix A.4.
    """
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=k, metric="manhattan").fit(codes)
    return search.kneighbors(queries, return_distance=False)
