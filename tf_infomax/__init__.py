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
from typing import TYPE_CHECKING

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

if TYPE_CHECKING:
    from tf_infomax import bounds, critics, encoders, estimation, evaluation, objectives
    from tf_infomax.deep_infomax import DeepInfoMax
    from tf_infomax.estimation import estimate_mi
    from tf_infomax.training.trained import load

__version__ = "0.1.0"

__all__ = [
    "DeepInfoMax",
    "bounds",
    "critics",
    "encoders",
    "estimate_mi",
    "estimation",
    "evaluation",
    "load",
    "objectives",
]

_LAZY = {
    "DeepInfoMax": "tf_infomax.deep_infomax",
    "estimate_mi": "tf_infomax.estimation",
    "load": "tf_infomax.training.trained",
}


def __getattr__(name: str):
    """What `__all__` names, loaded when it is asked for."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    if name in __all__:
        return import_module(f"tf_infomax.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
