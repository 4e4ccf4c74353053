"""Networks of keras.applications as encoders."""

import sys

import keras
import numpy as np
import pytest

from tf_infomax import objectives
from tf_infomax.encoders import backbones
from tf_infomax.encoders.backbones import build_backbone, build_hub_backbone
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


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_lower_layers_are_trained_slower(optimizer, rng, tmp_path):
    """By the share that is asked for, with any optimizer; also after loading."""
    images = rng.integers(0, 256, (4, 32, 32, 3), np.uint8)

    def moved(**options):
        keras.utils.set_random_seed(0)
        encoder = build_backbone(SMALL, (32, 32, 3), 6)
        objective = objectives.build(
            "dim_local", encoder, critic_units=8, gamma=0.0, **options
        )
        objective.compile(optimizer)
        objective.save(tmp_path / "objective.keras")
        objective = keras.models.load_model(tmp_path / "objective.keras")
        variables = objective.networks["encoder"].trainable_variables
        before = [variable.numpy() for variable in variables]
        objective.fit(images, batch_size=4, verbose=0)
        pairs = zip(variables, before, strict=True)
        return np.array([np.abs(v.numpy() - start).sum() for v, start in pairs])

    plain, slow = moved(), moved(slow_layers="conv_pw_3_relu", slow_rate=0.25)
    lower = 3 + 3 * 6  # a layer and three blocks of two, with two weights of batch norm
    np.testing.assert_allclose(slow[:lower], 0.25 * plain[:lower], rtol=5e-3)
    np.testing.assert_allclose(slow[lower:], plain[lower:], rtol=5e-3)


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
        (dict(weights="no.h5"), "no file of weights, nor 'imagenet': 'no.h5'"),
        (dict(frozen="conv_9"), "no layer 'conv_9' to freeze.*conv_pw_1_relu"),
        (dict(layers={"local": "x"}), "layer 'x'"),
    ],
)
def test_what_is_not_there_is_refused(arguments, message):
    given = {"name": SMALL, "image_shape": (32, 32, 3), **arguments}
    with pytest.raises(ValueError, match=message):
        build_backbone(**given)


class TestKerasHub:
    @pytest.fixture(scope="class")
    def presets(self, tmp_path_factory):
        """Folders of a small ResNet and of a vision transformer, with their pixels."""
        import keras_hub

        models, layers = keras_hub.models, keras_hub.layers
        folder = tmp_path_factory.mktemp("presets")
        resnet = models.ResNetBackbone(
            input_conv_filters=[64], input_conv_kernel_sizes=[3],
            stackwise_num_filters=[64, 64], stackwise_num_blocks=[1, 1],
            stackwise_num_strides=[1, 2], block_type="basic_block",
            image_shape=(32, 32, 3),
        )  # fmt: skip
        resnet.save_to_preset(folder / "resnet")
        scale = [0.017, 0.0175, 0.0174]
        layers.ResNetImageConverter(
            image_size=(32, 32), scale=scale, offset=[-2.1, -2.0, -1.8]
        ).save_to_preset(folder / "resnet")
        transformer = models.ViTBackbone((32, 32, 3), 8, 2, 2, 32, 64)
        transformer.save_to_preset(folder / "vit")
        layers.ViTImageConverter(
            image_size=(32, 32), scale=1 / 127.5, offset=-1
        ).save_to_preset(folder / "vit")
        return folder

    def test_it_computes_what_the_backbone_does(self, presets, rng, tmp_path):
        """On pixels as its converter has them, in another size; so does its file."""
        import keras_hub

        preset = str(presets / "resnet")
        encoder = build_hub_backbone(preset, (48, 48, 3), 6, "preset")
        images = rng.integers(0, 256, (2, 48, 48, 3), np.uint8)
        backbone = keras_hub.models.Backbone.from_preset(
            preset, image_shape=(48, 48, 3)
        )
        convert = keras_hub.layers.ImageConverter.from_preset(
            preset, image_size=(48, 48)
        )
        made = encoder(images)
        np.testing.assert_allclose(
            made["conv"], backbone(convert(images)), rtol=1e-4, atol=1e-5
        )
        assert made["local"].shape[1:] == (12, 12, 64)
        encoder.save(tmp_path / "encoder.keras")
        again = keras.models.load_model(tmp_path / "encoder.keras")
        np.testing.assert_allclose(again(images)["code"], made["code"], rtol=1e-5)

    def test_tokens_of_patches_are_a_map(self, presets, rng):
        """Row by row, without that of the class; all features are of it."""
        import keras_hub

        preset = str(presets / "vit")
        encoder = build_hub_backbone(preset, (32, 32, 3), 6, "preset")
        images = rng.integers(0, 256, (2, 32, 32, 3), np.uint8)
        backbone = keras_hub.models.Backbone.from_preset(preset)
        tokens = np.array(backbone(images / 127.5 - 1.0))
        made = encoder(images)
        np.testing.assert_allclose(
            np.reshape(made["local"], (2, 16, 32)), tokens[:, 1:], rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(
            made["fc"], tokens[:, 1:].mean(axis=1), rtol=1e-4, atol=1e-5
        )

    def test_weights_are_random_unless_asked_for(self, presets, rng):
        images = rng.integers(0, 256, (2, 32, 32, 3), np.uint8)
        preset = str(presets / "resnet")
        first, other, own, same = (
            np.array(build_hub_backbone(preset, (32, 32, 3), 6, w)(images)["fc"])
            for w in ("", "", "preset", str(presets / "resnet/model.weights.h5"))
        )
        assert np.abs(first - other).max() > 0.1
        np.testing.assert_allclose(own, same, rtol=1e-5)

    @pytest.mark.parametrize(
        ("preset", "shape", "weights", "message"),
        [
            ("none", (32, 32, 3), "", "no preset .*name that KerasHub.*save_to_preset"),
            ("vit", (64, 64, 3), "preset", "no preset of images of 64 x 64 pixels"),
            ("vit", (32, 40, 3), "", "square images only. Received: 32 x 40"),
            ("resnet", (32, 32, 3), "imagenet", "nor 'preset': 'imagenet'"),
        ],
    )
    def test_what_is_not_there_is_refused(
        self, preset, shape, weights, message, presets
    ):
        with pytest.raises(ValueError, match=message):
            build_hub_backbone(str(presets / preset), shape, 6, weights)

    def test_a_missing_package_is_named(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "keras_hub", None)
        with pytest.raises(ValueError, match="pip install keras-hub"):
            build_hub_backbone("resnet_18_imagenet", (32, 32, 3))


def test_options_without_effect_are_refused():
    with pytest.raises(ConfigError, match="--encoder=applications"):
        Config(encoder="basic32x32", frozen_layers="x")
    with pytest.raises(ConfigError, match="needs --slow_layers"):
        Config(encoder=f"applications:{SMALL}", slow_rate=0.5)
    with pytest.raises(ConfigError, match="feature=layer"):
        Config(encoder=f"applications:{SMALL}", encoder_layers=("local",))
    with pytest.raises(ConfigError, match="NAME"):
        Config(encoder="applications")
