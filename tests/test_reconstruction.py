"""Structural similarity by its definition; decoders of features that are known."""

from types import SimpleNamespace

import numpy as np
import pytest

from tf_infomax.estimation.options import TrainOptions
from tf_infomax.evaluation import reconstruction
from tf_infomax.evaluation.similarity import count_scales, structural_similarity
from tf_infomax.options import Config

# Powers of MS-SSIM: Wang, Simoncelli & Bovik 2003, section 3.2.
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
# structural_similarity of scikit-image 0.26.0 with gaussian_weights=True, sigma=1.5,
# use_sample_covariance=False, data_range=1, channel_axis=-1, of `make_pair`.
SCIKIT_IMAGE = {
    (32, 32, 3): 0.8221545204781019,
    (28, 28, 1): 0.8364981318789911,
    (11, 13, 1): 0.7467749559138362,
    (64, 48, 3): 0.8428372427289158,
}


def make_pair(h: int, w: int, c: int) -> tuple[np.ndarray, np.ndarray]:
    """A pattern between 0 and 1, and one that differs in contrast and in detail."""
    y, x, k = np.meshgrid(*map(np.arange, (h, w, c)), indexing="ij")
    one = 0.5 + 0.5 * np.sin(0.7 * x + 0.3 * y + k) * np.cos(0.05 * x * y / (1 + k))
    other = 0.8 * one + 0.1 + 0.15 * np.cos(1.9 * x - 0.8 * y + 2 * k)
    return one, np.clip(other, 0, 1)


def compare_by_definition(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """(SSIM, mean of its second factor) of one channel `[H, W]`, window by window."""
    places = np.arange(11) - 5
    window = np.exp(-(places[:, None] ** 2 + places**2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = 0.01**2, 0.03**2
    whole, second = [], []
    for row in range(x.shape[0] - 10):
        for column in range(x.shape[1] - 10):
            a, b = (z[row : row + 11, column : column + 11] for z in (x, y))
            mean_a, mean_b = np.sum(window * a), np.sum(window * b)
            var_a = np.sum(window * (a - mean_a) ** 2)
            var_b = np.sum(window * (b - mean_b) ** 2)
            covariance = np.sum(window * (a - mean_a) * (b - mean_b))
            second.append((2 * covariance + c2) / (var_a + var_b + c2))
            light = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
            whole.append(light * second[-1])
    return np.mean(whole), np.mean(second)


@pytest.mark.parametrize("shape", SCIKIT_IMAGE)
def test_similarity_is_that_of_scikit_image(shape):
    one, other = make_pair(*shape)
    found = structural_similarity(np.stack([one, one]), np.stack([other, one]))
    np.testing.assert_allclose(found, [SCIKIT_IMAGE[shape], 1.0], atol=1e-5)


def test_similarity_is_by_its_definition():
    """Of colours the mean. Images in [-1, 1], as the released program has, differ."""
    one, other = make_pair(16, 14, 3)
    expected = np.mean(
        [compare_by_definition(one[..., k], other[..., k])[0] for k in range(3)]
    )
    for pair in ((one, other), (other, one)):
        (found,) = structural_similarity(*(each[None] for each in pair))
        assert found == pytest.approx(expected, abs=1e-5)
    wrong, _ = structural_similarity(
        *(np.stack([2 * each - 1] * 2) for each in (one, other))
    )
    assert abs(wrong - expected) > 0.01


def test_similarity_at_five_scales_is_by_its_definition():
    one, other = (each[..., 0] for each in make_pair(176, 192, 1))
    expected, pair = 1.0, [one, other]
    for scale, weight in enumerate(WEIGHTS):
        whole, second = compare_by_definition(*pair)
        expected *= (whole if scale == 4 else second) ** weight
        h, w = (side // 2 * 2 for side in pair[0].shape)
        pair = [z[:h, :w] for z in pair]
        pair = [z.reshape(h // 2, 2, w // 2, 2).mean(axis=(1, 3)) for z in pair]
    images, others = (each[None, :, :, None] for each in (one, other))
    (found,) = structural_similarity(images, others, scales=5)
    assert found == pytest.approx(expected, abs=1e-4)
    assert abs(found - structural_similarity(images, others)[0]) > 0.01


def test_how_many_scales_an_image_has():
    sides = [(10, 300), (11, 11), (32, 32), (175, 400), (176, 176), (512, 400)]
    assert [count_scales(each) for each in sides] == [0, 1, 1, 1, 5, 5]
    with pytest.raises(ValueError, match=r"5 scales needs images of 176 x 176 .* 64"):
        structural_similarity(*np.zeros((2, 1, 64, 64, 1)), scales=5)


def test_what_is_explained(rng):
    images = rng.uniform(size=(300, 8, 8, 1)).astype(np.float32)
    mean = np.repeat(images.mean(axis=0, keepdims=True), 300, axis=0)
    assert reconstruction.explained(images, images) == 1.0
    assert reconstruction.explained(images, mean) == pytest.approx(0.0, abs=1e-6)
    half = mean + 0.5 * (images - mean)
    assert reconstruction.explained(images, half) == pytest.approx(0.75)
    assert reconstruction.explained(mean, half) == 0.0


SHAPE = (12, 12, 1)


@pytest.fixture(scope="module")
def pairs():
    """Images whose halves have the brightness that two features say."""
    rng = np.random.default_rng(0)
    features = rng.uniform(-1, 1, (700, 2)).astype(np.float32)
    halves = np.repeat(0.5 + 0.4 * features, 6, axis=1)[:, None, :, None]
    images = np.repeat(np.round(255 * halves), 12, axis=1).astype(np.uint8)
    return features, images


def cut(values) -> list:
    """To train on, to choose on and to report on."""
    return np.split(values, [500, 550])


@pytest.mark.parametrize(("told", "low", "high"), [(True, 0.95, 1), (False, -0.1, 0.1)])
def test_a_decoder_makes_what_the_features_tell(pairs, rng, told, low, high):
    features, images = pairs
    features = features if told else rng.permutation(features)
    options = TrainOptions(
        batch_size=50, learning_rate=1e-3, max_steps=150, check_every=50
    )
    features, images = cut(features), cut(images)
    training = reconstruction.fit_decoder("mlp", features[:2], images[:2], options)
    decoded = reconstruction.decode(training.model, features[2])
    assert low < reconstruction.explained(images[2] / 255, decoded) <= high


def test_of_a_run_test_images_are_decoded(pairs):
    """Of the features that there are; scales of features change nothing."""
    features, images = pairs
    told, drawn, parts = [], {}, cut(images)
    config = Config(
        evaluations=("reconstruction",), encoder="mlp", objective="ae",
        decoded=("code", "conv"), decoder_steps=40, decoder_seeds=2, progress="none",
    )  # fmt: skip
    values = dict(zip(map(len, parts), cut(1e3 * features + 50), strict=True))
    subject = SimpleNamespace(
        config=config, unlabelled=parts, seen=lambda part: part, tell=told.append,
        objective=SimpleNamespace(encoder=SimpleNamespace(output={"code": None})),
        all_features=lambda names, part: {name: values[len(part)] for name in names},
        draw=lambda name, rows, title: drawn.update({name: rows}),
    )  # fmt: skip
    results = dict(reconstruction.evaluate(subject))
    assert list(results) == [
        "reconstruction/ssim/code",
        "reconstruction/explained/code",
    ]
    assert results["reconstruction/explained/code"]["mean"] > 0.5
    assert results["reconstruction/explained/code"]["n"] == 2
    assert "five need 176 pixels" in results["reconstruction/ssim/code"]["measures"]
    assert told == ["conv is not decoded: --encoder=mlp has none"]
    assert drawn["decoded.png"].shape == (2, 10, *SHAPE)
    np.testing.assert_array_equal(drawn["decoded.png"][0][0], parts[2][0])
