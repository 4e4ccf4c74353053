"""The objectives of the table `options.objectives.OBJECTIVES`, in Python.

Any row by its name, `build("multiview", encoder, view_critic="cosine")`, and some by
functions of their own, `dim_local(encoder, bound="jsd", critic_units=256)`.
"""

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import keras

from tf_infomax.data.views import PARTS, VIEWS, build_front, view_shapes
from tf_infomax.objectives.base import Objective
from tf_infomax.objectives.batches import name_features
from tf_infomax.objectives.parts import Parts
from tf_infomax.options import Row
from tf_infomax.options.objectives import OBJECTIVES
from tf_infomax.runtime.completion import spelled_out


def build(
    name: str,
    encoder: keras.Model,
    *,
    views: str | Sequence[str] = (),
    augment: Sequence[str] = (),
    image_shape: tuple[int, int, int] | None = None,
    other_encoder: keras.Model | None = None,
    front: keras.Model | None = None,
    images: int = 1,
    classes: int = 0,
    seed: int = 0,
    ema: float = 0.0,
    slow_layers: str = "",
    slow_rate: float = 0.1,
    **options,
) -> Objective:
    """An objective of the table, to be compiled and fitted as any Keras model.

    Args:
        name: of its row.
        encoder: a built model from uint8 images (of view "x") to a dict of features.
        views: a key of `data.views.VIEWS`, "augment" or "halves": what the objective
            makes of whole images; or the names of the views that a batch has, as a dict
            of images. (): "x" alone, of "multiview" also "y".
        augment: augmentations of views that the objective makes, "crop", "flip", ...
        image_shape: (H, W, C) of whole images, where views are parts of them.
        other_encoder: of the views but "x", where these have encoders of their own;
            None: as `encoder`. They are copies with fresh weights.
        front: a model from whole images to view "x", where views are given by names.
        images: how many are trained on, for a memory bank or targets.
        classes: of the labels, for objectives with labels.
        seed: of all draws.
        ema: decay of an average of the encoder's weights; 0: none.
        slow_layers, slow_rate: the last layer of the encoder that is trained slower,
            and its share of the learning rate; see `Objective`.
        **options: of the row, as its flags. A `bound` may also be a `bounds.Bound` or a
            function of scores; `local_critic`, `global_critic` and `view_critic` may be
            layers.

    Raises:
        ValueError: if there is no such row or option, or one does not fit another.
    """
    row = _row_of(name)
    _check_options(name, row, options)
    encoder = name_features(encoder)
    made = views if isinstance(views, str) else "one"
    shapes, front = _shapes_of(row, encoder, views, image_shape, front)
    own = {n: v for n, v in options.items() if n in _OWN and not isinstance(v, str)}
    written = {n: v for n, v in options.items() if n not in own}
    preset = {n: v for n, v in row.preset_of(written).items() if row.has(n)}
    chosen = vars(row.options(**{**preset, **written}))
    config = SimpleNamespace(
        **{**chosen, **own},
        encoder=encoder.name,
        seed=seed,
        ema=ema,
        views=made,
        augment=tuple(augment),
        slow_layers=slow_layers,
        slow_rate=slow_rate,
        batch_size=math.inf,  # unknown here, so that no ceiling is
        is_changed=options.__contains__,
    )

    def copy(flag: str, shape: tuple) -> keras.Model:
        model = encoder if other_encoder is None else name_features(other_encoder)
        _check_shape("other_encoder", model, shape)
        return keras.models.clone_model(model)

    parts = Parts(encoder, shapes, front, images, classes, copy)
    return row.load()(config, parts)


_OWN = ("bound", "local_critic", "global_critic", "view_critic")


def _row_of(name: str) -> Row:
    if name not in OBJECTIVES:
        raise ValueError(
            f"objective must be one of {', '.join(OBJECTIVES)}. Received: {name!r}."
        )
    return OBJECTIVES[name]


def _check_options(name: str, row: Row, options: dict) -> None:
    wrong = [option for option in options if not row.has(option)]
    if wrong:
        known = getattr(row.options, "__dataclass_fields__", {})
        raise ValueError(
            f"{name} has the options {', '.join(known)}. Received: {wrong[0]!r}."
        )


def _shapes_of(row: Row, encoder: keras.Model, views, image_shape, front):
    """View -> (H, W, C), and the model from whole images to view "x"."""
    shape = tuple(encoder.input.shape[1:])
    if not isinstance(views, str):
        return dict.fromkeys(views or _views_of(row), shape), front
    accepted = [each for each in row.choices.get("views", VIEWS) if each != "pairs"]
    if views not in accepted:
        raise ValueError(
            f"views must be one of {', '.join(accepted)}, or names of views. "
            f"Received: {views!r}."
        )
    if views in PARTS and image_shape is None:
        raise ValueError(f"views={views!r} needs image_shape, that of whole images.")
    whole = tuple(image_shape or shape)
    shapes = view_shapes(views, whole)
    _check_shape("encoder", encoder, shapes["x"])
    return shapes, build_front(views, whole)


def _check_shape(role: str, encoder: keras.Model, shape: tuple) -> None:
    taken = tuple(encoder.input.shape[1:])
    if taken != tuple(shape):
        raise ValueError(f"{role} must take images {shape}. Received: one of {taken}.")


def _views_of(row: Row) -> tuple[str, ...]:
    return ("x",) if "one" in row.choices.get("views", ("one",)) else ("x", "y")


def _preset(name: str) -> Callable[..., Objective]:
    row = OBJECTIVES[name]

    @spelled_out(build, row.options)
    def preset(encoder: keras.Model, **options: object) -> Objective:
        return build(name, encoder, **options)

    preset.__name__ = preset.__qualname__ = name
    preset.__doc__ = f"`build({name!r}, encoder, ...)`, to which all else goes."
    return preset


# Those whose names are no module's of this package.
dim_local, dim_global = _preset("dim_local"), _preset("dim_global")
dim_local_global = _preset("dim_local_global")
ae, vae, beta_vae = _preset("ae"), _preset("vae"), _preset("beta_vae")
