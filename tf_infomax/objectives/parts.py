"""What objectives are built from, and what several of them build alike."""

import math
from collections.abc import Callable
from typing import NamedTuple

import keras

from tf_infomax.bounds import as_bound
from tf_infomax.encoders import build_decoder
from tf_infomax.objectives.infomax import InfoMax
from tf_infomax.objectives.prior_matching import WIDTHS, PriorMatching
from tf_infomax.objectives.terms import split_side
from tf_infomax.runtime.errors import ConfigError


class Parts(NamedTuple):
    """What a row's `build(config, parts)` gets beside the options.

    Attributes:
        encoder: of view "x", the first of them.
        shapes: view -> (H, W, C) of its images.
        front: the model from a whole image to view "x", where that is a part of it.
        images: how many training images there are.
        classes: of their labels; 0 without labels.
        build_encoder: (flag, (H, W, C)) -> another encoder, as that flag names it.
    """

    encoder: keras.Model
    shapes: dict[str, tuple[int, int, int]]
    front: keras.Model | None
    images: int
    classes: int
    build_encoder: Callable[[str, tuple[int, int, int]], keras.Model]


def build_matching(config, widths: tuple[int, ...] = WIDTHS) -> PriorMatching:
    """The prior that the options name; `widths` are those of its discriminator."""
    penalty, loss = config.gradient_penalty, config.prior_loss
    return PriorMatching(config.prior, widths, penalty, loss)


def build_prior(config) -> dict:
    """`prior` and `gamma` of `InfoMax`, if the options give the prior a weight."""
    if config.gamma <= 0:
        return {}
    return {"prior": build_matching(config), "gamma": config.gamma}


def shared_options(config, parts: Parts) -> dict:
    """What every objective takes."""
    return {
        "seed": config.seed,
        "ema": config.ema,
        "front": parts.front,
        "views": config.views,
        "augment": config.augment,
        "slow_layers": config.slow_layers,
        "slow_rate": config.slow_rate,
    }


def mirror(parts: Parts, build: Callable = build_decoder) -> keras.Model:
    """The network that goes with the encoder by its name: by default its decoder.

    By that of the model, which is the row's: `auto` stands for several.
    """
    code_size = parts.encoder.output["code"].shape[-1]
    return build(parts.encoder.name, parts.shapes["x"], code_size)


def rank_x(bound: str, **options) -> tuple[tuple[str, object], ...]:
    """Options of a bound, of those it has; x is ranked for each y."""
    options = {"candidates": "x", **options}
    return tuple((k, v) for k, v in options.items() if k in as_bound(bound).options)


def check_targets(config, objective: InfoMax) -> InfoMax:
    """The objective; refuses a target that no value of a term can reach."""
    features = objective.networks["encoder"].output
    for term in objective.terms:
        if term.target is None:
            continue
        shape = features[split_side(term.x)[1]].shape
        ceiling = term.ceiling(config.batch_size, math.prod(shape[1:-1]))
        if term.target >= ceiling:
            raise ConfigError(
                f"--target={config.target:g} cannot be reached: --bound={config.bound} "
                f"with --negatives={config.negatives} and --batch_size="
                f"{config.batch_size} is at most {ceiling:.2f} nats."
            )
    return objective
