"""Shared by all tests: quiet TensorFlow, fixed seeds, small data."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tf_infomax  # noqa: F401  (before TensorFlow: it switches oneDNN)

# isort: split
import keras
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def images(rng):
    """A few random 32 x 32 colour images."""
    return rng.integers(0, 256, (8, 32, 32, 3), np.uint8)
