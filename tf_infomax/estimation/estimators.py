"""The estimators: one row each, and the one call that runs them by the same protocol.

Critics are trained on one part of the pairs, the step is chosen on a second, and the
value is reported on a third, so that no value was selected on the pairs it is computed
on. There all n reported pairs are one another's negatives: K is n, whatever the batch
in training was.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import logsumexp

from tf_infomax.estimation import gaussian, neighbors, values
from tf_infomax.estimation.inputs import fit_marginal, read_pairs, split
from tf_infomax.estimation.intervals import bootstrap, jackknife
from tf_infomax.estimation.options import Options
from tf_infomax.estimation.result import Estimate
from tf_infomax.estimation.values import Scores


@dataclass
class Pairs:
    """Preprocessed pairs by use.

    Attributes:
        train, choose, report: the three parts, by the marginals of the first.
        raw_train, raw_report: as they came, for known densities.
        whole: all of them, by their own marginals, for estimators without training.
    """

    train: tuple[np.ndarray, np.ndarray]
    choose: tuple[np.ndarray, np.ndarray]
    report: tuple[np.ndarray, np.ndarray]
    raw_train: tuple[np.ndarray, np.ndarray]
    raw_report: tuple[np.ndarray, np.ndarray]
    marginals: tuple[Callable, Callable]
    whole: tuple[np.ndarray, np.ndarray]


@dataclass
class Fitted:
    """What a row of `ESTIMATORS` gives.

    Attributes:
        value: weights `[n]` of the reported pairs (or, if `subsets`, positions) ->
            estimate.
        n: pairs reported on.
        subsets: whether `value` takes positions.
        scores: the score matrix, for diagnostics, or None.
        training: a `neural.Training`, or None.
        log_ratio: preprocessed (x, y) -> log density ratio of the pairs, or None.
        diagnostics: further figures.
    """

    value: Callable
    n: int
    subsets: bool = False
    scores: Scores | None = None
    training: object | None = None
    log_ratio: Callable | None = None
    diagnostics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Estimator:
    """A row of `ESTIMATORS`.

    Attributes:
        formula: what it computes.
        direction: "lower" or "upper" bound in population, or "neither".
        source: where it is from.
        fit: (Pairs, Options) -> Fitted.
        ceiling: (pairs reported on, Options) -> largest value possible.
        exponential: whether the value hangs on a mean of e^f over negatives.
    """

    formula: str
    direction: str
    source: str
    fit: Callable[[Pairs, Options], Fitted]
    ceiling: Callable[[int, Options], float] = lambda n, options: math.inf
    exponential: bool = False


def _critic(
    objective: str, value: Callable[..., float], log_ratio: str = "scores"
) -> Callable[[Pairs, Options], Fitted]:
    """Trains a critic by an objective and reports a functional of its scores.

    Args:
        objective: a key of `neural.OBJECTIVES` ("interpolated" takes alpha).
        value: (Scores, log a, u, Options) -> estimate.
        log_ratio: how scores become log p/q; a key of `_LOG_RATIOS`.
    """

    def fit(pairs: Pairs, options: Options) -> Fitted:
        from tf_infomax.estimation import neural

        chosen = (
            neural.interpolated(options.alpha)
            if objective == "interpolated"
            else neural.OBJECTIVES[objective]
        )
        training = neural.train(
            *pairs.train,
            pairs.choose,
            chosen,
            options,
            (options.x_encoder, options.y_encoder),
        )
        scores, baseline, u = neural.evaluate(training.model, *pairs.report)

        def ratio(x, y):
            given, a, inverse = neural.evaluate(training.model, x, y)
            return _LOG_RATIOS[log_ratio](given.positive, a, inverse, scores)

        return Fitted(
            value=lambda w: value(scores.weighted(w), baseline, u, options),
            n=len(baseline),
            scores=scores,
            training=training,
            log_ratio=ratio,
        )

    return fit


# (f of the pairs, log a, u, Scores of the reported pairs) -> log p/q of the pairs.
_LOG_RATIOS = {
    "scores": lambda f, a, u, s: f,
    "less_one": lambda f, a, u, s: f - 1.0,
    "normalized": lambda f, a, u, s: f - s.log_mean_exp_negative(),
    "less_baseline": lambda f, a, u, s: f - a,
    "inverse": lambda f, a, u, s: -u,
}


def _conditional(value: Callable[[Scores], float]):
    """Fits a Gaussian q(y|x) and reports a functional of log q(y_j | x_i)."""

    def fit(pairs: Pairs, options: Options) -> Fitted:
        from tf_infomax.estimation import conditional

        training = conditional.fit(*pairs.train, pairs.choose, options)
        densities = lambda x, y: conditional.log_densities(training.model, x, y)
        reference = pairs.report[0]
        scores = Scores(densities(*pairs.report))

        def ratio(x, y):
            marginal = logsumexp(densities(reference, y), axis=0)
            given = np.diagonal(densities(x, y))
            return given - marginal + math.log(len(reference))

        return Fitted(
            value=lambda w: value(scores.weighted(w)),
            n=len(scores.positive),
            scores=scores,
            training=training,
            log_ratio=ratio,
            diagnostics={"conditional_log_likelihood": scores.mean_positive()},
        )

    return fit


def _difference_of_entropies(pairs: Pairs, options: Options) -> Fitted:
    """H(q_Y) - H(q_Y|X), cross-entropies of a Gaussian mixture and a conditional."""
    from sklearn.mixture import GaussianMixture

    from tf_infomax.estimation import conditional

    training = conditional.fit(*pairs.train, pairs.choose, options)
    flat = lambda y: np.asarray(y).reshape(len(y), -1)
    fits = [
        GaussianMixture(components, random_state=options.seed, reg_covar=1e-5).fit(
            flat(pairs.train[1])
        )
        for components in (1, 4, 8)
    ]
    mixture = max(fits, key=lambda each: each.score(flat(pairs.choose[1])))
    marginal = mixture.score_samples(flat(pairs.report[1]))
    densities = lambda x, y: np.diagonal(
        conditional.log_densities(training.model, x, y)
    )
    given = densities(*pairs.report)
    return Fitted(
        value=lambda w: float(w @ (given - marginal) / w.sum()),
        n=len(given),
        training=training,
        log_ratio=lambda x, y: densities(x, y) - mixture.score_samples(flat(y)),
        diagnostics={
            "conditional_log_likelihood": float(given.mean()),
            "marginal_log_likelihood": float(marginal.mean()),
        },
    )


def _known(value: Callable[[Scores, Options], float]):
    """A functional of the known log p(y_j | x_i)."""

    def fit(pairs: Pairs, options: Options) -> Fitted:
        if options.log_conditional is None:
            raise ValueError("log_conditional is needed: (x, y) -> log p(y_j | x_i).")
        scores = Scores(options.log_conditional(*pairs.raw_report))
        return Fitted(
            value=lambda w: value(scores.weighted(w), options),
            n=len(scores.positive),
            scores=scores,
        )

    return fit


def _barber_agakov(s: Scores, options: Options) -> float:
    if options.entropy_y is None:
        raise ValueError("entropy_y is needed: the differential entropy of y, nats.")
    return options.entropy_y + s.mean_positive()


def _upper_with_marginal(pairs: Pairs, options: Options) -> Fitted:
    """E log p(y|x) / r(y), r a Gaussian mixture fitted to the training part."""
    from sklearn.mixture import GaussianMixture

    fitted = _known(lambda s, o: s.mean_positive())(pairs, options)
    flat = lambda y: np.asarray(y).reshape(len(y), -1)
    mixture = GaussianMixture(4, random_state=options.seed)
    mixture.fit(flat(pairs.raw_train[1]))
    marginal = mixture.score_samples(flat(pairs.raw_report[1]))
    positive = fitted.scores.positive - marginal
    return replace(fitted, value=lambda w: float(w @ positive / w.sum()))


def _points(function: Callable) -> Callable[[Pairs, Options], Fitted]:
    """The mean of the contributions of all points; nothing is trained."""

    def fit(pairs: Pairs, options: Options) -> Fitted:
        x, y = (side.reshape(len(side), -1) for side in pairs.whole)
        return Fitted(
            value=lambda rows: float(np.mean(function(x[rows], y[rows], options.k))),
            n=len(x),
            subsets=True,
        )

    return fit


def _gaussian(pairs: Pairs, options: Options) -> Fitted:
    x, y = (side.reshape(len(side), -1) for side in pairs.whole)
    return Fitted(
        value=lambda rows: gaussian.gaussian_mi(x[rows], y[rows], options.correct),
        n=len(x),
        subsets=True,
    )


def _log_n(n: int, options: Options) -> float:
    return math.log(n)


_POOLE, _KRASKOV = "Poole et al. 2019", "Kraskov et al. 2004"

ESTIMATORS: dict[str, Estimator] = {
    "dv": Estimator(
        "E_p[f] - log E_q[e^f]",
        "lower",
        "Donsker & Varadhan 1983; Belghazi et al. 2018",
        _critic("dv", lambda s, a, u, o: values.dv(s), "normalized"),
        exponential=True,
    ),
    "mine": Estimator(
        "E_p[f] - log E_q[e^f], gradient with a moving average",
        "lower",
        "Belghazi et al. 2018",
        _critic("mine", lambda s, a, u, o: values.dv(s), "normalized"),
        exponential=True,
    ),
    "nwj": Estimator(
        "E_p[f] - E_q[e^(f - 1)]",
        "lower",
        "Nguyen et al. 2010",
        _critic("nwj", lambda s, a, u, o: values.nwj(s), "less_one"),
        exponential=True,
    ),
    "tuba": Estimator(
        "1 + E_p[f - log a(y)] - E_q[e^f / a(y)]",
        "lower",
        _POOLE,
        _critic("tuba", lambda s, a, u, o: values.tuba(s, a), "less_baseline"),
        exponential=True,
    ),
    "interpolated": Estimator(
        "TUBA with a = alpha m(y; x) + (1 - alpha) a(y)",
        "lower",
        _POOLE,
        _critic(
            "interpolated",
            lambda s, a, u, o: values.interpolated(s, a, o.alpha),
            "less_baseline",
        ),
        ceiling=lambda n, o: math.log((n - 1) / o.alpha) if o.alpha else math.inf,
        exponential=True,
    ),
    "info_nce": Estimator(
        "E[f_ii - log(1/K sum_j e^(f_ij))], mean of rows and columns",
        "lower",
        "van den Oord et al. 2018",
        _critic("info_nce", lambda s, a, u, o: values.info_nce(s), "normalized"),
        ceiling=_log_n,
    ),
    "info_nce_rows": Estimator(
        "E[f_ii - log(1/K sum_j e^(f_ij))]: all y for each x",
        "lower",
        "van den Oord et al. 2018",
        _critic(
            "info_nce_rows", lambda s, a, u, o: values.info_nce(s, "y"), "normalized"
        ),
        ceiling=_log_n,
    ),
    "info_nce_columns": Estimator(
        "E[f_ii - log(1/K sum_j e^(f_ji))]: all x for each y",
        "lower",
        "van den Oord et al. 2018",
        _critic(
            "info_nce_columns", lambda s, a, u, o: values.info_nce(s, "x"), "normalized"
        ),
        ceiling=_log_n,
    ),
    "jsd": Estimator(
        "1 + E_p[f] - E_q[e^f], f trained by the Jensen-Shannon objective",
        "lower",
        _POOLE,
        _critic("jsd", lambda s, a, u, o: values.nwj_of_log_ratio(s)),
        exponential=True,
    ),
    "flo": Estimator(
        "1 - E[u + e^(-u) E_q[e^(g(x, y') - g(x, y))]]",
        "lower",
        "Guo et al. 2022",
        _critic("flo", lambda s, a, u, o: values.flo(s, u), "inverse"),
        exponential=True,
    ),
    "smile": Estimator(
        "E_p[f] - log E_q[clip(e^f, e^-tau, e^tau)], f trained as for jsd",
        "neither",
        "Song & Ermon 2020",
        _critic("jsd", lambda s, a, u, o: values.smile(s, o.tau)),
    ),
    "density_ratio": Estimator(
        "E_p[f], f trained as for jsd: a classifier's log-odds",
        "neither",
        "Tsai et al. 2020 (PC); Liao et al. 2020 (DEMI)",
        _critic("jsd", lambda s, a, u, o: values.density_ratio(s)),
    ),
    "difference_of_entropies": Estimator(
        "H(q_Y) - H(q_Y|X), two cross-entropies",
        "neither",
        "McAllester & Stratos 2020",
        _difference_of_entropies,
    ),
    "l1out": Estimator(
        "E[log q(y|x) / mean over the other x' of q(y|x')], q a fitted Gaussian",
        "upper",
        _POOLE,
        _conditional(values.leave_one_out),
    ),
    "club": Estimator(
        "E_p[log q(y|x)] - E_q[log q(y|x)], q a fitted Gaussian",
        "upper",
        "Cheng et al. 2020",
        _conditional(values.club),
    ),
    "ba": Estimator(
        "H(y) + E[log p(y|x)], both known",
        "lower",
        "Barber & Agakov 2003",
        _known(_barber_agakov),
    ),
    "vub": Estimator(
        "E[log p(y|x) / r(y)], p known, r a fitted mixture",
        "upper",
        _POOLE,
        _upper_with_marginal,
    ),
    "tnce": Estimator(
        "InfoNCE with f = log p(y|x), known",
        "lower",
        _POOLE,
        _known(lambda s, o: values.info_nce(s, "x")),
        ceiling=_log_n,
    ),
    "l1out_known": Estimator(
        "l1out with the known p(y|x)",
        "upper",
        _POOLE,
        _known(lambda s, o: values.leave_one_out(s)),
    ),
    "ksg": Estimator(
        "psi(k) + psi(n) - <psi(n_x + 1) + psi(n_y + 1)>",
        "neither",
        _KRASKOV,
        _points(neighbors.ksg1),
    ),
    "ksg2": Estimator(
        "psi(k) - 1/k + psi(n) - <psi(n_x) + psi(n_y)>",
        "neither",
        _KRASKOV,
        _points(neighbors.ksg2),
    ),
    "lnc": Estimator(
        "ksg2 corrected for local non-uniformity",
        "neither",
        "Gao, Ver Steeg & Galstyan 2015",
        _points(neighbors.lnc),
    ),
    "mixed": Estimator(
        "<psi(k_i) + log n - psi(n_x) - psi(n_y)>, ties count as such",
        "neither",
        "Gao et al. 2017",
        _points(neighbors.mixed),
    ),
    "discrete_continuous": Estimator(
        "psi(n) + <psi(k) - psi(n_label) - psi(m)>, x discrete",
        "neither",
        "Ross 2014",
        _points(neighbors.discrete_continuous),
    ),
    "gaussian": Estimator(
        "-1/2 sum log(1 - rho_i^2), canonical correlations",
        "neither",
        "Kullback 1959",
        _gaussian,
    ),
}

_RAW = ("mixed", "discrete_continuous")  # ties must stay ties


def estimate_mi(x, y=None, method: str = "smile", **options) -> Estimate:
    """Estimates the mutual information of x and y from pairs.

    Args:
        x, y: `[n, ...]` arrays or tensors of pairs, or x a `tf.data.Dataset` of pairs.
        method: a key of `ESTIMATORS`.
        **options: see `Options`.

    Returns:
        An `Estimate`: value, interval, ceiling, diagnostics, warnings.

    Raises:
        PairsError: for pairs that cannot be used.
        ValueError: for an unknown method or option.
    """
    if method not in ESTIMATORS:
        raise ValueError(
            f"method must be one of {', '.join(ESTIMATORS)}. Received: {method!r}."
        )
    unknown = [name for name in options if name not in Options.__dataclass_fields__]
    if unknown:
        raise ValueError(
            f"unknown options: {', '.join(unknown)}. Known: "
            f"{', '.join(Options.__dataclass_fields__)}."
        )
    chosen = Options(**options)
    x, y = read_pairs(x, y)
    if method in _RAW:
        chosen = replace(chosen, preprocess="none")
    row = ESTIMATORS[method]
    pairs = prepare(x, y, chosen)
    fitted = row.fit(pairs, chosen)
    result = _describe(method, row, fitted, pairs, chosen)
    if not chosen.bracket:
        return result
    ones = np.ones(len(pairs.report[0]))
    lower, upper = (
        result.value
        if name == method
        else ESTIMATORS[name].fit(pairs, chosen).value(ones)
        for name in ("info_nce", "l1out")
    )
    return replace(result, bracket=(lower, result.value, upper))


def prepare(x: np.ndarray, y: np.ndarray, options: Options) -> Pairs:
    """Splits pairs by use and takes scale and tails out of the way."""
    parts = split(len(x), options.seed, options.block)
    train, choose, report = parts
    report = report[: options.max_reported]
    marginals = tuple(fit_marginal(side[train], options.preprocess) for side in (x, y))

    def part(rows):
        return tuple(
            marginal(side[rows]).astype(np.float32)
            for marginal, side in zip(marginals, (x, y), strict=True)
        )

    whole = tuple(fit_marginal(side, options.preprocess)(side) for side in (x, y))
    return Pairs(
        part(train),
        part(choose[: options.max_reported]),
        part(report),
        (x[train], y[train]),
        (x[report], y[report]),
        marginals,
        whole,
    )


def _describe(
    method: str, row: Estimator, fitted: Fitted, pairs: Pairs, options: Options
) -> Estimate:
    """The value with everything that goes with it."""
    n = fitted.n
    ceiling = row.ceiling(n, options)
    if fitted.subsets:
        value = fitted.value(np.arange(n))
        interval = jackknife(
            fitted.value, n, options.level, options.seed, options.block
        )
        counts = {"report": n}
    else:
        value = fitted.value(np.ones(n))
        interval = bootstrap(
            fitted.value, n, options.level, options.seed, options.block
        )
        counts = {
            "train": len(pairs.train[0]),
            "choose": len(pairs.choose[0]),
            "report": n,
        }
    diagnostics = dict(fitted.diagnostics)
    if fitted.scores is not None and row.exponential:
        diagnostics["effective_negatives"] = values.effective_size(fitted.scores)
    if method == "smile":
        clipped = np.abs(fitted.scores.matrix) > options.tau
        diagnostics["clipped_share"] = fitted.scores.mean_negative(clipped * 1.0)
    training = fitted.training
    if training is not None:
        diagnostics |= {"steps": training.steps, "best_step": training.best_step}
    log_ratio = None
    if fitted.log_ratio is not None:

        def log_ratio(x, y):
            x, y = read_pairs(x, y)
            sides = (
                marginal(side).astype(np.float32)
                for marginal, side in zip(pairs.marginals, (x, y), strict=True)
            )
            return fitted.log_ratio(*sides)

    return Estimate(
        method=method,
        value=float(value),
        interval=interval,
        level=options.level,
        direction=row.direction,
        ceiling=ceiling,
        pairs=counts,
        diagnostics=diagnostics,
        warnings=tuple(
            _warn(
                float(value), interval, row, n, ceiling, diagnostics, training, options
            )
        ),
        history=tuple(training.history) if training is not None else (),
        density_ratio=log_ratio,
        critic=training,
    )


def _warn(value, interval, row, n, ceiling, diagnostics, training, options):
    """Yields, in words, why a value should not be taken as it is."""
    if not math.isfinite(value):
        yield "the value is not finite: the exponential mean has overflowed"
    if value > ceiling - 0.5:
        yield (
            f"within 0.5 nats of the ceiling {ceiling:.2f}: the truth may be anything "
            "above; report on more pairs (max_reported)"
        )
    elif row.direction == "lower" and value > math.log(n) - 0.5:
        yield (
            f"near log n = {math.log(n):.2f} of the {n} reported pairs, beyond which "
            "no lower bound that holds for every distribution can go"
        )
    effective = diagnostics.get("effective_negatives", math.inf)
    if effective < 30:
        yield (
            f"the exponential mean rests on {effective:.1f} of {n * (n - 1)} "
            "negatives: another draw may give another value; info_nce or smile are "
            "steadier"
        )
    if diagnostics.get("clipped_share", 0.0) > 0.5:
        yield (
            f"{diagnostics['clipped_share']:.0%} of the negatives are clipped: the "
            "value is that of tau, not of the data; raise tau"
        )
    if interval[0] < 0.0 < interval[1]:
        yield "the interval contains 0: see permutation_test for a p-value"
    elif value < 0.0:
        yield "negative, which mutual information never is: the critic has over-fitted"
    if training is None:
        return
    if training.stopped == "diverged":
        yield f"training diverged at step {training.steps}; lower learning_rate"
    elif training.stopped == "max_steps" and training.best_step == training.steps:
        yield f"still rising at the last of {training.steps} steps: raise max_steps"
    _, on_train, _ = training.history[-1]
    chosen = max(row[2] for row in training.history)
    if on_train - chosen > max(0.5, 0.5 * abs(chosen)):
        yield (
            f"over-fitted by the end ({on_train:.2f} in training, {chosen:.2f} on "
            "validation pairs): the step before was kept; more pairs would help"
        )
