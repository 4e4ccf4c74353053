"""Principal components of pixels: a code of the same width, without a network."""

from collections.abc import Iterator

import numpy as np

from tf_infomax.evaluation.probes import draw_examples, run_probe
from tf_infomax.evaluation.summary import summarize


def evaluate(subject) -> Iterator[tuple[str, dict]]:
    """`probe/linear/pca`, a linear probe of as many components as the code has units.

    The components are those of the training images that the first repetition of the
    probes has, their pixels of whole images; at most as many as images. Nothing without
    labels.
    """
    data, config = subject.data, subject.config
    if data.probe_train is None:
        return
    train, test = data.probe_train, data.probe_test
    drawn = draw_examples(len(train), config.probe_images, config.probe_seeds)
    used = np.unique(np.concatenate(drawn))
    codes, test_codes = reduce(
        train.images[used], test.images[:], subject.codes.shape[1], config.seed
    )
    examples = [np.searchsorted(used, rows) for rows in drawn]
    labels = train.labels[used], test.labels
    scores = run_probe(
        "linear", codes, labels[0], test_codes, labels[1], examples=examples
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
