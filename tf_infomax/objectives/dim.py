"""Deep InfoMax from its options: global and local terms (Hjelm et al. 2019, eq. 8)."""

import math

import keras

from tf_infomax import critics
from tf_infomax.encoders import CONVNETS, build_trunk
from tf_infomax.objectives.coordinates import KINDS, Coordinates
from tf_infomax.objectives.infomax import InfoMax
from tf_infomax.objectives.occlusion import choose_block
from tf_infomax.objectives.parts import Parts, build_prior, rank_x, shared_options
from tf_infomax.objectives.terms import Term
from tf_infomax.runtime.errors import ConfigError


def build(config, parts: Parts) -> InfoMax:
    """alpha times the global, beta times the local term, gamma times the prior's.

    Minus the loss of predicting coordinates, where that is asked for.
    """
    prior = build_prior(config)
    return InfoMax(
        parts.encoder,
        _build_terms(config, parts),
        **prior,
        tasks=_build_tasks(config, parts),
        occlude=choose_block(parts.encoder) if config.occlude else None,
        **shared_options(config, parts),
    )


def _build_terms(config, parts: Parts) -> list[Term]:
    """With two views, the features of one view meet the code of the other, both ways,
    through the same critic at half the weight."""
    pairs = [("x", "x")] if len(parts.shapes) == 1 else [("x", "y"), ("y", "x")]
    terms = []
    if config.alpha > 0:
        critic = _build_global(config, parts)
        options = rank_x(config.bound)
        terms += _spread("global", critic, config.alpha, pairs, "code", config, options)
    if config.beta > 0:
        critic = _build_local(config)
        options = rank_x(config.bound, pooled=config.negatives == "all")
        of = "globals" if config.multiple_globals else "code"
        terms += _spread("local", critic, config.beta, pairs, of, config, options)
    return terms


def _build_tasks(config, parts: Parts) -> list[Coordinates]:
    if config.coordinates == "none":
        return []
    local = parts.encoder.output["local"].shape[1:]
    if math.prod(local[:-1]) < 2:
        raise ConfigError(
            f"--coordinates={config.coordinates} needs a local feature of more than "
            f"one place. Received: --encoder={config.encoder}, whose is {list(local)}."
        )
    kinds = KINDS if config.coordinates == "both" else (config.coordinates,)
    views = tuple(parts.shapes)
    return [Coordinates(kind, config.coordinates_weight, views) for kind in kinds]


def _build_global(config, parts: Parts) -> keras.layers.Layer:
    name = config.global_critic
    if not isinstance(name, str):
        return name
    local = tuple(parts.encoder.output["local"].shape[1:])
    if name == "global_dot" and parts.encoder.name not in CONVNETS:
        raise ConfigError(
            "--global_critic=global_dot copies layers of "
            f"{', '.join(CONVNETS)}. For these images --encoder={config.encoder} is "
            f"{parts.encoder.name}: take concat_mlp, or another --image_size."
        )
    return critics.GLOBAL_CRITICS[name](
        config.critic_units or _default_units(name),
        lambda width: build_trunk(parts.encoder.name, local, width),
    )


def _build_local(config) -> keras.layers.Layer:
    name = config.local_critic
    critic = name
    if isinstance(name, str):
        units = config.critic_units or _default_units(name)
        critic = critics.LOCAL_CRITICS[name](units)
    return critics.EveryPlace(critic) if config.multiple_globals else critic


def _default_units(critic: str) -> int:
    return 512 if critic.startswith("concat") else 2048


def _spread(name, critic, weight, pairs, of, config, options) -> list[Term]:
    count = config.negative_images
    return [
        Term(
            name=name if len(pairs) == 1 else f"{name}_{x}{y}",
            x=f"{x}.local",
            y=f"{y}.{of}",
            critic=critic,
            bound=config.bound,
            weight=weight / len(pairs),
            options=options,
            negatives="some" if count else "iid",
            negative_options=(("count", count),) if count else (),
        )
        for x, y in pairs
    ]
