"""Quantities beside mutual information that the command reports by the same call.

A row of `RELATED` says what is computed, calls it, and names the options that it takes.
An `Estimate` of one that bounds mutual information has a direction and is in nats.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from tf_infomax.estimation.result import Estimate


class Related(NamedTuple):
    """A row of `RELATED`: formula, source, (x, y, **options) -> `Estimate`, options."""

    formula: str
    source: str
    estimate: Callable[..., Estimate]
    uses: tuple[str, ...]


def _v_information(x, y, **options) -> Estimate:
    from tf_infomax.estimation.v_information import v_information

    return v_information(x, y, **options)


def _wasserstein(x, y, **options) -> Estimate:
    from tf_infomax.estimation.wasserstein import wasserstein_dependency

    return wasserstein_dependency(x, y, **options)


_LIPSCHITZ = (
    "widths", "lipschitz", "preprocess", "batch_size", "learning_rate", "max_steps",
    "level", "block", "seed",
)  # fmt: skip

RELATED: dict[str, Related] = {
    "v_information": Related(
        "H_V(Y) - H_V(Y | X): what a family of predictors can use",
        "Xu et al. 2020",
        _v_information,
        ("family", "widths", "level", "block", "seed"),
    ),
    "wasserstein": Related(
        "sup over 1-Lipschitz f of E_p[f] - E_q[f]; not in nats",
        "Ozair et al. 2019",
        _wasserstein,
        _LIPSCHITZ,
    ),
    "wpc": Related(
        "InfoNCE of a 1-Lipschitz critic: a bound that depends on the units of x, y",
        "Ozair et al. 2019",
        partial(_wasserstein, predictive=True),
        _LIPSCHITZ,
    ),
}
