"""What benchmarks run: trainings, and variants in processes of their own."""

import json
import subprocess
import sys
from pathlib import Path


def train_once(flagfile: str, workdir: Path, *flags: str) -> dict:
    """Trains and probes linearly, unless that is done; the results.

    An interrupted run continues.
    """
    file = workdir / "results.json"
    if not file.exists() or '"failed/' in file.read_text():
        command = [
            *(sys.executable, "-m", "tf_infomax.train", f"--flagfile={flagfile}"),
            *(f"--workdir={workdir}", "--probes=linear", *flags),
        ]
        subprocess.run(command, check=True)
    return json.loads(file.read_text())


def run_variant(python: str, script: str, name: str, *flags: str):
    """What `script --one=NAME` prints last, in JSON, in a process of its own."""
    command = [python, script, "--one", name, *flags]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{name}: {result.stderr.strip().splitlines()[-1]}")
    return json.loads(result.stdout.splitlines()[-1])
