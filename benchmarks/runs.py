"""What the benchmarks that train have in common."""

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
