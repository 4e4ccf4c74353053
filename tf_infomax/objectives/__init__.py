"""Objectives: Keras models with their own `train_step`, each with an `.encoder`."""

from tf_infomax.objectives.infomax import InfoMax, Term
from tf_infomax.objectives.prior_matching import PriorMatching

__all__ = ["InfoMax", "PriorMatching", "Term"]
