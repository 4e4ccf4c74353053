"""Distances between samples: double loops, assignments, laws that are known."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import linear_sum_assignment

from tf_infomax.runtime.vectors import mmd, sliced_wasserstein


def kernel(a, b, scale: float) -> float:
    """Inverse multiquadratics of seven scales."""
    square = np.sum((a - b) ** 2)
    scales = np.array([0.1, 0.2, 0.5, 1, 2, 5, 10]) * scale
    return np.mean(scales / (scales + square))


def compute(function, *given, **options) -> float:
    given = (tf.constant(each, tf.float32) for each in given)
    return float(function(*given, **options))


class TestMMD:
    def test_it_is_the_double_loop_without_pairs_of_a_point_with_itself(self, rng):
        x, y = rng.normal(size=(5, 3)), 1.0 + 2.0 * rng.normal(size=(7, 3))
        mean = lambda a, b, skip: np.mean(
            [
                kernel(p, q, 1.5)
                for i, p in enumerate(a)
                for j, q in enumerate(b)
                if not (skip and i == j)
            ]
        )
        expected = mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)
        assert compute(mmd, x, y, scale=1.5) == pytest.approx(expected, abs=1e-5)

    @pytest.mark.parametrize("shift", [0.0, 1.0])
    def test_of_equal_laws_alone_it_is_zero_in_expectation(self, rng, shift):
        """Small samples, in which a point with itself would add much."""
        draws = rng.normal(size=(2, 1000, 4, 2))
        draws[1] += shift

        @tf.function
        def compute_all(x, y):
            return tf.map_fn(lambda xy: mmd(*xy, 4.0), (x, y), tf.float64)

        found = compute_all(*draws).numpy()
        error = np.std(found) / np.sqrt(len(found))
        assert error < 0.01
        assert min(found) < 0
        differs = np.mean(found) / error
        assert differs > 10 if shift else abs(differs) < 4

    def test_far_points_and_equal_ones_are_its_ends(self):
        x = np.zeros((3, 2))
        assert compute(mmd, x, x, scale=1.0) == pytest.approx(0.0, abs=1e-6)
        assert compute(mmd, x, x + 1e6, scale=1.0) == pytest.approx(2.0, abs=1e-4)


class TestSlicedWasserstein:
    def test_along_one_direction_it_is_the_best_assignment(self, rng):
        x, y = rng.normal(size=(6, 3)), rng.exponential(size=(6, 3))
        direction = np.array([[0.6, 0.0, -0.8]])
        costs = np.square((x @ direction.T) - (y @ direction.T).T)
        expected = costs[linear_sum_assignment(costs)].mean()
        found = compute(sliced_wasserstein, x, y, direction)
        assert found == pytest.approx(expected, rel=1e-5)

    def test_of_gaussians_on_the_line_it_is_the_square_of_the_shift(self, rng):
        """W_2^2(N(0, 1), N(m, 1)) = m^2; from n draws up to 2 m N(0, 2 / n)."""
        n, shift = 4000, 1.5
        x, y = rng.normal(size=(2, n, 1))
        found = compute(sliced_wasserstein, x, y + shift, [[-1.0]])
        assert found == pytest.approx(shift**2, abs=4 * 2 * shift * np.sqrt(2 / n))

    def test_a_shift_counts_by_its_part_along_each_direction(self, rng):
        x, shift = rng.normal(size=(50, 4)), np.array([1.0, -2.0, 0.5, 0.0])
        directions = rng.normal(size=(9, 4))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        found = compute(sliced_wasserstein, x, x + shift, directions)
        assert found == pytest.approx(np.mean((directions @ shift) ** 2), rel=1e-4)


@pytest.mark.parametrize("jit", [False, True])
def test_gradients_are_those_of_differences(rng, jit):
    x, y = (tf.constant(each) for each in rng.normal(size=(2, 5, 2)))
    directions = tf.constant([[1.0, 0.0], [0.6, 0.8]], tf.float64)
    step = 1e-4 * rng.normal(size=(5, 2))

    @tf.function(jit_compile=jit)
    def differentiate(x):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            values = mmd(x, y, 4.0), sliced_wasserstein(x, y, directions)
        return values, [tape.gradient(value, x) for value in values]

    ahead, behind = (differentiate(x + sign * step)[0] for sign in (1, -1))
    _, gradients = differentiate(x)
    for one, other, gradient in zip(ahead, behind, gradients, strict=True):
        along = np.sum(gradient * step)
        assert along == pytest.approx(float(one - other) / 2, rel=1e-4)
