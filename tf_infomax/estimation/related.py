"""Quantities beside mutual information that the command reports by the same call.

A row of `RELATED` says what is computed and calls it with what it takes of `options`.
"""

from collections.abc import Callable
from typing import NamedTuple

from tf_infomax.estimation.result import Estimate


class Related(NamedTuple):
    """A row of `RELATED`: formula, source, (x, y, options) -> `Estimate`."""

    formula: str
    source: str
    estimate: Callable[..., Estimate]


def _take(options: dict, *names: str) -> dict:
    return {name: options[name] for name in names if name in options}


def _v_information(x, y, options: dict) -> Estimate:
    from tf_infomax.estimation.v_information import v_information

    names = "family", "widths", "level", "block", "seed"
    return v_information(x, y, **_take(options, *names))


def _wasserstein(x, y, options: dict, predictive: bool = False) -> Estimate:
    from tf_infomax.estimation.wasserstein import wasserstein_dependency

    names = (
        "widths", "lipschitz", "preprocess", "batch_size", "learning_rate",
        "max_steps", "level", "block", "seed",
    )  # fmt: skip
    return wasserstein_dependency(x, y, predictive=predictive, **_take(options, *names))


RELATED: dict[str, Related] = {
    "v_information": Related(
        "H_V(Y) - H_V(Y | X): what a family of predictors can use",
        "Xu et al. 2020",
        _v_information,
    ),
    "wasserstein": Related(
        "sup over 1-Lipschitz f of E_p[f] - E_q[f]; not in nats",
        "Ozair et al. 2019",
        _wasserstein,
    ),
    "wpc": Related(
        "InfoNCE of a 1-Lipschitz critic; not in nats",
        "Ozair et al. 2019",
        lambda x, y, options: _wasserstein(x, y, options, predictive=True),
    ),
}
