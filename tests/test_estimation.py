"""Estimators of mutual information against truths that can be written down."""

import json
import math
import random
import re
from concurrent import futures
from types import MappingProxyType

import keras
import numpy as np
import pytest
import tensorflow as tf
from commands import assert_refused, run
from scipy import integrate, linalg
from sklearn.metrics import mutual_info_score

from tf_infomax import bounds
from tf_infomax.critics import VECTOR_CRITICS
from tf_infomax.data import synthetic
from tf_infomax.estimation import (
    ESTIMATORS,
    PairsError,
    checks,
    estimate_mi,
    intervals,
    loop,
    nearest,
    neighbors,
    neural,
    protocol,
    values,
)
from tf_infomax.estimation import gaussian as gaussian_module
from tf_infomax.estimation.imax import imax, imax_binary
from tf_infomax.estimation.inputs import fit_marginal, split
from tf_infomax.estimation.options import SHALLOW, Options, TrainOptions, used_of
from tf_infomax.estimation.related import RELATED
from tf_infomax.estimation.report import run_all
from tf_infomax.estimation.v_information import FAMILIES, v_information
from tf_infomax.estimation.values import Scores
from tf_infomax.estimation.wasserstein import wasserstein_dependency

RHO = 0.8
TRUTH = -0.5 * math.log(1.0 - RHO**2)  # 0.5108


def log_ratio(x, y, rho=RHO):
    """log p(x, y) / p(x) p(y) of standard Gaussians with this correlation."""
    square = rho**2 * (x**2 + y**2) - 2.0 * rho * x * y
    return -0.5 * math.log(1.0 - rho**2) - square / (2.0 * (1.0 - rho**2))


@pytest.fixture(scope="module")
def pairs():
    return synthetic.draw("gaussian", 3000, seed=1, dim=1, mi=TRUTH)


@pytest.fixture(scope="module")
def optimal(pairs):
    """The matrix of true log-ratios, f(x_i, y_j)."""
    return log_ratio(pairs.x, pairs.y.T)


@pytest.fixture
def scores(rng):
    return rng.normal(size=(7, 7)) * 2.0


class TestValues:
    """Functionals of a score matrix; ground truth within the error of 3,000 pairs."""

    def test_agree_with_the_bounds_for_training(self, scores, rng):
        s, u = Scores(scores), tf.constant(scores, tf.float32)
        a = rng.normal(size=7)
        log_a = tf.constant(a, tf.float32)
        for ours, theirs in [
            (values.dv(s), bounds.dv(u)),
            (values.nwj(s), bounds.nwj(u)),
            (values.info_nce(s, "x"), bounds.info_nce(u, "x")),
            (values.info_nce(s, "y"), bounds.info_nce(u, "y")),
            (values.info_nce(s), bounds.info_nce(u, "both")),
            (values.tuba(s, a), bounds.tuba(u, log_a)),
            (values.flo(s, a), bounds.flo(u, log_a)),
            (values.interpolated(s, a, 0.3), bounds.interpolated(u, log_a, 0.3)),
            (values.interpolated(s, a, 1.0), bounds.interpolated(u, log_a, 1.0)),
        ]:
            assert ours == pytest.approx(float(theirs), rel=1e-5)

    def test_optimal_critics_give_the_truth(self, optimal):
        s = Scores(optimal)
        exact = pytest.approx(TRUTH, abs=0.04)
        assert values.dv(s) == exact
        assert values.dv(Scores(optimal + 3.0)) == exact  # up to a constant
        assert values.nwj(Scores(optimal + 1.0)) == exact
        assert values.nwj_of_log_ratio(s) == exact
        assert values.density_ratio(s) == exact
        assert values.smile(s, 5.0) == exact
        assert values.info_nce(s) == exact
        assert values.flo(s, -np.diagonal(optimal)) == exact
        assert values.tuba(s, np.zeros(len(optimal))) == exact
        shift = np.linspace(-3.0, 3.0, len(optimal))
        assert values.tuba(Scores(optimal + shift), shift) == exact
        for alpha in (0.01, 0.5, 1.0):
            assert values.interpolated(s, np.zeros(len(optimal)), alpha) == exact

    def test_public_bug_jensen_shannon_is_not_one_over_e_too_low(self, optimal):
        # nwj() of a critic whose optimum is log p/q, as peers report their "JS".
        wrong = values.nwj(Scores(optimal))
        right = values.nwj_of_log_ratio(Scores(optimal))
        assert right - wrong == pytest.approx(math.exp(-1.0), abs=0.03)
        assert ESTIMATORS["jsd"].formula.startswith("1 + E_p[f] - E_q[e^f]")

    def test_upper_bounds_with_the_true_conditional(self, pairs):
        variance = 1.0 - RHO**2
        conditional = -0.5 * (pairs.y.T - RHO * pairs.x) ** 2 / variance
        conditional -= 0.5 * math.log(2.0 * math.pi * variance)
        s = Scores(conditional)
        assert values.leave_one_out(s) == pytest.approx(TRUTH, abs=0.04)
        # CLUB is the mean of the two KL divergences' sum: rho^2 / (1 - rho^2).
        assert values.club(s) == pytest.approx(RHO**2 / variance, abs=0.1)
        assert values.club(s) > TRUTH

    @pytest.mark.parametrize(("tau", "excess"), [(1.0, 0.796), (5.0, 0.575)])
    def test_smile_of_the_exact_ratio_is_too_high(self, tau, excess):
        """-log E_q[clip(e^f)] at 8 bits in 20 + 20 dimensions: 4 million draws of q."""
        truth = 8 * math.log(2.0)
        data = synthetic.draw("gaussian", 2000, seed=5, dim=20, mi=truth)
        rho = math.sqrt(1.0 - math.exp(-2.0 * truth / 20))
        pairs = zip(data.x.T, data.y.T, strict=True)
        s = Scores(sum(log_ratio(x[:, None], y[None], rho) for x, y in pairs))
        error = s.mean_positive() - truth  # that of 2,000 pairs
        assert values.smile(s, tau) - truth - error == pytest.approx(excess, abs=0.03)

    def test_smile_without_clipping_is_dv(self, scores):
        s = Scores(scores)
        assert values.smile(s, 50.0) == pytest.approx(values.dv(s), rel=1e-12)

    def test_alpha_0_is_tuba_and_1_is_leave_one_out_info_nce(self, scores, rng):
        a, n = rng.normal(size=7), 7
        s = Scores(scores)
        assert values.interpolated(s, a, 0.0) == values.tuba(s, a)
        near = values.interpolated(s, a, 1e-9)
        assert near == pytest.approx(values.tuba(s, a), abs=1e-6)
        total = 0.0
        for j in range(n):  # left out
            others = [i for i in range(n) if i != j]
            for i in others:
                own = np.mean(np.exp(scores[others, i]))
                negative = np.mean(np.exp(scores[others, j]))
                total += scores[i, i] - np.log(own) - np.exp(scores[i, j]) / negative
        expected = 1.0 + total / (n * (n - 1))
        assert values.interpolated(s, a, 1.0) == pytest.approx(expected, rel=1e-10)

    @pytest.mark.parametrize("alpha", [0.01, 0.5, 1.0])
    def test_interpolated_stays_below_its_ceiling(self, alpha):
        s = Scores(60.0 * np.eye(40))
        ceiling = math.log(39 / alpha)
        value = values.interpolated(s, np.zeros(40), alpha)
        assert value <= ceiling + 1e-9
        assert ESTIMATORS["interpolated"].ceiling(
            40, type("O", (), {"alpha": alpha})
        ) == pytest.approx(ceiling)

    def test_info_nce_is_at_most_log_n(self):
        value = values.info_nce(Scores(1000.0 * np.eye(40)))
        assert value == pytest.approx(math.log(40))

    def test_own_pairs_are_no_negatives(self, scores):
        changed = scores + np.diag(np.full(7, 5.0))
        for function in (values.dv, values.nwj, values.club):
            difference = function(Scores(changed)) - function(Scores(scores))
            assert difference == pytest.approx(5.0)

    @pytest.mark.parametrize(
        "function",
        [
            values.dv, values.nwj, values.nwj_of_log_ratio, values.club,
            lambda s: values.smile(s, 2.0),
        ],
    )  # fmt: skip
    def test_a_weight_counts_copies_of_a_pair(self, function, scores):
        counts = np.array([2, 0, 1, 3, 1, 0, 1])
        rows = np.repeat(np.arange(7), counts)
        # By hand: all copies of a pair are left out of its negatives.
        different = rows[:, None] != rows[None]
        negatives = scores[rows][:, rows][different]
        positive = scores[rows, rows].mean()
        log_mean = np.log(np.mean(np.exp(negatives)))
        expected = {
            values.dv: positive - log_mean,
            values.nwj: positive - np.exp(log_mean - 1.0),
            values.nwj_of_log_ratio: 1.0 + positive - np.exp(log_mean),
            values.club: positive - negatives.mean(),
        }.get(
            function,
            positive
            - np.log(np.mean(np.clip(np.exp(negatives), np.exp(-2), np.exp(2)))),
        )
        weighted = Scores(scores).weighted(counts.astype(float))
        assert function(weighted) == pytest.approx(expected, rel=1e-12)

    def test_effective_size_counts_equal_negatives_and_one_outlier(self):
        equal = np.zeros((10, 10))
        assert values.effective_size(Scores(equal)) == pytest.approx(90.0)
        equal[2, 3] = 50.0
        assert values.effective_size(Scores(equal)) == pytest.approx(1.0)

    def test_wrong_shapes_are_refused(self):
        with pytest.raises(ValueError, match=r"\(3, 4\)"):
            Scores(np.zeros((3, 4)))

    def test_mine_s_gradient_uses_the_average(self, scores):
        u = tf.Variable(scores, dtype=tf.float32)
        with tf.GradientTape() as tape:
            value, average = bounds.mine(u, tf.constant(-math.inf))
        first = bounds._log_mean_exp_negatives(tf.constant(scores, tf.float32))
        assert float(average) == pytest.approx(float(first))
        with tf.GradientTape() as other:
            dv = bounds.dv(u)
        np.testing.assert_allclose(
            tape.gradient(value, u), other.gradient(dv, u), rtol=1e-4
        )
        past = float(first) + math.log(3.0)  # 0.9 * 3 m + 0.1 m = 2.8 m
        with tf.GradientTape() as tape:
            value, average = bounds.mine(u, tf.constant(past), decay=0.9)
        assert float(average) == pytest.approx(float(first) + math.log(2.8), rel=1e-5)
        off = ~np.eye(7, dtype=bool)
        softmax = np.exp(scores) * off / np.sum(np.exp(scores) * off)
        np.testing.assert_allclose(
            tape.gradient(value, u).numpy()[off], -softmax[off] / 2.8, rtol=1e-4
        )


class TestNonIid:
    """Negatives that share a context with their pair: no bound any more."""

    @pytest.fixture(scope="class")
    def batches(self):
        draws = synthetic.draw("shared_context", 128 * 600, seed=0)
        assert draws.mi == pytest.approx(0.020411, abs=1e-6)
        return draws.x.reshape(600, 128, 1), draws.y.reshape(600, 1, 128)

    def test_marginals_and_correlations(self):
        draws = synthetic.draw("shared_context", 128 * 4000, seed=3)
        assert np.var(draws.x) == pytest.approx(2.0, rel=0.05)
        assert np.corrcoef(draws.x[:, 0], draws.y[:, 0])[0, 1] == pytest.approx(
            0.2, abs=0.03
        )
        rolled = np.roll(draws.y.reshape(4000, 128), 1, axis=1).ravel()
        correlation = np.corrcoef(draws.x[:, 0], rolled)[0, 1]
        assert correlation == pytest.approx(-0.25, abs=0.03)

    def test_nwj_tends_to_another_divergence(self, batches):
        def log_gaussian(x, y, rho):
            square = (x**2 - 2 * rho * x * y + y**2) / (2.0 * (1 - rho**2))
            return -0.5 * square - 0.5 * math.log(1 - rho**2)

        x, y = batches
        critic = log_gaussian(x, y, 0.2) - log_gaussian(x, y, -0.25)
        per_batch = [values.nwj_of_log_ratio(Scores(matrix)) for matrix in critic]
        error = np.std(per_batch) / math.sqrt(len(per_batch))
        assert np.mean(per_batch) == pytest.approx(0.108142, abs=4 * error)
        assert np.mean(per_batch) > 0.0204 + 4 * error

    def test_info_nce_exceeds_the_information(self, batches):
        x, y = batches
        critic = 0.494 * x * y - 0.022 * y**2
        per_batch = [values.info_nce(Scores(matrix), "y") for matrix in critic]
        error = np.std(per_batch) / math.sqrt(len(per_batch))
        assert np.mean(per_batch) == pytest.approx(0.2018, abs=4 * error)
        assert np.mean(per_batch) > 0.15

    def test_independent_negatives_do_not(self):
        draws = synthetic.draw("shared_context", 128 * 400, seed=0, iid=True)
        x, y = draws.x.reshape(400, 128, 1), draws.y.reshape(400, 1, 128)
        critic = log_ratio(x / math.sqrt(2), y / math.sqrt(2), 0.2)
        per_batch = [values.info_nce(Scores(matrix)) for matrix in critic]
        error = np.std(per_batch) / math.sqrt(len(per_batch))
        assert np.mean(per_batch) == pytest.approx(0.0198, abs=4 * error)


class TestNeighbors:
    @pytest.mark.parametrize(
        ("rho", "n", "mean", "sd"),
        [
            (0.0, 250, -0.004, 0.045),
            (0.3, 1000, 0.047, 0.026),
            (0.6, 1000, 0.226, 0.033),
            (0.9, 1000, 0.841, 0.034),
            (0.99, 1000, 1.982, 0.033),
        ],
    )
    def test_ksg_gives_the_published_table(self, rho, n, mean, sd):
        mi = -0.5 * math.log(1.0 - rho**2)
        first, second = [], []
        for seed in range(40):
            draws = synthetic.draw("gaussian", n, seed=seed, dim=1, mi=mi)
            first.append(neighbors.ksg1(draws.x, draws.y, 3).mean())
            second.append(neighbors.ksg2(draws.x, draws.y, 3).mean())
        assert np.mean(first) == pytest.approx(
            mean, abs=3.5 * sd / math.sqrt(40) + 0.004
        )
        assert np.std(first) == pytest.approx(sd, rel=0.45)
        assert np.mean(second) == pytest.approx(np.mean(first), abs=0.012)

    def test_counts_are_strict_for_the_first_and_not_for_the_second(self):
        x, y = np.array([0.0, 1.0, 2.1, 3.3, 4.6]), np.array([0.0, 2.2, 1.3, 5.0, 3.45])
        both = np.stack([x, y], axis=1)
        distance = np.abs(both[:, None] - both[None]).max(axis=2)
        from scipy.special import digamma

        expected = []
        for i in range(5):
            order = np.argsort(distance[i], kind="stable")
            radius = distance[i, order[2]]
            nx = np.sum(np.abs(x - x[i]) < radius) - 1
            ny = np.sum(np.abs(y - y[i]) < radius) - 1
            expected.append(digamma(2) + digamma(5) - digamma(nx + 1) - digamma(ny + 1))
        np.testing.assert_allclose(neighbors.ksg1(x, y, 2), expected)

    def test_correction_helps_where_dependence_is_strong(self):
        mi = -0.5 * math.log(1.0 - 0.99999**2)  # 5.4
        draws = synthetic.draw("gaussian", 800, seed=0, dim=1, mi=mi)
        plain = neighbors.ksg2(draws.x, draws.y, 5).mean()
        corrected = neighbors.lnc(draws.x, draws.y, 5).mean()
        assert abs(corrected - mi) < abs(plain - mi)

    def test_correction_leaves_weak_dependence_alone(self):
        draws = synthetic.draw("gaussian", 1500, seed=0, dim=3, mi=0.5)
        plain = neighbors.ksg2(draws.x, draws.y, 7).mean()
        corrected = neighbors.lnc(draws.x, draws.y, 7).mean()
        assert corrected == pytest.approx(plain, abs=0.1)

    def test_mixed_of_discrete_variables_is_the_plug_in(self, rng):
        x = rng.integers(0, 4, 4000)
        y = np.where(rng.uniform(size=4000) < 0.7, x, rng.integers(0, 4, 4000))
        expected = mutual_info_score(x, y)
        estimate = estimate_mi(x, y, "mixed").value
        assert estimate == pytest.approx(expected, abs=0.01)

    def test_mixed_of_continuous_variables_is_ksg(self, pairs):
        x, y = pairs.x[:500], pairs.y[:500]
        mixed, ksg = (estimate_mi(x, y, method).value for method in ("mixed", "ksg"))
        assert mixed == pytest.approx(ksg, abs=1e-12)

    @pytest.mark.parametrize("name", ["ksg1", "ksg2", "lnc"])
    def test_all_distances_give_what_trees_give(self, name, rng, monkeypatch):
        x = rng.normal(size=(300, 8))
        y = x + rng.normal(size=x.shape)
        assert x.shape[1] + y.shape[1] > nearest._TREE_DIMENSIONS
        monkeypatch.setattr(nearest, "_BLOCK", 5000)  # several blocks
        by_all = getattr(neighbors, name)(x, y, 4)
        monkeypatch.setattr(nearest, "_TREE_DIMENSIONS", 100)
        np.testing.assert_allclose(by_all, getattr(neighbors, name)(x, y, 4))

    @pytest.mark.parametrize("separation", [0.5, 2.0])
    def test_label_against_number(self, separation, rng):
        labels = rng.integers(0, 2, 4000)
        y = rng.normal(size=(4000, 1)) + separation * (2 * labels[:, None] - 1)

        def integrand(v):
            p = lambda mean: math.exp(-0.5 * (v - mean) ** 2) / math.sqrt(2 * math.pi)
            a, b = p(separation), p(-separation)
            mixture = 0.5 * (a + b)
            return sum(0.5 * q * math.log(q / mixture) for q in (a, b) if q > 1e-300)

        truth = integrate.quad(integrand, -12, 12)[0]
        estimates = [
            neighbors.discrete_continuous(labels, y, 5).mean(),
            neighbors.ksg1(labels.astype(float), y, 5).mean(),
        ]
        np.testing.assert_allclose(estimates, truth, atol=0.03)

    @pytest.mark.parametrize("k", [0, 20])
    def test_impossible_k_is_refused(self, k, rng):
        x = rng.normal(size=20)
        with pytest.raises(ValueError, match="k must be"):
            neighbors.ksg1(x, x, k)


class TestGaussian:
    def test_is_the_log_determinant(self, rng):
        mixing = rng.normal(size=(7, 7))
        draws = rng.normal(size=(500, 7)) @ mixing
        covariance = np.cov(draws.T)
        expected = synthetic.gaussian_mi(covariance, 3)
        x, y = draws[:, :3], draws[:, 3:]
        assert gaussian_module.gaussian_mi(x, y, correct=False) == pytest.approx(
            expected
        )

    @pytest.mark.parametrize(
        ("task", "truth"), [("dense", 1.2922), ("two_pair", 1.0217)]
    )
    def test_correction_removes_the_bias(self, task, truth):
        plain, corrected = [], []
        for seed in range(20):
            draws = synthetic.draw(task, 1000, seed=seed, dim=25)
            assert draws.mi == pytest.approx(truth, abs=1e-4)
            plain.append(gaussian_module.gaussian_mi(draws.x, draws.y, False))
            corrected.append(gaussian_module.gaussian_mi(draws.x, draws.y))
        error = np.std(corrected) / math.sqrt(20)
        assert np.mean(corrected) == pytest.approx(truth, abs=4 * error)
        assert np.mean(plain) - truth == pytest.approx(25 * 25 / 2000, rel=0.2)


class TestSamplers:
    @pytest.mark.parametrize(
        ("dim", "dof", "mi"),
        [(1, 1, 0.2242), (2, 1, 0.4319), (2, 2, 0.1931), (3, 2, 0.2909),
         (3, 3, 0.1787), (5, 2, 0.4482), (5, 3, 0.2985)],
    )  # fmt: skip
    def test_student_has_the_published_information(self, dim, dof, mi):
        draws = synthetic.draw("student", 10, dim=dim, dof=dof)
        assert draws.mi == pytest.approx(mi, abs=1e-4)

    @pytest.mark.parametrize(
        ("task", "options", "mi"),
        [
            ("additive_uniform", {"noise": 0.1}, 1.7094),
            ("additive_uniform", {"noise": 0.75}, 0.3333),
            ("bimodal", {}, 0.4133),
            ("swiss_roll", {}, 0.4133),
            ("gaussian", {"dim": 1, "mi": 0.8, "transform": "cubic"}, 0.8),
            ("gaussian", {"dim": 1, "mi": 0.8, "transform": "half_cube"}, 0.8),
            ("student", {"dim": 1, "dof": 1, "transform": "asinh"}, 0.2242),
            ("two_pair", {"dim": 2}, 1.0217),
            ("autoregressive", {"rho": 0.9, "lag": 2}, -0.5 * math.log(1 - 0.9**4)),
        ],
    )
    def test_the_information_is_what_neighbours_find(self, task, options, mi):
        draws = synthetic.draw(task, 4000, seed=0, **options)
        assert draws.mi == pytest.approx(mi, abs=1e-4)
        sides = [fit_marginal(side, "rank")(side) for side in (draws.x, draws.y)]
        estimate = neighbors.ksg1(*sides, 5).mean()
        assert estimate == pytest.approx(mi, abs=0.06)

    def test_spiral_turns_by_the_matrix_exponential(self):
        plain = synthetic.draw("two_pair", 5, seed=0, dim=3)
        turned = synthetic.draw("spiral", 5, seed=0, dim=3, speed=0.7)
        generator = np.diag(np.ones(2), 1) - np.diag(np.ones(2), -1)
        for before, after in zip(plain.x, turned.x, strict=True):
            matrix = linalg.expm(0.7 * np.sum(before**2) * generator)
            np.testing.assert_allclose(after, matrix @ before, atol=1e-10)

    def test_xor_hides_its_information_from_single_bits(self):
        draws = synthetic.draw("xor", 4000)
        assert draws.mi == pytest.approx(math.log(2.0))
        for bit in draws.x.T:
            assert mutual_info_score(bit, draws.y[:, 0]) < 0.002

    def test_unknown_tasks_and_options_are_refused(self):
        with pytest.raises(ValueError, match="staircase"):
            synthetic.draw("staircase", 10)
        with pytest.raises(ValueError, match="dims"):
            synthetic.draw("gaussian", 10, dims=3)


class TestVInformation:
    def test_xor_is_nothing_to_a_line_and_all_to_a_network(self):
        draws = synthetic.draw("xor", 3000)
        line = v_information(draws.x, draws.y, "linear")
        assert abs(line.value) < 0.01
        network = v_information(draws.x, draws.y, "mlp")
        assert network.value == pytest.approx(math.log(2.0), abs=0.03)
        assert network.ceiling == pytest.approx(math.log(2.0))

    def test_columns_of_noise_take_nothing_away_from_a_line(self, rng):
        """The family may leave them out; without a penalty it would fit them."""
        labels = rng.integers(0, 3, 1500)
        x = 2.0 * np.eye(3)[labels] + rng.normal(size=(1500, 3))
        alone = v_information(x, labels, "linear").value
        assert alone > 0.45
        noise = rng.normal(size=(1500, 300))
        beside = v_information(np.concatenate([x, noise], axis=1), labels, "linear")
        assert beside.value > 0.7 * alone

    def test_parts_that_are_given_are_those_that_are_used(self, rng):
        labels = rng.integers(0, 2, 900)
        x = labels + 0.1 * rng.normal(size=900)
        x[600:] = rng.normal(size=300)  # of no use to what is reported
        parts = np.split(np.arange(900), [500, 600])
        found = v_information(x, labels, "linear", parts=parts)
        assert found.pairs == {"train": 600, "report": 300}
        assert found.value < 0.1
        back = v_information(x, labels, "linear", parts=parts[1:] + parts[:1])
        assert back.pairs == {"train": 400, "report": 500}
        with pytest.raises(PairsError, match="parts must be positions below 900"):
            v_information(x, labels, "linear", parts=(parts[0], parts[0], parts[2]))

    def test_linear_gaussian_family_gives_mutual_information(self):
        truth = -0.5 * math.log(1.0 - 0.9**2)
        draws = synthetic.draw("gaussian", 20_000, dim=1, mi=truth)
        estimate = v_information(draws.x, draws.y, "linear")
        assert estimate.value == pytest.approx(truth, abs=0.03)
        assert estimate.interval[0] < truth < estimate.interval[1]

    def test_several_outputs_share_a_covariance(self):
        draws = synthetic.draw("dense", 20_000, dim=3)
        estimate = v_information(draws.x, draws.y, "linear")
        assert estimate.value == pytest.approx(draws.mi, abs=0.03)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_independence_gives_nothing(self, family, rng):
        x, y = rng.normal(size=(2000, 3)), rng.integers(0, 3, 2000)
        assert v_information(x, y, family).value < 0.01

    @pytest.mark.parametrize("family", ["linear", "mlp", "knn"])
    def test_numbers_are_predicted_by_every_family(self, family):
        draws = synthetic.draw("gaussian", 3000, dim=1, mi=0.8)
        estimate = v_information(draws.x, draws.y, family)
        assert estimate.value == pytest.approx(0.8, abs=0.1)

    def test_pointwise_of_a_linear_gaussian_is_the_log_ratio(self):
        """-log g0(y) + log g(x)(y); with the true family it is log p/q."""
        rho = 0.8
        mi = -0.5 * math.log(1.0 - rho**2)
        draws = synthetic.draw("gaussian", 50_000, dim=1, mi=mi)
        estimate = v_information(draws.x, draws.y, "linear")
        x, y = np.array([0.0, 1.0, -1.0]), np.array([0.0, 1.0, 1.0])
        expected = mi + 0.5 * y**2 - 0.5 * (y - rho * x) ** 2 / (1.0 - rho**2)
        np.testing.assert_allclose(estimate.pointwise(x, y), expected, atol=0.05)

    def test_pointwise_of_labels(self, rng):
        labels = rng.integers(0, 2, 4000)
        x = 2.0 * labels + rng.normal(size=4000)
        estimate = v_information(x, labels, "linear")
        given = np.array([1.0, 3.0]), np.array([0, 1])  # even odds; e^4 : 1
        expected = [0.0, math.log(2.0) - math.log1p(math.exp(-4.0))]
        np.testing.assert_allclose(estimate.pointwise(*given), expected, atol=0.12)
        with pytest.raises(PairsError, match="labels that were not there"):
            estimate.pointwise(np.zeros(1), np.array([7]))

    def test_constants_use_nothing_at_all(self, rng):
        x = rng.normal(size=(500, 2))
        assert v_information(x, x, "constant").value == pytest.approx(0.0)
        with pytest.raises(ValueError, match="nothing for 'constant'"):
            v_information(x, x, "constant", widths=(8,))

    def test_is_not_symmetric(self):
        draws = synthetic.draw("gaussian", 5000, dim=1, mi=1.0, transform="cubic")
        forth = v_information(draws.x, draws.y, "linear").value
        back = v_information(draws.y, draws.x, "knn").value
        assert back > forth + 0.1

    def test_unknown_family_is_refused(self, rng):
        with pytest.raises(ValueError, match="forest"):
            v_information(rng.normal(size=(50, 1)), rng.normal(size=50), "forest")


class TestWasserstein:
    def test_two_points_are_half_apart(self, rng):
        x = rng.integers(0, 2, 3000).astype(float)
        estimate = wasserstein_dependency(x, x, max_steps=1000)
        assert estimate.value == pytest.approx(0.5, abs=0.06)
        assert estimate.unit != "nats"
        doubled = wasserstein_dependency(2.0 * x, 2.0 * x, max_steps=1000)
        assert doubled.value == pytest.approx(2.0 * estimate.value, rel=0.2)

    def test_spectral_norms_allow_for_all_of_it(self, rng):
        x = rng.integers(0, 2, 3000).astype(float)
        options = dict(lipschitz="spectral", max_steps=600, widths=(32, 32))
        estimate = wasserstein_dependency(x, x, **options)
        assert estimate.value == pytest.approx(0.5, abs=0.06)
        assert estimate.diagnostics["largest_gradient"] < 1.0 + 1e-5
        with pytest.raises(ValueError, match=r"even.*\(33,\)"):
            wasserstein_dependency(x, x, lipschitz="spectral", widths=(33,))

    @pytest.mark.parametrize("lipschitz", ["penalty", "spectral"])
    def test_predictive_coding_of_two_points(self, lipschitz, rng):
        """f is 1 for equal points and 0 for others, of which there are half."""
        x = rng.integers(0, 2, 1000).astype(float)
        options = dict(lipschitz=lipschitz, widths=(16, 16), batch_size=64)
        estimate = wasserstein_dependency(
            x, x, predictive=True, max_steps=600, learning_rate=3e-3, **options
        )
        truth = 1.0 - math.log(0.5 * (math.e + 1.0))  # 0.380
        assert estimate.value == pytest.approx(truth, abs=0.03)
        assert estimate.method == "wpc"
        # InfoNCE and no distance: it does not double with x, and log 2 is its limit.
        assert estimate.unit == "nats"
        assert estimate.direction == "lower"
        assert estimate.value < math.log(2.0)

    def test_independence_gives_nothing(self, rng):
        x, y = rng.normal(size=(2, 3000, 1))
        estimate = wasserstein_dependency(x, y, max_steps=300)
        assert abs(estimate.value) < 0.1


class TestImax:
    def test_is_half_the_log_of_the_variance_ratio(self, rng):
        signal, noise = 2.0, 0.5
        s = signal * rng.normal(size=100_000)
        a, b = (s + noise * rng.normal(size=100_000) for _ in range(2))
        expected = 0.5 * math.log(1.0 + 2.0 * signal**2 / noise**2)
        assert float(imax(a, b)) == pytest.approx(expected, abs=0.01)

    def test_independent_units_add_up(self, rng):
        a = rng.normal(size=(50_000, 2))
        b = a + rng.normal(size=(50_000, 2))
        each = sum(float(imax(a[:, k], b[:, k])) for k in range(2))
        assert float(imax(a, b)) == pytest.approx(each, abs=0.01)

    def test_equal_outputs_stay_finite(self, rng):
        a = rng.normal(size=100)
        assert math.isfinite(float(imax(a, a)))
        with pytest.raises(ValueError, match="shape"):
            imax(a, a[:50])

    def test_binary_units(self):
        a = np.array([1.0, 1.0, 0.0, 0.0])
        assert float(imax_binary(a, a)) == pytest.approx(math.log(2.0))
        b = np.array([1.0, 0.0, 1.0, 0.0])
        assert float(imax_binary(a, b)) == pytest.approx(0.0, abs=1e-9)


class TestProtocol:
    def test_parts_are_disjoint_and_keep_blocks(self):
        (parts,) = split(1000, seed=0, block=7)
        together = np.sort(np.concatenate(parts))
        np.testing.assert_array_equal(together, np.arange(1000))
        blocks = [set(part // 7) for part in parts]
        assert not blocks[0] & blocks[1] | blocks[1] & blocks[2] | blocks[0] & blocks[2]

    @pytest.mark.parametrize("kind", ["standardize", "rank", "asinh", "none"])
    def test_marginals_are_monotonic(self, kind, rng):
        values = rng.standard_t(2, size=(300, 2))
        out = fit_marginal(values, kind)(values)
        assert out.shape == values.shape
        for before, after in zip(values.T, out.T, strict=True):
            np.testing.assert_array_equal(np.argsort(before), np.argsort(after))

    def test_rank_of_new_values_is_that_among_the_old(self):
        marginal = fit_marginal(np.arange(99.0)[:, None], "rank")
        assert marginal(np.array([[49.0]]))[0, 0] == pytest.approx(0.0, abs=1e-9)
        ends = marginal(np.array([[-5.0], [500.0]]))
        assert np.isfinite(ends).all()

    def test_derangements_keep_nothing_in_its_place(self, rng):
        for n in (2, 3, 50):
            order = checks.derange(n, rng)
            assert sorted(order) == list(range(n))
            assert not np.any(order == np.arange(n))

    def test_bootstrap_lies_about_the_estimate(self, rng):
        """What resampling adds (here: for each pair left out) fresh pairs do not."""
        draws = rng.normal(size=2000)
        value = lambda w: float(w @ draws / w.sum() + np.mean(w == 0))
        low, high = intervals.bootstrap(value, draws.mean(), 2000, 0.9, 0, 1)
        half = 1.645 / math.sqrt(2000)
        assert low == pytest.approx(draws.mean() - half, abs=0.4 * half)
        assert high == pytest.approx(draws.mean() + half, abs=0.4 * half)

    def test_bootstrap_of_a_mean_has_its_standard_error(self, rng):
        draws = rng.normal(size=4000)
        low, high = intervals.bootstrap(
            lambda w: float(w @ draws / w.sum()), draws.mean(), 4000, 0.9, 0, 1
        )
        assert high - low == pytest.approx(2 * 1.645 / math.sqrt(4000), rel=0.15)

    def test_blocks_widen_the_interval_of_dependent_rows(self, rng):
        draws = np.repeat(rng.normal(size=200), 20)
        mean = lambda w: float(w @ draws / w.sum())
        narrow, wide = (
            intervals.bootstrap(mean, draws.mean(), 4000, 0.9, 0, b) for b in (1, 20)
        )
        assert np.ptp(wide) == pytest.approx(np.ptp(narrow) * math.sqrt(20), rel=0.3)

    def test_jackknife_of_a_mean_has_its_standard_error(self, rng):
        draws = rng.normal(size=6000)
        low, high = intervals.jackknife(
            lambda rows: float(draws[rows].mean()), draws.mean(), 6000, 0.9, 0, 1
        )
        assert high - low == pytest.approx(2 * 1.796 / math.sqrt(6000), rel=0.6)


class TestClimb:
    """The loop that trains critics."""

    @pytest.mark.parametrize(
        ("schedule", "sum_of_rates"),
        [
            ("constant", 40.0),
            ("cosine", sum(0.5 + 0.5 * math.cos(math.pi * k / 40) for k in range(40))),
        ],
    )
    def test_learning_rates_are_those_of_the_schedule(self, schedule, sum_of_rates):
        """Adam moves by its rate where all gradients are the same."""
        variable, heard = tf.Variable(0.0), []

        class Line:
            def get_weights(self):
                return [variable.numpy()]

            def set_weights(self, weights):
                variable.assign(weights[0])

        options = TrainOptions(
            batch_size=2, learning_rate=0.1, max_steps=40, check_every=8,
            schedule=schedule, shown=heard.append,
        )  # fmt: skip
        rows = (tf.zeros([5]),)
        steps = loop.Loop(
            [variable], lambda rows, key: (-variable, variable), rows, options
        )
        climber = loop.Training(Line())
        loop.climb(climber, steps, rows, lambda: float(variable), options)
        assert float(variable) == pytest.approx(0.1 * sum_of_rates, rel=1e-4)
        assert heard == [8, 16, 24, 32, 40]


class TestPrograms:
    """What was compiled for pairs trains others with the same columns and options."""

    OPTIONS = MappingProxyType(
        {"max_steps": 40, "check_every": 20, "folds": 2, "widths": (8,)}
    )

    @pytest.fixture
    def compiled(self, monkeypatch):
        """The loops that are compiled, from nothing kept."""
        monkeypatch.setattr(neural, "_PROGRAMS", {})
        loops = []

        def build(*arguments):
            loops.append(loop.Loop(*arguments))
            return loops[-1]

        monkeypatch.setattr(neural, "Loop", build)
        return loops

    @pytest.mark.parametrize("method", ["auto", "mine", "flo", "smile"])
    def test_a_kept_one_trains_to_the_bits_of_a_new_one(self, method, compiled):
        data, other = (
            synthetic.draw("gaussian", n, seed=seed, dim=3, mi=2.0)
            for n, seed in ((1800, 0), (1700, 1))
        )
        for pairs in (data, other):  # what no copula has
            pairs.y[:, 0] = np.abs(pairs.y[:, 0])
        estimate = lambda pairs: estimate_mi(
            pairs.x, pairs.y, method=method, **self.OPTIONS
        )
        alone = estimate(data)
        assert len(compiled) == 1  # of two folds, and of half of the pairs
        assert estimate(other).history != alone.history
        again = estimate(data)
        assert len(compiled) == 1
        assert again.value == alone.value
        assert again.history == alone.history
        for one, other in zip(alone.trainings, again.trainings, strict=True):
            weights = [each.model.get_weights() for each in (one, other)]
            for pair in zip(*weights, strict=True):
                np.testing.assert_array_equal(*pair)

    def test_an_encoder_that_was_changed_is_compiled_anew(self, compiled):
        data = synthetic.draw("gaussian", 300, seed=0, dim=3, mi=1.0)
        dropout = keras.layers.Dropout(0.0)
        encoder = keras.Sequential([keras.Input([3]), keras.layers.Dense(2), dropout])
        estimate = lambda: estimate_mi(
            data.x, data.y, method="info_nce", x_encoder=encoder, **self.OPTIONS
        )
        plain = estimate()
        dropout.rate = 0.9
        assert estimate().history != plain.history
        assert len(compiled) == 2

    def test_threads_do_not_share_weights(self):
        data = [
            synthetic.draw("gaussian", 400, seed=seed, dim=3, mi=1.0) for seed in (0, 1)
        ]
        estimate = lambda pairs: estimate_mi(
            pairs.x, pairs.y, method="info_nce", **self.OPTIONS
        )
        alone = [estimate(pairs).history for pairs in data]
        with futures.ThreadPoolExecutor(2) as pool:
            assert [each.history for each in pool.map(estimate, data)] == alone

    def test_few_are_kept(self):
        data = synthetic.draw("gaussian", 200, seed=0, dim=3, mi=1.0)
        for width in range(2, 13):
            options = {**self.OPTIONS, "widths": (width,), "max_steps": 1, "folds": 1}
            estimate_mi(data.x, data.y, method="info_nce", **options)
        assert len(neural._PROGRAMS) == 8


class TestEstimateMi:
    @pytest.fixture(scope="class")
    def data(self):
        return synthetic.draw("gaussian", 4000, seed=0, dim=2, mi=1.0)

    @pytest.mark.parametrize("method", ["nwj", "info_nce", "smile", "jsd", "mine"])
    def test_critics_come_close_from_their_side(self, method, data):
        estimate = estimate_mi(
            data.x, data.y, method=method, max_steps=600, learning_rate=2e-3
        )
        assert estimate.value == pytest.approx(1.0, abs=0.2)
        low, high = estimate.interval
        assert low < estimate.value < high
        assert estimate.pairs == {"train": 2400, "choose": 800, "report": 800}
        assert estimate.bits == pytest.approx(estimate.value / math.log(2.0))
        ratios = estimate.pointwise(data.x[:50], data.y[:50])
        assert ratios.shape == (50,)
        truth = sum(
            log_ratio(data.x[:50, k], data.y[:50, k], synthetic.correlation_for(1.0, 2))
            for k in range(2)
        )
        assert np.corrcoef(ratios, truth)[0, 1] > 0.9

    def test_copied_rows_are_told(self, rng):
        """Without dependence, and with it; but not values that tie by rounding."""
        x, y = rng.normal(size=(2, 1000))
        copied = [np.repeat(side, 2) for side in (x, y)]
        told = " ".join(estimate_mi(*copied).warnings)
        assert "1000 of the 2000 pairs are copies" in told
        some = [np.concatenate([side, side[:60]]) for side in (x, x + y)]
        assert "60 of the 1060 pairs are copies" in " ".join(
            estimate_mi(*some).warnings
        )
        labels = rng.integers(0, 30, 1000)
        for plain in (
            (x, y),
            (x.round(2), (x + y).round(2)),
            (labels, labels),
            (labels, y),
        ):
            assert "copies of other" not in " ".join(estimate_mi(*plain).warnings)

    @pytest.mark.parametrize("method", ["l1out", "difference_of_entropies"])
    def test_conditionals_come_close(self, method, data):
        estimate = estimate_mi(data.x, data.y, method=method, learning_rate=2e-3)
        assert estimate.value == pytest.approx(1.0, abs=0.15)
        assert "conditional_log_likelihood" in estimate.diagnostics

    @pytest.mark.parametrize("method", ["ksg", "ksg2", "gaussian"])
    def test_without_training(self, method, data):
        estimate = estimate_mi(data.x, data.y, method=method)
        assert estimate.value == pytest.approx(1.0, abs=0.08)
        with pytest.raises(ValueError, match="no density ratio"):
            estimate.pointwise(data.x, data.y)

    @staticmethod
    def conditional(x, y):
        """log p(y_j | x_i) of `data`."""
        rho = synthetic.correlation_for(1.0, 2)
        squares = ((y[None] - rho * x[:, None]) ** 2).sum(axis=2)
        variance = 1.0 - rho**2
        return -0.5 * squares / variance - math.log(2.0 * math.pi * variance)

    def test_known_conditionals_bracket_the_truth(self, data):
        options = {"log_conditional": self.conditional}
        entropy = 1.0 + math.log(2.0 * math.pi)
        values = {
            "ba": estimate_mi(data.x, data.y, "ba", entropy_y=entropy, **options),
            "vub": estimate_mi(data.x, data.y, "vub", **options),
            "tnce": estimate_mi(data.x, data.y, "tnce", **options),
            "l1out_known": estimate_mi(data.x, data.y, "l1out_known", **options),
        }
        for name, estimate in values.items():
            assert estimate.value == pytest.approx(1.0, abs=0.1), name
        with pytest.raises(ValueError, match="log_conditional"):
            estimate_mi(data.x, data.y, "tnce")
        # Both KL divergences together: rho^2 / (1 - rho^2) of each of two columns.
        square = synthetic.correlation_for(1.0, 2) ** 2
        club = estimate_mi(data.x, data.y, "club_known", **options)
        assert club.value == pytest.approx(2.0 * square / (1.0 - square), rel=0.15)

    def test_bracket_has_a_lower_and_an_upper_bound(self, data, tmp_path):
        options = {"log_conditional": self.conditional, "bracket": True}
        estimate = estimate_mi(data.x, data.y, "ksg", **options)
        lower, value, upper = estimate.bracket
        assert value == estimate.value
        assert lower == estimate_mi(data.x, data.y, "tnce", **options).value
        known = estimate_mi(data.x, data.y, "l1out_known", **options)
        assert upper == known.value == known.bracket[2]
        error = np.ptp(known.interval)
        assert lower - error < 1.0 < upper + error
        panel = estimate.plot().axes[0]
        drawn = [line.get_xdata()[0] for line in panel.lines]
        assert lower in drawn
        assert upper in drawn

    def test_a_bracket_needs_what_is_known(self, data):
        for method in ("auto", "info_nce", "l1out"):
            with pytest.raises(ValueError, match="bracket=True needs log_conditional"):
                estimate_mi(data.x, data.y, method, bracket=True)

    def test_a_bracket_out_of_order_says_so(self, data):
        options = {"max_steps": 5, "check_every": 5, "bracket": True}
        estimate = estimate_mi(
            data.x, data.y, "nwj", log_conditional=self.conditional, **options
        )
        lower, value, upper = estimate.bracket
        assert value < lower <= upper
        assert "bracket is out of order" in " ".join(estimate.warnings)
        with pytest.raises(ValueError, match="log_conditional changes nothing"):
            estimate_mi(data.x, data.y, "nwj", log_conditional=self.conditional)

    def test_upper_bounds_are_of_the_true_conditional_alone(self, rng):
        """y = x or -x with noise of 0.1: half of the mass where no Gaussian puts it."""
        sd, n = 0.1, 4000
        x = rng.normal(size=(n, 1))
        y = rng.choice([-1.0, 1.0], (n, 1)) * x + sd * rng.normal(size=(n, 1))

        def conditional(x, y):
            far = -0.5 * ((y.T - [[[1.0]], [[-1.0]]] * x) / sd) ** 2
            norm = math.log(2.0 * sd * math.sqrt(2.0 * math.pi))
            return np.logaddexp(*far) - norm

        def entropy_given(x):
            y = np.linspace(-x - 12 * sd, x + 12 * sd, 4001)[None].T
            log_p = conditional(np.array([[x]]), y)[0]
            return integrate.trapezoid(-np.exp(log_p) * log_p, y[:, 0])

        given = np.linspace(0.0, 8.0, 801)
        weights = 2.0 * np.exp(-0.5 * given**2) / math.sqrt(2.0 * math.pi)
        lost = integrate.trapezoid(weights * [entropy_given(v) for v in given], given)
        truth = 0.5 * math.log(2.0 * math.pi * math.e * (1.0 + sd**2)) - lost
        assert truth == pytest.approx(1.675, abs=1e-3)  # 10^7 draws: 1.6749
        for method, steps in (("l1out", 1000), ("club", 1)):  # CLUB: of a poor fit
            fitted = estimate_mi(x, y, method, learning_rate=2e-3, max_steps=steps)
            assert fitted.interval[1] < truth - 0.3, method  # far below it
            assert fitted.direction == "neither", method
        options = {"log_conditional": conditional}
        for method in ("l1out_known", "club_known", "vub"):
            bound = estimate_mi(x, y, method, **options)
            assert bound.value > truth - np.ptp(bound.interval), method
            assert bound.direction == "upper", method

    def test_v_information_of_numbers_is_no_lower_bound(self, rng):
        """A sign and noise of 0.02: a Gaussian takes the mixture for one wide bell."""
        sign = rng.choice([-1.0, 1.0], 2000)
        estimate = v_information(sign, sign + 0.02 * rng.normal(size=2000), "linear")
        # 1/2 log(1 + 1 / 0.02^2) nats, of log 2 that there are.
        assert estimate.value == pytest.approx(math.log(50.0), abs=0.1)
        assert estimate.direction == "neither"

    def test_pointwise_of_times_of_day(self):
        draws = synthetic.draw("gaussian", 800, dim=1, mi=0.5)
        options = {"max_steps": 200, "check_every": 50}
        plain, late = (
            estimate_mi(draws.x + start, draws.y, "density_ratio", **options)
            for start in (0.0, 1.7e9)  # seconds
        )
        assert late.value == pytest.approx(plain.value, abs=0.01)
        np.testing.assert_allclose(
            late.pointwise(draws.x + 1.7e9, draws.y),
            plain.pointwise(draws.x, draws.y),
            atol=0.05,
        )

    def test_images_pass_through_the_user_s_encoder(self, rng):
        import keras

        labels = rng.integers(0, 2, 600)
        images = rng.normal(size=(600, 6, 6, 1)) + 2.0 * labels[:, None, None, None]
        encoder = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(4)])
        estimate = estimate_mi(
            images, labels[:, None], "info_nce", x_encoder=encoder, max_steps=300
        )
        assert estimate.value == pytest.approx(math.log(2.0), abs=0.15)

    def test_a_dataset_of_pairs(self, data):
        dataset = tf.data.Dataset.from_tensor_slices((data.x, data.y))
        assert estimate_mi(dataset, method="ksg") == estimate_mi(
            data.x, data.y, method="ksg"
        )

    def test_a_dataset_of_batches(self, data):
        dataset = tf.data.Dataset.from_tensor_slices((data.x, data.y)).batch(7)
        assert estimate_mi(dataset, method="ksg") == estimate_mi(
            data.x, data.y, method="ksg"
        )

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda d: d.repeat(), r"\.take\(n\)"),
            (lambda d: d.map(lambda x, y: x), r"pairs \(x, y\)"),
            (lambda d: d.take(0), "empty"),
        ],
    )
    def test_datasets_that_cannot_be_used(self, change, words, data):
        dataset = tf.data.Dataset.from_tensor_slices((data.x, data.y))
        with pytest.raises(PairsError, match=words):
            estimate_mi(change(dataset), method="ksg")

    def test_batches_of_a_fixed_size_are_batches(self, data):
        whole = len(data.x) - len(data.x) % 50
        dataset = tf.data.Dataset.from_tensor_slices((data.x, data.y))
        dataset = dataset.batch(50, drop_remainder=True)
        known = estimate_mi(data.x[:whole], data.y[:whole], method="ksg")
        assert estimate_mi(dataset, method="ksg") == known
        after = dataset.map(lambda x, y: (x, y)).prefetch(1)
        assert estimate_mi(after, method="ksg") == known
        assert estimate_mi(after.unbatch(), method="ksg") == known

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (dict(level=90), "level must be between 0 and 1.*90"),
            (dict(negatives="some"), "negatives must be one of"),
            (dict(alpha=5.0), "alpha must be between 0 and 1"),
            (dict(tau=math.nan), "tau must be above 0"),
            (dict(max_steps=-5), "max_steps must be a whole number of at least 1"),
            (dict(batch_size=1), "batch_size must be a whole number of at least 2"),
            (dict(critic="best"), "critic must be one of.*best"),
            (dict(k=10**6), "k must be below"),
            (dict(k="5"), "k must be a whole number.*'5'"),
            (dict(k=True), "k must be a whole number.*True"),
            (dict(level="90"), "level must be a number.*'90'"),
            (dict(learning_rate="1e-3"), "learning_rate must be a number"),
            (dict(bracket="no"), "bracket must be True or False.*'no'"),
            (dict(entropy_y=np.ones(2)), "entropy_y changes nothing for smile"),
            (dict(seed=1.5), "seed must be a whole number.*1.5"),
            (dict(widths=64), r"widths must be whole numbers.*64"),
            (dict(x_encoder=object()), "x_encoder must be a Keras model"),
            (dict(block=10**6), "block must leave at least 10"),
            (
                dict(widths=(8,), critic="cosine"),
                r"widths changes nothing for smile, .*\(8,\)",
            ),
        ],
    )
    def test_options_out_of_range_are_refused(self, options, words, data):
        name, *_ = options
        method = {"alpha": "interpolated", "k": "ksg"}.get(name, "smile")
        with pytest.raises(ValueError, match=words):
            estimate_mi(data.x, data.y, method, **options)

    def test_clipping_is_warned_of_where_it_makes_the_value(self, pairs):
        """Scores below -tau hardly count; scores above it do."""
        labels = np.repeat(np.arange(10.0), 100)[:, None]
        options = dict(max_steps=300, check_every=100)
        low = estimate_mi(labels, labels, "smile", **options)
        assert low.diagnostics["clipped_share"] > 0.5
        assert not any("tau" in warning for warning in low.warnings)
        high = estimate_mi(pairs.x, pairs.y, "smile", tau=0.01, **options)
        assert high.diagnostics["clipped_mass"] > 0.5
        assert any("raise tau" in warning for warning in high.warnings)

    @pytest.mark.parametrize("critic", SHALLOW)
    def test_critics_without_hidden_layers(self, critic, data):
        estimate = estimate_mi(data.x, data.y, "nwj", critic=critic, max_steps=50)
        assert math.isfinite(estimate.value)
        (training,) = estimate.trainings
        assert isinstance(training.model.critic, VECTOR_CRITICS[critic])
        said = any("no weights" in warning for warning in estimate.warnings)
        assert said == (critic != "bilinear")
        widths = dict(critic=critic, widths=(8,), max_steps=50)
        tuba = estimate_mi(data.x, data.y, "tuba", **widths)  # its baseline has them
        assert tuba.trainings[0].model.baseline.layers[0].units == 8

    def test_widths_are_taken_by_what_has_them(self):
        """A critic without hidden layers says nothing of methods that take none."""
        options = dict(critic="bilinear", widths=(8,))
        assert "widths" not in used_of(ESTIMATORS["nwj"], options)
        for row in (ESTIMATORS["tuba"], ESTIMATORS["l1out"], RELATED["wasserstein"]):
            assert used_of(row, options)["widths"] == (8,)
        for family in ("linear", "mlp"):
            used = used_of(RELATED["v_information"], options | {"family": family})
            assert ("widths" in used) == (family == "mlp")

    def test_encoders_are_copied_and_checked(self, data):
        layers = tf.keras.layers
        encoder = tf.keras.Sequential([tf.keras.Input((2,)), layers.Dense(3)])
        before = encoder.get_weights()
        call = lambda: estimate_mi(
            data.x, data.y, "nwj", x_encoder=encoder, max_steps=30, folds=2,
            learning_rate=1e-2, check_every=10,
        )  # fmt: skip
        first = call()
        assert call() == first  # not where the last training ended
        for own, given in zip(before, encoder.get_weights(), strict=True):
            np.testing.assert_array_equal(own, given)
        copies = [t.model.encoders[0].get_weights()[0] for t in first.trainings]
        assert np.abs(copies[0] - before[0]).max() > 1e-3
        assert np.abs(copies[0] - copies[1]).max() > 1e-3
        encoder.trainable = False  # what is frozen stays so
        frozen = call().trainings[0].model.encoders[0].get_weights()[0]
        np.testing.assert_array_equal(frozen, before[0])
        with pytest.raises(ValueError, match="x_encoder changes nothing for ksg"):
            estimate_mi(data.x, data.y, "ksg", x_encoder=encoder)
        with pytest.raises(
            ValueError, match=r"x_encoder cannot take x of shape \(1,\).*incompatible"
        ):
            estimate_mi(data.x[:, :1], data.y, "nwj", x_encoder=encoder)

    def test_copies_lift_the_ceiling_of_neighbours(self, rng):
        x = rng.normal(size=500)
        assert math.isfinite(estimate_mi(x, x, "ksg").ceiling)
        rounded = np.round(x, 2)
        estimate = estimate_mi(rounded, rounded, "ksg")
        assert estimate.value <= estimate.ceiling == math.inf

    @pytest.mark.parametrize(
        "method", ["smile", "density_ratio", "difference_of_entropies"]
    )
    def test_critics_without_ceiling_do_not_close_on_infinite_information(
        self, method, rng
    ):
        x, other = rng.normal(size=(2, 1000, 1))
        options = {"max_steps": 400, "check_every": 200}
        same = estimate_mi(x, x, method, **options)
        assert same.interval[1] == math.inf
        assert any("log n" in each for each in same.warnings)
        less = estimate_mi(x, x + other, method, **options)
        assert less.interval[1] < 1.0

    @pytest.mark.parametrize("method", ["info_nce", "nwj", "smile", "club"])
    @pytest.mark.parametrize("outlier", [1e5, 1e300])
    def test_one_outlier_among_the_reported_pairs_breaks_nothing(self, method, outlier):
        data = synthetic.draw("gaussian", 1000, seed=0, dim=1, mi=0.5)
        options = {"max_steps": 200, "check_every": 100}
        expected = estimate_mi(data.x, data.y, method, **options)
        data.x[split(1000, 0)[0][2][0]] = outlier
        found = estimate_mi(data.x, data.y, method, **options)
        # The quadratic form of a Gaussian conditional feels it most.
        assert found.raw == pytest.approx(
            expected.raw, abs=1.0 if method == "club" else 0.15
        )
        assert found.interval[1] < 10.0

    def test_equal_columns_are_infinite_information(self, rng):
        x = rng.normal(size=(400, 1))
        noise = rng.normal(size=(400, 3))
        for method in ("gaussian", "auto"):
            estimate = estimate_mi(np.concatenate([x, noise], axis=1), x, method)
            assert estimate.value == math.inf
            assert estimate.interval == (0.0, math.inf)
            assert estimate.at_least
            assert any("not finite" in each for each in estimate.warnings)

    @pytest.mark.parametrize(
        ("name", "method"),
        [("same", "ksg"), ("same", "ksg2"), ("same", "mixed"), ("square", "auto"),
         ("sine", "auto"), ("sum", "auto"), ("grain", "auto"), ("half", "auto")],
    )  # fmt: skip
    def test_functions_have_at_least_what_is_found(self, name, method, rng, tmp_path):
        """Infinite information, or more of it than so many pairs can tell."""
        x, other = rng.normal(size=(2, 1000))
        two = rng.uniform(size=(1000, 2))
        pairs = {
            "same": (x, x),
            "square": (x, x**2),
            "sine": (x, np.sin(5.0 * x)),
            "sum": (two, two.sum(axis=1) % 1.0),
            "grain": (x, x + 1e-6 * other),
            "half": (x, np.where(rng.random(1000) < 0.5, x, other)),
        }[name]
        estimate = estimate_mi(*pairs, method)
        assert estimate.at_least
        assert 0.5 < estimate.interval[0] < estimate.value
        assert estimate.interval[1] == math.inf
        first, *warnings = str(estimate).splitlines()
        assert f"at least {estimate.value:.3f} nats" in first
        assert ", inf)" in first
        assert any("may be anything above" in each for each in warnings)
        estimate.save(tmp_path / "e.json")
        content = json.loads((tmp_path / "e.json").read_text())
        assert content["at_least"]
        assert content["interval"] == [estimate.interval[0], None]
        panel = estimate.plot().axes[0]
        assert len(panel.texts) == 1  # the arrow

    @pytest.mark.parametrize("mi", [0.0, 0.5, 1.0, 2.0])
    def test_ordinary_information_is_resolved(self, mi):
        for method, dim in (("ksg", 1), ("mixed", 1), ("gaussian", 5)):
            data = synthetic.draw("gaussian", 1000, seed=3, dim=dim, mi=mi)
            estimate = estimate_mi(data.x, data.y, method)
            assert not estimate.at_least
            assert math.isfinite(estimate.interval[1])
            assert "at least" not in str(estimate)

    def test_equal_labels_have_their_entropy_and_no_more(self, rng):
        labels = np.repeat(np.arange(10.0), 100)
        for method in ("auto", "mixed"):
            estimate = estimate_mi(labels, labels, method)
            assert not estimate.at_least
            assert estimate.value == pytest.approx(math.log(10.0), abs=0.01)

    def test_below_0_is_shown_as_0(self, rng):
        x, y = rng.normal(size=(2, 2000, 1))
        found = [
            estimate_mi(x, y, "ksg", seed=2),
            # One step of 10 and another baseline: of 1 + E_p[f] - E_q[e^f] little.
            estimate_mi(x, y, "nwj", max_steps=20, check_every=20, seed=1),
        ]
        bits = rng.integers(0, 2, 200)
        found.append(estimate_mi(bits, bits, "ksg2"))  # distances tie
        for estimate in found:
            low, high = estimate.interval
            assert estimate.value == estimate.bits == low == 0.0 < high < math.inf
            assert estimate.raw == estimate.diagnostics["raw"] < 0.0
            assert estimate.to_dict()["value"] == 0.0
        words = " ".join(found[2].warnings)
        assert f"negative ({found[2].raw:.3g})" in words
        # A law is told what came out, not what is shown.
        broken = checks.check_independence(bits, bits, lambda x, y: found[2])
        assert broken["paired"] == found[2].raw

    def test_pairs_of_another_width_are_refused(self, data):
        estimate = estimate_mi(data.x, data.y, "nwj", max_steps=10)
        with pytest.raises(ValueError, match="x must be"):
            estimate.pointwise(np.zeros((5, 7)), data.y[:5])

    def test_ties_and_many_dimensions_are_told(self, rng):
        bits = rng.integers(0, 2, 200)
        repeated = estimate_mi(bits, bits, "ksg")
        assert any("x repeats: 2 different" in each for each in repeated.warnings)
        assert repeated.value == pytest.approx(math.log(2.0), abs=0.02)
        wide = estimate_mi(rng.normal(size=(200, 5)), rng.normal(size=(200, 5)), "ksg")
        assert any("in 10 dimensions" in each for each in wide.warnings)
        good = estimate_mi(rng.normal(size=200), rng.normal(size=200), "ksg")
        assert not any("repeats" in e or "dimensions" in e for e in good.warnings)

    def test_functions_of_one_another_reach_the_ceiling_of_neighbours(self, rng):
        x = rng.normal(size=500)
        estimate = estimate_mi(x, x, "ksg")
        assert estimate.value == pytest.approx(estimate.ceiling, abs=1e-6)
        assert any("more pairs raise it" in each for each in estimate.warnings)
        assert estimate.diagnostics["below_ceiling"] == pytest.approx(0.0, abs=1e-6)

    def test_continuous_labels_are_refused(self, rng):
        x, y = rng.normal(size=(2, 100))
        with pytest.raises(PairsError, match="one side must be discrete"):
            estimate_mi(x, y, "discrete_continuous")

    def test_a_figure_without_a_file(self, data):
        figure = estimate_mi(data.x, data.y, "gaussian").plot()
        assert len(figure.axes) == 1

    def test_same_seed_same_value(self, data):
        one, other = (
            estimate_mi(data.x[:500], data.y[:500], "nwj", max_steps=100).value
            for _ in range(2)
        )
        assert one == pytest.approx(other, abs=1e-5)

    @pytest.mark.parametrize("method", ["info_nce", "club", "auto"])
    def test_draws_of_the_caller_go_on(self, data, method):
        """Who estimates and draws, again and again, has new data each time."""
        drawn = []
        for _ in range(2):
            estimate_mi(data.x[:200], data.y[:200], method, max_steps=2, folds=2)
            drawn.append((np.random.normal(), random.random(), tf.random.normal([])))
        assert all(one != other for one, other in zip(*drawn, strict=True))

    def test_warns_near_the_ceiling(self):
        draws = synthetic.draw("gaussian", 300, dim=1, mi=6.0)
        estimate = estimate_mi(draws.x, draws.y, "info_nce", max_steps=600)
        assert estimate.ceiling == pytest.approx(math.log(60))
        assert any("ceiling" in each for each in estimate.warnings)

    def test_json_holds_everything(self, data, tmp_path):
        import json

        estimate = estimate_mi(data.x, data.y, "gaussian")
        estimate.save(tmp_path / "e.json")
        content = json.loads((tmp_path / "e.json").read_text())
        assert content["value"] == estimate.value
        assert content["ceiling"] is None

    @pytest.mark.parametrize(
        ("x", "y", "words"),
        [
            (np.arange(30.0), np.arange(29.0), ["30 and 29"]),
            (np.arange(10.0), np.arange(10.0), ["at least 20", "10"]),
            (np.full(30, np.nan), np.arange(30.0), ["x", "NaN"]),
            (np.array([{}] * 30), np.arange(30.0), ["x", "object"]),
            (np.zeros((30, 0)), np.arange(30.0), ["x has no columns"]),
            ([[1.0], [1.0, 2.0]], np.arange(30.0), ["x", "differing lengths"]),
            (np.arange(30.0), None, ["y is needed"]),
            (np.ma.masked_less(np.arange(30.0), 3), np.arange(30.0), ["x", "masked"]),
        ],
    )
    def test_bad_pairs_get_one_line(self, x, y, words):
        with pytest.raises(PairsError) as caught:
            estimate_mi(x, y, "ksg")
        assert "\n" not in str(caught.value)
        for word in words:
            assert word in str(caught.value)

    def test_parts_that_are_given_are_used_and_no_others(self, rng):
        """What is reported is that of the last part, whatever the others say."""
        x = rng.normal(size=(900, 1))
        y = x + 0.5 * rng.normal(size=(900, 1))
        parts = np.split(np.arange(900), [500, 600])
        options = dict(parts=tuple(parts), max_steps=150, batch_size=64)
        found = estimate_mi(x, y, "nwj", **options)
        assert found.pairs == {"train": 500, "choose": 100, "report": 300}
        assert found.value > 0.4  # of 0.805
        broken = y.copy()
        broken[parts[2]] = rng.permutation(y[parts[2]])
        assert estimate_mi(x, broken, "nwj", **options).raw < 0.05

    @pytest.mark.parametrize(
        "parts",
        [
            ([0, 1, 2], [3, 4], [4, 5]),
            ([0, 1, 2], [3, 4], [5]),
            ([0, 1], [2, 3], [4, 900]),
            ([0, 1], [2, 3], [-1, 5]),
            ([0.0, 1.0], [2, 3], [4, 5]),
        ],
    )
    def test_parts_that_are_none_are_refused(self, parts, rng):
        x = rng.normal(size=(900, 1))
        with pytest.raises(PairsError, match="parts must be positions below 900"):
            estimate_mi(x, x, "nwj", parts=parts)

    def test_parts_go_with_one_fold(self, rng):
        x = rng.normal(size=(60, 1))
        parts = tuple(np.split(np.arange(60), [30, 40]))
        with pytest.raises(ValueError, match="parts must be three, with folds=1"):
            estimate_mi(x, x, "nwj", parts=parts, folds=2)
        with pytest.raises(ValueError, match="parts must be three"):
            estimate_mi(x, x, "nwj", parts=parts[:2])
        with pytest.raises(ValueError, match="parts changes nothing for ksg"):
            estimate_mi(x, x, "ksg", parts=parts)

    def test_unknown_methods_and_options_are_refused(self, data):
        with pytest.raises(ValueError, match="minee"):
            estimate_mi(data.x, data.y, "minee")
        with pytest.raises(ValueError, match="unknown options: steps"):
            estimate_mi(data.x, data.y, "mine", steps=3)
        with pytest.raises(
            ValueError, match=r"tau changes nothing for nwj, which.*: 2"
        ):
            estimate_mi(data.x, data.y, "nwj", tau=2.0)
        same = estimate_mi(data.x, data.y, "ksg", tau=5.0)  # as it is anyway
        assert same == estimate_mi(data.x, data.y, "ksg")

    @pytest.mark.parametrize("method", ESTIMATORS)
    def test_a_row_names_the_options_that_it_uses(self, method, rng, monkeypatch):
        read = set()

        class Recording(Options):
            def __post_init__(self):
                super().__post_init__()
                read.clear()  # of the checks

            def __getattribute__(self, name):
                read.add(name)
                return super().__getattribute__(name)

        monkeypatch.setattr(protocol, "Options", Recording)
        given = {
            "max_steps": 1,
            "check_every": 1,
            "learning_rate": 1e-30,  # nothing rises, and patience is asked for
            "log_conditional": lambda x, y: np.zeros([len(x), len(y)]),
            "entropy_y": 1.0,
        }
        uses = set(ESTIMATORS[method].uses)
        given = {name: value for name, value in given.items() if name in uses}
        found = set()
        for columns in (1, 2) if method == "auto" else (2,):  # ksg, critics
            x, y = rng.normal(size=(2, 80, columns))
            if method == "discrete_continuous":
                x = rng.integers(0, 3, 80)
            estimate_mi(x, y, method, **given)
            found |= read & set(Options.__dataclass_fields__)
        # Every critic asks for its negatives, which some objectives take as one each.
        ignored = {"negatives"}
        if "log_conditional" in uses:  # which takes the pairs as they came
            ignored |= {"preprocess"}
        assert found - ignored == uses - ignored

    def test_every_row_says_what_it_is(self):
        assert {row.direction for row in ESTIMATORS.values()} == {
            "lower", "upper", "neither",
        }  # fmt: skip
        for name, row in ESTIMATORS.items():
            assert row.formula, name
            assert row.source, name


class TestCommand:
    """`python -m tf_infomax.estimate` as a user types it."""

    @pytest.fixture(scope="class")
    def files(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("pairs")
        draws = synthetic.draw("gaussian", 800, dim=2, mi=0.7)
        np.save(folder / "x.npy", draws.x)
        np.save(folder / "y.npy", draws.y)
        np.savez(folder / "pairs.npz", x=draws.x, y=draws.y)
        columns = np.concatenate([draws.x, draws.y], axis=1)
        np.savetxt(
            folder / "t.csv", columns, delimiter=",", header="a,b,c,d", comments=""
        )
        np.save(folder / "short.npy", draws.y[:-1])
        np.save(folder / "objects.npy", np.array([{}] * 30), allow_pickle=True)
        (folder / "words.csv").write_text("a,b\n1,2\n3,four\n")
        (folder / "torn.csv").write_text("a,b\n1,2\n3\n")
        (folder / "gap.csv").write_text("a,b\n1,2\n3,\n")
        (folder / "other.csv").write_text("a;b\n1;2\n")
        (folder / "twice.csv").write_text("a,b,b\n1,2,3\n\n")
        (folder / "text.npy").write_text("no array at all")
        return folder

    def test_every_way_to_give_pairs_gives_the_same(self, files, tmp_path):
        ways = [
            [f"--x={files / 'x.npy'}", f"--y={files / 'y.npy'}"],
            [f"--data={files / 'pairs.npz'}"],
            [f"--data={files / 't.csv'}", "--x=a,b", "--y=c,d"],
        ]
        values = []
        for number, way in enumerate(ways):
            output = tmp_path / str(number)
            result = run(
                "estimate", *way, "--method=ksg,gaussian", f"--output={output}"
            )
            assert result.returncode == 0, result.stderr[-2000:]
            content = json.loads((output / "estimates.json").read_text())
            values.append([each["value"] for each in content["estimates"]])
            assert (output / "estimates.png").stat().st_size > 5000
            assert content["options"]["method"] == ["ksg", "gaussian"]
            assert content["shapes"] == {"x": [800, 2], "y": [800, 2]}
        assert values[0] == values[1]
        np.testing.assert_allclose(values[2], values[0], rtol=1e-6)
        np.testing.assert_allclose(values[0], 0.7, atol=0.15)

    def test_columns_keep_their_names(self, rng, tmp_path):
        """Also one with a comma in it, and the page says which is which."""
        x = rng.normal(size=(300, 2))
        y = x.sum(axis=1, keepdims=True) + rng.normal(size=(300, 1))
        table = tmp_path / "t.csv"
        rows = "\n".join(",".join(map(str, row)) for row in np.hstack([x, y]))
        table.write_text(f'size,age,"weight, kg"\n{rows}\n')
        given = ["--x=size,age", "--y=weight, kg", "--method=auto"]
        output = tmp_path / "out"
        result = run("estimate", f"--data={table}", *given, f"--output={output}")
        assert result.returncode == 0, result.stderr[-2000:]
        page = (output / "report.html").read_text()
        assert "x[0] is size, x[1] is age" in page
        assert "y[0] is weight, kg" in page

    def test_a_task_shows_its_truth(self, tmp_path):
        result = run(
            "estimate", "--task=gaussian", "--dim=2", "--mi=1.25",
            "--samples=600", "--method=info_nce", "--max_steps=200",
            f"--output={tmp_path}",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr[-2000:]
        assert "truth 1.250" in result.stdout
        page = (tmp_path / "report.html").read_text()
        assert "The truth is 1.250 nats." in page
        assert "600 pairs; columns: 2 of x, 2 of y." in page
        assert "tf-infomax estimate --task=gaussian --dim=2" in page
        assert "data:image/png" in page
        assert "4.79" in result.stdout  # log of 120 reported pairs

    def test_permutations_give_a_p_value(self, tmp_path):
        for task, low, high in (("dim=1,mi=0.5", 0.05, 0.05), ("dim=1,mi=0", 0.1, 1)):
            result = run(
                "estimate", "--task=gaussian", f"--task_options={task}",
                "--samples=300", "--method=ksg", "--permutations=19",
                f"--output={tmp_path}",
            )  # fmt: skip
            assert result.returncode == 0, result.stderr[-2000:]
            content = json.loads((tmp_path / "estimates.json").read_text())
            (estimate,) = content["estimates"]
            assert low <= round(estimate["diagnostics"]["p_value"], 9) <= high
            assert " p " in result.stdout.splitlines()[2]

    def test_an_interrupt_keeps_what_is_done(self, tmp_path, monkeypatch):
        from tf_infomax import estimate
        from tf_infomax.estimate import EstimateOptions
        from tf_infomax.estimation import report

        def one_then_stop(x, y, method, options):
            if method == "gaussian":
                raise KeyboardInterrupt
            return estimate_mi(x, y, "ksg")

        monkeypatch.setattr(report, "_estimate", one_then_stop)
        options = EstimateOptions(
            task="gaussian", samples=200, method=("ksg", "gaussian"),
            output=str(tmp_path),
        )  # fmt: skip
        with pytest.raises(KeyboardInterrupt):
            estimate.main(options)
        content = json.loads((tmp_path / "estimates.json").read_text())
        assert [each["method"] for each in content["estimates"]] == ["ksg"]

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ([], ["--x and --y", "--data", "--task"]),
            (["--task=autoregressive", "--block=9", "--permutations=9"], ["--block"]),
            (["--x={}/x.npy"], ["--y is needed"]),
            (["--x={}/x.npy", "--y={}/none.npy"], ["--y", "no such file"]),
            (["--x={}/x.npy", "--y={}/short.npy"], ["800 and 799"]),
            (["--x={}/x.npy", "--y={}/objects.npy"], ["never loaded"]),
            (["--x={}/x.npy", "--y={}/text.npy"], ["--y", "no .npy"]),
            (["--data={}/pairs.npz", "--x=z"], ["no array 'z'", "x, y"]),
            (
                ["--data={}/t.csv", "--x=a", "--y=z"],
                ["no column 'z'", "'a', 'b', 'c', 'd'"],
            ),
            (["--data={}/words.csv", "--x=a", "--y=b"], ["line 3", "'b'", "four"]),
            (["--data={}/gap.csv", "--x=a", "--y=b"], ["line 3", "'b' is missing"]),
            (["--data={}/other.csv", "--x=a", "--y=b"], ["separated by commas"]),
            (["--data={}/torn.csv", "--x=a", "--y=b"], ["line 3"]),
            (["--data={}/twice.csv", "--x=a", "--y=b"], ["different names", "b"]),
            (["--x={}/x.npy", "--y={}/y.npy", "--dim=2"], ["--dim belongs to --task"]),
            (["--task=gaussian", "--task_options=dims=3"], ["dims", "dim, mi"]),
            (["--task=gaussian", "--task_options=dim"], ["NAME=VALUE"]),
            (["--task=gaussian", "--method=mimi"], ["mimi"]),
            (["--task=gaussian", "--method=tnce"], ["log_conditional"]),
            (["--task=gaussian", "--widths=wide"], ["--widths", "'wide'"]),
        ],
    )
    def test_mistakes_get_one_line(self, arguments, words, files):
        arguments = [each.replace("{}", str(files)) for each in arguments]
        assert_refused(run("estimate", *arguments), *words)


def test_what_is_told_of_an_estimate_is_told_line_by_line():
    x, told = np.random.default_rng(0).normal(size=(300, 1)), []
    (estimate,) = run_all(x, x, ["ksg"], {"seed": 0}, 0, told.append)
    assert estimate.warnings  # which stand below the table
    (line,) = told
    assert re.search(r"nats .* \d+ s$", line)
    assert line.isprintable()


class TestChecks:
    @pytest.fixture(scope="class")
    def data(self):
        return synthetic.draw("gaussian", 1500, seed=0, dim=1, mi=0.5)

    @staticmethod
    def ksg(x, y):
        return float(neighbors.ksg1(x, y, 5).mean())

    def test_permutation_test_tells_dependence_from_independence(self, data):
        independent = np.random.default_rng(9).normal(size=(1500, 1))
        test = checks.permutation_test(data.x, data.y, self.ksg, draws=49)
        assert test.p_value == pytest.approx(0.02)
        other = checks.permutation_test(data.x, independent, self.ksg, draws=49)
        assert other.p_value > 0.04

    def test_laws_hold_for_ksg(self, data):
        broken = checks.check_independence(data.x, data.y, self.ksg)
        assert broken["paired"] > 0.4
        assert abs(broken["broken"]) < 0.06
        same = checks.check_invariance(data.x, data.y, self.ksg, np.sinh)
        assert same["transformed"] == pytest.approx(same["original"], abs=0.06)
        less = checks.check_data_processing(data.x, data.y, self.ksg, lambda v: v > 0)
        assert less["processed"] < less["whole"]
        added = checks.check_additivity(data.x, data.y, self.ksg)
        total = added["first"] + added["second"]
        assert added["joint"] == pytest.approx(total, abs=0.15)
