"""Multiple globals: every place of a map as a code of its own (Hjelm et al. 2019)."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from objective_rows import CODE, SHAPE, build_encoder, make_batch

from tf_infomax import critics
from tf_infomax.objectives import build as build_row
from tf_infomax.options import Config, ConfigError

SEED = tf.constant([3, 4], tf.int64)
CRITICS = {**critics.LOCAL_CRITICS, "bilinear": lambda units: critics.Bilinear()}


def add_globals(encoder, size: int = 2) -> keras.Model:
    """A map of `size` x `size` codes, and their mean as the code."""
    local = keras.layers.AveragePooling2D(4 // size)(encoder.output["local"])
    places = keras.layers.Conv2D(CODE, 1)(local)
    code = keras.layers.GlobalAveragePooling2D()(places)
    features = {"local": encoder.output["local"], "globals": places, "code": code}
    return keras.Model(encoder.input, features, name="encoder")


def build(size: int = 2, several: bool = True, **options):
    keras.utils.set_random_seed(0)
    encoder = add_globals(build_encoder(), size)
    given = {"critic_units": 8, "multiple_globals": several, "gamma": 0.0}
    return build_row("dim_local", encoder, **{**given, **options})


@pytest.mark.parametrize("name", CRITICS)
def test_each_place_is_scored_as_a_code(name, rng):
    """The first axis is that of the places; nothing else is another score."""
    inner = CRITICS[name](8)
    critic = critics.EveryPlace(inner)
    x = tf.constant(rng.normal(size=(4, 3, 2, 5)), tf.float32)
    y = tf.constant(rng.normal(size=(4, 2, 2, 6)), tf.float32)
    scores = critic((x, y))
    assert scores.shape == (4, 6, 4, 4)
    for place, (i, j) in enumerate(np.ndindex(2, 2)):
        np.testing.assert_allclose(
            scores[place], inner((x, y[:, i, j])), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize(
    ("bound", "negatives"),
    [("info_nce", "all"), ("info_nce", "same_location"), ("dv", "all"), ("jsd", "all")],
)
def test_the_term_is_the_mean_over_places(bound, negatives):
    objective = build(bound=bound, negatives=negatives)
    (term,) = objective.terms
    assert (term.x, term.y, term.critic.kind) == (
        "x.local",
        "x.globals",
        "encode_and_dot",
    )
    batch = make_batch(objective)
    features = objective.networks["encoder"](batch["x"])
    inner, places = term.critic.critic, features["globals"]
    own = [
        float(term.value(inner((features["local"], places[:, i, j]))))
        for i, j in np.ndindex(2, 2)
    ]
    value = objective.measure(batch)[term.key]
    assert float(value) == pytest.approx(np.mean(own), rel=1e-5)
    assert np.ptp(own) > 1e-4


def test_one_place_is_the_code():
    one, code = build(size=1), build(size=1, several=False)
    code.set_weights(one.get_weights())
    batch = make_batch(one)
    values = [each.measure(batch) for each in (one, code)]
    assert values[0].keys() == values[1].keys()
    for name, value in values[0].items():
        np.testing.assert_allclose(value, values[1][name], rtol=1e-5)


def test_places_are_of_the_occluded_image():
    """Bug: the code alone was; what a global sees must be hidden from it too."""
    objective = build(occlude=True)
    batch = make_batch(objective)
    plain = objective._encode(batch)["x"]
    occluded = objective._encode(batch, SEED)["x"]
    np.testing.assert_allclose(occluded["local"], plain["local"], rtol=1e-5)
    for name in ("globals", "code"):
        assert np.abs(occluded[name] - plain[name]).max() > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(encoder="basic32x32"), "'globals'; take foldmultialex64x64"),
        (
            dict(encoder="foldmultialex64x64", objective="dim_global"),
            "changes nothing without a local term",
        ),
        (dict(encoder="foldmultialex64x64", objective="vae"), "--objective=dim_local"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Config(multiple_globals=True, **options)


def test_images_are_of_the_shape_that_the_encoder_takes():
    assert build().takes["x"].shape[1:] == SHAPE
