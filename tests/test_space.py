"""The search space: what `--tune` accepts, refuses, and means."""

import itertools

import keras_tuner
import pytest

from tf_infomax.options import Config, ConfigError
from tf_infomax.tuning.space import Space

BASE = Config(steps=10)


def parse(*specs, base=BASE):
    return Space.parse(specs, base)


class TestParsing:
    def test_ranges_and_choices_take_the_option_s_type(self):
        space = parse(
            "learning_rate:log:1e-4..1e-2",
            "gamma:0.25..1/0.25",
            "batch_size:16,32",
            "critic_units:8..64",
            "bound:jsd,dv",
            "augment:none,flip,crop+flip",
        )
        rate, gamma, batch, units, bound, augment = space.parameters
        assert (rate.low, rate.high, rate.log) == (1e-4, 1e-2, True)
        assert (gamma.low, gamma.high, gamma.step) == (0.25, 1.0, 0.25)
        assert batch.choices == (16, 32)
        assert (units.low, units.high) == (8, 64)
        assert isinstance(units.low, int)
        assert bound.choices == ("jsd", "dv")
        assert augment.choices == ((), ("flip",), ("crop", "flip"))

    def test_the_last_one_of_a_name_counts_and_none_forgets(self):
        space = parse("bound:jsd,dv", "batch_size:16,32", "bound:nwj,dv")
        assert {p.name: p.choices for p in space.parameters}["bound"] == ("nwj", "dv")
        space = parse("bound:jsd,dv", "none", "batch_size:16,32")
        assert [p.name for p in space.parameters] == ["batch_size"]

    @pytest.mark.parametrize(
        ("specs", "words"),
        [
            ([], ["--tune is needed"]),
            (["none"], ["--tune is needed"]),
            (["learning_rat:1,2"], ["'learning_rat'", "Did you mean learning_rate"]),
            (["workdir:a,b"], ["'workdir'", "cannot be searched"]),
            (["seed:1,2"], ["cannot be searched"]),
            (["steps:1,2"], ["cannot be searched"]),
            (["dataset:fashion,fashion_m"], ["cannot be searched"]),
            (["bound"], ["no values", "bound:A,B,C"]),
            (["bound:"], ["no values"]),
            (["bound:jsd,infonce"], ["infonce", "Did you mean info_nce"]),
            (["bound:jsd,jsd"], ["twice"]),
            (["batch_size:16,many"], ["'many'", "whole number"]),
            (["batch_size:16,0.5"], ["'0.5'", "whole number"]),
            (["batch_size:1,16"], ["batch_size", "at least 2"]),
            (["learning_rate:1e-2..1e-4"], ["not below"]),
            (["learning_rate:log:0..1"], ["log", "above 0"]),
            (["learning_rate:-1..1"], ["learning_rate", "above 0", "-1"]),
            (["learning_rate:1e-4..."], ["LOW..HIGH"]),
            (["learning_rate:log:1e-4"], ["LOW..HIGH"]),
            (["learning_rate:log:1e-4..inf"], ["LOW..HIGH", "finite"]),
            (["bound:log:info_nce,jsd"], ["bound is no number", "bound:A,B,C"]),
            (["bound:dv..jsd"], ["bound is no number"]),
            (["learning_rate:1e-3"], ["one value", "--learning_rate=0.001"]),
            (["bound:jsd,dvv"], ["Did you mean dv?"]),
            (["batch_size:16..32/64"], ["step", "at most 16"]),
            (["batch_size:16..32/0"], ["step", "above 0"]),
            (["gamma:log:0.1..1/0.1"], ["log takes no step"]),
            (["augment:none,crop+blur"], ["blur"]),
            (["augment:none,flip+flip"], ["twice"]),
            (["gamma:0.1,1@bound"], ["@OTHER=VALUE"]),
            (["gamma:0.1,1@bound=jsd"], ["bound", "not searched"]),
            (["gamma:0.1,1@bound=jsd", "bound:dv,nwj"], ["never is jsd", "dv, nwj"]),
            (["gamma:0.1,1@batch_size=16", "batch_size:16..32"], ["range"]),
            (
                ["gamma:0.1,1@bound=jsd", "bound:jsd,dv@gamma=1"],
                ["circle", "gamma", "bound"],
            ),
            (["schedule:cosine@schedule=cosine"], ["circle"]),
        ],
    )
    def test_mistakes_are_named(self, specs, words):
        with pytest.raises(ConfigError) as caught:
            parse(*specs)
        assert "\n" not in str(caught.value)
        assert "?." not in str(caught.value)
        for word in words:
            assert word in str(caught.value), str(caught.value)

    def test_combinations_that_the_configuration_refuses_are_found(self):
        specs = ["bound:info_nce,jsd", "negatives:all,same_location"]
        with pytest.raises(ConfigError, match="--bound=jsd --negatives=same_location"):
            parse(*specs)
        parse(specs[0], specs[1] + "@bound=info_nce")


class TestValues:
    @pytest.fixture
    def space(self):
        return parse(
            "negatives:all,same_location@bound=info_nce",
            "bound:info_nce,jsd",
            "learning_rate:log:1e-4..1e-2",
            "augment:none,crop+flip",
        )

    def test_parents_come_first_whatever_the_order(self, space):
        names = [each.name for each in space.parameters]
        assert names.index("bound") < names.index("negatives")

    def test_a_configuration_has_the_active_values_only(self, space):
        values = {
            "bound": "jsd",
            "negatives": "same_location",
            "learning_rate": 0.001234567,
            "augment": "crop+flip",
            "tuner/epochs": 3,
        }
        config = space.configure(values)
        assert config.bound == "jsd"
        assert config.negatives == BASE.negatives  # exists for info_nce only
        assert config.learning_rate == 0.00123
        assert config.augment == ("crop", "flip")
        assert space.configure({**values, "bound": "info_nce"}).negatives == (
            "same_location"
        )

    def test_rounding_stays_within_the_range(self):
        space = parse("gamma:0.12345..0.98765")
        assert space.configure({"gamma": 0.12345}).gamma == 0.12345
        assert space.configure({"gamma": 0.98765}).gamma == 0.98765

    def test_the_base_has_values_if_it_lies_in_the_space(self, space):
        assert space.base_values() == {
            "bound": "info_nce",
            "negatives": "all",
            "learning_rate": 1e-3,
            "augment": "none",
        }
        assert space.configure(space.base_values()) == BASE
        assert parse("learning_rate:2e-3..1e-2").base_values() is None
        assert parse("bound:jsd,dv").base_values() is None
        grid = parse("gamma:0.25..1/0.25", base=Config(steps=1, gamma=0.5))
        assert grid.base_values() == {"gamma": 0.5}
        assert parse("gamma:0..1/0.25").base_values() is None  # -1: the preset's

    def test_keras_tuner_draws_what_can_be_configured(self, space):
        parameters = keras_tuner.HyperParameters()
        space.declare(parameters)
        oracle = keras_tuner.oracles.RandomSearchOracle(
            keras_tuner.Objective("score", "max"),
            max_trials=60,
            hyperparameters=parameters,
            seed=1,
        )
        seen = set()
        for _ in range(60):
            values = oracle._random_values()
            config = space.configure(values)
            assert 1e-4 <= config.learning_rate <= 1e-2
            assert ("negatives" in values) == (config.bound == "info_nce")
            seen.add((config.bound, config.negatives, config.augment))
        assert len(seen) == 6  # every allowed combination of choices

    def test_grandchildren_exist_with_parents_and_grandparents(self):
        space = parse(
            "views:one,augment",
            "bound:info_nce,jsd@views=augment",
            "negatives:all,same_location@bound=info_nce",
            base=Config(steps=10, augment=("flip",), bound="dv"),
        )
        expected = {
            ("one", "dv", "all"),
            ("augment", "jsd", "all"),
            ("augment", "info_nce", "all"),
            ("augment", "info_nce", "same_location"),
        }
        found = set()
        for views, bound, negatives in itertools.product(
            ("one", "augment"), ("info_nce", "jsd"), ("all", "same_location")
        ):
            values = {"views": views, "bound": bound, "negatives": negatives}
            config = space.configure(values)
            found.add((config.views, config.bound, config.negatives))
        assert found == expected
        parameters = keras_tuner.HyperParameters()
        space.declare(parameters)
        conditions = {p.name: len(p.conditions) for p in parameters.space}
        assert conditions == {"views": 0, "bound": 1, "negatives": 2}
