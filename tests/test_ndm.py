"""The neural dependency measure against total correlation that is known."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tf_infomax.estimation.loop import Training
from tf_infomax.estimation.options import TrainOptions
from tf_infomax.evaluation import ndm
from tf_infomax.options import Config

QUICK = TrainOptions(
    batch_size=250, learning_rate=1e-3, max_steps=250, check_every=25, patience=4
)


def draw_equicorrelated(rng, n: int, d: int, rho: float) -> np.ndarray:
    """Standard normal units, every two of which have the correlation rho."""
    common = rng.normal(size=(n, 1))
    own = rng.normal(size=(n, d))
    return (math.sqrt(rho) * common + math.sqrt(1 - rho) * own).astype(np.float32)


def total_correlation(d: int, rho: float) -> float:
    """-1/2 log det of the correlation matrix, whose eigenvalues are known."""
    return -0.5 * ((d - 1) * math.log(1 - rho) + math.log(1 + (d - 1) * rho))


def test_every_unit_has_an_order_of_its_own(rng):
    """One order for whole codes would leave them as they are."""
    codes = np.repeat(rng.normal(size=(2000, 1)), 4, axis=1).astype(np.float32)
    codes += np.arange(4, dtype=np.float32)
    permuted = ndm.permute_units(tf.constant(codes), tf.constant([0, 1])).numpy()
    np.testing.assert_array_equal(np.sort(permuted, axis=0), np.sort(codes, axis=0))
    correlations = np.corrcoef(permuted.T)[np.triu_indices(4, 1)]
    assert np.abs(correlations).max() < 5 / math.sqrt(2000)
    again = ndm.permute_units(tf.constant(codes), tf.constant([0, 1]))
    np.testing.assert_array_equal(again, permuted)
    other = ndm.permute_units(tf.constant(codes), tf.constant([0, 2])).numpy()
    assert np.mean(other == permuted) < 0.01


def test_independent_units_have_none(rng):
    codes = rng.uniform(size=(3000, 8)).astype(np.float32)  # as sigmoid(Y) shall be
    found = ndm.estimate_ndm(codes[:2000], codes[2000:2400], codes[2400:], QUICK)
    assert abs(found.raw) < 0.05


def test_it_is_close_to_the_truth_and_below(rng):
    d, rho = 6, 0.6
    truth = total_correlation(d, rho)
    assert truth == pytest.approx(1.597, abs=1e-3)
    codes = draw_equicorrelated(rng, 9000, d, rho)
    found = ndm.estimate_ndm(codes[:6000], codes[6000:7000], codes[7000:], QUICK)
    # The standard error of the 2,000 codes alone is about 0.06.
    assert 0.85 * truth < found.raw < truth + 0.1
    assert found.effective > 100


def test_the_optimal_network_has_the_truth(rng):
    """The log-ratio itself, also with a constant added, however large."""
    d, rho = 4, 0.5
    correlation = np.full((d, d), rho) + (1 - rho) * np.eye(d)
    inverse, log_det = np.linalg.inv(correlation), np.linalg.slogdet(correlation)[1]
    ratio = lambda y: (
        0.5 * (np.sum(y**2, 1) - np.einsum("ni,ij,nj->n", y, inverse, y) - log_det)
    )
    codes = draw_equicorrelated(rng, 20_000, d, rho)
    broken = ndm._permute_held_out(codes, 10, 0)
    for constant in (0.0, 1e4):
        value, effective = ndm._donsker_varadhan(
            ratio(codes) + constant, ratio(broken) + constant
        )
        assert value == pytest.approx(total_correlation(d, rho), abs=0.03)
        assert 1 < effective < len(broken)


def make_subject(codes, **options):
    """Codes as of a run: `unlabelled` are positions."""
    parts = np.split(np.arange(len(codes)), [len(codes) // 2, 3 * len(codes) // 4])
    config = Config(evaluations=("ndm",), probe_seeds=2, progress="none", **options)
    return SimpleNamespace(
        unlabelled=parts, config=config, features=lambda name, rows: codes[rows]
    )


def test_of_a_run_both_kinds_are_reported(rng, monkeypatch):
    """Scale and mean of Y change nothing; what is not there is 0, not below."""
    monkeypatch.setattr(ndm, "_WIDTHS", (16,))
    heard, original = [], ndm.estimate_ndm
    monkeypatch.setattr(
        ndm, "estimate_ndm", lambda *a: heard.append(a[:3]) or original(*a)
    )
    codes = rng.normal(size=(400, 3)).astype(np.float32)
    subject = make_subject(1e3 * codes + 5e3, ndm_steps=50)
    results = dict(ndm.evaluate(subject))
    assert list(results) == ["ndm/code", "ndm/sigmoid/code"]
    result = results["ndm/code"]
    assert result["n"] == 2
    assert 0 <= result["mean"] < 0.1
    assert result["raw"] <= result["mean"]
    assert result["pairs"] == {"train": 200, "choose": 100, "report": 100}
    train, _, _ = heard[0]
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(train.std(axis=0), 1, atol=1e-3)
    assert len(heard) == 4
    again = dict(ndm.evaluate(make_subject(1e3 * codes + 5e3, ndm_steps=50)))
    assert again == results


@pytest.mark.parametrize(
    ("raw", "effective", "training", "words"),
    [
        (3.0, 500.0, {}, []),
        (8.0, 500.0, {}, ["beyond log n = 7.60"]),
        (3.0, 4.0, {}, ["rests on a few"]),
        (3.0, 500.0, {"stopped": "max_steps"}, ["raise --ndm_steps"]),
        (3.0, 500.0, {"stopped": "diverged"}, ["diverged at step 90"]),
    ],
)
def test_why_a_value_should_not_be_taken_as_it_is(raw, effective, training, words):
    found = Training(
        None, **{"steps": 90, "best_step": 90, "stopped": "patience"} | training
    )
    warnings = list(ndm._warn(ndm.Dependence(raw, effective, found), 2000))
    assert len(warnings) == len(words)
    assert all(word in text for word, text in zip(words, warnings, strict=True))
