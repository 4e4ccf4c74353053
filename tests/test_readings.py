"""What is filed under which kind, and that nothing under `mi/` exceeds the truth."""

import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp
from scipy.stats import binom

from tf_infomax import bounds, critics
from tf_infomax.evaluation.values import assess_values
from tf_infomax.objectives import NEGATIVES, InfoMax, Term
from tf_infomax.objectives.negatives import rank_hardest, rank_weighted
from tf_infomax.reporting import report
from tf_infomax.training.run import Monitor

POOLED = (("candidates", "x"), ("pooled", True))
BOTH = (("candidates", "both"),)
SYMBOLS, N, SIDE = 256, 64, 8


def build_copies(bound, options=()) -> InfoMax:
    """An image is one of 256 symbols; its 64 locations and its code say which."""
    symbol = keras.Input((1, 1), dtype="uint8")
    one_hot = keras.layers.Embedding(SYMBOLS, SYMBOLS, "identity")(symbol)
    code = keras.layers.Flatten()(one_hot)
    at_one = keras.layers.Reshape((1, 1, SYMBOLS))(one_hot)
    local = keras.layers.UpSampling2D(SIDE)(keras.layers.Rescaling(30.0)(at_one))
    encoder = keras.Model(symbol, {"local": local, "code": code})
    term = Term(
        "local", "x.local", "x.code", critics.InnerProduct(), bound, 1.0, options
    )
    return InfoMax(encoder, [term])


@pytest.fixture(scope="module")
def symbols():
    drawn = np.random.default_rng(0).integers(0, SYMBOLS, (20, N, 1, 1), np.uint8)
    return [{"x": tf.constant(batch)} for batch in drawn]


class TestCopies:
    """I(x_l; y) = I(x; y) = log 256 = 5.545 nats, at every location l."""

    TRUTH = math.log(SYMBOLS)

    def test_pooled_info_nce_exceeds_the_information_and_is_no_bound(self, symbols):
        objective = build_copies("info_nce", POOLED)
        results = dict(assess_values(objective, symbols, N))
        assert results["mi/local"]["mean"] < math.log(N) < self.TRUTH
        assert results["mi/local"]["ceiling"] == pytest.approx(math.log(N))
        score = results["score/local"]
        # Only images of the same symbol, d of the 63 others, are ranked beside one.
        d = np.arange(N)
        expected = math.log(1 + SIDE**2 * (N - 1)) - np.sum(
            binom.pmf(d, N - 1, 1 / SYMBOLS) * np.log1p(SIDE**2 * d)
        )
        error = score["sd"] / math.sqrt(score["n"])
        assert score["mean"] == pytest.approx(expected, abs=4 * error)
        assert score["mean"] > self.TRUTH + 1.5
        assert score["ceiling"] == pytest.approx(math.log(1 + SIDE**2 * (N - 1)))

    def test_pooled_dv_is_that_of_one_copy(self, symbols):
        values = [
            dict(assess_values(build_copies("dv", options), symbols, N))
            for options in ((), (("pooled", True),))
        ]
        one, pooled = (v["mi/local"]["mean"] for v in values)
        assert pooled == pytest.approx(one, rel=1e-5)

    def test_a_jensen_shannon_divergence_is_no_information(self, symbols):
        results = dict(assess_values(build_copies("jsd"), symbols, N))
        assert set(results) == {"divergence/local", "mi/local"}
        assert results["divergence/local"]["measures"] == "2 JSD(joint || product)"
        assert results["divergence/local"]["mean"] < 2 * math.log(2.0)
        assert 3.0 < results["mi/local"]["mean"] < self.TRUTH
        assert results["mi/local"]["measures"] == "mutual information, nats"

    def test_evaluate_gives_the_objective_and_all_that_can_be_read(self, symbols):
        objective = build_copies("info_nce", POOLED)
        objective.compile(keras.optimizers.SGD(0.0))
        data = tf.data.Dataset.from_tensors(symbols[0])
        values = objective.evaluate(data, verbose=0, return_dict=True)
        assert set(values) == {"loss", "local", "mi/local", "score/local"}
        assert values["local"] == values["score/local"] > values["mi/local"]
        history = objective.fit(data, verbose=0, shuffle=False).history
        assert set(history) == {"loss", "local"}  # no more is computed in training


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_pooled_dv_is_at_most_dv_of_the_locations(scale, rng):
    """By Jensen's inequality, for any scores: what dv bounds, it bounds too."""
    for _ in range(20):
        u = scale * rng.normal(size=(5, 6, 6)) + rng.normal(size=(5, 1, 1))
        assert np.mean(bounds.dv(u, pooled=True)) <= np.mean(bounds.dv(u)) + 1e-9


RHO, PAIRS, BATCHES = 0.95, 16, 300
MI = -0.5 * math.log(1 - RHO**2)  # 1.164


class LogRatio(critics.Critic):
    """log p/q of x and y of correlation RHO, or what of it a bound is tight at."""

    def __init__(self, of=lambda u: u):
        super().__init__()
        self.of = of

    def score(self, hx, hy):
        x = tf.transpose(hx[..., 0])[..., None] if len(hx.shape) == 3 else hx
        y = tf.transpose(hy[..., 0])[..., None, :] if len(hy.shape) == 3 else hy[:, 0]
        return self._log_ratio(x, y)

    def score_pairs(self, hx, hy):
        return self._log_ratio(hx[:, 0], hy[:, 0])

    def _log_ratio(self, x, y):
        v = 1 - RHO**2
        squares = RHO**2 * (x**2 + y**2) - 2 * RHO * x * y
        return self.of(-0.5 * math.log(v) - squares / (2 * v))


TIGHT_AT = {
    "nwj": lambda u: u + 1.0,
    "squared_hellinger": lambda u: 0.5 * u,
    "pearson_chi2": lambda u: 2.0 * (tf.exp(tf.minimum(u, 20.0)) - 1.0),
}
OPTIONS = {"info_nce": BOTH}
EVERY = [
    *((bound, "iid", OPTIONS.get(bound, ())) for bound in bounds.BOUNDS),
    ("info_nce", "iid", POOLED),
    ("info_nce", "some", BOTH),
    ("info_nce", "some", POOLED),
    ("jsd", "some", ()),
    *((bound, "derangement", ()) for bound in ("info_nce", "nwj", "jsd")),
    *(("info_nce", kind, BOTH) for kind in ("hard", "weighted", "memory")),
    ("info_nce", "same_image", ()),
    ("jsd", "same_image", ()),
]


@pytest.mark.parametrize(("bound", "negatives", "options"), EVERY, ids=str)
def test_nothing_read_as_information_exceeds_it(bound, negatives, options):
    """Four copied locations, the best critic, 300 batches of 16 independent images."""
    draws = np.random.default_rng(0).normal(size=(2, BATCHES, PAIRS, 1, 1))
    x, y = draws[0], RHO * draws[0] + math.sqrt(1 - RHO**2) * draws[1]
    flat = negatives in ("derangement", "hard", "weighted", "memory")
    x = x[..., 0] if flat else np.repeat(x, 4, axis=2)
    y = np.repeat(y, 4, axis=2) if negatives == "same_image" else y[..., 0]
    extra = {kind: (("count", 4),) for kind in ("hard", "some")}
    extra["weighted"] = (("hardness", 1.0),)
    critic = LogRatio(TIGHT_AT.get(bound, lambda u: u))
    term = Term(
        "t", "x.code", "y.code", critic, bound, options=options, negatives=negatives,
        negative_options=extra.get(negatives, ()),
    )  # fmt: skip
    read = tf.function(lambda hx, hy: term.read(hx, hy))
    rows = [
        read(*(tf.constant(side, tf.float32) for side in pair))
        for pair in zip(x, y, strict=True)
    ]
    values = {key: np.array([float(row[key]) for row in rows]) for key in rows[0]}
    informations = [v for key, v in values.items() if key.startswith("mi/")]
    assert len(informations) == 1
    information = informations[0]
    error = information.std(ddof=1) / math.sqrt(BATCHES)
    # dv alone is a bound in population only; a batch of 240 negatives is near it.
    slack = 0.1 if bound == "dv" else 0.0
    assert information.mean() < MI + slack + 4 * error
    assert information.mean() > 0.4 * min(MI, math.log(2.0))


def test_negatives_that_share_something_are_read_as_no_information():
    critic = critics.InnerProduct()
    term = Term("t", "x.code", "y.code", critic, "nwj", negatives="shared_context")
    assert [each.key for each in term.readings()] == ["score/t"]


def test_dv_of_a_derangement_takes_one_logarithm(rng):
    """Of two negatives at a time it would stay biased, at any number of pairs."""
    x = rng.normal(size=(2000, 1))
    y = RHO * x + math.sqrt(1 - RHO**2) * rng.normal(size=(2000, 1))
    x, y = (tf.constant(side, tf.float32) for side in (x, y))
    critic = LogRatio()
    term = Term("t", "x.code", "y.code", critic, "dv", negatives="derangement")
    value = float(NEGATIVES["derangement"].value(term, x, y))
    own = critic.score_pairs(x, y).numpy().astype(float)
    other = np.arange(2000).reshape(-1, 2)[:, ::-1].ravel()
    cross = critic.score_pairs(x, tf.gather(y, other)).numpy().astype(float)
    expected = own.mean() - logsumexp(cross) + math.log(2000)
    assert value == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_hard_and_weighted_scores_stay_below_the_information(scale, rng):
    """Hard: shares of N candidates, times (k + 1) / N, sum to 1 at most. Weighted:
    at most InfoNCE."""
    n, k = 9, 3
    for _ in range(20):
        u = scale * rng.normal(size=n)
        others = np.where(np.eye(n), -np.inf, u[None])
        hard = [
            float(rank_hardest(tf.constant(u[[i]]), others[[i]], k)) for i in range(n)
        ]
        shares = np.exp(hard) / n
        assert sum(shares) <= 1.0 + 1e-6
        scores = scale * rng.normal(size=(n, n))
        own, rest = np.diag(scores), np.where(np.eye(n), -np.inf, scores)
        weighted = rank_weighted(tf.constant(own), tf.constant(rest), 0.7)
        assert float(weighted) <= float(bounds.info_nce(scores)) + 1e-9


def test_the_best_checkpoint_is_the_nearest_to_a_target():
    inputs = keras.Input((2, 2, 1), dtype="uint8")
    encoder = keras.Model(inputs, {"code": keras.layers.Flatten()(inputs)})
    critic = critics.InnerProduct()
    term = Term("t", "x.code", "y.code", critic, "nwj", target=2.0)
    saved = []
    run = SimpleNamespace(
        config=SimpleNamespace(best="bound"),
        objective=InfoMax(encoder, [term]),
        state={"best": None},
        save=lambda which: saved.append(run.state["best"]),
    )
    monitor = Monitor.__new__(Monitor)
    monitor.run, monitor.validation = run, object()
    for value in (0.5, 2.1, 5.0):
        monitor._save_best({"validation/mi/t": value, "validation/loss": 7.0})
    assert saved == pytest.approx([-1.5, -0.1])


class TestFigure:
    @staticmethod
    def draw(monkeypatch, rows, readings):
        figures = []
        monkeypatch.setattr(
            report, "save_figure", lambda figure, *path: figures.append(figure)
        )
        report.draw_curves(rows, readings, None)
        return figures[0].axes

    @staticmethod
    def reading(measures, objective=True, ceiling=None):
        return {
            "measures": measures, "objective": objective, "ceiling": ceiling,
            "bound": "info_nce",
            "chance": 0.0,
        }  # fmt: skip

    def test_a_start_far_below_0_flattens_nothing(self, monkeypatch):
        values = [-37.0, 1.0, 2.0, 3.0]
        rows = [
            {"step": 10 * k, "local": v, "validation/mi/local": v - 0.2}
            for k, v in enumerate(values, 1)
        ]
        readings = {"mi/local": self.reading("mutual information, nats", ceiling=4.16)}
        (axes,) = self.draw(monkeypatch, rows, readings)
        low, high = axes.get_ylim()
        assert -1.5 < low < 0.0
        assert 4.16 < high < 5.0
        legend = " ".join(text.get_text() for text in axes.get_legend().get_texts())
        assert "below 0 the critic is not trained yet" in legend
        assert "lowest -37.2" in legend

    def test_each_kind_has_a_panel_that_says_what_it_is(self, monkeypatch):
        names = "validation/score/local", "validation/mi/local"
        rows = [{"step": 10, "local": 4.0, names[0]: 4.0, names[1]: 2.0}]
        readings = {
            "score/local": self.reading("no bound"),
            "mi/local": self.reading("mutual information, nats", objective=False),
            "divergence/global": self.reading("2 JSD(joint || product)"),
        }
        rows[0] |= {"validation/divergence/global": 1.0}
        panels = self.draw(monkeypatch, rows, readings)
        titles = [axes.get_title() for axes in panels]
        assert [title.partition(",")[0] for title in titles] == [
            "mutual information", "2 JSD(joint || product)", "score (no bound)",
        ]  # fmt: skip
        assert "not mutual information" in titles[1]
        labels = [line.get_label() for line in panels[0].get_lines()]
        assert labels == ["mi/local, validation"]
