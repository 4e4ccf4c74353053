"""An export proves itself before it is published."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tf_infomax.export.inspection import find_faults
from tf_infomax.export.recording import write_requests
from tf_infomax.export.signatures import Signature

TOLERANCE = 1e-5
SIZES = (0, 1, 7, 64)
_REPLAY = str(Path(__file__).with_name("replay.py").resolve())


class ExportError(RuntimeError):
    """An export that failed: why; nothing was published."""

    exit_status = 1


def verify(
    path: Path, name: str, signatures: dict[str, Signature], images: np.ndarray
) -> float:
    """Holds a SavedModel against the model in memory.

    First its graph is read (`inspection.find_faults`). Then a new process without this
    package and without Keras loads it by a session, answers the recorded warm-up
    requests and requests of 0, 1, 7 and 64 real images; what it answers must be what
    the model in memory does.

    Args:
        path: the SavedModel, with its warm-up file.
        name: of the model.
        signatures: what it should answer.
        images: 64 real images.

    Returns:
        The largest difference (see `compare`) over all signatures and outputs.

    Raises:
        ExportError: with the fault, the process's last words, or the difference.
    """
    if faults := find_faults(path, signatures):
        raise ExportError(f"the export is faulty: {'; '.join(faults)}.")
    expected = {
        key: {k: np.asarray(v) for k, v in signature.expected(images).items()}
        for key, signature in signatures.items()
    }
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        requests = Path(folder) / "requests"
        cases = write_requests(requests, name, signatures, images, SIZES)
        warmup = path / "assets.extra" / "tf_serving_warmup_requests"
        answers = replay_requests(path, Path(folder) / "answers.npz", requests, warmup)
    worst = 0.0
    for k, (key, size) in enumerate(cases):
        for output, values in expected[key].items():
            difference = compare(answers[f"{k}/{output}"], values[:size])
            if not difference <= TOLERANCE:
                raise ExportError(
                    f"signature {key}, batch of {size}: {output} differs from the "
                    f"model in memory by {difference:.2g}, more than {TOLERANCE:g}."
                )
            worst = max(worst, difference)
    return worst


def compare(answer: np.ndarray, expected: np.ndarray) -> float:
    """Largest absolute difference, in units of the largest value where that is above 1.

    float32 has 7 digits: 1e-5 is few of its last places at 1, and less than one at 100.
    Infinite for other shapes, other text or NaN.
    """
    if answer.shape != expected.shape:
        return np.inf
    if answer.dtype.kind == "U":
        text = [[each.decode() for each in row] for row in expected.tolist()]
        return 0.0 if answer.tolist() == text else np.inf
    expected = expected.astype(np.float64)
    difference = np.abs(answer - expected).max(initial=0.0)
    difference /= np.abs(expected).max(initial=1.0)
    return float(difference) if np.isfinite(difference) else np.inf


def replay_requests(
    path: Path, answers: Path, *requests: Path
) -> dict[str, np.ndarray]:
    """The answers of a process of its own (`replay`)."""
    result = subprocess.run(
        [sys.executable, "-P", _REPLAY, path, answers, *requests],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise ExportError(f"the export fails in a session of its own: {last}")
    with np.load(answers) as arrays:
        return dict(arrays)
