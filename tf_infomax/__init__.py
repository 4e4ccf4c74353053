"""Learning representations by maximizing mutual information.

`from tf_infomax import bounds, critics, encoders, objectives` is the library;
`python -m tf_infomax.train` and `python -m tf_infomax.evaluate` are the commands.

Importing the package switches oneDNN on unless the user has decided about it
(`TF_ENABLE_ONEDNN_OPTS`): TensorFlow reads that variable once, when it is first
imported, and leaves oneDNN off on many processors where it is the faster choice.
"""

import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

__version__ = "0.1.0"
