"""The estimators: one row each.

See `protocol` for how they are run.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import logsumexp

from tf_infomax.estimation import auto, direct, neighbors, values
from tf_infomax.estimation.options import (
    CRITIC,
    ENCODED,
    KNOWN,
    NEIGHBORS,
    POINTS,
    TRAINED,
    Options,
)
from tf_infomax.estimation.samples import Fitted, Fold, Samples, per_fold
from tf_infomax.estimation.values import Scores


@dataclass(frozen=True)
class Estimator:
    """A row of `ESTIMATORS`.

    Attributes:
        formula: what it computes.
        direction: "lower" or "upper" bound in population, or "neither".
        source: where it is from.
        fit: (Samples, Options) -> Fitted.
        ceiling: (pairs reported on, Options) -> largest value possible.
        exponential: whether the value hangs on a mean of e^f over negatives.
        second_network: whether one of the same widths is trained beside the critic.
        uses: names of `Options` that have an effect; others are refused.
        defaults: options that are other than those of `Options` unless given.
    """

    formula: str
    direction: str
    source: str
    fit: Callable[[Samples, Options], Fitted]
    ceiling: Callable[[int, Options], float] = lambda n, options: math.inf
    exponential: bool = False
    second_network: bool = False
    uses: tuple[str, ...] = CRITIC
    defaults: dict[str, object] = field(default_factory=dict)


def _critic(
    objective: str, value: Callable[..., float], normalizer: str = "constant"
) -> Callable[[Samples, Options], Fitted]:
    """Trains a critic by an objective and reports a functional of its scores.

    Args:
        objective: a key of `neural.OBJECTIVES` ("interpolated" takes alpha).
        value: (Scores, log a, u, Options) -> estimate.
        normalizer: how scores become log p/q; as `pointwise.Member` has it, or
            "one" or "log_mean" for these constants.
    """

    def fit(fold: Fold, options: Options) -> Fitted:
        from tf_infomax.estimation import neural
        from tf_infomax.estimation.pointwise import Member

        training = neural.train(
            *fold.train,
            fold.choose,
            objective,
            options,
            (options.x_encoder, options.y_encoder),
        )
        scores, baseline, u = neural.evaluate(training.model, *fold.report)
        constants = {"one": 1.0, "log_mean": scores.log_mean_exp_negative()}
        member = Member(
            training.model,
            fold.marginals,
            "constant" if normalizer in constants else normalizer,
            constants.get(normalizer, 0.0),
            fold.report if normalizer.startswith("candidates") else None,
        )
        return Fitted(
            value=lambda w: value(scores.weighted(w), baseline, u, options),
            n=len(baseline),
            scores=(scores,),
            trainings=(training,),
            members=(member,),
        )

    return per_fold(fit)


def _conditional(value: Callable[[Scores], float]):
    """Fits a Gaussian q(y|x) and reports a functional of log q(y_j | x_i)."""

    def fit(fold: Fold, options: Options) -> Fitted:
        from tf_infomax.estimation import conditional

        training = conditional.fit(*fold.train, fold.choose, options)
        densities = lambda x, y: conditional.log_densities(training.model, x, y)
        reference = fold.report[0]
        scores = Scores(densities(*fold.report))

        def ratio(x, y):
            marginal = logsumexp(densities(reference, y), axis=0)
            given = np.diagonal(densities(x, y))
            return given - marginal + math.log(len(reference))

        return Fitted(
            value=lambda w: value(scores.weighted(w)),
            n=len(scores.positive),
            scores=(scores,),
            trainings=(training,),
            log_ratio=ratio,
            marginals=fold.marginals,
            diagnostics={"conditional_log_likelihood": scores.mean_positive()},
        )

    return per_fold(fit)


@per_fold
def _difference_of_entropies(fold: Fold, options: Options) -> Fitted:
    """H(q_Y) - H(q_Y|X), cross-entropies of a Gaussian mixture and a conditional."""
    from sklearn.mixture import GaussianMixture

    from tf_infomax.estimation import conditional

    training = conditional.fit(*fold.train, fold.choose, options)
    flat = lambda y: np.asarray(y).reshape(len(y), -1)
    fits = [
        GaussianMixture(components, random_state=options.seed, reg_covar=1e-5).fit(
            flat(fold.train[1])
        )
        for components in (1, 4, 8)
    ]
    mixture = max(fits, key=lambda each: each.score(flat(fold.choose[1])))
    marginal = mixture.score_samples(flat(fold.report[1]))
    densities = lambda x, y: np.diagonal(
        conditional.log_densities(training.model, x, y)
    )
    given = densities(*fold.report)
    return Fitted(
        value=lambda w: float(w @ (given - marginal) / w.sum()),
        n=len(given),
        trainings=(training,),
        marginals=fold.marginals,
        log_ratio=lambda x, y: densities(x, y) - mixture.score_samples(flat(y)),
        diagnostics={
            "conditional_log_likelihood": float(given.mean()),
            "marginal_log_likelihood": float(marginal.mean()),
        },
    )


def _known(value: Callable[[Scores, Options], float]):
    """A functional of the known log p(y_j | x_i)."""

    return per_fold(lambda fold, options: _fit_known(fold, options, value))


def _fit_known(fold: Fold, options: Options, value: Callable) -> Fitted:
    if options.log_conditional is None:
        raise ValueError("log_conditional is needed: (x, y) -> log p(y_j | x_i).")
    densities = np.asarray(options.log_conditional(*fold.raw("report")))
    n = len(fold.report_rows)
    if densities.shape != (n, n):
        raise ValueError(
            "log_conditional(x, y) must be the matrix of log p(y_j | x_i), "
            f"[{n}, {n}] for {n} pairs. Received: {densities.shape}."
        )
    scores = Scores(densities)
    return Fitted(
        value=lambda w: value(scores.weighted(w), options),
        n=len(scores.positive),
        scores=(scores,),
    )


def _barber_agakov(s: Scores, options: Options) -> float:
    if options.entropy_y is None:
        raise ValueError("entropy_y is needed: the differential entropy of y, nats.")
    return options.entropy_y + s.mean_positive()


@per_fold
def _upper_with_marginal(fold: Fold, options: Options) -> Fitted:
    """E log p(y|x) / r(y), r a Gaussian mixture fitted to the training part."""
    from sklearn.mixture import GaussianMixture

    fitted = _fit_known(fold, options, lambda s, o: s.mean_positive())
    flat = lambda y: np.asarray(y).reshape(len(y), -1)
    mixture = GaussianMixture(4, random_state=options.seed)
    mixture.fit(flat(fold.raw("train")[1]))
    marginal = mixture.score_samples(flat(fold.raw("report")[1]))
    positive = fitted.scores[0].positive - marginal
    return replace(fitted, value=lambda w: float(w @ positive / w.sum()))


def _log_n(n: int, options: Options) -> float:
    return math.log(n)


_POOLE, _KRASKOV = "Poole et al. 2019", "Kraskov et al. 2004"

_RANKS = {"preprocess": "rank"}  # neither units nor tails have a say; ties stay ties
# Intervals of what estimates the information are to hold it: the critic must be good.
_COPULA = {"critic": "copula", "preprocess": "rank"}
_PAIRED = (*CRITIC, "negatives")

ESTIMATORS: dict[str, Estimator] = {
    "auto": Estimator(
        "ksg, mixed, a Gaussian copula, or InfoNCE of critics that start at it",
        "neither",
        "this project",
        auto.fit,
        ceiling=_log_n,
        defaults=auto.DEFAULTS,
        uses=(*ENCODED, "k", "correct"),
    ),
    "dv": Estimator(
        "E_p[f] - log E_q[e^f]",
        "lower",
        "Donsker & Varadhan 1983; Belghazi et al. 2018",
        _critic("dv", lambda s, a, u, o: values.dv(s), "log_mean"),
        exponential=True,
        uses=_PAIRED,
    ),
    "mine": Estimator(
        "E_p[f] - log E_q[e^f], gradient with a moving average",
        "lower",
        "Belghazi et al. 2018",
        _critic("mine", lambda s, a, u, o: values.dv(s), "log_mean"),
        exponential=True,
        uses=_PAIRED,
    ),
    "nwj": Estimator(
        "E_p[f] - E_q[e^(f - 1)]",
        "lower",
        "Nguyen et al. 2010",
        _critic("nwj", lambda s, a, u, o: values.nwj(s), "one"),
        exponential=True,
        uses=_PAIRED,
    ),
    "tuba": Estimator(
        "1 + E_p[f - log a(y)] - E_q[e^f / a(y)]",
        "lower",
        _POOLE,
        _critic("tuba", lambda s, a, u, o: values.tuba(s, a), "baseline"),
        exponential=True,
        second_network=True,
    ),
    "interpolated": Estimator(
        "TUBA with a = alpha m(y; x) + (1 - alpha) a(y)",
        "lower",
        _POOLE,
        _critic(
            "interpolated",
            lambda s, a, u, o: values.interpolated(s, a, o.alpha),
            "baseline",
        ),
        ceiling=lambda n, o: math.log((n - 1) / o.alpha) if o.alpha else math.inf,
        exponential=True,
        second_network=True,
        uses=(*CRITIC, "alpha"),
    ),
    "info_nce": Estimator(
        "E[f_ii - log(1/K sum_j e^(f_ij))], mean of rows and columns",
        "lower",
        "van den Oord et al. 2018",
        _critic("info_nce", lambda s, a, u, o: values.info_nce(s), "candidates"),
        ceiling=_log_n,
    ),
    "info_nce_rows": Estimator(
        "E[f_ii - log(1/K sum_j e^(f_ij))]: all y for each x",
        "lower",
        "van den Oord et al. 2018",
        _critic(
            "info_nce_rows", lambda s, a, u, o: values.info_nce(s, "y"), "candidates_y"
        ),
        ceiling=_log_n,
    ),
    "info_nce_columns": Estimator(
        "E[f_ii - log(1/K sum_j e^(f_ji))]: all x for each y",
        "lower",
        "van den Oord et al. 2018",
        _critic(
            "info_nce_columns",
            lambda s, a, u, o: values.info_nce(s, "x"),
            "candidates_x",
        ),
        ceiling=_log_n,
    ),
    "jsd": Estimator(
        "1 + E_p[f] - E_q[e^f], f trained by the Jensen-Shannon objective",
        "lower",
        _POOLE,
        _critic("jsd", lambda s, a, u, o: values.nwj_of_log_ratio(s)),
        exponential=True,
        uses=_PAIRED,
    ),
    "flo": Estimator(
        "1 - E[u + e^(-u) E_q[e^(g(x, y') - g(x, y))]]",
        "lower",
        "Guo et al. 2022",
        _critic("flo", lambda s, a, u, o: values.flo(s, u), "inverse"),
        exponential=True,
        second_network=True,
    ),
    "smile": Estimator(
        "E_p[f] - log E_q[clip(e^f, e^-tau, e^tau)], f trained as for jsd",
        "neither",
        "Song & Ermon 2020",
        _critic("jsd", lambda s, a, u, o: values.smile(s, o.tau)),
        defaults=_COPULA,
        uses=(*_PAIRED, "tau"),
    ),
    "density_ratio": Estimator(
        "E_p[f], f trained as for jsd: a classifier's log-odds",
        "neither",
        "Tsai et al. 2020 (PC); Liao et al. 2020 (DEMI)",
        _critic("jsd", lambda s, a, u, o: values.density_ratio(s)),
        defaults=_COPULA,
        uses=_PAIRED,
    ),
    "difference_of_entropies": Estimator(
        "H(q_Y) - H(q_Y|X), two cross-entropies",
        "neither",
        "McAllester & Stratos 2020",
        _difference_of_entropies,
        uses=TRAINED,
    ),
    "l1out": Estimator(
        "E[log q(y|x) / mean over the other x' of q(y|x')], q a fitted Gaussian",
        "neither",  # of q = p(y|x) alone; of others even far below the information
        _POOLE,
        _conditional(values.leave_one_out),
        uses=TRAINED,
    ),
    "club": Estimator(
        "E_p[log q(y|x)] - E_q[log q(y|x)], q a fitted Gaussian",
        "neither",
        "Cheng et al. 2020",
        _conditional(values.club),
        uses=TRAINED,
    ),
    "ba": Estimator(
        "H(y) + E[log p(y|x)], both known: the information itself",
        "neither",
        "Barber & Agakov 2003",
        _known(_barber_agakov),
        uses=(*KNOWN, "entropy_y"),
    ),
    "vub": Estimator(
        "E[log p(y|x) / r(y)], p known, r a fitted mixture",
        "upper",
        _POOLE,
        _upper_with_marginal,
        uses=KNOWN,
    ),
    "tnce": Estimator(
        "InfoNCE with f = log p(y|x), known",
        "lower",
        _POOLE,
        _known(lambda s, o: values.info_nce(s, "x")),
        ceiling=_log_n,
        uses=KNOWN,
    ),
    "l1out_known": Estimator(
        "l1out with the known p(y|x)",
        "upper",
        _POOLE,
        _known(lambda s, o: values.leave_one_out(s)),
        uses=KNOWN,
    ),
    "club_known": Estimator(
        "club with the known p(y|x)",
        "upper",
        "Cheng et al. 2020",
        _known(lambda s, o: values.club(s)),
        uses=KNOWN,
    ),
    "ksg": Estimator(
        "psi(k) + psi(n) - <psi(n_x + 1) + psi(n_y + 1)>",
        "neither",
        _KRASKOV,
        direct.points(neighbors.ksg1, neighbors.ksg_ceiling),
        defaults=_RANKS,
        uses=NEIGHBORS,
    ),
    "ksg2": Estimator(
        "psi(k) - 1/k + psi(n) - <psi(n_x) + psi(n_y)>",
        "neither",
        _KRASKOV,
        direct.points(neighbors.ksg2, neighbors.ksg2_ceiling),
        defaults=_RANKS,
        uses=NEIGHBORS,
    ),
    "lnc": Estimator(
        "ksg2 corrected for local non-uniformity",
        "neither",
        "Gao, Ver Steeg & Galstyan 2015",
        direct.points(neighbors.lnc),
        defaults=_RANKS,
        uses=NEIGHBORS,
    ),
    "mixed": Estimator(
        "psi(n) + <psi(k_i) - psi(n_x) - psi(n_y)>, of cells or of neighbours",
        "neither",
        "Grassberger 1988; Gao et al. 2017",
        direct.fit_mixed,
        defaults=_RANKS,
        uses=NEIGHBORS,
    ),
    "discrete_continuous": Estimator(
        "psi(n) + <psi(k) - psi(n_label) - psi(m)>, one side discrete",
        "neither",
        "Ross 2014",
        direct.fit_labels,
        defaults=_RANKS,
        uses=NEIGHBORS,
    ),
    "gaussian": Estimator(
        "-1/2 sum log(1 - rho_i^2), canonical correlations of normal scores",
        "neither",
        "Kullback 1959; Ince et al. 2017",
        direct.fit_gaussian,
        defaults=_RANKS,
        uses=(*POINTS, "correct"),
    ),
}
