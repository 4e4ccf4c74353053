"""Learning representations by maximizing mutual information.

`from tf_infomax import bounds, critics, encoders, objectives` is the library;
`tf_infomax.estimate_mi(x, y)` estimates mutual information; `python -m
tf_infomax.train`, `evaluate`, `embed`, `tune` and `estimate` are the commands.

Importing the package switches oneDNN on unless the user has decided about it
(`TF_ENABLE_ONEDNN_OPTS`): TensorFlow reads that variable once, when it is first
imported, and leaves oneDNN off on many processors where it is the faster choice.
"""

import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

__version__ = "0.1.0"


def __getattr__(name: str):
    """`tf_infomax.estimate_mi`, loaded when it is asked for."""
    if name != "estimate_mi":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tf_infomax.estimation import estimate_mi

    return estimate_mi
