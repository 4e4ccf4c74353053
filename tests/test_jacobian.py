"""The spectrum of an encoder's Jacobian."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_infomax import encoders
from tf_infomax.evaluation.jacobian import log_condition, measure_spectrum


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)


def test_of_a_linear_map_it_is_the_matrix(x):
    matrix = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    found = measure_spectrum(lambda v: v @ matrix, x, chunk=2)
    expected = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(found, np.tile(expected, (5, 1)), rtol=1e-5)
    np.testing.assert_allclose(
        log_condition(found), np.log(expected[0] / expected[-1]), rtol=1e-4
    )


def test_of_squares_it_depends_on_the_input(x):
    found = measure_spectrum(lambda v: {"code": v**2}, x)
    np.testing.assert_allclose(found, -np.sort(-np.abs(2 * x), axis=1), rtol=1e-5)


def test_the_largest_values_without_the_matrix():
    inputs = keras.Input((40,))
    h = keras.layers.Dense(60, "relu")(inputs)
    encoder = keras.Model(inputs, {"code": keras.layers.Dense(30)(h)})
    x = np.random.default_rng(2).normal(size=(5, 40)).astype(np.float32)
    exact = measure_spectrum(encoder, x)
    assert exact.shape == (5, 30)
    found = measure_spectrum(encoder, x, top=4, chunk=2)
    assert found.shape == (5, 4)
    np.testing.assert_allclose(found, exact[:, :4], rtol=1e-3)


def test_integer_inputs_of_an_encoder_have_no_derivatives():
    encoder = encoders.build_mlp((4,), (4, 4, 1), 3)
    pixels = np.random.default_rng(0).uniform(size=(2, 4, 4, 1)).astype(np.float32)
    with pytest.raises(ValueError, match="strip_scaling"):
        measure_spectrum(encoder, pixels)
    assert (measure_spectrum(encoders.strip_scaling(encoder), pixels) > 0).all()


def test_a_singular_jacobian_has_no_finite_condition(x):
    found = measure_spectrum(lambda v: v * np.array([1, 1, 1, 1, 1, 0], "f"), x)
    assert np.isinf(log_condition(found)).all()


def test_a_volume_preserving_map_has_a_product_of_one(x):
    layer = encoders.RealNVP(4, (16,), kernel_sd=0.5)
    layer.build((None, 6))
    found = measure_spectrum(layer, x)
    np.testing.assert_allclose(found, measure_spectrum(layer.call, x), rtol=1e-4)
    np.testing.assert_allclose(np.log(found).sum(axis=1), 0.0, atol=1e-3)
    assert np.abs(np.log(found)).max() > 0.1


def test_float64_where_the_encoder_computes_in_it(x):
    layer = encoders.RealNVP(8, (16,), kernel_sd=0.5, dtype="float64")
    layer.build((None, 6))
    found = measure_spectrum(layer, x.astype(np.float64))
    np.testing.assert_allclose(np.log(found).sum(axis=1), 0.0, atol=1e-12)


def test_mistakes_are_named(x):
    with pytest.raises(ValueError, match="integers have no derivatives"):
        measure_spectrum(lambda v: v, np.ones((2, 3), np.uint8))
    with pytest.raises(ValueError, match="between 1 and 6"):
        measure_spectrum(lambda v: v, x, top=7)


class TestStripScaling:
    @pytest.mark.parametrize("name", ["half_convnet", "mlp", "skip_mlp"])
    def test_pixels_scaled_by_hand_give_the_same(self, name):
        encoder = encoders.ENCODERS[name]((8, 8, 1), 16)
        images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)
        rescale = encoder.get_layer("rescale")
        scaled = tf.cast(images, tf.float32) * rescale.scale + rescale.offset
        stripped = encoders.strip_scaling(encoder)
        assert set(stripped.output) == set(encoder.output)
        for feature, value in encoder(images).items():
            np.testing.assert_allclose(stripped(scaled)[feature], value, atol=1e-5)

    def test_other_models_are_refused(self):
        inputs = keras.Input((3,))
        model = keras.Model(inputs, {"code": keras.layers.Dense(2)(inputs)})
        with pytest.raises(ValueError, match="no layer 'rescale'"):
            encoders.strip_scaling(model)
