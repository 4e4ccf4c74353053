"""Laws and truths of the bounds, and the public bugs they must not have."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp

from tf_infomax import bounds
from tf_infomax.bounds import BOUNDS

RHO = 0.6  # of the bivariate Gaussian of the closed forms


def value(name, scores, **options):
    return BOUNDS[name].function(tf.constant(scores), **options).numpy()


@pytest.fixture
def scores(rng):
    return rng.normal(size=(5, 6, 6)).astype(np.float32)


def log_ratio(x, y, rho=RHO):
    """log p(x, y) / (p(x) p(y)) of the standard bivariate Gaussian."""
    v = 1 - rho**2
    return -0.5 * np.log(v) - (rho**2 * (x**2 + y**2) - 2 * rho * x * y) / (2 * v)


def gaussian_log_ratios(n, rho=RHO, seed=0):
    """The optimal critic's scores of n pairs against each other."""
    draws = np.random.default_rng(seed).normal(size=(2, n))
    x, y = draws[0], rho * draws[0] + np.sqrt(1 - rho**2) * draws[1]
    return log_ratio(x[:, None], y[None, :], rho).astype(np.float32)


# What each bound attains at its optimal critic, a function of u = log p/q.
MI = -0.5 * math.log(1 - RHO**2)
TRUTHS = {
    "dv": (lambda u: u + 3.0, MI),
    "nwj": (lambda u: u + 1.0, MI),
    "reverse_kl": (
        lambda u: u,
        RHO**2 / (1 - RHO**2) + 0.5 * math.log(1 - RHO**2),
    ),
    "squared_hellinger": (
        lambda u: u / 2,
        2 - 2 * (1 - RHO**2) ** 0.25 / (1 - RHO**2 / 4) ** 0.5,
    ),
    "pearson_chi2": (lambda u: 2 * (np.exp(u) - 1), RHO**2 / (1 - RHO**2)),
}


@pytest.mark.parametrize("name", TRUTHS)
def test_optimal_critic_attains_the_closed_form(name):
    critic, truth = TRUTHS[name]
    values = [value(name, critic(gaussian_log_ratios(1500, seed=s))) for s in range(6)]
    standard_error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert abs(np.mean(values) - truth) < max(4 * standard_error, 0.01)


@pytest.mark.parametrize("name", TRUTHS)
def test_only_what_attains_the_information_is_filed_as_such(name):
    _, truth = TRUTHS[name]
    assert (BOUNDS[name].kind == "mi") == (truth == MI)


@pytest.mark.parametrize("name", TRUTHS)
def test_log_ratio_undoes_what_the_optimum_makes_of_it(name):
    u = np.linspace(-5.0, 5.0, 16, dtype=np.float32).reshape(4, 4)
    found = BOUNDS[name].log_ratio(tf.constant(TRUTHS[name][0](u)))
    constant = {"dv": 3.0, "nwj": 1.0}.get(name, 0.0)
    np.testing.assert_allclose(found, u + constant, atol=1e-3)


@pytest.mark.parametrize("name", BOUNDS)
def test_chance_is_what_the_best_constant_critic_has(name):
    constants = np.linspace(-3.0, 3.0, 601, dtype=np.float32)
    values = value(name, np.broadcast_to(constants[:, None, None], (601, 4, 4)))
    assert values.max() == pytest.approx(BOUNDS[name].chance, abs=1e-4)


def find_by_loop(name, u, count, pooled=False, candidates="x") -> float:
    """With K others for each, pair by pair, and one location after the other."""
    locations, n, _ = u.shape
    own = np.array([u[k, j, j] for k, j in np.ndindex(locations, n)])
    following = {j: [(j + k) % n for k in range(1, count + 1)] for j in range(n)}
    others = np.array(
        [u[k, i, j] for k, j in np.ndindex(locations, n) for i in following[j]]
    )
    sp = lambda v: np.log1p(np.exp(v))
    means = {
        "jsd": lambda: 2 * math.log(2) - sp(-own).mean() - sp(others).mean(),
        "gan": lambda: -sp(-own).mean() - sp(others).mean(),
        "reverse_kl": lambda: 1 - np.exp(-own).mean() - others.mean(),
        "squared_hellinger": lambda: 2 - np.exp(-own).mean() - np.exp(others).mean(),
        "pearson_chi2": lambda: own.mean() - (others**2 / 4 + others).mean(),
        "nwj": lambda: own.mean() - np.exp(others - 1).mean(),
    }
    if name in means:
        return means[name]()
    if name == "dv":
        groups = [others] if pooled else others.reshape(locations, -1)
        return own.mean() - np.mean([np.log(np.exp(g).mean()) for g in groups])
    found = []
    for k, j in np.ndindex(locations, n):
        where = range(locations) if pooled else [k]
        ranked = [u[m, i, j] for m in where for i in following[j]]
        if candidates == "y":  # those of which x_j is a candidate
            ranked = [u[k, j, i] for i in range(n) if j in following[i]]
        ranked = np.exp([u[k, j, j], *ranked])
        found.append(np.log(ranked[0] / ranked.mean()))
    return np.mean(found)


SOME = [(name, {}) for name in BOUNDS if name != "info_nce"]
SOME += [("dv", {"pooled": True}), ("info_nce", {"candidates": "x", "pooled": True})]
SOME += [("info_nce", {"candidates": side}) for side in ("x", "y")]


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize(("name", "options"), SOME, ids=str)
def test_with_some_negatives_it_is_the_formula(name, options, count, scores):
    found = np.mean(value(name, scores, negatives=count, **options))
    expected = find_by_loop(name, scores.astype(float), count, **options)
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("name", "options"), SOME, ids=str)
def test_some_negatives_that_are_all_are_all(name, options, scores):
    everything = value(name, scores, **options)
    for count in (5, 6, 100):
        some = value(name, scores, negatives=count, **options)
        np.testing.assert_allclose(some, everything, rtol=1e-6)


@pytest.mark.parametrize(("name", "options"), SOME, ids=str)
def test_some_negatives_leave_out_all_others(name, options, rng):
    """Other scores change nothing, have no gradient, and may be anything."""
    u = rng.normal(size=(5, 6, 6)).astype(np.float32)
    i, j = np.indices((6, 6))
    left_out = (i - j) % 6 > 2
    other = np.where(left_out, 1e4, u).astype(np.float32)
    one, same = (value(name, v, negatives=2, **options) for v in (u, other))
    np.testing.assert_array_equal(one, same)
    scores = tf.constant(other)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        total = tf.reduce_mean(BOUNDS[name].function(scores, negatives=2, **options))
    used = tape.gradient(total, scores).numpy() != 0
    np.testing.assert_array_equal(used, np.broadcast_to(~left_out, u.shape))


def test_the_ceiling_of_info_nce_follows_the_number_of_negatives():
    best = np.broadcast_to(50.0 * np.eye(6, dtype=np.float32), (5, 6, 6))
    for count, pooled, expected in ((1, False, 2), (3, False, 4), (3, True, 16)):
        found = value("info_nce", best, candidates="x", negatives=count, pooled=pooled)
        np.testing.assert_allclose(found, math.log(expected), rtol=1e-5)


def test_jsd_attains_twice_the_jensen_shannon_divergence():
    # By numerical integration on a grid, independent of any sampling.
    grid = np.linspace(-7, 7, 801)
    x, y = np.meshgrid(grid, grid, indexing="ij")
    q = np.exp(-(x**2 + y**2) / 2) / (2 * np.pi)
    u = log_ratio(x, y)
    p = q * np.exp(u)
    m = (p + q) / 2
    integrand = p * np.log(np.maximum(p, 1e-300) / m) + q * np.log(q / m)
    truth = integrand.sum() * (grid[1] - grid[0]) ** 2
    values = [value("jsd", gaussian_log_ratios(1500, seed=s)) for s in range(6)]
    assert np.mean(values) == pytest.approx(truth, abs=0.01)


def test_info_nce_with_the_optimal_critic_is_just_below_the_truth():
    values = [value("info_nce", gaussian_log_ratios(1500, seed=s)) for s in range(6)]
    assert MI - 0.03 < np.mean(values) < MI + 0.01


@pytest.mark.parametrize("name", ["dv", "nwj", "info_nce"])
def test_suboptimal_critics_give_less(name):
    critic = TRUTHS.get(name, (lambda u: u, None))[0]
    u = gaussian_log_ratios(1500)
    assert value(name, critic(0.3 * u)) < value(name, critic(u))


def test_tensorflow_probability_agrees(scores):
    from tensorflow_probability import vi

    u = tf.constant(scores[0])
    np.testing.assert_allclose(
        value("info_nce", scores[0]),
        vi.mutual_information.lower_bound_info_nce(u).numpy(),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        value("nwj", scores[0]),
        vi.mutual_information.lower_bound_nguyen_wainwright_jordan(u).numpy(),
        rtol=1e-5,
    )


AT_ZERO = {"nwj": -1 / math.e, "gan": -2 * math.log(2)}


@pytest.mark.parametrize("name", BOUNDS)
def test_zero_scores(name):
    zeros = np.zeros((4, 4), np.float32)
    assert value(name, zeros) == pytest.approx(AT_ZERO.get(name, 0.0), abs=1e-6)


def test_nwj_is_zero_at_all_one_scores():
    assert value("nwj", np.ones((4, 4), np.float32)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("name", BOUNDS)
def test_permuting_the_pairs_changes_nothing(name, scores, rng):
    order = rng.permutation(6)
    permuted = scores[:, order][:, :, order]
    np.testing.assert_allclose(value(name, permuted), value(name, scores), rtol=1e-5)


@pytest.mark.parametrize("name", ["dv", "info_nce"])
def test_adding_a_constant_changes_nothing(name, scores):
    shifted = value(name, scores + 7.0)
    np.testing.assert_allclose(shifted, value(name, scores), atol=1e-5)


@pytest.mark.parametrize("candidates", ["x", "y"])
def test_info_nce_ignores_shifts_common_to_the_candidates(candidates, scores, rng):
    shift = rng.normal(size=(6, 1)).astype(np.float32)
    shift = shift if candidates == "y" else shift.T
    np.testing.assert_allclose(
        value("info_nce", scores + shift, candidates=candidates),
        value("info_nce", scores, candidates=candidates),
        atol=1e-5,
    )


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("n", [2, 16])
def test_ceiling_is_reached_and_not_passed(name, n, rng):
    ceiling = BOUNDS[name].ceiling(n)
    if math.isinf(ceiling):
        assert value(name, 50 * np.eye(n, dtype=np.float32)) > value(name, np.eye(n))
        return
    perfect = np.where(np.eye(n), 1.0, -1.0).astype(np.float32)
    assert max(value(name, s * perfect) for s in (6.0, 20.0)) > ceiling - 0.01
    for scale in (0.1, 1.0, 10.0, 1e4):
        u = scale * rng.normal(size=(n, n)).astype(np.float32)
        assert value(name, u) <= ceiling + 1e-5
        assert value(name, scale * perfect) <= ceiling + 1e-5


@pytest.mark.parametrize("name", BOUNDS)
def test_leading_axes_are_a_loop(name, rng):
    u = rng.normal(size=(2, 3, 5, 5)).astype(np.float32)
    looped = [[value(name, block) for block in row] for row in u]
    np.testing.assert_allclose(value(name, u), looped, rtol=1e-5)


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("pattern", ["positive", "negative", "mixed"])
def test_huge_scores_are_finite_in_value_and_gradient(name, pattern, rng):
    u = {
        "positive": np.full((4, 4), 1e4),
        "negative": np.full((4, 4), -1e4),
        "mixed": rng.choice([-1e4, 1e4], (4, 4)),
    }[pattern]
    u = tf.constant(u, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(u)
        result = BOUNDS[name].function(u)
    assert np.isfinite(result.numpy())
    assert np.isfinite(tape.gradient(result, u).numpy()).all()


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_is_computed_in_float32(name, dtype, scores):
    rounded = tf.cast(scores, dtype)
    result = BOUNDS[name].function(rounded)
    assert result.dtype == tf.float32
    expected = BOUNDS[name].function(tf.cast(rounded, tf.float32))
    np.testing.assert_array_equal(result, expected)


# Of scores [2, 5, 5] in `dtype`, beside which a caller has float32.
FUNCTIONS = {
    **{name: row.function for name, row in BOUNDS.items()},
    "dv, pooled": lambda u: bounds.dv(u, pooled=True),
    "info_nce, x": lambda u: bounds.info_nce(u, "x"),
    "info_nce, both": lambda u: bounds.info_nce(u, "both"),
    "info_nce, pooled": lambda u: bounds.info_nce(u, "x", pooled=True),
    "mine, first": lambda u: bounds.mine(u, tf.fill([2], -math.inf))[0],
    "mine": lambda u: bounds.mine(u, tf.constant([0.3, -0.2]))[0],
    "mine, average": lambda u: bounds.mine(u, tf.constant([0.3, -0.2]))[1],
    "tuba": lambda u: bounds.tuba(u, tf.linspace(-1.0, 1.0, 5)),
    "interpolated": lambda u: bounds.interpolated(u, tf.linspace(-1.0, 1.0, 5), 0.3),
    "flo": lambda u: bounds.flo(u, tf.linspace(-1.0, 1.0, 5)),
    "rank_candidates": lambda u: bounds.rank_candidates(u[0, 0], u[1]),
    "log ratio": lambda u: BOUNDS["pearson_chi2"].log_ratio(u),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_precision_of_the_scores_is_kept_and_half_raised(name, rng):
    u = rng.normal(size=(2, 5, 5))
    single, double = (
        FUNCTIONS[name](tf.constant(u, dtype)) for dtype in (tf.float32, tf.float64)
    )
    assert (single.dtype, double.dtype) == (tf.float32, tf.float64)
    np.testing.assert_allclose(single, double, rtol=2e-5, atol=1e-6)
    half = tf.constant(u, tf.float16)
    found = FUNCTIONS[name](half)
    assert found.dtype == tf.float32
    np.testing.assert_array_equal(found, FUNCTIONS[name](tf.cast(half, tf.float32)))


@pytest.mark.parametrize("name", BOUNDS)
def test_gradient_raises_positives_and_lowers_negatives(name):
    u = tf.zeros((5, 5))
    with tf.GradientTape() as tape:
        tape.watch(u)
        result = BOUNDS[name].function(u)
    gradient = tape.gradient(result, u).numpy()
    off_diagonal = gradient[~np.eye(5, dtype=bool)]
    assert (np.diag(gradient) > 0).all()
    assert (off_diagonal < 0).all()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in BOUNDS),
        ("dv", {"pooled": True}),
        ("info_nce", {"candidates": "x"}),
        ("info_nce", {"candidates": "both"}),
        ("info_nce", {"candidates": "x", "pooled": True}),
    ],
    ids=str,
)
def test_gradient_is_that_of_the_value(name, options, rng):
    u = rng.normal(size=(2, 4, 4))
    weights = rng.normal(size=np.shape(value(name, u, **options)))
    weighted = lambda u: float(np.sum(weights * value(name, u, **options)))
    x = tf.constant(u)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(weights * BOUNDS[name].function(x, **options))
    found = tape.gradient(total, x).numpy()
    for place in np.ndindex(u.shape):
        step = np.zeros_like(u)
        step[place] = 1e-5
        slope = (weighted(u + step) - weighted(u - step)) / 2e-5
        assert found[place] == pytest.approx(slope, abs=1e-8)


@pytest.mark.parametrize("name", BOUNDS)
def test_same_under_a_graph_and_under_xla(name, scores):
    function = BOUNDS[name].function
    for jit in (False, True):
        compiled = tf.function(function, jit_compile=jit)(tf.constant(scores))
        np.testing.assert_allclose(compiled, function(scores), rtol=2e-5, atol=1e-6)


def official_info_nce(u):
    """The released program's loss with a proper mask: all N L candidates written out.

    Follows rdevon/DIM `cortex_DIM/functions/dim_losses.py`, `infonce_loss`.
    """
    locations, n, _ = u.shape
    total = 0.0
    for j in range(n):
        negatives = [u[k, i, j] for k in range(locations) for i in range(n) if i != j]
        for k in range(locations):
            total += u[k, j, j] - logsumexp([u[k, j, j], *negatives])
    return total / (n * locations)


def test_pooled_info_nce_is_the_released_loss_with_a_proper_mask(scores):
    result = value("info_nce", scores, candidates="x", pooled=True)
    assert result.shape == (5,)
    candidates = 1 + 5 * (6 - 1)
    expected = official_info_nce(scores.astype(np.float64)) + math.log(candidates)
    assert result.mean() == pytest.approx(expected, abs=1e-5)


def test_pooled_info_nce_at_zero_scores_is_log_of_all_candidates():
    # N = L = 64: the released loss is log(4033.003) because it leaves e^-10 per
    # self-pair in the denominator; with a proper mask it is log 4033.
    n = locations = 64
    zeros = tf.zeros((locations, n, n))
    assert value("info_nce", zeros, candidates="x", pooled=True).max() < 1e-6
    with_self_pairs = math.log(1 + (n - 1) * locations + locations * math.exp(-10))
    assert with_self_pairs == pytest.approx(8.3023, abs=1e-4)
    assert math.log(1 + (n - 1) * locations) < with_self_pairs


def test_pooled_dv_takes_one_mean_over_all_locations(scores):
    result = value("dv", scores, pooled=True)
    off_diagonal = scores[:, ~np.eye(6, dtype=bool)].astype(np.float64)
    positive = np.diagonal(scores, axis1=1, axis2=2).mean(axis=1)
    expected = positive - logsumexp(off_diagonal) + math.log(off_diagonal.size)
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_bug_dv_mask_broadcasting(scores):
    """rdevon/DIM multiplies [N, N, 1] by an [N, N] mask: a mean over [N, N, N]."""
    n = 6
    u = scores[0].astype(np.float64)
    broken_positive = (u[..., None] * np.eye(n)[None]).sum() / n
    right = np.diag(u).mean()
    assert abs(broken_positive - right) > 0.5
    off_diagonal = u[~np.eye(n, dtype=bool)]
    expected = right - logsumexp(off_diagonal) + math.log(n * (n - 1))
    assert value("dv", scores[0]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["dv", "nwj", "reverse_kl", "squared_hellinger"])
def test_bug_minus_ten_mask(name):
    """Masks of -10 count as negatives as soon as true negatives are lower."""
    u = np.where(np.eye(4), 0.0, -30.0).astype(np.float32)
    moved = np.where(np.eye(4), 5.0, -30.0).astype(np.float32)
    with tf.GradientTape() as tape:
        scores = tf.constant(u)
        tape.watch(scores)
        result = bounds._log_mean_exp_negatives(scores)
    assert result.numpy() == pytest.approx(-30.0)
    assert np.diag(tape.gradient(result, scores)).sum() == 0.0
    positive_part = {"dv": 5.0, "nwj": 5.0}.get(name)
    change = value(name, moved) - value(name, u)
    if positive_part is not None:
        assert change == pytest.approx(positive_part, abs=1e-4)
    else:
        assert change == pytest.approx(1 - math.exp(-5.0), abs=1e-4)


@pytest.mark.parametrize("name", BOUNDS)
def test_self_pairs_are_not_negatives(name):
    """Doubling the scores of the self-pairs only changes the positive part."""
    u = np.zeros((4, 4), np.float32)
    raised = u + 3 * np.eye(4, dtype=np.float32)
    negatives = {
        "dv": bounds._log_mean_exp_negatives,
        "info_nce": bounds._log_mean_exp_negatives,
    }.get(name, lambda s: bounds._mean_negatives(tf.nn.softplus(s)))
    np.testing.assert_allclose(
        negatives(tf.constant(raised)), negatives(tf.constant(u))
    )


def test_bug_x2_sign():
    """rdevon/DIM's X2 has E_q[-(|u| + 1)^2 / 2]: training it diverges."""
    u = gaussian_log_ratios(300)
    values = [value("pearson_chi2", s * 2 * (np.exp(u) - 1)) for s in (1.0, 10, 100)]
    assert values[0] > values[1] > values[2]  # unbounded growth is punished


def test_bug_swapped_dv_and_jsd(scores):
    """A port returned each for the other: at large positives they differ in kind."""
    confident = 40 * np.eye(6, dtype=np.float32)
    assert value("jsd", confident) <= 2 * math.log(2) + 1e-6
    assert value("dv", confident) > 30


@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (2, 3, 2)])
def test_score_matrices_that_are_none_are_refused(shape):
    with pytest.raises(ValueError, match=r"\[\.\.\., N, N\].*Received"):
        bounds.info_nce(tf.zeros(shape))


def test_info_nce_refuses_what_it_cannot_pool(scores):
    with pytest.raises(ValueError, match="candidates"):
        bounds.info_nce(scores, candidates="y", pooled=True)
    with pytest.raises(ValueError, match="candidates"):
        bounds.info_nce(scores, candidates="z")


def test_symmetric_info_nce_is_the_mean_of_both_directions(scores):
    both = value("info_nce", scores, candidates="both")
    sides = [value("info_nce", scores, candidates=side) for side in "xy"]
    np.testing.assert_allclose(both, np.mean(sides, axis=0), rtol=1e-6)
