"""Critics against plain NumPy, layer tables, lean paths against plain ones."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_infomax import critics


@pytest.fixture
def local(rng):
    return tf.constant(rng.normal(size=(5, 3, 2, 8)), tf.float32)


@pytest.fixture
def code(rng):
    return tf.constant(rng.normal(size=(5, 4)), tf.float32)


def loop(critic, x, y):
    """Scores of one pair at a time: f(x_i at location l, y_j)."""
    n = len(y)
    flat = tf.reshape(x, [n, -1, 1, 1, x.shape[-1]])
    result = np.empty((flat.shape[1], n, n), np.float32)
    for k in range(flat.shape[1]):
        for i in range(n):
            for j in range(n):
                pair = (flat[i : i + 1, k], y[j : j + 1])
                result[k, i, j] = np.squeeze(critic(pair))
    return result


ALL_LOCAL = {
    **{name: lambda b=build: b(16) for name, build in critics.LOCAL_CRITICS.items()},
    "bilinear": critics.Bilinear,
    "separable": critics.Separable,
    "concatenated": critics.Concatenated,
}


@pytest.mark.parametrize("name", ALL_LOCAL)
def test_scores_are_those_of_single_pairs(name, local, code):
    critic = ALL_LOCAL[name]()
    scores = critic((local, code))
    assert scores.shape == (6, 5, 5)
    assert scores.dtype == tf.float32
    np.testing.assert_allclose(scores, loop(critic, local, code), atol=2e-5)


@pytest.mark.parametrize("name", critics.VECTOR_CRITICS)
def test_vector_critics_give_a_matrix(name, rng):
    x, y = (tf.constant(rng.normal(size=(5, 4)), tf.float32) for _ in range(2))
    critic = critics.VECTOR_CRITICS[name]()
    scores = critic((x, y))
    assert scores.shape == (5, 5)
    one = critic((x[1:2], y[3:4]))
    np.testing.assert_allclose(scores[1, 3], tf.squeeze(one), atol=1e-5)


def test_inner_product_and_bilinear_are_the_formulas(rng):
    x, y = rng.normal(size=(5, 4)), rng.normal(size=(5, 4))
    pair = (tf.constant(x, tf.float32), tf.constant(y, tf.float32))
    np.testing.assert_allclose(critics.InnerProduct()(pair), x @ y.T, atol=1e-5)
    bilinear = critics.Bilinear()
    scores = bilinear(pair)
    expected = x @ bilinear.kernel.numpy().T @ y.T
    np.testing.assert_allclose(scores, expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_code_of_zeros_has_no_direction_and_a_gradient_that_is_finite(dtype, rng):
    """As that of an image for which every ReLU is off."""
    x = tf.constant(np.vstack([np.zeros(4), rng.normal(size=(4, 4))]), dtype)
    y = tf.constant(rng.normal(size=(5, 4)), dtype)
    with tf.GradientTape() as tape:
        tape.watch((x, y))
        scores = critics.Cosine()((x, y))
        loss = tf.reduce_sum(tf.sin(scores))
    gradients = tape.gradient(loss, [x, y])
    assert scores.dtype == tf.float32
    np.testing.assert_array_equal(scores[0], 0.0)
    for gradient in gradients:
        assert np.isfinite(gradient.numpy().astype(float)).all()
    exact = [side.numpy().astype(float) for side in (x[1:], y)]
    exact = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in exact]
    np.testing.assert_allclose(scores[1:], exact[0] @ exact[1].T / 0.07, atol=1e-4)


@pytest.mark.parametrize("offset", [0.0, 300.0, 1e4])
def test_normalized_scores_bear_a_large_mean(offset, rng):
    """E[z^2] - mean^2 would have no digits left of a variance of 1."""
    z = tf.constant(offset + rng.normal(size=(50, 256)), tf.float32)
    p = rng.normal(size=(7, 256))
    p = tf.constant(p - p.mean(axis=1, keepdims=True), tf.float32)
    exact = z.numpy().astype(float)
    exact -= exact.mean(axis=1, keepdims=True)
    exact /= np.sqrt(np.square(exact).mean(axis=1, keepdims=True) + 1e-5)
    expected = exact @ p.numpy().astype(float).T
    found = critics._correlate(z, p, tf.constant(1e-5))
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_folding_the_last_linear_maps_changes_nothing(local, code):
    critic = critics.EncodeAndDot(16, "plain")
    critic((local, code))
    for block in (critic.x_block, critic.y_block):
        for variable in block.trainable_variables:
            variable.assign(variable + 0.1 * keras.random.normal(variable.shape))
    for training in (False, True):
        hx = critic.x_block(tf.reshape(local, [-1, 8]), training=training)
        hy = critic.y_block(code, training=training)
        unfolded = tf.einsum("nld,md->lnm", tf.reshape(hx, [5, 6, -1]), hy)
        folded = critic((local, code), training=training)
        np.testing.assert_allclose(folded, unfolded, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variant", ["code", "paper"])
@pytest.mark.parametrize("offset", [0.0, 5.0])
def test_normalizing_the_scores_is_normalizing_the_rows(variant, offset, local, code):
    critic = critics.EncodeAndDot(16, variant)
    critic((local, code))
    for variable in critic.trainable_variables:
        variable.assign(variable + 0.1 * keras.random.normal(variable.shape))
    bias = critic.x_block.output_layer.bias
    bias.assign(bias + offset)

    def normalize_rows(x, y):
        hx = critic.x_block(tf.reshape(x, [-1, 8]), training=True)
        hy = critic.y_block(y, training=True)
        return tf.einsum("nld,md->lnm", tf.reshape(hx, [5, 6, -1]), hy)

    def run(score):
        with tf.GradientTape() as tape:
            tape.watch((local, code))
            scores = score(local, code)
            loss = tf.reduce_sum(tf.sin(scores))
        variables = [v.value for v in critic.trainable_variables]
        return scores, *tape.gradient(loss, [local, code, *variables])

    folded = run(lambda x, y: critic((x, y), training=True))
    for one, other in zip(folded, run(normalize_rows), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("columns", [1, 2])  # of five: the last block may be short
def test_chunked_pairs_give_the_same_scores_and_gradients(
    local, code, columns, stored, monkeypatch
):
    column = 5 * 6 * 16  # elements of a hidden layer for one y
    whole = critics.Concatenated((16, 16))
    whole((local, code))
    chunked = critics.Concatenated(
        (16, 16), largest_pair_tensor=(5 if stored else columns) * column
    )
    chunked((local, code))
    chunked.set_weights(whole.get_weights())

    def run(critic):
        @tf.function
        def step(x, y):
            with tf.GradientTape() as tape:
                tape.watch((x, y))
                scores = critic((x, y))
                loss = tf.reduce_sum(tf.sin(scores))
            variables = [v.value for v in critic.trainable_variables]
            return scores, *tape.gradient(loss, [x, y, *variables])

        graph = step.get_concrete_function(local, code).graph
        loops = any("While" in operation.type for operation in graph.get_operations())
        return loops, step(local, code)

    loops, expected = run(whole)
    assert not loops
    monkeypatch.setattr(critics, "_BLOCK", columns * column)
    loops, found = run(chunked)
    assert loops
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


# Parameters by the layer tables (Hjelm et al. 2019 and the released program).
@pytest.mark.parametrize(("channels", "expected"), [(128, 4_728_832), (64, 4_466_688)])
def test_projection_block_has_the_tables_parameters(channels, expected):
    block = critics.ProjectionBlock(2048, "code")
    block.build((None, channels))
    trainable = sum(int(np.prod(v.shape)) for v in block.trainable_variables)
    assert trainable == expected


def test_code_variant_starts_close_to_a_copy_and_is_layer_normed():
    block = critics.ProjectionBlock(16, "code")
    block.build((None, 8))
    np.testing.assert_array_equal(np.diag(block.shortcut.kernel.numpy()), 1.0)
    off_diagonal = block.shortcut.kernel.numpy()[~np.eye(8, 16, dtype=bool)]
    assert np.abs(off_diagonal).max() <= 0.01
    outputs = block(keras.random.normal((7, 8))).numpy()
    np.testing.assert_allclose(outputs.mean(axis=-1), 0, atol=1e-5)
    np.testing.assert_allclose(outputs.std(axis=-1), 1, atol=1e-3)


def test_paper_variant_norms_the_local_side_only():
    critic = critics.EncodeAndDot(16, "paper")
    assert critic.x_block.output_norm is not None
    assert critic.y_block.output_norm is None
    assert critic.x_block.norm is None


def test_concat_and_convolve_is_the_table(local):
    # Local map of 8 x 8 x 128 and a code of 64: 1 x 1 convolutions 192-512-512-1.
    critic = critics.LOCAL_CRITICS["concat_and_convolve"](512)
    critic.build(((None, 8, 8, 128), (None, 64)))
    expected = (192 * 512 + 512) + (512 * 512 + 512) + (512 + 1)
    assert critic.count_params() == expected


def test_global_critic_is_the_table():
    critic = critics.GlobalConcatenated()
    critic.build(((None, 8, 8, 128), (None, 64)))
    expected = (8256 * 512 + 512) + (512 * 512 + 512) + (512 + 1)
    assert critic.count_params() == expected


def test_unknown_variant_is_refused():
    with pytest.raises(ValueError, match=r"variant.*'other'"):
        critics.EncodeAndDot(8, "other")
