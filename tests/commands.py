"""Commands as a user types them, for the tests."""

import os
import resource
import subprocess
import sys
from pathlib import Path

from forked import Forks

ROOT = Path(__file__).parent.parent
TINY = [
    "--encoder=half_convnet",  # of any size, and small
    "--critic_units=8",
    "--batch_size=16",
    "--progress=lines",
    "--probe_seeds=2",
]


_FORKS = Forks()


def run(module, *arguments, timeout=300):
    """The finished process of a command in an interpreter that knows TensorFlow."""
    arguments = [*map(str, arguments)]
    return _FORKS.run(_whole(module), arguments, timeout, ROOT, dict(os.environ))


def start(module, *arguments):
    """The same, begun: a process to send signals to, wait for and hear."""
    arguments = [*map(str, arguments)]
    return _FORKS.start(_whole(module), arguments, ROOT, dict(os.environ))


def run_alone(module, *arguments, timeout=300):
    """The finished process of a command, with the CPU seconds it took.

    A limit on these (`cpu_seconds`) means the same on a busy machine.
    """
    before = _cpu_of_children()
    result = subprocess.run(
        [sys.executable, "-m", _whole(module), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=ROOT,
    )
    result.cpu_seconds = _cpu_of_children() - before
    return result


def _whole(module: str) -> str:
    return module if "." in module else f"tf_infomax.{module}"


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def assert_refused(result, *words, status=2):
    """One line on standard error, no traceback, the status."""
    assert result.returncode == status, result.stderr[-2000:]
    lines = result.stderr.strip().splitlines()
    errors = [line for line in lines if line.startswith("tf_infomax: error: ")]
    assert len(errors) == 1, result.stderr
    assert lines[-1] == errors[0]
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in errors[0], errors[0]
