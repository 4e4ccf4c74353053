"""Multi-view InfoMax, CPC and CMC: views, negatives, memory, closed forms, command."""

import itertools
import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from commands import assert_refused, run
from scipy.special import logsumexp

from tf_infomax import bounds, critics, encoders
from tf_infomax.data import views
from tf_infomax.data.batches import make_batches
from tf_infomax.data.images import DataError, ImageSet, pair
from tf_infomax.objectives import NEGATIVES, InfoMax, MemoryBank, Term
from tf_infomax.objectives.negatives import rank_hardest, rank_weighted
from tf_infomax.optimizers import FusedAdam
from tf_infomax.options import Config, ConfigError
from tf_infomax.training import experiment

SEED = tf.constant([0, 0], tf.int64)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 8, 10, 3), np.uint8)


class TestParts:
    def test_quadrants_are_disjoint_and_complete(self, images):
        parts = views.VIEWS["quadrants"](tf.constant(images), (), SEED)
        top = np.concatenate([parts["x"], parts["y"]], axis=2)
        bottom = np.concatenate([parts["z"], parts["w"]], axis=2)
        np.testing.assert_array_equal(np.concatenate([top, bottom], 1), images)

    def test_the_middle_row_of_an_odd_height_is_in_no_half(self, images):
        parts = views.VIEWS["halves"](tf.constant(images[:, :7]), (), SEED)
        np.testing.assert_array_equal(parts["x"], images[:, :3])
        np.testing.assert_array_equal(parts["y"], images[:, 4:7])

    @pytest.mark.parametrize(
        ("rgb", "lab"),  # published values of the sRGB primaries under D65
        [
            ((255, 255, 255), (100.0, 0.0, 0.0)),
            ((0, 0, 0), (0.0, 0.0, 0.0)),
            ((255, 0, 0), (53.24, 80.09, 67.20)),
            ((0, 255, 0), (87.73, -86.18, 83.18)),
            ((0, 0, 255), (32.30, 79.19, -107.86)),
            ((3, 3, 3), (0.8225, 0.0, 0.0)),  # the linear piece of both curves
        ],
    )
    def test_lab(self, rgb, lab):
        found = views.rgb_to_lab(np.array([[rgb]], np.uint8))
        np.testing.assert_allclose(np.asarray(found)[0, 0], lab, atol=0.03)

    def test_crops_differ_and_are_those_of_their_seed(self, images):
        one = views.VIEWS["crops"](tf.constant(images), (), SEED)
        again = views.VIEWS["crops"](tf.constant(images), (), SEED)
        np.testing.assert_array_equal(one["x"], again["x"])
        assert (one["x"].numpy() != one["y"].numpy()).mean() > 0.5

    @pytest.mark.parametrize("view", [v for v in views.PARTS if v != "pairs"])
    def test_the_front_makes_view_x_and_survives_saving(self, view, images, tmp_path):
        front = views.build_front(view, images.shape[1:])
        front.save(tmp_path / "front.keras")
        loaded = keras.models.load_model(tmp_path / "front.keras")
        expected = views.VIEWS[view](tf.constant(images), (), SEED)["x"]
        np.testing.assert_array_equal(loaded(images), expected)


class TestPairs:
    def test_rows_stay_together_however_they_are_selected(self, images):
        both = pair(ImageSet(images), ImageSet(255 - images))
        some = both.select(np.array([4, 1])).images[:]
        np.testing.assert_array_equal(some[..., :3], images[[4, 1]])
        np.testing.assert_array_equal(some[..., 3:], 255 - images[[4, 1]])
        np.testing.assert_array_equal(both.single.images, images)
        batch = next(iter(make_batches(both.images, 4, 0, 1, view="pairs")))
        np.testing.assert_array_equal(batch["x"], 255 - batch["y"].numpy())

    def test_of_two_folders_a_file_goes_by_its_name(self, images):
        names = [f"a/{place}.png" for place in range(6)]
        bad = (("a/6.png", "no image"),)
        first = ImageSet(images, names=tuple(names), skipped=bad)
        order = [5, 0, 3, 1, 4]  # 2 could not be used, 6 could
        other = ImageSet(
            np.concatenate([255 - images[order], images[:1]]),
            names=(*(f"a/{place}.jpg" for place in order), "a/6.jpg"),
            skipped=(("a/2.jpg", "torn"),),
        )
        both = pair(first, other)
        assert both.names == tuple(names[i] for i in (0, 1, 3, 4, 5))
        np.testing.assert_array_equal(both.images.second, 255 - both.images.first)
        assert both.skipped == (*bad, ("a/2.jpg", "torn (second folder)"))
        moved = ImageSet(images, names=tuple(f"b/{place}.png" for place in range(6)))
        with pytest.raises(DataError, match=r"partner: a/0, a/1, a/2, \.\.\. \(12 f"):
            pair(first, moved)

    def test_others_are_refused(self, images):
        with pytest.raises(DataError, match="6 and 5"):
            pair(ImageSet(images), ImageSet(images[:5]))
        with pytest.raises(DataError, match="one shape"):
            pair(ImageSet(images), ImageSet(images[:, :, :9]))


def make_term(critic, negatives="iid", bound="info_nce", **options):
    return Term("t", "x.code", "y.code", critic, bound, negatives=negatives, **options)


class TestNegatives:
    @pytest.fixture
    def codes(self):
        rng = np.random.default_rng(0)
        return [tf.constant(rng.normal(size=(6, 4)), tf.float32) for _ in "xy"]

    def test_derangement_takes_one_other_for_each(self, codes):
        hx, hy = codes
        u = hx.numpy() @ hy.numpy().T
        other = [1, 0, 3, 2, 5, 4]
        expected = np.diag(u).mean() - np.mean(np.exp(u[range(6), other] - 1.0))
        term = make_term(critics.InnerProduct(), "derangement", "nwj")
        found = NEGATIVES["derangement"].value(term, hx, hy)
        assert float(found) == pytest.approx(expected, rel=1e-5)
        assert make_term(critics.InnerProduct(), "derangement").ceiling(64, 1) == (
            pytest.approx(math.log(2.0))
        )

    def test_all_hard_negatives_are_info_nce(self, codes):
        hx, hy = codes
        options = dict(options=(("candidates", "both"),))
        plain = make_term(critics.InnerProduct(), **options)
        hard = make_term(
            critics.InnerProduct(), "hard", negative_options=(("count", 5),)
        )
        weighted = make_term(
            critics.InnerProduct(), "weighted", negative_options=(("hardness", 0.0),)
        )
        expected = float(NEGATIVES["iid"].value(plain, hx, hy))
        for term in (hard, weighted):
            found = float(NEGATIVES[term.negatives].value(term, hx, hy))
            assert found == pytest.approx(expected, abs=1e-5)
            assert term.key == "score/t"
        assert plain.key == "mi/t"

    def test_hard_and_weighted_by_hand(self):
        own = tf.constant([1.0])
        others = tf.constant([[-math.inf, 0.5, 2.0, -1.0]])
        found = float(rank_hardest(own, others, 2))
        assert found == pytest.approx(1.0 - logsumexp([1.0, 0.5, 2.0]) + math.log(3))
        u = np.array([0.5, 2.0, -1.0])
        weights = np.exp(0.7 * u) / np.exp(0.7 * u).mean()
        total = np.exp(1.0) + np.sum(weights * np.exp(u))
        found = float(rank_weighted(own, others, 0.7))
        assert found == pytest.approx(1.0 - math.log(total) + math.log(4), abs=1e-5)

    def test_same_image_ranks_its_own_locations(self):
        rng = np.random.default_rng(1)
        x, y = (rng.normal(size=(3, 5, 4)).astype(np.float32) for _ in "xy")
        term = make_term(critics.InnerProduct(), "same_image")
        found = float(NEGATIVES["same_image"].value(term, *map(tf.constant, (x, y))))
        values = [
            u[j, j] - logsumexp(u[j]) + math.log(5)
            for u in (x[n] @ y[n].T for n in range(3))
            for j in range(5)
        ]
        assert found == pytest.approx(np.mean(values), abs=1e-5)

    def test_maps_meet_at_equal_locations(self):
        rng = np.random.default_rng(2)
        x, y = (rng.normal(size=(3, 2, 2, 4)).astype(np.float32) for _ in "xy")
        scores = critics.Bilinear()
        found = scores((x, y)).numpy()
        kernel = scores.kernel.numpy()
        for n, m, r, c in itertools.product(range(3), range(3), range(2), range(2)):
            expected = x[n, r, c] @ (y[m, r, c] @ kernel)
            assert found[2 * r + c, n, m] == pytest.approx(expected, abs=1e-4)


class TestMemory:
    @pytest.fixture
    def bank(self):
        bank = MemoryBank(images=20, negatives=8)
        bank.build({"x": 4, "y": 4})
        return bank

    def test_remembers_a_moving_average_of_unit_vectors(self, bank):
        index = tf.constant([5, 2], tf.int64)
        first = np.array([[0, 2.0, 0, 0], [0, 0, 0, 4.0]], np.float32)
        bank.remember({"x": tf.constant(first)}, index)
        np.testing.assert_allclose(bank.codes_x.numpy()[[5, 2]], np.eye(4)[[1, 3]])
        second = np.array([[3.0, 0, 0, 0], [0, 0, 2.0, 0]], np.float32)
        bank.remember({"x": tf.constant(second)}, index)
        expected = (np.eye(4)[[1, 3]] + np.eye(4)[[0, 2]]) / math.sqrt(2.0)
        np.testing.assert_allclose(bank.codes_x.numpy()[[5, 2]], expected, atol=1e-6)
        others = np.setdiff1d(np.arange(20), [5, 2])
        assert (bank.codes_x.numpy()[others] == 0.0).all()
        np.testing.assert_array_equal(np.flatnonzero(bank.seen.numpy()), [2, 5])

    def test_ranks_against_what_was_drawn_and_seen_and_never_itself(self, bank):
        rng = np.random.default_rng(0)
        x, y = (tf.constant(rng.normal(size=(3, 4)), tf.float32) for _ in "xy")
        stored = rng.normal(size=(2, 12, 4)).astype(np.float32)
        bank.remember(dict(zip("xy", stored, strict=True)), tf.range(12))
        critic = critics.Cosine(temperature=0.5)
        seed = tf.constant([1, 7], tf.int64)
        drawn = tf.random.stateless_uniform([8], seed, maxval=20, dtype=tf.int64)
        assert drawn.numpy().max() >= 12  # some were never seen
        seen = [int(k) for k in drawn if k < 12]
        index = np.array([seen[0], 19, seen[1]])
        found = float(bank.value(critic, x, y, ("x", "y"), tf.constant(index), seed))
        arrays = [v.numpy() for v in (x, y)]
        hx, hy = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in arrays)
        values = []
        for own, other, far in ((hx, hy, bank.codes_y), (hy, hx, bank.codes_x)):
            for i in range(3):
                kept = [k for k in seen if k != index[i]]
                negatives = far.numpy()[kept] @ own[i] / 0.5
                # Of the pair too what is stored, if the image was seen.
                pair = other[i] if index[i] == 19 else far.numpy()[index[i]]
                u = [own[i] @ pair / 0.5, *negatives]
                values.append(u[0] - logsumexp(u) + math.log(len(u)))
        assert found == pytest.approx(np.mean(values), abs=1e-4)

    def test_the_normalizer_follows_the_steps(self):
        """The public program sets Z once, by the first batch."""
        bank = MemoryBank(images=20, negatives=8, loss="nce")
        bank.build({"x": 4, "y": 4})
        critic = critics.Cosine(temperature=1.0)
        x = tf.constant(np.random.default_rng(0).normal(size=(3, 4)), tf.float32)
        index, found = tf.constant([0, 1, 2]), []
        stored = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)
        bank.remember({"x": stored, "y": stored}, tf.range(20))
        for step in range(3):
            seed = tf.constant([0, step], tf.int64)
            bank.value(critic, x, x, ("x", "y"), index, seed)
            found.append(float(bank.normalizer))
        assert len(set(found)) == 3
        # images * E e^cos of random directions, within e^-1 .. e.
        assert math.log(20) - 1 < found[0] < math.log(20) + 1

    def test_a_memory_needs_terms_that_use_it(self):
        encoder = encoders.build_mlp((4,), (4, 4, 1), 3)
        term = make_term(critics.Cosine())
        with pytest.raises(ValueError, match="a memory goes with"):
            InfoMax(encoder, [term], memory=MemoryBank(10))


def build(**options):
    shared = dict(objective="multiview", views="halves", encoder="mlp", steps=4)
    return Config(**{**shared, "batch_size": 8, **options})


class TestExperiment:
    @pytest.mark.parametrize(
        "options",
        [
            dict(),
            dict(view_encoders="shared", ema=0.9),
            dict(view_critic="cosine", negatives="memory", memory_negatives=16),
            dict(negatives="hard", hard_negatives=3),
            dict(negatives="shared_context"),
            dict(views="quadrants", view_graph="full", bound="nwj", target=1.0),
            dict(views="color", other_encoder="half_convnet", gamma=0.1),
        ],
    )
    def test_saved_and_loaded_it_encodes_whole_images(self, options, tmp_path):
        images = np.random.default_rng(0).integers(0, 256, (16, 16, 16, 3), np.uint8)
        config = build(**options)
        objective = experiment.build_objective(config, (16, 16, 3), 4, images=16)
        batches = make_batches(
            images, 8, 0, 4, view=config.views, with_index=bool(objective.memory)
        )
        objective.fit(batches, verbose=0, shuffle=False)
        objective.save(tmp_path / "o.keras")
        loaded = keras.models.load_model(tmp_path / "o.keras")
        code = objective.encoder(images)["code"]
        np.testing.assert_allclose(loaded.encoder(images)["code"], code, atol=1e-6)
        x = views.VIEWS[config.views](tf.constant(images), (), SEED)["x"]
        networks = objective.networks
        inner = networks.get("average", networks["encoder"])
        np.testing.assert_allclose(inner(x)["code"], code, atol=1e-6)
        pairs = {"quadrants": 6}.get(config.views, 1)
        assert len(objective.terms) == pairs
        assert sum(term.weight for term in objective.terms) == pytest.approx(1.0)

    def test_shared_encoders_are_one_and_separate_ones_start_apart(self):
        shared = experiment.build_objective(build(view_encoders="shared"), (8, 8, 1), 4)
        separate = experiment.build_objective(build(), (8, 8, 1), 4)
        assert "encoder_y" not in shared.networks
        x, y = separate.networks["encoder"], separate.networks["encoder_y"]
        assert np.abs(x.get_weights()[0] - y.get_weights()[0]).max() > 0

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (dict(views="one"), "--views=augment,crops"),
            (dict(bound="nwj", negatives="hard"), "info_nce"),
            (dict(batch_size=9, negatives="derangement"), "even --batch_size"),
            (dict(negatives="memory"), "--view_critic=cosine"),
            (dict(hardness=2.0), "--negatives=weighted"),
            (dict(temperature=0.1), "--view_critic=cosine"),
            (dict(critic_units=10), "bilinear"),
            (dict(other_encoder="mpl"), "Did you mean mlp"),
            (dict(other_encoder="mlp", view_encoders="shared"), "separate"),
            (dict(views="color", view_encoders="shared"), "channels"),
            (dict(views="pairs"), "--pair_dataset"),
            (dict(negatives="same_image"), "all,derangement"),
            (dict(alpha=1.0), "--alpha=.* changes nothing"),
            (dict(encoder="skip_mlp", code_size=32), "--code_size"),
            (dict(view_graph="full"), "--views=quadrants"),
        ],
    )
    def test_what_does_not_go_together_is_refused(self, options, words):
        with pytest.raises(ConfigError, match=words):
            build().replace(**options)


class TestRefused:
    """What only the built encoders and terms can tell."""

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (dict(target=2.1), "at most 2.08 nats"),
            (dict(target=0.7, negatives="derangement"), "at most 0.69"),
            (
                dict(
                    encoder="skip_mlp", other_encoder="mlp", view_critic="inner_product"
                ),
                "x 128, y 64",
            ),
            (dict(encoder="basic28x28"), "half_convnet, mlp"),
        ],
    )
    def test_what_cannot_work(self, options, words):
        with pytest.raises(ConfigError, match=words):
            experiment.build_objective(build(**options), (16, 16, 1), 4)

    def test_a_target_below_the_ceiling_is_taken(self):
        objective = experiment.build_objective(build(target=2.0), (16, 16, 1), 4)
        assert objective.terms[0].target == 2.0


def train_on(objective, draw, steps: int, tail: int) -> list[float]:
    """Values of the last steps of training on pairs of `draw(seed)`."""
    step = tf.function(objective.train_step)
    found = []
    for number in range(steps):
        objective.reset_metrics()
        values = step(draw(number))
        if number >= steps - tail:
            found.append({k: float(v) for k, v in values.items()})
    return found


class TestClosedForms:
    def test_cpc_on_an_autoregressive_sequence(self):
        """I(z_t; z_(t+k)) = -1/2 log(1 - a^(2k)); past adds nothing (AR(1))."""
        a, length, ahead, size = 0.8, 10, 2, 128
        keras.utils.set_random_seed(0)
        encoder = encoders.build_cpc_sequence(length, 1, 16, 32, (32,), ahead)
        terms = [
            Term(
                f"ahead_{k}",
                f"x.future_{k}",
                f"x.past_{k}",
                critics.Bilinear(),
                "info_nce",
                options=(("candidates", "x"),),
            )
            for k in encoders.predicted_distances(encoder)
        ]
        objective = InfoMax(encoder, terms)
        objective.compile(FusedAdam(3e-3))

        def draw(seed):
            rng = np.random.default_rng(seed)
            noise = rng.normal(size=(length, size)) * math.sqrt(1.0 - a * a)
            z = [rng.normal(size=size)]
            for t in range(1, length):
                z.append(a * z[-1] + noise[t])
            return {"x": tf.constant(np.stack(z, 1)[..., None], tf.float32)}

        rows = train_on(objective, draw, 500, 100)
        for k in (1, 2):
            truth = -0.5 * math.log(1.0 - a ** (2 * k))
            found = np.mean([row[f"ahead_{k}"] for row in rows])
            assert found == pytest.approx(truth, rel=0.12), k

    def test_cmc_on_gaussian_pairs(self):
        """InfoNCE of two encoders on the sphere comes near -1/2 log(1 - rho^2)."""
        rho, size = 0.9, 256
        keras.utils.set_random_seed(0)

        def make_encoder():
            inputs = keras.Input((1,))
            h = keras.layers.Dense(64, "relu")(inputs)
            h = keras.layers.Dense(64, "relu")(h)
            return keras.Model(inputs, {"code": keras.layers.Dense(16)(h)})

        term = make_term(
            critics.Cosine(temperature=0.1), options=(("candidates", "both"),)
        )
        objective = InfoMax(make_encoder(), [term], view_encoders={"y": make_encoder()})
        objective.compile(FusedAdam(2e-3))

        def draw(seed):
            rng = np.random.default_rng(seed)
            x, e = rng.normal(size=(2, size, 1))
            y = rho * x + math.sqrt(1 - rho * rho) * e
            return {k: tf.constant(v, tf.float32) for k, v in (("x", x), ("y", y))}

        rows = train_on(objective, draw, 500, 100)
        found = np.mean([row["t"] for row in rows])
        truth = -0.5 * math.log(1 - rho * rho)
        assert found == pytest.approx(truth, rel=0.1)

    def test_the_same_view_twice_is_known_to_the_ceiling(self):
        scores = 50.0 * tf.eye(16)
        assert float(bounds.info_nce(scores)) == pytest.approx(math.log(16), abs=1e-4)


class TestCpcEncoder:
    def test_overlapping_patches_are_not_predicted_from_one_another(self):
        encoder = encoders.build_cpc((32, 32, 3), 8)
        assert encoder.output["conv"].shape == (None, 7, 7, 8)
        assert encoders.predicted_distances(encoder) == [2, 3, 4, 5, 6]
        assert encoder.output["future_2"].shape[1:] == (5, 7, 8)
        apart = encoders.build_cpc((32, 32, 3), 8, overlap=False)
        assert encoders.predicted_distances(apart) == [1, 2, 3]

    def test_contexts_do_not_see_what_they_predict(self):
        """Changing the lower part changes no context of the rows above it."""
        encoder = encoders.build_cpc((32, 32, 3), 8)
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (2, 32, 32, 3), np.uint8)
        changed = images.copy()
        changed[:, 16:] = 255 - changed[:, 16:]
        one, other = (encoder(i) for i in (images, changed))
        # Rows 0 .. 2 of the grid lie in pixels 0 .. 15.
        np.testing.assert_allclose(
            one["past_4"][:, :3], other["past_4"][:, :3], atol=1e-6
        )
        difference = np.abs(one["future_4"] - other["future_4"]).max(axis=(0, 2, 3))
        assert (difference > 1e-3).all()

    def test_too_small_images_are_refused(self):
        with pytest.raises(ValueError, match="at least 16"):
            encoders.build_cpc((12, 12, 3))


class TestCommand:
    def test_pairs_of_arrays_train_and_resume(self, tmp_path):
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (120, 16, 16, 1), np.uint8)
        np.save(tmp_path / "a.npy", images)
        np.save(tmp_path / "b.npy", 255 - images)
        arguments = [
            "--objective=multiview", "--views=pairs", "--encoder=mlp",
            f"--dataset=arrays:{tmp_path}/a.npy", "--batch_size=16",
            f"--pair_dataset=arrays:{tmp_path}/b.npy", "--steps=6", "--progress=none",
            f"--workdir={tmp_path}/run", "--checkpoint_every=2",
        ]  # fmt: skip
        result = run("train", *arguments)
        assert result.returncode == 0, result.stderr[-2000:]
        assert "mi/views" in result.stdout
        results = json.loads((tmp_path / "run" / "results.json").read_text())
        assert "mi/views" in str(results)
        encoder = keras.models.load_model(tmp_path / "run" / "encoder.keras")
        assert encoder.input.shape == (None, 16, 16, 1)

    def test_mistakes_get_one_line(self, tmp_path):
        result = run(
            "train", "--objective=multiview", "--views=halfs", f"--workdir={tmp_path}"
        )
        assert_refused(result, "Did you mean halves")
