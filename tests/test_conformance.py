"""One suite per family: a new row of a table inherits every check here.

Build, save and load as `.keras`, `tf.function`, XLA, mixed precision, and a gradient
that reaches every weight.
"""

from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_infomax import bounds, critics, encoders
from tf_infomax.encoders import alexnet, resnet
from tf_infomax.objectives import InfoMax, PriorMatching, Term, priors

UNITS = 8
SIDES = {
    "auto": 9, "resnet": 20,
    "basic28x28": 28,
    "basic32x32": 32,
    "basic64x64": 64,
    "half_convnet": 8,
    "mlp": 8,
    "cpc": 16,
    "real_nvp": 8,
    "skip_mlp": 8,
    "alex64x64": 64, "foldalex64x64": 64,
    "foldmultialex64x64": 64,
    "resnet19_32x32": 32, "foldresnet19_32x32": 32,
}  # fmt: skip


def build_trunk(units):
    inputs = keras.Input((2, 2, 6))
    return keras.Model(
        inputs, keras.layers.Dense(units)(keras.layers.Flatten()(inputs))
    )


CRITICS = {
    **{f"local/{k}": (lambda f=f: f(UNITS)) for k, f in critics.LOCAL_CRITICS.items()},
    **{
        f"global/{k}": (lambda f=f: f(UNITS, build_trunk))
        for k, f in critics.GLOBAL_CRITICS.items()
    },
    **{f"vector/{k}": f for k, f in critics.VECTOR_CRITICS.items()},
}


@pytest.fixture(params=["float32", "mixed_float16", "mixed_bfloat16"])
def policy(request):
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


def critic_inputs(name, rng, dtype=tf.float32):
    x = rng.normal(size=(4, 2, 2, 6) if "vector" not in name else (4, 6))
    width = 6 if name in ("vector/inner_product", "vector/cosine") else 5
    return tf.cast(x, dtype), tf.cast(rng.normal(size=(4, width)), dtype)


def expected_shape(name):
    return (4, 4, 4) if name.startswith("local/") else (4, 4)


def assert_gradient_reaches_every_weight(model, loss_of):
    with tf.GradientTape() as tape:
        loss = loss_of()
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient.numpy()).all(), variable.path
        assert np.abs(gradient.numpy()).max() > 0, variable.path


@pytest.mark.parametrize("name", CRITICS)
class TestCritics:
    def test_gradient_reaches_every_weight(self, name, rng):
        critic = CRITICS[name]()
        inputs = critic_inputs(name, rng)
        critic(inputs)
        assert_gradient_reaches_every_weight(
            critic, lambda: tf.reduce_sum(tf.sin(critic(inputs, training=True)))
        )

    def test_graph_and_xla_agree_with_eager(self, name, rng):
        critic = CRITICS[name]()
        inputs = critic_inputs(name, rng)
        eager = critic(inputs)
        assert eager.shape == expected_shape(name)
        for jit in (False, True):
            graph = tf.function(lambda x, y: critic((x, y)), jit_compile=jit)(*inputs)
            np.testing.assert_allclose(graph, eager, rtol=1e-4, atol=1e-4)

    def test_scores_are_float32_in_mixed_precision(self, name, rng, policy):
        critic = CRITICS[name]()
        compute = keras.config.dtype_policy().compute_dtype
        scores = critic(critic_inputs(name, rng, compute))
        assert scores.dtype == tf.float32
        assert np.isfinite(scores.numpy()).all()

    def test_reloaded_from_a_keras_file(self, name, rng, tmp_path):
        x, y = critic_inputs(name, rng)
        inputs = [keras.Input(x.shape[1:]), keras.Input(y.shape[1:])]
        model = keras.Model(inputs, CRITICS[name]()(inputs))
        model.save(tmp_path / "critic.keras")
        loaded = keras.models.load_model(tmp_path / "critic.keras")
        np.testing.assert_allclose(loaded([x, y]), model([x, y]), rtol=1e-6)


def test_every_critic_of_the_tables_is_covered():
    tables = (critics.LOCAL_CRITICS, critics.GLOBAL_CRITICS, critics.VECTOR_CRITICS)
    assert len(CRITICS) == sum(len(table) for table in tables)


def build_encoder(name):
    side = SIDES[name]
    if name == "real_nvp":  # 30 couplings, as in its row, say no more than 2
        return encoders.build_real_nvp((side, side, 3), couplings=2, widths=(8,))
    # Nor do hidden layers as wide as in their rows (see tests/test_encoders.py).
    narrow = [mock.patch.object(module, "_UNITS", 16) for module in (alexnet, resnet)]
    with narrow[0], narrow[1]:
        return encoders.ENCODERS[name]((side, side, 3), 16)


def encoder_images(name, rng, n=4):
    return rng.integers(0, 256, (n, SIDES[name], SIDES[name], 3), np.uint8)


@pytest.mark.parametrize("name", encoders.ENCODERS)
class TestEncoders:
    def test_features_have_their_names_and_ranks(self, name, rng):
        features = build_encoder(name)(encoder_images(name, rng))
        width = 3 * SIDES[name] ** 2 if name in encoders.SAME_SIZE else 16
        assert features["code"].shape == (4, width)
        names = {feature.rstrip("_0123456789") for feature in features}
        assert names <= {*encoders.FEATURES, "past", "future"}
        for feature, value in features.items():
            flat = feature in ("fc", "code")
            assert len(value.shape) == (2 if flat else 4)

    def test_gradient_reaches_every_weight(self, name, rng):
        encoder = build_encoder(name)
        images = encoder_images(name, rng)
        assert_gradient_reaches_every_weight(
            encoder,
            lambda: sum(
                tf.reduce_sum(tf.sin(value))
                for value in encoder(images, training=True).values()
            ),
        )

    def test_graph_and_xla_agree_with_eager(self, name, rng):
        encoder, images = build_encoder(name), encoder_images(name, rng)
        eager = encoder(images)["code"]
        for jit in (False, True):
            graph = tf.function(encoder, jit_compile=jit)(tf.constant(images))["code"]
            np.testing.assert_allclose(graph, eager, rtol=1e-3, atol=1e-4)

    def test_mixed_precision_is_finite(self, name, rng, policy):
        code = build_encoder(name)(encoder_images(name, rng), training=True)["code"]
        assert np.isfinite(tf.cast(code, tf.float32).numpy()).all()

    def test_reloaded_from_a_keras_file(self, name, rng, tmp_path):
        encoder, images = build_encoder(name), encoder_images(name, rng)
        encoder(images, training=True)  # moves the batch norms' statistics
        encoder.save(tmp_path / "encoder.keras")
        loaded = keras.models.load_model(tmp_path / "encoder.keras")
        for feature, value in encoder(images).items():
            np.testing.assert_allclose(loaded(images)[feature], value, rtol=1e-6)


@pytest.mark.parametrize("name", priors.PRIORS)
class TestPriors:
    def test_samples_and_squashed_codes_share_a_support(self, name):
        prior = priors.PRIORS[name]
        samples = prior.sample([500, 3], tf.constant([1, 2], tf.int64)).numpy()
        codes = prior.squash(keras.random.normal((500, 3)) * 3).numpy()
        for values in (samples, codes):
            norms = np.linalg.norm(values, axis=1)
            if name == "uniform":
                assert values.min() >= 0
                assert values.max() <= 1
            if name == "ball":
                assert norms.max() <= 1 + 1e-5
            if name == "sphere":
                np.testing.assert_allclose(norms, 1, atol=1e-5)

    def test_draws_are_the_same_under_xla(self, name):
        sample = lambda: priors.PRIORS[name].sample([33, 3], tf.constant([1, 2]))
        graph, xla = (tf.function(sample, jit_compile=jit)() for jit in (False, True))
        np.testing.assert_allclose(xla, graph, atol=1e-5)
        if name == "uniform":
            np.testing.assert_array_equal(xla, graph)

    def test_samples_follow_the_seed(self, name):
        prior = priors.PRIORS[name]
        draws = [
            prior.sample([4, 3], tf.constant([1, k], tf.int64)).numpy()
            for k in (0, 0, 1)
        ]
        np.testing.assert_array_equal(draws[0], draws[1])
        assert not np.allclose(draws[0], draws[2])

    @pytest.mark.parametrize("width", [1, 5])
    def test_scale_is_the_mean_square_between_two_draws(self, name, width):
        prior = priors.PRIORS[name]
        draws = [
            prior.sample([20000, width], tf.constant([2, k], tf.int64)).numpy()
            for k in (0, 1)
        ]
        squares = np.square(draws[0] - draws[1]).sum(axis=1)
        error = squares.std() / np.sqrt(len(squares))
        assert prior.scale(width) == pytest.approx(squares.mean(), abs=4 * error)

    def test_both_losses_reach_their_weights(self, name):
        matching = PriorMatching(name, widths=(6, 4))
        code = keras.random.normal((8, 3))
        seed = tf.constant([0, 0], tf.int64)
        matching(code, seed)
        assert_gradient_reaches_every_weight(
            matching.discriminator, lambda: matching(code, seed)[1]
        )
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(code)
            encoder_loss, discriminator_loss = matching(code, seed)
        assert np.abs(tape.gradient(encoder_loss, code)).max() > 0
        assert tape.gradient(discriminator_loss, code) is None


def test_ball_is_uniform():
    """In the unit ball of R^D, |v|^D is uniform on [0, 1]."""
    sample = priors.PRIORS["ball"].sample([4000, 5], tf.constant([3, 4], tf.int64))
    radius_power = np.linalg.norm(sample.numpy(), axis=1) ** 5
    quantiles = np.quantile(radius_power, [0.1, 0.5, 0.9])
    np.testing.assert_allclose(quantiles, [0.1, 0.5, 0.9], atol=0.03)


@pytest.mark.parametrize("bound", bounds.BOUNDS)
def test_every_bound_trains_an_objective(bound, images):
    encoder = encoders.ENCODERS["basic32x32"]((32, 32, 3), 8)
    critic = critics.LOCAL_CRITICS["encode_and_dot_plain"](8)
    objective = InfoMax(encoder, [Term("local", "x.local", "x.code", critic, bound)])
    objective.compile(keras.optimizers.Adam(1e-3))
    before = [v.numpy() for v in encoder.trainable_variables]
    batches = tf.data.Dataset.from_tensors({"x": images})
    history = objective.fit(batches, verbose=0, shuffle=False)
    assert np.isfinite(history.history["loss"]).all()
    after = [v.numpy() for v in encoder.trainable_variables]
    changed = [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    assert all(changed)
