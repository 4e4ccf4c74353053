"""Codes matched to a prior, with a decoder and without one."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from objective_rows import CODE, SHAPE, build_encoder
from scipy import stats

from tf_infomax import encoders
from tf_infomax.objectives import PriorMatching
from tf_infomax.objectives.aae import build_aae
from tf_infomax.objectives.only_prior import build_only_prior
from tf_infomax.objectives.priors import PRIORS
from tf_infomax.options import Config, ConfigError
from tf_infomax.runtime.vectors import mmd

SEED = tf.constant([0, 3], tf.int64)


@pytest.fixture
def images(rng):
    coarse = rng.integers(0, 256, (16, 2, 2, 3), np.uint8)
    return tf.constant(coarse.repeat(4, axis=1).repeat(4, axis=2))


def build(prior="normal", **options):
    decoder = encoders.build_decoder("mlp", SHAPE, CODE)
    matching = PriorMatching(prior, widths=(16, 8))
    objective = build_aae(build_encoder(), decoder, matching, **options)
    objective.compile(keras.optimizers.Adam(1e-2))
    return objective


def measure(objective, images) -> dict[str, float]:
    return {name: float(v) for name, v in objective.measure(images).items()}


def find_code(objective) -> keras.layers.Dense:
    return next(e for e in objective.encoder.layers if e.output.shape == (None, CODE))


@pytest.mark.parametrize("prior", ["normal", "uniform"])
def test_losses_are_the_formulas(images, prior):
    """The decoder gets what the discriminator judges."""
    objective = build(prior, gamma=3.0, deviation=0.5)
    losses, values = objective.step_losses({"x": images}, SEED)
    z = PRIORS[prior].squash(objective.encoder(images)["code"])
    decoded = objective.networks["decoder"](z)["image"].numpy()
    density = stats.norm(decoded, 0.5).logpdf(images.numpy() / 255.0)
    error = -density.sum((1, 2, 3)).mean()
    d_fake = 1 / (1 + np.exp(-objective.prior.discriminator(z).numpy().astype("d")))
    fooled = -np.log(d_fake).mean()
    assert float(values["reconstruction"]) == pytest.approx(error, rel=1e-5)
    assert float(values["prior/encoder"]) == pytest.approx(fooled, rel=1e-5)
    expected = error + 3.0 * fooled
    assert float(losses["encoder"]) == pytest.approx(expected, rel=1e-5)
    assert float(losses["prior"]) == float(values["prior/discriminator"])


def test_images_and_samples_are_bytes(images):
    """Of codes in the prior's support."""
    objective = build("uniform")
    back = objective.reconstruct(images)
    one, again, other = (objective.sample(5, seed) for seed in (1, 1, 2))
    assert back.dtype == one.dtype == np.uint8
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    code = tf.sigmoid(objective.encoder(images)["code"])
    expected = 255 * objective.networks["decoder"](code)["image"].numpy()
    assert np.abs(back - expected).max() <= 0.5 + 1e-3
    drawn = PRIORS["uniform"].sample([5, CODE], tf.constant([0, 1], tf.int64))
    expected = 255 * objective.networks["decoder"](drawn)["image"].numpy()
    assert np.abs(one - expected).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("kind", ["aae", "prior_matching"])
def test_a_test_tells_how_far_codes_are_from_the_prior(images, kind):
    """From draws that differ from batch to batch."""
    if kind == "aae":
        objective = build("ball")
    else:
        objective = build_only_prior(build_encoder(), PriorMatching("ball", (16, 8)))
        objective.compile("sgd")
    found = measure(objective, images)
    seed = tf.constant([0, -1], tf.int64)
    total = np.sum(images, dtype=np.int64)
    seed = tf.random.fold_in(seed, total, alg="philox")
    real = PRIORS["ball"].sample([16, CODE], seed)
    fake = PRIORS["ball"].squash(objective.encoder(images)["code"])
    discriminator = objective.prior.discriminator
    assert found["accuracy/prior"] == np.mean(discriminator(real) > 0)
    assert found["accuracy/codes"] == np.mean(discriminator(fake) < 0)
    # E|v|^2 = D / (D + 2) in the unit ball.
    spread = np.var(fake, axis=0).sum() / (CODE / (CODE + 2))
    assert found["code_spread"] == pytest.approx(spread, rel=1e-4)
    expected = float(mmd(fake, real, 2 * CODE / (CODE + 2)))
    assert found["mmd"] == pytest.approx(expected, abs=1e-5)
    best = {"aae": -found["reconstruction"] if kind == "aae" else 0.0}
    assert objective.merit(found) == best.get(kind, -found["mmd"])


class TestTrained:
    """Sixteen pixels that two hidden numbers have made, and a code of two."""

    shape, units = (4, 4, 1), 2

    def make_images(self, n: int) -> np.ndarray:
        rng = np.random.default_rng(0)
        hidden, mixed = rng.normal(size=(n, 2)), rng.normal(size=(2, 16))
        pixels = 127.5 + 90 * np.tanh(hidden @ mixed) + 10 * rng.normal(size=(n, 16))
        return np.clip(pixels, 0, 255).astype(np.uint8).reshape(n, *self.shape)

    def build(self):
        keras.utils.set_random_seed(0)
        images = keras.Input(self.shape, dtype="uint8")
        x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 127.5, -1.0)(images))
        x = keras.layers.Dense(64, "relu")(x)
        encoder = keras.Model(images, {"code": keras.layers.Dense(self.units)(x)})
        z = keras.Input((self.units,))
        x = keras.layers.Dense(16, "sigmoid")(keras.layers.Dense(64, "relu")(z))
        decoder = keras.Model(z, {"image": keras.layers.Reshape(self.shape)(x)})
        matching = PriorMatching("normal", (64, 64), gradient_penalty=0.1)
        objective = build_aae(encoder, decoder, matching, gamma=3.0, ema=0.98)
        objective.compile(keras.optimizers.Adam(3e-3, beta_1=0.5))
        return objective

    def test_codes_of_other_images_are_distributed_as_the_prior(self):
        """Kolmogorov-Smirnov tests of both coordinates, at 1 % each.

        By the averaged encoder: two players circle about where they would rest.
        """
        images, objective = self.make_images(4200), self.build()
        test, train = images[:200], tf.data.Dataset.from_tensor_slices(images[200:])
        before = [self.compare(c) for c in objective.encoder(test)["code"].numpy().T]
        batches = train.repeat().batch(128, drop_remainder=True).take(400)
        objective.fit(batches, verbose=0, shuffle=False)
        after = [self.compare(c) for c in objective.encoder(test)["code"].numpy().T]
        assert max(before) < 1e-4
        assert min(after) > 0.01
        values = measure(objective, tf.constant(test))
        assert values["explained"] > 0.9
        assert abs(values["mmd"]) < 0.02
        assert objective.describe_collapse(values) == []

    def compare(self, coordinate) -> float:
        return stats.kstest(coordinate, "norm").pvalue


WELL = {
    "explained": 0.8, "accuracy/prior": 0.6, "accuracy/codes": 0.7, "code_spread": 0.9,
}  # fmt: skip


class TestCollapse:
    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({}, []),
            ({"accuracy/codes": 1.0}, []),
            (
                {"accuracy/prior": 0.99, "accuracy/codes": 1.0},
                ["the discriminator has won: it tells 99% of the draws from the prior"],
            ),
            (
                {"accuracy/prior": 0.01, "accuracy/codes": 0.0},
                ["the discriminator has lost"],
            ),
            ({"code_spread": 0.01}, ["the codes have collapsed: they vary 0.01"]),
            ({"code_spread": 3.9}, ["the codes do not match the prior: they vary 3.9"]),
            ({"explained": 0.0}, ["the decoder makes nearly the same image"]),
        ],
    )
    def test_it_is_told_in_words(self, given, words):
        told = build().describe_collapse({**WELL, **given})
        assert len(told) == len(words)
        assert all(text.startswith(w) for text, w in zip(told, words, strict=True))

    def test_codes_of_one_point_are_found_out(self, images):
        objective = build()
        dense = find_code(objective)
        dense.set_weights([np.zeros_like(dense.kernel), np.ones(CODE)])
        told = objective.describe_collapse(measure(objective, images))
        assert any(text.startswith("the codes have collapsed") for text in told)


def test_without_a_weight_of_the_prior_it_is_refused():
    with pytest.raises(ValueError, match="gamma must be above 0"):
        build(gamma=0.0)
    with pytest.raises(ConfigError, match="--objective=ae"):
        Config(objective="aae", gamma=0.0)


def test_presets_are_those_of_the_baseline():
    config = Config(objective="aae")
    assert (config.prior, config.gradient_penalty, config.gamma) == ("normal", 0.5, 1.0)
    objective = build_aae(build_encoder(), encoders.build_decoder("mlp", SHAPE, CODE))
    assert objective.prior.widths == (200, 200)
    assert objective.prior.gradient_penalty == 0.5
