"""Classification: against plain Keras, and what missing labels do."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from commands import run
from objective_rows import build_encoder

from tf_infomax.data.images import ImageSet
from tf_infomax.objectives.supervised import build_supervised
from tf_infomax.training.trained import load_trained
from tf_infomax.training.workdir import WorkDirectory


@pytest.fixture
def images(rng):
    return tf.constant(rng.integers(0, 256, (8, 8, 8, 3), np.uint8))


def test_with_all_labels_it_trains_as_keras_does(images):
    """Bit for bit the network of `compile(loss=SparseCategoricalCrossentropy)`."""
    labels = tf.constant(np.arange(8) % 3)
    keras.utils.set_random_seed(1)
    encoder = build_encoder()
    hidden = keras.layers.ReLU()(encoder.output["code"])
    plain = keras.Model(encoder.input, keras.layers.Dense(3)(hidden))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    plain.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"])
    keras.utils.set_random_seed(1)
    objective = build_supervised(build_encoder(), 3)
    objective.compile(keras.optimizers.Adam(1e-2))
    pairs = tf.data.Dataset.from_tensors((images, labels)).repeat(5)
    one, other = (
        model.fit(pairs, epochs=2, verbose=0, shuffle=False).history
        for model in (plain, objective)
    )
    np.testing.assert_allclose(other["loss"], one["loss"], rtol=1e-5)
    np.testing.assert_allclose(other["accuracy"], one["accuracy"], rtol=1e-6)
    weights = plain.get_weights()
    ours = [v for n in objective.networks.values() for v in n.get_weights()]
    assert len(weights) == len(ours)
    for a, b in zip(weights, ours, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6)


def test_images_without_a_label_do_not_count(images):
    labels = np.array([0, -1, 2, -1, 1, 1, -1, 0])
    objective = build_supervised(build_encoder(), 3)
    objective.compile("sgd")
    known = labels >= 0
    some = objective.measure((images, tf.constant(labels)))
    only = objective.measure((images[known], tf.constant(labels[known])))
    for name in ("loss", "accuracy", "cross_entropy"):
        assert float(some[name]) == pytest.approx(float(only[name]), rel=1e-6)
    logits = objective.networks["head"](objective.encoder(images)["code"]).numpy()
    right = (logits.argmax(-1) == labels)[known].mean()
    assert float(some["accuracy"]) == pytest.approx(right)


def test_a_batch_without_labels_teaches_nothing(images):
    objective = build_supervised(build_encoder(), 3)
    objective.compile(keras.optimizers.SGD(1.0))
    before = [v.numpy() for v in objective.trainable_variables]
    logs = objective.train_step((images, tf.fill([8], -1)))
    assert float(logs["loss"]) == float(logs["accuracy"]) == 0.0
    for variable, value in zip(objective.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_labels_are_asked_for(images):
    objective = build_supervised(build_encoder(), 3)
    objective.compile("sgd")
    with pytest.raises(ValueError, match="lacks label"):
        objective.train_step(images)


@pytest.mark.parametrize("label", [3, 7])
def test_a_label_of_no_class_is_refused(images, label):
    """By words of its own: an operation of a GPU would answer with NaN."""
    objective = build_supervised(build_encoder(), 3)
    objective.compile("sgd")
    labels = np.array([0, 1, 2, -1, 0, 1, 2, label])
    with pytest.raises(tf.errors.InvalidArgumentError, match="below 3, the classes"):
        objective.fit(images, labels, batch_size=8, verbose=0)


class TestCommand:
    """Trained from its flags alone, on images whose classes differ in brightness."""

    FLAGS = (
        "--objective=supervised", "--encoder=half_convnet", "--batch_size=16",
        "--steps=30", "--probes=", "--learning_rate=1e-3",
    )  # fmt: skip

    def test_the_head_is_right_on_test_images(self, data, tmp_path):
        workdir = tmp_path / "run"
        flags = (*self.FLAGS, f"--dataset=arrays:{data}", f"--workdir={workdir}")
        done = run("train", *flags, "--label_fraction=0.2")
        assert done.returncode == 0, done.stderr
        results = json.loads((workdir / "results.json").read_text())
        assert results["accuracy"]["mean"] > 0.9
        rows = (workdir / "metrics.jsonl").read_text().splitlines()
        assert "validation/accuracy" not in rows[0]  # fewer than a batch
        card = load_trained(WorkDirectory(str(workdir))).objective.describe()
        assert card["classes"] == 2

    def test_images_without_labels_are_refused(self, tmp_path):
        images = np.zeros((40, 32, 32, 3), np.uint8)
        images[:, 0, 0, 0] = np.arange(40)
        np.save(tmp_path / "x.npy", images)
        flags = (*self.FLAGS, f"--dataset=arrays:{tmp_path / 'x.npy'}")
        done = run("train", *flags, f"--workdir={tmp_path / 'run'}")
        assert done.returncode == 2
        assert "--objective=supervised needs labels" in done.stderr
        assert not (tmp_path / "run").exists()


def test_a_part_of_the_labels_is_one_of_each_class():
    labels = np.repeat([0, 1, 2, -1], [200, 40, 3, 7])
    images = ImageSet(np.zeros((250, 8, 8, 1), np.uint8), labels)
    kept = images.keep_labels(0.1, seed=0)
    assert np.bincount(kept + 1).tolist() == [250 - 25, 20, 4, 1]
    assert ((kept == labels) | (kept == -1)).all()
    np.testing.assert_array_equal(kept, images.keep_labels(0.1, seed=0))
    assert (kept != images.keep_labels(0.1, seed=1)).any()
    np.testing.assert_array_equal(images.keep_labels(1.0), labels)
