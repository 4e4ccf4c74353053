"""What evaluations measure beside probes and bounds: in results, table and warnings."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tf_infomax.evaluation.summary import describe
from tf_infomax.options import Config
from tf_infomax.options.evaluations import EVALUATIONS
from tf_infomax.reporting import report
from tf_infomax.training import experiment
from tf_infomax.training import results as assessment
from tf_infomax.training import run as training
from tf_infomax.training.subject import Subject
from tf_infomax.training.workdir import WorkDirectory

QUICK = dict(
    ndm_steps=10, mine_steps=10, decoder_steps=10, few_labels_percents=("10",),
    fine_tuning_steps=5, fine_tuning_percents=("50",),
)  # fmt: skip
MEASURES = (
    "ndm/code", "ndm/sigmoid/code", "mine/code", "mine/random/code",
    "reconstruction/ssim/code", "reconstruction/explained/code",
    "few_labels/10%/linear/code", "few_labels/10%/knn/random/fc",
    "fine_tuning/50%/code", "fine_tuning/50%/random/code",
    "v_information/linear/code", "v_information/mlp/random/code",
    "geometry/alignment/code", "geometry/uniformity/code", "geometry/rankme/code",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run in half precision on small images of two classes, by all evaluations."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("measured")
    labels = np.arange(300) % 2
    images = rng.integers(0, 120, (300, 12, 12, 1)) + 100 * labels[:, None, None, None]
    np.savez(folder / "data.npz", images=images.astype(np.uint8), labels=labels)
    config = Config(
        objective="ae", encoder="mlp", dataset=f"arrays:{folder / 'data.npz'}",
        workdir=str(folder / "run"), steps=3, batch_size=16, code_size=4,
        augment=("flip",), progress="none", probe_seeds=1, probes=("linear",),
        mixed_precision="bfloat16", evaluations=tuple(EVALUATIONS), **QUICK,
    )  # fmt: skip
    workdir = WorkDirectory(config.workdir)
    run = training.Run(config, workdir, experiment.load_data(config))
    workdir.claim(config)
    training.train(run)
    yield run
    experiment.set_precision("none")


def test_all_evaluations_of_a_run(run):
    before, told = keras.config.dtype_policy(), []
    weights = run.objective.encoder.get_weights()
    results = assessment.evaluate_run(run, told.append)
    assessment.check_complete(results)  # none has failed
    assert keras.config.dtype_policy() == before
    for name in MEASURES:
        assert np.isfinite(results[name]["mean"])
        assert {"sd", "n", "unit", "measures", "warnings"} <= set(results[name])
        assert any(text.startswith(f"{name} ") for text in told)
    for was, now in zip(weights, run.objective.encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(now, was)  # whatever was trained beside it
    assert (run.workdir.path / "decoded.png").exists()
    assert run.workdir.read_results() == json.loads(json.dumps(results))


def test_results_stand_in_a_table_with_their_warnings(capsys):
    of_code = describe([0.5, 0.7], "%", "share told right", warnings=["few", "few"])
    of_conv = describe([0.9], "%", "share told right", warnings=["few"])
    results = {
        "told/1%/code": of_code,
        "told/1%/conv": of_conv,
        "dependence/code": describe([21.37, 23.37], "nats", "a bound", ceiling=30.0),
        "speed": describe([0.1234], "s", "seconds", facts=3),
        "mi/local": {"measures": "of the objective", "kind": "mi", "mean": 1.0},
        "health/std_mean": {"mean": 1.0, "sd": None, "n": 1, "images": 3},
    }
    report.print_measures(results)
    shown = capsys.readouterr().out
    lines = {
        line.split("│")[1].strip(): line for line in shown.splitlines() if "│" in line
    }
    assert set(lines) == {"told/1%", "dependence", "speed"}
    assert "90.0" in lines["told/1%"]
    assert "60.0 ± 14.1" in lines["told/1%"]
    assert "22.4 ± 1.4" in lines["dependence"]
    assert "nats, at most 30.000" in lines["dependence"]
    assert "0.123" in lines["speed"]
    assert shown.count("few") == 1
    assert "warning: told/1%/code, told/1%/conv: few" in shown
    report.print_measures({"mi/local": results["mi/local"]})
    assert capsys.readouterr().out == ""


def test_a_copy_of_the_encoder_is_one_in_full_precision(run):
    subject = Subject(run, lambda text: None)
    images = subject.images[:5]
    for trained, source in ((True, run.objective.encoder), (False, subject.untrained)):
        copy = subject.copy_encoder(trained)
        assert {layer.compute_dtype for layer in copy.layers} <= {"float32", "uint8"}
        expected = source(images)["code"]
        np.testing.assert_allclose(copy(images)["code"], expected, rtol=0.05, atol=0.05)
        assert not {*map(id, copy.variables)} & {*map(id, source.variables)}


def test_two_views_are_those_that_one_encoder_sees(run):
    def views_of(**changes):
        networks = changes.pop("networks", run.objective.networks)
        seen = Subject(run, lambda text: None)
        seen.config = run.config.replace(**changes)
        seen.objective = SimpleNamespace(networks=networks)
        return seen.two_views

    x, y = views_of()  # flipped or not, either by itself
    images = Subject(run, lambda text: None).images
    assert x.shape == y.shape == images.shape
    both = [images, images[:, :, ::-1]]
    for view in (x, y):
        assert all(
            any((each == one).all() for part in both for one in part) for each in view
        )
    assert 0.2 < np.mean((x != y).any(axis=(1, 2, 3))) < 0.8
    assert views_of(augment=()) is None
    assert views_of(networks={"encoder": None, "encoder_y": None}) is None
