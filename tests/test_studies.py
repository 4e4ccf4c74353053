"""Studies of the critique: pairing of halves, verdicts, resuming, the command."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from commands import assert_refused, run

from tf_infomax import encoders, reproduce
from tf_infomax.config import ConfigError
from tf_infomax.data.sources import Splits, read
from tf_infomax.studies import adversarial, claims, halves, invariance, negatives
from tf_infomax.studies.kept import Unfinished
from tf_infomax.studies.outcome import Effect, Runs, Verdict


@pytest.fixture
def noise():
    """Images of nothing, with labels that mean nothing."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (256, 10, 8, 1), np.uint8)
    return halves.Images(
        "noise", images, np.arange(256) % 4, images[:128], np.arange(128) % 4
    )


class TestReadme:
    def test_the_third_experiment_of_the_paper_in_forty_lines(self, capsys):
        text = (Path(__file__).parent.parent / "README.md").read_text()
        blocks = re.findall(r"```python\n(.*?)```", text, flags=re.S)
        (code,) = [block for block in blocks if "third experiment" in block]
        assert len(code.splitlines()) < 40
        shorter = code.replace("STEPS = 4000", "STEPS = 10")
        shorter = shorter.replace('read("fashion")', "DATA")
        assert shorter.count("DATA") == 1
        assert "STEPS = 10" in shorter
        whole = read("fashion")
        some = np.arange(400)
        small = Splits(whole.train.select(some), whole.test.select(some))
        exec(compile(shorter, "README.md", "exec"), {"DATA": small})
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 6
        assert all("I_EST" in line and "accuracy" in line for line in lines)


class TestOutcome:
    def test_interval_is_student_s(self):
        effect = Effect("gain", (1.0, 2.0, 3.0), "nats")
        low, high = effect.interval
        assert effect.mean == pytest.approx(2.0)
        assert high - 2.0 == pytest.approx(4.302653 / math.sqrt(3))
        assert low == pytest.approx(2.0 - 4.302653 / math.sqrt(3))
        assert effect.holds is None
        assert Effect("gain", (2.0, 2.1, 2.2), "").holds is True
        assert Effect("gain", (2.0, 2.1, 2.2), "", expected=-1).holds is False
        assert Effect("gain", (2.0,), "").holds is None  # one seed shows nothing

    def test_verdict_needs_every_effect(self):
        good = Effect("a", (1.0, 1.1, 0.9), "")
        unclear = Effect("b", (1.0, -1.0, 0.0), "")
        bad = Effect("c", (-1.0, -1.1, -0.9), "")
        word = lambda *effects: Verdict("claim.", "curves", effects).word
        assert word(good, good) == "reproduced"
        assert word(good, unclear) == "undecided"
        assert word(good, unclear, bad) == "contradicted"

    def test_bounds_below_zero_count_as_zero(self, tmp_path):
        """A rise that ends below 0 is no fall."""

        def train(arm, seed, unfinished):
            return {"step": [0, 1], "b": [-15.0 + seed, -2.0 + 4.0 * seed]}

        runs = Runs(tmp_path, {})
        runs.collect(["a"], [0, 1, 2], train, str)
        (effect,) = claims._rises(runs, ["a"], {"b": ("bound", "nats")})
        assert effect.values == (0.0, 2.0, 6.0)

    def test_a_damaged_file_of_a_run_is_named(self, tmp_path):
        (tmp_path / "a-0.json").write_text('{"settings": {')
        with pytest.raises(ConfigError, match=r"a-0\.json is damaged.*remove it"):
            Runs(tmp_path, {}).collect(["a"], [0], None, str)

    def test_finished_runs_are_not_repeated(self, tmp_path):
        calls = []

        def train(arm, seed, unfinished):
            calls.append((arm, seed))
            return {"step": [0, 1], "value": [0.0, seed + 1.0]}

        Runs(tmp_path, {"steps": 1}).collect(["a", "b"], [0], train, str)
        runs = Runs(tmp_path, {"steps": 1})
        runs.collect(["a", "b"], [0, 1], train, str)
        assert calls == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
        assert runs.last("b", "value") == [1.0, 2.0]
        assert runs.first("b", "value") == [0.0, 0.0]
        with pytest.raises(ConfigError, match=r"other options .steps is 2, there 1"):
            Runs(tmp_path, {"steps": 2}).collect(["a"], [0], train, str)


class KilledError(Exception):
    pass


def killed_and_resumed(train, path, parts: int):
    """Curves of a run that dies right after its first part is kept, and of the rest."""

    def die(share):
        if calls.append(share) or len(calls) > 1:
            raise KilledError

    calls: list[float] = []
    with pytest.raises(KilledError):
        train(Unfinished(path, {"a": 1}, die))
    kept_steps = []
    curves = train(Unfinished(path, {"a": 1}, kept_steps.append))
    assert len(kept_steps) == parts - 1  # the first is not done again
    return curves


class TestUnfinished:
    def check(self, train, path, parts):
        whole = train(Unfinished())
        resumed = killed_and_resumed(train, path, parts)
        assert resumed.keys() == whole.keys()
        for name, values in whole.items():
            np.testing.assert_allclose(resumed[name], values, rtol=1e-5, err_msg=name)

    def test_a_run_on_halves_goes_on_where_it_was_killed(self, noise, tmp_path):
        arm, size = halves.Arm("mlp", "bilinear", "nwj"), halves.Size(6, 4, images=200)
        train = lambda unfinished: halves.train(arm, size, noise, 0, unfinished)
        self.check(train, tmp_path / "run.npz", 3)

    def test_a_game_goes_on_where_it_was_killed(self, noise, tmp_path):
        size = adversarial.Size(6, 4, 2, 16, 200, warm_up=10, turns=2, rate=1e-2)
        train = lambda unfinished: adversarial.train(size, noise, 0, unfinished)
        self.check(train, tmp_path / "run.npz", 3)

    def test_negatives_go_on_where_they_were_killed(self, tmp_path):
        train = lambda unfinished: negatives.train("nwj, shared", 9, 3, 0, unfinished)
        self.check(train, tmp_path / "run.npz", 3)

    def test_other_settings_are_refused(self, tmp_path):
        path = tmp_path / "run.npz"
        Unfinished(path, {"steps": (1, 2)}).save({"step": [1]}, 0.5)
        assert Unfinished(path, {"steps": (1, 2)}).restore() == {"step": [1]}
        with pytest.raises(ConfigError, match=r"other options.*--workdir"):
            Unfinished(path, {"steps": (1, 3)}).restore()

    def test_a_damaged_file_is_named(self, tmp_path):
        path = tmp_path / "run.npz"
        path.write_bytes(b"PK no archive")
        with pytest.raises(ConfigError, match=r"run\.npz cannot be read"):
            Unfinished(path, {}).restore()

    def test_finished_runs_leave_no_state(self, tmp_path):
        def train(arm, seed, unfinished):
            unfinished.save({"step": [1]}, 1.0)
            return {"step": [1]}

        runs = Runs(tmp_path / "runs", {})
        runs.collect(["a"], [0], train, str)
        assert [path.name for path in runs.folder.iterdir()] == ["a-0.json"]
        assert runs.seconds >= 0.0


class TestHalves:
    def test_halves_are_the_upper_and_the_lower(self):
        images = np.arange(2 * 5 * 3).reshape(2, 5, 3, 1)
        upper, lower = halves.split_halves(images)
        np.testing.assert_array_equal(upper, images[:, :2])
        np.testing.assert_array_equal(lower, images[:, 3:])

    def test_batches_pair_halves_of_one_image(self, noise):
        images = noise.train.copy()
        images[:, :5] = np.arange(256)[:, None, None, None]
        images[:, 5:] = np.arange(256)[:, None, None, None]
        for batch in halves.make_batches(images, 0, 2, seed=3):
            np.testing.assert_array_equal(batch["x"], batch["y"])
            assert len(np.unique(batch["x"][:, 0, 0, 0])) == halves.BATCH

    def test_a_bijective_run_is_read_before_and_after(self, noise):
        size = halves.Size(3, 2, couplings=2, width=8, images=200)
        arm = halves.Arm("real_nvp", "bilinear", "nwj")
        curves = halves.train(arm, size, noise, seed=0)
        assert curves["step"] == [0, 3]
        assert curves["round_trip"][0] < 1e-5
        for name in ("bound/test", "bound/train", "accuracy"):
            assert len(curves[name]) == 2
            assert np.isfinite(curves[name]).all()
        again = halves.train(arm, size, noise, seed=0)
        np.testing.assert_allclose(again["bound/test"], curves["bound/test"], rtol=1e-4)

    def test_critics_have_the_published_widths(self):
        shape = (14, 28, 1)
        size = halves.Size(1, 2)
        counts = {}
        for critic in halves.CRITICS:
            arm = halves.Arm("mlp", critic, "nwj")
            objective = halves.build(arm, size, shape, 0)
            weights = objective.critics[0].trainable_variables
            counts[critic] = sum(int(np.prod(w.shape)) for w in weights)
        assert counts["bilinear"] == 100 * 100  # without a bias
        assert counts["separable"] == 2 * 2 * (100 * 100 + 100)
        assert counts["concatenated"] == 200 * 200 + 200 + 200 + 1


class TestNoise:
    def test_both_halves_have_the_same_draw(self):
        images = np.zeros((256, 8, 6, 1), np.uint8)
        batch = next(iter(halves.make_batches(images, 3, 4, 0, noise=0.05)))
        x, y = batch["x"].numpy(), batch["y"].numpy()
        np.testing.assert_array_equal(x, y)
        assert x.std() == pytest.approx(0.05, rel=0.1)
        other = next(iter(halves.make_batches(images, 4, 5, 0, noise=0.05)))["x"]
        assert np.abs(other - x).max() > 0.01

    def test_jacobian_readings_start_at_the_identity(self):
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (256, 8, 6, 1), np.uint8)
        labels = np.arange(256) % 4
        data = halves.Images("noise", images, labels, images, labels)
        arm = halves.Arm("skip_mlp", "bilinear", "info_nce", noise=0.05, jacobian=True)
        curves = halves.train(arm, halves.Size(2, 2, images=200), data, 0)
        first = [curves[f"log_condition/{p}"][0] for p in halves.PERCENTILES]
        assert 0.0 < first[0] <= first[-1] < 0.05
        assert first == sorted(first)


class TestAdversarial:
    @pytest.fixture
    def data(self):
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 3, 600)
        images = rng.integers(0, 60, (600, 8, 6, 1), np.uint8)
        images[:, :4] += (70 * labels[:, None, None, None]).astype(np.uint8)
        return halves.Images("bright", images, labels, images, labels)

    def test_each_player_lowers_its_own_loss_by_its_own_weights(self, data):
        upper, _ = halves.split_halves(data.train)
        encoder = encoders.strip_scaling(
            encoders.build_real_nvp(
                upper.shape[1:], couplings=2, widths=(32,), scale="softplus"
            )
        )
        game = adversarial.Game(encoder, upper, data.labels, 1e-2, 5, 0)
        read = lambda part: [w.copy() for w in part.get_weights()]
        start = read(encoder)
        assert float(game.warm_up(tf.constant(300))) < 0.95  # log 3 is 1.10
        for before, after in zip(start, read(encoder), strict=True):
            np.testing.assert_array_equal(before, after)
        taught = read(game.classifier)
        losses = [
            float(game.teach_encoder(tf.constant(k, tf.int64))) for k in range(40)
        ]
        assert losses[-1] < losses[0] - 0.05
        assert losses[-1] > math.log(3.0) - 1e-3  # of uniform labels: the least
        for before, after in zip(taught, read(game.classifier), strict=True):
            np.testing.assert_array_equal(before, after)

    def test_curves(self, data):
        size = adversarial.Size(6, 3, 2, 16, 600, warm_up=10, turns=2)
        curves = adversarial.train(size, data, 0)
        assert curves["step"] == [0, 3, 6]
        assert curves["accuracy"][0] > 0.9
        assert max(curves["round_trip/float64"]) < 1e-9


class TestInvariance:
    def test_winding_is_a_bijection_and_not_linear(self):
        x = np.random.default_rng(0).normal(size=(500, 2))
        y = invariance.wind(x)
        np.testing.assert_allclose(invariance.wind(y, -invariance.SPEED), x)
        ones = np.concatenate([x, np.ones((500, 1))], axis=1)
        left = np.linalg.lstsq(ones, y, rcond=None)[1].sum()
        assert left / np.square(y - y.mean(axis=0)).sum() > 0.01
        # Neither folds nor meets itself: neighbours stay apart.
        assert len(np.unique(y.round(9), axis=0)) == 500

    def test_linear_information_changes_and_ksg_hardly(self):
        rng = np.random.default_rng(1)
        x = rng.normal(size=(3000, 2))
        y = 0.9 * x + np.sqrt(1 - 0.81) * rng.normal(size=(3000, 2))
        bent = invariance.wind(x), invariance.wind(y)
        read = lambda name, pair: float(invariance.METHODS[name](*pair, 0, 100).value)
        change = {
            name: abs(read(name, bent) - read(name, (x, y)))
            for name in ("ksg", "linear V-information")
        }
        assert change["ksg"] < 0.15
        assert change["linear V-information"] > 2 * change["ksg"]


class TestNegatives:
    def test_negatives_of_a_shared_batch_are_correlated(self):
        draws = [negatives._draw(tf.constant([1, k]), False) for k in range(1000)]
        x, y = (np.stack([d[side].numpy()[:, 0] for d in draws]) for side in (0, 1))
        own = np.corrcoef(x[:, 0], y[:, 0])[0, 1]
        cross = np.corrcoef(x[:, 0], y[:, 1])[0, 1]
        assert own == pytest.approx(0.2, abs=0.1)
        assert cross == pytest.approx(-0.25, abs=0.1)
        x, y = negatives._draw(tf.constant([1, 0]), True)
        assert x.shape == y.shape == (negatives.BATCH, 1)

    def test_the_truth(self):
        assert pytest.approx(0.020411, abs=1e-6) == negatives.TRUTH


class TestCommand:
    def test_smoke(self, tmp_path):
        arguments = ["--study=negatives", "--scale=smoke", "--seeds=2"]
        result = run("reproduce", *arguments, f"--workdir={tmp_path}")
        assert result.returncode == 0, result.stderr[-2000:]
        assert "too short to show anything" in result.stdout
        assert "Closed forms" in result.stdout
        assert "info_nce: shared - iid" in result.stdout
        content = json.loads((tmp_path / "results.json").read_text())
        assert content["verdict"] in ("reproduced", "undecided", "contradicted")
        assert len(content["curves"]) == 2 * len(negatives.ARMS)
        assert (tmp_path / "figure.png").stat().st_size > 5000

    def test_images_fewer_than_a_batch_are_refused(self, tmp_path):
        images, labels = np.zeros((300, 28, 28), np.uint8), np.arange(300) % 10
        few = {"x_test": images[:100], "y_test": labels[:100]}
        np.savez(tmp_path / "few.npz", x_train=images, y_train=labels, **few)
        options = reproduce.ReproduceOptions(
            study="critics", workdir="a", dataset=f"arrays:{tmp_path / 'few.npz'}"
        )
        with pytest.raises(ConfigError, match=r"100 test images.*batch of 128"):
            reproduce.read_images(options)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ([], ["--study is needed", *claims.STUDIES]),
            (["--study=critic", "--workdir=a"], ["Did you mean critics"]),
            (["--study=critics"], ["--workdir"]),
            (["--study=critics", "--workdir=a", "--scale=gpu"], ["smoke, cpu, paper"]),
        ],
    )
    def test_mistakes_get_one_line(self, arguments, words):
        result = run("reproduce", *arguments)
        assert_refused(result, *words)
        assert result.cpu_seconds < 1.5
