"""Decoders: the tables read backwards, layer by layer the adjoints of the encoders'."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_infomax import encoders
from tf_infomax.encoders.convnet import CONVNETS, add_conv
from tf_infomax.encoders.decoders import _transpose

CODE = 10
CHANNELS = {"basic28x28": 1, "basic32x32": 3, "basic64x64": 3}
# Shapes that the layers make, from the code to the logits.
SHAPES = {
    "basic28x28": [(1024,), (6272,), (14, 14, 64), (28, 28, 1)],
    "basic32x32": [(1024,), (4096,), (8, 8, 128), (16, 16, 64), (32, 32, 3)],
    "basic64x64": [
        (1024,), (8192,), (8, 8, 256), (16, 16, 128), (32, 32, 64), (64, 64, 3),
    ],
}  # fmt: skip


def build(name):
    side = CONVNETS[name].size
    return encoders.build_decoder(name, (side, side, CHANNELS[name]), CODE)


@pytest.mark.parametrize("name", CONVNETS)
class TestConvNets:
    def test_shapes_are_those_of_the_encoder_backwards(self, name):
        decoder = build(name)
        kinds = keras.layers.Dense, keras.layers.Conv2DTranspose
        layers = [layer for layer in decoder.layers if isinstance(layer, kinds)]
        names = [layer.name for layer in decoder.layers]
        made = []
        for layer in layers:
            cropped = f"{layer.name}_crop"
            end = cropped if cropped in names else layer.name
            made.append(tuple(decoder.get_layer(end).output.shape[1:]))
        assert made == SHAPES[name]
        assert decoder.output["image"].shape[1:] == SHAPES[name][-1]

    def test_parameters_are_those_of_the_encoder_but_for_norms_and_biases(self, name):
        """Each matrix once more; norms of 2 per channel before, biases at the end."""
        side, table = CONVNETS[name].size, CONVNETS[name]
        shape = (side, side, CHANNELS[name])
        encoder = encoders.build_convnet(name, shape, CODE)
        norms = 2 * (sum(conv.filters for conv in table.convs) + table.units)
        matrices = _count(encoder) - norms - CODE
        assert _count(build(name)) == matrices + norms + CHANNELS[name]

    def test_each_layer_is_the_adjoint_of_the_encoders(self, name, rng):
        """<conv(x), y> = <x, transposed(y)> with the same kernel."""
        size, channels = CONVNETS[name].size, CHANNELS[name]
        for conv in CONVNETS[name].convs:
            images = keras.Input((size, size, channels))
            forward = keras.Model(images, add_conv(images, conv, "conv"))
            maps = keras.Input(forward.output.shape[1:])
            back = keras.Model(maps, _transpose(maps, conv, channels, size, "conv"))
            back.get_layer("conv").kernel.assign(forward.get_layer("conv").kernel)
            x = rng.normal(size=(2, *images.shape[1:])).astype("f")
            y = rng.normal(size=(2, *maps.shape[1:])).astype("f")
            one, other = np.sum(forward(x) * y), np.sum(x * back(y))
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-2)
            size, channels = maps.shape[1], conv.filters

    def test_half_precision_ends_in_float32(self, name, rng, request):
        request.addfinalizer(lambda: keras.config.set_dtype_policy("float32"))
        keras.config.set_dtype_policy("mixed_bfloat16")
        decoded = build(name)(rng.normal(size=(2, CODE)).astype("f"), training=True)
        assert decoded["logits"].dtype == decoded["image"].dtype == tf.float32

    def test_images_of_another_size_are_refused(self, name):
        with pytest.raises(ValueError, match="Received: 20 x 20"):
            encoders.build_decoder(name, (20, 20, 3))


def _count(model) -> int:
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def test_any_other_encoder_has_two_hidden_layers():
    decoder = encoders.build_decoder("mlp", (5, 7, 2), CODE)
    assert decoder.output["logits"].shape[1:] == (5, 7, 2)
    assert _count(decoder) == 10 * 300 + 300 + 300 * 300 + 300 + 300 * 70 + 70


@pytest.mark.parametrize("name", ["basic28x28", "mlp"])
def test_the_image_is_the_sigmoid_of_the_logits_also_from_a_file(name, rng, tmp_path):
    decoder = encoders.build_decoder(name, (28, 28, 1), CODE)
    codes = rng.normal(size=(2, CODE)).astype("f")
    decoded = decoder(codes)
    logits = decoded["logits"].numpy().astype(np.float64)
    np.testing.assert_allclose(decoded["image"], 1 / (1 + np.exp(-logits)), rtol=1e-5)
    decoder.save(tmp_path / "decoder.keras")
    loaded = keras.models.load_model(tmp_path / "decoder.keras")(codes)
    np.testing.assert_allclose(loaded["logits"], decoded["logits"], rtol=1e-6)
