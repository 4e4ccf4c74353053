"""RealNVP and other encoders of half images; two encoders, targets in InfoMax."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_infomax import critics, encoders
from tf_infomax.encoders.real_nvp import MASKS, SCALES, RealNVP
from tf_infomax.objectives import InfoMax, Term


def make(shape=(10,), dtype="float64", **options):
    options = {"couplings": 5, "widths": (16,), "kernel_sd": 0.3, **options}
    layer = RealNVP(dtype=dtype, **options)
    layer.build((None, *shape))
    return layer


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(6, 10))


class TestRealNVP:
    @pytest.mark.parametrize("scale", SCALES)
    def test_inverse_is_computed_and_exact(self, scale, x):
        layer = make(scale=scale)
        y = layer(x).numpy()
        assert np.abs(y - x).max() > 0.1
        back = layer.inverse(y.copy()).numpy()  # a tensor that no cache can know
        np.testing.assert_allclose(back, x, atol=1e-9)

    @pytest.mark.parametrize("scale", SCALES)
    def test_log_det_is_that_of_autodiff(self, scale, x):
        layer = make(scale=scale)
        given = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(given)
            y = layer(given)
        expected = np.linalg.slogdet(tape.batch_jacobian(y, given).numpy())[1]
        found = layer.log_det_jacobian(given).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-6)
        if scale == "none":
            np.testing.assert_allclose(found, 0.0, atol=1e-12)

    @pytest.mark.parametrize("scale", SCALES)
    @pytest.mark.parametrize(
        ("masks", "shape"), [("random", (9,)), ("checkerboard", (3, 3, 1))]
    )
    def test_its_jacobian_is_that_of_autodiff(self, scale, masks, shape):
        layer = make(shape, scale=scale, masks=masks, widths=(16, 12))
        given = tf.constant(np.random.default_rng(0).normal(size=(6, *shape)))
        with tf.GradientTape() as tape:
            tape.watch(given)
            y = tf.reshape(layer(given), [6, 9])
        expected = tf.reshape(tape.batch_jacobian(y, given), [6, 9, 9])
        assert np.abs(expected - np.eye(9)).max() > 0.1
        np.testing.assert_allclose(layer.jacobian(given), expected, atol=1e-12)

    def test_same_tensor_other_weights_other_output(self, x):
        """TFP's cache: the same tensor would give the output of the old weights."""
        layer, given = make(), tf.constant(x)
        before = layer(given).numpy()
        for variable in layer.trainable_variables:
            variable.assign(variable + 0.1)
        after = layer(given).numpy()
        assert np.abs(after - before).max() > 1e-2
        np.testing.assert_allclose(layer.inverse(after), x, atol=1e-9)

    def test_every_weight_is_tracked_and_has_a_gradient(self, x):
        layer, given = make(scale="exp"), tf.constant(x)
        assert len(layer.trainable_variables) == 5 * 4
        layer(given)  # an earlier call would hide the path from the tape
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(given) ** 3)
        gradients = tape.gradient(loss, layer.trainable_variables)
        assert all(g is not None and np.abs(g).max() > 0 for g in gradients)

    def test_starts_as_a_permutation(self, x):
        y = make(kernel_sd=1e-4)(x).numpy()
        np.testing.assert_allclose(np.sort(y, axis=1), np.sort(x, axis=1), atol=1e-5)

    @pytest.mark.parametrize("shape", [(3, 3, 3), (4, 3, 1), (2, 2, 4)])
    @pytest.mark.parametrize("masks", [m for m in MASKS if m != "random"])
    def test_two_couplings_move_every_dimension(self, masks, shape):
        if masks == "channel" and shape[2] == 1:
            with pytest.raises(ValueError, match=r"2 channels.*checkerboard"):
                make(shape, masks=masks)
            return
        images = np.random.default_rng(1).normal(size=(3, *shape))
        layer = make(shape, couplings=2, masks=masks, scale="exp")
        y = layer.forward(images).numpy()
        assert (np.abs(y - images).max(axis=0) > 1e-6).all()
        np.testing.assert_allclose(layer.inverse(y.copy()), images, atol=1e-9)

    def test_it_is_built_by_its_first_use_and_keeps_its_shape(self, x):
        fresh = RealNVP(3, (16,), kernel_sd=0.3, dtype="float64")
        y = fresh.inverse(x).numpy()
        np.testing.assert_allclose(fresh.forward(y.copy()), x, atol=1e-9)
        with pytest.raises(ValueError, match=r"built for \(10,\)"):
            fresh.inverse(np.zeros((6, 5)))

    @pytest.mark.parametrize("masks", [m for m in MASKS if m != "random"])
    def test_masks_of_images(self, masks):
        images = np.random.default_rng(1).normal(size=(3, 4, 4, 2))
        one = make((4, 4, 2), couplings=1, masks=masks)
        kept = np.abs(one(images).numpy() - images).max(axis=0) < 1e-12
        rows, columns, channels = np.indices((4, 4, 2))
        first = (rows + columns) % 2 == 0 if masks == "checkerboard" else channels == 0
        np.testing.assert_array_equal(kept, first)
        both = make((4, 4, 2), couplings=2, masks=masks)
        y = both(images).numpy()
        assert (np.abs(y - images).max(axis=0) > 1e-6).all()
        np.testing.assert_allclose(both.inverse(y.copy()), images, atol=1e-9)

    def test_saved_and_loaded_it_is_the_same(self, tmp_path):
        encoder = encoders.build_real_nvp((3, 4, 1), couplings=3, widths=(8,))
        images = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 1), np.uint8)
        path = tmp_path / "encoder.keras"
        encoder.save(path)
        loaded = keras.models.load_model(path)
        np.testing.assert_array_equal(encoder(images)["code"], loaded(images)["code"])
        assert encoder.output["code"].shape == (None, 12)

    def test_mistakes_are_named(self):
        with pytest.raises(ValueError, match="none, exp, softplus"):
            RealNVP(scale="affine")
        with pytest.raises(ValueError, match="need images"):
            make((10,), masks="checkerboard")
        with pytest.raises(ValueError, match="2 dimensions"):
            make((1,))


class TestHalfImages:
    def test_skip_mlp_starts_at_the_identity(self):
        images = np.random.default_rng(0).integers(0, 256, (4, 14, 28, 1), np.uint8)
        encoder = encoders.build_skip_mlp((14, 28, 1))
        code = encoder(images)["code"].numpy()
        np.testing.assert_allclose(code, images.reshape(4, -1) / 255.0, atol=0.05)
        assert len(encoder.trainable_variables) == 10

    def test_convnet_has_the_table_s_shapes(self):
        encoder = encoders.build_half_convnet((14, 28, 1), 100)
        shapes = {name: value.shape[1:] for name, value in encoder.output.items()}
        assert shapes["conv"] == (4, 7, 128)
        assert shapes["code"] == (100,)
        gain = encoder.get_layer("norm").trainable_variables[0]
        assert gain.shape == (128,)  # per channel, though the norm is over all


class TestTwoEncoders:
    @pytest.fixture
    def parts(self):
        images = np.random.default_rng(0).integers(0, 256, (8, 4, 6, 1), np.uint8)
        batch = {"x": tf.constant(images[:, :2]), "y": tf.constant(images[:, 2:])}
        x_encoder, y_encoder = (
            encoders.build_mlp((8,), (2, 6, 1), 5) for _ in ("x", "y")
        )
        return batch, x_encoder, y_encoder

    @staticmethod
    def build(x_encoder, y_encoder, **options):
        term = Term("views", "x.code", "y.code", critics.Bilinear(), "nwj", **options)
        objective = InfoMax(x_encoder, [term], view_encoders={"y": y_encoder})
        objective.compile(keras.optimizers.Adam(1e-2))
        return objective

    def test_both_are_trained_on_their_view(self, parts):
        batch, x_encoder, y_encoder = parts
        objective = self.build(x_encoder, y_encoder)
        before = [e.get_weights() for e in (x_encoder, y_encoder)]
        expected = objective.terms[0].value(
            objective.terms[0].critic(
                (x_encoder(batch["x"])["code"], y_encoder(batch["y"])["code"])
            )
        )
        values = objective.train_step(batch)
        assert float(values["views"]) == pytest.approx(float(expected), rel=1e-5)
        for encoder, old in zip((x_encoder, y_encoder), before, strict=True):
            assert np.abs(encoder.get_weights()[0] - old[0]).max() > 0

    def test_a_target_is_reached_and_kept(self, parts):
        batch, x_encoder, y_encoder = parts
        objective = self.build(x_encoder, y_encoder, target=0.5)
        for _ in range(150):
            objective.reset_metrics()
            value = float(objective.train_step(batch)["views"])
        assert value == pytest.approx(0.5, abs=0.2)

    def test_saved_and_loaded(self, parts, tmp_path):
        batch, x_encoder, y_encoder = parts
        objective = self.build(x_encoder, y_encoder, target=0.5)
        objective.train_step(batch)
        objective.save(tmp_path / "o.keras")
        loaded = keras.models.load_model(tmp_path / "o.keras")
        assert loaded.terms[0].target == 0.5
        np.testing.assert_allclose(
            loaded.networks["encoder_y"](batch["y"])["code"],
            y_encoder(batch["y"])["code"],
        )

    def test_an_encoder_of_no_view_is_refused(self, parts):
        _, x_encoder, y_encoder = parts
        term = Term("views", "x.code", "x.code", critics.Bilinear(), "nwj")
        with pytest.raises(ValueError, match="only the views x"):
            InfoMax(x_encoder, [term], view_encoders={"y": y_encoder})
