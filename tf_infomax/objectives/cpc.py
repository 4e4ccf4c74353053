"""Contrastive predictive coding from its options (van den Oord et al. 2018)."""

from tf_infomax.critics import Bilinear
from tf_infomax.encoders import predicted_distances
from tf_infomax.objectives.infomax import InfoMax
from tf_infomax.objectives.parts import Parts, check_targets, rank_x, shared_options
from tf_infomax.objectives.terms import Term


def build(config, parts: Parts) -> InfoMax:
    """One bilinear head for each distance that the encoder predicts.

    Later codes are ranked for each context.
    """
    distances = predicted_distances(parts.encoder)
    kind = "iid" if config.negatives == "all" else config.negatives
    terms = [
        Term(
            name=f"ahead_{k}",
            x=f"x.future_{k}",
            y=f"x.past_{k}",
            critic=Bilinear(),
            bound=config.bound,
            weight=1.0 / len(distances),
            options=rank_x(config.bound),
            target=config.target or None,
            negatives=kind,
        )
        for k in distances
    ]
    objective = InfoMax(parts.encoder, terms, **shared_options(config, parts))
    return check_targets(config, objective)
