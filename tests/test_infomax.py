"""InfoMax: its terms and its prior. What every objective owes: test_objectives."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_infomax import bounds, critics, encoders
from tf_infomax.objectives import InfoMax, MemoryBank, PriorMatching, Term


def build_encoder(code=8):
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 127.5, -1.0)(inputs)
    x = keras.layers.Conv2D(6, 4, 2, "same")(x)
    x = local = keras.layers.BatchNormalization(momentum=0.9)(x)
    x = keras.layers.Flatten()(keras.layers.ReLU()(x))
    code = keras.layers.Dense(code)(x)
    return keras.Model(inputs, {"local": local, "code": code})


POOLED = (("candidates", "x"), ("pooled", True))


def build_objective(gamma=0.5, optimizer=None, prior_loss="non_saturating", **kwargs):
    keras.utils.set_random_seed(0)
    critic = critics.LOCAL_CRITICS["encode_and_dot_plain"](8)
    terms = [Term("local", "x.local", "x.code", critic, "info_nce", 1.0, POOLED)]
    prior = PriorMatching(widths=(8, 4), loss=prior_loss) if gamma else None
    objective = InfoMax(build_encoder(), terms, prior, gamma, **kwargs)
    objective.compile(optimizer or keras.optimizers.Adam(1e-2))
    return objective


@pytest.fixture
def batch(rng):
    return {"x": tf.constant(rng.integers(0, 256, (8, 8, 8, 3), np.uint8))}


def repeat(batch, steps):
    return tf.data.Dataset.from_tensors(batch).repeat(steps)


def test_loss_is_the_weighted_sum(batch):
    objective = build_objective(gamma=0.3)
    values = objective.measure(batch)
    expected = -values["local"] + 0.3 * values["prior/encoder"]
    np.testing.assert_allclose(values["loss"], expected, rtol=1e-6)


def test_local_term_is_the_formula(batch):
    objective = build_objective(gamma=0.0)
    features = objective.encoder(batch["x"])
    critic = objective.terms[0].critic
    scores = critic((features["local"], features["code"]))
    expected = np.mean(bounds.info_nce(scores, "x", pooled=True))
    values = objective.measure(batch)
    np.testing.assert_allclose(values["local"], expected, rtol=1e-5)
    assert objective.terms[0].ceiling(8, 16) == pytest.approx(np.log(1 + 7 * 16))


@pytest.mark.parametrize("loss", ["non_saturating", "minimax", "boundary_seeking"])
def test_bug_encoder_helps_the_discriminator(batch, loss):
    """Ports minimized one joint loss; here the encoder must raise the other's loss."""
    objective = build_objective(prior_loss=loss)
    code = objective.encoder(batch["x"])["code"]
    seed = tf.constant([0, 0], tf.int64)
    for _ in range(50):  # a discriminator that knows the difference
        with tf.GradientTape() as tape:
            loss = objective.prior(code, seed)[1]
        variables = objective.prior.trainable_variables
        gradients = tape.gradient(loss, variables)
        objective.optimizers["prior"].apply(gradients, variables)
    with tf.GradientTape() as tape:
        tape.watch(code)
        encoder_loss, before = objective.prior(code, seed)
    step = -0.1 * tape.gradient(encoder_loss, code)
    _, after = objective.prior(code + step, seed)
    assert after > before


def test_bug_penalty_on_the_last_example_only():
    """rdevon/DIM indexed the logits with [-1] before taking the gradient."""
    prior = PriorMatching("normal", widths=(5,), gradient_penalty=1.0)
    code = keras.random.normal((6, 3))
    prior.build(code.shape)
    for variable in prior.trainable_variables:
        variable.assign(keras.random.normal(variable.shape))
    _, penalty = prior._logits_and_penalty(code)
    hidden, end = prior.discriminator.layers
    active = (code.numpy() @ hidden.kernel.numpy() + hidden.bias.numpy()) > 0
    gradients = (active * end.kernel.numpy()[:, 0]) @ hidden.kernel.numpy().T
    squared = np.square(gradients).sum(axis=1)
    np.testing.assert_allclose(penalty, squared.mean(), rtol=1e-4)
    assert not np.isclose(penalty, squared[-1] / len(squared), rtol=0.1)


def test_prior_losses_are_the_formulas():
    prior = PriorMatching("uniform", widths=(5,), gradient_penalty=0.0)
    code, seed = keras.random.normal((6, 3)), tf.constant([1, 2], tf.int64)
    encoder_loss, discriminator_loss = prior(code, seed)
    real = tf.random.stateless_uniform([6, 3], seed)
    d_real = tf.sigmoid(prior.discriminator(real)).numpy().astype(np.float64)
    d_fake = (
        tf.sigmoid(prior.discriminator(tf.sigmoid(code))).numpy().astype(np.float64)
    )
    np.testing.assert_allclose(encoder_loss, -np.log(d_fake).mean(), rtol=1e-4)
    expected = -np.log(d_real).mean() - np.log(1 - d_fake).mean()
    np.testing.assert_allclose(discriminator_loss, expected, rtol=1e-4)


def test_prior_matching_makes_codes_uniform():
    """Codes moved by their gradient alone end up spread over [0, 1]."""
    prior = PriorMatching("uniform", widths=(64, 32))
    codes = keras.Variable(0.2 * keras.random.normal((256, 2)) + 1.0)
    optimizers = keras.optimizers.Adam(0.03), keras.optimizers.Adam(0.003)
    prior.build(codes.shape)
    optimizers[0].build([codes])
    optimizers[1].build(prior.trainable_variables)

    @tf.function
    def step(k):
        with tf.GradientTape(persistent=True) as tape:
            encoder_loss, discriminator_loss = prior(codes.value, tf.stack([k, k]))
        optimizers[0].apply([tape.gradient(encoder_loss, codes.value)], [codes])
        variables = prior.trainable_variables
        optimizers[1].apply(tape.gradient(discriminator_loss, variables), variables)

    for k in range(800):
        step(tf.constant(k, tf.int64))
    squashed = tf.sigmoid(codes.value).numpy()
    assert abs(squashed.mean() - 0.5) < 0.1
    assert 0.2 < squashed.std() < 0.36  # uniform: 0.289; at the start: 0.04


def test_several_terms_share_one_encoder_and_count_a_shared_critic_once(images):
    encoder = encoders.ENCODERS["basic32x32"]((32, 32, 3), 8)
    shared = critics.LOCAL_CRITICS["encode_and_dot_plain"](8)
    terms = [
        Term("xy", "x.local", "y.code", shared, "jsd", 0.5),
        Term("yx", "y.local", "x.code", shared, "jsd", 0.5),
    ]
    objective = InfoMax(encoder, terms)
    objective.compile(keras.optimizers.SGD(0.01))
    assert list(objective.takes) == ["x", "y"]
    variables = objective.variables_of("encoder")
    assert len({id(v) for v in variables}) == len(variables)
    both = {"x": tf.constant(images), "y": tf.constant(images[:, ::-1])}
    objective.fit(tf.data.Dataset.from_tensors(both), verbose=0, shuffle=False)


def test_term_of_a_missing_feature_is_refused():
    encoder = encoders.ENCODERS["mlp"]((8, 8, 3), 8)
    term = Term("local", "x.local", "x.code", critics.InnerProduct(), "dv")
    with pytest.raises(ValueError, match=r"'x.local'.*code, fc"):
        InfoMax(encoder, [term])


@pytest.mark.parametrize(
    ("given", "word"), [({"bound": "nce"}, "info_nce"), ({"negatives": "far"}, "hard")]
)
def test_a_term_accepts_rows_of_its_tables(given, word):
    options = {"bound": "dv", **given}
    with pytest.raises(ValueError, match=word):
        Term("g", "x.code", "y.code", critics.InnerProduct(), **options)


def test_optimizers_are_those_of_the_players():
    critic = critics.InnerProduct()
    objective = InfoMax(build_encoder(), [Term("g", "x.code", "x.code", critic, "dv")])
    with pytest.raises(ValueError, match=r"each of encoder\. Received: encoder, prior"):
        objective.compile({"encoder": "adam", "prior": "adam"})
    objective = build_objective(optimizer=keras.optimizers.SGD(0.5))
    first, second = (objective.optimizers[player] for player in ("encoder", "prior"))
    assert first is not second
    assert first.get_config() == second.get_config()


def test_averaged_encoder_is_the_mean_of_the_weights_seen(batch):
    """Of those after each step, the initial ones not; batch norm's as well."""
    objective = build_objective(gamma=0.0, ema=0.9)
    steps = []
    for _ in range(4):
        objective.fit(repeat(batch, 1), verbose=0, shuffle=False)
        steps.append([v.numpy() for v in objective.networks["encoder"].variables])
        weights = 0.9 ** np.arange(len(steps))[::-1]
        expected = [np.average(v, 0, weights) for v in zip(*steps, strict=True)]
        found = objective.encoder.variables
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    assert objective.encoder is not objective.networks["encoder"]


@pytest.mark.parametrize("negatives", ["iid", "memory"])
def test_codes_of_zeros_do_not_end_a_run_in_half_precision(batch, negatives):
    """ReLU codes of which one is 0, the cosine critic, and a sphere for a prior."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        keras.utils.set_random_seed(0)
        inputs = keras.Input((8, 8, 3), dtype="uint8")
        x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
        code = keras.layers.Dense(8, "relu", use_bias=False)(x)
        encoder = keras.Model(inputs, {"code": code})
        critic = critics.Cosine()
        term = Term("t", "x.code", "y.code", critic, "info_nce", negatives=negatives)
        memory = MemoryBank(8, 4) if negatives == "memory" else None
        prior = PriorMatching("sphere", widths=(8, 4))
        objective = InfoMax(encoder, [term], prior, 0.1, memory=memory)
        objective.compile(keras.optimizers.Adam(1e-3))
        images = batch["x"].numpy()
        images[0] = 0
        views = {"x": images, "y": images, "index": np.arange(8)}
        data = repeat({k: tf.constant(v) for k, v in views.items()}, 4)
        history = objective.fit(data, verbose=0, shuffle=False).history
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(history["loss"]).all()
    # Where a gradient is not finite the scale is halved and nothing is learned.
    optimizer = objective.optimizer
    assert float(optimizer.dynamic_scale) > optimizer.initial_scale / 2**4
    assert all(np.isfinite(v).all() for v in objective.get_weights())


def test_memory_and_prior_draw_from_streams_of_their_own(monkeypatch):
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    code = keras.layers.Dense(4)(keras.layers.Flatten()(inputs / 255))
    encoder = keras.Model(inputs, {"code": code})
    term = Term(
        "t", "x.code", "y.code", critics.Cosine(), "info_nce", negatives="memory"
    )
    prior = PriorMatching("uniform", widths=(4,))
    objective = InfoMax(encoder, [term], prior, 0.1, memory=MemoryBank(8, 4))
    seeds = []
    memory_value, prior_call = objective.memory.value, objective.prior.call
    monkeypatch.setattr(
        objective.memory,
        "value",
        lambda *given: seeds.append(given[-1].numpy()) or memory_value(*given),
    )
    monkeypatch.setattr(
        objective.prior,
        "call",
        lambda code, seed: seeds.append(seed.numpy()) or prior_call(code, seed),
    )
    images = tf.zeros((4, 8, 8, 3), tf.uint8)
    views = {"x": images, "y": images, "index": tf.range(4)}
    objective.step_losses(views, tf.constant([3, 7], tf.int64))
    assert len(seeds) == 2
    assert (seeds[0] != seeds[1]).any()
