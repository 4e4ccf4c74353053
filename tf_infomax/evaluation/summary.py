"""A value with its spread, and with what it is."""

from collections.abc import Iterable

import numpy as np


def summarize(values: Iterable[float]) -> dict:
    """Mean, standard deviation (of the sample) and number of some values."""
    values = np.asarray(values, np.float64)
    sd = float(values.std(ddof=1)) if len(values) > 1 else None
    return {"mean": float(values.mean()), "sd": sd, "n": len(values)}


def describe(
    values: Iterable[float],
    unit: str,
    measures: str,
    ceiling: float | None = None,
    warnings: Iterable[str] = (),
    **facts,
) -> dict:
    """The same with what a reader of results must know.

    Args:
        values: of the repetitions.
        unit: of the values; "%" for shares, which tables then show as such.
        measures: what the value is, in words.
        ceiling: the largest value possible; None: there is none.
        warnings: in words, why it should not be taken as it is; each once.
        **facts: what else stands beside it.
    """
    return {
        **summarize(values),
        "unit": unit,
        "measures": measures,
        "ceiling": ceiling,
        **facts,
        "warnings": list(dict.fromkeys(warnings)),
    }
