"""Has the representation collapsed? Figures of a batch of codes, and words for them."""

from collections.abc import Iterator, Mapping

import numpy as np

_ROUNDINGS = 32  # float32 roundings that add up in the layers of an encoder


def evaluate(subject) -> Iterator[tuple[str, dict]]:
    """`assess_health` of the codes of test images of a run."""
    yield from assess_health(subject.codes)


def assess_health(codes: np.ndarray) -> Iterator[tuple[str, dict]]:
    """Yields the figures of `measure_health`, with how many test images they are of."""
    figures = measure_health(codes)
    images = figures.pop("images")
    for name, value in figures.items():
        result = {"mean": value, "sd": None, "n": 1, "images": images}
        if name == "effective_rank":
            result["ceiling"] = count_dimensions(*codes.shape)
        yield f"health/{name}", result


def measure_health(codes: np.ndarray) -> dict[str, float]:
    """Spread and dimensionality of codes `[n, D]`, of two images or more.

    * `std_mean`, `std_min`: standard deviation per feature, mean and smallest;
    * `effective_rank`: exp of the entropy of the normalized singular values of the
      centred codes (Roy & Vetterli 2007), between 1 and min(D, n - 1): n images span
      no more. Singular values that rounding in float32 alone could make do not count;
      0 if none is larger, the codes being one and the same;
    * `mean_cosine`: mean cosine of two different codes, 1 if all point the same way;
    * `images`: n.

    Raises:
        ValueError: if there are fewer than two codes.
    """
    codes = np.asarray(codes, np.float64)
    n = len(codes)
    if n < 2:
        raise ValueError(f"health needs the codes of 2 images or more. Received: {n}.")
    norms = np.linalg.norm(codes, axis=1, keepdims=True)
    directions = codes / np.maximum(norms, np.finfo(np.float64).tiny)
    # Sum over all ordered pairs minus the n pairs of a code with itself.
    total = np.sum(np.square(directions.sum(axis=0))) - np.sum(np.square(directions))
    std = codes.std(axis=0)
    return {
        "std_mean": float(std.mean()),
        "std_min": float(std.min()),
        "effective_rank": _measure_effective_rank(codes),
        "mean_cosine": float(total / (n * (n - 1))),
        "images": n,
    }


def _measure_effective_rank(codes: np.ndarray) -> float:
    """exp(entropy) of the singular values above the noise of rounding.

    The norm of an n x D matrix of independent noise is about
    deviation * (sqrt(n) + sqrt(D)) (Davidson & Szarek 2001, theorem II.13).
    """
    values = np.linalg.svd(codes - codes.mean(axis=0), compute_uv=False)
    deviation = _ROUNDINGS * np.finfo(np.float32).eps * np.abs(codes).max()
    values = values[values > deviation * np.sum(np.sqrt(codes.shape))]
    if not len(values):
        return 0.0
    share = values / values.sum()
    return float(np.exp(-np.sum(share * np.log(share))))


def count_dimensions(images: int, code_size: int) -> int:
    """The most that an effective rank can be: n points span n - 1 dimensions."""
    return min(code_size, images - 1)


def health_of(row: Mapping[str, object]) -> dict[str, object]:
    """The figures of `measure_health` among others, where they are "health/NAME"."""
    prefix = "health/"
    return {
        name.removeprefix(prefix): value
        for name, value in row.items()
        if name.startswith(prefix)
    }


def describe_collapse(health: Mapping[str, float], code_size: int) -> list[str]:
    """A warning in words for each sign of collapse; empty if there is none.

    Args:
        health: figures of `measure_health`. The effective rank is held against what
            so many images can span.
        code_size: D.
    """
    warnings = []
    rank = health["effective_rank"]
    if health["std_mean"] < 1e-3 or not rank:
        warnings.append(
            f"the codes hardly vary (mean deviation {health['std_mean']:.2g}): "
            "the encoder gives nearly the same code for every image"
        )
    elif health["mean_cosine"] > 0.99:
        warnings.append(
            f"all codes point the same way (mean cosine {health['mean_cosine']:.3f})"
        )
    images = int(health.get("images", code_size + 1))  # rows of old have no number
    most = count_dimensions(images, code_size)
    if most >= 8 and 0 < rank < max(2.0, most / 32):
        few = f" that {images} images can span" * (most < code_size)
        warnings.append(
            f"the codes fill only {rank:.1f} of {most} dimensions{few} (effective rank)"
        )
    return warnings
