"""MINE: how much of an image a small network finds in its code.

    I(X; Y) >= E_p[T(x, y)] - log E_q[e^T(x, y)]

p are images with their codes, q images with codes of others. T is a network of two
hidden layers of 64 units over pixels and code; it is trained by MINE with a learning
rate that decays to 0, and the value is of test images. A code that is a continuous
function of the image has infinite information on it, so that the bound is never near
the truth: it says how much is plain enough for so small a network and so many images.

Source: Belghazi et al. 2018; Hjelm et al. 2019, table 3.
"""

from collections.abc import Iterator

import numpy as np

from tf_infomax.estimation import Estimate, estimate_mi
from tf_infomax.evaluation.features import draw_share, list_encoders
from tf_infomax.evaluation.summary import describe
from tf_infomax.runtime.progress import Progress

_MOST = 40_000_000  # pixels of all images: eight bytes each, and copies of them
_MEASURES = "information of image and {}, found by a small network: a lower bound"
_UNTRAINED_SEEDS = 1  # a baseline


def evaluate(subject) -> Iterator[tuple[str, dict]]:
    """MINE of images and their codes, and once of those of an untrained encoder."""
    config = subject.config
    encoders = list_encoders(config)
    seeds = {True: config.probe_seeds, False: _UNTRAINED_SEEDS}
    parts = draw_share(subject.unlabelled, _MOST)
    pixels = [subject.seen(images) for images in parts]
    codes = {
        trained: [subject.features("code", images, trained) for images in parts]
        for _, trained in encoders
    }
    total = config.mine_steps * sum(seeds[trained] for _, trained in encoders)
    with Progress(total, 0, config.progress, "steps of mine") as shown:
        done = 0
        for label, trained in encoders:
            found = []
            for seed in range(seeds[trained]):
                hear = lambda steps, done=done: shown.update(done + steps)
                found.append(
                    estimate_mine(
                        pixels,
                        codes[trained],
                        max_steps=config.mine_steps,
                        seed=seed,
                        shown=hear,
                    )
                )
                done += config.mine_steps
            yield f"mine/{label}code", _describe(found, trained)


def estimate_mine(images: np.ndarray, codes: np.ndarray, **options) -> Estimate:
    """A lower bound on the information of images and codes.

    Args:
        images: uint8 `[n, H, W, C]` to train on, to choose on and to report on.
        codes: theirs, `[n, D]` each.
        **options: of `estimate_mi`.
    """
    cuts = np.cumsum([len(part) for part in images])
    return estimate_mi(
        np.concatenate(images),
        np.concatenate(codes),
        "mine",
        parts=tuple(np.split(np.arange(cuts[-1]), cuts[:-1])),
        schedule="cosine",
        **options,
    )


def _describe(found: list[Estimate], trained: bool) -> dict:
    """The result of all repetitions, with what is to be said of it."""
    first = found[0]
    effective = [each.diagnostics.get("effective_negatives") for each in found]
    return describe(
        [each.value for each in found],
        "nats",
        _MEASURES.format("code" if trained else "untrained code"),
        warnings=[
            text.replace("max_steps", "--mine_steps")
            for each in found
            for text in each.warnings
        ],
        raw=float(np.mean([each.raw for each in found])),
        intervals=[list(each.interval) for each in found],
        level=first.level,
        log_n=first.diagnostics.get("log_n"),  # none of codes that never change
        effective_negatives=None if None in effective else min(effective),
        pairs=first.pairs,
    )
