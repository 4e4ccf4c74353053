"""What the client's command line makes of a case, and what is wrong with that."""

import contextlib
import io
import tempfile
import time
import traceback
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unfit.case import ROWS, Case


class Outcome(NamedTuple):
    """What one run of the command line gave."""

    status: int | str
    shown: str
    embeddings: np.ndarray | None
    left: list[str]
    seconds: float


def embed(address: str, transport: str, number: int, folder: Path, timeout: float):
    """Runs the client's command line on three files, in this process."""
    from tf_infomax.export import client

    files = [folder / "images" / f"{k}.png" for k in range(ROWS)]
    output = folder / "out.npz"
    output.unlink(missing_ok=True)
    shown, status, started = io.StringIO(), 0, time.monotonic()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        try:
            client.main([
                f"--server={address}", f"--model=case{number}", "--wait=0",
                f"--transport={transport}", f"--timeout={timeout}", "--retries=0",
                f"--output={output}", "--images", *map(str, files),
            ])  # fmt: skip
        except SystemExit as end:
            status = end.code
        except BaseException:
            status = "traceback"
            traceback.print_exc()
    seconds = time.monotonic() - started
    embeddings = None
    if output.exists():
        with np.load(output) as arrays:
            embeddings = arrays["embeddings"]
    left = [
        each.name for each in folder.iterdir() if each.name not in ("images", "out.npz")
    ]
    return Outcome(status, shown.getvalue(), embeddings, left, seconds)


def judge(case: Case, outcome: Outcome, timeout: float, truth) -> list[str]:
    """What is wrong with an outcome, where `truth` (None: nothing) may be embedded."""
    faults = []
    shown = outcome.shown
    if "Traceback" in shown:
        faults.append("traceback")
    lines = shown.rstrip("\n").split("\n")
    several = len(lines) > 1 + lines[0].startswith("skipped ")
    if several or not "".join(lines).isprintable() or len(shown) > 3300:
        faults.append("control characters, or more than a line")
    if outcome.seconds > 2 * timeout + 1:  # to be ready, and to be embedded
        faults.append("too long")
    if outcome.left or (outcome.embeddings is None) != (outcome.status != 0):
        faults.append("files that do not belong to the exit status")
    if outcome.status != 0:
        return [*faults, "refused"] if case.fit else faults
    if case.fit is False or truth is None:
        faults.append("embedded what was unfit")
    elif not np.array_equal(outcome.embeddings, truth):
        faults.append("wrong numbers")
    return faults


@contextlib.contextmanager
def three_files():
    """A folder with `images/0.png` and so on; no server here looks into them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        for k in range(ROWS):
            (folder / "images" / f"{k}.png").write_bytes(b"\x89PNG")
        yield folder
