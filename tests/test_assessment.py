"""Results: whole, on the disk as they come in, and each on its own."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from tf_infomax.evaluation import probing
from tf_infomax.evaluation.health import assess_health
from tf_infomax.options import Config
from tf_infomax.reporting import report
from tf_infomax.training import experiment
from tf_infomax.training import results as assessment
from tf_infomax.training import run as training
from tf_infomax.training.workdir import WorkDirectory


@pytest.fixture(scope="module")
def run(tmp_path_factory, data):
    """A run of two steps on images of two classes, not yet evaluated."""
    workdir = WorkDirectory(str(tmp_path_factory.mktemp("assessed")))
    config = Config(
        dataset=f"arrays:{data}", workdir=str(workdir.path), steps=2, batch_size=16,
        critic_units=8, progress="none", probe_seeds=1, probes=("linear",),
    )  # fmt: skip
    run = training.Run(config, workdir, experiment.load_data(config))
    workdir.claim(config)
    training.train(run)
    return run


def read(run) -> dict:
    return run.workdir.read_results()


def fail_at(monkeypatch, call: int, error: BaseException) -> None:
    """Makes one call of `run_probe` fail, in an evaluation from the beginning."""
    original, calls = probing.run_probe, []

    def fragile(*arguments, **options):
        calls.append(None)
        if len(calls) == call:
            raise error
        return original(*arguments, **options)

    monkeypatch.setattr(probing, "run_probe", fragile)


def test_a_measure_that_fails_costs_itself_alone(run, monkeypatch):
    whole = assessment.evaluate_run(run, lambda text: None)
    assert read(run) == whole
    assessment.check_complete(whole)  # nothing is missing
    picture = run.workdir.path / "curves.png"
    picture.unlink()

    def break_down(*arguments):
        raise OSError("no more room")

    monkeypatch.setattr(assessment.report, "draw_neighbors", break_down)
    (run.workdir.path / "probes.json").unlink()
    fail_at(monkeypatch, 2, ValueError("only 1 member"))
    told = []
    results = assessment.evaluate_run(run, told.append)
    failed = {name for name in results if name.startswith("failed/")}
    assert failed == {"failed/probe/linear/fc", "failed/neighbors.png"}
    assert set(whole) - set(results) == {"probe/linear/fc"}
    assert results["probe/linear/code"] == whole["probe/linear/code"]
    assert read(run) == results
    assert picture.exists()
    assert any("only 1 member" in text for text in told)
    with pytest.raises(assessment.AssessmentError, match=r"fc \(ValueError: only 1"):
        assessment.check_complete(results)
    assert assessment.AssessmentError.exit_status == 1


def test_results_are_there_as_they_come_in(run, monkeypatch):
    (run.workdir.path / "results.json").unlink(missing_ok=True)
    (run.workdir.path / "probes.json").unlink(missing_ok=True)
    fail_at(monkeypatch, 3, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        assessment.evaluate_run(run, lambda text: None)
    results = read(run)
    assert {"mi/local", "health/std_mean", "probe/linear/fc"} <= set(results)
    assert "probe/linear/conv" not in results
    assert "failed/evaluation" in results  # so that nobody takes them for all
    assert np.isfinite(results["mi/local"]["mean"])


def test_a_later_evaluation_adds_to_the_results(run, monkeypatch, data):
    """As long as weights and images are the same; what it measures it replaces."""
    evaluate = lambda config: assessment.evaluate_run(
        training.Run(config, run.workdir, run.data), lambda text: None, figures=False
    )
    first = evaluate(run.config.replace(evaluations=("values", "probes")))
    later = evaluate(run.config.replace(evaluations=("knn", "values")))
    assert later == read(run)
    assert {"probe/linear/code", "probe/knn/code", "probe/majority"} <= set(later)
    assert later["probe/linear/code"] == first["probe/linear/code"]
    others = replace(run.data, test=run.data.test.select(np.arange(10)))
    alone = assessment.evaluate_run(
        training.Run(run.config.replace(evaluations=("health",)), run.workdir, others),
        lambda text: None,
        figures=False,
    )
    assert not any(name.startswith("probe/") for name in alone)


@pytest.mark.parametrize("name", ["knn", "pca", "few_labels", "probes"])
def test_what_needs_labels_says_that_there_are_none(run, name):
    without = replace(run.data, probe_train=None, probe_test=None, labels="no labels")
    config = run.config.replace(evaluations=(name,))
    heard = []
    found = assessment.evaluate_run(
        training.Run(config, run.workdir, without), heard.append, figures=False
    )
    assert not any(each.startswith("probe/") for each in found)
    assert any("no labels" in each for each in heard)


def test_figures_say_of_which_images_they_are(run, capsys):
    row, (name, watched) = run.rows[-1], run.data.watched
    assert name == "validation"
    assert row["health/images"] == len(watched)
    count = len(run.data.online_test)
    assert row["probe/images"] == count
    right = row["probe/knn"] * count
    expected = stats.beta(right + 1, count - right + 1).std()
    assert row["probe/knn_se"] == pytest.approx(expected)
    codes = np.random.default_rng(0).normal(size=(24, 64))
    results = dict(assess_health(codes))
    assert results["health/effective_rank"]["ceiling"] == 23
    assessment.report.print_results(results, "run")
    printed = " ".join(capsys.readouterr().out.split())
    assert "of 24 test images" in printed
    assert "of at most 23" in printed


def count_calls(monkeypatch) -> list:
    """The probes that are made from now on."""
    original, calls = probing.run_probe, []

    def counting(name, *arguments, **options):
        calls.append(name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(probing, "run_probe", counting)
    return calls


def test_a_stopped_evaluation_goes_on_with_the_next_probe(run, monkeypatch):
    (run.workdir.path / "probes.json").unlink(missing_ok=True)
    with monkeypatch.context() as patch:
        fail_at(patch, 3, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            assessment.evaluate_run(run, lambda text: None)
    assert (run.workdir.path / "neighbors.png").exists()  # before the probes
    calls = count_calls(monkeypatch)
    whole = assessment.evaluate_run(run, lambda text: None)
    assert len(calls) == 7 - 2  # code and fc of the trained encoder were done
    calls.clear()
    assert assessment.evaluate_run(run, lambda text: None) == whole
    assert calls == []


def test_a_kept_probe_of_something_else_is_not_believed(run, monkeypatch):
    assessment.evaluate_run(run, lambda text: None)
    calls = count_calls(monkeypatch)
    weights = run.objective.encoder.get_weights()
    try:
        run.objective.encoder.set_weights([0.9 * each for each in weights])
        assessment.evaluate_run(run, lambda text: None)
    finally:
        run.objective.encoder.set_weights(weights)
    assert len(calls) == 3  # of the encoder; it untrained and pixels are the same
    calls.clear()
    monkeypatch.setattr(run, "config", replace(run.config, probe_seeds=2))
    (run.workdir.path / "probes.json").write_text('{"probe/linear/code": 3')
    assessment.evaluate_run(run, lambda text: None)
    assert len(calls) == 7


def test_balanced_accuracy_and_majority_stand_in_the_table(capsys):
    results = {
        "probe/majority": {"mean": 0.8, "sd": None, "n": 1, "classes": 2},
        "probe/linear/code": {
            "mean": 0.81, "sd": None, "n": 1, "balanced": {"mean": 0.52, "sd": None}
        },
    }  # fmt: skip
    results["probe/majority"]["unbalanced"] = True
    report.print_results(results, "run")
    shown = capsys.readouterr().out
    assert "81.0 (52.0)" in shown
    assert "80.0 %" in shown
    results["probe/majority"]["unbalanced"] = False
    report.print_results(results, "runs/[bold]/[/x] \x1b[31m")  # no markup, no colour
    shown = capsys.readouterr().out
    assert "52.0" not in shown
    assert "runs/[bold]/[/x] \\x1b[31m: " in shown


def test_no_probes_are_none_and_that_is_said(run, monkeypatch):
    monkeypatch.setattr(run, "config", replace(run.config, probes=()))
    told = []
    results = assessment.evaluate_run(run, told.append)
    assert {name for name in results if name.startswith("probe/")} == {"probe/majority"}
    assert "the encoder is not probed: --probes is empty" in told
    assert "mi/local" in results
