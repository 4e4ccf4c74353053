"""Losses of an encoder against a prior: formulas, signs, and who is built for them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from objective_rows import build_encoder, make_batch

from tf_infomax.critics import InnerProduct
from tf_infomax.objectives import InfoMax, PriorMatching, Term
from tf_infomax.objectives import build as build_row
from tf_infomax.objectives.only_prior import build_only_prior
from tf_infomax.objectives.prior_losses import PRIOR_LOSSES
from tf_infomax.objectives.priors import PRIORS
from tf_infomax.options import Config, flags
from tf_infomax.options.objectives import WITHOUT_DISCRIMINATOR
from tf_infomax.runtime.vectors import mmd, sliced_wasserstein

SEED = tf.constant([0, 3], tf.int64)
ADVERSARIAL = [name for name, row in PRIOR_LOSSES.items() if row.of_logits]
# Of D, the probability of "prior" that the discriminator gives to a code.
FORMULAS = {
    "non_saturating": lambda d: -np.log(d),
    "minimax": lambda d: np.log(1 - d),
    "boundary_seeking": lambda d: 0.5 * (np.log(d) - np.log(1 - d)) ** 2,
}


def test_options_know_which_have_no_discriminator():
    assert set(WITHOUT_DISCRIMINATOR) == PRIOR_LOSSES.keys() - set(ADVERSARIAL)


@pytest.mark.parametrize("name", ADVERSARIAL)
class TestAgainstADiscriminator:
    def test_it_is_the_formula(self, name, rng):
        logits = rng.normal(size=(50, 1))
        expected = FORMULAS[name](1 / (1 + np.exp(-logits))).mean()
        found = PRIOR_LOSSES[name].of_logits(tf.constant(logits))
        assert float(found) == pytest.approx(expected, rel=1e-9)

    def test_its_gradient_moves_a_code_to_the_side_of_the_prior(self, name):
        """Boundary seeking, of which D = 1/2 is the optimum, no farther than that."""
        logits = tf.constant([[-3.0], [0.0], [3.0]])
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = PRIOR_LOSSES[name].of_logits(logits)
        told, even, fooled = np.sign(tape.gradient(loss, logits)[:, 0])
        assert told == -1
        assert (even, fooled) == ((0, 1) if name == "boundary_seeking" else (-1, -1))

    def test_it_is_finite_for_any_logit(self, name):
        logits = tf.constant([[-1e4], [1e4]])
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = PRIOR_LOSSES[name].of_logits(logits)
        assert np.isfinite(loss)
        assert np.isfinite(tape.gradient(loss, logits)).all()

    def test_the_discriminator_has_the_same_loss(self, name, rng):
        code = tf.constant(rng.normal(size=(6, 3)), tf.float32)
        losses = []
        for each in (name, "non_saturating"):
            keras.utils.set_random_seed(0)
            losses.append(PriorMatching("normal", (5,), loss=each)(code, SEED)[1])
        assert float(losses[0]) == float(losses[1])


@pytest.mark.parametrize("name", PRIOR_LOSSES)
@pytest.mark.parametrize("prior", ["uniform", "sphere"])
def test_bug_prior_term_without_a_gradient_for_the_encoder(name, prior, rng):
    """A TF 2 port scored noise instead of codes; here each code of the batch moves."""
    matching = PriorMatching(prior, (8,), loss=name)
    code = tf.constant(rng.normal(size=(6, 3)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(code)
        loss = matching(code, SEED)[0]
    assert (np.abs(tape.gradient(loss, code)).max(axis=1) > 0).all()


class TestOfSamples:
    def test_codes_are_compared_in_the_support_of_the_prior(self, rng):
        code = tf.constant(rng.normal(size=(6, 3)), tf.float32)
        real, fake = PRIORS["uniform"].sample([6, 3], SEED), tf.sigmoid(code)
        (found,) = PriorMatching(loss="mmd")(code, SEED)
        assert float(found) == pytest.approx(float(mmd(fake, real, 0.5)), abs=1e-6)
        own = tf.random.fold_in(SEED, 2, alg="philox")
        directions = PRIORS["sphere"].sample([128, 3], own)
        (found,) = PriorMatching(loss="sliced_wasserstein")(code, SEED)
        expected = float(sliced_wasserstein(fake, real, directions))
        assert float(found) == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("name", WITHOUT_DISCRIMINATOR)
    def test_codes_moved_by_it_become_uniform(self, name):
        """Each number's mean 1/2, deviation 12^-1/2; two numbers hardly related."""
        matching = PriorMatching("uniform", loss=name)
        codes = keras.Variable(0.2 * keras.random.normal((128, 2)) + 1.0)
        optimizer = keras.optimizers.Adam(0.05)
        optimizer.build([codes])

        @tf.function
        def step(k):
            with tf.GradientTape() as tape:
                (loss,) = matching(codes.value, tf.stack([k, k]))
            optimizer.apply([tape.gradient(loss, codes.value)], [codes])

        for k in range(300):
            step(tf.constant(k, tf.int64))
        squashed = tf.sigmoid(codes.value).numpy()
        np.testing.assert_allclose(squashed.mean(0), 0.5, atol=0.05)
        np.testing.assert_allclose(squashed.std(0), 12**-0.5, atol=0.03)
        assert abs(np.corrcoef(squashed.T)[0, 1]) < 0.2

    def test_no_discriminator_is_built_or_reported(self):
        """Neither its weights nor its player, beside terms or alone."""
        matching = PriorMatching("uniform", loss="sliced_wasserstein")
        term = Term("g", "x.code", "x.code", InnerProduct(), "jsd")
        beside = InfoMax(build_encoder(), term, matching, 0.5)
        for objective in (beside, build_only_prior(build_encoder(), matching)):
            objective.compile("sgd")
            assert list(objective.players) == list(objective.optimizers) == ["encoder"]
            assert objective.networks["prior"].count_params() == 0
            found = objective.measure(make_batch(objective))
            names = {name for name in found if name.startswith(("prior/", "accuracy"))}
            assert names == {"prior/distance"}
            assert objective.describe()["prior_loss"] == "sliced_wasserstein"
        loss = 0.5 * found["prior/distance"]
        values = beside.measure(make_batch(beside))
        loss = 0.5 * values["prior/distance"] - values["g"]
        assert float(values["loss"]) == pytest.approx(float(loss), rel=1e-5)


@pytest.mark.parametrize("name", ["dim_local", "multiview", "prior_matching", "aae"])
def test_rows_that_match_a_prior_have_the_choice(name):
    weight = {} if name == "prior_matching" else {"gamma": 0.1}
    options = {"prior_loss": "boundary_seeking", "prior": "ball", **weight}
    objective = build_row(name, build_encoder(), **options)
    matching = objective.networks["prior"]
    assert (matching.loss, matching.prior) == ("boundary_seeking", "ball")


@pytest.mark.parametrize("name", PRIOR_LOSSES)
def test_a_run_with_it_is_continued_from_its_own_options(name, tmp_path):
    """The written ones are all given: no preset may be one without effect."""
    config = Config(objective="aae", prior_loss=name, steps=3)
    path = tmp_path / "run.flags"
    path.write_text(flags.format_flags(config))
    assert flags.read_flagfile(path) == config


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match=r"non_saturating, minimax.*'wgan'"):
        PriorMatching(loss="wgan")
