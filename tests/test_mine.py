"""MINE of images and codes against information that is known."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from tf_infomax.evaluation import mine
from tf_infomax.options import Config

LEVELS = 4


@pytest.fixture(scope="module")
def pairs():
    """Images of four levels of brightness, codes that tell the levels: log 4 nats."""
    rng = np.random.default_rng(0)
    level = rng.integers(0, LEVELS, 1600)
    images = 50 * level[:, None, None, None] + rng.integers(0, 40, (1600, 8, 8, 1))
    codes = np.eye(LEVELS)[level] + 0.05 * rng.normal(size=(1600, LEVELS))
    return images.astype(np.uint8), codes.astype(np.float32)


def make_subject(images, codes, **options):
    """Images and codes as of a run; those of the untrained encoder are noise."""
    config = Config(evaluations=("mine",), progress="none", probe_seeds=1, **options)
    noise = np.random.default_rng(1).normal(size=codes.shape).astype(np.float32)
    parts = cut(images)

    def features(name, part, trained=True):
        place = next(p for p, each in enumerate(parts) if len(each) == len(part))
        return cut(codes if trained else noise)[place]

    return SimpleNamespace(
        unlabelled=parts, config=config, features=features, seen=lambda part: part
    )


QUICK = dict(batch_size=48, max_steps=250, learning_rate=3e-3, seed=0)


def cut(values) -> list:
    """To train on, to choose on and to report on."""
    return np.split(values, [1000, 1200])


def test_what_codes_tell_of_images_is_found(pairs):
    images, codes = pairs
    found = mine.estimate_mine(cut(images), cut(codes), **QUICK)
    assert 0.93 * math.log(LEVELS) < found.value < math.log(LEVELS) + 0.02
    broken = codes.copy()  # of the test images alone
    broken[1200:] = np.random.default_rng(0).permutation(codes[1200:])
    assert mine.estimate_mine(cut(images), cut(broken), **QUICK).raw < 0


def test_of_a_run_values_come_with_their_limits(pairs):
    results = dict(mine.evaluate(make_subject(*pairs, mine_steps=40)))
    assert list(results) == ["mine/code", "mine/random/code"]
    found, untrained = results.values()
    assert found["mean"] > 0.1
    assert untrained["mean"] < 0.05
    assert found["pairs"] == {"train": 1000, "choose": 200, "report": 400}
    assert found["log_n"] == pytest.approx(math.log(400))
    (interval,) = found["intervals"]
    assert interval[0] < found["raw"] < interval[1]
    assert any("raise --mine_steps" in text for text in found["warnings"])
    json.dumps(results, allow_nan=False)


def test_codes_that_never_change_tell_nothing(pairs):
    images, codes = pairs
    subject = make_subject(images, np.ones_like(codes), mine_steps=5, baselines=False)
    found = dict(mine.evaluate(subject))
    assert list(found) == ["mine/code"]
    assert found["mine/code"]["mean"] == 0.0
    assert "constant" in found["mine/code"]["warnings"][0]
    json.dumps(found, allow_nan=False)
