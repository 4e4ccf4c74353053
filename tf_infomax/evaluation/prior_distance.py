"""How far the distribution of codes is from the prior that they are matched to.

Codes of test images, in the prior's support, are held against fresh draws from it, as
many as there are codes, and such draws against others: what a perfect match would have.
"""

from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from tf_infomax.evaluation.summary import describe, summarize
from tf_infomax.runtime import vectors

_MOST = 1000  # codes: time goes with the square of their number
_REPETITIONS = 10
_DIRECTIONS = 256


def evaluate(subject) -> Iterator[tuple[str, dict]]:
    """`assess_distances` of up to 1,000 test images; nothing without a prior."""
    objective, seed = subject.objective, subject.config.seed
    if objective.code_prior is None:
        return
    features = subject.all_features(objective.prior_features, subject.drawn)
    rows = np.random.default_rng(seed).permutation(len(subject.drawn))[:_MOST]
    features = {name: feature[rows] for name, feature in features.items()}
    place = lambda key: objective.place_codes(features, key)
    yield from assess_distances(place, objective.code_prior, seed)


def assess_distances(
    place: Callable, prior, seed: int = 0
) -> Iterator[tuple[str, dict]]:
    """Yields each distance of codes from a prior.

    The mean is over ten repetitions, each with fresh draws (and fresh codes where these
    are drawn, too); `alike` has mean and sd of the same of two samples of the prior.

    Args:
        place: a seed of two integers -> codes `[n, D]` in the prior's support.
        prior: with a `name`, `sample([n, D], seed)` and `scale(D)`.
        seed: of the draws.
    """
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in _MEASURES}
    for repetition in range(_REPETITIONS):
        codes, *draws, directions = _draw(place, prior, seed, repetition)
        scale = prior.scale(codes.shape[1])
        for name, (compare, *_) in _MEASURES.items():
            pairs = ((each, draws[0]) for each in (codes, draws[1]))
            values = (compare(*pair, scale, directions) for pair in pairs)
            found[name].append(tuple(map(float, values)))
    for name, (_, unit, measures, ceiling) in _MEASURES.items():
        values, alike = map(np.asarray, zip(*found[name], strict=True))
        null = summarize(alike)
        text = (
            f"{measures}, of codes and the {prior.name} prior; of two samples of it "
            f"{null['mean']:.2g} ± {null['sd']:.1g}"
        )
        facts = {"alike": null, "images": len(codes)}
        yield f"prior_distance/{name}", describe(values, unit, text, ceiling, **facts)


def _draw(place: Callable, prior, seed: int, repetition: int) -> tuple:
    """Codes, two samples of the prior, and directions, each of a stream of its own."""
    start = tf.constant([seed, repetition], tf.int64)
    streams = [tf.random.fold_in(start, use, alg="philox") for use in range(4)]
    codes = tf.convert_to_tensor(place(streams[0]))
    shape = codes.shape.as_list()
    if shape[0] < 2:
        raise ValueError(
            f"distances need the codes of 2 images or more. Received: {shape[0]}."
        )
    samples = (prior.sample(shape, stream) for stream in streams[1:3])
    normal = tf.random.stateless_normal([_DIRECTIONS, shape[1]], streams[3])
    return codes, *samples, tf.math.l2_normalize(normal, axis=1)


def _measure_mmd(codes, draws, scale, directions) -> tf.Tensor:
    return vectors.mmd(codes, draws, scale)


def _measure_wasserstein(codes, draws, scale, directions) -> tf.Tensor:
    return tf.sqrt(vectors.sliced_wasserstein(codes, draws, directions))


# Name -> function, unit, what it is, the largest value possible.
_MEASURES = {
    "sliced_wasserstein": (
        _measure_wasserstein,
        "length",
        "Wasserstein-2 along random directions",
        None,
    ),
    "mmd": (
        _measure_mmd,
        "squared MMD",
        "unbiased",
        2.0,
    ),
}
