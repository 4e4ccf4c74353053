"""How long codes are."""

import numpy as np


def evaluate(subject):
    """The mean norm of the codes of test images."""
    norms = np.linalg.norm(subject.codes, axis=1)
    yield (
        "norm/code",
        {"mean": float(norms.mean()), "sd": float(norms.std()), "n": len(norms)},
    )
