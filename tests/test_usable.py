"""V-information of labels given features: on test images, by what families can use."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from tf_infomax.data.images import ImageSet
from tf_infomax.evaluation import v_information
from tf_infomax.evaluation.probes import draw_labelled
from tf_infomax.options import Config


def draw_bits(rng, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Two bits and a little noise; the label says whether they differ."""
    bits = rng.integers(0, 2, (n, 2))
    features = bits + 0.1 * rng.normal(size=bits.shape)
    return features.astype(np.float32), bits[:, 0] ^ bits[:, 1]


def test_a_line_uses_nothing_of_two_bits_and_a_network_all(rng):
    known, asked = draw_bits(rng, 900), draw_bits(rng, 400)
    line = v_information.estimate_usable(known, asked, "linear", 0)
    network = v_information.estimate_usable(known, asked, "mlp", 0)
    assert abs(line.value) < 0.02
    assert network.value == pytest.approx(math.log(2), abs=0.05)
    assert network.pairs == {"train": 900, "report": 400}


def test_the_value_is_that_of_test_labels(rng):
    """One label of five is another: known in the fit, and not on the test."""
    labels = rng.integers(0, 4, 3000)
    features = (6 * np.eye(4)[labels] + rng.normal(size=(3000, 4))).astype(np.float32)
    known, asked = (features[:1000], labels[:1000]), (features[1000:], labels[1000:])
    found = v_information.estimate_usable(known, asked, "linear", 0)
    assert found.value == pytest.approx(math.log(4), abs=0.03)
    assert found.ceiling == pytest.approx(math.log(4))
    wrong = (
        asked[0],
        np.where(rng.uniform(size=2000) < 0.2, (asked[1] + 1) % 4, asked[1]),
    )
    assert v_information.estimate_usable(known, wrong, "linear", 0).value < 0.8


def test_of_a_run_by_family_and_feature(rng):
    """Each repetition with labelled images of its own; nothing without labels."""
    labels = rng.integers(0, 2, 700)
    images = rng.integers(0, 90, (700, 8, 8, 1)) + 150 * labels[:, None, None, None]
    whole = ImageSet(images.astype(np.uint8), labels)
    train, test = whole.select(np.arange(500)), whole.select(np.arange(500, 700))
    told = []

    def all_features(names, images, trained):
        flat = images.reshape(len(images), -1)[:, :3].astype(np.float32)
        noise = np.random.default_rng(1).normal(size=flat.shape).astype(np.float32)
        return {name: flat if trained else noise for name in names}

    subject = SimpleNamespace(
        config=Config(
            evaluations=("v_information",), progress="none", probe_seeds=2,
            v_features=("code", "conv"), v_families=("constant", "linear"),
        ),
        labelled=draw_labelled(train, test, 100, 2), all_features=all_features,
        objective=SimpleNamespace(encoder=SimpleNamespace(output={"code": None})),
        data=SimpleNamespace(labels="no labels"), tell=told.append,
    )  # fmt: skip
    results = dict(v_information.evaluate(subject))
    assert list(results) == [
        f"v_information/{family}/{label}code"
        for label in ("", "random/")
        for family in ("constant", "linear")
    ]
    nothing, found, _, untrained = results.values()
    assert nothing["mean"] == 0.0
    assert found["mean"] == pytest.approx(math.log(2), abs=0.1)
    assert found["pairs"] == {"train": 100, "report": 200}
    assert len(found["intervals"]) == found["n"] == 2
    assert untrained["mean"] < 0.05
    subject.labelled = None
    assert dict(v_information.evaluate(subject)) == {}
    assert told == ["v_information has nothing to learn from: no labels"]
