"""The commands as a user types them."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from commands import TINY, assert_refused, run, run_alone, start

from tf_infomax.training.trained import load_trained
from tf_infomax.training.workdir import WorkDirectory


def test_a_dry_run_says_what_it_takes_and_leaves_nothing(tmp_path, data):
    arguments = [*TINY, f"--dataset=arrays:{data}", f"--workdir={tmp_path / 'w'}"]
    result = run("train", *arguments, "--steps=3", "--dry_run")
    assert result.returncode == 0, result.stderr[-2000:]
    rows = dict(
        [cell.strip() for cell in line.split("│")[1:3]]
        for line in result.stdout.splitlines()
        if line.startswith("│")
    )
    assert rows["steps"] == "3 of 16 images, 5 an epoch"
    assert {
        "trained weights of encoder",
        "most memory",
        "until the first step is done",
    } <= {*rows}
    assert not (tmp_path / "w").exists()
    assert_refused(run("evaluate", f"--workdir={tmp_path / 'w'}", "--dry_run"), "train")


class TestFlags:
    """Answered before TensorFlow is loaded."""

    def test_help_is_quick_grouped_and_no_error(self):
        result = run_alone("train", "--help")
        assert result.cpu_seconds < 1.0
        assert result.returncode == 0
        for heading in ("Run:", "Data:", "Objective:", "Training:", "Evaluation:"):
            assert heading in result.stdout
        assert "info_nce" in result.stdout
        assert run("evaluate", "--help").returncode == 0

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--batchsize=3"], ["--batchsize", "Did you mean --batch_size"]),
            (["--bound=infonce"], ["--bound", "info_nce", "Did you mean info_nce"]),
            (["--batch_size=many"], ["batch_size", "many"]),
            (["--learning_rate=-1"], ["--learning_rate", "above 0", "-1"]),
            (["--flagfile=nowhere.flags"], ["nowhere.flags"]),
            (["train"], ["only flags", "'train'"]),
            (["--steps=3", "--epochs=3"], ["--steps or --epochs"]),
            (["--steps=3"], ["--workdir"]),
            (["--deterministic", "--jit_compile"], ["choose one"]),
        ],
    )
    def test_bad_flags_get_one_line_at_once(self, arguments, words):
        result = run_alone("train", *arguments)
        assert_refused(result, *words)
        assert result.cpu_seconds < 1.5

    def test_a_flagfile_that_is_no_text(self, tmp_path):
        (tmp_path / "x.flags").write_bytes(bytes(range(256)))
        result = run("train", f"--flagfile={tmp_path / 'x.flags'}", "--steps=1")
        assert_refused(result, "--flagfile")

    def test_a_flagfile_may_name_another(self, tmp_path):
        (tmp_path / "inner.flags").write_text("--batch_size=1\n")
        outer = tmp_path / "outer.flags"
        outer.write_text(f"--steps=1\n--flagfile={tmp_path / 'inner.flags'}\n")
        result = run("train", f"--flagfile={outer}")
        assert_refused(result, "--batch_size", "at least 2")


class TestBadData:
    def start(self, tmp_path, *arguments):
        workdir = tmp_path / "run"
        return run("train", *TINY, "--steps=2", f"--workdir={workdir}", *arguments)

    def test_missing_and_empty_folders(self, tmp_path):
        size = "--image_size=32"
        result = self.start(tmp_path, "--dataset=folder:nowhere", size)
        assert_refused(result, "no such folder", "nowhere")
        (tmp_path / "empty").mkdir()
        result = self.start(tmp_path, f"--dataset=folder:{tmp_path / 'empty'}", size)
        assert_refused(result, "no images", ".jpg")
        assert not (tmp_path / "run").exists()  # nothing half-made

    def test_batch_larger_than_the_data(self, tmp_path, data):
        result = self.start(tmp_path, f"--dataset=arrays:{data}", "--batch_size=500")
        assert_refused(result, "--batch_size", "500")

    def test_nan_in_an_array(self, tmp_path):
        np.save(tmp_path / "x.npy", np.full((40, 32, 32, 3), np.nan))
        result = self.start(tmp_path, f"--dataset=arrays:{tmp_path / 'x.npy'}")
        assert_refused(result, "x.npy", "NaN")

    def test_images_of_another_size_than_the_encoder(self, tmp_path):
        encoder = "--encoder=basic32x32"
        result = self.start(tmp_path, "--dataset=fashion", encoder)
        assert_refused(result, "28 x 28", encoder, "image_size=32")

    def test_no_length(self, tmp_path, data):
        workdir = f"--workdir={tmp_path / 'run'}"
        result = run("train", *TINY, workdir, f"--dataset=arrays:{data}")
        assert_refused(result, "--steps or --epochs")

    def test_read_only_work_directory(self, tmp_path, data):
        (tmp_path / "file").write_text("in the way")
        result = run("train", "--steps=2", f"--workdir={tmp_path / 'file' / 'run'}")
        assert_refused(result, "--workdir", "cannot be written")
        if os.geteuid() != 0:  # root may write anywhere
            (tmp_path / "locked").mkdir(mode=0o500)
            result = run("train", "--steps=2", f"--workdir={tmp_path / 'locked' / 'a'}")
            assert_refused(result, "--workdir", "cannot be written")

    def test_folder_that_is_no_run(self, tmp_path):
        result = run("evaluate", f"--workdir={tmp_path}")
        assert_refused(result, "run.flags")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data):
    """A run of 20 steps, made by the command."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    arguments = [
        *TINY,
        "--steps=20",
        f"--dataset=arrays:{data}",
        f"--workdir={workdir}",
    ]
    result = run("train", *arguments)
    assert result.returncode == 0, result.stderr[-3000:]
    return workdir, arguments, result


class TestRun:
    def test_leaves_everything_in_the_work_directory(self, trained):
        workdir, _, result = trained
        assert "AutoGraph" not in result.stderr  # it could not read a step
        names = {path.name for path in workdir.iterdir()}
        assert names == {
            "run.flags", "metrics.jsonl", "events", "checkpoints", "encoder.keras",
            "results.json", "probes.json", "curves.png", "curves.svg", "neighbors.png",
            "map.png", "report.html",
        }  # fmt: skip
        assert list((workdir / "events").iterdir())
        assert {p.name for p in (workdir / "checkpoints").iterdir()} == {
            "last.npz", "best.npz",
        }  # fmt: skip

    def test_three_sentences_end_it_and_begin_the_page(self, trained):
        workdir, _, result = trained
        told = [line for line in result.stdout.splitlines() if "has trained" in line]
        (sentence,) = told
        page = (workdir / "report.html").read_text()
        assert sentence in page
        assert "A linear probe of the 64 numbers of the code is right for " in page
        assert f"Pictures: {workdir / 'report.html'}" in result.stdout

    def test_results_are_flat_and_complete(self, trained):
        results = json.loads((trained[0] / "results.json").read_text())
        for probe in ("linear", "mlp"):
            for part in ("conv", "fc", "code"):
                assert {"mean", "sd", "n", "balanced"} <= set(
                    results[f"probe/{probe}/{part}"]
                )
        for name in ("random/code", "random/fc", "random/conv", "pixels"):
            assert results[f"probe/linear/{name}"]["n"] == 2
        assert results["probe/linear/pixels"]["mean"] > 0.9  # brightness is linear
        for name, candidates in (("mi/local", 16), ("score/local", 1 + 15 * 64)):
            value = results[name]
            assert value["ceiling"] == pytest.approx(np.log(candidates))
            assert value["mean"] <= value["ceiling"]
            assert value["objective"] == (name == "score/local")
        assert 1 <= results["health/effective_rank"]["mean"] <= 64
        distance = results["prior_distance/mmd"]  # of codes of a hardly trained encoder
        assert distance["mean"] > distance["alike"]["mean"] + 0.05

    def test_tells_what_it_does(self, trained):
        result = trained[2]
        assert "training images of 32 x 32 x 3" in result.stderr
        assert "step 20/20 100%" in result.stderr
        assert "images/s" in result.stderr
        for word in (
            "random encoder",
            "raw pixels",
            "Y (code)",
            "mi/local",
            "score/local",
        ):
            assert word in result.stdout

    def test_metrics_have_a_line_per_epoch(self, trained):
        lines = (trained[0] / "metrics.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        assert [row["step"] for row in rows] == [5, 10, 15, 20]
        assert {"loss", "local", "prior/encoder", "probe/knn"} <= set(rows[-1])
        assert "health/mean_cosine" in rows[-1]

    def test_encoder_file_is_the_encoder(self, trained, data):
        import keras

        encoder = keras.models.load_model(trained[0] / "encoder.keras")
        with np.load(data) as arrays:
            features = encoder(arrays["images"][:4])
        assert features["code"].shape == (4, 64)

    def test_second_start_finds_it_done(self, trained):
        before = (trained[0] / "checkpoints" / "last.npz").read_bytes()
        result = run("train", *trained[1], "--noevaluate")
        assert result.returncode == 0
        assert "all 20 steps are done" in result.stderr
        assert (trained[0] / "checkpoints" / "last.npz").read_bytes() == before

    def test_run_flags_is_a_flagfile(self, trained, tmp_path):
        flagfile = f"--flagfile={trained[0] / 'run.flags'}"
        result = run(
            "train", flagfile, f"--workdir={tmp_path / 'again'}", "--noevaluate"
        )
        assert result.returncode == 0, result.stderr[-2000:]
        assert (tmp_path / "again" / "metrics.jsonl").exists()

    def test_other_flags_are_refused_by_name(self, trained):
        result = run("train", *trained[1], "--learning_rate=0.01", "--seed=7")
        assert_refused(result, "--learning_rate is 0.01, there 0.001", "--seed is 7")
        other = f"--dataset={'fashion_m'}"
        assert_refused(run("train", *trained[1], other), "--dataset is fashion_m")

    def test_evaluate_by_the_work_directory_alone(self, trained):
        flags = ["--probes=linear", "--probe_seeds=1", "--checkpoint=best"]
        kept = (trained[0] / "results.json").read_bytes()
        result = run("evaluate", f"--workdir={trained[0]}", *flags)
        assert result.returncode == 0, result.stderr[-2000:]
        assert "best checkpoint" in result.stderr
        assert "linear" in result.stdout
        assert "mlp" not in result.stdout.partition("Next: ")[0]
        assert (trained[0] / "results.json").read_bytes() == kept
        assert (trained[0] / "results_best.json").exists()
        result = run("evaluate", f"--workdir={trained[0]}", "--batch_size=8")
        assert_refused(result, "--batch_size=8", "16")


def test_unlabelled_folder_trains_and_says_so(tmp_path, rng):
    import tensorflow as tf

    for k in range(40):
        image = rng.integers(0, 256, (40, 36, 3), np.uint8)
        (tmp_path / f"{k}.jpg").write_bytes(tf.io.encode_jpeg(image).numpy())
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    result = run(
        "train", *TINY, "--steps=4", f"--dataset=folder:{tmp_path}", "--image_size=32",
        f"--workdir={tmp_path / 'run'}",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    assert "no labels" in result.stderr
    assert "skipped 1 files: broken.jpg" in result.stderr
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert not any(name.startswith("probe/") for name in results)
    assert "mi/local" in results


def test_own_keras_model(tmp_path, data):
    import keras

    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 4, 4, name="map")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    keras.Model(inputs, keras.layers.Dense(5, name="out")(x)).save(tmp_path / "m.keras")
    common = [*TINY[1:], "--steps=3", f"--dataset=arrays:{data}", "--encoder_input=0_1"]
    result = run(
        "train", *common, f"--encoder=keras:{tmp_path / 'm.keras'}",
        "--encoder_layers=local=map,code=out", f"--workdir={tmp_path / 'run'}",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert "probe/linear/random/code" in results
    (tmp_path / "m.keras").unlink()  # the run has a copy
    trained = load_trained(WorkDirectory(str(tmp_path / "run")))
    assert trained.objective.encoder.output["code"].shape == (None, 5)
    evaluated = run(
        "evaluate", f"--workdir={tmp_path / 'run'}", "--probes=linear",
        "--probe_seeds=1",
    )  # fmt: skip
    assert evaluated.returncode == 0, evaluated.stderr[-2000:]
    half = run(
        "train", *common, f"--encoder=keras:{tmp_path / 'run' / 'own_model.keras'}",
        "--encoder_layers=local=map,code=out", f"--workdir={tmp_path / 'half'}",
        "--mixed_precision=bfloat16", "--noevaluate",
    )  # fmt: skip
    assert half.returncode == 0, half.stderr[-2000:]
    losses = [
        json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[-1])
        for name in ("run", "half")
    ]
    assert losses[0]["loss"] != losses[1]["loss"]  # it has an effect, and a small one
    assert losses[0]["loss"] == pytest.approx(losses[1]["loss"], rel=0.05)
    result = run(
        "train", *common, f"--encoder=keras:{data}", "--encoder_layers=code=out",
        f"--workdir={tmp_path / 'other'}",
    )  # fmt: skip
    assert_refused(result, "--encoder", "data.npz")


def wait_for(path: Path, process, timeout=120):
    deadline = time.monotonic() + timeout
    while not path.exists():
        assert process.poll() is None, process.communicate()[1][-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)


KILLED = [
    *TINY, "--steps=30", "--deterministic", "--augment=shift,color", "--ema=0.9",
    "--noevaluate", "--schedule=cosine",
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data):
    """A run that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("killed") / "whole"
    result = run("train", *KILLED, f"--dataset=arrays:{data}", f"--workdir={folder}")
    assert result.returncode == 0, result.stderr[-2000:]
    return folder


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_killed_and_started_again_gives_the_same_bits(how, tmp_path, data, whole):
    common = [*KILLED, f"--dataset=arrays:{data}", "--checkpoint_every=3"]
    parts = tmp_path / "parts"
    process = start("train", *[*common, f"--workdir={parts}"])
    wait_for(parts / "checkpoints" / "last.npz", process)
    process.send_signal(how)
    stderr = process.communicate(timeout=60)[1]
    with np.load(parts / "checkpoints" / "last.npz") as arrays:
        step = json.loads(arrays["state"].tobytes())["step"]
    assert 0 < step < 30
    if how == signal.SIGTERM:
        assert process.returncode == 1
        assert f"stopped by SIGTERM at step {step} of 30" in stderr
        assert "the same command continues" in stderr
    result = run("train", *common, f"--workdir={parts}")
    assert result.returncode == 0, result.stderr[-2000:]
    assert f"continues at step {step} of 30" in result.stderr
    with (
        np.load(whole / "checkpoints" / "last.npz") as one,
        np.load(parts / "checkpoints" / "last.npz") as other,
    ):
        assert set(one.files) == set(other.files)
        for name in set(one.files) - {"state"}:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    rows = [
        [json.loads(line) for line in (d / "metrics.jsonl").read_text().splitlines()]
        for d in (whole, parts)
    ]
    for one, other in zip(*rows, strict=True):
        one.pop("seconds"), other.pop("seconds")
        assert one == other


def test_loss_that_is_not_finite_ends_the_run_with_one_line(tmp_path, data):
    result = run(
        "train", *TINY, f"--dataset=arrays:{data}", "--steps=40",
        "--learning_rate=1e30", f"--workdir={tmp_path / 'run'}",
    )  # fmt: skip
    assert_refused(result, "no longer finite", "--learning_rate", status=1)
