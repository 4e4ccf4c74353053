"""Layer tables: shapes, parameters, receptive field, padding, scaling."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_infomax import encoders
from tf_infomax.encoders.crops import fold, unfold

# name: (image shape, local, conv, fc). basic32x32 as in Hjelm et al. 2019, table 1.
SHAPES = {
    "basic28x28": ((28, 28, 1), (7, 7, 128), (7, 7, 128), 1024),
    "basic32x32": ((32, 32, 3), (8, 8, 128), (4, 4, 256), 1024),
    "basic64x64": ((64, 64, 3), (8, 8, 256), (4, 4, 512), 1024),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_those_of_the_table(name):
    image_shape, local, conv, units = SHAPES[name]
    encoder = encoders.ENCODERS[name](image_shape, 64)
    assert encoder.name == name
    shapes = {key: value.shape[1:] for key, value in encoder.output.items()}
    assert shapes == {"local": local, "conv": conv, "fc": (units,), "code": (64,)}


@pytest.mark.parametrize(
    ("size", "local", "conv"),
    [
        ((8, 8), (8, 8, 128), (4, 4, 512)),
        ((30, 31), (8, 8, 128), (4, 4, 512)),
        ((32, 16), (16, 8, 128), (8, 4, 512)),
        ((96, 96), (12, 12, 256), (6, 6, 512)),
        ((224, 224), (7, 7, 256), (4, 4, 512)),
    ],
)
def test_resnet_takes_any_size(size, local, conv):
    encoder = encoders.ENCODERS["resnet"]((*size, 3), 5)
    shapes = {key: value.shape[1:] for key, value in encoder.output.items()}
    assert shapes == {"local": local, "conv": conv, "fc": (1024,), "code": (5,)}
    with pytest.raises(ValueError, match=r"8 x 8 or more.*7 x 9"):
        encoders.ENCODERS["resnet"]((7, 9, 3), 5)


@pytest.mark.parametrize(
    ("size", "name"),
    [
        ((28, 28), "basic28x28"),
        ((32, 32), "basic32x32"),
        ((64, 64), "basic64x64"),
        ((28, 14), "resnet"),
        ((33, 33), "resnet"),
    ],
)
def test_auto_is_the_papers_encoder_of_its_size(size, name):
    """By whose name decoders and discriminators are chosen."""
    chosen = encoders.ENCODERS["auto"]((*size, 1), 6)
    expected = encoders.ENCODERS[name]((*size, 1), 6)
    assert chosen.name == expected.name == name
    assert [v.shape for v in chosen.weights] == [v.shape for v in expected.weights]


def test_basic32x32_has_the_tables_parameters():
    encoder = encoders.ENCODERS["basic32x32"]((32, 32, 3), 64)
    count = sum(int(np.prod(v.shape)) for v in encoder.trainable_variables)
    assert count == 4_921_280


def test_basic28x28_and_64x64_parameters():
    conv28 = 25 * 64 + 25 * 64 * 128
    rest28 = 2 * (64 + 128 + 1024) + 6272 * 1024 + 1024 * 64 + 64
    conv64 = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512)
    rest64 = 2 * (64 + 128 + 256 + 512 + 1024) + 8192 * 1024 + 1024 * 64 + 64
    for name, expected in (
        ("basic28x28", conv28 + rest28),
        ("basic64x64", conv64 + rest64),
    ):
        encoder = encoders.ENCODERS[name](SHAPES[name][0], 64)
        count = sum(int(np.prod(v.shape)) for v in encoder.trainable_variables)
        assert count == expected


def count_weights(encoder) -> int:
    return sum(int(np.prod(v.shape)) for v in encoder.trainable_variables)


ALEX_CONVS = [(3, 96), (96, 192), (192, 384), (384, 384), (384, 192)]


def test_alexnets_are_the_tables_of_appendix_a2():
    """Convolutions without biases but for those of crops; two numbers for each norm."""
    convs = sum(9 * a * b for a, b in ALEX_CONVS)
    norms = 2 * sum(b for _, b in ALEX_CONVS)
    whole = encoders.ENCODERS["alex64x64"]((64, 64, 3), 64)
    dense = 7 * 7 * 192 * 4096 + 4096 * 4096 + 2 * 2 * 4096 + 4096 * 64 + 64
    assert count_weights(whole) == convs + norms + dense
    shapes = {key: tuple(value.shape[1:]) for key, value in whole.output.items()}
    assert shapes == {
        "local": (15, 15, 384), "conv": (7, 7, 192), "fc": (4096,), "code": (64,),
    }  # fmt: skip
    folded = encoders.ENCODERS["foldalex64x64"]((64, 64, 3), 64)
    biases = sum(b for _, b in ALEX_CONVS)
    above = 9 * 192 * 384 + 2 * 384
    dense = 3 * 3 * 384 * 4096 + 2 * 4096 + 4096 * 64 + 64
    assert count_weights(folded) == convs + biases + norms + above + dense
    shapes = {key: tuple(value.shape[1:]) for key, value in folded.output.items()}
    assert shapes == {
        "local": (7, 7, 192), "conv": (3, 3, 384), "fc": (4096,), "code": (64,),
    }  # fmt: skip
    first = folded.get_layer("conv_0").get_weights()[0]
    assert first.std() == pytest.approx(0.02, rel=0.05)
    several = encoders.ENCODERS["foldmultialex64x64"]((64, 64, 3), 48)
    above = 9 * 192 * 192 + 2 * 192 + 192 * 48 + 2 * 48
    assert count_weights(several) == convs + biases + norms + above
    shapes = {key: tuple(value.shape[1:]) for key, value in several.output.items()}
    places = (5, 5, 48)
    assert shapes == {
        "local": (7, 7, 192), "conv": places, "globals": places, "code": (48,),
    }  # fmt: skip


def test_weights_are_drawn_anew_and_by_the_seed():
    """An initializer that all calls share would draw the same weights for ever."""
    keras.utils.set_random_seed(3)
    twice = [
        encoders.ENCODERS["foldmultialex64x64"]((64, 64, 3), 16).get_weights()
        for _ in range(2)
    ]
    assert np.abs(twice[0][0] - twice[1][0]).max() > 0.01
    keras.utils.set_random_seed(3)
    again = encoders.ENCODERS["foldmultialex64x64"]((64, 64, 3), 16).get_weights()
    np.testing.assert_array_equal(again[0], twice[0][0])


def test_resnet19_is_the_released_configuration():
    """Nineteen convolutions beside the shortcuts."""
    blocks = [
        (64, 64, 256), (256, 64, 256), (256, 128, 512), (512, 128, 512),
        (512, 256, 1024), (1024, 256, 1024),
    ]  # fmt: skip
    expected = 9 * 3 * 64 + 2 * 64
    for taken, inner, wide in blocks:
        expected += taken * inner + 9 * inner**2 + inner * wide + 4 * inner + 2 * wide
        expected += (taken * wide + 2 * wide) * (taken != wide)
    for name, locations, local in (
        ("resnet19_32x32", 16, (8, 8, 512)),
        ("foldresnet19_32x32", 49, (7, 7, 1024)),
    ):
        encoder = encoders.ENCODERS[name]((32, 32, 3), 64)
        dense = locations * 1024 * 1024 + 2 * 1024 + 1024 * 64 + 64
        assert count_weights(encoder) == expected + dense
        assert tuple(encoder.output["local"].shape[1:]) == local
        kinds = [type(layer).__name__ for layer in encoder.layers]
        assert kinds.count("Conv2D") == 19 + 3


@pytest.mark.parametrize(
    ("name", "side", "crop"),
    [
        ("foldalex64x64", 64, 16),
        ("foldmultialex64x64", 64, 16),
        ("foldresnet19_32x32", 32, 8),
    ],
)
def test_a_location_of_a_folded_encoder_sees_its_crop_alone(name, side, crop):
    encoder = encoders.ENCODERS[name]((side, side, 3), 8)
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (1, side, side, 3), np.uint8)
    row, column = 2, 5
    top, left = (place * crop // 2 for place in (row, column))
    inside = np.zeros_like(base, bool)
    inside[:, top : top + crop, left : left + crop] = True
    local = keras.Model(encoder.input, encoder.output["local"])
    given = [
        base,
        np.where(inside, base, 255 - base),  # what is around has changed
        np.where(inside, 255 - base, base),
    ]
    found = local(np.concatenate(given)).numpy()[:, row, column]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5, atol=1e-6)
    assert np.abs(found[2] - found[0]).max() > 1e-3


def test_crops_are_cut_and_put_back_in_their_places():
    images = np.arange(2 * 8 * 12 * 1, dtype=np.float32).reshape(2, 8, 12, 1)
    crops, grid = unfold(tf.constant(images), 4)
    assert grid == (3, 5)
    np.testing.assert_array_equal(crops[15 + 5 + 2], images[1, 2:6, 4:8])
    corners = np.array(crops)[:, :1, :1]
    put = np.array(fold(tf.constant(corners), grid))
    np.testing.assert_array_equal(put, images[:, :6:2, :10:2])
    for shape, size in (((1, 9, 8, 1), 4), ((1, 8, 8, 1), 3), ((1, 2, 8, 1), 4)):
        with pytest.raises(ValueError, match="must cover the images"):
            unfold(tf.zeros(shape), size)


@pytest.mark.parametrize("name", ["alex64x64", "foldalex64x64", "resnet19_32x32"])
def test_other_sizes_are_refused_with_the_one_that_is_taken(name):
    side = int(name[-2:])
    with pytest.raises(ValueError, match=rf"takes {side} x {side} .*image_size={side}"):
        encoders.ENCODERS[name]((28, 28, 1), 8)


def test_local_features_of_basic32x32_see_ten_pixels():
    encoder = encoders.ENCODERS["basic32x32"]((32, 32, 3), 64)
    base = np.full((1, 32, 32, 3), 128, np.uint8)
    reference = encoder(base)["local"].numpy()[0, 4, 4]
    seen = []
    for column in range(32):
        changed = base.copy()
        changed[:, :, column] = 255
        if not np.allclose(encoder(changed)["local"].numpy()[0, 4, 4], reference):
            seen.append(column)
    assert len(seen) == 10
    assert seen == list(range(seen[0], seen[0] + 10))


@pytest.mark.parametrize("name", SHAPES)
def test_padding_is_symmetric_like_the_papers(name):
    """A mirrored image gives the mirrored map if kernels are symmetric."""
    image_shape = SHAPES[name][0]
    encoder = encoders.ENCODERS[name](image_shape, 8)
    for layer in encoder.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel = layer.kernel.numpy()
            layer.kernel.assign((kernel + kernel[:, ::-1]) / 2)
    image = np.random.default_rng(0).integers(0, 256, (1, *image_shape), np.uint8)
    if name == "basic28x28":  # odd kernel, even side, stride 2: PyTorch's grid starts
        image = np.pad(image[:, :, 1:], ((0, 0), (0, 0), (0, 1), (0, 0)))  # at the edge
        first = encoder.get_layer("conv_0_pad")
        assert first.padding == ((2, 2), (2, 2))
        return
    plain = encoder(image)["local"].numpy()
    mirrored = encoder(image[:, :, ::-1].copy())["local"].numpy()
    np.testing.assert_allclose(mirrored[:, :, ::-1], plain, atol=1e-4)


def test_pixels_are_scaled_to_minus_one_and_one():
    encoder = encoders.ENCODERS["mlp"]((4, 4, 1), 8)
    scaled = keras.Model(encoder.input, encoder.get_layer("rescale").output)
    pixels = np.array([0, 255], np.uint8).reshape(2, 1, 1, 1) * np.ones(
        (1, 4, 4, 1), np.uint8
    )
    np.testing.assert_allclose(scaled(pixels).numpy()[:, 0, 0, 0], [-1, 1])


def test_trunk_applies_the_local_layer_a_second_time():
    trunk = encoders.build_trunk("basic32x32", (8, 8, 128), 2048)
    shapes = [layer.output.shape[1:] for layer in trunk.layers]
    assert (4, 4, 128) in shapes
    assert (2, 2, 256) in shapes
    assert trunk.output.shape == (None, 2048)


def test_wrong_size_names_the_ways_out():
    with pytest.raises(ValueError, match=r"32 x 32.*28 x 28.*image_size=32"):
        encoders.build_convnet("basic32x32", (28, 28, 1))


@pytest.fixture
def own_model():
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, 2, "same", name="block1")(inputs)
    x = keras.layers.Conv2D(8, 3, 2, "same", name="block2")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, keras.layers.Dense(5, name="embedding")(x))


def test_own_model_by_layer_names(own_model):
    layers = {"local": "block1", "conv": "block2", "code": "embedding"}
    encoder = encoders.adapt_keras_model(own_model, layers, (16, 16, 3), (0.0, 1.0))
    image = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    features = encoder(image)
    assert features["local"].shape == (2, 8, 8, 8)
    np.testing.assert_allclose(
        features["code"], own_model(image.astype(np.float32) / 255), atol=1e-5
    )
    own_model.get_layer("embedding").bias.assign(tf.ones(5))
    changed = encoder(image)["code"] - features["code"]
    np.testing.assert_allclose(changed, 1.0, atol=1e-5)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"code": "nothing"}, r"'nothing'.*block1"),
        ({"local": "block1"}, "name the code"),
        ({"code": "embedding", "other": "pool"}, "other"),
        ({"code": "block1"}, r"code must have 2 axes"),
        ({"code": "embedding", "local": "pool"}, r"local must have 4 axes"),
    ],
)
def test_own_model_with_wrong_names(own_model, layers, message):
    with pytest.raises(ValueError, match=message):
        encoders.adapt_keras_model(own_model, layers, (16, 16, 3))


def test_a_loaded_model_computes_in_the_present_precision(own_model, tmp_path):
    own_model.save(tmp_path / "m.keras")
    image = np.arange(16 * 16 * 3).reshape(1, 16, 16, 3).astype(np.uint8)
    layers = {"code": own_model.layers[-1].name}
    codes = {}
    before = keras.config.dtype_policy()
    try:
        for policy in ("float32", "mixed_bfloat16", "mixed_float16"):
            keras.config.set_dtype_policy(policy)
            model = keras.models.load_model(tmp_path / "m.keras")
            encoder = encoders.adapt_keras_model(model, layers, (16, 16, 3))
            codes[policy] = encoder(image)["code"]
            assert {w.dtype for w in encoder.weights} == {"float32"}
        keras.config.set_dtype_policy("float32")
        model.save(tmp_path / "half.keras")
        model = keras.models.load_model(tmp_path / "half.keras")
        encoder = encoders.adapt_keras_model(model, layers, (16, 16, 3))
        again = encoder(image)["code"]
    finally:
        keras.config.set_dtype_policy(before)
    assert codes["mixed_bfloat16"].dtype == "bfloat16"
    assert codes["mixed_float16"].dtype == "float16"
    np.testing.assert_array_equal(again, codes["float32"])
    for half in ("mixed_bfloat16", "mixed_float16"):
        np.testing.assert_allclose(
            np.asarray(codes[half], np.float32), codes["float32"], rtol=0.1, atol=0.1
        )


def test_a_layer_that_is_not_there_is_answered_with_some_that_are():
    """The last of each shape, and what has a name like it; not all of them."""
    images = keras.Input((16, 16, 3))
    x = images
    for k in range(30):
        x = keras.layers.Conv2D(4, 3, padding="same", name=f"conv_{k}")(x)
    pooled = keras.layers.GlobalAveragePooling2D(name="pooled")(x)
    model = keras.Model(images, keras.layers.Dense(5, name="end")(pooled))
    with pytest.raises(ValueError, match="layer 'pool' of model") as caught:
        encoders.adapt_keras_model(model, {"code": "pool"}, (16, 16, 3))
    told = str(caught.value)
    for named in ("pooled [4]", "end [5]", "conv_29 [16, 16, 4]"):
        assert named in told
    assert "conv_12" not in told
