"""A small one of every objective, by name, and images to train it on.

`tests/test_objectives.py` holds each row to what the base promises.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_infomax import critics, encoders
from tf_infomax.objectives import (
    Coordinates,
    InfoMax,
    Objective,
    PriorMatching,
    Term,
)
from tf_infomax.objectives.aae import build_aae
from tf_infomax.objectives.autoencoder import build_autoencoder, build_vae
from tf_infomax.objectives.bigan import build_bigan
from tf_infomax.objectives.byol import build_byol
from tf_infomax.objectives.joint import build_joint
from tf_infomax.objectives.nat import build_nat
from tf_infomax.objectives.only_prior import build_only_prior
from tf_infomax.objectives.supervised import build_supervised

SHAPE, CODE, N = (8, 8, 3), 6, 8


class Row(NamedTuple):
    """An objective to be held to the law of all.

    Attributes:
        build: encoder -> objective.
        losses: player -> the value that is its loss, beside the first one's `loss`.
        facts: what `describe` must say.
        xla: whether XLA can compile its steps.
    """

    build: Callable[[keras.Model], Objective]
    losses: Mapping[str, str] = {}
    facts: Mapping = {}
    xla: bool = True


def build_encoder(dropout: float = 0.0, l2: float = 0.0) -> keras.Model:
    """A map with batch norm, hidden units and a code."""
    images = keras.Input(SHAPE, dtype="uint8")
    x = keras.layers.Rescaling(1 / 127.5, -1.0)(images)
    conv = {"use_bias": False, "kernel_regularizer": _penalty(l2)}
    x = keras.layers.Conv2D(5, 4, 2, "same", **conv)(x)
    norm = keras.layers.BatchNormalization(momentum=0.9, synchronized=True)
    x = local = keras.layers.Dropout(dropout, seed=1)(keras.layers.ReLU()(norm(x)))
    fc = keras.layers.Dense(12, "relu")(keras.layers.Flatten()(x))
    code = keras.layers.Dense(CODE)(fc)
    features = {"local": local, "fc": fc, "code": code}
    return keras.Model(images, features, name="encoder")


def _penalty(l2: float):
    return keras.regularizers.L2(l2) if l2 else None


def _build_local_term() -> Term:
    critic = critics.LOCAL_CRITICS["encode_and_dot"](6)
    pooled = (("candidates", "x"), ("pooled", True))
    return Term("local", "x.local", "x.code", critic, "info_nce", 1.0, pooled)


def _build_both(encoder) -> InfoMax:
    critic = critics.InnerProduct()
    terms = [_build_local_term(), Term("global", "x.code", "x.code", critic, "jsd")]
    return InfoMax(encoder, terms, _build_prior("uniform"), 0.5)


def _build_structure(encoder) -> InfoMax:
    tasks = [Coordinates(kind, 0.5, widths=(8, 6)) for kind in ("absolute", "relative")]
    places = keras.layers.Conv2D(CODE, 3)(encoder.output["local"])
    features = {**encoder.output, "globals": places}
    encoder = keras.Model(encoder.input, features, name="encoder")
    local = _build_local_term()
    term = replace(
        local,
        y="x.globals",
        critic=critics.EveryPlace(local.critic),
        negatives="some",
        negative_options=(("count", 3),),
    )
    return InfoMax(encoder, term, tasks=tasks, occlude=(3, 3))


def _build_views(encoder) -> InfoMax:
    critic = critics.VECTOR_CRITICS["bilinear"]()
    return InfoMax(encoder, [Term("views", "x.code", "y.code", critic, "info_nce")])


def _build_cpc(encoder) -> InfoMax:
    """The rows of the map as what was and what comes, their mean as the code."""
    z = encoder.output["local"]
    code = keras.layers.GlobalAveragePooling2D()(z)
    features = {"past_1": z[:, :-1], "future_1": z[:, 1:], "code": code}
    encoder = keras.Model(encoder.input, features, name="encoder")
    past = Term("ahead_1", "x.future_1", "x.past_1", critics.Bilinear(), "info_nce")
    return InfoMax(encoder, [past])


def _build_decoder() -> keras.Model:
    return encoders.build_decoder("mlp", SHAPE, CODE)


def _build_bigan(encoder) -> Objective:
    discriminator = encoders.build_pair_discriminator("mlp", SHAPE, CODE)
    return build_bigan(encoder, _build_decoder(), discriminator, gradient_penalty=0.5)


def _build_prior(name: str) -> PriorMatching:
    return PriorMatching(name, widths=(8, 4))


ROWS = {
    "dim_local": Row(lambda e: InfoMax(e, [_build_local_term()])),
    "dim_local_global": Row(
        _build_both, {"prior": "prior/discriminator"}, {"prior": "uniform"}
    ),
    "dim_structure": Row(_build_structure),
    "multiview": Row(_build_views),
    "cpc": Row(_build_cpc),
    "autoencoder": Row(
        lambda e: build_autoencoder(e, _build_decoder(), deviation=1.0),
        facts={"likelihood": "gaussian", "deviation": 1.0},
    ),
    "vae": Row(
        lambda e: build_vae(e, _build_decoder(), likelihood="bernoulli", kl_weight=0.5),
        facts={"likelihood": "bernoulli", "kl_weight": 0.5, "prior": "normal"},
    ),
    "bigan": Row(
        _build_bigan,
        {"discriminator": "bigan/discriminator"},
        {"prior": "normal", "gradient_penalty": 0.5},
    ),
    "aae": Row(
        lambda e: build_aae(e, _build_decoder(), _build_prior("normal"), gamma=2.0),
        {"prior": "prior/discriminator"},
        {"prior": "normal", "gamma": 2.0, "likelihood": "gaussian"},
    ),
    "prior_matching": Row(
        lambda e: build_only_prior(e, _build_prior("ball")),
        {"prior": "prior/discriminator"},
        {"prior": "ball", "gradient_penalty": 1.0},
    ),
    "prior_matching_mmd": Row(
        lambda e: build_only_prior(e, PriorMatching("uniform", loss="mmd")),
        facts={"prior": "uniform", "prior_loss": "mmd"},
    ),
    "nat": Row(lambda e: build_nat(e, 2 * N), facts={"assign_every": 1}, xla=False),
    "vicreg": Row(
        lambda e: build_joint(
            e,
            "vicreg",
            (8, 4),
            {
                "invariance_weight": 2.0,
                "variance_weight": 1.0,
                "covariance_weight": 0.5,
            },
        ),
        facts={"loss": "vicreg", "embedding": 4},
    ),
    "supcon": Row(
        lambda e: build_joint(
            e, "supervised_contrast", (4,), {"similarity_temperature": 0.5}
        ),
        facts={"loss": "supervised_contrast"},
    ),
    "byol": Row(lambda e: build_byol(e, (8, 4), momentum=0.9), facts={"momentum": 0.9}),
    "supervised": Row(lambda e: build_supervised(e, 3), facts={"classes": 3}),
}


def build(name: str, optimizer="sgd", rate: float = 0.01, **options) -> Objective:
    """The same one at every call, with an optimizer for each player."""
    keras.utils.set_random_seed(0)
    objective = ROWS[name].build(build_encoder(**options))
    kinds = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}
    objective.compile({p: kinds[optimizer](rate) for p in objective.players})
    return objective


def make_batch(objective: Objective, n: int = N) -> dict[str, tf.Tensor]:
    """All that it takes and asks: smooth images, labels of which some are missing.

    The first `n` training images have their numbers backwards.
    """
    rng = np.random.default_rng(0)
    batch = {}
    for view in objective.takes:
        coarse = rng.integers(0, 256, (n, 2, 2, 3), np.uint8)
        batch[view] = tf.constant(coarse.repeat(4, axis=1).repeat(4, axis=2))
    if "label" in objective.asks:
        batch["label"] = tf.constant(np.arange(n) % 4 - 1)
    if "index" in objective.asks:
        batch["index"] = tf.constant(np.arange(n)[::-1])
    return batch
