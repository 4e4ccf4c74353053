"""Alignment, uniformity and RankMe against what can be written down."""

from types import SimpleNamespace

import numpy as np
import pytest

from tf_infomax.evaluation import geometry
from tf_infomax.options import Config


@pytest.mark.parametrize("dimensions", [1, 2, 3, 16, 64])
def test_uniformity_of_uniform_directions_is_known(rng, dimensions):
    """And it is that of normal codes, whose directions are uniform, of any length."""
    codes = rng.normal(size=(3000, dimensions)) * rng.uniform(0.1, 9, (3000, 1))
    expected = geometry.uniformity_of_the_sphere(dimensions)
    found = geometry.measure_uniformity(codes)
    assert found == pytest.approx(expected, abs=0.01)
    skewed = codes + 2.0
    if dimensions > 1:
        assert geometry.measure_uniformity(skewed) > expected + 0.05


def test_uniformity_in_three_dimensions_has_a_simple_form():
    """Cosines are uniform there: E e^(4 t - 4) = (1 - e^-8) / 8."""
    expected = np.log((1 - np.exp(-8)) / 8)
    assert geometry.uniformity_of_the_sphere(3) == pytest.approx(expected)
    # Very many dimensions: all directions are orthogonal, and 4 t is normal.
    for dimensions in (2000, 65536):
        expected = -4 + 8 / dimensions
        found = geometry.uniformity_of_the_sphere(dimensions)
        assert found == pytest.approx(expected, abs=1e-4)


def test_uniformity_leaves_out_pairs_of_a_code_with_itself():
    codes = np.array([[2.0, 0.0], [-3.0, 0.0]])  # opposite: |u - v|^2 = 4
    assert geometry.measure_uniformity(codes) == pytest.approx(-8.0)
    assert geometry.measure_uniformity(np.ones((5, 3))) == pytest.approx(0.0)


def test_alignment_is_of_directions(rng):
    codes = rng.normal(size=(50, 4))
    np.testing.assert_allclose(
        geometry.measure_alignment(codes, 3 * codes), 0, atol=1e-12
    )
    np.testing.assert_allclose(geometry.measure_alignment(codes, -codes), 4)
    right = geometry.measure_alignment(np.array([[5.0, 0]]), np.array([[0, 0.1]]))
    np.testing.assert_allclose(right, 2)
    assert geometry.measure_alignment(0 * codes, codes) == pytest.approx(1)  # no nan


def test_rankme_of_known_spectra(rng):
    """Not of their squares, and with the mean: one code everywhere has rank 1."""
    left, _ = np.linalg.qr(rng.normal(size=(40, 2)))
    right, _ = np.linalg.qr(rng.normal(size=(6, 2)))
    found = geometry.measure_rankme(left @ np.diag([3.0, 1.0]) @ right.T)
    assert found == pytest.approx(4 / 3**0.75, abs=1e-4)  # of shares 3/4 and 1/4
    assert geometry.measure_rankme(np.ones((40, 6))) == pytest.approx(1, abs=1e-4)
    assert geometry.measure_rankme(np.eye(40)[:, :7]) == pytest.approx(7, abs=1e-4)
    assert geometry.measure_rankme(np.zeros((40, 6))) == 0.0


def test_of_a_run_alignment_is_where_there_are_two_views(rng):
    images = rng.normal(size=(200, 8))
    views = images, images + 0.1 * rng.normal(size=(200, 8))

    def features(name, part, trained):
        return part if trained else np.abs(part)

    config = Config(evaluations=("geometry",))
    subject = SimpleNamespace(
        images=images, two_views=views, features=features, config=config
    )
    results = dict(geometry.evaluate(subject))
    assert len(results) == 6
    aligned, even, rank = list(results.values())[:3]
    assert 0 < aligned["mean"] < 0.05
    assert aligned["images"] == 200
    assert even["mean"] == pytest.approx(even["uniform"], abs=0.05)
    assert 7 < rank["mean"] < rank["ceiling"] == 8
    assert results["geometry/uniformity/random/code"]["mean"] > even["mean"] + 1
    subject.two_views, subject.config = None, config.replace(baselines=False)
    names = ["geometry/uniformity/code", "geometry/rankme/code"]
    assert list(dict(geometry.evaluate(subject))) == names
