"""`method="auto"`: an estimator, chosen by what the pairs themselves look like.

* Marginals are made normal by ranks; information does not change.
* In up to three dimensions together, nearest neighbours (`ksg`; for few values that
  repeat `mixed`; for many `ksg` with equal values in random order): nothing learns as
  fast there. So too for one discrete column beside up to ten continuous ones
  (`discrete_continuous`).
* In more, critics are cross-fitted that start at the Gaussian copula's log-ratio and
  learn, by InfoNCE, what is not Gaussian. The value is InfoNCE over held-out pairs plus
  what the copula loses by being fitted to a sample (its bias is known exactly). If the
  critics do not beat the copula on pairs that neither has seen, the copula's own value,
  corrected for its bias, is the estimate: it has no ceiling.
* A copula that is no density ratio of the pairs (see `law`), as where a few of them lie
  far out in both sides, is left out: the critics' InfoNCE stands alone, a lower bound.
* Few columns may be seen to share more than all of them (see `subsets`), though none
  takes information away: then theirs is the value, and a note says so.
* Of more columns than a covariance can be fitted for, or where fewer do better on other
  pairs, leading principal components are kept. Behind encoders, the critics start at 0.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tf_infomax.estimation import (
    direct,
    discrete,
    gaussian,
    neighbors,
    subsets,
    values,
)
from tf_infomax.estimation.options import Options
from tf_infomax.estimation.resolution import rise_by_halves
from tf_infomax.estimation.samples import (
    Fitted,
    Fold,
    Samples,
    combine,
    flatten,
)
from tf_infomax.estimation.values import Scores

DEFAULTS = {
    "preprocess": "rank",
    "folds": 5,
    "widths": (128, 128),
    "batch_size": 256,
    "weight_decay": 0.3,
    "max_steps": 3000,
    "patience": 5,
}

_FEW = 3  # dimensions of x and y together
_FEW_BESIDE_LABELS = 10
_DISTINCT = 0.99  # share of distinct values of what rounding alone makes repeat
_PER_LABEL = 20  # pairs, at least, of each label beside a continuous column
_PER_TIE = 100  # the same where the other side repeats too, in part
_REPEATED = 0.1  # share of distinct values below which a column is discrete
_ERRORS = 2.0  # standard errors by which a critic must beat the copula
_LAWLESS = (
    "the Gaussian copula is no density ratio of these pairs: the mean of its log-ratio "
    "is far above its InfoNCE, as with pairs far out or in clusters. The value is "
    "InfoNCE of the critics, a lower bound"
)


def fit(samples: Samples, options: Options) -> Fitted:
    """A row of `ESTIMATORS`."""
    if options.x_encoder is not None or options.y_encoder is not None:
        return _fit_critics(samples, options, continuous=False)
    return _compare_fewer(samples, _fit_all(samples, options), options)


def _fit_all(samples: Samples, options: Options) -> Fitted:
    """Of all columns."""
    x, y = flatten((samples.x, samples.y))
    continuous = not (_is_discrete(x) or _is_discrete(y))
    if x.shape[1] + y.shape[1] <= _FEW:
        return _fit_neighbors(samples, options)
    if _are_labels(x, y) or _are_labels(y, x):
        name = "discrete_continuous"
        return replace(_NEIGHBORS[name](samples, options), chosen=name)
    return _fit_critics(samples, options, continuous)


def _compare_fewer(samples: Samples, whole: Fitted, options: Options) -> Fitted:
    """The estimate of all columns, or that of few where they have more.

    More columns never carry less: noise beside the one that carries everything only
    makes it harder to find.
    """
    sides = flatten((samples.x, samples.y))
    if not 2 < sides[0].shape[1] + sides[1].shape[1] <= subsets.MOST_COLUMNS:
        return whole

    def estimate(x: np.ndarray, y: np.ndarray) -> float:
        fitted = _fit_neighbors(Samples(x, y, options), options)
        return fitted.value(np.arange(fitted.n))

    chosen, rows = subsets.choose_on_halves(*sides, estimate, options)
    x, y = (side[rows][:, list(c)] for side, c in zip(sides, chosen, strict=True))
    part = _fit_neighbors(Samples(x, y, options), options)
    whole_rows = np.arange(whole.n)
    if not whole.subsets:
        whole_rows = np.concatenate([fold.report_rows for fold in samples.folds])
    if not subsets.exceeds(part, rows, whole, whole_rows, options.seed):
        return whole
    found, value = (
        each.value(np.arange(each.n) if each.subsets else np.ones(each.n))
        for each in (part, whole)
    )
    names = subsets.name_columns(chosen)
    note = (
        f"the columns {names[0]} and {names[1]} alone share {found:.3f} nats by "
        f"nearest neighbours, all of them only {value:.3f} by {whole.chosen}, though "
        "columns never take information away: the value is that of these few, and all "
        "may share more"
    )
    return replace(
        part,
        chosen=f"{part.chosen} of {names[0]}, {names[1]}",
        members=whole.members,
        diagnostics={**whole.diagnostics, "all_columns": value},
        notes=(*whole.notes, note),
    )


def _fit_neighbors(samples: Samples, options: Options) -> Fitted:
    """Of few columns."""
    name = _choose_neighbors(*flatten((samples.x, samples.y)))
    return replace(_NEIGHBORS[name](samples, options), chosen=name)


def _choose_neighbors(x: np.ndarray, y: np.ndarray) -> str:
    """A key of `_NEIGHBORS`: how values that repeat are best met.

    Counting copies is exact for few values, as of labels; of many, as of counts, most
    pairs of values are seen once or never, and the count is far too high. There ties
    are spread, which changes no information: the value can be told from its place.
    Beside a continuous side neighbours of the same value are counted.
    """
    n = len(x)
    codes = [discrete.encode(side) for side in (x, y)]
    few, many = sorted(len(counts) for _, counts in codes)
    if few > _DISTINCT * n:
        return "ksg"
    if many <= n / 2:
        filled = discrete.is_filled(*(code for code, _ in codes))
        return "mixed" if filled else "ksg (spread)"
    if many > _DISTINCT * n:
        return "discrete_continuous" if few * _PER_LABEL <= n else "ksg (spread)"
    return "mixed" if few * _PER_TIE <= n else "ksg (spread)"


def _fit_spread(samples: Samples, options: Options) -> Fitted:
    """KSG of ranks, equal values in random order."""
    rng = np.random.default_rng(options.seed)
    n = len(samples.x)

    def spread(column: np.ndarray) -> np.ndarray:
        places = np.empty(n)
        places[np.lexsort((rng.random(n), column))] = np.arange(n)
        return places / n

    # Which side is called x changes no draw.
    sides, order = samples.whole, [0, 1]
    order.sort(key=lambda k: (sides[k].shape, sides[k].tobytes()))
    spreads = {k: np.apply_along_axis(spread, 0, sides[k]) for k in order}
    sides = spreads[0], spreads[1]
    return _fit_ksg(Samples(*sides, replace(options, preprocess="none")), options)


_fit_ksg = direct.points(neighbors.ksg1, neighbors.ksg_ceiling)
_NEIGHBORS = {
    "ksg": _fit_ksg,
    "ksg (spread)": _fit_spread,
    "mixed": direct.fit_mixed,
    "discrete_continuous": direct.fit_labels,
}


def _are_labels(side: np.ndarray, other: np.ndarray) -> bool:
    """Whether a side is one discrete column beside few continuous ones."""
    alone = side.shape[1] == 1 and other.shape[1] <= _FEW_BESIDE_LABELS
    return alone and _is_discrete(side) and not _is_discrete(other)


def _is_discrete(side: np.ndarray) -> bool:
    distinct = [len(np.unique(column)) for column in side.T]
    return min(distinct) < _REPEATED * len(side)


def _fit_critics(samples: Samples, options: Options, continuous: bool) -> Fitted:
    """Cross-fitted critics, or the copula where they are no better.

    Args:
        samples, options: see `fit`; behind encoders critics start at 0.
        continuous: whether the copula's own value means anything.
    """
    from tf_infomax.estimation import copula, neural
    from tf_infomax.estimation.pointwise import Member

    encoders = options.x_encoder, options.y_encoder

    def fit_fold(fold: Fold):
        starts = [lambda: copula.CopulaCritic(None, options.widths)]
        if all(encoder is None for encoder in encoders):
            starts = copula.starts(fold.train, fold.choose, options.widths)
        training = neural.train(
            *fold.train, fold.choose, "info_nce", options, encoders, starts
        )
        scores, *_ = neural.evaluate(training.model, *fold.report)
        member = Member(
            training.model, fold.marginals, "candidates", reference=fold.report
        )
        fitted = Fitted(
            value=lambda w: values.info_nce(scores.weighted(w)),
            n=len(scores.positive),
            scores=(scores,),
            trainings=(training,),
            members=(member,),
        )
        return fitted, training.model.critic.copula

    fits = [(fold, *fit_fold(fold)) for fold in samples.folds]
    critics = replace(
        combine([each[1] for each in fits]),
        chosen="critic",
        rise=lambda corrected=False: _measure_rise(fits[0], fit_fold, corrected),
    )
    if not continuous:
        return critics
    return _compare(samples, fits, critics, options)


def _measure_rise(fit, fit_fold: Callable, corrected: bool) -> tuple[float, float]:
    """How much less a critic of the fold has learned of half of its training pairs.

    Args:
        fit: the fold, its `Fitted`, its copula.
        fit_fold: fold -> `Fitted`, copula.
        corrected: whether what a copula loses by its error of fit is made up for.

    Returns:
        (mean, standard error) over the pairs reported on.
    """
    fold, *whole = fit
    fewer = replace(fold, train_rows=fold.train_rows[::2])
    terms = []
    for each, (fitted, copula) in ((fold, whole), (fewer, fit_fold(fewer))):
        found = values.info_nce_terms(fitted.scores[0])
        if corrected and copula is not None:
            found = found - copula.paired(*flatten(each.report))
        terms.append(found)
    rise = terms[0] - terms[1]
    return float(rise.mean()), float(rise.std() / math.sqrt(len(rise)))


def _compare(samples: Samples, fits, critics: Fitted, options: Options) -> Fitted:
    """The critics' value, less the copula's error of fit; or the copula's own value.

    Only a copula that keeps the law of a density ratio has a say.
    """
    from tf_infomax.estimation.copula import are_plenty, is_lawless

    if any(copula is None for *_, copula in fits):
        return replace(critics, lower=True, notes=(_LAWLESS,))
    most = int(np.median([copula.size for *_, copula in fits]))
    rows = len(samples.folds[0].train_rows)
    sides = flatten((samples.x, samples.y))
    columns = [side.shape[1] for side in sides]
    in_doubt = most < max(columns) or not are_plenty(rows, *columns)
    parts = [
        (copula, Scores(copula.scores(*flatten(fold.report))))
        for fold, _, copula in fits
    ]
    ratios = np.concatenate([start.positive for _, start in parts])
    reached = np.concatenate([values.info_nce_terms(start) for _, start in parts])
    found = [values.info_nce_terms(fitted.scores[0]) for _, fitted, _ in fits]
    gains = np.concatenate(found) - reached
    unbiased = gaussian.gaussian_mi(*samples.whole, options.correct, most)
    gain, error = float(gains.mean()), float(gains.std() / math.sqrt(len(gains)))
    diagnostics = {
        **critics.diagnostics,
        "copula": unbiased,
        "copula_info_nce": float(reached.mean()),
        "gain_over_copula": gain,
        "gain_standard_error": error,
    }
    if is_lawless(parts, options.seed):
        return replace(critics, lower=True, diagnostics=diagnostics, notes=(_LAWLESS,))
    # In doubt, the copula's error of fit is not the critics'.
    correction = 0.0 if in_doubt else unbiased - float(ratios.mean())
    if gain > _ERRORS * error:
        return replace(
            critics,
            value=lambda w: critics.value(w) + correction,
            rise=lambda: critics.rise(corrected=not in_doubt),
            diagnostics={**diagnostics, "copula_correction": correction},
        )
    return replace(
        critics,
        value=lambda w: unbiased + float(w @ (ratios - ratios.mean()) / w.sum()),
        scores=(),
        trainings=(),
        members=(_copula_member(samples, most),),
        rise=lambda: _measure_rise_of_copula(samples, most),
        diagnostics=diagnostics,
        chosen="copula",
    )


def _measure_rise_of_copula(samples: Samples, most: int) -> tuple[float, float]:
    """How much higher the copula's value of all pairs is than that of half of them.

    Ranks are those of the pairs at hand: what keeps functions from a correlation of 1
    is their error, which shrinks with more pairs.
    """
    options = samples.options

    def value(rows: np.ndarray) -> float:
        part = Samples(samples.x[rows], samples.y[rows], options)
        return gaussian.gaussian_mi(*part.whole, options.correct, most)

    return rise_by_halves(value, len(samples.x), options.seed, options.block)


def _copula_member(samples: Samples, most: int):
    """The copula of all pairs as a critic, for the ratio of single pairs."""
    from tf_infomax.estimation import neural
    from tf_infomax.estimation.copula import Copula, CopulaCritic
    from tf_infomax.estimation.inputs import fit_marginal
    from tf_infomax.estimation.pointwise import Member

    sides = samples.x, samples.y
    marginals = tuple(fit_marginal(side, samples.options.preprocess) for side in sides)
    x, y = samples.whole
    (copula,) = Copula.fit(x, y, most)
    critic = CopulaCritic(copula, (1,), units=1)
    model = neural.Model(critic, (None, None))
    model.outputs_of(*(side[:2].astype(np.float32) for side in (x, y)))
    return Member(model, marginals, "constant")
