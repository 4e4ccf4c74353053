"""Autoencoders against closed forms: densities, divergences, probabilistic PCA."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from objective_rows import CODE, SHAPE, build_encoder
from scipy import integrate, stats

from tf_infomax import encoders
from tf_infomax.objectives.autoencoder import (
    LIKELIHOODS,
    build_autoencoder,
    build_vae,
    kl_to_standard_normal,
)
from tf_infomax.objectives.pixels import explain


@pytest.fixture
def images(rng):
    """Smooth ones, so that there is something to learn."""
    coarse = rng.integers(0, 256, (16, 2, 2, 3), np.uint8)
    return tf.constant(coarse.repeat(4, axis=1).repeat(4, axis=2))


def build(kind=build_vae, **options):
    decoder = encoders.build_decoder("mlp", SHAPE, CODE)
    objective = kind(build_encoder(), decoder, **options)
    objective.compile(keras.optimizers.Adam(1e-2))
    return objective


def fit(objective, images, steps=150):
    batches = tf.data.Dataset.from_tensors({"x": images}).repeat(steps)
    return objective.fit(batches, verbose=0, shuffle=False)


class TestLikelihoods:
    @pytest.fixture
    def decoded(self, rng):
        logits = rng.normal(size=(3, 4, 5, 2)).astype("f")
        return {"logits": logits, "image": tf.sigmoid(logits)}

    @pytest.mark.parametrize("deviation", [0.1, 8**-0.5, 1.0])
    def test_gaussian(self, rng, decoded, deviation):
        images = rng.uniform(size=(3, 4, 5, 2)).astype("f")
        density = stats.norm(decoded["image"], deviation).logpdf(images)
        found = LIKELIHOODS["gaussian"](images, decoded, deviation)
        np.testing.assert_allclose(found, -density.sum((1, 2, 3)), rtol=1e-5)

    def test_bernoulli(self, rng, decoded):
        images = rng.integers(0, 2, (3, 4, 5, 2)).astype("f")
        mass = stats.bernoulli(decoded["image"]).logpmf(images)
        found = LIKELIHOODS["bernoulli"](images, decoded, 1.0)
        np.testing.assert_allclose(found, -mass.sum((1, 2, 3)), rtol=1e-5)

    def test_of_large_logits_it_is_finite(self):
        decoded = {"logits": tf.constant([[[[1e4, -1e4]]]])}
        found = LIKELIHOODS["bernoulli"](tf.zeros((1, 1, 1, 2)), decoded, 1.0)
        np.testing.assert_allclose(found, [1e4])

    def test_the_default_is_the_squared_error_between_minus_one_and_one(self, images):
        objective = build(build_autoencoder)
        decoder, code = objective.networks["decoder"], objective.encoder(images)["code"]
        off = (2 * decoder(code)["image"] - 1) - (images.numpy() / 127.5 - 1)
        errors = np.square(off).sum((1, 2, 3)).mean()
        constant = 8 * 8 * 3 / 2 * math.log(math.pi / 4)
        found = float(objective.measure(images)["reconstruction"])
        assert found == pytest.approx(errors + constant, rel=1e-5)


@pytest.mark.parametrize(("mean", "deviation"), [(0, 1), (1.5, 0.3), (-0.2, 2)])
def test_kl_is_the_integral(mean, deviation):
    q, p = stats.norm(mean, deviation), stats.norm()
    integrand = lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z))
    expected = integrate.quad(integrand, *q.interval(1 - 1e-12))[0]
    log_variance = 2 * math.log(deviation)
    found = kl_to_standard_normal(
        tf.constant([[mean, mean]], tf.float32), tf.fill([1, 2], log_variance)
    )
    np.testing.assert_allclose(found, [2 * expected], atol=1e-5)


def test_explained_is_the_share_of_variance(rng):
    """As scikit-learn's r2_score, weighted by variance."""
    from sklearn.metrics import r2_score

    images, others = rng.uniform(size=(2, 6, 2, 2, 3)).astype("f")
    flat = images.reshape(6, -1), others.reshape(6, -1)
    expected = r2_score(*flat, multioutput="variance_weighted")
    np.testing.assert_allclose(explain(images, others), expected, rtol=1e-4)
    np.testing.assert_allclose(explain(images, images), 1.0)
    mean = np.broadcast_to(images.mean(0), images.shape)
    np.testing.assert_allclose(explain(images, mean), 0.0, atol=1e-6)
    assert float(explain(images[:1], others[:1])) == 0.0


class TestProbabilisticPCA:
    """x ~ N(b, W W^T + s^2 I): a VAE with linear networks, known in closed form.

    Source: Tipping & Bishop 1999; Lucas et al. 2019.
    """

    shape, units, deviation = (2, 2, 1), 2, 0.25

    def build(self):
        images = keras.Input(self.shape, dtype="uint8")
        flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
        code = keras.layers.Dense(self.units, name="code")(flat)
        encoder = keras.Model(images, {"code": code})
        z = keras.Input((self.units,))
        pixels = keras.layers.Dense(4, name="pixels")(z)
        decoder = keras.Model(z, {"image": keras.layers.Reshape(self.shape)(pixels)})
        return build_vae(encoder, decoder, deviation=self.deviation)

    @pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.4, 1.0), (0.0, 2.0)])
    def test_elbo_falls_short_by_the_divergence_of_the_posterior(
        self, rng, shift, scale
    ):
        """log p(x) - ELBO = KL(q(z | x) || p(z | x)), 0 where q is the posterior."""
        n, variance = 8192, self.deviation**2
        w = np.linalg.qr(rng.normal(size=(4, 2)))[0] * [0.6, 0.3]
        b, inner = rng.uniform(size=4), 1 / (np.array([0.36, 0.09]) + variance)
        spread = variance * inner * scale**2
        objective = self.build()
        to_code = w * inner
        objective.encoder.get_layer("code").set_weights([to_code, shift - b @ to_code])
        log_variance = np.log(spread).astype("f")
        objective.networks["log_variance"].set_weights([np.zeros((2, 2)), log_variance])
        objective.networks["decoder"].get_layer("pixels").set_weights([w.T, b])
        objective.compile("sgd")
        images = rng.integers(0, 256, (n, *self.shape), np.uint8)
        found = objective.measure(tf.constant(images))

        flat = images.reshape(n, -1) / 255
        covariance = w @ w.T + variance * np.eye(4)
        log_p = stats.multivariate_normal(b, covariance).logpdf(flat).mean()
        posterior = variance * inner
        gap = 0.5 * np.sum(
            (spread + shift**2) / posterior - 1 - np.log(spread / posterior)
        )
        # Of the drawn z the ELBO has the quadratic form |r - W e|^2 / (2 s^2).
        r = flat - b - (flat - b) @ to_code @ w.T - shift * w.sum(1)
        form = (w.T @ w) * np.sqrt(np.outer(spread, spread)) / (2 * variance)
        linear = (r @ w) * np.sqrt(spread) / variance
        noise = 2 * np.sum(form**2) + np.square(linear).sum(1).mean()
        error = abs(float(found["elbo"]) - (log_p - gap))
        assert error < 4 * math.sqrt(noise / n) + 1e-3

    def test_trained_it_reaches_the_optimum(self, rng):
        """The likelihood of the leading eigenvectors, and not more."""
        variance = self.deviation**2
        factors = rng.normal(size=(512, 2)) * [0.5, 0.35]
        x = 0.5 + factors @ np.linalg.qr(rng.normal(size=(4, 2)))[0].T
        x += 0.02 * rng.normal(size=x.shape)
        images = np.clip(np.round(255 * x), 0, 255).astype(np.uint8)
        flat = images / 255
        values, vectors = np.linalg.eigh(np.cov(flat.T, bias=True))
        kept = np.maximum(values - variance, 0) * (np.arange(4) >= 2)
        covariance = (vectors * kept) @ vectors.T + variance * np.eye(4)
        best = stats.multivariate_normal(flat.mean(0), covariance).logpdf(flat).mean()

        objective = self.build()
        objective.compile(keras.optimizers.Adam(1e-2))
        batch = {"x": tf.constant(images.reshape(-1, *self.shape))}
        fit(objective, batch["x"], 600)
        draws = []
        for seed in range(20):
            objective.seed = seed
            draws.append(float(objective.measure(batch)["elbo"]))
        assert best - 0.05 < np.mean(draws) < best + 4 * np.std(draws) / math.sqrt(20)


def test_loss_weighs_the_divergence(images):
    found = build(kl_weight=4.0).measure(images)
    expected = found["reconstruction"] + 4.0 * found["kl"]
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-6)
    elbo = -found["reconstruction"] - found["kl"]
    np.testing.assert_allclose(found["elbo"], elbo, rtol=1e-6)


def test_draws_follow_seed_and_step(images):
    objective = build()
    seeds = [[0, 0], [0, 0], [0, 1], [1, 0]]
    losses = [
        float(
            objective.step_losses({"x": images}, tf.constant(s, tf.int64))[0]["encoder"]
        )
        for s in seeds
    ]
    assert losses[0] == losses[1]
    assert len(set(losses)) == 3


@pytest.mark.parametrize("kind", [build_autoencoder, build_vae])
def test_trained_images_come_back(images, kind):
    objective = build(kind, deviation=0.1)
    fit(objective, images)
    found = objective.reconstruct(images)
    assert found.dtype == np.uint8
    assert found.shape == images.shape
    wanted = images.numpy().astype(float)
    spread = np.square(wanted - wanted.mean(0)).mean()
    assert np.square(found - wanted).mean() < 0.2 * spread
    values = {k: float(v) for k, v in objective.measure(images).items()}
    assert values["explained"] > 0.8
    assert objective.describe_collapse(values) == []
    assert hasattr(objective, "sample") == (kind is build_vae)


def test_samples_are_images_of_their_seed():
    objective = build()
    one, again, other = (objective.sample(5, seed) for seed in (1, 1, 2))
    assert one.dtype == np.uint8
    assert one.shape == (5, *SHAPE)
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert (one[0] != one[1]).any()


def test_a_code_that_says_nothing_is_told(images):
    """The weight of the divergence is so large that the posterior is the prior."""
    objective = build(kl_weight=1e3)
    objective.compile(keras.optimizers.Adam(1e-2))
    fit(objective, images, 200)
    values = {k: float(v) for k, v in objective.measure(images).items()}
    decoder, posterior = objective.describe_collapse(values)
    assert decoder.startswith("the decoder makes nearly the same image")
    assert posterior.startswith("posterior collapse: the codes hardly depend")
    assert "0 of 6 units active" in posterior


def test_few_active_units_are_told():
    values = {"explained": 0.9, "kl": 5.0, "active_units": 3.0}
    objective = build()
    objective.units = 64
    assert objective.describe_collapse(values) == [
        "only 3 of 64 units of the code are active; the others are noise of the prior."
    ]


def test_active_units_are_those_whose_mean_varies(images):
    """By the width of the code's weights: a variance on either side of 0.01."""
    objective = build()
    code = next(e for e in objective.encoder.layers if e.output.shape == (None, CODE))
    for factor in (1e-3, 1.0, 1e3):
        code.kernel.assign(code.kernel * factor)
        means = objective.encoder(images)["code"].numpy()
        expected = np.sum(means.var(axis=0) > 0.01)
        objective.compile("sgd")
        assert float(objective.measure(images)["active_units"]) == expected
        code.kernel.assign(code.kernel / factor)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"likelihood": "normal"}, "gaussian, bernoulli"),
        ({"deviation": 0.0}, "above 0"),
        ({"kl_weight": -1.0}, "at least 0"),
    ],
)
def test_options_out_of_range_are_refused(given, word):
    with pytest.raises(ValueError, match=word):
        build(**given)


@pytest.mark.parametrize(
    ("shape", "code", "words"),
    [
        ((4, 8, 3), CODE, r"to image \[8, 8, 3\].*Received: .* image \[4, 8, 3\]"),
        (SHAPE, 5, r"from codes \[6\].*Received: from \[5\]"),
    ],
)
def test_a_decoder_of_other_codes_or_images_is_refused(shape, code, words):
    decoder = encoders.build_decoder("mlp", shape, code)
    with pytest.raises(ValueError, match=words):
        build_autoencoder(build_encoder(), decoder)


def test_a_likelihood_of_logits_needs_them():
    decoder = encoders.build_decoder("mlp", SHAPE, CODE)
    image = keras.Model(decoder.input, {"image": decoder.output["image"]})
    build_autoencoder(build_encoder(), image)
    with pytest.raises(ValueError, match="to image and logits"):
        build_autoencoder(build_encoder(), image, likelihood="bernoulli")
