"""Distances of codes from their prior, against laws that are known."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from objective_rows import ROWS, build, build_encoder
from scipy import stats

from tf_infomax import encoders
from tf_infomax.evaluation.prior_distance import assess_distances, evaluate
from tf_infomax.objectives import InfoMax, Term
from tf_infomax.objectives.autoencoder import build_vae
from tf_infomax.objectives.priors import PRIORS

N, WIDTH = 300, 3
NAMES = {"prior_distance/sliced_wasserstein", "prior_distance/mmd"}


def make_place(sample, shift=0.0, scale=1.0):
    """Codes that are drawn, from a prior or from something else."""
    return lambda seed: shift + scale * sample([N, WIDTH], seed)


class TestAssess:
    @pytest.mark.parametrize("name", PRIORS)
    def test_codes_of_the_prior_are_as_far_as_two_samples_of_it(self, name):
        prior = PRIORS[name]
        results = dict(assess_distances(make_place(prior.sample), prior))
        assert results.keys() == NAMES
        for result in results.values():
            alike = result["alike"]
            assert result["n"] == alike["n"] == 10
            error = np.hypot(result["sd"], alike["sd"]) / np.sqrt(10)
            assert abs(result["mean"] - alike["mean"]) < 5 * error
            assert f"the {name} prior" in result["measures"]
        assert abs(results["prior_distance/mmd"]["mean"]) < 0.002

    def test_of_shifted_codes_it_is_the_shift_along_all_directions(self):
        """E (theta . m)^2 = |m|^2 / D; what two samples are apart comes to it."""
        shift = np.array([3.0, 0.0, -1.0], np.float32)
        place = make_place(PRIORS["normal"].sample, shift)
        results = dict(assess_distances(place, PRIORS["normal"]))
        found = results["prior_distance/sliced_wasserstein"]
        expected = np.sqrt(10.0 / WIDTH)
        assert found["mean"] == pytest.approx(expected, rel=0.05)
        assert found["alike"]["mean"] < 0.2 * expected
        found = results["prior_distance/mmd"]
        assert found["mean"] > 0.1 > 20 * abs(found["alike"]["mean"])

    def test_of_narrow_codes_it_is_the_difference_of_the_deviations(self):
        """W_2(N(0, s^2), N(0, 1)) = 1 - s along each direction."""
        place = make_place(PRIORS["normal"].sample, scale=0.25)
        found = dict(assess_distances(place, PRIORS["normal"]))
        mean = found["prior_distance/sliced_wasserstein"]["mean"]
        assert mean == pytest.approx(0.75, abs=0.04)

    def test_draws_follow_the_seed(self):
        place = make_place(PRIORS["ball"].sample)
        one, again, other = (
            dict(assess_distances(place, PRIORS["ball"], seed)) for seed in (1, 1, 2)
        )
        assert one == again != other

    def test_one_code_is_refused(self):
        with pytest.raises(ValueError, match=r"2 images or more\. Received: 1"):
            list(assess_distances(lambda seed: tf.zeros((1, 2)), PRIORS["normal"]))


def make_subject(objective, images):
    """What the evaluation asks of a run."""

    def all_features(names, images):
        found = objective.encoder(images, training=False)
        return {name: found[name].numpy() for name in names}

    return SimpleNamespace(
        objective=objective,
        all_features=all_features,
        drawn=images,
        config=SimpleNamespace(seed=0),
    )


@pytest.mark.parametrize("name", ROWS)
def test_every_objective_with_a_prior_is_told_of(name, rng):
    objective = build(name)
    images = rng.integers(0, 256, (6, 8, 8, 3), np.uint8)
    results = dict(evaluate(make_subject(objective, images)))
    assert results.keys() == (NAMES if objective.code_prior else set())
    told = "the {} prior".format(ROWS[name].facts.get("prior", "sphere"))
    assert all(told in result["measures"] for result in results.values())


def test_a_prior_without_a_weight_is_none(rng):
    term = Term("g", "x.code", "x.code", keras.layers.Dot(-1), "jsd")
    objective = InfoMax(build_encoder(), term)
    assert objective.code_prior is None
    assert list(evaluate(make_subject(objective, None))) == []


class TestVariational:
    """Its codes are draws around the mean, not the mean that is probed."""

    def build(self, deviation: float):
        decoder = encoders.build_decoder("mlp", (8, 8, 3), 6)
        objective = build_vae(build_encoder(), decoder)
        code = next(e for e in objective.encoder.layers if e.output.shape == (None, 6))
        code.set_weights([np.zeros((12, 6)), np.zeros(6)])
        spread = [np.zeros((12, 6)), np.full(6, 2 * np.log(deviation))]
        objective.networks["log_variance"].set_weights(spread)
        return objective

    def test_they_are_drawn_with_the_deviation_that_the_image_has(self, rng):
        images = rng.integers(0, 256, (300, 8, 8, 3), np.uint8)
        objective = self.build(0.5)
        features = objective.encoder(images)
        one, other = (
            objective.place_codes(features, tf.constant([0, k])).numpy() for k in (0, 1)
        )
        assert stats.kstest(one.ravel(), "norm", (0, 0.5)).pvalue > 0.01
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.1

    def test_where_the_posterior_is_the_prior_they_are_as_near_as_can_be(self, rng):
        """Codes that say nothing of the image: what the distance does not tell."""
        images = rng.integers(0, 256, (300, 8, 8, 3), np.uint8)
        name = "prior_distance/sliced_wasserstein"
        alike, narrow = (
            dict(evaluate(make_subject(self.build(deviation), images)))[name]
            for deviation in (1.0, 0.5)
        )
        assert alike["mean"] == pytest.approx(alike["alike"]["mean"], rel=0.2)
        assert narrow["mean"] == pytest.approx(0.5, abs=0.05)
