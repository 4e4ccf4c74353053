"""Learning representations by maximizing mutual information.

`from tf_infomax import bounds, critics, encoders, objectives` is the library;
`tf_infomax.DeepInfoMax().fit(images)` trains an encoder in one line,
`tf_infomax.estimate_mi(x, y)` estimates mutual information, `tf_infomax.load(path)`
reads what was saved; `tf-infomax train`, `evaluate`, `embed`, `tune`, `estimate` and
`export` are the commands.

Importing the package switches oneDNN on unless the user has decided about it
(`TF_ENABLE_ONEDNN_OPTS`): TensorFlow reads that variable once, when it is first
imported, and leaves oneDNN off on many processors where it is the faster choice.
"""

import os
from importlib import import_module

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

__version__ = "0.1.0"


_LAZY = {
    "DeepInfoMax": "tf_infomax.deep_infomax",
    "estimate_mi": "tf_infomax.estimation",
    "load": "tf_infomax.training.trained",
}


def __getattr__(name: str):
    """Functions of `_LAZY`, loaded when they are asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
