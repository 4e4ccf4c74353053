"""Scores in blocks: values and gradients of the whole matrix, in less memory."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_infomax import bounds, critics, encoders, objectives
from tf_infomax.objectives import negatives
from tf_infomax.runtime.blocks import ScoresInBlocks, map_blocks

N, D, L = 22, 6, 5
CRITICS = {
    "inner_product": critics.InnerProduct,
    "encode_and_dot": lambda: critics.EncodeAndDot(8),
    "encode_and_dot_plain": lambda: critics.EncodeAndDot(8, "plain"),
    "separable": lambda: critics.Separable((7, 8)),
    "concatenated": lambda: critics.Concatenated((9, 4)),
}
OPTIONS = {
    "dv": [{}, {"pooled": True}],
    "info_nce": [
        {"candidates": "x"}, {"candidates": "y"}, {"candidates": "both"},
        {"candidates": "x", "pooled": True},
    ],
}  # fmt: skip


def make_sides(rng, places=(1, L)):
    x = tf.constant(rng.normal(size=(N, *places, D)), tf.float32)
    return x, tf.constant(rng.normal(size=(N, D)), tf.float32)


def measure(critic, x, y, value):
    """A value of embeddings, and its gradients by sides and weights."""
    with tf.GradientTape() as tape:
        tape.watch([x, y])
        result = value(*critic.embed(x, y))
    sources = [x, y, *critic.trainable_variables]
    unconnected = tf.UnconnectedGradients.ZERO
    return [result, *tape.gradient(result, sources, unconnected_gradients=unconnected)]


def assert_close(found, expected):
    for one, other in zip(found, expected, strict=True):
        largest = np.abs(other).max()
        np.testing.assert_allclose(one, other, atol=1e-5 * largest + 1e-6, rtol=1e-4)


@pytest.mark.parametrize("columns", [1, 7, N, 30])
@pytest.mark.parametrize("name", bounds.BOUNDS)
def test_values_and_gradients_are_those_of_the_matrix(name, columns, rng):
    x, y = make_sides(rng)
    row, critic = bounds.BOUNDS[name], critics.EncodeAndDot(8)
    critic.build((x.shape, y.shape))
    for options in OPTIONS.get(name, [{}]):
        whole = lambda hx, hy, o=options: tf.reduce_mean(
            row.function(0.3 * critic.score(hx, hy), **o)
        )
        blocks = lambda hx, hy, o=options: tf.reduce_mean(
            row.function(
                ScoresInBlocks(critic.score, hx, hy, columns, lambda u: 0.3 * u), **o
            )
        )
        assert_close(measure(critic, x, y, blocks), measure(critic, x, y, whole))


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("places", [(1, L), ()])
@pytest.mark.parametrize("name", CRITICS)
def test_every_critic_within_a_compiled_step(name, places, jit, rng):
    """Of maps and of vectors, with the gradients of the critic's own weights."""
    x, y = make_sides(rng, places)
    critic = CRITICS[name]()
    critic.build((x.shape, y.shape))
    options = {"candidates": "x", "pooled": True} if places else {}

    def value(scores):
        return tf.reduce_mean(bounds.info_nce(scores, **options))

    def in_blocks():
        blocks = lambda hx, hy: value(ScoresInBlocks(critic.score, hx, hy, 6))
        return measure(critic, x, y, blocks)

    expected = measure(critic, x, y, lambda hx, hy: value(critic.score(hx, hy)))
    assert_close(tf.function(in_blocks, jit_compile=jit)(), expected)


def test_maps_against_maps(rng):
    """Each location against the same one of the others."""
    x, _ = make_sides(rng)
    y = tf.constant(rng.normal(size=(N, 1, L, D)), tf.float32)
    critic = critics.InnerProduct()
    whole = bounds.jsd(critic((x, y)))
    hx, hy = critic.embed(x, y)
    blocks = bounds.jsd(ScoresInBlocks(critic.score, hx, hy, 5))
    np.testing.assert_allclose(blocks, whole, rtol=1e-5)


def test_scores_far_out_have_finite_gradients(rng):
    """Also where a block has no other pair of a row, and a sum underflows."""
    x, y = (tf.constant(100 * rng.normal(size=(5, 3)), tf.float32) for _ in range(2))
    critic = critics.InnerProduct()
    for name, row in bounds.BOUNDS.items():
        found = measure(
            critic, x, y,
            lambda hx, hy, r=row: r.function(ScoresInBlocks(critic.score, hx, hy, 1)),
        )  # fmt: skip
        expected = measure(
            critic, x, y, lambda hx, hy, r=row: r.function(critic.score(hx, hy))
        )
        assert all(np.isfinite(each).all() for each in found), name
        assert_close(found, expected)


def test_some_negatives_are_of_the_matrix():
    x = tf.zeros([4, 2])
    scores = ScoresInBlocks(critics.InnerProduct().score, x, x, 2)
    for name in ("info_nce", "jsd", "dv"):
        with pytest.raises(ValueError, match="negatives=2"):
            bounds.BOUNDS[name].function(scores, negatives=2)


def test_map_blocks_reads_variables_and_shares(rng):
    a = tf.constant(rng.normal(size=(3, 4)), tf.float32)
    b = tf.constant(rng.normal(size=(4,)), tf.float32)
    weight = tf.Variable(rng.normal(size=(4,)), dtype=tf.float32)

    def value(stacked):
        return tf.reduce_sum(stacked * tf.constant([1.0, -2.0, 3.0])[:, None])

    with tf.GradientTape(persistent=True) as tape:
        tape.watch([a, b])
        blocks = map_blocks(
            lambda shared, parts, k: tf.sin(shared[0] * parts[0]) * weight, [b], [a]
        )
        found, expected = value(blocks), value(tf.sin(b * a) * weight)
    assert_close(
        tape.gradient(found, [a, b, weight]), tape.gradient(expected, [a, b, weight])
    )


class TestObjective:
    def step(self, monkeypatch, limit, bound):
        """Loss and weights of a step, with this much memory."""
        monkeypatch.setattr(negatives, "largest_tensor", lambda: limit)
        negatives._count_columns.cache_clear()
        keras.utils.set_random_seed(0)
        images = np.random.default_rng(0).integers(0, 256, (24, 12, 12, 3), np.uint8)
        encoder = encoders.build_half_convnet((12, 12, 3), 8)
        objective = objectives.dim_local(encoder, bound=bound, critic_units=8)
        objective.compile(keras.optimizers.SGD(0.1))
        loss = objective.train_on_batch(images, return_dict=True)["loss"]
        tested = objective.test_on_batch(images, return_dict=True)
        negatives._count_columns.cache_clear()
        return {"trained": loss, **tested}, objective.networks["encoder"].get_weights()

    @pytest.mark.parametrize("bound", ["info_nce", "jsd"])
    def test_blocks_are_taken_where_the_matrix_would_not_fit(
        self, bound, monkeypatch, capsys
    ):
        whole = self.step(monkeypatch, 1 << 30, bound)
        assert "columns at a time" not in capsys.readouterr().err
        blocks = self.step(monkeypatch, 50_000, bound)
        told = capsys.readouterr().err
        assert told.count("columns at a time") == 1
        for name, value in whole[0].items():
            np.testing.assert_allclose(blocks[0][name], value, rtol=1e-4, atol=1e-6)
        for one, other in zip(blocks[1], whole[1], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


PEAK = """
import sys
import numpy as np, tensorflow as tf
from tf_infomax import bounds, critics
from tf_infomax.runtime.blocks import ScoresInBlocks
n, columns = 2048, int(sys.argv[1])
x = tf.random.normal([n, 4, 4, 32]); y = tf.random.normal([n, 32])
critic = critics.EncodeAndDot(16)
critic.build((x.shape, y.shape))
@tf.function
def step():
    with tf.GradientTape() as tape:
        hx, hy = critic.embed(x, y, training=True)
        scores = ScoresInBlocks(critic.score, hx, hy, columns) if columns else (
            critic.score(hx, hy))
        value = tf.reduce_mean(bounds.info_nce(scores, candidates="x", pooled=True))
    return value, tape.gradient(value, critic.trainable_variables)
def peak():
    # Other than the `ru_maxrss` of a process, this does not begin with its parent's.
    (line,) = (t for t in open("/proc/self/status") if t.startswith("VmHWM"))
    return int(line.split()[1])
before = peak()
value = float(step()[0])
assert np.isfinite(value)
print((peak() - before) / 1024)
"""


def test_memory_is_that_of_a_block():
    """Of 2,048 images at 16 locations, whose scores alone are 268 MB."""

    def peak(columns):
        result = subprocess.run(
            [sys.executable, "-c", PEAK, str(columns)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return float(result.stdout.splitlines()[-1])

    assert peak(0) > 600
    assert peak(64) < 250
