"""What of a run can be evaluated, in the order in which it is done.

Each row names a function of a `training.subject.Subject` that yields (name, result).
"""

from tf_infomax.options.core import Row

EVALUATIONS: dict[str, Row] = {
    "values": Row("tf_infomax.evaluation.values:evaluate"),
    "health": Row("tf_infomax.evaluation.health:evaluate"),
    "knn": Row("tf_infomax.evaluation.neighbors:evaluate"),
    "probes": Row("tf_infomax.evaluation.probing:evaluate"),  # take the longest
}
USUAL = ("values", "health", "probes")
