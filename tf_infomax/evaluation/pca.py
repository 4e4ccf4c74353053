"""Principal components of pixels: a code of the same width, without a network."""

from collections.abc import Iterator

import numpy as np

from tf_infomax.evaluation.probes import run_probe
from tf_infomax.evaluation.summary import summarize


def evaluate(subject) -> Iterator[tuple[str, dict]]:
    """`probe/linear/pca`, a linear probe of as many components as the code has units.

    The components are those of all training images that some repetition of the probes
    has, their pixels of whole images; at most as many as images. Nothing where there
    are no labels.
    """
    if subject.labelled is None:
        subject.tell(f"pca has nothing to learn from: {subject.data.labels}")
        return
    train, test, examples = subject.labelled
    width, seed = subject.codes.shape[1], subject.config.seed
    codes, of_test = reduce(train.images[:], test.images[:], width, seed)
    scores = run_probe(
        "linear", codes, train.labels, of_test, test.labels, examples=examples
    )
    yield "probe/linear/pca", summarize(scores.accuracy)


def reduce(
    train: np.ndarray, test: np.ndarray, components: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Images `[n, H, W, C]` along the largest principal axes of the first, float32."""
    from sklearn.decomposition import PCA

    train, test = (
        each.reshape(len(each), -1).astype(np.float32) / 255 for each in (train, test)
    )
    size = min(components, *train.shape)
    axes = PCA(size, svd_solver="randomized", random_state=seed).fit(train)
    return axes.transform(train), axes.transform(test)
