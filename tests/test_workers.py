"""Several processes that train as one: the numbers of one, whatever happens."""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, TINY, assert_refused, run

from tf_infomax.data import batches
from tf_infomax.options import Config, ConfigError
from tf_infomax.runtime.cluster import Place, read_place

ROWS = ("dim_local_global", "multiview", "vae", "bigan")


def find_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("localhost", 0))
        return [each.getsockname()[1] for each in sockets]


def configure(rank: int, ports: list[int]) -> str:
    cluster = {"worker": [f"localhost:{port}" for port in ports]}
    return json.dumps({"cluster": cluster, "task": {"type": "worker", "index": rank}})


class TestPlaces:
    def test_parts_cover_a_batch(self):
        for count in (1, 2, 3, 5):
            parts = [Place(rank, count).part_of(30) for rank in range(count)]
            assert parts[0][0] == 0
            assert parts[-1][1] == 30
            assert all(one[1] == two[0] for one, two in itertools.pairwise(parts))

    def test_the_chief_comes_first(self, monkeypatch):
        cluster = {"worker": ["a:1", "b:1"], "chief": ["c:1"]}
        for kind, index, rank in (("chief", 0, 0), ("worker", 0, 1), ("worker", 1, 2)):
            content = {"cluster": cluster, "task": {"type": kind, "index": index}}
            monkeypatch.setenv("TF_CONFIG", json.dumps(content))
            assert read_place() == Place(rank, 3)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "is not set"),
            ("{", "cannot be read"),
            ("[1]", "cannot be read"),
            ('{"cluster": {"worker": ["a:1"]}}', "task"),
            (
                '{"cluster": {"worker": ["a:1"]}, '
                '"task": {"type": "worker", "index": 1}}',
                "no task 'worker' 1 in the cluster of worker 0",
            ),
            (
                '{"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
                "types ps. Accepted: chief, worker",
            ),
        ],
    )
    def test_what_cannot_be_meant_is_told(self, text, words, monkeypatch):
        monkeypatch.setenv("TF_CONFIG", text)
        with pytest.raises(ConfigError, match=words):
            read_place()

    @pytest.mark.parametrize(
        "options",
        [dict(jit_compile=True), dict(steps_per_execution=2), dict(on_nan="restore"),
         dict(on_nan="skip")],
    )  # fmt: skip
    def test_what_several_machines_cannot_do_is_refused(self, options):
        with pytest.raises(ConfigError, match=f"--{next(iter(options))}"):
            Config(strategy="multi_worker", **options)

    def test_without_a_cluster_it_is_one_line(self, tmp_path, monkeypatch):
        monkeypatch.delenv("TF_CONFIG", raising=False)
        workdir = f"--workdir={tmp_path / 'run'}"
        result = run("train", "--strategy=multi_worker", "--steps=1", workdir)
        assert_refused(result, "TF_CONFIG is not set")
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("view", ["one", "augment"])
def test_parts_of_batches_are_those_of_the_whole(view, rng):
    """Also where views are drawn; others of the batch are not read."""
    images = rng.integers(0, 256, (20, 8, 8, 3), np.uint8)
    names = () if view == "one" else ("crop", "flip", "color")
    options = dict(seed=3, view=view, augmentations=names, labels=np.arange(20),
                   with_index=True)  # fmt: skip
    whole = [*batches.make_batches(images, 6, 2, 5, **options)]
    parts = [
        [*batches.make_batches(images, 6, 2, 5, **options, part=part)]
        for part in ((0, 2), (2, 4), (4, 6))
    ]
    for number, batch in enumerate(whole):
        for name, value in batch.items():
            joined = np.concatenate([part[number][name] for part in parts])
            np.testing.assert_array_equal(joined, value)


def test_the_manifest_is_one_that_kubernetes_takes():
    """By its own schema; each pod's TF_CONFIG is a place in one cluster."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    yaml = pytest.importorskip("yaml")
    content = (ROOT / "docs" / "scaling.yaml").read_text()
    documents = list(yaml.safe_load_all(content))
    for document in documents:
        assert kubernetes_validate.validate(document, "1.30", strict=True)
    service, job = documents
    name, spec = service["metadata"]["name"], job["spec"]
    assert spec["template"]["spec"]["subdomain"] == name == job["metadata"]["name"]
    (command,) = spec["template"]["spec"]["containers"][0]["args"]
    config = command.split("TF_CONFIG='")[1].split("}}'")[0] + "}}"
    for index in range(spec["completions"]):
        found = json.loads(config.replace("'$JOB_COMPLETION_INDEX'", str(index)))
        hosts = found["cluster"]["worker"]
        assert hosts[found["task"]["index"]] == f"{name}-{index}.{name}:2222"
        assert len(hosts) == spec["completions"] == spec["parallelism"]


def test_two_processes_equal_one():
    """Weights, statistics and values of objectives of every kind, after 20 steps."""
    ports, env = find_ports(2), {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    script = Path(__file__).parent / "workers.py"
    processes = [
        subprocess.Popen(
            [sys.executable, script, str(rank), *map(str, ports), *ROWS],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=script.parent, env=env,
        )
        for rank in range(2)
    ]  # fmt: skip
    for process in processes:
        told, errors = process.communicate(timeout=400)
        assert told.strip().endswith("equal"), errors[-3000:]


class Workers:
    """A training of two processes from the command line."""

    def __init__(self, folder: Path, options: list[str]):
        self.folder, ports = folder, find_ports(2)
        command = [sys.executable, "-m", "tf_infomax.train", "--strategy=multi_worker"]
        self.logs = [folder / f"worker-{rank}.log" for rank in range(2)]
        self.processes = []
        for rank, log in enumerate(self.logs):
            env = {**os.environ, "TF_CONFIG": configure(rank, ports)}
            with open(log, "w") as file:
                self.processes.append(
                    subprocess.Popen(
                        [*command, f"--workdir={folder / 'run'}", *options],
                        stdout=file, stderr=file, cwd=ROOT, env=env,
                    )
                )  # fmt: skip

    def read(self, rank: int) -> str:
        return self.logs[rank].read_text()

    def wait_for(self, words: str) -> None:
        """Until the chief has said it."""
        until = time.monotonic() + 200
        while words not in self.read(0):
            assert self.processes[0].poll() is None, self.read(0)[-2000:]
            assert time.monotonic() < until
            time.sleep(0.1)

    def finish(self) -> list[int]:
        return [process.wait(timeout=200) for process in self.processes]


def test_a_run_of_two_survives_what_may_happen(tmp_path):
    """A signal to one of them, and the death of one; then it is the run of one."""
    options = [*TINY, "--steps=24", "--batch_size=16", "--evaluations=values"]
    options += ["--dataset=fashion", "--checkpoint_every=4", "--online_probe=none"]
    alone = run("train", f"--workdir={tmp_path / 'alone'}", *options)
    assert alone.returncode == 0, alone.stderr[-2000:]
    workers = Workers(tmp_path, options)
    workers.wait_for("step 1/24")
    workers.processes[1].send_signal(signal.SIGTERM)
    assert workers.finish() == [1, 1]
    for rank, words in ((0, "stopped by a signal to another worker"), (1, "SIGTERM")):
        assert words in workers.read(rank)
    step = workers.read(0).split(" of 24, saved")[0].split()[-1]
    assert f"at step {step} of 24" in workers.read(1)
    workers = Workers(tmp_path, options)
    workers.wait_for("continues at step")
    workers.wait_for("images/s")
    workers.processes[1].kill()
    codes = workers.finish()
    if codes[0]:  # it had not come to its end before
        assert "another worker does not answer" in workers.read(0)
        workers = Workers(tmp_path, options)
        assert workers.finish() == [0, 0], workers.read(0)[-2000:]
    rows = [
        json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[-1])
        for name in ("alone", "run")
    ]
    for name in ("loss", "local", "validation/mi/local"):
        assert rows[0][name] == pytest.approx(rows[1][name], rel=1e-3)
    paths = [tmp_path / name / "checkpoints" / "last.npz" for name in ("alone", "run")]
    saved = [np.load(path) for path in paths]
    for name in saved[0].files:
        if name.startswith("encoder/") and name.endswith("kernel"):
            np.testing.assert_allclose(saved[1][name], saved[0][name], atol=1e-3)
