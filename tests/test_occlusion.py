"""Occlusion in Deep InfoMax (Hjelm et al. 2019, section 4.3 and appendix A.7)."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from objective_rows import SHAPE, build_encoder

from tf_infomax import encoders
from tf_infomax.encoders import CONVNETS, find_receptive_field
from tf_infomax.evaluation.values import assess_values
from tf_infomax.objectives import InfoMax, infomax
from tf_infomax.objectives import build as build_row
from tf_infomax.objectives.occlusion import choose_block, occlude
from tf_infomax.options import Config, ConfigError
from tf_infomax.reporting import report

SEED = tf.constant([3, 4], tf.int64)


def hide(n, sides, block, seed=SEED) -> np.ndarray:
    """What is hidden of black images, `[N, H, W]`."""
    images = tf.zeros([n, *sides, 1], tf.uint8)
    occluded = occlude(images, block, seed).numpy()[..., 0]
    assert set(np.unique(occluded)) <= {0, 128}
    return occluded == 128


def has_block(pixels: np.ndarray, block) -> np.ndarray:
    """Whether some block of `[N, H, W]` has all of these pixels, `[N]`."""
    windows = np.lib.stride_tricks.sliding_window_view(pixels, block, axis=(1, 2))
    return windows.all(axis=(3, 4)).any(axis=(1, 2))


@pytest.mark.parametrize(
    ("sides", "block"),
    [
        ((32, 32), (10, 10)),
        ((28, 28), (13, 13)),
        ((14, 28), (10, 10)),
        ((9, 4), (2, 3)),
    ],
)
def test_one_block_is_hidden_and_one_is_visible(sides, block):
    hidden = hide(1000, sides, block)
    assert has_block(hidden, block).all()
    assert has_block(~hidden, block).all()
    rows, columns = hidden.any(axis=2), hidden.any(axis=1)
    np.testing.assert_array_equal(hidden, rows[:, :, None] & columns[:, None])
    assert all((np.diff(rows.astype(int), axis=1) == 1).sum(axis=1) <= 1)
    assert all((np.diff(columns.astype(int), axis=1) == 1).sum(axis=1) <= 1)
    assert len(np.unique(hidden, axis=0)) > 60


@pytest.mark.parametrize(("sides", "block"), [((5, 4), (2, 2)), ((3, 6), (2, 2))])
def test_all_rectangles_that_are_allowed_are_as_likely(sides, block):
    """Counted one by one."""
    allowed = []
    corners = itertools.product(
        *(itertools.combinations(range(s + 1), 2) for s in sides)
    )
    for (top, bottom), (left, right) in corners:
        mask = np.zeros((1, *sides), bool)
        mask[0, top:bottom, left:right] = True
        if has_block(mask, block).all() and has_block(~mask, block).all():
            allowed.append(mask[0])
    n = 400 * len(allowed)
    drawn, counts = np.unique(hide(n, sides, block), axis=0, return_counts=True)
    assert {m.tobytes() for m in drawn} == {m.tobytes() for m in allowed}
    assert np.abs(counts - 400).max() < 5 * np.sqrt(400)


def test_draws_follow_the_seed():
    one, again = (hide(50, (32, 32), (10, 10)) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    other = hide(50, (32, 32), (10, 10), tf.constant([3, 5], tf.int64))
    assert (one != other).any(axis=(1, 2)).mean() > 0.9
    black = tf.zeros([50, 9, 9, 1], tf.uint8)
    draw = lambda: occlude(black, (3, 3), SEED)
    graph, xla = (tf.function(draw, jit_compile=jit)() for jit in (False, True))
    np.testing.assert_array_equal(graph, xla)


def test_what_is_visible_stays_as_it_was(images):
    occluded = occlude(tf.constant(images), (10, 10), SEED).numpy()
    hidden = hide(len(images), (32, 32), (10, 10))
    np.testing.assert_array_equal(occluded[~hidden], images[~hidden])
    assert (occluded[hidden] == 128).all()


def seed_of(view: str, seed: tf.Tensor) -> tf.Tensor:
    """Of what is hidden in one of the views x and y in a step."""
    place = infomax._OF_OCCLUSION + ("x", "y").index(view)
    return tf.random.fold_in(seed, place, alg="philox")


def build_objective(**options) -> InfoMax:
    keras.utils.set_random_seed(0)
    return build_row(
        "dim_local_global", build_encoder(), views="augment", augment=("flip",),
        critic_units=8, **options,
    )  # fmt: skip


@pytest.fixture
def batch(rng):
    draw = lambda: tf.constant(rng.integers(0, 256, (6, *SHAPE), np.uint8))
    return {"x": draw(), "y": draw()}


def test_codes_alone_are_of_occluded_images_and_in_training_alone(batch):
    objective = build_objective(occlude=True)
    encoder, block = objective.networks["encoder"], objective.occlude
    whole, found = objective._encode(batch), objective._encode(batch, SEED)
    codes = []
    for view, images in batch.items():
        for name in ("local", "fc"):
            np.testing.assert_allclose(
                found[view][name], encoder(images)[name], rtol=1e-5, atol=1e-6
            )
        codes.append(found[view]["code"].numpy())
        distance = np.abs(codes[-1] - whole[view]["code"]).max(axis=1)
        assert distance.min() > 1e-3
    # Views have rectangles of their own, and every step others.
    same = objective._encode({"x": batch["x"], "y": batch["x"]}, SEED)
    assert np.abs(same["x"]["code"] - same["y"]["code"]).max() > 1e-3
    later = objective._encode(batch, SEED + 1)
    assert np.abs(later["x"]["code"] - codes[0]).max() > 1e-3
    for view, code in zip(batch, codes, strict=True):
        occluded = occlude(batch[view], block, seed_of(view, SEED))
        np.testing.assert_allclose(
            encoder(occluded)["code"], code, rtol=1e-4, atol=1e-5
        )


def test_coordinates_are_told_from_whole_local_features_and_occluded_codes(batch):
    objective = build_objective(occlude=True, coordinates="absolute")
    encoder, (task,) = objective.networks["encoder"], objective.tasks
    for weight in task.trainable_variables:  # so that the code has a say
        weight.assign(10.0 * weight)
    _, values = objective.step_losses(batch, SEED)
    sides = {}
    for view, images in batch.items():
        occluded = occlude(images, objective.occlude, seed_of(view, SEED))
        sides[f"{view}.local"] = encoder(images)["local"]
        sides[f"{view}.code"] = encoder(occluded)["code"]
    expected, _ = task(sides, SEED)
    found = values["coordinates_absolute/cross_entropy"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    whole = objective.measure(batch)["coordinates_absolute/cross_entropy"]
    assert abs(whole - expected) > 1e-4


def test_tests_see_whole_images_and_say_so(batch, capsys):
    plain, occluded = build_objective(), build_objective(occlude=True)
    assert plain.measure(batch) == occluded.measure(batch)
    results = dict(assess_values(occluded, [batch], 6))
    report.print_results(results, "")
    lines = [line for line in capsys.readouterr().out.splitlines() if "mi/" in line]
    assert lines
    for line in lines:
        assert "; codes of whole images (trained with occluded ones)" in line
    report.print_results(dict(assess_values(plain, [batch], 6)), "")
    assert "whole images" not in capsys.readouterr().out


def test_batch_norm_sees_whole_and_occluded_images_together():
    """Of black images of which a share is grey its mean is that of both halves."""
    pixels = keras.Input((4, 4, 1), dtype="uint8")
    scaled = keras.layers.Rescaling(1.0)(pixels)
    norm = keras.layers.BatchNormalization(momentum=0.0)
    local = norm(scaled)
    features = {"local": local, "code": keras.layers.Flatten()(local)}
    encoder = keras.Model(pixels, features)
    objective = build_row("dim_local", encoder, critic_units=4, occlude=True)
    objective.compile("sgd")
    assert objective.occlude == (1, 1)
    objective.train_step({"x": tf.zeros((5, 4, 4, 1), tf.uint8)})
    seed = seed_of("x", tf.constant([0, 0], tf.int64))
    grey = hide(5, (4, 4), (1, 1), seed).mean()
    np.testing.assert_allclose(norm.moving_mean, [128 * grey / 2], rtol=1e-5)


@pytest.mark.parametrize("name", CONVNETS)
def test_the_receptive_field_is_that_of_the_layers(name):
    table, field, jump = CONVNETS[name], 1, 1
    for conv in table.convs[: table.local + 1]:
        field += (conv.kernel - 1) * jump
        jump *= conv.stride
    encoder = encoders.ENCODERS[name]((table.size, table.size, 3), 8)
    assert find_receptive_field(encoder) == (field, field)
    assert choose_block(encoder) == (field, field)
    assert name != "basic32x32" or field == 10  # as the paper has it


def build_model(*layers) -> keras.Model:
    images = keras.Input((12, 20, 1), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(images)
    for layer in layers:
        x = layer(x)
    return keras.Model(images, {"local": x, "code": keras.layers.Flatten()(x)})


def test_the_receptive_field_of_any_network():
    wide = keras.layers.Conv2D(3, (1, 5), padding="same")
    pooled = build_model(wide, keras.layers.MaxPooling2D((3, 2)))
    assert find_receptive_field(pooled) == choose_block(pooled) == (3, 6)
    all_of_it = build_model(wide, keras.layers.GroupNormalization(groups=1))
    assert find_receptive_field(all_of_it) == (12, 20)
    assert choose_block(all_of_it) == (3, 5)


def test_what_cannot_be_hidden_and_shown_is_refused():
    term = build_row("dim_local", build_encoder(), critic_units=8).terms[0]
    with pytest.raises(ConfigError, match=r"5 x 6, and uint8 \[8, 8, 3\] of view x"):
        InfoMax(build_encoder(), term, occlude=(5, 6))
    with pytest.raises(ConfigError, match=r"--occlude=True .*--objective=dim_local"):
        Config(objective="vae", occlude=True)
