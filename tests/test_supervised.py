"""Classification: against plain Keras, and what missing labels do."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from objective_rows import build_encoder

from tf_infomax.objectives.supervised import build_supervised


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
