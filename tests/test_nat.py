"""Noise as targets: the assignment, the targets' bookkeeping, and what it reports."""

import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.trainers.trainer import model_supports_jit
from objective_rows import CODE, SHAPE, build_encoder
from scipy.stats import kstest

from tf_infomax.objectives import build as build_row
from tf_infomax.objectives.nat import Targets, assign, build_nat
from tf_infomax.objectives.priors import PRIORS
from tf_infomax.options import Config, ConfigError

IMAGES, N = 16, 8


@pytest.fixture
def images(rng):
    coarse = rng.integers(0, 256, (IMAGES, 2, 2, 3), np.uint8)
    return tf.constant(coarse.repeat(4, axis=1).repeat(4, axis=2))


def build(**options):
    objective = build_nat(build_encoder(), IMAGES, **options)
    objective.compile(keras.optimizers.Adam(1e-2))
    return objective


def make_batch(images, index) -> dict[str, tf.Tensor]:
    return {"x": tf.gather(images, index), "index": tf.constant(index, tf.int64)}


def points_of(objective) -> np.ndarray:
    return objective.networks["targets"].points.numpy()


def directions(objective, images) -> np.ndarray:
    codes = objective.networks["encoder"](images, training=False)["code"].numpy()
    return codes / np.linalg.norm(codes, axis=1, keepdims=True)


def find_code(objective) -> keras.layers.Dense:
    """The layer that gives the code."""
    return next(e for e in objective.encoder.layers if e.output.shape == (None, CODE))


def find_least_error(codes, points) -> float:
    """The least mean |z - t|^2 of all orders of the points."""
    orders = itertools.permutations(range(len(points)))
    errors = [np.square(codes - points[list(o)]).sum(1).mean() for o in orders]
    return min(errors)


class TestAssign:
    @pytest.mark.parametrize("width", [1, 3])
    def test_no_permutation_has_a_smaller_error(self, rng, width):
        """Of vectors of any lengths."""
        codes, points = rng.normal(size=(2, 6, width)).astype("f")
        order = tf.function(assign)(codes, points).numpy()
        assert sorted(order) == list(range(6))
        found = np.square(codes - points[order]).sum(1).mean()
        assert found == pytest.approx(find_least_error(codes, points), rel=1e-5)

    def test_codes_that_are_not_finite_end_no_step(self):
        """The loss says what is wrong."""
        codes = tf.constant([[1.0], [math.nan], [0.0]])
        np.testing.assert_array_equal(assign(codes, tf.zeros((3, 1))), [0, 1, 2])


class TestTargets:
    def test_they_are_uniform_on_the_sphere_and_follow_the_seed(self):
        """Of a uniform direction in 3 dimensions each coordinate is uniform."""
        points = Targets(500, 3, seed=1).points.numpy()
        np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1.0, rtol=1e-5)
        for coordinate in points.T:
            assert kstest(coordinate, "uniform", (-1, 2)).pvalue > 0.01
        np.testing.assert_array_equal(points, Targets(500, 3, seed=1).points.numpy())
        assert (points != Targets(500, 3, seed=2).points.numpy()).any()

    def test_none_is_lost_or_doubled_and_others_keep_theirs(self, images, rng):
        objective = build()
        start = points_of(objective)
        for _ in range(5):
            before, index = points_of(objective), rng.permutation(IMAGES)[:N]
            logs = objective.train_step(make_batch(images, index))
            after = points_of(objective)
            others = np.setdiff1d(np.arange(IMAGES), index)
            np.testing.assert_array_equal(after[others], before[others])
            assert 0.0 < float(logs["moved"]) <= 1.0
        assert (after != start).any()
        rows = [sorted(map(tuple, points)) for points in (start, after)]
        assert rows[0] == rows[1]

    def test_exchanged_they_are_the_best_of_the_batch_by_image(self, rng):
        targets = Targets(9, 3)
        codes = rng.normal(size=(6, 3)).astype("f")
        index = np.array([7, 0, 3, 8, 1, 4])
        before = targets.points.numpy()[index]
        points, moved = targets.exchange(codes, tf.constant(index), True)
        np.testing.assert_array_equal(targets.points.numpy()[index], points)
        error = np.square(codes - points).sum(1).mean()
        assert error == pytest.approx(find_least_error(codes, before), rel=1e-5)
        other = (points.numpy() != before).any(axis=1)
        np.testing.assert_array_equal(moved, other)

    def test_an_image_that_a_batch_has_twice_is_refused(self, images):
        with pytest.raises(tf.errors.InvalidArgumentError, match="each image once"):
            build().train_step(make_batch(images, [0, 1, 2, 1]))


def test_the_loss_is_half_the_squared_error_and_its_gradient_leads_to_the_targets(
    images,
):
    """By y of 1/2 |y / |y| - t|^2 it is -(t - (t.z) z) / |y|, by a bias their mean."""
    objective = build()
    batch = make_batch(images, np.arange(N)[::-1])
    with tf.GradientTape() as tape:
        losses, values = objective.step_losses(batch, tf.constant([0, 0], tf.int64))
    found = tape.gradient(losses["encoder"], find_code(objective).bias.value)
    points = points_of(objective)[batch["index"].numpy()]
    z = directions(objective, batch["x"])
    error = np.square(z - points).sum(1).mean()
    assert float(values["squared_error"]) == pytest.approx(error, rel=1e-5)
    assert float(losses["encoder"]) == pytest.approx(error / 2, rel=1e-5)
    lengths = np.linalg.norm(objective.encoder(batch["x"])["code"], axis=1)
    along = (points * z).sum(1)
    expected = -(points - along[:, None] * z) / lengths[:, None]
    np.testing.assert_allclose(found, expected.mean(0), rtol=1e-4, atol=1e-6)


def test_a_test_is_of_fresh_targets_beside_uniform_directions(images):
    """At the order of the least error, whatever the training images have.

    Another batch has others, or the spread over batches would leave out theirs.
    """
    objective = build()
    found = objective.measure(images[:6])
    fresh = float(found["squared_error/fresh"])
    assert float(found["loss"]) == pytest.approx(fresh / 2)
    seed, total = tf.constant([0, -1], tf.int64), np.sum(images[:6], dtype=np.int64)
    seed = tf.random.fold_in(seed, total, alg="philox")
    points, others = (
        PRIORS["sphere"].sample([6, CODE], each).numpy()
        for each in (seed, tf.random.fold_in(seed, 1, alg="philox"))
    )
    codes = directions(objective, images[:6])
    assert fresh == pytest.approx(find_least_error(codes, points), rel=1e-4)
    uniform = find_least_error(others, points)
    assert float(found["squared_error/uniform"]) == pytest.approx(uniform, rel=1e-4)
    errors = np.square(codes[:, None] - points).sum(-1)
    unassigned = float(found["squared_error/unassigned"])
    assert unassigned == pytest.approx(errors.mean(), rel=1e-4)
    again = objective.measure(images[6:12])
    assert abs(float(again["squared_error/uniform"]) - uniform) > 1e-3


def test_targets_are_exchanged_in_every_third_pass_alone(rng):
    """A pass of 16 images are two batches of 8. New images have other codes."""
    objective = build(assign_every=3)
    changed = []
    for _ in range(14):
        before = points_of(objective)
        images = tf.constant(rng.integers(0, 256, (IMAGES, *SHAPE), np.uint8))
        objective.train_step(make_batch(images, rng.permutation(IMAGES)[:N]))
        changed.append((points_of(objective) != before).any())
    assert changed == [True] * 2 + [False] * 4 + [True] * 2 + [False] * 4 + [True] * 2


def test_images_end_at_their_targets_and_spread(images):
    objective = build()
    batch = tf.data.Dataset.from_tensors(make_batch(images, np.arange(IMAGES)))
    first = {k: float(v) for k, v in objective.measure(images).items()}
    history = objective.fit(batch.repeat(20), epochs=6, verbose=0, shuffle=False)
    errors = history.history["squared_error"]
    assert errors[-1] < 0.1 < 0.4 < errors[0]
    assert history.history["moved"][-1] < history.history["moved"][0]
    last = {k: float(v) for k, v in objective.measure(images).items()}
    key = "squared_error/fresh"
    assert last[key] < first[key]
    assert last[key] == pytest.approx(last["squared_error/uniform"], abs=0.2)
    assert objective.describe_collapse(last) == []


def test_codes_of_one_direction_are_told(images):
    objective = build()
    dense = find_code(objective)
    dense.set_weights([np.zeros_like(dense.kernel), np.arange(1.0, CODE + 1)])
    values = {k: float(v) for k, v in objective.measure(images).items()}
    (told,) = objective.describe_collapse(values)
    assert told.startswith("the codes have collapsed")


class TestRefused:
    def test_xla(self):
        """In a run by a line, in a notebook by Keras, which goes on without it."""
        with pytest.raises(ConfigError, match=r"--jit_compile .* --objective=nat"):
            Config(objective="nat", jit_compile=True)
        assert not model_supports_jit(build())

    def test_options_out_of_range(self):
        with pytest.raises(ConfigError, match="--assign_every must be at least 1"):
            Config(objective="nat", assign_every=0)
        with pytest.raises(ValueError, match="assign_every must be at least 1"):
            build(assign_every=0)

    def test_targets_of_nothing(self):
        with pytest.raises(ValueError, match="how many are trained on"):
            build_row("nat", build_encoder())

    def test_a_batch_that_does_not_say_which_images_it_has(self, images):
        with pytest.raises(ValueError, match="the batch lacks index"):
            build().train_step(images)
