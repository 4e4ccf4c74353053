"""Searches over the options of an experiment, by Keras Tuner.

`hypermodel.InfoMaxHyperModel` works with any tuner of Keras Tuner; `search` holds the
command's own, which survive a kill at any moment and name what failed.
"""
