"""The face in three lines: fit, encode, export; and as a transformer."""

import random

import absl.logging
import numpy as np
import pytest
import tensorflow as tf
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

import tf_infomax
from tf_infomax import DeepInfoMax
from tf_infomax.options import ConfigError
from tf_infomax.training.workdir import WorkDirectory

SMALL = {
    "encoder": "mlp", "objective": "ae", "steps": 3, "batch_size": 16, "code_size": 5,
    "verbose": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def images():
    """Two classes that differ in brightness."""
    rng, labels = np.random.default_rng(0), np.arange(96) % 2
    images = rng.integers(0, 100, (96, 8, 8, 3)) + 150 * labels[:, None, None, None]
    return images.astype(np.uint8), labels


@pytest.fixture(scope="module")
def fitted(images, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("face") / "run"
    return DeepInfoMax(**SMALL, workdir=workdir).fit(*images)


def test_codes_are_those_of_the_run(fitted, images):
    pixels, _ = images
    codes = fitted.encode(pixels)
    assert (codes.shape, codes.dtype) == ((96, 5), np.float32)
    loaded = tf_infomax.load(fitted.workdir_)
    expected = loaded.encoder(pixels, training=False)["code"]
    np.testing.assert_allclose(codes, expected, rtol=1e-5, atol=1e-6)
    again = DeepInfoMax.load(fitted.workdir_).transform(pixels)
    np.testing.assert_array_equal(codes, again)
    assert fitted.features(pixels[:3], "fc").shape[0] == 3


def test_the_default_is_local_deep_infomax_by_the_size_of_the_images(images, tmp_path):
    """Of 8 x 8 pixels, for which the papers have none."""
    options = {"steps": 2, "batch_size": 16, "verbose": False}
    model = DeepInfoMax(**options, workdir=tmp_path).fit(images[0])
    config = WorkDirectory(str(tmp_path)).read_config()
    assert (config.objective, config.encoder) == ("dim_local", "auto")
    assert config.critic_units == 256
    assert (config.bound, config.schedule) == ("info_nce", "cosine")
    assert model.image_shape_ == (8, 8, 3)
    assert model.encoder_.name == "resnet"
    assert model.encode(images[0][:7]).shape == (7, 64)


def test_draws_of_the_caller_go_on(images):
    """Who draws and fits, again and again, has new data each time."""
    drawn = []
    for _ in range(2):
        DeepInfoMax(**SMALL | {"steps": 1}).fit(images[0])
        drawn.append((np.random.normal(), random.random(), tf.random.normal([])))
    assert all(one != other for one, other in zip(*drawn, strict=True))


def test_what_brings_its_own_encoder_keeps_it(images):
    model = DeepInfoMax(objective="multiview", steps=2, batch_size=16, verbose=False)
    model.fit(images[0])
    assert model.image_shape_ == (8, 8, 3)
    assert model.encode(images[0]).shape == (96, 64)


@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: (x.astype(np.float32) / 255, y),
        lambda x, y: (x / 127.5 - 1, y),
        lambda x, y: (tf.data.Dataset.from_tensor_slices(x).batch(40), y),
        lambda x, y: (tf.data.Dataset.from_tensor_slices((x, y)).batch(40), None),
        lambda x, y: (tf.data.Dataset.from_tensor_slices((x, y)), None),
        lambda x, y: (((x[k : k + 20], y[k : k + 20]) for k in range(0, 96, 20)), None),
        lambda x, y: (list(x), list(y)),
        lambda x, y: (
            (
                {"image": x[:50], "label": y[:50]},
                {"image": x[50:], "label": y[50:]},
            ).__iter__(),
            None,
        ),
    ],
)
def test_images_come_as_they_may(make, images, fitted, monkeypatch):
    """All of them are the same images, with the same labels."""
    seen = {}

    def stop(config):
        path = config.dataset.removeprefix("arrays:")
        with np.load(path) as arrays:
            seen.update(arrays)
        raise KeyboardInterrupt

    monkeypatch.setattr("tf_infomax.deep_infomax.load_data", stop)
    with pytest.raises(KeyboardInterrupt):
        DeepInfoMax(**SMALL).fit(*make(*images))
    np.testing.assert_array_equal(seen["images"], images[0])
    np.testing.assert_array_equal(seen["labels"], images[1])
    if make(*images)[1] is None or isinstance(make(*images)[0], list):
        codes = fitted.encode(make(*images)[0])
        np.testing.assert_allclose(codes, fitted.encode(images[0]), atol=1e-6)


def test_dark_images_are_taken_as_those_of_fit(images):
    """In [0, 1]: what alone would be 0 to 255, or would not be clear, stays dark."""
    floats = images[0].astype(np.float32) / 255
    model = DeepInfoMax(**SMALL).fit(floats)
    dark = images[0] // 16
    expected = model.encoder_(dark, training=False)["code"]
    codes = model.encode(dark.astype(np.float32) / 255)
    np.testing.assert_allclose(codes, expected, rtol=1e-4, atol=1e-5)


def test_fitting_again_goes_on_where_it_was(images, tmp_path):
    """Also when the first time it was cut off."""
    first = DeepInfoMax(**SMALL, workdir=tmp_path).fit(*images)
    steps = (tmp_path / "metrics.jsonl").read_text()
    second = DeepInfoMax(**SMALL, workdir=tmp_path).fit(*images)
    assert (tmp_path / "metrics.jsonl").read_text() == steps
    np.testing.assert_array_equal(first.encode(images[0]), second.encode(images[0]))
    other = {**SMALL, "code_size": 6}
    with pytest.raises(ConfigError, match="code_size"):
        DeepInfoMax(**other, workdir=tmp_path).fit(*images)
    kept = (tmp_path / "images.npz").read_bytes()
    with pytest.raises(ConfigError, match="other images or labels"):
        DeepInfoMax(**SMALL, workdir=tmp_path).fit(images[0][::-1], images[1])
    assert (tmp_path / "images.npz").read_bytes() == kept


def test_measures_and_exports(fitted, tmp_path, caplog):
    caplog.set_level("INFO", "tensorflow")
    absl.logging.set_verbosity(absl.logging.INFO)
    results = fitted.evaluate("health", "probes")
    assert results["probe/linear/code"]["mean"] > 0.9
    path = fitted.export(tmp_path, "small", classify=False)
    assert path == tmp_path / "small" / "1"
    served = tf.saved_model.load(str(path)).signatures["serving_default"]
    shape = served.structured_input_signature[1]["images"].shape
    assert shape[1:] == (8, 8, 3)
    assert "Assets written" not in caplog.text
    assert absl.logging.get_verbosity() == absl.logging.INFO  # the caller's still
    absl.logging.set_verbosity(absl.logging.WARNING)


def test_a_pipeline_and_its_clone(images):
    pixels, labels = images
    pipeline = make_pipeline(DeepInfoMax(**SMALL), LogisticRegression())
    assert clone(pipeline).fit(pixels, labels).score(pixels, labels) == 1.0
    names = pipeline.fit(pixels, labels)[0].get_feature_names_out()
    assert list(names) == [f"deepinfomax{k}" for k in range(5)]


@pytest.mark.parametrize(
    "check",
    [
        "check_do_not_raise_errors_in_init_or_set_params",
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_get_params_invariance",
        "check_mixin_order",
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_set_params",
        "check_valid_tag_types",
    ],
)
def test_scikit_learns_checks_where_images_allow(check):
    """Those that do not fit: the others fit tables, which are no images."""
    getattr(estimator_checks, check)("DeepInfoMax", DeepInfoMax(**SMALL))


@pytest.mark.parametrize(
    ("options", "data", "message"),
    [
        ({}, np.zeros((4, 8)), r"must be numbers \[N, H, W, C\].*float64 \[4, 8\]"),
        ({}, np.zeros((4, 8, 8), object), "must be numbers.*object"),
        ({}, iter(()), "no images"),
        ({}, tf.data.Dataset.from_tensors(np.zeros((2, 8, 8, 3))).repeat(), "an end"),
        ({"options": {"seed": 3}}, None, "may not name seed"),
        ({"options": {"sead": 3}}, None, "sead"),
        ({"objective": "dim"}, None, "dim"),
        ({"steps": 0, "epochs": 0}, None, "--epochs"),
    ],
)
def test_what_is_unfit_is_refused(options, data, message, images):
    with pytest.raises((ValueError, TypeError), match=message):
        DeepInfoMax(**{**SMALL, **options}).fit(images[0] if data is None else data)


def test_labels_are_as_many_as_images(images):
    with pytest.raises(ValueError, match="96 images, 3 labels"):
        DeepInfoMax(**SMALL).fit(images[0], [0, 1, 0])


def test_not_before_it_is_fitted(images, fitted):
    for call in (lambda m: m.encode(images[0]), lambda m: m.export("x")):
        with pytest.raises(NotFittedError):
            call(DeepInfoMax())
    with pytest.raises(ValueError, match=r"\[N, 8, 8, 3\] as those of fit"):
        fitted.encode(images[0][:, :4])
    with pytest.raises(ValueError, match="one of code, fc"):
        fitted.features(images[0], "conv")
