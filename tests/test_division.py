"""Which images serve for what: laws of the division, whatever the classes."""

import json

import numpy as np
import pytest
from commands import TINY, assert_refused, run

from tf_infomax.data.images import DataError, ImageSet, split_randomly
from tf_infomax.options import Config, ConfigError
from tf_infomax.training import experiment
from tf_infomax.training import run as training
from tf_infomax.training.workdir import WorkDirectory


def save(path, counts, unlabelled=0, side=8, **more):
    """An .npz with so many images of each class, each image of one grey value.

    The darker ones are of the first class, so that a probe has something to find.
    """
    labels = np.repeat(np.arange(len(counts)), counts)
    labels = np.concatenate([labels, np.full(unlabelled, -1)])
    rng = np.random.default_rng(0)
    images = (
        rng.integers(0, 60, (len(labels), side, side, 3))
        + 90 * (labels > 0)[:, None, None, None]
    )
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.divmod(np.arange(len(labels)), 256)
    np.savez(path, images=images.astype(np.uint8), labels=labels, **more)
    return f"arrays:{path}"


def divide(tmp_path, counts, unlabelled=0, **options):
    dataset = save(tmp_path / "x.npz", counts, unlabelled)
    return experiment.load_data(Config(dataset=dataset, **options))


def members(part) -> set:
    """Which images these are, by the number written into each."""
    pixels = part.single.images[:][:, 0, 0, :2].astype(int)
    return set((pixels @ [256, 1]).tolist())


def count(part, classes):
    return np.bincount(part.labels[part.labels >= 0], minlength=classes).tolist()


@pytest.mark.parametrize(
    ("counts", "unlabelled"),
    [([5] * 12, 0), ([40, 3], 0), ([400, 10], 0), ([30, 20], 200), ([3, 3, 3], 0)],
)
def test_a_class_of_three_stands_in_every_part(tmp_path, counts, unlabelled):
    data = divide(tmp_path, counts, unlabelled)
    parts = {
        "train": data.train, "validation": data.validation, "test": data.test,
        "probe_train": data.probe_train, "probe_test": data.probe_test,
        "online_train": data.online_train, "online_test": data.online_test,
    }  # fmt: skip
    for name, part in parts.items():
        assert min(count(part, len(counts))) >= 1, name
    divided = [members(part) for part in (data.train, data.validation, data.test)]
    assert sum(map(len, divided)) == sum(counts) + unlabelled
    assert len(set.union(*divided)) == sum(counts) + unlabelled
    test = members(data.test)
    for name in ("probe_train", "online_train", "online_test"):
        assert not members(parts[name]) & test, name
    assert not members(data.online_train) & members(data.online_test)


def test_rare_classes_are_named_and_left_out(tmp_path):
    data = divide(tmp_path, [40, 30, 2, 1])
    assert set(data.probe_train.labels) == set(data.probe_test.labels) == {0, 1}
    assert data.left_out == ("2: 1 training and 1 test", "3: 1 training and 0 test")
    assert data.labels == "labelled"
    lines = training.describe_limits(Config(), data)
    assert any("left out: 2: 1 training and 1 test; 3: 1" in line for line in lines)


@pytest.mark.parametrize(
    ("counts", "unlabelled", "words"),
    [
        ([150, 2], 0, "two classes need 2 training and 1 test images each (0: 120"),
        ([60], 0, "labels of a single class (0: 48 training and 12 test images)"),
        ([2, 2], 60, "too few labels"),
        ([], 60, "no labels"),
    ],
)
def test_what_is_wrong_with_the_labels_is_said(tmp_path, counts, unlabelled, words):
    data = divide(tmp_path, counts, unlabelled)
    assert words in data.labels
    assert data.probe_train is None
    assert data.online_train is None
    assert data.validation is not None  # learning needs no labels


def test_images_alone_in_their_class_are_divided_together(tmp_path):
    """Someone's thousand identities are no reason not to train."""
    data = divide(tmp_path, [1] * 40)
    assert [len(p) for p in (data.train, data.validation, data.test)] == [29, 3, 8]
    assert "too few labels" in data.labels


def test_large_balanced_sets_are_divided_as_ever():
    """A fraction of each class, drawn class by class: runs of old can go on."""
    labels = np.arange(400) % 4
    data = ImageSet(np.zeros((400, 8, 8, 1), np.uint8), labels)
    rng, expected = np.random.default_rng(0), []
    for k in range(4):
        expected.extend(rng.permutation(np.flatnonzero(labels == k))[:20])
    names = tuple(map(str, range(400)))
    data = ImageSet(data.images, labels, names=names)
    held_out = split_randomly(data, 0.2, 0).test.names
    assert held_out == tuple(map(str, sorted(expected)))
    order = np.random.default_rng(0).permutation(400)[:100]
    assert data.labelled_part(100).names == tuple(map(str, sorted(order)))


def test_a_limited_draw_leaves_no_class_out():
    labels = np.zeros(10_000, np.int64)
    labels[[17, 4000, 9000]] = 1
    data = ImageSet(np.zeros((10_000, 8, 8, 1), np.uint8), labels)
    for seed in range(20):
        part = data.labelled_part(50, seed)
        assert len(part) == 50
        assert np.sum(part.labels == 1) == 2


def test_without_validation_images_nothing_is_chosen(tmp_path):
    data = divide(tmp_path, [40, 30], validation_fraction=0.0)
    assert data.online_train is None
    assert "--validation_fraction=0" in data.unchosen
    assert data.watched[0] == "training"
    for options in ({"checkpoint": "best"}, {"best": "bound"}):
        config = Config(workdir=str(tmp_path), steps=2, **options)
        with pytest.raises(ConfigError, match="nothing to choose by"):
            training.Run(config, WorkDirectory(config.workdir), data)


@pytest.mark.parametrize(
    ("counts", "options", "words"),
    [
        ([1, 1], {}, r"--test_fraction=0.2 of the 2 images.*holds out 1 "),
        ([1], {}, "holds out 0 "),
        ([9], {"test_fraction": 0.1}, r"--test_fraction=0.1 of the 9 images"),
    ],
)
def test_a_test_of_less_than_two_images_is_refused(tmp_path, counts, options, words):
    with pytest.raises(DataError, match=words):
        divide(tmp_path, counts, **options)


def test_own_test_images_that_lack_a_class(tmp_path):
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 255, (20, 8, 8, 3), np.uint8)
    dataset = tmp_path / "own.npz"
    np.savez(
        dataset, x_train=np.tile(pixels, (3, 1, 1, 1)), y_train=np.arange(60) % 3,
        x_test=pixels, y_test=np.arange(20) % 2,
    )  # fmt: skip
    data = experiment.load_data(Config(dataset=f"arrays:{dataset}"))
    assert set(data.probe_train.labels) == {0, 1}
    assert data.left_out == ("2: 20 training and 0 test",)
    np.savez(dataset, x_train=pixels, x_test=pixels[:1])
    with pytest.raises(DataError, match="1 test image; at least 2"):
        experiment.load_data(Config(dataset=f"arrays:{dataset}"))


def test_a_labelled_set_of_its_own_follows_the_same_rules(tmp_path):
    plain = save(tmp_path / "plain.npz", [], 40)
    labelled = save(tmp_path / "labelled.npz", [20, 3, 2])
    data = experiment.load_data(Config(dataset=plain, eval_dataset=labelled))
    assert count(data.online_train, 3)[:2] == [14, 1]
    assert count(data.online_test, 3)[:2] == [2, 1]
    assert data.left_out == ("2: 1 training and 1 test",)
    assert len(data.train) + len(data.validation) + len(data.test) == 40
    labelled = save(tmp_path / "labelled.npz", [20, 2])
    with pytest.raises(DataError, match=r"--eval_dataset.*has too few labels"):
        experiment.load_data(Config(dataset=plain, eval_dataset=labelled))


def test_small_and_rare_as_a_user_meets_them(tmp_path):
    """Twelve classes of five, without validation images, trained by the command."""
    dataset = save(tmp_path / "x.npz", [5] * 12, side=32)
    workdir = tmp_path / "run"
    arguments = [
        *TINY, "--steps=2", f"--dataset={dataset}", f"--workdir={workdir}",
        "--validation_fraction=0", "--probes=linear",
    ]  # fmt: skip
    result = run("train", *arguments)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "no online probe, nor a best checkpoint" in result.stderr
    assert not (workdir / "checkpoints" / "best.npz").exists()
    rows = [json.loads(row) for row in (workdir / "metrics.jsonl").open()]
    assert not any(name.startswith("probe/") for name in rows[-1])
    assert "probe/linear/code" in json.loads((workdir / "results.json").read_text())
    result = run("evaluate", f"--workdir={workdir}", "--checkpoint=best")
    assert_refused(result, "no checkpoint 'best'", "validation images")
