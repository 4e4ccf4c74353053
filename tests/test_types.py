"""Types as a user's checker sees them."""

import subprocess
import sys

SCRIPT = """
import numpy as np

import tf_infomax
from tf_infomax import bounds, critics, encoders, estimate_mi, objectives
from tf_infomax.estimation import Estimate

x = np.zeros((10, 2))
estimate = estimate_mi(x, x, method="auto", folds=3)
reveal_type(estimate)
reveal_type(estimate.interval)
model = tf_infomax.DeepInfoMax(encoder="auto", epochs=3, options={"gamma": 0.1})
reveal_type(model.fit(x))
reveal_type(model.encode(x))
encoder = encoders.build_convnet("basic32x32", (32, 32, 3), 64)
reveal_type(objectives.dim_local(encoder, bound="jsd"))
reveal_type(bounds.as_bound("jsd").measures)
reveal_type(critics.Separable((64, 64)))


def tell(estimate: Estimate) -> str:
    return estimate.method + estimate.warnings[0]


tell(3)
"""
SEEN = (
    "tf_infomax.estimation.result.Estimate",
    "tuple[float, float]",
    "tf_infomax.deep_infomax.DeepInfoMax",
    "numpy.ndarray",
    "tf_infomax.objectives.base.Objective",
    "str",
    "tf_infomax.critics.Separable",
)


def test_a_checker_knows_what_the_library_returns(tmp_path):
    """Strictly, and refuses what is no estimate."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    options = "--strict", "--ignore-missing-imports", "--follow-imports=silent"
    result = subprocess.run(
        [sys.executable, "-m", "mypy", *options, f"--cache-dir={tmp_path}", script],
        capture_output=True,
        text=True,
        timeout=300,
    )
    lines = result.stdout.splitlines()
    revealed = [line.partition("type is ")[2] for line in lines if "note:" in line]
    assert len(revealed) == len(SEEN), result.stdout + result.stderr
    for found, expected in zip(revealed, SEEN, strict=True):
        assert expected in found
    errors = [line for line in lines if "error:" in line]
    assert len(errors) == 1, errors
    assert 'expected "Estimate"' in errors[0]
