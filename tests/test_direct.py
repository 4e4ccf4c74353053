"""Estimators without training: ties, units, outliers, and intervals that hold 0."""

import math
import time
from itertools import cycle

import numpy as np
import pytest
from scipy import stats
from scipy.special import digamma
from sklearn.metrics import mutual_info_score

from tf_infomax.data import synthetic
from tf_infomax.estimation import (
    PairsError,
    discrete,
    estimate_mi,
    intervals,
    nearest,
    neighbors,
)
from tf_infomax.estimation.inputs import fit_marginal

METHODS = ("ksg", "ksg2", "lnc", "mixed", "discrete_continuous", "gaussian")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def _value(method: str, x, y, **options) -> float:
    return estimate_mi(x, y, method, **options).raw


class TestTable:
    def test_is_the_plug_in_less_the_bias_of_miller_and_madow(self, rng):
        x = rng.integers(0, 4, 20_000)
        y = np.where(rng.random(20_000) < 0.5, x, rng.integers(0, 3, 20_000))
        cells = len(np.unique(4 * x + y))
        bias = (cells - 4 - len(np.unique(y)) + 1) / 40_000
        # psi(n) is log n - 1/2n - 1/12n^2: the rest is of the order of 1 / n.
        rest = 16 * 4 / (12 * np.bincount(4 * x + y).max() * 20_000)
        expected = mutual_info_score(x, y) - bias
        assert discrete.table_mi(x, y) == pytest.approx(expected, abs=rest)

    @pytest.mark.parametrize("kept", [0.0, 0.4])
    def test_mean_over_samples_is_the_information(self, kept):
        joint = (1.0 - kept) / 9 + kept * np.eye(3) / 3
        truth = np.sum(joint * np.log(joint * 9))
        rng = np.random.default_rng(1)
        found, plain = [], []
        for _ in range(400):
            cells = rng.choice(9, 120, p=joint.ravel())
            found.append(discrete.table_mi(cells // 3, cells % 3))
            plain.append(mutual_info_score(cells // 3, cells % 3))
        error = np.std(found) / 20
        # log m - 1/2m - 1/12m^2 is psi(m): the last for the cells, rows and columns.
        rest = (np.sum(1.0 / joint) + 2 * 9) / (12 * 120**2)
        assert np.mean(found) == pytest.approx(truth, abs=4 * error + rest)
        shift = np.mean(plain) - np.mean(found)
        assert shift == pytest.approx(4 / 240, abs=4 * error)
        assert shift > 4 * error

    def test_sparse_tables_count_as_dense_ones_do(self, rng):
        x, y = rng.integers(0, 6, (2, 500))
        thin = 10_000 * x  # more cells than are counted in an array
        assert discrete.table_mi(thin, y + 9) == pytest.approx(discrete.table_mi(x, y))

    def test_codes_are_those_of_rows(self, rng):
        rows = rng.integers(0, 3, (200, 3)).astype(float)
        codes, counts = discrete.encode(rows)
        _, expected, times = np.unique(
            rows, axis=0, return_inverse=True, return_counts=True
        )
        np.testing.assert_array_equal(codes, expected.ravel())
        np.testing.assert_array_equal(counts, times)

    def test_half_zeros_are_no_table(self, rng):
        x, y = np.where(rng.random((2, 400)) < 0.5, 0.0, rng.normal(size=(2, 400)))
        codes = [discrete.encode(side)[0] for side in (x, y)]
        assert not discrete.is_filled(*codes)
        assert discrete.is_filled(*rng.integers(0, 3, (2, 400)))

    @pytest.mark.parametrize("method", ["auto", "mixed"])
    def test_many_rows_of_two_values_take_no_time(self, method, rng):
        x = rng.integers(0, 2, 200_000)
        y = np.where(rng.random(200_000) < 0.2, 1 - x, x)
        start = time.process_time()
        estimate = estimate_mi(x, y, method)
        assert time.process_time() - start < 2.0
        truth = math.log(2.0) + 0.2 * math.log(0.2) + 0.8 * math.log(0.8)
        assert estimate.value == pytest.approx(truth, abs=0.006)  # 4 errors


class TestTies:
    """Counts of each point as they are defined, by all distances."""

    @staticmethod
    def by_hand(x, y, k):
        away = lambda side: np.abs(side[:, None] - side[None]).max(axis=2)
        dx, dy = away(x), away(y)
        both = np.maximum(dx, dy)
        radius = np.sort(both, axis=1)[:, k][:, None]
        count = lambda d: np.sum(np.where(radius > 0, d < radius, d == 0), axis=1)
        return (
            digamma(count(both))
            + digamma(len(x))
            - sum(digamma(count(d)) for d in (dx, dy))
        )

    @pytest.mark.parametrize("columns", [1, 2])
    @pytest.mark.parametrize("values", [2, 6, 40])
    def test_ksg(self, columns, values, rng):
        x, y = rng.integers(0, values, (2, 200, columns)).astype(float)
        found = neighbors.ksg1(x, y, 4)
        np.testing.assert_allclose(found, self.by_hand(x, y, 4), atol=1e-12)

    def test_all_distances_give_what_trees_give(self, rng, monkeypatch):
        x = rng.integers(0, 3, (300, 2)).astype(float)
        y = rng.normal(size=(300, 1))
        by_tree = neighbors.ksg1(x, y, 4)
        monkeypatch.setattr(nearest, "_TREE_DIMENSIONS", 0)
        found = neighbors.ksg1(x, y, 4)
        np.testing.assert_allclose(found, by_tree, atol=1e-12)

    def test_rounding_of_sums_does_not_move_the_border(self, rng):
        """Far from 0, a value plus a distance is not the value at that distance."""
        line = 1e6 + 0.1 * rng.integers(0, 200, (300, 1))
        radius = np.abs(line - line[rng.integers(0, 300, 300)])[:, 0]
        away = np.abs(line - line.T)
        for strict in (True, False):
            inside = away < radius[:, None] - 1e-6
            on = np.abs(away - radius[:, None]) < 1e-6
            expected = np.sum(inside if strict else inside | on, axis=1)
            found = nearest.count_within(nearest.Points.of(line), line, radius, strict)
            np.testing.assert_array_equal(found[radius > 0], expected[radius > 0])

    @pytest.mark.parametrize("rate", [4, 50])
    @pytest.mark.parametrize("method", ["mixed", "ksg", "discrete_continuous"])
    def test_independent_counts_have_no_information(self, method, rate):
        """Counting k neighbours among ties gave 0.3 nats of Poisson(4)."""
        found = []
        for seed in range(8):
            x, y = np.random.default_rng(seed).poisson(rate, (2, 400))
            found.append(_value(method, x, y))
        assert np.mean(found) == pytest.approx(0.0, abs=4 * np.std(found) / 8**0.5)

    def test_labels_beside_ties(self, rng):
        labels = rng.integers(0, 3, 3000)
        y = np.where(rng.random(3000) < 0.3, rng.integers(0, 3, 3000), labels)
        expected = mutual_info_score(labels, y) - (9 - 3 - 3 + 1) / 6000
        found = neighbors.discrete_continuous(labels, y.astype(float), 5).mean()
        assert found == pytest.approx(expected, abs=1e-5)


def _pairs(kind: str, n: int = 400):
    """Pairs and the methods that are for them."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, 2))
    y = x + rng.normal(size=(n, 2))
    if kind == "labels":
        return (x[:, :1] > 0.4) + 0.0, y
    if kind == "counts":
        x = rng.poisson(3, (n, 1))
        return x, x + rng.poisson(2, (n, 1))
    return x, y


LAWFUL = [
    (method, kind)
    for kind in ("numbers", "labels", "counts")
    for method in METHODS
    if (method != "discrete_continuous" or kind != "numbers")
    and (method not in ("ksg2", "lnc") or kind == "numbers")  # ties in no order
]


@pytest.mark.parametrize(("method", "kind"), LAWFUL)
class TestLaws:
    """What names, units and orders of columns and rows must not change."""

    def test_units(self, method, kind):
        x, y = _pairs(kind)
        expected = _value(method, x, y)
        for scale, shift in ((1e5, 0.0), (1e-300, 0.0), (1e300, 0.0), (-3.0, 17.0)):
            changed = _value(method, x, scale * y + shift)
            assert changed == pytest.approx(expected, abs=1e-9)
        one_column = y * ([1e4, 1.0] if y.shape[1] == 2 else 1e4)
        assert _value(method, x, one_column) == pytest.approx(expected, abs=1e-9)

    def test_orders(self, method, kind, rng):
        x, y = _pairs(kind)
        expected = _value(method, x, y)
        rows = rng.permutation(len(x))
        for pair in ((y, x), (x[rows], y[rows]), (x[:, ::-1], y), (x, y[:, ::-1])):
            assert _value(method, *pair) == pytest.approx(expected, abs=1e-9)

    def test_columns_that_say_nothing_more(self, method, kind):
        x, y = _pairs(kind)
        expected = _value(method, x, y)
        constant, copy = np.ones((len(x), 1)), 3.0 * x[:, :1] + 1.0
        for column in (constant, copy):
            wider = np.concatenate([x, column], axis=1)[:, None]  # as an image has them
            assert _value(method, wider, y) == pytest.approx(expected, abs=1e-9)


def test_units_of_a_trained_bound():
    x, y = _pairs("numbers")
    options = {"max_steps": 60, "widths": (16,)}
    expected = _value("info_nce", x, y, **options)
    changed = _value("info_nce", 1e5 * x + 3.0, 1e-5 * y, **options)
    assert changed == pytest.approx(expected, abs=1e-3)  # float32


@pytest.mark.parametrize("kind", ["standardize", "asinh", "rank"])
@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_marginals_of_any_scale(kind, scale, rng):
    values = rng.normal(size=(100, 2))
    expected = fit_marginal(values, kind)(values)
    found = fit_marginal(scale * values, kind)(scale * values)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("method", ["ksg", "ksg2", "lnc", "mixed", "gaussian"])
@pytest.mark.parametrize("outlier", [1e3, 1e300])
def test_one_outlier_changes_nothing(method, outlier):
    data = synthetic.draw("gaussian", 1000, seed=0, dim=1, mi=1.0)
    expected = _value(method, data.x, data.y)
    data.x[0] = outlier
    # One of 1,000 pairs: log of its density ratio, some 7 nats at most, in the mean.
    assert _value(method, data.x, data.y) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("method", ["ksg", "ksg2", "lnc", "mixed"])
@pytest.mark.parametrize("outlier", [1e5, 1e300])
def test_one_outlier_changes_nothing_where_columns_are_standardized(method, outlier):
    data = synthetic.draw("gaussian", 1000, seed=0, dim=1, mi=1.0)
    expected = _value(method, data.x, data.y, preprocess="standardize")
    data.x[0] = outlier
    found = _value(method, data.x, data.y, preprocess="standardize")
    assert found == pytest.approx(expected, abs=0.02)


def test_standardizing_is_what_it_says_without_outliers(rng):
    """Of light tails; of heavy ones order is kept, and no value is far out."""
    values = rng.normal(size=(500, 3)) * [1.0, 1e3, 1e-3] + 5.0
    expected = (values - values.mean(axis=0)) / values.std(axis=0)
    marginal = fit_marginal(values, "standardize")
    np.testing.assert_allclose(marginal(values), expected, rtol=1e-9)
    heavy = rng.standard_cauchy(size=(2000, 1))
    made = fit_marginal(heavy, "standardize")(heavy)
    np.testing.assert_array_equal(np.argsort(made[:, 0]), np.argsort(heavy[:, 0]))
    assert np.abs(made).max() < 30.0 < np.abs(heavy).max()
    binary = (rng.random((500, 1)) < 0.1).astype(float)
    made = fit_marginal(binary, "standardize")(binary)
    np.testing.assert_allclose([made.mean(), made.std()], [0.0, 1.0], atol=1e-9)


class TestColumnsOfNoise:
    """They take no information away; estimates by neighbours lose it, and say so."""

    @pytest.fixture(scope="class")
    def pairs(self):
        rng = np.random.default_rng(0)
        x, noise = rng.normal(size=(1000, 1)), rng.normal(size=(1000, 12))
        return x, noise, 0.95 * x + 0.31 * rng.normal(size=(1000, 1))

    @pytest.mark.parametrize("method", ["ksg", "ksg2", "lnc", "mixed"])
    @pytest.mark.parametrize(
        ("count", "words"),
        [(0, None), (4, "x[0] and y[0] alone share"), (12, "in 14 dimensions")],
    )
    def test_beside_numbers(self, method, count, words, pairs):
        x, noise, y = pairs
        x = np.concatenate([x, noise[:, :count]], axis=1)
        told = " ".join(estimate_mi(x, y, method).warnings)
        if words is None:
            assert "dimensions" not in told
            assert "alone share" not in told
        else:
            assert words in told

    @pytest.mark.parametrize(
        ("count", "words"), [(4, "alone share"), (12, "in 14 dimensions")]
    )
    def test_beside_labels(self, count, words, pairs):
        x, noise, y = pairs
        y = np.concatenate([y, noise[:, :count]], axis=1)
        told = " ".join(estimate_mi(x > 0, y, "discrete_continuous").warnings)
        assert words in told

    def test_nothing_is_told_of_what_needs_all_columns_or_has_none(self, pairs):
        x, noise, _ = pairs
        summed = np.sum(noise[:, :2], axis=1) + 0.5 * x[:, 0]
        for y in (summed, noise[:, 5]):
            told = " ".join(estimate_mi(noise[:, :2], y, "ksg").warnings)
            assert "alone share" not in told

    def test_filled_tables_have_no_dimensions(self, rng):
        x = rng.integers(0, 2, (1000, 8))
        estimate = estimate_mi(x[:, :1], x, "mixed")
        assert estimate.value == pytest.approx(np.log(2.0), abs=0.02)
        assert not any("dimensions" in each for each in estimate.warnings)


def test_a_gaussian_value_of_clusters_is_doubted(rng):
    """Ten of 2,000 pairs far out in all columns: at most 0.04 nats, 0.3 are found."""
    x, y = rng.normal(size=(2, 2000, 50))
    plain = estimate_mi(x, y, "gaussian")
    assert not any("far too high" in each for each in plain.warnings)
    x[:10] += 10.0
    y[:10] += 10.0
    found = estimate_mi(x, y, "gaussian")
    assert found.value > 0.2
    assert any("far too high" in each for each in found.warnings)


class TestLabels:
    def test_either_side_may_be_the_labels(self, rng):
        labels = rng.integers(0, 3, 600)
        y = rng.normal(size=(600, 2)) + labels[:, None]
        one, other = (
            estimate_mi(*pair, "discrete_continuous", seed=1)
            for pair in ((labels, y), (y, labels))
        )
        assert one.value == pytest.approx(other.value, abs=1e-12)
        assert one.interval == pytest.approx(other.interval, abs=1e-9)

    def test_rounded_numbers_are_no_labels(self, rng):
        x = rng.normal(size=1500)
        y = x + rng.normal(size=1500)
        x = np.round(x, 3)
        assert 1100 < len(np.unique(x)) < 1450
        with pytest.raises(PairsError, match="one side must be discrete"):
            estimate_mi(x, y, "discrete_continuous")

    def test_rare_labels_are_told(self, rng):
        x = rng.integers(0, 150, 600)
        rare = estimate_mi(x, rng.normal(size=600), "discrete_continuous")
        assert any("occurs 5 times or less" in each for each in rare.warnings)
        few = estimate_mi(x % 3, rng.normal(size=600), "discrete_continuous")
        assert not any("occurs" in each for each in few.warnings)


INDEPENDENT = {  # method, pairs of a generator
    "counts": ("mixed", lambda rng: rng.poisson(4, (2, 1000))),
    "bits": ("mixed", lambda rng: rng.integers(0, 2, (2, 1000))),
    "few": ("ksg", lambda rng: rng.normal(size=(2, 30))),
    "labels": (
        "discrete_continuous",
        lambda rng: (rng.integers(0, 3, 300), rng.normal(size=300)),
    ),
    "ranks": ("gaussian", lambda rng: rng.standard_t(1, (2, 300))),
    "rounded": ("ksg2", lambda rng: np.round(rng.normal(size=(2, 300)), 1)),
}


class TestIntervals:
    @pytest.mark.parametrize("kind", INDEPENDENT)
    def test_no_information_is_in_the_interval(self, kind):
        method, draw = INDEPENDENT[kind]
        held = 0
        for seed in range(30):
            x, y = draw(np.random.default_rng(seed))
            low, high = estimate_mi(x, y, method, seed=seed).interval
            held += low <= 0.0 <= high
        # Fewer than this, of intervals that hold it 9 times in 10, once in 1,000.
        assert held >= stats.binom.ppf(1e-3, 30, 0.9)

    @pytest.mark.parametrize("method", ["ksg", "mixed", "gaussian"])
    def test_information_is_told_from_none(self, method):
        data = synthetic.draw("gaussian", 1000, seed=0, dim=1, mi=0.1)
        assert estimate_mi(data.x, data.y, method).interval[0] > 0.0

    def test_zero_is_admitted_by_what_broken_pairs_give(self):
        value = cycle([-0.1, 0.1, 0.05, -0.05])
        broken = lambda order: next(value)
        admit = lambda interval, estimate: intervals.admit_zero(
            interval, broken, estimate, 50, 0.9, 0, 1
        )
        assert admit((0.01, 0.03), 0.02) == (0.0, 0.03)
        assert admit((-0.02, 0.03), 0.02) == (-0.02, 0.03)
        assert admit((-0.04, -0.02), -0.03) == (-0.04, -0.02)
        assert admit((4.9, 5.1), 5.0) == (4.9, 5.1)

    def test_blocks_are_broken_up_as_wholes(self, rng):
        order = intervals._shuffle(103, 10, rng)
        np.testing.assert_array_equal(np.sort(order), np.arange(103))
        assert np.sum(np.diff(order) != 1) <= 10
        # Rows that go together by 20 look dependent, unless they stay together.
        x, y = np.repeat(rng.normal(size=(2, 30)), 20, axis=1)
        x, y = (side + 0.01 * rng.normal(size=600) for side in (x, y))
        assert estimate_mi(x, y, "ksg").interval[0] > 0.0
        assert estimate_mi(x, y, "ksg", block=20).interval[0] <= 0.0
