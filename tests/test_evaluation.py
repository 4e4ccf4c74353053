"""Health, probes, neighbours and features against what can be written down."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_infomax import encoders
from tf_infomax.data.images import MappedImages
from tf_infomax.evaluation import features, health, neighbors, probes


class TestHealth:
    def test_of_isotropic_codes(self, rng):
        codes = rng.normal(size=(4000, 16))
        figures = health.measure_health(codes)
        assert figures["effective_rank"] == pytest.approx(16, abs=0.1)
        assert figures["mean_cosine"] == pytest.approx(0, abs=0.01)
        assert figures["std_mean"] == pytest.approx(1, abs=0.02)
        assert health.describe_collapse(figures, 16) == []

    def test_mean_cosine_is_the_mean_over_pairs(self, rng):
        codes = rng.normal(size=(6, 3)) + 1
        unit = codes / np.linalg.norm(codes, axis=1, keepdims=True)
        cosines = (unit @ unit.T)[~np.eye(6, dtype=bool)]
        figures = health.measure_health(codes)
        assert figures["mean_cosine"] == pytest.approx(cosines.mean())

    def test_effective_rank_of_known_spectra(self):
        # Orthogonal columns of equal length: exactly k directions.
        codes = np.zeros((8, 8))
        for k in range(3):
            codes[2 * k, k], codes[2 * k + 1, k] = 1, -1
        assert health.measure_health(codes)["effective_rank"] == pytest.approx(3)

    def test_rounding_is_no_spectrum(self, rng):
        """One code for all images, in float32: there is nothing to have a rank."""
        code = rng.normal(size=64) * 1e-3
        codes = (code + 1e-10 * rng.normal(size=(500, 64))).astype(np.float32)
        assert 0 < codes.std(axis=0, dtype=np.float64).mean() < 1e-9
        figures = health.measure_health(codes)
        assert figures["effective_rank"] == 0
        assert "hardly vary" in health.describe_collapse(figures, 64)[0]
        # What stands clear of rounding counts, at any scale and beside any mean.
        signal = rng.normal(size=(500, 64))
        expected = health.measure_health(signal - signal.mean(axis=0))["effective_rank"]
        for codes in (1e-9 * signal, signal + 100.0):
            rank = health.measure_health(codes.astype(np.float32))["effective_rank"]
            assert rank == pytest.approx(expected, rel=1e-3)

    def test_few_images_are_held_against_what_they_span(self, rng):
        """n points in general position span n - 1 dimensions: no collapse."""
        for count in (2, 3, 9, 20):
            figures = health.measure_health(rng.normal(size=(count, 64)))
            assert 1 - 1e-9 <= figures["effective_rank"] <= count - 1 + 1e-9
            assert figures["images"] == count
            assert health.describe_collapse(figures, 64) == []
        line = np.outer(np.arange(20.0) - 9.5, rng.normal(size=64))
        (warning,) = health.describe_collapse(health.measure_health(line), 64)
        assert "1.0 of 19 dimensions that 20 images can span" in warning
        with pytest.raises(ValueError, match=r"2 images or more. Received: 1"):
            health.measure_health(np.ones((1, 64)))

    @pytest.mark.parametrize(
        ("codes", "words"),
        [
            (np.ones((50, 16)), "hardly vary"),
            (100 + np.random.default_rng(0).normal(size=(50, 16)), "same way"),
            (np.outer(np.arange(50.0) - 25, np.ones(16)), "of 16 dimensions"),
        ],
    )
    def test_collapse_is_told_in_words(self, codes, words):
        warnings = health.describe_collapse(health.measure_health(codes), 16)
        assert any(words in warning for warning in warnings)


@pytest.fixture
def separable(rng):
    """Three classes, linearly separable, with an uninformative wide-ranging feature."""
    labels = np.arange(300) % 3
    codes = rng.normal(size=(300, 5)) * 0.3
    codes[:, :3] += np.eye(3)[labels] * 2
    codes[:, 4] *= 1e4
    return codes.astype(np.float32), labels


@pytest.mark.parametrize("name", probes.PROBES)
def test_probes_read_separable_classes(name, separable):
    codes, labels = separable
    accuracies = probes.run_probe(
        name, codes[:200], labels[:200], codes[200:], labels[200:], seeds=2
    )
    assert accuracies.accuracy.shape == accuracies.balanced.shape == (2,)
    assert accuracies.accuracy.min() > 0.95


@pytest.mark.parametrize("name", probes.PROBES)
def test_probes_of_noise_are_at_chance(name, rng):
    codes, labels = rng.normal(size=(600, 5)).astype(np.float32), np.arange(600) % 3
    accuracies = probes.run_probe(
        name, codes[:300], labels[:300], codes[300:], labels[300:], seeds=2
    )
    assert abs(accuracies.accuracy.mean() - 1 / 3) < 0.1


def test_a_linear_probe_cannot_read_xor_and_the_mlp_can(rng):
    bits = rng.integers(0, 2, (2000, 2))
    codes = (bits + 0.1 * rng.normal(size=bits.shape)).astype(np.float32)
    labels = bits[:, 0] ^ bits[:, 1]
    parts = (codes[:1500], labels[:1500], codes[1500:], labels[1500:])
    assert (
        probes.run_probe("linear", *parts, seeds=1).accuracy < 0.8
    )  # three corners of four
    assert probes.run_probe("mlp", *parts, seeds=1).accuracy > 0.95


def test_probes_are_the_same_every_time(separable):
    codes, labels = separable
    parts = (codes[:200], labels[:200], codes[200:], labels[200:])
    for name in probes.PROBES:
        first, second = (probes.run_probe(name, *parts, seeds=2) for _ in range(2))
        np.testing.assert_array_equal(first.accuracy, second.accuracy)


@pytest.mark.parametrize("name", probes.PROBES)
def test_test_labels_choose_nothing(name, separable):
    """Other test labels: the same penalties, and the same answers now told wrong."""
    codes, labels = separable
    given = (codes[:200], labels[:200], codes[200:])
    right = probes.run_probe(name, *given, labels[200:], seeds=2)
    wrong = probes.run_probe(name, *given, (labels[200:] + 1) % 3, seeds=2)
    np.testing.assert_array_equal(right.penalties, wrong.penalties)
    assert np.all(right.accuracy + wrong.accuracy <= 1)


@pytest.mark.parametrize("name", ["knn", "linear"])
def test_online_probe(name, separable):
    codes, labels = separable
    codes = codes[:, :4]
    score = probes.score_online(
        name, codes[:200], labels[:200], codes[200:], labels[200:]
    )
    assert score > 0.95


def test_standardize_uses_the_training_statistics_and_survives_constants():
    train = np.array([[1.0, 5], [3, 5]], np.float32)
    scaled, test = probes.standardize(train, np.array([[5.0, 6]], np.float32))
    np.testing.assert_allclose(scaled, [[-1, 0], [1, 0]])
    np.testing.assert_allclose(test, [[3, 0]])


def test_neighbors_are_nearest_in_l1(rng):
    codes = rng.normal(size=(30, 4))
    found = neighbors.find_neighbors(codes[:5], codes, 3)
    distances = np.abs(codes[:5, None] - codes[None]).sum(axis=-1)
    np.testing.assert_array_equal(found, np.argsort(distances, axis=1)[:, :3])


def test_features_of_many_images_are_those_of_each(rng):
    encoder = encoders.ENCODERS["basic32x32"]((32, 32, 3), 8)
    images = rng.integers(0, 256, (7, 32, 32, 3), np.uint8)
    encoder(images, training=True)
    extract = features.FeatureExtractor(encoder, ["code", "conv"], batch_size=3)
    found = extract(images)
    direct = encoder(images, training=False)
    np.testing.assert_allclose(found["code"], direct["code"], rtol=1e-4, atol=1e-5)
    flat = tf.reshape(direct["conv"], [7, -1])
    np.testing.assert_allclose(found["conv"], flat, rtol=1e-4, atol=1e-5)


def test_some_images_are_drawn_from_all_places():
    images = np.arange(1000)[:, None] * np.ones((1, 2), int)
    assert features.draw_some(images, 1000) is images
    some = features.draw_some(images, 100)[:, 0]
    assert len(np.unique(some)) == 100
    np.testing.assert_array_equal(np.histogram(some, 4, (0, 1000))[0] > 10, True)
    mapped = MappedImages(images, np.arange(1000))
    np.testing.assert_array_equal(features.draw_some(mapped, 100)[:][:, 0], some)


def test_large_images_are_as_many_as_there_is_memory_for():
    parts = [np.zeros((n, 4, 4, 1), np.uint8) for n in (100, 20, 40)]
    assert [*map(id, features.draw_share(parts, 2560))] == [*map(id, parts)]
    assert [*map(len, features.draw_share(parts, 1280))] == [50, 10, 20]
    assert [*map(len, features.draw_share(parts, 1))] == [2, 2, 2]


class TestFeatureStore:
    """Features are computed once, and what is kept is bounded."""

    @pytest.fixture
    def calls(self, monkeypatch):
        """(features computed, of how many images), in the order of the passes."""
        passes, original = [], features.FeatureExtractor.__call__

        def counting(extractor, images, *arguments):
            passes.append((tuple(extractor.names), len(images)))
            return original(extractor, images, *arguments)

        monkeypatch.setattr(features.FeatureExtractor, "__call__", counting)
        return passes

    @pytest.fixture
    def encoder(self):
        inputs = keras.Input((8, 8, 1), dtype="uint8")
        x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
        fc = keras.layers.Dense(10)(x)
        return keras.Model(inputs, {"fc": fc, "code": keras.layers.Dense(4)(fc)})

    def test_each_is_computed_once(self, rng, encoder, calls):
        images, others = rng.integers(0, 256, (2, 20, 8, 8, 1), np.uint8)
        store, expected = features.FeatureStore(), encoder(images)
        for names in (["code"], ["fc", "code"], ["fc"], ["code"]):
            found = store(encoder, names, images)
            assert list(found) == names
            for name in names:
                np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
        assert calls == [(("code",), 20), (("fc",), 20)]
        other = keras.models.clone_model(encoder)  # with weights of its own
        for which, given in ((encoder, others), (other, images), (other, images)):
            found = store(which, ["code"], given)["code"]
            np.testing.assert_allclose(found, which(given)["code"], atol=1e-5)
        assert len(calls) == 4

    def test_the_longest_unused_goes_first(self, rng, encoder, calls):
        parts = rng.integers(0, 256, (3, 20, 8, 8, 1), np.uint8)
        store = features.FeatureStore(most=2 * 20 * 4 * 4)  # two codes of 20 images
        parts = list(parts)
        for part in (parts[0], parts[1], parts[0], parts[2], parts[0]):
            store(encoder, ["code"], part)
            assert store.size <= store.most
        assert len(calls) == 3
        store(encoder, ["fc"], parts[0])  # more than there is room for
        store(encoder, ["code"], parts[0])
        assert len(calls) == 4
        store(encoder, ["code"], parts[1])
        assert len(calls) == 5

    def test_it_hears_how_far_it_is(self, rng, encoder):
        heard = []
        images = rng.integers(0, 256, (600, 8, 8, 1), np.uint8)
        features.FeatureStore()(encoder, ["code"], images, heard.append)
        assert heard == [250, 500, 600]
