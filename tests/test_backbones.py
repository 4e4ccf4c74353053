"""Networks of keras.applications as encoders."""

import keras
import numpy as np
import pytest

from tf_infomax.encoders import backbones
from tf_infomax.encoders.backbones import build_backbone
from tf_infomax.options import Config, ConfigError

SMALL = "MobileNet"


@pytest.fixture(scope="module")
def encoder():
    keras.utils.set_random_seed(0)
    return build_backbone(SMALL, (32, 32, 3), 6)


def test_features_are_chosen_by_rule(encoder):
    """Of 32 x 32 pixels: maps of 16, 8, 4, 2, 1 a side; 8 is the last of seven."""
    shapes = {name: tuple(each.shape[1:]) for name, each in encoder.output.items()}
    assert shapes == {
        "local": (8, 8, 128), "conv": (1, 1, 1024), "fc": (1024,), "code": (6,),
    }  # fmt: skip
    chosen = {"local": "conv_pw_5_relu"}
    other = build_backbone(SMALL, (32, 32, 3), 6, layers=chosen)
    assert tuple(other.output["local"].shape[1:3]) == (4, 4)


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("MobileNet", "mobilenet"),  # to [-1, 1]
        ("ResNet50", "resnet"),  # blue first, less the means
        ("DenseNet121", "densenet"),  # mean 0, deviation 1 of each channel
        ("EfficientNetV2B0", "efficientnet_v2"),  # as they are
    ],
)
def test_pixels_are_what_the_network_was_trained_on(name, module, rng):
    _, preprocess = backbones._find(name)
    pixels = rng.integers(0, 256, (2, 5, 4, 3)).astype(np.float32)
    images = keras.Input((5, 4, 3))
    ours = keras.Model(
        images, keras.layers.Identity()(backbones._normalize(images, preprocess))
    )
    expected = getattr(keras.applications, module).preprocess_input(pixels.copy())
    np.testing.assert_allclose(ours(pixels), expected, rtol=1e-5, atol=1e-4)


def test_it_computes_what_the_network_does(encoder, tmp_path, rng):
    """With the weights of a file; and so does the file that is saved of it."""
    base = keras.applications.MobileNet(
        include_top=False, weights=None, input_shape=(32, 32, 3)
    )
    base.save_weights(tmp_path / "base.weights.h5")
    loaded = build_backbone(SMALL, (32, 32, 3), 6, str(tmp_path / "base.weights.h5"))
    images = rng.integers(0, 256, (3, 32, 32, 3), np.uint8)
    scaled = keras.applications.mobilenet.preprocess_input(images.astype(np.float32))
    np.testing.assert_allclose(
        loaded(images)["conv"], base(scaled), rtol=1e-4, atol=1e-5
    )
    loaded.save(tmp_path / "encoder.keras")
    again = keras.models.load_model(tmp_path / "encoder.keras")
    np.testing.assert_allclose(again(images)["code"], loaded(images)["code"], rtol=1e-5)


def test_lower_layers_are_frozen(rng):
    """Weights and statistics, whatever is trained above."""
    encoder = build_backbone(SMALL, (32, 32, 3), 6, frozen="conv_pw_3_relu")
    names = {variable.path for variable in encoder.trainable_variables}
    assert not any("conv_pw_3" in name or "conv1/" in name for name in names)
    assert any("conv_pw_4" in name for name in names)
    before = encoder.get_layer("features").get_layer("conv_pw_3_bn").get_weights()
    encoder(rng.integers(0, 256, (8, 32, 32, 3), np.uint8), training=True)
    after = encoder.get_layer("features").get_layer("conv_pw_3_bn").get_weights()
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_grey_images_are_shown_in_all_channels(rng):
    keras.utils.set_random_seed(1)
    grey = build_backbone(SMALL, (32, 32, 1), 6)
    keras.utils.set_random_seed(1)
    colour = build_backbone(SMALL, (32, 32, 3), 6)
    images = rng.integers(0, 256, (2, 32, 32, 1), np.uint8)
    colour.set_weights(grey.get_weights())
    np.testing.assert_allclose(
        grey(images)["code"],
        colour(np.repeat(images, 3, -1))["code"],
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(name="ResNet5O"), "must be one of .*ResNet50.*'ResNet5O'"),
        (dict(weights="no.h5"), "no file of weights: 'no.h5'"),
        (dict(frozen="conv_9"), "no layer 'conv_9' to freeze.*conv_pw_1_relu"),
        (dict(layers={"local": "x"}), "layer 'x'"),
    ],
)
def test_what_is_not_there_is_refused(arguments, message):
    given = {"name": SMALL, "image_shape": (32, 32, 3), **arguments}
    with pytest.raises(ValueError, match=message):
        build_backbone(**given)


def test_options_without_effect_are_refused():
    with pytest.raises(ConfigError, match="--encoder=applications"):
        Config(encoder="basic32x32", frozen_layers="x")
    with pytest.raises(ConfigError, match="feature=layer"):
        Config(encoder=f"applications:{SMALL}", encoder_layers=("local",))
    with pytest.raises(ConfigError, match="NAME"):
        Config(encoder="applications")
