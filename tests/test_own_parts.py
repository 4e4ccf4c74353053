"""Parts of a user's own: bounds, critics, encoders, whole objectives."""

from collections.abc import Mapping

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_infomax import bounds, critics, objectives
from tf_infomax.objectives import InfoMax, Term

SHAPE = (8, 8, 3)
mean = tf.reduce_mean


def build_encoder(features=True):
    images = keras.Input(SHAPE, dtype="uint8")
    x = keras.layers.Rescaling(1 / 127.5, -1.0)(images)
    x = local = keras.layers.Conv2D(4, 4, 2, "same", activation="relu")(x)
    code = keras.layers.Dense(6)(keras.layers.Flatten()(x))
    return keras.Model(images, {"local": local, "code": code} if features else code)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (16, *SHAPE), np.uint8)


@keras.saving.register_keras_serializable("tests")
def margin(scores):
    """How much pairs score above the others."""
    return tf.reduce_mean(tf.linalg.diag_part(scores), -1) - tf.reduce_mean(
        scores, [-2, -1]
    )


@keras.saving.register_keras_serializable("tests")
class Distances(keras.layers.Layer):
    """-|x - A y|^2 of all pairs."""

    def build(self, x_shape, y_shape):
        self.dense = keras.layers.Dense(x_shape[-1], use_bias=False)
        self.dense.build(y_shape)

    def call(self, x, y):
        y = self.dense(y)
        return -tf.reduce_sum(tf.square(x[:, None] - y[None]), axis=-1)


@keras.saving.register_keras_serializable("tests")
class DistanceOfPairs(Distances):
    """The same of each pair."""

    def call(self, x, y):
        return -tf.reduce_sum(tf.square(x - self.dense(y)), axis=-1, keepdims=True)


@keras.saving.register_keras_serializable("tests")
class Together(Distances):
    """The same, called with both at once."""

    def build(self, shapes):
        super().build(*shapes)

    def call(self, inputs):
        return super().call(*inputs)


def test_a_bound_may_be_a_function(images):
    term = Term("local", "local", "code", Distances(), margin)
    objective = InfoMax(build_encoder(), term)
    objective.compile(keras.optimizers.Adam(1e-2))
    before = objective.evaluate(images, batch_size=8, verbose=0, return_dict=True)
    objective.fit(images, batch_size=8, epochs=8, verbose=0)
    after = objective.evaluate(images, batch_size=8, verbose=0, return_dict=True)
    assert after["score/local"] > before["score/local"] + 0.1
    assert objective.values["score/local"].measures.startswith("margin of the scores")
    assert "mi/local" in after  # InfoNCE of the same critic


def test_a_function_in_the_table_is_a_bound(images, monkeypatch):
    monkeypatch.setitem(bounds.BOUNDS, "margin", margin)
    term = Term("codes", "code", "code", critics.InnerProduct(), "margin")
    objective = InfoMax(build_encoder(), [term])
    scores = objective.terms[0].critic((tf.eye(3), 2 * tf.eye(3)))
    np.testing.assert_allclose(term.value(scores), 2 - 2 / 3, rtol=1e-6)


@pytest.mark.parametrize("kind", [Distances, DistanceOfPairs, Together])
def test_a_critic_may_be_a_plain_layer(kind, images, tmp_path):
    term = Term("local", "local", "code", kind(), "info_nce")
    objective = InfoMax(build_encoder(), term)
    objective.compile("adam")
    history = objective.fit(images, batch_size=8, epochs=2, verbose=0).history
    assert np.isfinite(history["local"]).all()
    features = objective.encoder(images)
    scores = objective.terms[0].critic((features["local"], features["code"]))
    assert scores.shape == (16, 16, 16)
    x = tf.reshape(features["local"], [16, 16, 4])
    y = objective.terms[0].critic.layer.dense(features["code"])
    expected = -np.square(x[3, 5] - y[7]).sum()
    np.testing.assert_allclose(scores[5, 3, 7], expected, rtol=1e-4)
    objective.save(tmp_path / "o.keras")
    loaded = keras.models.load_model(tmp_path / "o.keras")
    again = loaded.evaluate(images, batch_size=8, verbose=0, return_dict=True)
    values = objective.evaluate(images, batch_size=8, verbose=0, return_dict=True)
    assert again == pytest.approx(values, rel=1e-5)


def test_what_is_no_part_is_refused_in_one_line():
    for critic, words in ((keras.layers.Add(), "scores of all pairs"), (3, "layer")):
        with pytest.raises(ValueError, match=words):
            InfoMax(build_encoder(), Term("t", "code", "code", critic, "dv"))
    with pytest.raises(ValueError, match="a function of"):
        Term("t", "code", "code", critics.InnerProduct(), 3)
    several = keras.Model((x := keras.Input(SHAPE)), [x, keras.layers.Flatten()(x)])
    term = Term("t", "code", "code", critics.InnerProduct(), "dv")
    for encoder, words in (
        (keras.Sequential([keras.layers.Flatten()]), "built model"),
        (several, "must name them"),
    ):
        with pytest.raises(ValueError, match=words):
            InfoMax(encoder, term)


def test_a_single_output_is_the_code(images):
    sequential = keras.Sequential(
        [
            keras.Input(SHAPE, dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(6),
        ]
    )
    for encoder in (sequential, build_encoder(features=False)):
        term = Term("codes", "code", "x.code", critics.Bilinear(), "jsd")
        objective = InfoMax(encoder, term)
        objective.compile("adam")
        objective.fit(images, batch_size=8, verbose=0)
        assert objective.predict(images, verbose=0)["code"].shape == (16, 6)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dim_local", dict(bound="jsd", critic_units=8, gamma=0.0)),
        ("dim_global", dict(critic_units=8)),
        ("multiview", dict(view_critic="cosine", temperature=0.5)),
        ("vae", dict(kl_weight=0.1)),
        ("supervised", dict(classes=3)),
    ],
)
def test_presets_are_built_in_python(name, options, images):
    objective = objectives.build(name, build_encoder(), **options)
    objective.compile("adam")
    batch = {"x": images, "y": images[:, ::-1], "label": np.arange(16) % 3}
    named = {n: batch[n] for n in (*objective.takes, *objective.asks)}
    history = objective.fit(named, batch_size=8, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()


def test_presets_refuse_what_they_do_not_have():
    with pytest.raises(ValueError, match="Received: 'kl_weight'"):
        objectives.dim_local(build_encoder(), kl_weight=1.0)
    with pytest.raises(ValueError, match="--bound takes"):
        objectives.dim_local(build_encoder(), bound="infonce")
    with pytest.raises(ValueError, match="dim_local, dim_global"):
        objectives.build("dim", build_encoder())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dim_local", dict(bound=margin, local_critic=Distances(), gamma=0.0)),
        ("multiview", dict(bound=margin, view_critic=Distances())),
    ],
)
def test_presets_take_bounds_and_critics_of_ones_own(name, options, images):
    objective = objectives.build(name, build_encoder(), **options)
    (term,) = objective.terms
    assert term.row.function is margin
    assert isinstance(term.critic.layer, Distances)
    assert [v.kind for v in objective.values.values()] == ["score", "mi"]


def take_top(images):
    return {"x": images[:, :4], "y": images[:, 4:]}


def test_views_are_made_of_whole_images(images):
    """Of a bare tensor, a pair with labels and "image"; those by name stay."""
    encoder = keras.Sequential(
        [
            keras.Input((4, 8, 3), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(6),
        ]
    )
    shape = {"views": "halves", "image_shape": SHAPE}
    objective = objectives.build("multiview", encoder, **shape)
    objective.compile("sgd")
    labels = np.zeros(16, np.int64)
    losses = [
        objective.evaluate(*given, batch_size=16, verbose=0, return_dict=True)
        for given in (
            (take_top(images),),
            (images,),
            (images, labels),
            ({"image": images, "label": labels},),
        )
    ]
    assert all(each == losses[0] for each in losses)
    objective.fit(images, batch_size=8, verbose=0)
    assert objective.predict(images, verbose=0)["code"].shape == (16, 6)
    with pytest.raises(ValueError, match="needs image_shape"):
        objectives.build("multiview", encoder, views="halves")
    with pytest.raises(ValueError, match=r"encoder must take images \(4, 8, 3\)"):
        objectives.build("multiview", build_encoder(), **shape)


def test_augmented_views_are_drawn_anew_at_each_step(images, tmp_path):
    options = {"views": "augment", "augment": ("crop", "flip")}
    seen = []

    class Watched(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(logs["views"])

    for _ in range(2):
        keras.utils.set_random_seed(0)
        objective = objectives.build("multiview", build_encoder(), **options)
        objective.compile(keras.optimizers.SGD(0.0))
        objective.fit(images, batch_size=16, epochs=2, verbose=0, callbacks=[Watched()])
    assert seen[:2] == seen[2:]  # a function of seed and step
    assert seen[0] != seen[1]  # of the same images, by the same weights
    objective.save(tmp_path / "o.keras")
    loaded = keras.models.load_model(tmp_path / "o.keras")
    assert (loaded.views, loaded.augment) == ("augment", ("crop", "flip"))
    with pytest.raises(ValueError, match="lacks y"):
        objective.train_on_batch({"x": images})


class Forgetful(objectives.Objective):
    """Returns what `answer` makes of the squared code `[N, D]`."""

    values: Mapping = {"size": objectives.Value()}

    def step_losses(self, batch, seed):
        code = self.networks["encoder"](batch["x"])["code"]
        return self.answer(tf.square(code))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda z: ({"encoder": mean(z)}, {"size": 1.0, "more": 1.0}), "reports more"),
        (lambda z: ({}, {"size": 1.0}), "Missing: encoder"),
        (lambda z: ({"encoder": mean(z)}, {}), "does not report size"),
        (lambda z: ({"encoder": z}, {"size": 1.0}), r"encoder of shape \[8, 6\]"),
        (lambda z: mean(z), r"must return \(\{player: loss\}"),
    ],
)
def test_an_objective_is_told_what_it_forgot(answer, words, images):
    objective = Forgetful(build_encoder())
    objective.answer = answer
    objective.compile("sgd", run_eagerly=True)
    with pytest.raises(ValueError, match=words):
        objective.fit(images, batch_size=8, verbose=0)


def test_what_compile_would_leave_unused_is_refused():
    objective = objectives.build("supervised", build_encoder(), classes=2)
    for given in ({"prior_optimizer": "sgd"}, {"loss": "mse"}, {"metrics": ["acc"]}):
        (name,) = given
        with pytest.raises(TypeError, match=f"own. Received: {name}"):
            objective.compile("adam", **given)


@pytest.mark.parametrize("name", ["ae", "bigan"])
def test_pictures_are_of_the_average_where_there_is_one(name, images):
    objective = objectives.build(name, build_encoder(), ema=0.9)
    objective.compile(keras.optimizers.SGD(1.0))
    objective.fit(images, batch_size=16, epochs=2, verbose=0)
    made = objective.reconstruct(images)
    for variable in objective.networks["encoder"].trainable_variables:
        variable.assign(tf.zeros_like(variable))
    np.testing.assert_array_equal(objective.reconstruct(images), made)


def test_an_objective_without_a_step_is_refused():
    with pytest.raises(TypeError, match="Empty must write step_losses"):
        type("Empty", (objectives.Objective,), {})({"encoder": build_encoder()})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            lambda x: x.astype(np.int32),
            "image must be uint8 images, 0 .*int32",
        ),
        (lambda x: {"y": x}, "lacks x. Received: y"),
        (lambda x: x[:, :4], r"\[None, 8, 8, 3\]. Received: uint8 \[8, 4, 8, 3\]"),
        (lambda x: {"x": x[..., 0]}, "Received: uint8"),
    ],
)
def test_what_is_no_batch_is_told_what_was_received(given, words, images):
    term = Term("codes", "code", "code", critics.Bilinear(), "jsd")
    objective = InfoMax(build_encoder(), term)
    objective.compile("sgd", run_eagerly=True)
    with pytest.raises(ValueError, match=words):
        objective.fit(given(images), batch_size=8, verbose=0)


def test_pictures_of_a_folder_as_keras_reads_them(images, tmp_path):
    """In floats from 0 to 255, with labels; those from 0 to 1 would all be black."""
    for number, image in enumerate(images):
        folder = tmp_path / f"class{number % 2}"
        folder.mkdir(exist_ok=True)
        keras.utils.save_img(folder / f"{number:02}.png", image, scale=False)
    pictures = keras.utils.image_dataset_from_directory(
        tmp_path, image_size=(8, 8), batch_size=16, shuffle=False, verbose=0
    )
    assert pictures.element_spec[0].dtype == tf.float32
    objective = objectives.build("supervised", build_encoder(), classes=2)
    objective.compile("sgd", run_eagerly=True)
    found = objective.evaluate(pictures, verbose=0, return_dict=True)
    order = [*range(0, len(images), 2), *range(1, len(images), 2)]
    labels = np.repeat([0, 1], len(images) // 2)
    expected = objective.evaluate(
        images[order], labels, batch_size=16, verbose=0, return_dict=True
    )
    assert found == expected
    with pytest.raises(tf.errors.InvalidArgumentError, match="not from 0 to 1"):
        objective.fit(images / np.float32(255), labels, batch_size=8, verbose=0)


def test_a_batch_may_be_images_pairs_with_labels_or_views(images):
    objective = objectives.build("supervised", build_encoder(), classes=2)
    objective.compile("sgd")
    labels = np.arange(16) % 2
    losses = [
        objective.evaluate(*given, batch_size=16, verbose=0, return_dict=True)
        for given in (
            (images, labels),
            (images, labels[:, None]),
            ({"image": images, "label": labels},),
            ({"x": images, "label": labels[:, None]},),
        )
    ]
    assert all(each == losses[0] for each in losses)
    with pytest.raises(ValueError, match=r"whole numbers \[N\].*16, 2"):
        objective.train_on_batch(images, np.eye(2, dtype=np.int64)[labels])
