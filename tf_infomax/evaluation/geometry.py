"""Where codes lie: views of an image together, all images apart, in many directions.

With u = f(x) / |f(x)| of codes,

    alignment  = E |u - u'|^2                     of two views of an image
    uniformity = log E e^(-2 |u - v|^2)           of two images
    RankMe     = exp(-sum_k p_k log p_k),  p_k = s_k / sum s + 1e-7

where s are the singular values of the codes as they are. Alignment and uniformity are
what InfoNCE of normalized codes comes to with many negatives; both are the better the
lower. RankMe differs from `health/effective_rank` by the mean of the codes, which is
not taken off, and by what is added to p.

Source: Wang & Isola 2020, eq. 4 with alpha 2 and eq. 5 with t 2; Garrido et al. 2023,
eq. 3.
"""

import math
from collections.abc import Iterator

import numpy as np

from tf_infomax.evaluation.features import list_encoders
from tf_infomax.evaluation.summary import describe

_ADDED = 1e-7


def evaluate(subject) -> Iterator[tuple[str, dict]]:
    """The three of test images, trained and untrained; alignment of two views alone."""
    views, whose = subject.two_views, {True: "", False: ", of the untrained encoder"}
    for label, trained in list_encoders(subject.config):
        if views is not None:
            pair = [subject.features("code", view, trained) for view in views]
            squares = measure_alignment(*pair)
            yield (
                f"geometry/alignment/{label}code",
                describe(
                    [squares.mean()],
                    "",
                    "squared distance of the normalized codes of two views of an image"
                    + whose[trained],
                    ceiling=4.0,
                    standard_error=float(squares.std(ddof=1) / len(squares) ** 0.5),
                    images=len(squares),
                ),
            )
        codes = subject.features("code", subject.images, trained)
        least = uniformity_of_the_sphere(codes.shape[1])
        yield (
            f"geometry/uniformity/{label}code",
            describe(
                [measure_uniformity(codes)],
                "",
                "log E exp(-2 |u - v|^2) of normalized codes, "
                f"{least:.3f} of a uniform distribution{whose[trained]}",
                ceiling=0.0,
                uniform=least,
                images=len(codes),
            ),
        )
        yield (
            f"geometry/rankme/{label}code",
            describe(
                [measure_rankme(codes)],
                "",
                f"exp of the entropy of the singular values of codes{whose[trained]}",
                ceiling=float(min(codes.shape)),
                images=len(codes),
            ),
        )


def normalize(codes: np.ndarray) -> np.ndarray:
    """Codes of length 1, float64 `[n, D]`; those of length 0 stay so."""
    codes = np.asarray(codes, np.float64)
    norms = np.linalg.norm(codes, axis=1, keepdims=True)
    return codes / np.maximum(norms, np.finfo(np.float64).tiny)


def measure_alignment(codes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """|u_i - u'_i|^2 of normalized codes `[n, D]` of two views: `[n]`."""
    return np.square(normalize(codes) - normalize(others)).sum(axis=1)


def measure_uniformity(codes: np.ndarray) -> float:
    """log of the mean over i != j of e^(-2 |u_i - u_j|^2) of normalized codes."""
    from scipy.spatial.distance import pdist

    return float(np.log(np.mean(np.exp(-2.0 * pdist(normalize(codes), "sqeuclidean")))))


def uniformity_of_the_sphere(dimensions: int) -> float:
    """The uniformity of the uniform distribution: no other's is as low.

    log E e^(4 t - 4), t the cosine of two directions: with v = D/2 - 1 it is
    log Gamma(v + 1) - v log 2 + log I_v(4) - 4, I the modified Bessel function.
    """
    from scipy.special import gammaln, ive

    order = dimensions / 2.0 - 1.0
    scaled = ive(order, 4.0)  # e^-4 I_v(4), which is 0 to floats for very many
    if scaled > 0.0:
        return float(gammaln(order + 1.0) - order * math.log(2.0) + math.log(scaled))
    return -4.0 + 8.0 / dimensions  # 4 t is nearly normal, with variance 16 / D


def measure_rankme(codes: np.ndarray) -> float:
    """exp of the entropy of the singular values of codes `[n, D]`; 0 of zeros."""
    values = np.linalg.svd(np.asarray(codes, np.float64), compute_uv=False)
    if not values.any():
        return 0.0
    shares = values / values.sum() + _ADDED
    return float(np.exp(-np.sum(shares * np.log(shares))))
