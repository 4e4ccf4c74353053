"""The files of a run: believed when they are whole, its own, and nobody else's."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import damaged_runs
import numpy as np
import pytest
from commands import ROOT, assert_refused, run, run_alone

from tf_infomax.embedding import source
from tf_infomax.embedding.parts import Parts
from tf_infomax.options import Config, ConfigError, flags
from tf_infomax.runtime import locks, seals
from tf_infomax.runtime.files import replacing, replacing_folder
from tf_infomax.runtime.seals import DamagedError
from tf_infomax.training.checkpoints import DamagedCheckpointError, load_checkpoint
from tf_infomax.training.workdir import WorkDirectory


def start_python(code: str, *arguments) -> subprocess.Popen:
    """A process that runs the code; returned when it has printed a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.stdout.readline()
    return process


def kill(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


HOLD = """
import sys, time
from pathlib import Path
from tf_infomax.runtime import locks
with locks.locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(100)
"""
WRITE = """
import sys, time
from pathlib import Path
from tf_infomax.runtime.files import replacing, replacing_folder
with replacing(Path(sys.argv[1])) as file, replacing_folder(Path(sys.argv[2])) as made:
    file.write_bytes(bytes(1000))
    (made / "inside").write_bytes(bytes(1000))
    print("begun", flush=True)
    time.sleep(100)
"""


class TestSeals:
    def test_a_text_cut_anywhere_is_told_from_one_without_a_seal(self):
        text = "--one=1\n--two=2\n"
        sealed = seals.seal_text(text, run="r").encode()
        assert seals.open_text(sealed) == (text, {"run": "r"})
        assert seals.open_text(text.encode()) == (text, None)
        first = sealed.index(b"\n")
        for end in range(first, len(sealed)):
            with pytest.raises(DamagedError):
                seals.open_text(sealed[:end])

    def test_json_stays_json_and_shows_any_change(self):
        content = {"a": (1, 2.5), "b": {"c": None, "d": float("inf")}}
        sealed = seals.seal_json(content, run="r")
        found, facts = seals.open_json(sealed)
        assert (found, facts) == (json.loads(json.dumps(content)), {"run": "r"})
        for old, new in (("2.5", "2.6"), ('"r"', '"s"'), ('"c"', '"e"')):
            with pytest.raises(DamagedError):
                seals.open_json(sealed.replace(old, new))
        with pytest.raises(DamagedError):
            seals.open_json(sealed[:-3])

    def test_an_archive_stays_one_and_shows_members_that_changed_places(self, tmp_path):
        path = tmp_path / "a.npz"
        arrays = {"a": np.arange(3.0), "b": np.ones(3)}
        np.savez(path, **arrays)
        assert seals.open_archive(path) is None
        seals.seal_archive(path, step=3)
        assert seals.open_archive(path, members=True) == {"step": 3}
        with np.load(path) as found:
            np.testing.assert_array_equal(found["a"], arrays["a"])
        content = bytearray(path.read_bytes())
        content[content.index(arrays["a"].tobytes()) + 20] ^= 1
        path.write_bytes(content)
        with pytest.raises(DamagedError):
            seals.open_archive(path, members=True)


class TestLocks:
    def test_a_second_process_is_told_who_is_there_until_it_is_killed(self, tmp_path):
        lock = tmp_path / "lock"
        holder = start_python(HOLD, lock)
        with locks.locked(lock) as taken:
            assert not taken
        words = locks.describe_holder(lock)
        assert f"process {holder.pid} on host {os.uname().nodename}" in words
        kill(holder)
        assert lock.exists()
        with locks.locked(lock) as taken:
            assert taken
            assert str(os.getpid()) in locks.describe_holder(lock)
        assert not lock.exists()

    def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(self, tmp_path):
        paths = tmp_path / "a[1].npz", tmp_path / "folder"
        writers = [start_python(WRITE, *paths) for _ in range(2)]
        assert len([*tmp_path.iterdir()]) == 4
        kill(writers[0])
        (tmp_path / ".mine.tmp").write_text("not one of ours")
        locks.remove_abandoned(tmp_path)
        names = {path.name for path in tmp_path.iterdir()}
        pid = writers[1].pid
        assert names == {f".a[1].{pid}.tmp.npz", f".folder.{pid}.tmp", ".mine.tmp"}
        kill(writers[1])
        with replacing(paths[0]) as file, replacing_folder(paths[1]):
            file.write_text("new")
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {"a[1].npz", "folder", ".mine.tmp"}

    def test_where_there_are_no_locks_it_is_said_once(
        self, tmp_path, monkeypatch, capsys
    ):
        def refuse(*_):
            raise OSError(95, "Operation not supported")

        monkeypatch.setattr(locks.fcntl, "flock", refuse)
        for _ in range(2):
            with locks.locked(tmp_path / "lock") as taken:
                assert taken
        abandoned = tmp_path / ".a.1.tmp.npz"
        abandoned.write_text("of a living process, perhaps")
        locks.remove_abandoned(tmp_path)
        assert abandoned.exists()
        assert capsys.readouterr().err.count("keeps no locks") == 1

    @pytest.mark.parametrize("command", ["train", "evaluate"])
    def test_commands_refuse_a_run_that_is_in_use(self, command, tmp_path, truth):
        folder = truth.folder
        arguments = [f"--workdir={folder}"]
        if command == "train":
            arguments.insert(0, f"--flagfile={folder / 'run.flags'}")
        holder = start_python(HOLD, folder / "lock")
        try:
            result = run_alone(command, *arguments)
        finally:
            kill(holder)
        words = [f"process {holder.pid} on host {os.uname().nodename}", str(folder)]
        assert_refused(result, *words)
        assert result.cpu_seconds < 2

    def test_a_run_begun_meanwhile_is_not_overwritten(self, tmp_path):
        config = Config(workdir=str(tmp_path / "run"), steps=3)
        first, second = (WorkDirectory(config.workdir) for _ in range(2))
        with second.held():
            second.check(config)
            with first.held():
                first.check(config)
                first.claim(config)
                with pytest.raises(ConfigError, match=f"process {os.getpid()}"):
                    second.claim(config)
            with pytest.raises(ConfigError, match="begun a run here meanwhile"):
                second.claim(config)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three runs of eight steps, as `damaged_runs` makes them."""
    return damaged_runs.make_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def truth(runs, tmp_path):
    """The first of them, in a folder to be changed."""
    shutil.copytree(runs[0].folder, tmp_path / "run")
    return replace(runs[0], folder=tmp_path / "run")


class TestDamage:
    def test_whatever_is_damaged_nothing_wrong_is_believed(self, tmp_path):
        found = damaged_runs.check_cases(tmp_path, 25, 0)
        assert found.total() == 100
        assert Counter(found) >= Counter(right=50, refused=3)

    def test_options_cut_at_a_line_are_never_the_defaults(self, truth, capsys):
        path = truth.folder / "run.flags"
        lines = path.read_text().splitlines(keepends=True)
        for end in range(0, len(lines), 7):
            path.write_text("".join(lines[:end]))
            config = WorkDirectory(str(truth.folder)).read_config()
            assert not config.difference(truth.config)
            assert "the options are those kept in" in capsys.readouterr().err
        for which in ("last", "best"):
            (truth.folder / "checkpoints" / f"{which}.npz").unlink()
        with pytest.raises(ConfigError, match=r"run\.flags is cut off"):
            WorkDirectory(str(truth.folder)).read_config()

    def test_a_cut_flagfile_is_not_filled_up_with_defaults(self, truth):
        path = truth.folder / "run.flags"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[:30]))
        result = run("train", f"--flagfile={path}", "--workdir=elsewhere", "--steps=3")
        assert_refused(result, f"--flagfile={path} is cut off")
        path.write_text("".join(lines[1:]).replace("--steps=16", "--steps=0"))
        result = run("train", f"--flagfile={path}", f"--workdir={path.parent / 'new'}")
        assert_refused(result, "--steps or --epochs")  # edited, and taken

    def test_how_an_export_resizes_is_not_guessed(self, tmp_path):
        path = tmp_path / "assets.extra" / "run.flags"
        path.parent.mkdir()
        text = seals.seal_text(flags.format_flags(Config(resize="stretch")))
        path.write_text(text)
        assert source._read_rule(tmp_path) == "stretch"
        path.write_text(text[: text.index("--resize")])
        with pytest.raises(ConfigError, match=r"run\.flags is cut off.*Export"):
            source._read_rule(tmp_path)

    def test_options_edited_by_hand_are_not_those_that_trained(self, truth, capsys):
        path = truth.folder / "run.flags"
        path.write_text(path.read_text().replace("--resize=crop", "--resize=stretch"))
        assert WorkDirectory(str(truth.folder)).read_config().resize == "crop"
        assert "was changed after it was written" in capsys.readouterr().err

    def test_a_run_of_before_seals_is_read_and_said(self, truth, capsys):
        options = flags.format_flags(truth.config)
        (truth.folder / "run.flags").write_text(options)
        numbered = truth.folder / "checkpoints" / "last.npz"
        variables = truth.objective.state()
        with np.load(numbered) as arrays:
            state = json.loads(arrays["state"].tobytes())
            values = {f"v{k:05d}": arrays[name] for k, name in enumerate(variables)}
        for name in ("run", "flags", "rows", "checkpoint"):
            del state[name]
        text = np.frombuffer(json.dumps(state).encode(), np.uint8)
        np.savez(numbered, **values, state=text)
        (truth.folder / "checkpoints" / "best.npz").unlink()
        damaged_runs._evaluate(truth, truth.folder, "last")
        said = capsys.readouterr().err
        assert "run.flags has no seal" in said
        assert "no names of variables" in said

    def test_swapped_variables_of_one_shape_are_named(self, truth):
        path = truth.folder / "checkpoints" / "last.npz"
        with np.load(path) as arrays:
            content = dict(arrays)
        one, other = "optimizer/encoder/000/kernel/{}", ("momentum", "velocity")
        names = [one.format(kind) for kind in other]
        assert {*names} <= {*content}
        renamed = dict(zip(names, reversed(names), strict=True))
        np.savez(path, **{renamed.get(name, name): v for name, v in content.items()})
        variables = truth.objective.state()
        with pytest.raises(DamagedCheckpointError, match=r"last\.npz"):
            load_checkpoint(path, variables)
        missing = {f"{name}x": v for name, v in variables.items()}
        with pytest.raises(ConfigError, match="another model"):
            load_checkpoint(truth.folder / "checkpoints" / "best.npz", missing)

    def test_a_copied_model_is_the_one_that_was_copied(self, tmp_path):
        model = tmp_path / "m.keras"
        model.write_bytes(b"a model")
        config = Config(
            workdir=str(tmp_path / "run"), steps=3, encoder=f"keras:{model}",
            encoder_layers=("local=a", "code=b"),
        )  # fmt: skip
        WorkDirectory(config.workdir).claim(config)
        copy = tmp_path / "run" / "own_model.keras"
        localized = WorkDirectory(config.workdir).localize(config)
        assert localized.encoder == f"keras:{copy}"
        copy.write_bytes(b"a mo")
        assert WorkDirectory(config.workdir).localize(config) == config
        model.write_bytes(b"another model")
        with pytest.raises(ConfigError, match=r"own_model\.keras was changed or cut"):
            WorkDirectory(config.workdir).localize(config)


def test_parts_of_embeddings_that_changed_are_made_again(tmp_path):
    def add(parts, first, last):
        for k in range(first, last):
            parts.add([f"{k}.png"], np.full((1, 3), k, np.float32), [])
        parts.close()

    add(Parts(tmp_path, {"a": "b"}, 3), 0, 4)
    for name, place in (("rows.f32", 2 * 12 + 5), ("journal.jsonl", -100)):
        content = bytearray((tmp_path / name).read_bytes())
        content[place] ^= 1
        (tmp_path / name).write_bytes(content)
        parts = Parts(tmp_path, {"a": "b"}, 3)
        assert parts.files == 2
        add(parts, 2, 4)
        parts = Parts(tmp_path, {"a": "b"}, 3)
        rows = np.concatenate([rows for _, rows in parts.batches()])
        parts.close()
        np.testing.assert_array_equal(rows[:, 0], range(4))


LONGER = """
import json, sys
from dataclasses import replace
from pathlib import Path
import numpy as np
sys.path.insert(0, "tests")
from damaged_runs import make_config
from tf_infomax.training import experiment
from tf_infomax.training import run as training
from tf_infomax.training.workdir import WorkDirectory

root, data = Path(sys.argv[1]), None
for name, lengths in json.loads(sys.argv[2]).items():
    for length in lengths:
        config = make_config(root / name, root / "data.npz", 0)
        config = config.replace(deterministic=True, warmup_steps=2, steps=0)
        config = config.replace(**length)
        data = data or experiment.load_data(config)
        workdir = WorkDirectory(config.workdir)
        with workdir.held():
            workdir.check(config)
            run = training.Run(config, workdir, data)
            workdir.claim(config)
            training.train(run)
"""


class TestLonger:
    def test_more_steps_continue_to_the_same_bits(self, tmp_path):
        """Also from within an epoch: there are four steps in one."""
        images = np.random.default_rng(0).integers(0, 256, (100, 12, 12, 3), np.uint8)
        np.savez(tmp_path / "data.npz", images=images, labels=np.arange(100) % 2)
        runs = {
            "whole": [{"steps": 16}],
            "longer": [{"steps": 8}, {"steps": 8}, {"steps": 16}],
            "epochs": [{"epochs": 2}, {"steps": 16}],
            "within": [{"steps": 6}, {"steps": 16}],
        }
        code, given = LONGER, [str(tmp_path), json.dumps(runs)]
        subprocess.run([sys.executable, "-c", code, *given], cwd=ROOT, check=True)
        states, arrays = {}, {}
        for name in runs:
            path = tmp_path / name / "checkpoints" / "last.npz"
            with np.load(path) as found:
                arrays[name] = {k: found[k] for k in found.files}
            states[name] = json.loads(arrays[name].pop("state").tobytes())
        for name in ("longer", "epochs", "within"):
            assert arrays[name].keys() == arrays["whole"].keys()
            for key, value in arrays["whole"].items():
                np.testing.assert_array_equal(arrays[name][key], value, err_msg=key)
            config = WorkDirectory(str(tmp_path / name)).read_config()
            assert (config.steps, config.epochs) == (16, 0)
            encoder = tmp_path / name / "encoder.keras"
            assert seals.open_archive(encoder)["step"] == 16
            whole = {row["step"]: row for row in states["whole"]["rows"]}
            rows = {row["step"]: row for row in states[name]["rows"]}
            assert [*whole] == [4, 8, 12, 16]
            for step in whole:
                one, other = whole[step], rows[step]
                assert {k: v for k, v in one.items() if k != "seconds"} == {
                    k: v for k, v in other.items() if k != "seconds"
                }

    def test_fewer_than_done_and_a_schedule_over_the_length_are_refused(self, truth):
        options = [f"--flagfile={truth.folder / 'run.flags'}"]
        options += [f"--workdir={truth.folder}"]
        result = run_alone("train", *options, "--steps=7")
        assert_refused(result, "--steps=7", "done 8 steps already", str(truth.folder))
        assert result.cpu_seconds < 2
        workdir = WorkDirectory(str(truth.folder))
        config = truth.config.replace(workdir=str(truth.folder), schedule="cosine")
        with pytest.raises(ConfigError, match="schedule"):
            workdir.check(config)
        workdir._check_length(config.replace(schedule="constant", steps=99), config)
        with pytest.raises(ConfigError, match=r"--steps=99.*--schedule=cosine.*Keep"):
            workdir._check_length(config.replace(steps=99), config)


class TestSameData:
    """All bytes of all parts are compared, not a sample of them."""

    def change(self, truth, part: str):
        """The run's own data with one bit of one part changed."""
        images = getattr(truth.data, part)
        pixels = images.images[:].copy()
        pixels[len(pixels) // 3, 5, 5, 0] ^= 1
        return replace(truth.data, **{part: replace(images, images=pixels)})

    def restore(self, truth, data):
        config = truth.config.replace(workdir=str(truth.folder))
        workdir = WorkDirectory(config.workdir)
        return damaged_runs.training.Run(config, workdir, data, truth.objective)

    @pytest.mark.parametrize("part", ["train", "validation"])
    def test_one_bit_of_what_is_trained_or_chosen_on(self, truth, part):
        with pytest.raises(ConfigError, match=r"images of --dataset=.* have changed"):
            self.restore(truth, self.change(truth, part))

    def test_other_test_images_are_said(self, truth, capsys):
        assert self.restore(truth, self.change(truth, "test")).step == 8
        assert "the test images have changed" in capsys.readouterr().err
        data = self.change(truth, "probe_test")
        assert self.restore(truth, data).step == 8
        assert "the labelled images have changed" in capsys.readouterr().err
        self.restore(truth, truth.data)
        assert not capsys.readouterr().err
