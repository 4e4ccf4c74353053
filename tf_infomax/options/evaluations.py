"""What of a run can be evaluated, in the order in which it is done.

Each row names a function of a `training.subject.Subject` that yields (name, result).
"""

from dataclasses import dataclass

from tf_infomax.options import tables
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


_PERCENTS = ("1", "2", "5", "10", "20", "50", "100")


@dataclass(frozen=True)
class FewLabels(Options):
    """Of probes with few labels."""

    few_labels_percents: tuple[str, ...] = option(
        ("1", "10"),
        _GROUP,
        "Parts of the labels of each class that few_labels learns from.",
        choices=_PERCENTS,
        driver=True,
    )


@dataclass(frozen=True)
class FineTuning(Options):
    """Of an encoder that is trained further with labels."""

    fine_tuning_percents: tuple[str, ...] = option(
        ("1", "10", "100"),
        _GROUP,
        "Parts of the labels of each class that fine_tuning learns from.",
        choices=_PERCENTS,
        driver=True,
    )
    fine_tuning_steps: int = option(
        100, _GROUP, "Training steps of fine_tuning, of 32 images.", low=1, driver=True
    )
    fine_tuning_rate: float = option(
        1e-3, _GROUP, "Adam's step size of fine_tuning.", above=0.0, driver=True
    )


@dataclass(frozen=True)
class VInformation(Options):
    """Of what families of predictors can use."""

    v_families: tuple[str, ...] = option(
        ("linear", "mlp"),
        _GROUP,
        "Families of v_information.",
        choices=tables.FAMILIES,
        driver=True,
    )
    v_features: tuple[str, ...] = option(
        ("code",),
        _GROUP,
        "Features that v_information is of.",
        choices=("code", "fc", "conv"),
        driver=True,
    )


EVALUATIONS: dict[str, Row] = {
    "values": Row("tf_infomax.evaluation.values:evaluate"),
    "health": Row("tf_infomax.evaluation.health:evaluate"),
    "prior_distance": Row("tf_infomax.evaluation.prior_distance:evaluate"),
    "geometry": Row("tf_infomax.evaluation.geometry:evaluate"),
    "knn": Row("tf_infomax.evaluation.neighbors:evaluate"),
    "ndm": Row("tf_infomax.evaluation.ndm:evaluate", options=Ndm),
    "mine": Row("tf_infomax.evaluation.mine:evaluate", options=Mine),
    "reconstruction": Row(
        "tf_infomax.evaluation.reconstruction:evaluate", options=Reconstruction
    ),
    "pca": Row("tf_infomax.evaluation.pca:evaluate"),
    "few_labels": Row("tf_infomax.evaluation.few_labels:evaluate", options=FewLabels),
    "v_information": Row(
        "tf_infomax.evaluation.v_information:evaluate", options=VInformation
    ),
    "fine_tuning": Row(
        "tf_infomax.evaluation.fine_tuning:evaluate", options=FineTuning
    ),
    "probes": Row("tf_infomax.evaluation.probing:evaluate"),  # take the longest
}
USUAL = ("values", "health", "prior_distance", "probes")
