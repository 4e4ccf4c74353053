"""Few labels: what is drawn, what chooses, and classes that can be told."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tf_infomax.data.images import ImageSet
from tf_infomax.estimation.options import TrainOptions
from tf_infomax.evaluation import few_labels, fine_tuning
from tf_infomax.options import Config

CLASSES = 3


def make_images(rng, n: int) -> ImageSet:
    """Noisy images whose brightness is their class; the last class is rare."""
    labels = np.where(np.arange(n) % 50 == 0, CLASSES - 1, np.arange(n) % (CLASSES - 1))
    noise = rng.integers(0, 60, (n, 8, 8, 1))
    return ImageSet((noise + 80 * labels[:, None, None, None]).astype(np.uint8), labels)


@pytest.fixture
def data(rng):
    """Labelled images of a run."""
    train, test = make_images(rng, 400), make_images(rng, 100)
    return SimpleNamespace(probe_train=train, probe_test=test, labels="labelled")


@pytest.mark.parametrize(
    ("fraction", "counts"), [(0.01, [2, 2, 1]), (0.1, [20, 20, 1])]
)
def test_a_part_of_each_class_is_drawn_and_one_at_least(data, fraction, counts):
    drawn = few_labels.draw_few(data.probe_train, fraction, 3)
    for rows in drawn:
        found = np.bincount(data.probe_train.labels[rows])
        assert np.abs(found - counts).max() <= 1
        assert found.min() >= 1
    assert len({tuple(rows) for rows in drawn}) == 3


@pytest.mark.parametrize("method", few_labels._METHODS)
class TestMethods:
    """Either probe."""

    def test_what_is_plain_is_told_of_two_examples_each(self, rng, method):
        labels = np.arange(200) % 4
        features = 5 * np.eye(4)[labels] + 0.3 * rng.normal(size=(200, 4))
        features = features.astype(np.float32) * np.float32([1, 1e3, 1e-3, 1])
        parts = features[:40], features[40:]
        rows = [np.arange(8), np.arange(8, 16)]
        score = few_labels._METHODS[method]
        found = score(parts, labels[:40], labels[40:], rows)
        assert found.shape == (2,)
        assert found.min() > 0.95
        single = score(parts, labels[:40], labels[40:], [np.arange(4)])
        assert single > 0.9  # of one example each

    def test_labels_of_the_test_choose_nothing(self, rng, method):
        labels = np.arange(300) % 3
        features = np.eye(3)[labels] + rng.normal(size=(300, 3))
        features = features.astype(np.float32)
        score = few_labels._METHODS[method]
        parts, rows = (features[:60], features[60:]), [np.arange(30)]
        right = score(parts, labels[:60], labels[60:], rows)
        wrong = score(parts, labels[:60], (labels[60:] + 1) % 3, rows)
        other = score(parts, labels[:60], (labels[60:] + 2) % 3, rows)
        np.testing.assert_allclose(right + wrong + other, 1.0)
        assert right > 0.45


def test_neighbors_are_as_many_as_do_best(rng, monkeypatch):
    """Wrong labels are outvoted by many, and do not matter where there are none."""
    angles = rng.uniform(0, 2 * np.pi, 600)
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    halves = (angles > np.pi).astype(int)
    noisy = np.where(rng.uniform(size=600) < 0.3, 1 - halves, halves)
    sectors = (angles * 20 / np.pi).astype(int) % 2
    asked, original = [], few_labels._tell
    monkeypatch.setattr(
        few_labels,
        "_tell",
        lambda count, *a: asked.append(count) or original(count, *a),
    )
    chosen = []
    for labels in (noisy, sectors):
        few_labels.score_neighbors(
            (features[:400], features[400:]),
            labels[:400],
            labels[400:],
            [np.arange(400)],
        )
        chosen.append(asked[-1])
    assert chosen[0] >= 10
    assert chosen[1] <= 5


def make_subject(data, evaluation: str, **options):
    """The pixels as all features; initial weights see nothing."""
    config = Config(
        evaluations=(evaluation,), progress="none", probe_seeds=2, **options
    )
    asked = []

    def all_features(names, images, trained):
        asked.append(len(images))
        flat = images.reshape(len(images), -1).astype(np.float32)
        return {name: flat if trained else 0.0 * flat for name in names}

    return SimpleNamespace(
        config=config, data=data, tell=asked.append, asked=asked,
        all_features=all_features, copy_encoder=lambda trained: build_encoder(),
        objective=SimpleNamespace(encoder=build_encoder()),
    )  # fmt: skip


def build_encoder() -> keras.Model:
    images = keras.Input((8, 8, 1), dtype="uint8")
    x = keras.layers.Rescaling(1 / 127.5, -1.0)(images)
    x = keras.layers.Conv2D(4, 4, 4)(x)
    x = conv = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
    code = keras.layers.Dense(3)(keras.layers.Flatten()(x))
    return keras.Model(images, {"conv": conv, "code": code})


def test_of_a_run_every_part_probe_and_feature(data):
    subject = make_subject(data, "few_labels", few_labels_percents=("2", "10"))
    results = dict(few_labels.evaluate(subject))
    assert len(results) == 2 * 2 * 2 * 2  # parts, probes, features, trained or not
    assert results["few_labels/10%/linear/code"]["mean"] > 0.9
    assert results["few_labels/10%/knn/random/conv"]["mean"] < 0.6
    assert results["few_labels/2%/knn/code"]["labels"] < 12
    assert max(subject.asked) == len(data.probe_test)  # none but those that are drawn
    subject.config = subject.config.replace(baselines=False)
    alone = dict(few_labels.evaluate(subject))
    assert alone == {n: each for n, each in results.items() if "random" not in n}
    data.probe_train, data.labels = None, "no labels"
    assert dict(few_labels.evaluate(subject)) == {}
    assert "no labels" in subject.asked[-1]


OPTIONS = TrainOptions(
    batch_size=16, learning_rate=1e-2, max_steps=40, check_every=10, schedule="cosine"
)


def test_a_classifier_is_trained_through_the_whole_encoder(data):
    encoder, part = build_encoder(), data.probe_train
    model = fine_tuning.build_classifier(encoder, "conv", CLASSES, 0)
    before = encoder.get_weights()
    training = fine_tuning.fine_tune(model, part.images, part.labels, OPTIONS)
    assert training.best_step > 0
    told = fine_tuning.tell(model, data.probe_test.images)
    assert np.mean(told == data.probe_test.labels) > 0.9
    moved = [np.any(a != b) for a, b in zip(before, encoder.get_weights(), strict=True)]
    assert moved == [True] * 6 + [False] * 2  # all of the way to conv, and not the code


def test_the_start_is_not_kept_whatever_chance_says(data):
    """A few images to choose on may be told best before there was any training."""
    part = data.probe_train.select(np.array([0, 1, 2, 3, 4, 5, 50]))
    model = fine_tuning.build_classifier(build_encoder(), "code", CLASSES, 0)
    options = TrainOptions(batch_size=4, learning_rate=1e-9, max_steps=8, check_every=4)
    training = fine_tuning.fine_tune(model, part.images, part.labels, options)
    assert training.best_step in (4, 8)


def test_no_more_images_are_read_than_are_trained_on(data):
    images, read = data.probe_train.images, []

    class Reader:
        def __len__(self):
            return len(images)

        def __getitem__(self, rows):
            read.append(len(rows))
            return images[rows]

    model = fine_tuning.build_classifier(build_encoder(), "code", CLASSES, 0)
    options = TrainOptions(batch_size=4, max_steps=5, check_every=5)
    fine_tuning.fine_tune(model, Reader(), data.probe_train.labels, options)
    assert sorted(read) == [20, 80]


def test_of_a_run_encoders_are_trained_on(data):
    options = dict(fine_tuning_steps=20, fine_tuning_rate=1e-2)
    subject = make_subject(data, "fine_tuning", fine_tuning_percents=("50",), **options)
    results = dict(fine_tuning.evaluate(subject))
    assert list(results) == ["fine_tuning/50%/conv", "fine_tuning/50%/random/conv"]
    found = results["fine_tuning/50%/conv"]
    assert found["mean"] > 0.9
    assert (found["n"], found["labels"], found["steps"]) == (2, 200, 20)
    assert results["fine_tuning/50%/random/conv"]["n"] == 1
