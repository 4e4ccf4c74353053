"""Losses of two views of each image against loops and closed forms; BYOL's averages."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from objective_rows import build_encoder

from tf_infomax import objectives
from tf_infomax.objectives import joint, joint_losses
from tf_infomax.objectives.byol import build_byol
from tf_infomax.objectives.joint import build_head, build_joint, spread
from tf_infomax.objectives.joint_losses import LOSSES

T = 0.5


@pytest.fixture
def pair(rng):
    x = rng.normal(size=(7, 5)).astype(np.float32)
    return x, (x + 0.5 * rng.normal(size=(7, 5))).astype(np.float32)


def value(name, x, y, *options, labels=None):
    loss, parts = LOSSES[name].function(
        tf.constant(x), tf.constant(y), labels, *options
    )
    return float(loss), {part: float(each) for part, each in parts.items()}


def similarities(x, y):
    """Of all 2 N embeddings, and where the own other view of each stands."""
    z = np.concatenate([x, y]).astype(float)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    n = len(x)
    return z @ z.T / T, [(i + n) % (2 * n) for i in range(2 * n)]


def looped(x, y, lost):
    """The mean over anchors of lost(own score, scores of all other images)."""
    s, other = similarities(x, y)
    n, losses = len(x), []
    for i in range(2 * n):
        rest = [k for k in range(2 * n) if k % n != i % n]
        losses.append(lost(s[i, other[i]], s[i, rest]))
    return np.mean(losses)


class TestContrast:
    def test_nt_xent_is_the_loop_over_anchors(self, pair):
        expected = looped(*pair, lambda p, k: np.log(np.exp([p, *k]).sum()) - p)
        assert value("nt_xent", *pair, T)[0] == pytest.approx(expected, rel=1e-5)

    def test_nt_xent_of_orthogonal_images(self):
        """log(1 + (2N - 2) e^(-1/T)), views being equal."""
        x = np.eye(6, dtype=np.float32)
        expected = math.log(1.0 + 10.0 * math.exp(-1.0 / T))
        assert value("nt_xent", x, 3.0 * x, T)[0] == pytest.approx(expected, rel=1e-5)

    def test_decoupled_leaves_the_positive_out(self, pair):
        expected = looped(*pair, lambda p, k: np.log(np.exp(k).sum()) - p)
        assert value("decoupled", *pair, T)[0] == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.6])
    def test_debiased_is_equation_8(self, share, pair):
        def lost(p, k):
            estimated = (np.exp(k).mean() - share * np.exp(p)) / (1.0 - share)
            negative = len(k) * max(estimated, math.exp(-1.0 / T))
            return -np.log(np.exp(p) / (np.exp(p) + negative))

        found = value("debiased", *pair, T, share)[0]
        assert found == pytest.approx(looped(*pair, lost), rel=1e-5)
        if share == 0.0:
            assert found == pytest.approx(value("nt_xent", *pair, T)[0], rel=1e-5)

    def test_debiased_negatives_have_a_floor(self):
        """Opposite views and negatives of no similarity: the correction is capped."""
        x = np.eye(4, dtype=np.float32)
        far = math.exp(-1.0 / T)
        expected = -math.log(math.e ** (1 / T) / (math.e ** (1 / T) + 6 * far))
        assert value("debiased", x, x, T, 0.9)[0] == pytest.approx(expected, rel=1e-5)

    def test_labels_make_positives_of_a_class(self, pair):
        """Equation 2, the sum outside of the logarithm; -1 is no class."""
        labels = np.array([0, 0, 1, 2, 2, 2, -1])
        s, other = similarities(*pair)
        both, losses = np.tile(labels, 2), []
        for i in range(14):
            rest = [k for k in range(14) if k != i]
            positives = [
                k for k in rest
                if k == other[i] or (both[k] == both[i] and both[i] >= 0)
            ]  # fmt: skip
            whole = np.log(np.exp(s[i, rest]).sum())
            losses.append(np.mean([whole - s[i, k] for k in positives]))
        found = value("supervised_contrast", *pair, T, labels=tf.constant(labels))[0]
        assert found == pytest.approx(np.mean(losses), rel=1e-5)

    @pytest.mark.parametrize("labels", [np.arange(7), np.full(7, -1)])
    def test_without_classes_supervised_contrast_is_nt_xent(self, labels, pair):
        found = value("supervised_contrast", *pair, T, labels=tf.constant(labels))[0]
        assert found == pytest.approx(value("nt_xent", *pair, T)[0], rel=1e-5)

    def test_an_embedding_of_zeros_has_a_finite_gradient(self):
        x = tf.zeros([4, 3])
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss, _ = joint_losses.nt_xent(x, x + 0.0, None, T)
        assert np.isfinite(tape.gradient(loss, x)).all()


class TestMoments:
    def test_vicreg_is_the_released_formula(self, pair):
        x, y = (side.astype(float) for side in pair)
        expected = 25.0 * np.mean((x - y) ** 2)
        for side in (x, y):
            covariance = np.cov(side.T)
            deviation = np.sqrt(np.diag(covariance) + 1e-4)
            expected += 25.0 * np.maximum(0.0, 1.0 - deviation).mean() / 2.0
            off = covariance - np.diag(np.diag(covariance))
            expected += (off**2).sum() / 5
        found, parts = value("vicreg", *pair, 25.0, 25.0, 1.0)
        assert found == pytest.approx(expected, rel=1e-4)
        weighted = np.dot(list(parts.values()), [25.0, 25.0, 1.0])
        assert found == pytest.approx(weighted, rel=1e-5)

    def test_vicreg_is_0_at_its_best(self):
        """Equal views, uncorrelated columns of variance above 1."""
        x = np.float32([[2, 2], [2, -2], [-2, 2], [-2, -2]])
        assert value("vicreg", x, x, 25.0, 25.0, 1.0)[0] == pytest.approx(0.0, abs=1e-6)

    def test_barlow_twins_is_of_correlations(self, pair):
        x, y = pair
        c = np.corrcoef(x.T, y.T)[:5, 5:]
        off = (c**2).sum() - (np.diag(c) ** 2).sum()
        expected = ((1.0 - np.diag(c)) ** 2).sum() + 0.1 * off
        found, parts = value("barlow_twins", x, y, 0.1)
        assert found == pytest.approx(expected, rel=1e-3)
        assert parts["off_diagonal"] == pytest.approx(off, rel=1e-3)

    def test_log_determinant_is_largest_where_columns_are_white(self, pair):
        white = np.float32([[1, 1], [1, -1], [-1, 1], [-1, -1]])
        found, parts = value("log_determinant", white, white, 1.0)
        assert parts["entropy"] == pytest.approx(math.log(1.001), abs=1e-5)
        assert found == pytest.approx(-parts["entropy"], abs=1e-6)
        x, y = (
            math.sqrt(5.0) * side / np.linalg.norm(side, axis=1, keepdims=True)
            for side in pair
        )
        logs = [
            np.linalg.slogdet(np.cov(s.T, bias=True) + 1e-3 * np.eye(5))[1] / 5
            for s in (x, y)
        ]
        found, parts = value("log_determinant", *pair, 2.0)
        assert parts["entropy"] == pytest.approx(np.mean(logs), rel=1e-3)
        expected = 2.0 * np.mean((x - y) ** 2) - np.mean(logs)
        assert found == pytest.approx(expected, rel=1e-3)


def test_spread_of_directions(rng):
    assert float(spread(tf.constant([[1.0, 0.0], [-3.0, 0.0]]))) == pytest.approx(1.0)
    assert float(spread(tf.ones([5, 3]))) == pytest.approx(0.0, abs=1e-3)
    told = joint.describe_collapse({"spread": 0.01})
    assert "collapsed" in told[0]
    assert not joint.describe_collapse({"spread": 0.5})


def test_the_reading_is_infonce_of_the_two_embeddings(rng):
    """Of both directions; the loss has twice as many negatives and is no bound."""
    options = {"similarity_temperature": T}
    objective = build_joint(build_encoder(), "nt_xent", (), options)
    images = tf.constant(rng.integers(0, 256, (6, 8, 8, 3), np.uint8))
    other = tf.reverse(images, [2])
    values = objective.measure({"x": images, "y": other})
    x, y = (np.array(objective.encoder(v)["code"], float) for v in (images, other))
    x, y = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (x, y))
    s = x @ y.T / T
    rows = [np.log(np.exp(m).sum(1)) - np.diag(m) for m in (s, s.T)]
    expected = math.log(6) - np.mean(rows)
    assert float(values["mi/views"]) == pytest.approx(expected, rel=1e-4)
    reading = objective.values["mi/views"].describe(6)
    assert reading["ceiling"] == pytest.approx(math.log(6))


class TestBYOL:
    @pytest.fixture
    def objective(self):
        keras.utils.set_random_seed(0)
        objective = build_byol(build_encoder(), (6, 4), momentum=0.9)
        objective.compile(keras.optimizers.SGD(0.1))
        return objective

    def test_targets_are_averages_that_no_gradient_reaches(self, objective, rng):
        images = rng.integers(0, 256, (8, 8, 8, 3), np.uint8)
        network, target = (objective.networks[r] for r in ("encoder", "target_encoder"))
        before = [w.numpy() for w in target.weights]
        for one, other in zip(network.weights, target.weights, strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy())
        objective.train_step({"x": images, "y": images[:, :, ::-1]})
        trained = {id(v) for v in objective.variables_of("encoder")}
        assert not trained & {id(w) for w in target.weights}
        kernels = [k for k, w in enumerate(target.weights) if "kernel" in w.path]
        for k in kernels:
            expected = 0.9 * before[k] + 0.1 * network.weights[k].numpy()
            np.testing.assert_allclose(target.weights[k], expected, atol=1e-6)

    def test_the_loss_is_that_of_predicted_directions(self, objective, rng):
        """2 - 2 cos, each view foretelling the other's average."""
        x = rng.integers(0, 256, (5, 8, 8, 3), np.uint8)
        y = x[:, ::-1]
        n, errors = objective.networks, []
        for one, other in ((x, y), (y, x)):
            guess = n["predictor"](n["head"](n["encoder"](one)["code"]))
            target = n["target_head"](n["target_encoder"](other)["code"])
            guess, target = (
                np.array(v) / np.linalg.norm(v, axis=1, keepdims=True)
                for v in (guess, target)
            )
            errors.append(2.0 - 2.0 * (guess * target).sum(axis=1))
        found = objective.measure({"x": x, "y": y})["loss/byol"]
        assert float(found) == pytest.approx(np.mean(errors), rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": "ntxent"}, "loss must be one of nt_xent.*'ntxent'"),
        ({"options": {}}, "takes the options similarity_temperature. Received: none"),
    ],
)
def test_what_is_not_there_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_joint(build_encoder(), **arguments)


@pytest.mark.parametrize("widths", [(), (4,), (8, 4)])
def test_heads_have_their_widths(widths):
    head = build_head(6, widths)
    assert head.output.shape[-1] == (widths[-1] if widths else 6)
    assert sum("dense" in layer.name for layer in head.layers) == len(widths)


@pytest.mark.parametrize("name", ["simclr", "vicreg", "byol"])
def test_presets_make_their_own_views(name, rng):
    encoder = build_encoder()
    objective = objectives.build(
        name, encoder, views="augment", augment=("flip", "color"), head_units=8,
        embedding_size=4,
    )  # fmt: skip
    objective.compile("adam")
    images = rng.integers(0, 256, (16, 8, 8, 3), np.uint8)
    history = objective.fit(images, batch_size=8, epochs=1, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
