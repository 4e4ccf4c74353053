"""What of a run can be evaluated, in the order in which it is done.

Each row names a function of a `training.subject.Subject` that yields (name, result).
"""

from dataclasses import dataclass

from tf_infomax.options.core import Options, Row, option

_GROUP = "Evaluation"


@dataclass(frozen=True)
class Ndm(Options):
    """Of the neural dependency measure."""

    ndm_steps: int = option(
        500, _GROUP, "Training steps of ndm, at most.", low=1, driver=True
    )


@dataclass(frozen=True)
class Mine(Options):
    """Of MINE between images and codes."""

    mine_steps: int = option(
        600, _GROUP, "Training steps of mine, at most.", low=1, driver=True
    )


@dataclass(frozen=True)
class Reconstruction(Options):
    """Of decoders of frozen features."""

    decoded: tuple[str, ...] = option(
        ("code",),
        _GROUP,
        "Features that a decoder makes images of.",
        choices=("code", "fc", "conv"),
        driver=True,
    )
    decoder_steps: int = option(
        400, _GROUP, "Training steps of each decoder.", low=1, driver=True
    )
    decoder_seeds: int = option(
        1, _GROUP, "Decoders of each feature, trained anew.", low=1, driver=True
    )


EVALUATIONS: dict[str, Row] = {
    "values": Row("tf_infomax.evaluation.values:evaluate"),
    "health": Row("tf_infomax.evaluation.health:evaluate"),
    "prior_distance": Row("tf_infomax.evaluation.prior_distance:evaluate"),
    "knn": Row("tf_infomax.evaluation.neighbors:evaluate"),
    "ndm": Row("tf_infomax.evaluation.ndm:evaluate", options=Ndm),
    "mine": Row("tf_infomax.evaluation.mine:evaluate", options=Mine),
    "reconstruction": Row(
        "tf_infomax.evaluation.reconstruction:evaluate", options=Reconstruction
    ),
    "pca": Row("tf_infomax.evaluation.pca:evaluate"),
    "probes": Row("tf_infomax.evaluation.probing:evaluate"),  # take the longest
}
USUAL = ("values", "health", "prior_distance", "probes")
