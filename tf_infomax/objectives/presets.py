"""The objectives of the table `options.objectives.OBJECTIVES`, in Python.

Any row by its name, `build("multiview", encoder, view_critic="cosine")`, and some by
functions of their own, `dim_local(encoder, bound="jsd", critic_units=256)`.
"""

import math
from functools import partial
from types import SimpleNamespace

import keras

from tf_infomax.objectives.base import Objective
from tf_infomax.objectives.batches import name_features
from tf_infomax.objectives.parts import Parts
from tf_infomax.options import Row
from tf_infomax.options.objectives import OBJECTIVES


def build(
    name: str,
    encoder: keras.Model,
    *,
    views: tuple[str, ...] = (),
    front: keras.Model | None = None,
    images: int = 1,
    classes: int = 0,
    seed: int = 0,
    ema: float = 0.0,
    **options,
) -> Objective:
    """An objective of the table, to be compiled and fitted as any Keras model.

    Args:
        name: of its row.
        encoder: a built model from uint8 images to a dict of features.
        views: names of the views of a batch, all of them images as `encoder` takes;
            views with encoders of their own get copies of it, with fresh weights. ():
            "x" alone, of "multiview" also "y".
        front: a model from whole images to view "x".
        images: how many are trained on, for a memory bank or targets.
        classes: of the labels, for objectives with labels.
        seed: of all draws.
        ema: decay of an average of the encoder's weights; 0: none.
        **options: of the row, as its flags.

    Raises:
        ValueError: if there is no such row or option.
    """
    if name not in OBJECTIVES:
        raise ValueError(
            f"objective must be one of {', '.join(OBJECTIVES)}. Received: {name!r}."
        )
    row = OBJECTIVES[name]
    wrong = [option for option in options if not row.has(option)]
    if wrong:
        known = getattr(row.options, "__dataclass_fields__", {})
        raise ValueError(
            f"{name} has the options {', '.join(known)}. Received: {wrong[0]!r}."
        )
    encoder = name_features(encoder)
    shape = tuple(encoder.input.shape[1:])
    preset = {n: v for n, v in row.preset_of(options).items() if row.has(n)}
    own = row.options(**{**preset, **options})
    config = SimpleNamespace(
        **vars(own),
        encoder=encoder.name,
        seed=seed,
        ema=ema,
        batch_size=math.inf,  # unknown here, so that no ceiling is
        is_changed=options.__contains__,
    )
    parts = Parts(
        encoder=encoder,
        shapes=dict.fromkeys(views or _views_of(row), shape),
        front=front,
        images=images,
        classes=classes,
        build_encoder=lambda flag, shape: keras.models.clone_model(encoder),
    )
    return row.load()(config, parts)


def _views_of(row: Row) -> tuple[str, ...]:
    return ("x",) if "one" in row.choices.get("views", ("one",)) else ("x", "y")


# Those whose names are no module's of this package.
dim_local = partial(build, "dim_local")
dim_global = partial(build, "dim_global")
dim_local_global = partial(build, "dim_local_global")
ae, vae = partial(build, "ae"), partial(build, "vae")
beta_vae = partial(build, "beta_vae")
