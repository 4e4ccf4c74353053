"""Has the representation collapsed? Figures of a batch of codes, and words for them."""

from collections.abc import Mapping

import numpy as np


def measure_health(codes: np.ndarray) -> dict[str, float]:
    """Spread and dimensionality of codes `[n, D]`.

    * `std_mean`, `std_min`: standard deviation per feature, mean and smallest;
    * `effective_rank`: exp of the entropy of the normalized singular values of the
      centred codes (Roy & Vetterli 2007), between 1 and D;
    * `mean_cosine`: mean cosine of two different codes, 1 if all point the same way.
    """
    codes = np.asarray(codes, np.float64)
    n = len(codes)
    std = codes.std(axis=0)
    values = np.linalg.svd(codes - codes.mean(axis=0), compute_uv=False)
    share = values / values.sum() if values.sum() > 0 else np.ones(1)
    share = share[share > 0]
    norms = np.linalg.norm(codes, axis=1, keepdims=True)
    directions = codes / np.maximum(norms, np.finfo(np.float64).tiny)
    # Sum over all ordered pairs minus the n pairs of a code with itself.
    total = np.sum(np.square(directions.sum(axis=0))) - np.sum(np.square(directions))
    return {
        "std_mean": float(std.mean()),
        "std_min": float(std.min()),
        "effective_rank": float(np.exp(-np.sum(share * np.log(share)))),
        "mean_cosine": float(total / (n * (n - 1))),
    }


def health_of(row: Mapping[str, object]) -> dict[str, object]:
    """The figures of `measure_health` among others, where they are "health/NAME"."""
    prefix = "health/"
    return {
        name.removeprefix(prefix): value
        for name, value in row.items()
        if name.startswith(prefix)
    }


def describe_collapse(health: dict[str, float], code_size: int) -> list[str]:
    """A warning in words for each sign of collapse; empty if there is none."""
    warnings = []
    if health["std_mean"] < 1e-3:
        warnings.append(
            f"the codes hardly vary (mean deviation {health['std_mean']:.2g}): "
            "the encoder gives nearly the same code for every image"
        )
    elif health["mean_cosine"] > 0.99:
        warnings.append(
            f"all codes point the same way (mean cosine {health['mean_cosine']:.3f})"
        )
    if code_size >= 8 and health["effective_rank"] < max(2.0, code_size / 32):
        warnings.append(
            f"the codes fill only {health['effective_rank']:.1f} of {code_size} "
            "dimensions (effective rank)"
        )
    return warnings
