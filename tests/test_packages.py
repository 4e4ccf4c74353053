"""Rows of other packages: found when they are asked for, refused in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tf_infomax.options.objectives import OBJECTIVES

PACKAGES = Path(__file__).parent / "packages"


def run(command: str, *flags: str, packages: tuple[str, ...] = ()):
    """A command with these packages installed beside."""
    places = [str(PACKAGES / name) for name in packages]
    places += [str(Path(__file__).parent.parent)]
    return subprocess.run(
        [sys.executable, "-m", f"tf_infomax.{command}", *flags],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
    )


def assert_refused(done, *words: str) -> None:
    """One line and status 2."""
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A run of the objective of another package."""
    workdir = tmp_path_factory.mktemp("packages") / "run"
    done = run(
        "train", "--objective=whitening", "--strength=2", "--steps=3",
        f"--dataset=arrays:{data}", "--batch_size=16", f"--workdir={workdir}",
        "--code_size=8", "--probes=linear", "--probe_seeds=1",
        packages=("whitening",),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return workdir, done


def test_its_objective_is_trained_with_an_option_of_its_own(trained):
    workdir, done = trained
    flags = (workdir / "run.flags").read_text()
    assert "--strength=2.0" in flags
    assert "--learning_rate=0.001" in flags  # its row's preset
    assert "# --objective=whitening: of the package " in flags
    assert "whiteness" in done.stdout
    assert '"whiteness"' in (workdir / "results.json").read_text()


def test_its_run_is_read_where_it_is_installed_and_refused_elsewhere(trained):
    workdir, _ = trained
    flags = (f"--workdir={workdir}", "--probes=")
    assert run("evaluate", *flags, packages=("whitening",)).returncode == 0
    assert_refused(run("evaluate", *flags), "'strength'", "not installed here")


def test_its_evaluation_is_asked_for_by_name(trained):
    workdir, _ = trained
    flags = (f"--workdir={workdir}", "--evaluations=norms")
    done = run("evaluate", *flags, packages=("whitening",))
    assert done.returncode == 0, done.stderr
    results = json.loads((workdir / "results.json").read_text())
    assert results["norm/code"]["n"] == 24
    assert_refused(run("evaluate", *flags), "--evaluations takes values, health")


def test_its_option_is_refused_for_other_objectives():
    done = run("train", "--strength=2", packages=("whitening",))
    assert_refused(done, "--strength=2.0", "--objective=whitening")
    assert_refused(run("train", "--strength=2"), "unknown flag --strength")


def test_help_shows_it():
    text = run("train", "--help", packages=("whitening",)).stdout
    assert "--strength=1.0" in text
    assert f"{[*OBJECTIVES][-1]}, whitening" in text
    assert "strength" not in run("train", "--help").stdout


def test_a_row_that_cannot_be_loaded_is_said():
    done = run("train", "--objective=broken", packages=("broken",))
    assert_refused(done, "'broken' of the package broken", "No module named")
    beside = run("train", "--help", packages=("broken", "whitening"))
    assert beside.returncode == 0
    assert beside.stderr.startswith("tf_infomax: warning: 'broken'")


def test_a_name_that_is_taken_is_refused():
    for objective in ("other", "dim_local"):  # built-in names must not win in silence
        done = run("train", f"--objective={objective}", packages=("clash",))
        assert_refused(done, "'mlp'", "tf_infomax and by clash")
