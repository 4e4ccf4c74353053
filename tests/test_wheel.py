"""What an installed package has, outside of the source tree."""

import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from commands import ROOT

from tf_infomax import __version__
from tf_infomax.__main__ import COMMANDS

SOURCES = (
    "tf_infomax", "configs", "export", "setup.cfg", "pyproject.toml", "README.md",
    "LICENSE",
)  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built of a copy: what older builds left in the tree does not get in."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            left_out = shutil.ignore_patterns("__pycache__")
            shutil.copytree(path, source / name, symlinks=True, ignore=left_out)
        else:
            shutil.copy(path, source / name)
    built = tmp_path_factory.mktemp("built")
    options = ["--quiet", "--no-deps", "--no-build-isolation", f"--wheel-dir={built}"]
    command = [sys.executable, "-m", "pip", "wheel", *options, str(source)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    (file,) = built.iterdir()
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with nothing but the package."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(installed, *arguments):
    """`tf-infomax` of the installed package, in another folder."""
    code = (
        f"import sys; sys.path[0] = {str(installed)!r}; sys.argv[0] = 'tf-infomax'; "
        "from tf_infomax.__main__ import main; sys.exit(main())"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=installed.parent,
    )


def test_it_takes_one_name_and_has_all_data(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        about = f"tf_infomax-{__version__}.dist-info"
        commands = archive.read(f"{about}/entry_points.txt").decode()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"tf_infomax", about}
    for file in (ROOT / "configs").glob("*.flags"):
        assert f"tf_infomax/configs/{file.name}" in names
    for file in (ROOT / "tf_infomax" / "data" / "embedded").glob("*.npz"):
        assert f"tf_infomax/data/embedded/{file.name}" in names
    assert "tf_infomax/py.typed" in names
    assert "tf-infomax = tf_infomax.__main__:main" in commands


def test_every_command_answers(installed):
    listed = run(installed, "--help").stdout
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\w", listed, re.MULTILINE)
        result = run(installed, name, "--help")
        assert result.returncode == 0, result.stderr[-2000:]
        assert "--" in result.stdout
    assert run(installed, "--version").stdout.strip() == f"tf_infomax {__version__}"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "a command comes first: train, evaluate, .*None was given"),
        (["trian"], "'trian'. Did you mean train?"),
        (["train", "--flagfile=dmi"], "'dmi'; by their names alone there are aae, "),
        (["train", "--flagfile=dim", "--steps=-3"], "--steps must be at least 0"),
        (["train", "--flagfile", "dim.flags", "--steps=-3"], "--steps must be at"),
        (["export", "--output=o"], "--workdir"),
    ],
)
def test_mistakes_get_one_line(installed, arguments, words):
    result = run(installed, *arguments)
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert re.search(words.replace("?", r"\?"), line)


def test_a_file_of_that_name_comes_first(installed):
    own = installed.parent / "dim"
    own.write_text("--steps=-7\n")
    try:
        assert "Received: -7" in run(installed, "train", "--flagfile=dim").stderr
    finally:
        own.unlink()


def test_a_packaged_flagfile_is_trained_anywhere(installed, tmp_path):
    result = run(
        installed, "train", "--flagfile=smoke", "--steps=2", "--noevaluate",
        f"--workdir={tmp_path / 'run'}",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    assert (tmp_path / "run" / "checkpoints" / "last.npz").exists()
