"""A value with its spread."""

import numpy as np


def summarize(values) -> dict:
    """Mean, standard deviation (of the sample) and number of some values."""
    values = np.asarray(values, np.float64)
    sd = float(values.std(ddof=1)) if len(values) > 1 else None
    return {"mean": float(values.mean()), "sd": sd, "n": len(values)}
