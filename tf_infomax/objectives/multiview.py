"""Multi-view InfoMax from its options: terms between the codes of views.

Source: Tschannen et al. 2020, eq. 1; Tian et al. 2019, section 3.4 (more views).
"""

import keras

from tf_infomax import critics
from tf_infomax.bounds import as_bound
from tf_infomax.objectives.infomax import InfoMax
from tf_infomax.objectives.memory import MemoryBank
from tf_infomax.objectives.parts import (
    Parts,
    build_prior,
    check_targets,
    shared_options,
)
from tf_infomax.objectives.terms import Term
from tf_infomax.runtime.errors import ConfigError


def build(config, parts: Parts) -> InfoMax:
    """The first view with every other one, or all with all."""
    others = {}
    if config.view_encoders == "separate":
        flag = "other_encoder" if config.other_encoder else "encoder"
        others = {
            view: parts.build_encoder(flag, shape)
            for view, shape in parts.shapes.items()
            if view != "x"
        }
    _check_widths(config, parts.encoder, others)
    memory = None
    if config.negatives == "memory":
        count = _count_memory(config, parts.images)
        memory = MemoryBank(parts.images, count, loss=config.memory_loss)
    prior = build_prior(config)
    objective = InfoMax(
        parts.encoder,
        _build_terms(config, list(parts.shapes)),
        **prior,
        view_encoders=others,
        memory=memory,
        **shared_options(config, parts),
    )
    return check_targets(config, objective)


def _build_terms(config, views: list[str]) -> list[Term]:
    pairs = [(x, y) for k, x in enumerate(views) for y in views[k + 1 :]]
    if config.view_graph == "core":
        pairs = [(x, y) for x, y in pairs if x == views[0]]
    kind = "iid" if config.negatives == "all" else config.negatives
    of_negatives = {
        "hard": (("count", config.hard_negatives),),
        "weighted": (("hardness", config.hardness),),
    }
    both = "candidates" in as_bound(config.bound).options
    return [
        Term(
            name="views" if len(pairs) == 1 else f"views_{x}{y}",
            x=f"{x}.code",
            y=f"{y}.code",
            critic=_build_critic(config),
            bound=config.bound,
            weight=1.0 / len(pairs),
            options=(("candidates", "both"),) if both else (),
            target=config.target or None,
            negatives=kind,
            negative_options=of_negatives.get(kind, ()),
        )
        for x, y in pairs
    ]


def _build_critic(config) -> keras.layers.Layer:
    name, units = config.view_critic, config.critic_units
    if not isinstance(name, str):
        return name
    options = {"cosine": {"temperature": config.temperature}}.get(name, {})
    if units:
        options["widths"] = (units, units) if name == "separable" else (units,)
    return critics.VECTOR_CRITICS[name](**options)


def _count_memory(config, images: int) -> int:
    """Negatives from the bank: by default no more than there are images."""
    count = config.memory_negatives
    if count > images and config.is_changed("memory_negatives"):
        raise ConfigError(
            f"--memory_negatives must be at most {images}, the training images. "
            f"Received: {count}."
        )
    return min(count, images)


def _check_widths(config, encoder: keras.Model, others: dict) -> None:
    """Dot products without weights need codes of one width."""
    if config.view_critic not in ("inner_product", "cosine"):
        return
    widths = {view: e.output["code"].shape[-1] for view, e in others.items()}
    width = encoder.output["code"].shape[-1]
    if any(other != width for other in widths.values()):
        shown = ", ".join(f"{v} {w}" for v, w in {"x": width, **widths}.items())
        raise ConfigError(
            f"--view_critic={config.view_critic} needs codes of one width. Received: "
            f"{shown} (see --encoder, --other_encoder, --code_size)."
        )
