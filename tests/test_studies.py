"""Studies of the critique: pairing of halves, verdicts, resuming, the command."""

import fcntl
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from commands import assert_refused, run, run_alone

from tf_infomax import encoders, reproduce
from tf_infomax.data.sources import Splits, read
from tf_infomax.options import ConfigError
from tf_infomax.studies import (
    adversarial,
    dim_tables,
    halves,
    invariance,
    negatives,
    protocol,
)
from tf_infomax.studies.kept import Unfinished
from tf_infomax.studies.outcome import Effect, Finding, judge, measure
from tf_infomax.studies.rules import (
    Claim,
    Plan,
    Reading,
    Rule,
    beyond,
    compare,
    rise,
    within,
)
from tf_infomax.studies.runs import Runs


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
        page = Path(__file__).parent.parent / "docs" / "library.md"
        text = page.read_text()
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
        exec(compile(shorter, str(page), "exec"), {"DATA": small})
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 6
        assert all("I_EST" in line and "accuracy" in line for line in lines)


def effect(*values, **region):
    rule = Rule("gain", Reading("a", "b"), **(region or {"low": 0.0}))
    return Effect(rule, values)


class TestOutcome:
    def test_interval_is_student_s(self):
        found = effect(1.0, 2.0, 3.0)
        low, high = found.interval
        assert found.mean == pytest.approx(2.0)
        assert high - 2.0 == pytest.approx(4.302653 / math.sqrt(3))
        assert low == pytest.approx(2.0 - 4.302653 / math.sqrt(3))
        assert found.holds is None
        assert effect(2.0, 2.1, 2.2).holds is True
        assert effect(2.0, 2.1, 2.2, high=0.0).holds is False
        assert effect(2.0).holds is None  # one seed shows nothing

    # The intervals are 0.30 -+ 0.06, -0.30 -+ 0.06 and 0.00 -+ 0.06.
    @pytest.mark.parametrize(
        ("region", "words"),
        [
            ({"low": 0.0}, (True, False, None)),
            ({"high": 0.0}, (False, True, None)),
            ({"low": 0.2}, (True, False, False)),
            ({"low": 0.3}, (None, False, False)),
            ({"high": -0.1}, (False, True, False)),
            (within(0.1), (False, False, True)),
            (within(0.4), (True, True, True)),
            (within(0.3), (None, None, True)),
            (beyond(0.1), (True, True, False)),
            (beyond(0.05), (True, True, None)),
        ],
    )
    def test_a_rule_holds_where_the_whole_interval_lies_in_its_region(
        self, region, words
    ):
        spread = np.array([-0.0242, 0.0, 0.0242])
        found = tuple(
            effect(*(middle + spread), **region).holds for middle in (0.3, -0.3, 0.0)
        )
        assert found == words

    def test_a_finding_needs_every_effect_and_every_control(self):
        good, bad = effect(1.0, 1.1, 0.9), effect(-1.0, -1.1, -0.9)
        unclear = effect(1.0, -1.0, 0.0)

        def word(*effects, controls="passed"):
            return Finding(Claim("claim.", "", ()), effects, controls).word

        assert word(good, good) == "reproduced"
        assert word(good, unclear) == "undecided"
        assert word(good, unclear, bad) == "contradicted"
        assert word(good, controls="undecided") == "undecided"
        assert word(good, controls="failed") == "undecided"
        assert word(bad, controls="undecided") == "contradicted"
        assert word(bad, controls="failed") == "undecided"

    @pytest.mark.parametrize("name", [*protocol.STUDIES, *dim_tables.TABLES])
    def test_a_verdict_is_short(self, name):
        for claim in (protocol.STUDIES | dim_tables.TABLES)[name].claims:
            assert len(Finding(claim, (), judged=False).sentence) <= 200

    def test_claims_of_a_study_have_words_of_their_own(self, tmp_path):
        a, b = Reading("a", "v"), Reading("b", "v")
        sentences = [
            Claim("More.", "p", (Rule("a - b", a, b, low=0.0),)),
            Claim("Less.", "p", (Rule("a - b", a, b, high=0.0),)),
        ]
        control = Rule("b", b, 1.0, **within(0.5))
        plan = Plan("1", "none", {}, {}, tuple(sentences), (control,), "as it came")
        values = {"a": (2.0, 2.1, 2.2), "b": (1.0, 1.1, 1.0)}
        runs = Runs(tmp_path, {})
        runs.collect(
            values, [0, 1, 2], lambda arm, seed, _: {"v": [values[arm][seed]]}, str
        )
        verdict = judge(plan, partial(measure, runs=runs), (0, 1, 2), ())
        assert [finding.word for finding in verdict.findings] == [
            "reproduced",
            "contradicted",
        ]
        assert verdict.word == "reproduced, contradicted"
        assert "More. Reproduced" in str(verdict)
        assert "Less. Contradicted" in str(verdict)
        assert "Controls passed: b: +0.0333" in str(verdict)
        assert "frozen before" in str(verdict)
        other = judge(plan, partial(measure, runs=runs), (0, 1, 2), ("seeds 0, 1, 2",))
        assert "exploratory (seeds 0, 1, 2)" in str(other)
        wrong = judge(
            Plan("1", "none", {}, {}, tuple(sentences), (sentences[1].rules[0],), ""),
            partial(measure, runs=runs),
            (0, 1, 2),
            (),
        )
        assert wrong.word == "undecided"  # of a control that fails

    def test_bounds_below_zero_count_as_zero(self, tmp_path):
        """A rise that ends below 0 is no fall."""

        def train(arm, seed, unfinished):
            return {"step": [0, 1], "b": [-15.0 + seed, -2.0 + 4.0 * seed]}

        runs = Runs(tmp_path, {})
        runs.collect(["a"], [0, 1, 2], train, str)
        found = measure(rise("b", "a", "bound", "nats", floor=0.0), runs)
        assert found.values == (0.0, 2.0, 6.0)
        against = measure(compare("b", "a", 1.5), runs)
        assert against.values == (-3.5, 0.5, 4.5)

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
        assert runs.read(Reading("b", "value", "start")) == [0.0, 0.0]
        with pytest.raises(ConfigError, match=r"other options .steps is 2, there 1"):
            Runs(tmp_path, {"steps": 2}).collect(["a"], [0], train, str)

    def test_processes_of_one_folder_share_its_runs(self, tmp_path):
        """None is made twice, and each has all in the end."""
        code = """if True:
            import os, sys, time
            from pathlib import Path
            from tf_infomax.studies.runs import Runs

            def train(arm, seed, unfinished):
                time.sleep(0.3)
                return {"pid": [os.getpid()]}

            runs = Runs(Path(sys.argv[1]), {})
            runs.collect("abc", [0, 1], train, str)
            print(sorted(runs.found), {c["pid"][0] for c in runs.found.values()})
        """
        both = [
            subprocess.Popen(
                [sys.executable, "-c", code, tmp_path],
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        said = [process.communicate(timeout=60)[0] for process in both]
        assert said[0] == said[1] != ""
        assert str(sorted((a, s) for a in "abc" for s in (0, 1))) in said[0]
        files = sorted(path.name for path in tmp_path.iterdir())
        assert files == [f"{arm}-{seed}.json" for arm in "abc" for seed in (0, 1)]

    def test_a_run_in_hand_is_left_to_its_process(self, tmp_path):
        calls = []

        def other(arm, seed, unfinished):
            return calls.append((arm, seed)) or {"by": [2]}

        def first(arm, seed, unfinished):
            if arm == "a":  # a second process comes in
                Runs(tmp_path, {})._make("b", 0, other, False, (str, 0, 0, 1, 0.0))
                with pytest.raises(TimeoutError):
                    Runs(tmp_path, {}).collect("a", [0], refuse, str)
            return {"by": [1]}

        def refuse(*_):
            raise AssertionError("made twice")

        def wait(file, flags):
            if not flags & fcntl.LOCK_NB:
                raise TimeoutError
            return flock(file, flags)

        flock = fcntl.flock
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fcntl, "flock", wait)
            runs = Runs(tmp_path, {})
            runs.collect("ab", [0], first, str)
        assert calls == [("b", 0)]
        assert (runs.last("a", "by"), runs.last("b", "by")) == ([1], [2])


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
        arm = halves.Arm("mlp", "bilinear", "nwj", widths=(300, 300))
        size = halves.Size(6, 4, images=200)
        train = lambda unfinished: halves.train(arm, size, noise, 0, unfinished)
        self.check(train, tmp_path / "run.npz", 3)

    def test_a_game_goes_on_where_it_was_killed(self, noise, tmp_path):
        size = adversarial.Size(6, 4, 2, 16, 200, warm_up=10, turns=2, rate=1e-2)
        train = lambda unfinished: adversarial.train(
            adversarial.Arm(), size, noise, 0, unfinished
        )
        self.check(train, tmp_path / "run.npz", 3)

    def test_negatives_go_on_where_they_were_killed(self, tmp_path):
        arm, size = negatives.Arm("nwj", "shared"), negatives.Size(9, 3)
        train = lambda unfinished: negatives.train(arm, size, None, 0, unfinished)
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


class TestProtocol:
    def test_rules_are_those_on_record(self):
        """Who changes a rule adds a line to `VERSIONS` that says why."""
        assert protocol.digest() == protocol.VERSIONS[-1][1]
        digests = [found for _, found, _ in protocol.VERSIONS]
        assert len(set(digests)) == len(digests)
        assert all(why for _, _, why in protocol.VERSIONS)

    @pytest.mark.parametrize(
        "change",
        [
            lambda plan: {"history": plan.history + "."},
            lambda plan: {"data": ()},
            lambda plan: {"controls": plan.controls[1:]},
            lambda plan: {"arms": plan.arms | {"more": halves.Arm("mlp")}},
            lambda plan: {"sizes": plan.sizes | {"cpu": halves.Size(4001, 6)}},
            lambda plan: {
                "claims": (
                    replace(
                        plan.claims[0],
                        rules=(
                            replace(plan.claims[0].rules[0], low=1e-9),
                            *plan.claims[0].rules[1:],
                        ),
                    ),
                )
            },
        ],
    )
    def test_every_part_of_a_plan_is_on_record(self, change, monkeypatch):
        plan, before = protocol.STUDIES["critics"], protocol.digest()
        monkeypatch.setitem(protocol.STUDIES, "critics", replace(plan, **change(plan)))
        assert protocol.digest() != before
        (reason,) = protocol.why_exploratory(
            "critics", "cpu", (100, 101, 102), "digits"
        )
        assert "not those on record" in reason

    @pytest.mark.parametrize("study", protocol.STUDIES)
    def test_every_study_has_rules_that_can_be_read(self, study):
        plan = protocol.STUDIES[study]
        rules = [*plan.controls, *(r for claim in plan.claims for r in claim.rules)]
        readings = [part for rule in rules for part in (rule.of, rule.less)]
        arms = {part.arm for part in readings if isinstance(part, Reading)}
        # None is trained for nothing; pixels are at least the line across a figure.
        assert arms | {halves.PIXELS} == {*plan.arms, halves.PIXELS}
        shuffled = [arm for arm in arms if "shuffled" in arm]
        assert any(rule.of.arm in shuffled for rule in plan.controls)
        assert plan.history
        assert all(r.low is not None or r.high is not None for r in rules)
        assert len({rule.what for rule in rules}) == len({*rules})

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            (("critics", "cpu", (100, 101, 102), "fashion"), []),
            (("critics", "cpu", (100, 101, 102), "digits"), []),
            (("negatives", "cpu", range(100, 103), None), []),
            (("bijective", "cpu", (100, 101, 102), "digits"), ["data digits"]),
            (("critics", "cpu", (100, 101, 102), "arrays:a.npz"), ["arrays:a.npz"]),
            (("critics", "cpu", (0, 1, 2), "fashion"), ["seeds 0, 1, 2"]),
            (("critics", "cpu", range(100, 105), "fashion"), ["103, 104"]),
            (("critics", "paper", (100,), "fashion"), ["scale paper", "seeds 100"]),
        ],
    )
    def test_other_settings_are_exploratory(self, settings, words):
        reasons = protocol.why_exploratory(*settings)
        assert len(reasons) == len(words)
        for reason, word in zip(reasons, words, strict=True):
            assert word in reason

    def test_data_are_known_by_what_they_are(self, noise):
        """A path says nothing of what is in a file."""
        fashion = reproduce.read_images(
            reproduce.ReproduceOptions(study="critics", workdir="a")
        )
        assert fashion.name == "fashion"
        assert fashion.digest == protocol.DATA["fashion"]
        other = replace(fashion, labels=fashion.labels[::-1])
        assert protocol.name_data("fashion.npz", other.digest) == "fashion.npz"
        assert noise.digest == replace(noise, name="other").digest
        turned = replace(noise, train=noise.train.reshape(256, 8, 10, 1))
        assert turned.digest != noise.digest

    def test_networks_of_a_pair_are_of_one_capacity(self):
        """The second claim of `encoders` names the ratio of parameters."""
        shape, arms = (14, 28, 1), protocol.STUDIES["encoders"].arms
        count = lambda name: halves.ENCODERS[arms[name].encoder](
            shape, arms[name], None, 0
        ).count_params()
        small = count("small ConvNet, t = 2")
        assert count("small MLP, t = 2") == pytest.approx(small, rel=0.02)
        assert count("wide MLP, t = 2") / small == pytest.approx(25, abs=1)
        assert count("MLP, t = 2") == pytest.approx(count("ConvNet, t = 2"), rel=0.1)


class TestShuffledPairs:
    def test_halves_are_drawn_independently(self):
        images = np.arange(4096, dtype=np.uint16).view(np.uint8).reshape(-1, 2)
        images = np.repeat(images[:, None, None, :], 4, axis=1)  # [n, 4, 1, 2]
        number = lambda half: (np.round(half.numpy()[:, 0, 0] * 255) @ [1, 256]).astype(
            int
        )
        x, y = [], []
        for batch in halves.make_batches(images, 0, 32, seed=3, shuffled=True):
            x.append(number(batch["x"]))
            y.append(number(batch["y"]))
        x, y = np.concatenate(x), np.concatenate(y)
        # Each image once on each side, of its own partner as often as by chance: the
        # fixed points of a random permutation are Poisson of mean 1.
        np.testing.assert_array_equal(np.sort(x), np.arange(4096))
        np.testing.assert_array_equal(np.sort(y), np.arange(4096))
        assert (x == y).sum() < 8
        # Correlations of independent orders deviate by 1 / 64.
        assert abs(np.corrcoef(x, y)[0, 1]) < 4 / 64

    def test_their_noise_is_independent(self):
        """Noise that both halves share would be information."""
        images = np.zeros((256, 8, 6, 1), np.uint8)
        (batch,) = halves.make_batches(images, 3, 4, 0, noise=0.05, shuffled=True)
        x, y = (batch[side].numpy().ravel() for side in "xy")
        assert y.std() == pytest.approx(0.05, rel=0.1)
        assert abs(np.corrcoef(x, y)[0, 1]) < 4 / np.sqrt(len(x))

    def test_a_bound_finds_nothing_in_them(self):
        """Where halves of one image are the same, and all that differs is pairing."""
        rng = np.random.default_rng(0)
        images = np.tile(rng.integers(0, 256, (512, 4, 6, 1), np.uint8), (1, 2, 1, 1))
        labels = np.arange(512) % 4
        data = halves.Images("twice", images, labels, images, labels)
        size = halves.Size(60, 2, images=200, rate=1e-3)
        arm = halves.Arm("mlp", widths=(64,))
        ends = [
            halves.train(replace(arm, shuffled=shuffled), size, data, 0)["bound/test"][
                1
            ]
            for shuffled in (False, True)
        ]
        assert ends[0] > 1.0
        assert ends[1] < 0.1

    def test_a_game_of_shuffled_labels_is_evaluated_by_the_true_ones(self, noise):
        """Labels that the upper halves show, in a game that never sees them."""
        images = noise.train.copy()
        labels = np.arange(256) % 4
        for label in range(4):  # a bright row of its own
            images[labels == label, :5] = 0
            images[labels == label, label] = 255
        data = halves.Images("levels", images, labels, images, labels)
        size = adversarial.Size(2, 2, 2, 16, 256, warm_up=2, turns=2)
        curves = adversarial.train(adversarial.Arm(shuffled=True), size, data, 0)
        assert curves["accuracy"][-1] > 0.9

    def test_orthogonal_maps_and_shuffles_of_components(self):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(2000, 2))
        y = 0.9 * x + 0.4 * rng.normal(size=(2000, 2))
        turned = invariance.CHANGES["rotate"](x, y, 5)
        for side, found in zip((x, y), turned, strict=True):
            np.testing.assert_allclose(found @ found.T, side @ side.T, atol=1e-9)
            assert np.abs(found - side).max() > 0.1
        linear = invariance.METHODS["linear V-information"]
        value = lambda pair: float(linear(*pair, 0, 0).value)
        assert value(turned) == pytest.approx(value((x, y)), abs=1e-4)
        shuffled = invariance.CHANGES["shuffle"](x, y, 5)
        np.testing.assert_array_equal(shuffled[0], x)
        assert abs(np.corrcoef(x[:, 0], shuffled[1][:, 0])[0, 1]) < 4 / np.sqrt(2000)


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
            arm = halves.Arm("mlp", critic, "nwj", widths=(300, 300))
            objective = halves.build(arm, size, shape, 0)
            weights = objective.terms[0].critic.trainable_variables
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
        curves = adversarial.train(adversarial.Arm(), size, data, 0)
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
    def correlations(self, pairs):
        """Of x with its own y and with the next, over 1,000 batches."""
        draws = [negatives._draw(tf.constant([1, k]), pairs) for k in range(1000)]
        x, y = (np.stack([d[side].numpy()[:, 0] for d in draws]) for side in (0, 1))
        return (np.corrcoef(x[:, 0], y[:, k])[0, 1] for k in (0, 1))

    def test_negatives_of_a_shared_batch_are_correlated(self):
        own, cross = self.correlations("shared")
        assert own == pytest.approx(0.2, abs=0.1)
        assert cross == pytest.approx(-0.25, abs=0.1)
        x, y = negatives._draw(tf.constant([1, 0]), "iid")
        assert x.shape == y.shape == (negatives.BATCH, 1)

    def test_shuffled_pairs_are_like_their_negatives(self):
        own, cross = self.correlations("shuffled")
        assert own == pytest.approx(-0.25, abs=0.1)
        assert cross == pytest.approx(-0.25, abs=0.1)

    def test_the_truth(self):
        assert pytest.approx(0.020411, abs=1e-6) == negatives.TRUTH


class TestCommand:
    def test_smoke(self, tmp_path):
        arguments = ["--study=negatives", "--scale=smoke", "--seeds=1"]
        result = run("reproduce", *arguments, f"--workdir={tmp_path}")
        assert result.returncode == 0, result.stderr[-2000:]
        assert "too short to show anything" in result.stdout
        assert "Closed forms" in result.stdout
        assert "not judged" in result.stdout
        assert not re.search("(?i)reproduced|contradicted|undecided", result.stdout)
        assert "info_nce, shared - info_nce, iid" in result.stdout
        assert "info_nce, shared - nwj, shared" in result.stdout
        assert "exploratory (scale smoke" in result.stdout
        content = json.loads((tmp_path / "results.json").read_text())
        for claim in content["claims"]:
            assert claim["verdict"] == "not judged"
        assert content["seeds"] == [100]
        plan = protocol.STUDIES["negatives"]
        assert content["history"] == plan.history
        assert content["curves"].keys() == {f"{arm}-100" for arm in plan.arms}
        for name in ("figure.png", "effects.png", "effects.svg"):
            assert (tmp_path / name).stat().st_size > 5000

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
            ([], ["--study is needed", *protocol.STUDIES]),
            (["--study=critic", "--workdir=a"], ["Did you mean critics"]),
            (["--study=critics"], ["--workdir"]),
            (["--study=critics", "--workdir=a", "--scale=gpu"], ["smoke, cpu, paper"]),
        ],
    )
    def test_mistakes_get_one_line(self, arguments, words):
        result = run_alone("reproduce", *arguments)
        assert_refused(result, *words)
        assert result.cpu_seconds < 1.5
