"""What the benchmarks that train have in common."""

import json
import subprocess
import sys
from pathlib import Path


def train_once(flagfile: str, workdir: Path, *flags: str) -> dict:
    """Trains and probes linearly, unless that is done; the results.

    An interrupted run continues.
    """
    if not (workdir / "results.json").exists():
        command = [
            *(sys.executable, "-m", "tf_infomax.train", f"--flagfile={flagfile}"),
            *(f"--workdir={workdir}", "--probes=linear", *flags),
        ]
        subprocess.run(command, check=True)
    return json.loads((workdir / "results.json").read_text())
