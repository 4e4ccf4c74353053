"""The automatic estimator, cross-fitting, exported ratios, and the benchmarks."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from commands import assert_refused, run
from scipy import stats
from scipy.stats import multivariate_normal

from tf_infomax import bounds, critics
from tf_infomax.data import synthetic
from tf_infomax.data.sources import read
from tf_infomax.estimation import gaussian, law, neighbors, neural, subsets
from tf_infomax.estimation.copula import (
    Copula,
    CopulaCritic,
    are_plenty,
    is_lawless,
    sizes_for,
    starts,
)
from tf_infomax.estimation.estimators import ESTIMATORS
from tf_infomax.estimation.inputs import PairsError, fit_marginal, split, transform
from tf_infomax.estimation.options import Options, TrainOptions
from tf_infomax.estimation.pointwise import apply_marginal
from tf_infomax.estimation.protocol import estimate_mi
from tf_infomax.estimation.samples import Samples
from tf_infomax.estimation.values import Scores
from tf_infomax.options import ConfigError
from tf_infomax.studies import known_pairs, staircase

QUICK = {"max_steps": 400, "folds": 2, "widths": (64, 64)}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


class TestFolds:
    def test_every_pair_is_reported_on_once(self):
        folds = split(103, seed=1, block=1, folds=5)
        reported = np.concatenate([report for *_, report in folds])
        np.testing.assert_array_equal(np.sort(reported), np.arange(103))
        for train, choose, report in folds:
            assert len(set(train) | set(choose) | set(report)) == 103
            assert len(train) + len(choose) + len(report) == 103

    def test_too_many_folds_are_refused(self):
        with pytest.raises(PairsError, match="30 blocks"):
            split(100, seed=0, block=4, folds=10)

    def test_a_cross_fit_reports_on_all_and_ranks_within_a_fold(self):
        data = synthetic.draw("gaussian", 900, dim=2, mi=1.0)
        estimate = estimate_mi(data.x, data.y, "info_nce", folds=3, max_steps=300)
        assert estimate.pairs["report"] == 900
        assert estimate.ceiling == pytest.approx(math.log(300))
        assert len(estimate.trainings) == 3
        assert estimate.value == pytest.approx(1.0, abs=0.25)

    def test_a_warning_of_all_folds_is_one(self):
        data = synthetic.draw("gaussian", 300, dim=2, mi=1.0)
        options = {"folds": 3, "max_steps": 20, "check_every": 20}
        estimate = estimate_mi(data.x, data.y, "info_nce", **options)
        rising = [each for each in estimate.warnings if "still rising" in each]
        assert len(rising) == 1
        assert rising[0].endswith("(3 of 3 folds)")


class TestCopula:
    @pytest.fixture
    def pairs(self, rng):
        mixing = rng.normal(size=(5, 5))
        both = rng.normal(size=(400, 5)) @ mixing.T + rng.normal(size=5)
        return both[:, :3], both[:, 3:]

    def test_is_the_log_ratio_of_the_fitted_gaussian(self, pairs):
        x, y = pairs
        log_density = lambda v: multivariate_normal(v.mean(0), np.cov(v.T)).logpdf(v)
        expected = log_density(np.concatenate(pairs, axis=1))
        expected -= log_density(x) + log_density(y)
        scores = Copula(gaussian.fit_canonical(x, y)).scores(x, y)
        np.testing.assert_allclose(np.diagonal(scores), expected, atol=1e-8)
        # The mean over the sample it was fitted to is the plug-in estimate.
        plug_in = gaussian.gaussian_mi(x, y, correct=False)
        shrunk = np.diagonal(scores).mean()
        assert shrunk == pytest.approx(plug_in, abs=0.02)

    def test_a_critic_starts_at_it_and_can_leave_it(self, pairs):
        x, y = (side.astype(np.float32) for side in pairs)
        copula = Copula(gaussian.fit_canonical(*pairs))
        critic = CopulaCritic(copula, (8,))
        scores = critic((x, y)).numpy()
        np.testing.assert_allclose(scores, copula.scores(x, y), atol=2e-3)
        assert np.abs(CopulaCritic(None, (8,))((x, y)).numpy()).max() == 0.0
        with tf.GradientTape() as tape:
            value = bounds.info_nce(critic((x, y)))
        gradients = tape.gradient(value, critic.trainable_variables)
        assert sum(float(tf.norm(g)) for g in gradients if g is not None) > 1e-3


class TestChoice:
    def test_few_dimensions_go_to_neighbours(self):
        data = synthetic.draw("swiss_roll", 1500)
        estimate = estimate_mi(data.x, data.y)
        assert estimate.chosen == "ksg"
        assert estimate.value == pytest.approx(data.mi, abs=0.08)

    @pytest.mark.parametrize("rate", [20, 50])
    def test_counts_of_many_values_are_not_seen_as_labels(self, rate, rng):
        x = rng.poisson(rate, 1500)
        y = x + rng.poisson(rate, 1500)
        first, both = np.arange(2 * rate + 40), np.arange(4 * rate + 80)
        joint = stats.poisson.pmf(first, rate)[:, None] * stats.poisson.pmf(
            both[None] - first[:, None], rate
        )
        product = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
        inside = joint > 0
        truth = np.sum(joint[inside] * np.log(joint[inside] / product[inside]))
        estimate = estimate_mi(x, y)
        assert estimate.chosen == "ksg (spread)"
        assert estimate.value == pytest.approx(truth, abs=0.08)  # mixed: 0.3 too high

    def test_rounded_numbers_beside_continuous_ones(self, rng):
        """Counting ties would give 0.15 and 0.47."""
        x, noise = rng.normal(size=(2, 1500))
        rounded = np.round(x, 1)
        independent = estimate_mi(rounded, noise)
        assert independent.chosen == "discrete_continuous"
        low, high = independent.interval
        assert low == 0.0 < high
        assert independent.value == pytest.approx(0.0, abs=0.05)
        truth = 0.345  # 1/2 log 2, less what rounding takes
        for pair in ((rounded, x + noise), (x + noise, rounded)):
            assert estimate_mi(*pair).value == pytest.approx(truth, abs=0.06)

    def test_one_value_that_half_of_the_pairs_have(self, rng):
        x = rng.normal(size=3000)
        y = x + 0.5 * rng.normal(size=3000)
        off = rng.random(3000) < 0.5
        truth = math.log(2.0) + 0.25 * math.log(5.0)
        estimate = estimate_mi(np.where(off, 0.0, x), np.where(off, 0.0, y))
        assert estimate.value == pytest.approx(truth, abs=0.08)  # ksg: -1.7

    def test_values_that_repeat_go_to_the_mixed_estimator(self):
        data = synthetic.draw("xor", 800)
        estimate = estimate_mi(data.x, data.y)
        assert estimate.chosen == "mixed"
        assert estimate.value == pytest.approx(math.log(2.0), abs=0.02)

    def test_gaussians_keep_the_copula_which_has_no_ceiling(self):
        data = synthetic.draw("gaussian", 2000, dim=4, mi=9.0, transform="cubic")
        estimate = estimate_mi(data.x, data.y, **QUICK)
        assert estimate.chosen == "copula"
        assert estimate.value == pytest.approx(9.0, abs=0.15)
        assert math.isinf(estimate.ceiling)
        low, high = estimate.interval
        assert low < 9.0 < high
        # Pointwise, in the units the pairs came in.
        ratios = estimate.pointwise(data.x[:100], data.y[:100])
        assert ratios.mean() == pytest.approx(9.0, abs=1.0)

    def test_what_is_not_gaussian_is_learned(self):
        data = synthetic.draw("student", 4000, dim=2, dof=1.0)
        estimate = estimate_mi(data.x, data.y, **QUICK)
        assert estimate.chosen == "critic"
        assert estimate.diagnostics["copula"] < 0.05
        assert estimate.value == pytest.approx(data.mi, abs=0.1)
        assert estimate.pointwise(data.x, data.y).mean() == pytest.approx(
            data.mi, abs=0.15
        )

    def test_a_figure_goes_with_it(self, tmp_path):
        data = synthetic.draw("gaussian", 800, dim=2, mi=1.0)
        estimate = estimate_mi(data.x, data.y, max_steps=200)
        estimate.plot(tmp_path / "e.png", data.mi, (data.x, data.y))
        assert (tmp_path / "e.png").stat().st_size > 5000

    def test_independence_is_recognized(self, rng):
        x, y = rng.normal(size=(2, 1500, 3))
        estimate = estimate_mi(x, y, **QUICK)
        low, high = estimate.interval
        assert low == 0.0 < high
        assert abs(estimate.raw) < 0.02

    def test_a_function_of_x_has_infinite_information(self, rng):
        x = rng.normal(size=(200, 2))
        estimate = estimate_mi(
            x, x @ rng.normal(size=(2, 2)), **QUICK, preprocess="none"
        )
        assert estimate.value > 8.0 or math.isinf(estimate.value)
        assert any("functions of one another" in w for w in estimate.warnings)

    def test_what_more_pairs_would_teach_is_said(self):
        """The largest of 20 columns: infinite information, of which critics learn."""
        rng = np.random.default_rng(0)
        x = rng.normal(size=(5000, 20))
        options = dict(max_steps=400, folds=2, widths=(64, 64))
        estimate = estimate_mi(x, x.max(axis=1), **options)
        assert estimate.chosen == "critic"
        assert estimate.value < 2.0
        assert estimate.at_least
        assert estimate.interval[1] == math.inf
        assert any("higher than of half" in each for each in estimate.warnings)

    @pytest.mark.parametrize(
        "pair", ["numbers", "labels", "counts", "two", "mixture", "rounded", "table"]
    )
    def test_is_symmetric(self, pair, rng):
        """Exactly, up to rounding: nothing is trained."""
        n = 500
        x, y = rng.normal(size=(2, n))
        counts = rng.poisson(20, n)
        pairs = {
            "numbers": (x, x + y),
            "labels": (rng.integers(0, 4, n), y),
            "counts": (counts, counts + rng.poisson(30, n)),
            "two": (rng.normal(size=(n, 2)), y),
            "mixture": (np.where(rng.random(n) < 0.5, 0.0, x), y),
            "rounded": (np.round(x, 1), x + y),
            "table": (rng.integers(0, 4, n), rng.integers(0, 3, n)),
        }[pair]
        there, back = estimate_mi(*pairs), estimate_mi(*pairs[::-1])
        assert back.value == pytest.approx(there.value, abs=1e-9)
        assert back.interval == pytest.approx(there.interval, abs=1e-9)
        assert back.chosen == there.chosen

    def test_labels_are_not_taken_for_gaussians(self, rng):
        labels = rng.integers(0, 3, size=1500)
        x = rng.normal(size=(1500, 12)) + 3.0 * np.eye(3, 12)[labels]
        estimate = estimate_mi(x, labels, **QUICK)
        assert estimate.chosen == "critic"
        assert "copula" not in estimate.diagnostics
        assert 0.8 < estimate.value < math.log(3.0)

    @pytest.mark.parametrize("labels_first", [True, False])
    def test_labels_beside_numbers_count_as_labels(self, labels_first, rng):
        from scipy.special import logsumexp

        labels = rng.integers(0, 4, 3000)
        centers = 1.5 * rng.normal(size=(4, 4))
        y = centers[labels] + rng.normal(size=(3000, 4))
        densities = -0.5 * np.square(y[:, None] - centers).sum(axis=2)
        own = densities[np.arange(3000), labels]
        truth = float(np.mean(own - logsumexp(densities, axis=1) + np.log(4)))
        pair = (labels, y) if labels_first else (y, labels)
        estimate = estimate_mi(*pair)
        assert estimate.chosen == "discrete_continuous"
        assert estimate.value == pytest.approx(truth, abs=0.08)

    def test_of_very_many_columns_the_components_that_vary_count(self, rng):
        shared = rng.normal(size=(300, 1))
        x, y = (shared + 0.5 * rng.normal(size=(300, 180)) for _ in "xy")
        # The mean of 180 noisy copies has all that they know of their source.
        rho = 1.0 / (1.0 + 0.25 / 180)
        truth = -0.5 * math.log(1.0 - rho**2)
        estimate = estimate_mi(x.reshape(300, 9, 20), y, **QUICK)
        assert estimate.value == pytest.approx(truth, abs=0.4)
        assert estimate.pointwise(x.reshape(300, 9, 20), y).shape == (300,)

    def test_its_critic_is_its_own(self, rng):
        with pytest.raises(ValueError, match="critic changes nothing for auto"):
            estimate_mi(*rng.normal(size=(2, 50, 1)), critic="bilinear")

    @pytest.mark.parametrize("method", ["smile", "density_ratio", "info_nce", "jsd"])
    def test_other_estimators_may_start_at_the_copula_too(self, method):
        """In 100 small steps a critic that starts at 0 learns next to nothing."""
        data = synthetic.draw("gaussian", 3000, dim=10, mi=4.0)
        options = dict(max_steps=100, learning_rate=1e-4, seed=1)
        plain = estimate_mi(
            data.x, data.y, method, critic="concatenated", preprocess="rank", **options
        )
        given = {} if "critic" in ESTIMATORS[method].defaults else {"critic": "copula"}
        start = estimate_mi(data.x, data.y, method, **given, **options)
        assert plain.value < 2.0
        assert start.value == pytest.approx(4.0, abs=0.4)
        assert start.pointwise(data.x[:50], data.y[:50]).mean() > 3.0

    def test_codes_of_encoders_have_no_copula_to_start_at(self, rng):
        encoder = tf.keras.Sequential([tf.keras.layers.Dense(2)])
        options = dict(critic="copula", x_encoder=encoder, max_steps=1)
        with pytest.raises(ValueError, match="without encoders"):
            estimate_mi(*rng.normal(size=(2, 90, 3)), method="nwj", **options)

    @pytest.mark.parametrize(
        ("rows", "dx", "dy", "sizes", "plenty"),
        [
            (6000, 50, 50, [50, 12, 3], True),
            (2000, 20, 20, [20, 5, 1], True),
            (1200, 20, 20, [20, 5, 1], False),
            (2400, 392, 1, [240, 60, 15], False),
            (100, 3, 3, [3, 1], False),
        ],
    )
    def test_components_to_try(self, rows, dx, dy, sizes, plenty):
        assert sizes_for(rows, dx, dy) == sizes
        assert are_plenty(rows, dx, dy) == plenty

    @pytest.mark.parametrize(
        ("rank", "n", "sizes"), [(20, 3000, [20]), (20, 1200, [20]), (1, 1200, [5, 1])]
    )
    def test_only_starts_worth_a_training_are_trained(self, rank, n, sizes):
        """Of Gaussians all components do best, unless the first holds everything."""
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(2, n, 20))
        x[:, 0] *= 10.0
        y[:, :rank] += 2.0 * x[:, :rank]
        half = n // 2
        built = starts((x[:half], y[:half]), (x[half:], y[half:]), (8,))
        assert [build().copula.size for build in built] == sizes

    def test_columns_are_seen_as_they_came(self):
        """Bug: in canonical coordinates, turned at random, critics had 0.31 of 0.45."""
        data = synthetic.draw("student", 5000, seed=3, dim=5)
        estimate = estimate_mi(data.x, data.y, folds=2, max_steps=400)
        assert 0.36 < estimate.value < data.mi

    def test_the_unit_of_a_side_changes_nothing(self, rng):
        x = rng.uniform(-1.0, 1.0, (900, 2))
        y = x**2 + 0.1 * rng.normal(size=x.shape)
        options = dict(critic="copula", preprocess="none", max_steps=200)
        first, second = (
            estimate_mi(scale * x + shift, y, "info_nce", **options).value
            for scale, shift in ((1.0, 0.0), (1000.0, 500.0))
        )
        assert first > 0.5
        assert second == pytest.approx(first, abs=0.02)

    def test_curved_sets_of_low_dimension(self):
        """Bug: all whitened components of such a set had -0.7 nats instead of 2.5."""
        data = synthetic.draw("gaussian", 8000, dim=4, mi=2.5)
        rng = np.random.default_rng(9)

        def curve(values):
            first, second = rng.normal(size=(2, 4, 24))
            return np.tanh(values @ first / 2.0) + 0.5 * np.sin(values @ second / 2.0)

        estimate = estimate_mi(
            curve(data.x), curve(data.y), folds=2, max_steps=300, widths=(64, 64)
        )
        assert 2.2 < estimate.value < 2.55

    @pytest.mark.parametrize("method", ["auto", "smile"])
    def test_few_pairs_of_many_columns(self, method):
        """All principal components of pixels, whitened, would give less than 0."""
        images = read("fashion").train.images[:2000] / 255.0
        options = dict(max_steps=300, widths=(64, 64))
        if method == "auto":
            options["folds"] = 2
        estimate = estimate_mi(images[:, :14], images[:, 14:], method, **options)
        low, high = estimate.interval
        assert 1.5 < low < estimate.value < high
        kept = estimate.trainings[0].model.critic.copula.size
        assert kept < 100  # of 120 or more

    def test_behind_encoders_defaults_are_those_of_encoders(self, rng):
        encoder = tf.keras.Sequential([tf.keras.layers.Dense(2)])
        sides = rng.normal(size=(2, 200, 3))
        estimate = estimate_mi(*sides, "smile", x_encoder=encoder, max_steps=1)
        (training,) = estimate.trainings
        assert isinstance(training.model.critic, critics.Concatenated)
        (member,) = estimate.density_ratio.members
        moved = transform(member.marginals, sides)[0]
        np.testing.assert_allclose(np.corrcoef(moved[:, 0], sides[0][:, 0])[0, 1], 1.0)
        ranked = estimate_mi(
            *sides, "smile", x_encoder=encoder, max_steps=1, preprocess="rank"
        )
        (member,) = ranked.density_ratio.members
        moved = transform(member.marginals, sides)[0]
        assert np.corrcoef(moved[:, 0], sides[0][:, 0])[0, 1] < 1.0 - 1e-5

    def test_defaults_are_options(self):
        for row in ESTIMATORS.values():
            assert set(row.defaults) <= set(Options.__dataclass_fields__)


class TestPointwise:
    @pytest.mark.parametrize("kind", ["standardize", "rank", "asinh", "none"])
    def test_marginals_are_the_same_in_tensorflow(self, kind, rng):
        known, values = rng.standard_t(3, size=(2, 60, 3)).astype(np.float32)
        values[0] = known[5]  # a tie with what was fitted
        values[1] = 1e5  # beyond where tails begin
        marginal = fit_marginal(known.astype(float), kind)
        np.testing.assert_allclose(
            apply_marginal(marginal, tf.constant(values)), marginal(values), atol=1e-4
        )

    @pytest.mark.parametrize("method", ["info_nce", "flo", "auto"])
    def test_an_exported_critic_says_the_same(self, method, tmp_path):
        data = synthetic.draw("student", 600, dim=2, dof=1.0)
        estimate = estimate_mi(data.x, data.y, method, max_steps=200, folds=2)
        estimate.export(tmp_path / "critic")
        x, y = (tf.constant(side[:7], tf.float64) for side in (data.x, data.y))
        loaded = tf.saved_model.load(str(tmp_path / "critic"))
        served = loaded.signatures["serving_default"](x=x, y=y)["log_ratio"]
        np.testing.assert_allclose(
            served, estimate.pointwise(data.x[:7], data.y[:7]), atol=1e-5
        )
        with pytest.raises(FileExistsError):
            estimate.export(tmp_path / "critic")

    def test_neighbours_have_nothing_to_export(self, rng, tmp_path):
        estimate = estimate_mi(*rng.normal(size=(2, 60, 1)))
        with pytest.raises(ValueError, match="no critic"):
            estimate.export(tmp_path / "critic")


class TestColumns:
    """Of constant columns and copies nothing is seen."""

    @pytest.fixture
    def pairs(self, rng):
        x = rng.normal(size=(300, 2))
        return x, x + rng.normal(size=(300, 2))

    def _widen(self, x, position):
        constant = np.full(len(x), 7.0)
        return np.stack([constant, x[:, 0], x[:, 1], x[:, position], constant], 1)

    @pytest.mark.parametrize(
        "method", ["auto", "info_nce", "smile", "ksg", "lnc", "gaussian", "l1out"]
    )
    def test_they_change_no_bit(self, method, pairs):
        x, y = pairs
        uses = ESTIMATORS[method].uses
        options = {"max_steps": 50} if "max_steps" in uses else {}
        plain = estimate_mi(x, y, method, **options)
        wide = estimate_mi(self._widen(x, 1), self._widen(y, 0), method, **options)
        assert wide.value == plain.value
        assert wide.interval == plain.interval
        if plain.density_ratio is not None:
            found = wide.pointwise(self._widen(x, 1)[:9], self._widen(y, 0)[:9])
            np.testing.assert_array_equal(found, plain.pointwise(x[:9], y[:9]))

    def test_neither_do_copies_with_the_same_ranks(self, pairs):
        x, y = pairs
        copies = np.concatenate([x, np.exp(x[:, :1]), 3.0 - 2.0 * x[:, 1:]], axis=1)
        options = dict(max_steps=50, folds=2)
        wide = estimate_mi(copies, y, **options)
        assert wide.value == estimate_mi(x, y, **options).value

    def test_an_exported_critic_takes_them_all(self, pairs, tmp_path):
        x, y = (self._widen(side, 0) for side in pairs)
        estimate = estimate_mi(x, y, "nwj", max_steps=20)
        estimate.export(tmp_path / "critic")
        loaded = tf.saved_model.load(str(tmp_path / "critic"))
        served = loaded.signatures["serving_default"](
            x=tf.constant(x[:5]), y=tf.constant(y[:5])
        )
        found = estimate.pointwise(x[:5], y[:5])
        np.testing.assert_allclose(served["log_ratio"], found, atol=1e-5)

    @pytest.mark.parametrize("method", ["auto", "nwj", "gaussian", "mixed"])
    def test_what_never_changes_carries_nothing(self, method, rng):
        x, y = np.full((60, 2), 3.0), rng.normal(size=(60, 2))
        estimate = estimate_mi(x, y, method)
        assert (estimate.value, estimate.interval) == (0.0, (0.0, 0.0))
        assert any("x is constant" in each for each in estimate.warnings)
        assert estimate_mi(y, x[:, 0], method).value == 0.0

    def test_pixels_that_never_change(self):
        """Of 64 pixels 3 are 0 in all digits: bug: these were refused."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        varying = digits.data[:, digits.data.std(axis=0) > 0]
        assert varying.shape[1] == 61
        options = dict(max_steps=20, folds=2, widths=(16,))
        wide = estimate_mi(digits.data, digits.target, **options)
        assert wide.value == estimate_mi(varying, digits.target, **options).value


class TestLaws:
    """A log-ratio is one only if E_q[r] = 1, and InfoNCE of it is its mean."""

    def _shift(self, n, d, share, seed=0):
        """Independent but for the rows that lie far out in both sides."""
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(2, n, d))
        out = rng.permutation(n) < round(share * n)
        x[out] += 10.0
        y[out] += 10.0
        return x, y, -share * math.log(share) - (1 - share) * math.log(1 - share)

    def _held_out(self, x, y):
        options = Options(preprocess="rank", folds=3)
        folds = Samples(x, y, options).folds
        copulas = [
            Copula.fit(*fold.train, max(x.shape[1], y.shape[1]))[0] for fold in folds
        ]
        return [
            (copula, Scores(copula.scores(*fold.report)))
            for copula, fold in zip(copulas, folds, strict=True)
        ]

    @pytest.mark.parametrize("mi", [0.1, 1.0, 9.0])
    def test_gaussians_keep_them(self, mi):
        data = synthetic.draw("gaussian", 2000, dim=8, mi=mi)
        parts = self._held_out(data.x, data.y)
        assert not is_lawless(parts)
        assert not any(law.mean_ratio(scores)[1] for _, scores in parts)

    @pytest.mark.parametrize(("d", "share"), [(20, 0.01), (20, 0.5), (30, 0.05)])
    def test_rows_far_out_and_clusters_break_them(self, d, share):
        x, y, truth = self._shift(2000, d, share)
        # What a copula is said to have, which is far above the truth.
        assert gaussian.gaussian_mi(
            *Samples(x, y, Options(preprocess="rank")).whole
        ) > (1.5 * truth)
        parts = self._held_out(x, y)
        assert is_lawless(parts)
        assert all(law.mean_ratio(scores)[1] for _, scores in parts)

    def test_a_ratio_that_is_too_large_is_told_by_how_much(self, rng):
        x, y = rng.normal(size=(2, 1500, 1))
        scores = 0.1 * x * y.T - 0.5 * 0.01 * x**2  # log r: E_q[r | x] = 1
        log_mean, beyond = law.mean_ratio(Scores(scores))
        assert not beyond
        assert law.mean_ratio(Scores(scores + 0.5)) == (
            pytest.approx(log_mean + 0.5),
            True,
        )

    def test_auto_leaves_such_a_copula_out(self):
        """Bug: the copula's own value, ten times the truth, without a word."""
        x, y, truth = self._shift(2000, 20, 0.01)
        estimate = estimate_mi(x, y, folds=2, max_steps=200, widths=(16,))
        low, high = estimate.interval
        assert low < truth
        assert 0.0 <= estimate.value < truth + (high - low)
        assert estimate.chosen != "copula"
        assert any("no density ratio" in each for each in estimate.warnings)
        # A lower bound alone, unless few columns have an estimate of their own.
        few = any("alone share" in each for each in estimate.warnings)
        assert (estimate.interval[1] == math.inf) != few

    def test_other_methods_say_so(self):
        x, y, _ = self._shift(2000, 20, 0.5)
        estimate = estimate_mi(x, y, "density_ratio", max_steps=1)
        assert estimate.diagnostics["log_mean_ratio"] > 0.3
        assert any("a density ratio has 1" in each for each in estimate.warnings)


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_a_copula_of_functions_has_no_upper_end(noise, rng):
    """Ranks keep the correlation of functions below 1, the less so the more pairs."""
    x, other = rng.normal(size=(2, 1200, 3))
    mixed = np.array([[1.0, 0.5, -0.3], [0.2, 1.0, 0.4], [-0.5, 0.1, 1.0]])
    y = x @ mixed + noise * other
    estimate = estimate_mi(x, y, folds=2, max_steps=100, widths=(8,))
    assert estimate.chosen == "copula"
    assert (estimate.interval[1] == math.inf) == (noise == 0.0)


class TestFewerColumns:
    """Columns never take information away."""

    def test_what_is_chosen(self, rng):
        x, y = rng.normal(size=(1000, 9)), rng.normal(size=(1000, 3))
        y[:, 2] = x[:, 4] ** 2 + 0.3 * x[:, 7] + 0.1 * y[:, 2]
        ksg = lambda x, y: neighbors.ksg1(x, y).mean()
        assert subsets.choose(x, y, ksg) == ((4, 7), (2,))
        table = subsets.binned_information(x, y)
        assert np.unravel_index(table.argmax(), table.shape) == (4, 2)

    def test_noise_beside_the_column_that_has_all(self, rng):
        """Bug: what is added to a column made it lose a tenth, without a word."""
        n, rho = 1500, 0.917
        source = rng.normal(size=n)
        y = np.exp(rho * source + math.sqrt(1.0 - rho**2) * rng.normal(size=n))
        others = rng.gamma(2.0, size=n), rng.integers(1, 9, n), rng.normal(size=n)
        x = np.stack([np.exp(0.5 * source), *others], axis=1)
        truth = -0.5 * math.log(1.0 - rho**2)
        estimate = estimate_mi(x, y, folds=2, max_steps=100, widths=(16,))
        low, high = estimate.interval
        assert low < truth < high
        assert estimate.chosen == "ksg of x[0], y[0]"
        assert any("columns never take" in each for each in estimate.warnings)

    def test_independent_columns_are_not_preferred(self, rng):
        x, y = rng.normal(size=(1000, 2)), rng.normal(size=(1000, 1))
        estimate = estimate_mi(x, y)
        assert estimate.chosen == "ksg"
        assert not any("columns never take" in each for each in estimate.warnings)


class TestDerangement:
    def test_no_pair_is_its_own_negative(self, rng):
        model = neural.Model(critics.InnerProduct(), (None, None))
        x, y = rng.normal(size=(2, 6, 3)).astype(np.float32)
        positive, negative = model.paired(tf.constant(x), tf.constant(y))
        scores = x @ y.T
        np.testing.assert_allclose(positive, np.diagonal(scores), rtol=1e-5)
        expected = [scores[i, (i + 1) % 6] for i in range(6)]
        np.testing.assert_allclose(negative, expected, rtol=1e-5)

    def test_one_score_per_pair_is_the_diagonal(self, rng):
        x, y = rng.normal(size=(2, 5, 4)).astype(np.float32)
        for build in critics.VECTOR_CRITICS.values():
            critic = build()
            scores = critic((x, y))
            pairs = critic.score_pairs(*critic.embed(tf.constant(x), tf.constant(y)))
            np.testing.assert_allclose(
                pairs, tf.linalg.diag_part(scores), rtol=1e-4, atol=1e-5
            )

    @pytest.mark.parametrize("method", ["mine", "nwj"])
    def test_trains_as_well(self, method):
        data = synthetic.draw("gaussian", 3000, dim=1, mi=0.8)
        estimate = estimate_mi(
            data.x, data.y, method, negatives="derangement", max_steps=800
        )
        assert estimate.value == pytest.approx(0.8, abs=0.15)

    def test_needs_an_objective_of_single_negatives(self, rng):
        with pytest.raises(ValueError, match="negatives changes nothing for info_nce"):
            estimate_mi(
                *rng.normal(size=(2, 60, 1)), "info_nce", negatives="derangement"
            )


class TestTasks:
    @pytest.fixture
    def cases(self):
        return [case for case in known_pairs.tasks(400) if "dim=1" in case.name]

    def test_what_is_done_is_not_repeated(self, cases, tmp_path):
        told = []
        path = tmp_path / "tasks.json"
        first = known_pairs.run(cases, ["gaussian"], [0], {}, path, told.append)
        assert len(told) == len(cases)
        again = known_pairs.run(cases, ["gaussian"], [0, 1], {}, path, told.append)
        assert len(told) == 2 * len(cases)
        assert again[: len(first)] == first
        with pytest.raises(ConfigError, match="other options"):
            known_pairs.run(cases, ["gaussian"], [0], {"k": 3}, path, told.append)

    def test_errors_are_against_the_truth(self):
        def record(case, seed, value):
            return known_pairs.Record(case, "m", seed, 1.0, value, 0.0, 2.0, "", 1.0)

        records = [record("a", 0, 1.2), record("a", 1, 0.6), record("b", 0, 1.0)]
        summary = known_pairs.summarize(records)["m"]
        assert summary["mae"] == pytest.approx((0.3 + 0.0) / 2)
        assert summary["bias"] == pytest.approx(-0.2 / 3)
        assert summary["solved"] == 1.5  # 0.6 is not within a factor of 1.5
        assert not record("a", 0, -0.2).solved


class TestStaircase:
    def test_published_errors(self):
        rmse = staircase.published_rmse("concatenated", "smile_5")
        np.testing.assert_allclose(rmse, [0.22, 0.30, 0.36, 0.46, 0.65], atol=0.01)
        assert staircase.published_rmse("bilinear", "dv") is None

    def test_readings_of_the_best_critic_are_the_information(self, rng):
        """jsd is not 1/e too low, SMILE clips negatives alone."""
        x = rng.normal(size=(2000, 1))
        y = 0.8 * x + 0.6 * rng.normal(size=(2000, 1))
        squares = (x - 0.8 * y.T) ** 2 / 0.36 - x**2
        scores = tf.constant(-0.5 * squares - math.log(0.6), tf.float32)
        truth = -math.log(0.6)
        for readings in staircase.READINGS.values():
            for name, function in readings.items():
                given = scores + 1.0 if name == "nwj" else scores
                if name == "smile_1":
                    continue
                assert float(function(given)) == pytest.approx(truth, abs=0.1), name
        far = tf.constant([[20.0, -20.0], [-20.0, 20.0]])
        assert float(staircase.READINGS["jsd"]["smile_1"](far)) == pytest.approx(21.0)

    @pytest.mark.parametrize("name", ["nwj", "mine_batch"])
    def test_climbs_and_is_read_both_ways(self, name, tmp_path):
        options = TrainOptions(
            critic="separable", widths=(32, 32), batch_size=32, max_steps=100
        )
        told = []
        readings, curves = staircase.run([name], options, 64, tmp_path, told.append)
        assert len(told) == len(staircase.LEVELS)
        assert [r.held_out for r in readings] == [False, True] * 5
        assert curves[name].shape == (500,)
        last = readings[-1]
        assert last.truth + last.bias > 1.0
        again, _ = staircase.run([name], options, 64, tmp_path, told.append)
        assert again == readings
        assert len(told) == len(staircase.LEVELS)
        both, curves = staircase.run([name], options, 64, tmp_path, told.append, 2)
        assert len(told) == 2 * len(staircase.LEVELS)
        other = replace(options, seed=1)
        second, _ = staircase.run([name], other, 64, tmp_path, told.append)
        assert len(told) == 2 * len(staircase.LEVELS)
        for pooled, one, two in zip(both, readings, second, strict=True):
            assert pooled.rmse**2 == pytest.approx((one.rmse**2 + two.rmse**2) / 2)
            assert pooled.bias == pytest.approx((one.bias + two.bias) / 2)

    def test_public_mine_without_average_ties_the_normalizer(self, rng):
        """d/dc of scores + c: 1 - Z / (0.9 + 0.1 Z), where MINE's average Z has 0."""
        scores = tf.constant(rng.normal(size=(50, 50)), tf.float32)
        off = scores.numpy()[~np.eye(50, dtype=bool)]
        z = np.exp(off.astype(np.float64)).mean()

        def slope(log_average):
            c = tf.constant(0.0)
            with tf.GradientTape() as tape:
                tape.watch(c)
                value = bounds.mine(scores + c, log_average)[0]
            return float(tape.gradient(value, c))

        assert slope(tf.constant(math.log(z), tf.float32)) == pytest.approx(0, abs=1e-5)
        expected = 1.0 - z / (0.9 + 0.1 * z)
        assert slope(tf.zeros([])) == pytest.approx(expected, rel=1e-4)
        assert abs(expected) > 0.3


class TestCommand:
    def test_tasks(self, tmp_path):
        result = run(
            "estimate", "--benchmark=tasks", "--method=gaussian", "--samples=300",
            "--seeds=2", f"--output={tmp_path}",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr[-2000:]
        assert "mean absolute error" in result.stdout
        content = json.loads((tmp_path / "tasks.json").read_text())
        assert len(content["records"]) == 2 * len(known_pairs.tasks(300))
        assert (tmp_path / "tasks.png").stat().st_size > 5000

    def test_staircase(self, tmp_path):
        result = run(
            "estimate", "--benchmark=staircase", "--method=info_nce", "--max_steps=50",
            "--widths=8", "--critic=separable", f"--output={tmp_path}",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr[-2000:]
        assert "published" in result.stdout
        assert (tmp_path / "staircase-separable.png").stat().st_size > 5000

    def test_related_quantities_and_an_export(self, tmp_path):
        result = run(
            "estimate", "--task=xor", "--samples=500", "--max_steps=100",
            "--method=v_information,wasserstein,smile", "--family=mlp", "--tau=2",
            "--lipschitz=spectral", "--negatives=derangement", f"--output={tmp_path}",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr[-2000:]
        assert "not nats" in result.stdout
        written = json.loads((tmp_path / "estimates.json").read_text())["estimates"]
        found = {each["method"]: each for each in written}
        # What a penalty only asks for, a norm makes sure of.
        assert found["wasserstein"]["diagnostics"]["largest_gradient"] <= 1.0001
        assert found["smile"]["diagnostics"]["steps"] == 100
        result = run(
            "estimate", "--task=two_pair", "--samples=300", "--max_steps=50",
            "--method=nwj", f"--export={tmp_path / 'critic'}",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr[-2000:]
        assert (tmp_path / "critic" / "saved_model.pb").exists()

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--benchmark=stairs"], ["tasks, staircase"]),
            (["--benchmark=tasks", "--task=xor"], ["one way"]),
            (["--benchmark=staircase", "--method=ksg"], ["ksg", "info_nce"]),
            (
                ["--task=xor", "--critic=bilinear"],
                ["--critic changes nothing", "for dv"],
            ),
            (["--task=xor", "--negatives=derangement"], ["for dv, mine, nwj, jsd"]),
            (["--task=xor", "--method=ksg,nwj", "--export=e"], ["one --method"]),
            (["--task=xor", "--bracket"], ["bracket"]),
            (["--task=xor", "--method=club_known"], ["log_conditional"]),
            (["--task=xor", "--batch_size=1"], ["at least 2"]),
            (["--task=xor", "--seeds=2"], ["--seeds changes nothing"]),
            (["--task=xor", "--method=mine_batch"], ["belongs to --benchmark=stair"]),
            (["--task=xor", "--y=b.npy"], ["--y belongs to"]),
            (["--task=gaussian", "--dim=2", "--task_options=dim=3"], ["dim", "twice"]),
            (["--x=a.npy", "--y=b.npy", "--samples=50"], ["--samples belongs"]),
            (["--task=xor", "--method=ksg", "--tau=1"], ["--tau changes nothing"]),
            (["--task=xor", "--method=nwj", "--family=knn"], ["--family changes"]),
            (["--task=xor", "--lipschitz=spectral"], ["--lipschitz changes nothing"]),
            (["--benchmark=tasks", "--method=wasserstein"], ["not v_information"]),
            (["--benchmark=staircase", "--critic=copula"], ["needs given pairs"]),
            (["--benchmark=staircase", "--folds=2"], ["--folds changes nothing"]),
            (
                ["--benchmark=staircase", "--critic=bilinear", "--widths=8"],
                ["--widths changes nothing for --critic=bilinear"],
            ),
            (
                ["--task=xor", "--method=nwj", "--critic=cosine", "--widths=8"],
                ["--widths changes nothing", "--critic=cosine", "for auto, tuba"],
            ),
            (
                ["--task=xor", "--method=v_information", "--widths=8"],
                ["--widths changes nothing", "for auto"],
            ),
        ],
    )
    def test_mistakes_get_one_line(self, arguments, words):
        assert_refused(run("estimate", *arguments), *words)
