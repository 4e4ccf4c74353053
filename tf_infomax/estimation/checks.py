"""Is it information? A permutation test, and laws that an estimator must keep.

Each law is checked on a user's own data with the user's own estimator (a function of
(x, y) to a number) and returned as figures, not as a verdict: how far off is too far
depends on what the estimate is for. Source of the laws: Song & Ermon 2020, section 5.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tf_infomax.estimation.inputs import read_pairs


def derange(n: int, rng: np.random.Generator) -> np.ndarray:
    """A random order of n in which nothing stays in its place (one cycle).

    A mere permutation keeps one pair in its place on average, and such a pair is no
    draw from the product.
    """
    order = rng.permutation(n)
    result = np.empty(n, int)
    result[order] = np.roll(order, 1)
    return result


def _number(estimate) -> float:
    """A number, also of an `Estimate`, whose values below 0 count as they are."""
    return float(getattr(estimate, "raw", estimate))


@dataclass(frozen=True)
class PermutationTest:
    """Whether x and y depend on one another.

    Attributes:
        value: the estimate.
        null: estimates with the pairs broken up.
        p_value: share of the null, the estimate included, that is as large.
    """

    value: float
    null: np.ndarray = field(repr=False)
    p_value: float


def permutation_test(
    x: np.ndarray,
    y: np.ndarray,
    estimate: Callable[[np.ndarray, np.ndarray], float],
    draws: int = 99,
    seed: int = 0,
    value: float | None = None,
) -> PermutationTest:
    """Compares an estimate with estimates of broken-up pairs.

    Args:
        x, y: pairs, independent of one another.
        estimate: (x, y) -> number or `Estimate`; it is called `draws` times, so that
            one without training (`ksg`, `gaussian`) is the choice.
        draws: 99 allow for p = 0.01.
        seed: of the orders.
        value: of the pairs as they are, if it is known.
    """
    x, y = read_pairs(x, y)
    rng = np.random.default_rng(seed)
    value = _number(estimate(x, y)) if value is None else value
    null = np.array(
        [_number(estimate(x, y[rng.permutation(len(y))])) for _ in range(draws)]
    )
    p_value = (1 + np.count_nonzero(null >= value)) / (1 + draws)
    return PermutationTest(value, null, p_value)


def check_independence(
    x: np.ndarray, y: np.ndarray, estimate: Callable, seed: int = 0
) -> dict[str, float]:
    """`broken`, the estimate of pairs that were broken up, should be about 0."""
    x, y = read_pairs(x, y)
    order = derange(len(y), np.random.default_rng(seed))
    return {"paired": _number(estimate(x, y)), "broken": _number(estimate(x, y[order]))}


def check_data_processing(
    x: np.ndarray, y: np.ndarray, estimate: Callable, process: Callable
) -> dict[str, float]:
    """`processed`, of x and process(y), should not exceed `whole`."""
    x, y = read_pairs(x, y)
    return {
        "whole": _number(estimate(x, y)),
        "processed": _number(estimate(x, process(y))),
    }


def check_additivity(
    x: np.ndarray, y: np.ndarray, estimate: Callable
) -> dict[str, float]:
    """Two independent halves of the pairs, side by side, carry the sum of either.

    `joint` should be `first` + `second`.
    """
    x, y = (side.reshape(len(side), -1) for side in read_pairs(x, y))
    half = len(x) // 2
    a, b = slice(0, half), slice(half, 2 * half)
    joint = [np.concatenate([side[a], side[b]], axis=1) for side in (x, y)]
    return {
        "first": _number(estimate(x[a], y[a])),
        "second": _number(estimate(x[b], y[b])),
        "joint": _number(estimate(*joint)),
    }


def check_invariance(
    x: np.ndarray, y: np.ndarray, estimate: Callable, transform: Callable = np.arcsinh
) -> dict[str, float]:
    """`transformed`, after an injective map of y, should equal `original`."""
    x, y = read_pairs(x, y)
    return {
        "original": _number(estimate(x, y)),
        "transformed": _number(estimate(x, transform(y))),
    }
