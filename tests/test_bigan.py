"""BiGAN: the formulas of its losses, its discriminator, and what goes wrong in it."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from objective_rows import CODE, SHAPE, build_encoder

from tf_infomax import encoders
from tf_infomax.objectives.bigan import build_bigan
from tf_infomax.objectives.pixels import to_unit
from tf_infomax.objectives.priors import PRIORS

SEED = tf.constant([0, 3], tf.int64)


@pytest.fixture
def images(rng):
    coarse = rng.integers(0, 256, (16, 2, 2, 3), np.uint8)
    return tf.constant(coarse.repeat(4, axis=1).repeat(4, axis=2))


def build(**options):
    objective = build_bigan(
        build_encoder(),
        encoders.build_decoder("mlp", SHAPE, CODE),
        encoders.build_pair_discriminator("mlp", SHAPE, CODE),
        **options,
    )
    objective.compile(keras.optimizers.Adam(2e-3, beta_1=0.5))
    return objective


def measure(objective, images) -> dict[str, float]:
    return {name: float(v) for name, v in objective.measure(images).items()}


@pytest.mark.parametrize("prior", PRIORS)
def test_losses_are_the_formulas(images, prior):
    objective = build(prior=prior)
    encoder, generator, discriminator = (
        objective.networks[role] for role in ("encoder", "generator", "discriminator")
    )
    losses, values = objective.step_losses({"x": images}, SEED)
    code = PRIORS[prior].squash(encoder(images)["code"])
    z = PRIORS[prior].sample([16, CODE], SEED)
    samples = generator(z)["image"]
    pairs = [to_unit(images), code], [samples, z]
    encoded, generated = (discriminator(pair).numpy().astype("d") for pair in pairs)
    d_encoded, d_generated = (1 / (1 + np.exp(-u)) for u in (encoded, generated))
    judged = -np.log(d_encoded).mean() - np.log(1 - d_generated).mean()
    fooled = -np.log(1 - d_encoded).mean() - np.log(d_generated).mean()
    np.testing.assert_allclose(losses["discriminator"], judged, rtol=1e-4)
    np.testing.assert_allclose(losses["encoder"], fooled, rtol=1e-4)
    np.testing.assert_allclose(values["accuracy/encoded"], (d_encoded > 0.5).mean())
    np.testing.assert_allclose(values["accuracy/generated"], (d_generated < 0.5).mean())
    spread = np.var(samples, 0).mean() / np.var(to_unit(images), 0).mean()
    np.testing.assert_allclose(values["spread"], spread, rtol=1e-4)


def test_penalty_is_half_the_sum_over_both_kinds(images):
    """Pair by pair, on both inputs together."""
    plain, objective = build(), build(gradient_penalty=2.0)
    for role, network in plain.networks.items():
        objective.networks[role].set_weights(network.get_weights())
    batch = {"x": images}
    without = plain.step_losses(batch, SEED)[0]["discriminator"]
    added = objective.step_losses(batch, SEED)[0]["discriminator"] - without
    code = objective.encoder(images)["code"]
    z = PRIORS["normal"].sample([16, CODE], SEED)
    expected = 0.0
    samples = objective.networks["generator"](z)["image"]
    for kind in ((to_unit(images), code), (samples, z)):
        for pair in zip(*kind, strict=True):
            pair = [each[None] for each in pair]
            with tf.GradientTape() as tape:
                tape.watch(pair)
                logit = objective.networks["discriminator"](pair)
            gradients = tape.gradient(logit, pair)
            expected += sum(np.square(g).sum() for g in gradients) / 16 / 2
    np.testing.assert_allclose(added, 2.0 * expected, rtol=1e-3)


@pytest.mark.parametrize("penalty", [0.0, 1.5])
@pytest.mark.parametrize("bias", [0.0, 4.0, 80.0])
def test_one_way_back_has_the_gradients_of_two(images, penalty, bias):
    """Of each player's loss by itself, also where the discriminator is far too sure."""
    objective = build(gradient_penalty=penalty)
    logits = objective.networks["discriminator"].get_layer("logits")
    logits.set_weights([logits.get_weights()[0], np.array([bias], "f")])
    found, expected = {}, {}
    for lose, gradients in (
        (objective._lose_at_once, found),
        (objective._lose, expected),
    ):
        with tf.GradientTape(persistent=True) as tape:
            losses = objective._play({"x": images}, SEED, lose)[0]
            losses = {player: 2.0 * loss for player, loss in losses.items()}
        for player in objective.players:
            variables = objective.variables_of(player)
            gradients[player] = tape.gradient(losses[player], variables)
    for player, of_two in expected.items():
        largest = max(np.abs(each).max() for each in of_two)
        assert largest > 1e-3
        for one, two in zip(found[player], of_two, strict=True):
            np.testing.assert_allclose(one, two, atol=1e-5 * largest, rtol=1e-4)


def test_at_chance_the_losses_are_two_log_two(images):
    objective = build(gradient_penalty=1.0)
    end = objective.networks["discriminator"].get_layer("logits")
    end.set_weights([np.zeros_like(w) for w in end.get_weights()])
    losses = objective.step_losses({"x": images}, SEED)[0]
    for loss in losses.values():
        np.testing.assert_allclose(loss, 2 * math.log(2), rtol=1e-6)


@pytest.mark.parametrize("name", ["basic32x32", "mlp"])
def test_discriminator_of_pairs(name, rng):
    """A logit is of its own pair, and of both of its sides."""
    discriminator = encoders.build_pair_discriminator(name, (32, 32, 3), CODE)
    images = rng.uniform(size=(4, 32, 32, 3)).astype("f")
    codes = rng.normal(size=(4, CODE)).astype("f")
    logits = discriminator([images, codes], training=True)
    assert logits.shape == (4, 1)
    alone = discriminator([images[:1], codes[:1]], training=True)
    np.testing.assert_allclose(logits[:1], alone, rtol=1e-4, atol=1e-6)
    for turned in ([images[::-1], codes], [images, codes[::-1]]):
        assert np.abs(discriminator(turned) - logits).max() > 1e-4


def test_discriminator_of_basic32x32_has_the_tables_parameters():
    discriminator = encoders.build_pair_discriminator("basic32x32", (32, 32, 3), 64)
    convs = 16 * (3 * 64 + 64 * 128 + 128 * 256) + 64 + 128 + 256
    sides = 4096 * 256 + 256 + 64 * 256 + 256
    joint = 512 * 512 + 512 + 512 * 128 + 128 + 128 + 1
    assert discriminator.count_params() == convs + sides + joint


def test_encoder_and_generator_become_each_others_inverse(images):
    """What no loss asks for by itself (Donahue et al. 2017, theorem 2)."""
    objective = build(gradient_penalty=1.0)
    objective.compile(keras.optimizers.Adam(1e-3, beta_1=0.5))
    before = measure(objective, images)
    batches = tf.data.Dataset.from_tensors({"x": images[:4]}).repeat(400)
    for _ in range(4):  # the two sides go round the equilibrium, near and far
        objective.fit(batches, verbose=0, shuffle=False)
        after = measure(objective, images[:4])
        if after["explained"] > before["explained"] + 0.4:
            break
    assert after["explained"] > before["explained"] + 0.4
    assert objective.merit(after) > objective.merit(before)


def test_images_and_samples_are_bytes(images):
    objective = build(prior="uniform")
    back = objective.reconstruct(images)
    one, again, other = (objective.sample(5, seed) for seed in (1, 1, 2))
    assert back.dtype == one.dtype == np.uint8
    assert back.shape == images.shape
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    code = tf.sigmoid(objective.encoder(images)["code"])
    expected = 255 * objective.networks["generator"](code)["image"].numpy()
    assert np.abs(back - expected).max() <= 0.5 + 1e-3


WELL = {"accuracy/encoded": 0.8, "accuracy/generated": 0.75, "spread": 0.9}


class TestCollapse:
    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({}, []),
            ({"accuracy/encoded": 1.0}, []),
            (
                {"accuracy/encoded": 1.0, "accuracy/generated": 0.99},
                ["the discriminator has won: it tells 100% of the encoded and 99%"],
            ),
            (
                {"accuracy/encoded": 0.0, "accuracy/generated": 0.01},
                ["the discriminator has lost"],
            ),
            ({"spread": 0.01}, ["the generator has collapsed: its samples vary 0.01"]),
        ],
    )
    def test_who_is_winning_is_told(self, given, words):
        told = build().describe_collapse({**WELL, **given})
        assert len(told) == len(words)
        assert all(text.startswith(w) for text, w in zip(told, words, strict=True))

    def test_a_generator_of_one_image_is_found_out(self, images):
        objective = build()
        pixels = objective.networks["generator"].get_layer("pixels")
        pixels.kernel.assign(tf.zeros_like(pixels.kernel))
        told = objective.describe_collapse(measure(objective, images))
        assert any("collapsed" in text for text in told)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"prior": "cauchy"}, "uniform, normal"),
        ({"gradient_penalty": -1}, "at least 0"),
    ],
)
def test_options_out_of_range_are_refused(given, word):
    with pytest.raises(ValueError, match=word):
        build(**given)


def test_a_generator_of_other_images_is_refused():
    generator = encoders.build_decoder("mlp", (4, 8, 3), CODE)
    discriminator = encoders.build_pair_discriminator("mlp", SHAPE, CODE)
    with pytest.raises(ValueError, match=r"to image \[8, 8, 3\]"):
        build_bigan(build_encoder(), generator, discriminator)
