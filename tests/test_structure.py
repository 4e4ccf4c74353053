"""The structure of images in Deep InfoMax (Hjelm et al. 2019, section 4.3)."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from objective_rows import SHAPE, build_encoder

from tf_infomax import bounds
from tf_infomax.evaluation.values import assess_values
from tf_infomax.objectives import Coordinates, InfoMax, Task, coordinates
from tf_infomax.objectives import build as build_row
from tf_infomax.options import Config, ConfigError

N, H, W, C, D = 6, 2, 3, 7, 5
SEED = tf.constant([3, 4], tf.int64)
both_kinds = pytest.mark.parametrize("kind", coordinates.KINDS)


def make_features(rng, views=("x",), n=N) -> dict[str, tf.Tensor]:
    shapes = {"local": (n, H, W, C), "code": (n, D)}
    return {
        f"{view}.{name}": tf.constant(rng.normal(size=shape), tf.float32)
        for view in views
        for name, shape in shapes.items()
    }


def build_task(features, kind="absolute", **options) -> Coordinates:
    task = Coordinates(kind, **{"widths": (9, 8), **options})
    task.build({side: tuple(value.shape) for side, value in features.items()})
    return task


def run(task, features, seed=SEED, training=False):
    loss, values = task(features, seed, training=training)
    return float(loss), {name: float(value) for name, value in values.items()}


def find_by_hand(task, features, sources) -> tuple[float, float, float]:
    """Each pair of places by itself, its features in one vector, in inference mode."""
    kernels = [layer.kernel.numpy() for layer in task.first.values()]
    first, relative = np.concatenate(kernels), task.kind == "relative"
    local, code = (features[side].numpy() for side in ("x.local", "x.code"))
    found = []
    for n, i, j in np.ndindex(N, H, W):
        here = [local[n, i, j], code[n]]
        a, b = sources[n] // W, sources[n] % W
        labels = (a - i + H - 1, b - j + W - 1) if relative else (i, j)
        h = np.concatenate([*here, local[n, a, b]] if relative else here) @ first
        for norm, dense in ((0, 2), (3, 5)):
            gamma, beta, mean, variance = (
                v.numpy() for v in task.head.layers[norm].variables
            )
            h = np.maximum(gamma * (h - mean) / np.sqrt(variance + 1e-5) + beta, 0)
            h = h @ task.head.layers[dense].kernel.numpy()
        h += task.head.layers[-1].bias.numpy()
        count = 2 * H - 1 if relative else H
        rows, columns = h[:count], h[count:]
        error = sum(
            np.log(np.exp(u).sum()) - u[k]
            for u, k in zip((rows, columns), labels, strict=True)
        )
        found.append((rows.argmax() == labels[0], columns.argmax() == labels[1], error))
    return np.mean(found, axis=0)


@both_kinds
def test_values_are_the_formula(kind, rng, monkeypatch):
    sources = rng.integers(0, H * W, N)
    monkeypatch.setattr(
        coordinates, "_draw_places", lambda places: lambda *_: tf.constant(sources)
    )
    features = make_features(rng)
    task = build_task(features, kind)
    for variable in task.variables:
        variable.assign(rng.uniform(0.5, 1.5, variable.shape) * variable + 0.1)
    loss, values = run(task, features)
    expected = find_by_hand(task, features, sources)
    np.testing.assert_allclose(list(values.values()), expected, rtol=1e-5)
    assert loss == values[f"coordinates_{kind}/cross_entropy"]


@both_kinds
def test_features_that_say_where_they_are_are_told(kind, rng):
    """One-hot rows and columns, beside noise."""
    features = make_features(rng, n=32)
    rows, columns = np.indices((H, W))
    where = np.concatenate([np.eye(H)[rows], np.eye(W)[columns]], axis=-1)
    local = features["x.local"].numpy()
    local[..., : H + W] = where
    told = {**features, "x.local": tf.constant(local)}
    task = build_task(features, kind, widths=(32, 32))
    optimizer = keras.optimizers.Adam(0.02)

    @tf.function
    def step(seed):
        with tf.GradientTape() as tape:
            loss, values = task(told, seed, training=True)
        variables = task.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return values

    optimizer.build(task.trainable_variables)
    steps = [list(step(tf.constant([0, k], tf.int64)).values()) for k in range(80)]
    row, column, error = np.mean(steps[-10:], axis=0)
    assert min(row, column) > 0.97
    assert error < 0.2


@both_kinds
def test_features_that_are_the_same_everywhere_say_nothing(kind):
    features = {"x.local": tf.ones((N, H, W, C)), "x.code": tf.ones((N, D))}
    task = build_task(features, kind)
    loss, values = run(task, features, training=True)
    classes = (H, W) if kind == "absolute" else (2 * H - 1, 2 * W - 1)
    assert loss == pytest.approx(sum(map(math.log, classes)), rel=1e-5)
    if kind == "absolute":
        assert values["coordinates_absolute/row"] == pytest.approx(1 / H)


@both_kinds
def test_chance_is_the_best_that_a_constant_has(kind):
    """Counted over all pairs of places."""
    places = list(np.ndindex(H, W))
    labels = [
        np.subtract(a, b) if kind == "relative" else a for a in places for b in places
    ]
    row, column, error = build_task(
        {"x.local": tf.zeros((N, H, W, C)), "x.code": tf.zeros((N, D))}, kind
    ).values.values()
    entropy = 0.0
    for value, axis in ((row, 0), (column, 1)):
        _, counts = np.unique([label[axis] for label in labels], return_counts=True)
        p = counts / counts.sum()
        assert value.chance == pytest.approx(p.max())
        entropy -= np.sum(p * np.log(p))
    assert error.chance == pytest.approx(entropy)


def test_each_step_draws_a_place_of_each_image(rng):
    sample = coordinates._draw_places(H * W)
    drawn = sample([6000], SEED).numpy()
    counts = np.bincount(drawn, minlength=H * W)
    assert len(counts) == H * W
    assert np.abs(counts - 1000).max() < 150  # five standard deviations
    features = make_features(rng)
    task = build_task(features, "relative")
    values = [run(task, features, tf.constant([3, k], tf.int64)) for k in (4, 4, 5)]
    assert values[0] == values[1] != values[2]


def test_each_batch_of_a_test_has_places_of_its_own(rng, monkeypatch):
    seeds = []
    monkeypatch.setattr(
        coordinates,
        "draw",
        lambda sample, n, shape, seed: seeds.append(seed) or [0] * n,
    )
    objective = build_row(
        "dim_local", build_encoder(), critic_units=8, coordinates="relative"
    )
    for value in (0, 1, 0):
        objective.measure({"x": tf.fill([4, *SHAPE], tf.constant(value, tf.uint8))})
    first, other, again = (tuple(seed.numpy()) for seed in seeds)
    assert first == again != other


def test_of_two_views_each_has_its_own_map_and_code(rng):
    features = make_features(rng, ("x", "y"))
    task = build_task(features, views=("x", "y"))
    whole = run(task, features)[1]
    single = build_task({s: v for s, v in features.items() if s[0] == "x"})
    single.set_weights(task.get_weights())
    parts = [
        run(
            single, {f"x.{name}": features[f"{v}.{name}"] for name in ("local", "code")}
        )
        for v in ("x", "y")
    ]
    for name, value in whole.items():
        expected = np.mean([values[name] for _, values in parts])
        assert value == pytest.approx(expected, rel=1e-5)
    assert parts[0] != parts[1]


@pytest.mark.parametrize(
    "shapes",
    [
        {"x.local": (N, 1, 1, C), "x.code": (N, D)},
        {"x.local": (N, H * W, C), "x.code": (N, D)},
        {"x.local": (N, H, W, C), "x.code": (N, 1, 1, D)},
    ],
)
def test_what_is_no_map_with_a_code_is_refused(shapes):
    with pytest.raises(ValueError, match=r"more than one place.*Received: x.local \["):
        Coordinates().build(shapes)


def test_a_feature_of_one_place_is_refused_by_its_flag():
    images = keras.Input(SHAPE, dtype="uint8")
    local = keras.layers.Conv2D(3, 8)(keras.layers.Rescaling(1 / 255)(images))
    features = {"local": local, "code": keras.layers.Flatten()(local)}
    with pytest.raises(ConfigError, match=r"--coordinates=both.*\[1, 1, 3\]"):
        build_row("dim_local", keras.Model(images, features), coordinates="both")


@pytest.mark.parametrize("views", ["one", "augment"])
def test_they_are_added_to_the_loss_and_change_nothing_else(views):
    objectives = []
    for options in ({}, {"coordinates": "both", "coordinates_weight": 0.5}):
        keras.utils.set_random_seed(0)
        encoder = build_encoder()
        objectives.append(
            build_row(
                "dim_local_global", encoder, views=views, augment=("flip",),
                critic_units=8, **options,
            )
        )  # fmt: skip
    plain, told = objectives
    images = np.random.default_rng(0).integers(0, 256, (4, *SHAPE), np.uint8)
    seed = tf.constant([0, 0], tf.int64)
    one, other = (o._as_batch(tf.constant(images), (), seed) for o in objectives)
    (losses, values), (told_losses, told_values) = (
        o.step_losses(b, seed) for o, b in ((plain, one), (told, other))
    )
    added = sum(
        told_values[f"coordinates_{kind}/cross_entropy"] for kind in coordinates.KINDS
    )
    expected = losses["encoder"] + 0.5 * added
    np.testing.assert_allclose(told_losses["encoder"], expected, rtol=1e-6)
    np.testing.assert_array_equal(told_losses["prior"], losses["prior"])
    for name, value in values.items():
        np.testing.assert_array_equal(told_values[name], value)
    assert told.tasks[0].views == (("x",) if views == "one" else ("x", "y"))
    assert {each["kind"] for each in told.describe()["tasks"].values()} == {
        "absolute", "relative",
    }  # fmt: skip


def test_two_tasks_of_one_name_and_missing_features_are_refused():
    encoder = build_encoder()
    term = build_row("dim_local", encoder, critic_units=8).terms[0]
    with pytest.raises(ValueError, match=r"a name of its own.*coordinates_absolute"):
        InfoMax(encoder, term, tasks=[Coordinates(), Coordinates()])

    class OfConvolutions(Task):
        sides = ("x.conv",)

    with pytest.raises(ValueError, match=r"task 'conv' names 'x.conv'.*code, fc"):
        InfoMax(encoder, term, tasks=[OfConvolutions(name="conv")])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(coordinates_weight=2.0), "without --coordinates"),
        (
            dict(objective="vae", coordinates="both"),
            "--objective=dim_local",
        ),
        (dict(coordinates="polar"), "--coordinates takes none, absolute"),
    ],
)
def test_options_without_effect_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Config(**options)


@pytest.mark.parametrize("negatives", ["all", "same_location"])
@pytest.mark.parametrize("objective", ["dim_local", "dim_global"])
def test_each_image_is_contrasted_with_some(objective, negatives, rng):
    """As the bound says of the critic's scores; the ceiling is that of so many."""
    count, n = 2, 5
    made = build_row(
        objective, build_encoder(), critic_units=8, negatives=negatives,
        negative_images=count,
    )  # fmt: skip
    batch = {"x": tf.constant(rng.integers(0, 256, (n, *SHAPE), np.uint8))}
    features, (term,) = made.encoder(batch["x"]), made.terms
    scores = term.critic((features["local"], features["code"]))
    pooled = negatives == "all" and objective == "dim_local"
    expected = np.mean(bounds.info_nce(scores, "x", pooled=pooled, negatives=count))
    results = dict(assess_values(made, [batch], n))
    (name,) = (k for k, each in results.items() if each.get("objective"))
    assert results[name]["mean"] == pytest.approx(expected, rel=1e-4)
    candidates = 1 + count * (16 if pooled else 1)
    assert results[name]["ceiling"] == pytest.approx(math.log(candidates))
    assert name.startswith("score/" if pooled else "mi/")
    if pooled:
        assert "2 others of the batch, pooled" in results[name]["measures"]
        assert results["mi/local"]["ceiling"] == pytest.approx(math.log(n))


def test_a_number_of_negatives_that_cannot_be_is_refused():
    with pytest.raises(
        ConfigError, match=r"at most 63.*--batch_size=64\. Received: 64"
    ):
        Config(negative_images=64)
    Config(negative_images=63, bound="jsd")
    with pytest.raises(ConfigError, match="--objective=dim_local"):
        Config(objective="multiview", negative_images=3)
    options = dict(bound=lambda u: tf.reduce_mean(u, [-2, -1]), negative_images=2)
    with pytest.raises(ValueError, match=r"'some' negatives.*dv, nwj.*Received: .*2"):
        build_row("dim_local", build_encoder(), critic_units=8, **options)
