"""How much a family of predictors can use of features to tell labels, in nats.

    I_V(Z -> Y) = H_V(Y) - H_V(Y | Z),  H_V(Y | Z) = min over V of E[-log f[z](y)]

of the labels of test images: what a probe's accuracy is to a log-loss. With all
functions for V it would be the mutual information of features and labels; as no family
has all, a network can make more of it usable than there is in its input.

Source: Xu et al. 2020; see `estimation.v_information`.
"""

from collections.abc import Iterator

import numpy as np

from tf_infomax.estimation import Estimate
from tf_infomax.estimation.v_information import v_information
from tf_infomax.evaluation.features import list_encoders
from tf_infomax.evaluation.summary import describe
from tf_infomax.runtime.progress import Progress

_CHOOSING = 5  # one of so many labelled images chooses within the fit


def evaluate(subject) -> Iterator[tuple[str, dict]]:
    """V-information of labels, by family and feature; nothing without labels."""
    config, labelled = subject.config, subject.labelled
    if labelled is None:
        why = subject.data.labels
        subject.tell(f"v_information has nothing to learn from: {why}")
        return
    names = [n for n in config.v_features if n in subject.objective.encoder.output]
    encoders = list_encoders(config)
    total = len(encoders) * len(names) * len(config.v_families) * config.probe_seeds
    done = 0
    for label, trained in encoders:
        parts = [
            subject.all_features(names, part.images, trained)
            for part in (labelled.train, labelled.test)
        ]
        with Progress(total, done, config.progress, "families") as shown:
            for name in names:
                for family in config.v_families:
                    found = []
                    for seed, rows in enumerate(labelled.examples):
                        known = parts[0][name][rows], labelled.train.labels[rows]
                        asked = parts[1][name], labelled.test.labels
                        found.append(estimate_usable(known, asked, family, seed))
                        done += 1
                        shown.update(done)
                    yield (
                        f"v_information/{family}/{label}{name}",
                        _describe(found, family, label),
                    )


def estimate_usable(
    known: tuple[np.ndarray, np.ndarray],
    asked: tuple[np.ndarray, np.ndarray],
    family: str,
    seed: int,
) -> Estimate:
    """V-information of labels, of a family that is fitted to other images.

    Args:
        known: (features `[n, D]`, labels `[n]`) to fit to.
        asked: the same of the test.
        family: a key of `estimation.v_information.FAMILIES`.
        seed: of the fit.
    """
    features, labels = (np.concatenate(each) for each in zip(known, asked, strict=True))
    count = len(known[1])
    order = np.random.default_rng(seed).permutation(count)
    cut = max(2, count // _CHOOSING)
    parts = order[cut:], order[:cut], np.arange(count, len(labels))
    return v_information(features, labels, family, labels=True, seed=seed, parts=parts)


def _describe(found: list[Estimate], family: str, label: str) -> dict:
    whose = "untrained features" if label else "features"
    return describe(
        [each.value for each in found],
        "nats",
        f"V-information of labels: what {family} predictors use of {whose}",
        ceiling=found[0].ceiling,
        warnings=[text for each in found for text in each.warnings],
        intervals=[list(each.interval) for each in found],
        level=found[0].level,
        pairs=found[0].pairs,
    )
