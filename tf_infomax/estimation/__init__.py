"""Mutual information and its relatives from samples, each number with its limits."""

from tf_infomax.estimation.estimators import ESTIMATORS
from tf_infomax.estimation.inputs import PairsError
from tf_infomax.estimation.protocol import estimate_mi
from tf_infomax.estimation.result import Estimate

__all__ = ["ESTIMATORS", "Estimate", "PairsError", "estimate_mi"]
