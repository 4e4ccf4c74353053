"""A chief and workers on this machine, by Keras Tuner's distributed protocol.

Every process runs the same command; environment variables say which one it is, as they
do on several machines. A worker that dies is started again under its name, and takes up
the trial that it was in.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_RESTARTS = 10  # of one worker, before something is plainly wrong
_PARENT = "TF_INFOMAX_PARENT"  # the process without which a child has no purpose
_PATIENCE = 90.0  # seconds for a stopped trial to be saved


def role() -> str:
    """ "chief" or "worker" in Keras Tuner's distributed protocol, else "solo"."""
    if "KERASTUNER_ORACLE_IP" not in os.environ:
        return "solo"
    chief = "chief" in os.environ.get("KERASTUNER_TUNER_ID", "")
    return "chief" if chief else "worker"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _environment(name: str, port: int, workers: int) -> dict[str, str]:
    """Of a child: its part in the protocol and its share of the machine."""
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    environment = {
        "TF_NUM_INTRAOP_THREADS": threads,
        "OMP_NUM_THREADS": threads,
        **os.environ,
        "KERASTUNER_TUNER_ID": name,
        "KERASTUNER_ORACLE_IP": "127.0.0.1",
        "KERASTUNER_ORACLE_PORT": str(port),
        _PARENT: str(os.getpid()),
    }
    gpus = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
    if gpus and name != "chief":
        number = int(name.removeprefix("tuner"))
        environment["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    return environment


def end_with_parent() -> None:
    """Interrupts this process when the one that started it has died."""
    parent = os.environ.get(_PARENT)
    if parent is None:
        return

    def watch():
        while os.getppid() == int(parent):
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def run_workers(
    command: Sequence[str], count: int, logs: Path, tell: Callable[[str], None]
) -> int:
    """Runs the command as a chief and `count` workers until the chief ends.

    Args:
        command: of each process.
        count: workers.
        logs: folder for what they print; the chief prints here.
        tell: hears of workers that died.

    Returns:
        The chief's exit status, or 1.
    """
    logs.mkdir(parents=True, exist_ok=True)
    port = _free_port()

    def start(name: str) -> subprocess.Popen:
        environment = _environment(name, port, count)
        if name == "chief":
            return subprocess.Popen(command, env=environment)
        with open(logs / f"{name}.log", "a", encoding="utf-8") as log:
            return subprocess.Popen(
                command, env=environment, stdout=log, stderr=subprocess.STDOUT
            )

    chief = start("chief")
    names = [f"tuner{number}" for number in range(count)]
    workers = {name: start(name) for name in names}
    restarts = dict.fromkeys(names, 0)
    try:
        while chief.poll() is None:
            time.sleep(0.5)
            for name, worker in workers.items():
                if worker.poll() in (None, 0) or chief.poll() is not None:
                    continue
                restarts[name] += 1
                if restarts[name] > _RESTARTS:
                    tell(f"{name} died {_RESTARTS} times: see {logs / name}.log")
                    return 1
                tell(f"{name} ended with status {worker.returncode}; started again")
                workers[name] = start(name)
        return chief.returncode
    finally:
        _end([chief, *workers.values()])


def _end(processes: list[subprocess.Popen]) -> None:
    """Lets every process save what it has and end; kills what does not."""
    for process in processes:
        if process.poll() is None:
            process.terminate()  # SIGINT may be ignored, as in a shell's background
    limit = time.monotonic() + _PATIENCE
    for process in processes:
        try:
            process.wait(max(0.1, limit - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()


def command_line() -> list[str]:
    """This command again, for a child."""
    return [sys.executable, "-m", "tf_infomax.tune", *sys.argv[1:], "--tuner_workers=0"]
