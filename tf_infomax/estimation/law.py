"""Laws that a density ratio r = p/q keeps on pairs it was not fitted to.

Its mean over pairs of the product q is 1. And E_p[log r] is InfoNCE of the same ratio,
less what InfoNCE cannot see of so many pairs: its ceiling.

Imports NumPy only.
"""

import math

import numpy as np

from tf_infomax.estimation.values import Scores, info_nce_terms

_ERRORS = 3.0  # standard errors
_LEAST = 0.02  # nats
_MARKOV = 100.0  # a mean of 1 is exceeded so many times at most once in so many draws


def mean_ratio(scores: Scores) -> tuple[float, bool]:
    """(log E_q[r], whether it is above 0 by more than chance) of scores log r.

    Rows and columns share pairs, which the error counts. Where few negatives carry the
    mean, the error is as large as the mean, and Markov's inequality decides.
    """
    n = len(scores.matrix)
    top, terms = scores.exponentials(None)
    rows, columns = (terms.sum(axis=axis) / (n - 1.0) for axis in (1, 0))
    mean, error = rows.mean(), math.sqrt((rows.var() + columns.var()) / n)
    log_mean = float(top.item() + math.log(mean)) if mean > 0 else -math.inf
    least = math.exp(min(700.0, _LEAST - top.item()))
    beyond_chance = mean - _ERRORS * error > least or is_impossible(log_mean)
    return log_mean, bool(beyond_chance)


def is_impossible(log_mean: float) -> bool:
    """Whether a log E_q[r] is above 0 whatever the tails of r are (Markov)."""
    return log_mean > math.log(_MARKOV)


def shortfall(scores: Scores) -> np.ndarray:
    """log r less the pair's part of InfoNCE, `[n]`."""
    return scores.positive - info_nce_terms(scores)


def is_excessive(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether the shortfall of InfoNCE is larger than that of a true ratio.

    Args:
        found: `shortfall` of the pairs.
        expected: the same of draws from the density that the ratio is of.
    """
    error = math.sqrt(found.var() / len(found) + expected.var() / len(expected))
    return bool(found.mean() - expected.mean() > _LEAST + _ERRORS * error)
