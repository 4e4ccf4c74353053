"""Searches from the command line and as a library, with real training."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras_tuner
import numpy as np
import pytest
from commands import ROOT, TINY, assert_refused, run, run_alone, start

from tf_infomax.options import Config, ConfigError
from tf_infomax.tuning.folder import SearchFolder
from tf_infomax.tuning.hypermodel import OBJECTIVE, InfoMaxHyperModel
from tf_infomax.tuning.options import TuneOptions
from tf_infomax.tuning.search import TUNERS
from tf_infomax.tuning.space import Space

SPACE_VALUES = ["learning_rate:log:1e-4..1e-2", "bound:info_nce,jsd"]
SPACE = [f"--tune={value}" for value in SPACE_VALUES]


def search(data, workdir, *arguments, space=SPACE):
    return run("tune", *_arguments(data, workdir, space, arguments))


def _arguments(data, workdir, space, arguments):
    given = [f"--dataset=arrays:{data}", f"--workdir={workdir}", "--steps=4"]
    return [*TINY, "--probes=linear", *given, *space, "--score=knn", *arguments]


def read(workdir):
    return json.loads((workdir / "results.json").read_text())


class TestFlags:
    """Answered before TensorFlow is loaded."""

    def test_help_is_quick_and_says_what_is_maximized(self):
        result = run_alone("tune", "--help")
        assert result.cpu_seconds < 1.2
        assert result.returncode == 0
        for word in ("Search:", "--tune=", "log K", "bayesian", "--tuner_workers"):
            assert word in result.stdout

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ([], ["--tune is needed"]),
            (SPACE, ["--max_trials or --max_minutes"]),
            ([*SPACE, "--max_trials=2", "--steps=0"], ["--steps or --epochs"]),
            ([*SPACE, "--max_trials=-1"], ["--max_trials", "at least 0"]),
            ([*SPACE, "--max_trials=2", "--tuner=grid"], ["--tuner", "hyperband"]),
            ([*SPACE, "--max_trials=2", "--hyperband_rungs=2"], ["--tuner=hyperband"]),
            (
                [*SPACE, "--max_trials=2", "--validation_fraction=0"],
                ["--validation_fraction"],
            ),
            (
                [*SPACE, "--max_trials=2", "--full_steps=3", "--full_epochs=1"],
                ["--full_steps or --full_epochs"],
            ),
            (["--tune=bound:mine,jsd", "--max_trials=2"], ["bound", "mine"]),
            ([*SPACE, "--max_trials=2"], ["--workdir"]),
        ],
    )
    def test_mistakes_get_one_line_at_once(self, arguments, words):
        result = run_alone("tune", *TINY, "--steps=4", *arguments)
        assert_refused(result, *words)
        assert result.cpu_seconds < 1.5


@pytest.fixture(scope="module")
def random_search(tmp_path_factory, data):
    """Two random trials of two seeds, and the final run."""
    workdir = tmp_path_factory.mktemp("searches") / "random"
    arguments = ["--max_trials=2", "--executions=2", "--full_steps=6", "--train_best"]
    result = search(data, workdir, *arguments)
    assert result.returncode == 0, result.stderr[-3000:]
    return workdir, result


class TestRandom:
    def test_leaves_what_the_readme_promises(self, random_search):
        workdir, result = random_search
        found = {path.name for path in workdir.iterdir()}
        assert found == {
            "search.flags", "trials", "runs", "trials.csv", "results.json",
            "search.png", "events", "best.flags", "best", "report.html",
        }  # fmt: skip
        assert "rank" in result.stdout
        assert "trial 0: " in result.stderr  # a line for each, while it goes on
        assert len([*(workdir / "events").iterdir()]) == 2 + 1
        assert not [*workdir.glob("runs/*/*/checkpoints/*.npz")]

    def test_scores_are_means_of_the_runs_of_two_seeds(self, random_search):
        workdir, _ = random_search
        trials = read(workdir)["trials"]
        assert len(trials) == 2
        for trial in trials:
            runs = sorted((workdir / "runs" / trial["run"]).iterdir())
            assert [path.name for path in runs] == ["seed0", "seed1"]
            last = [
                json.loads((path / "metrics.jsonl").read_text().splitlines()[-1])
                for path in runs
            ]
            assert {row["step"] for row in last} == {4}
            scores = [row["probe/knn"] for row in last]
            assert trial["score"] == pytest.approx(np.mean(scores))
            assert trial["sd"] == pytest.approx(np.std(scores, ddof=1))
            assert trial["seconds"] > 0
        assert len({trial["learning_rate"] for trial in trials}) == 2
        assert trials[0]["learning_rate"] == 1e-3  # the first is the base itself
        assert trials[0]["bound"] == "info_nce"

    def test_table_as_csv_says_the_same(self, random_search):
        workdir, _ = random_search
        with open(workdir / "trials.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        for row, trial in zip(rows, read(workdir)["trials"], strict=True):
            assert float(row["score"]) == trial["score"]
            assert row["bound"] == trial["bound"]

    def test_the_best_flags_have_the_best_values_and_the_full_length(
        self, random_search
    ):
        workdir, _ = random_search
        results = read(workdir)
        best = max(results["trials"], key=lambda trial: trial["score"])
        assert results["best"] == best["trial"]
        lines = (workdir / "best.flags").read_text().splitlines()
        assert f"--bound={best['bound']}" in lines
        assert f"--learning_rate={best['learning_rate']}" in lines
        assert {"--steps=6", "--epochs=0", f"--workdir={workdir / 'best'}"} <= {*lines}
        assert "--online_probe=knn" in lines  # the user's, not the score's

    def test_the_final_run_is_evaluated_on_test_images(self, random_search):
        workdir, result = random_search
        results = json.loads((workdir / "best" / "results.json").read_text())
        assert results["step"]["mean"] == 6
        assert "probe/linear/code" in results
        # A long path may put the words on two lines.
        assert "test accuracy" in " ".join(result.stdout.split())

    def test_the_figure_has_colours(self, random_search):
        import matplotlib.image

        image = matplotlib.image.imread(random_search[0] / "search.png")
        assert image.shape[1] > 400
        assert np.ptp(image[..., :3], axis=2).max() > 0.3

    def test_a_second_start_repeats_nothing(self, random_search, data):
        workdir, _ = random_search
        before = {p: p.stat().st_mtime_ns for p in workdir.glob("trials/*/outcome*")}
        result = search(data, workdir, "--max_trials=2", "--executions=2")
        assert result.returncode == 0, result.stderr[-3000:]
        assert {
            p: p.stat().st_mtime_ns for p in workdir.glob("trials/*/outcome*")
        } == before
        assert len(before) == 2

    def test_another_space_is_refused_by_name(self, random_search, data):
        workdir, _ = random_search
        arguments = ["--max_trials=2", "--executions=2"]
        space = [SPACE[0], "--tune=bound:info_nce,dv"]
        result = search(data, workdir, *arguments, space=space)
        words = ["bound:info_nce,dv is new", "bound:info_nce,jsd is missing"]
        assert_refused(result, "other options", *words)
        result = search(data, workdir, *arguments, "--code_size=32")
        assert_refused(result, "--code_size is 32, there 64")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_bayesian_search_leaves_the_random_ones_behind(tmp_path):
    """Keras Tuner's default of three for each parameter would be half of a dozen."""
    options = TuneOptions(tune=tuple(SPACE_VALUES), max_trials=6, steps=4)
    oracle = TUNERS["bayesian"](options)
    assert oracle.num_initial_points == 2
    oracle._set_project_dir(tmp_path, "search")
    for _ in range(4):  # two of them by the Gaussian process
        trial = oracle.create_trial("one")
        rate = trial.hyperparameters.values["learning_rate"]
        assert 1e-4 <= rate <= 1e-2
        oracle.update_trial(trial.trial_id, {OBJECTIVE.name: rate})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)


def test_hyperband_trains_the_promoted_on(tmp_path, data):
    arguments = ["--tuner=hyperband", "--hyperband_factor=2", "--hyperband_rungs=2"]
    result = search(data, tmp_path / "s", *arguments)
    assert result.returncode == 0, result.stderr[-3000:]
    results = read(tmp_path / "s")
    trials = results["trials"]
    # Bracket 1: two short trials, one promoted; bracket 0: two full ones.
    assert [trial["share"] for trial in trials] == [0.5, 0.5, 1.0, 1.0, 1.0]
    promoted = trials[2]
    parent = next(t for t in trials[:2] if t["run"] == promoted["run"])
    assert parent["score"] == max(trial["score"] for trial in trials[:2])
    metrics = tmp_path / "s" / "runs" / promoted["run"] / "seed0" / "metrics.jsonl"
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4]
    # A full trial is the best, even where a short one scored higher.
    assert next(t for t in trials if t["trial"] == results["best"])["share"] == 1.0


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("tuner", ["random", "bayesian"])
def test_a_space_that_can_be_counted_is_tried_once(tuner, tmp_path):
    space = (
        "bound:info_nce,jsd",
        "negatives:all,same_location@bound=info_nce",
        "batch_size:8,16",
    )
    options = TuneOptions(tune=space, tuner=tuner, max_trials=20, steps=4)
    oracle = TUNERS[tuner](options)
    oracle.limit(20, 0.0)
    oracle.points, oracle.active = options.space.list_points(), options.space.active
    oracle._set_project_dir(tmp_path, "search")
    seen = []
    while True:
        trial = oracle.create_trial("one")
        if trial.status == "STOPPED":
            break
        seen.append(tuple(sorted(oracle.active(trial.hyperparameters.values).items())))
        oracle.update_trial(trial.trial_id, {OBJECTIVE.name: len(seen) % 3})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    assert oracle.exhausted
    assert len(seen) == len({*seen}) == 2 * (1 + 2)


class TestFailures:
    def test_failed_trials_are_recorded_with_their_reason(self, tmp_path, data):
        space = ["--tune=batch_size:16,100", "--tune=learning_rate:1e-3,1e25"]
        result = search(data, tmp_path / "s", "--max_trials=4", space=space)
        assert result.returncode == 0, result.stderr[-3000:]
        trials = read(tmp_path / "s")["trials"]
        assert len(trials) == 4
        for trial in trials:
            if trial["batch_size"] == 100:
                assert "batch_size" in trial["reason"]
            elif trial["learning_rate"] > 1:
                assert "no longer finite" in trial["reason"]
            else:
                assert trial["status"] == "completed"
                assert read(tmp_path / "s")["best"] == trial["trial"]
            assert (
                f"trial {trial['trial']} failed: {trial['reason']}" in (result.stdout)
                or not trial["reason"]
            )

    def test_a_search_without_any_score_fails_loudly(self, tmp_path, data):
        space = ["--tune=batch_size:100,110"]
        result = search(data, tmp_path / "s", "--max_trials=5", space=space)
        words = ["none of the 2 trials has a score", "batch_size", "trials.csv"]
        assert_refused(result, *words, status=1)
        assert not (tmp_path / "s" / "best.flags").exists()
        assert (tmp_path / "s" / "trials.csv").exists()

    def test_what_no_trial_could_be_spared_is_said_at_once(self, tmp_path, data):
        arguments = ["--max_trials=1", "--encoder=basic64x64"]
        result = search(data, tmp_path / "s", *arguments)
        assert_refused(result, "basic64x64", "image_size=64")
        assert not (tmp_path / "s" / "trials.csv").exists()

    def test_images_without_labels_need_the_proxy(self, tmp_path, rng):
        np.save(tmp_path / "x.npy", rng.integers(0, 255, (120, 32, 32, 3), np.uint8))
        arguments = ["--max_trials=1", "--score=linear"]
        result = search(tmp_path / "x.npy", tmp_path / "s", *arguments)
        assert_refused(result, "needs labels", "--score=effective_rank", "proxy")
        # The codes of half_convnet begin nearly collapsed.
        arguments = ["--max_trials=1", "--score=effective_rank", "--encoder=basic32x32"]
        result = search(tmp_path / "x.npy", tmp_path / "t", *arguments)
        assert result.returncode == 0, result.stderr[-3000:]
        assert "proxy" in result.stdout
        assert 0 < read(tmp_path / "t")["trials"][0]["score"] < 1

    def test_collapse_is_a_failure(self, tmp_path, data):
        hypermodel = make_hypermodel(tmp_path, data)
        row = {"probe/knn": 0.5, "health/std_mean": 1e-6, "health/std_min": 0.0}
        row |= {"health/effective_rank": 1.0, "health/mean_cosine": 1.0}
        attributes = {
            "objective": hypermodel.build(parameters()),
            "data": hypermodel.load_data(hypermodel.config),
        }
        run = type("Run", (), attributes)
        with pytest.raises(keras_tuner.errors.FailedTrialError, match="collapsed"):
            hypermodel._score(row, run)
        # What a probe can read is no collapse, whatever else it is.
        score, warnings = hypermodel._score({**row, "probe/knn": 0.9}, run)
        assert score == 0.9
        assert "hardly vary" in warnings[0]


class TestKill:
    def test_a_killed_search_goes_on_where_it_stood(
        self, tmp_path, data, random_search
    ):
        workdir = tmp_path / "s"
        arguments = ["--max_trials=2", "--executions=2"]
        process = start("tune", *_arguments(data, workdir, SPACE, arguments))
        wait_for(lambda: len(SearchFolder(workdir).trials()) == 2)
        process.kill()
        process.wait()
        trials = SearchFolder(workdir).trials()
        assert [trial.status for trial in trials] == ["completed", "running"]
        kept = (workdir / "trials" / "trial_0" / "outcome.json").read_bytes()
        result = search(data, workdir, *arguments)
        assert result.returncode == 0, result.stderr[-3000:]
        assert (workdir / "trials" / "trial_0" / "outcome.json").read_bytes() == kept
        # The values and scores of a search that was left alone.
        names = ("trial", "learning_rate", "bound", "score", "status")
        expected = read(random_search[0])["trials"]
        for trial, other in zip(read(workdir)["trials"], expected, strict=True):
            assert {n: trial[n] for n in names} == {n: other[n] for n in names}

    def test_a_trial_that_kills_its_process_is_given_up(self, tmp_path, data):
        folder = SearchFolder(tmp_path)
        options = Config(steps=4)
        space = Space.parse(["bound:jsd,dv"], options)
        from tf_infomax.tuning.search import InfoMaxTuner

        hypermodel = InfoMaxHyperModel(options, space, folder.runs)
        search_options = type(
            "Options", (), {"seed": 0, "space": space, "max_trials": 2}
        )
        tuner = InfoMaxTuner(TUNERS["random"](search_options), hypermodel, folder)
        trial = tuner.oracle.create_trial("tuner0")
        (folder.trial(trial.trial_id) / "attempts").write_text("3")
        assert "died" in tuner.outcome(trial)["reason"]

    def test_a_signal_keeps_what_is_done(self, tmp_path, data):
        workdir = tmp_path / "s"
        process = start("tune", *_arguments(data, workdir, SPACE, ["--max_trials=50"]))
        wait_for(lambda: len(SearchFolder(workdir).trials()) == 2)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 1
        assert "the same command continues" in errors.splitlines()[-1]
        assert "Traceback" not in errors


class TestWorkers:
    def test_a_killed_worker_does_not_lose_the_search(self, tmp_path, data):
        workdir = tmp_path / "s"
        command = [sys.executable, "-m", "tf_infomax.tune"]
        arguments = ["--max_trials=3", "--tuner_workers=2"]
        command += _arguments(data, workdir, SPACE, arguments)
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        folder = SearchFolder(workdir)
        wait_for(lambda: (folder.trial("0") / "attempts").exists())
        os.kill(find_worker(workdir, "tuner0"), signal.SIGKILL)
        output, errors = process.communicate(timeout=400)
        assert process.returncode == 0, errors[-3000:]
        assert "tuner0 ended with status -9; started again" in errors
        assert [trial.status for trial in folder.trials()] == ["completed"] * 3
        assert "rank" in output
        assert (workdir / "best.flags").exists()
        assert {p.name for p in (workdir / "logs").iterdir()} == {
            "tuner0.log", "tuner1.log",
        }  # fmt: skip


def find_worker(workdir: Path, name: str) -> int:
    """The process of this command that has this part in the protocol."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        named = f"KERASTUNER_TUNER_ID={name}".encode() in environment
        if named and str(workdir).encode() in command:
            return int(folder.name)
    raise LookupError(name)


def wait_for(condition, seconds=200.0):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


def make_hypermodel(tmp_path, data, **options):
    options_of_all = dict(critic_units=8, encoder="half_convnet", batch_size=16)
    config = Config(dataset=f"arrays:{data}", epochs=2, **options_of_all)
    space = Space.parse(["learning_rate:log:1e-4..1e-2"], config)
    options = {"score": "knn", **options}
    return InfoMaxHyperModel(config, space, tmp_path / "runs", **options)


def parameters(**values):
    result = keras_tuner.HyperParameters()
    result.values = {"learning_rate": 1e-3, **values}
    return result


class TestLibrary:
    def test_works_with_a_tuner_of_keras_tuner(self, tmp_path, data):
        tuner = keras_tuner.Hyperband(
            make_hypermodel(tmp_path, data),
            objective=OBJECTIVE,
            directory=str(tmp_path),
            seed=1,
            max_epochs=2,
            factor=2,
        )
        tuner.search(verbose=0)
        trials = tuner.oracle.trials.values()
        assert {trial.status for trial in trials} == {"COMPLETED"}
        assert all(0 < trial.score <= 1 for trial in trials)
        model = tuner.get_best_models()[0]
        assert model.encoder(np.zeros((2, 32, 32, 3), np.uint8))["code"].shape == (
            2, 64,
        )  # fmt: skip

    def test_data_given_to_search_are_refused(self, tmp_path, data):
        hypermodel = make_hypermodel(tmp_path, data)
        with pytest.raises(keras_tuner.errors.FatalTypeError, match="x, y"):
            hypermodel.fit(parameters(), None, x=1, y=2)

    def test_unknown_scores_are_refused(self, tmp_path, data):
        with pytest.raises(ConfigError, match="loss"):
            make_hypermodel(tmp_path, data, score="loss")

    def test_the_command_s_module_has_it(self):
        import tf_infomax.tune

        assert tf_infomax.tune.InfoMaxHyperModel is InfoMaxHyperModel
        with pytest.raises(AttributeError):
            _ = tf_infomax.tune.nothing
