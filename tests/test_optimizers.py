"""The fused Adam takes the steps of Keras' Adam."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_infomax.optimizers import FusedAdam


def run(optimizer, jit_compile=None, steps=5):
    rng = np.random.default_rng(0)
    start = rng.normal(size=(6, 4)), rng.normal(size=4)
    variables = [keras.Variable(v.astype(np.float32)) for v in start]
    gradients = [
        [tf.constant(rng.normal(size=v.shape), tf.float32) for v in variables]
        for _ in range(steps)
    ]
    optimizer.build(variables)
    apply = lambda *g: optimizer.apply(list(g), variables)
    if jit_compile is not None:
        apply = tf.function(apply, jit_compile=jit_compile)
    for each in gradients:
        apply(*each)
    return [v.numpy() for v in (*variables, *optimizer.variables)]


def make(cls, **options):
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    return cls(schedule, beta_1=0.5, beta_2=0.9, **options)


@pytest.mark.parametrize("jit_compile", [None, False, True])
@pytest.mark.parametrize(
    "options", [{}, {"global_clipnorm": 0.5}, {"amsgrad": True}], ids=str
)
def test_takes_the_steps_of_keras_adam(jit_compile, options):
    expected = run(make(keras.optimizers.Adam, **options))
    found = run(make(FusedAdam, **options), jit_compile)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)


def test_is_the_formula_of_the_paper():
    variable = keras.Variable(np.zeros(3, np.float32))
    optimizer = FusedAdam(0.1, beta_1=0.5, beta_2=0.9, epsilon=1e-7)
    optimizer.build([variable])
    m = v = x = np.zeros(3)
    for t, g in enumerate(np.array([[1.0, -2, 3], [0.5, 2, -1]]), start=1):
        optimizer.apply([tf.constant(g, tf.float32)], [variable])
        m, v = 0.5 * m + 0.5 * g, 0.9 * v + 0.1 * g**2
        x = x - 0.1 * (m / (1 - 0.5**t)) / (np.sqrt(v / (1 - 0.9**t)) + 1e-7)
    np.testing.assert_allclose(variable.numpy(), x, rtol=1e-5)
