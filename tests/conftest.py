"""Shared by all tests: quiet TensorFlow, fixed seeds, small data."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tf_infomax  # noqa: F401  (before TensorFlow: it switches oneDNN)

# isort: split
import gc
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

# Searches for garbage after every seven hundred objects take a tenth of the time.
gc.freeze()
gc.set_threshold(100_000, 50, 1000)


# Files of a minute and more are begun first: at the end all would wait for one of them.
_LONG = (
    "auto", "objectives", "estimation", "export", "tune", "training", "cli", "studies",
    "data", "conformance", "docs",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    def place(item):
        name = item.path.stem.removeprefix("test_")
        return _LONG.index(name) if name in _LONG else len(_LONG)

    items.sort(key=place)


@pytest.fixture(autouse=True, scope="module")
def _collected():
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def _seeded():
    # TensorFlow's own seed is left: setting it drops every compiled function, so that
    # each test would compile again what the tests of a module share.
    with mock.patch.object(tf.random, "set_seed"):
        keras.utils.set_random_seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def images(rng):
    """A few random 32 x 32 colour images."""
    return rng.integers(0, 256, (8, 32, 32, 3), np.uint8)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """An .npz of 120 images of two classes that differ in brightness."""
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 2
    images = rng.integers(0, 120, (120, 32, 32, 3)) + 100 * labels[:, None, None, None]
    file = tmp_path_factory.mktemp("data") / "data.npz"
    np.savez(file, images=images.astype(np.uint8), labels=labels)
    return file
