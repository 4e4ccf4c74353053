"""The one call that runs every estimator by the same protocol.

Critics are trained on one part of the pairs, the step is chosen on a second, and the
value is reported on a third, so that no value was selected on the pairs it is computed
on. There all n reported pairs are one another's negatives: K is n, whatever the batch
in training was. With `folds`, each pair is reported on once, by a critic trained
without it.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from tf_infomax.estimation import law, subsets, values
from tf_infomax.estimation.columns import Columns, find_informative, is_constant
from tf_infomax.estimation.discrete import count_different, encode, is_filled
from tf_infomax.estimation.estimators import ESTIMATORS, Estimator
from tf_infomax.estimation.inputs import PairsError, read_pairs, transform
from tf_infomax.estimation.intervals import GROUPS, admit_zero, bootstrap, jackknife
from tf_infomax.estimation.options import Options, names_used, used_of
from tf_infomax.estimation.resolution import REACH, is_unresolved, show
from tf_infomax.estimation.result import Estimate
from tf_infomax.estimation.samples import Fitted, Samples
from tf_infomax.runtime.completion import spelled_out

# Said where no permutation test has been made.
MAYBE_INDEPENDENT = (
    "the interval contains 0: whether x and y depend on one another at all a "
    "permutation test tells (--permutations=99, or "
    "tf_infomax.estimation.checks.permutation_test)"
)
_FEWEST_BLOCKS = 10
_NEIGHBORS = ("ksg", "ksg2", "lnc")  # of continuous pairs in few dimensions
_BESIDE = ("mixed", "discrete_continuous")  # which look for neighbours, too
_MOST_DIMENSIONS = 6
_FEW = 2  # dimensions, in which neighbours lose nothing
# Estimates of the information whose values have no ceiling, of critics.
_WITHOUT_CEILING = ("smile", "density_ratio", "difference_of_entropies")
_FAR_REACH = 1.0  # nats below log n, within which critics tell it from more no better
_NOUGHT = 0.02  # nats; what is not further below 0 may be its error
_BRACKET = ("tnce", "l1out_known")  # lower, upper
_RARE = 0.05  # different values for each pair, above which a value is rare
_COPIES = 0.005  # share of copied pairs that is told
_REPEATED = 0.9  # share of different values below which neighbours tie


@spelled_out(Options)
def estimate_mi(
    x: object, y: "ArrayLike | None" = None, method: str = "auto", **options
) -> Estimate:
    """Estimates the mutual information of x and y from pairs.

    Args:
        x, y: `[n, ...]` arrays or tensors of pairs, or x a `tf.data.Dataset` of pairs.
        method: a key of `ESTIMATORS`; "auto" chooses by the pairs (see `auto`).
        **options: see `Options`; `ESTIMATORS[method]` says which it uses, and which
            defaults it has of its own.

    Returns:
        An `Estimate`: value, interval, ceiling, diagnostics, warnings.

    Raises:
        PairsError: for pairs that cannot be used.
        ValueError: for an unknown method, and for an option that is unknown or would
            change nothing.
    """
    if not isinstance(method, str) or method not in ESTIMATORS:
        raise ValueError(
            f"method must be one of {', '.join(ESTIMATORS)}. Received: {method!r}."
        )
    unknown = [name for name in options if name not in Options.__dataclass_fields__]
    if unknown:
        raise ValueError(
            f"unknown options: {', '.join(unknown)}. Known: "
            f"{', '.join(Options.__dataclass_fields__)}."
        )
    used = names_used(ESTIMATORS[method], options)
    for name, value in options.items():
        default = Options.__dataclass_fields__[name].default
        plain = isinstance(value, (int, float, str, tuple))  # == says yes or no
        if name not in used and not (value is default or (plain and value == default)):
            raise ValueError(
                f"{name} changes nothing for {method}, which takes {', '.join(used)}. "
                f"Received: {value!r}."
            )
    pairs = read_pairs(x, y)
    constant = [
        name for name, side in zip("xy", pairs, strict=True) if is_constant(side)
    ]
    if constant:
        return _describe_constant(method, constant, len(pairs[0]), options)
    fitted, samples, chosen = _fit(method, pairs, options)
    result = _describe(method, ESTIMATORS[method], fitted, samples, chosen)
    if not chosen.bracket:
        return result
    return _add_bracket(result, pairs, options)


def _add_bracket(result: Estimate, pairs, options: dict) -> Estimate:
    """With InfoNCE below and L1Out above, both of the known conditional."""
    found, warnings = {result.method: result.value}, list(result.warnings)
    for name in (each for each in _BRACKET if each not in found):
        fitted, *_ = _fit(name, pairs, used_of(ESTIMATORS[name], options))
        found[name] = float(fitted.value(np.ones(fitted.n)))
    bracket = found[_BRACKET[0]], result.value, found[_BRACKET[1]]
    if list(bracket) != sorted(bracket):
        lower, value, upper = (f"{each:.3f}" for each in bracket)
        warnings.append(
            f"the bracket is out of order ({lower}, {value}, {upper}): the value is "
            "off, or the bounds err, whose pairs are a part of all"
        )
    return replace(result, bracket=bracket, warnings=tuple(warnings))


def _describe_constant(method: str, names: list[str], n: int, options: dict):
    """0, and it is known."""
    row = ESTIMATORS[method]
    chosen = Options(**{**_defaults_of(row, options), **options})
    verb = "is" if len(names) == 1 else "are"
    return Estimate(
        method=method,
        value=0.0,
        interval=(0.0, 0.0),
        level=chosen.level,
        direction=row.direction,
        ceiling=0.0,
        pairs={"report": n},
        warnings=(
            f"{' and '.join(names)} {verb} constant: what never changes carries no "
            "information, which is 0 exactly",
        ),
        bracket=(0.0, 0.0, 0.0) if chosen.bracket else None,
    )


def _defaults_of(row: Estimator, options: dict) -> dict:
    """The method's own; encoders take what they were made for, and codes no copula."""
    if all(options.get(side) is None for side in ("x_encoder", "y_encoder")):
        return row.defaults
    unfit = "preprocess", "critic"
    return {name: v for name, v in row.defaults.items() if name not in unfit}


def _fit(method: str, pairs, options: dict) -> tuple[Fitted, Samples, Options]:
    """The method with its own defaults where the options do not say otherwise."""
    row = ESTIMATORS[method]
    chosen = Options(**{**_defaults_of(row, options), **options})
    n = len(pairs[0])
    blocks = -(-n // chosen.block)
    fewest = n - chosen.block * -(-blocks // min(GROUPS, blocks))
    if "k" in row.uses and chosen.k >= fewest:
        raise PairsError(
            f"k must be below {fewest}, to which intervals bring the {n} pairs down. "
            f"Received: {chosen.k}."
        )
    if n // chosen.block < _FEWEST_BLOCKS:
        raise PairsError(
            f"block must leave at least {_FEWEST_BLOCKS} blocks of the {n} pairs. "
            f"Received: {chosen.block}."
        )
    columns = _columns_for(row, pairs, chosen)
    sides = (each.take(side) for each, side in zip(columns, pairs, strict=True))
    samples = Samples(*sides, chosen, columns)
    return row.fit(samples, chosen), samples, chosen


def _columns_for(row: Estimator, pairs, options: Options) -> tuple[Columns, Columns]:
    """What is shown of either side: all to encoders and known densities."""
    used = lambda name: getattr(options, name) if name in row.uses else None
    ranks = used("preprocess") == "rank"
    known = "log_conditional" in row.uses
    return tuple(
        Columns(side.shape[1:])
        if known or used(f"{name}_encoder") is not None
        else find_informative(side, ranks)
        for name, side in zip("xy", pairs, strict=True)
    )


def _describe(
    method: str, row: Estimator, fitted: Fitted, samples: Samples, options: Options
) -> Estimate:
    """The value with everything that goes with it."""
    n = fitted.n
    units = np.arange(n) if fitted.subsets else np.ones(n)
    raw = float(fitted.value(units))
    spread = jackknife if fitted.subsets else bootstrap
    draws = options.level, options.seed, options.block
    interval = spread(fitted.value, raw, n, *draws)
    if fitted.broken is not None:
        interval = admit_zero(interval, fitted.broken, raw, n, *draws)
    counts = {"report": n}
    if not fitted.subsets:
        fold = samples.folds[0]
        counts = {
            "train": len(fold.train_rows),
            "choose": len(fold.choose_rows),
            "report": n,
        }
    diagnostics = {"raw": raw, **_diagnose(method, row, fitted, options)}
    ceiling = fitted.ceiling
    if fitted.scores:
        ceiling = row.ceiling(fitted.candidates, options)
        ceiling += fitted.diagnostics.get("copula_correction", 0.0)
    diagnostics["log_n"] = math.log(fitted.candidates)
    if math.isfinite(ceiling):
        diagnostics["below_ceiling"] = ceiling - raw
    rise = (0.0, 0.0)
    if fitted.rise and math.isfinite(raw):
        rise = fitted.rise()
        diagnostics |= zip(("rise", "rise_standard_error"), rise, strict=True)
    unresolved = is_unresolved(raw, interval, ceiling, rise)
    unresolved |= method in _WITHOUT_CEILING and _is_high(raw, fitted.candidates)
    unresolved |= fitted.lower
    warnings = [
        *_warn(raw, interval, row, fitted, ceiling, diagnostics, unresolved),
        *_warn_of_neighbors(fitted.chosen or method, samples),
        *_warn_of_dimensions(method, samples),
        *_warn_of_copies(samples),
        *fitted.notes,
    ]
    value, interval = show(raw, interval, unresolved)
    return Estimate(
        method=method,
        chosen=fitted.chosen,
        value=value,
        interval=interval,
        at_least=unresolved,
        level=options.level,
        direction=row.direction,
        ceiling=ceiling,
        pairs=counts,
        diagnostics=diagnostics,
        warnings=tuple(warnings),
        history=tuple(fitted.trainings[0].history) if fitted.trainings else (),
        density_ratio=_pointwise(fitted, samples),
        trainings=fitted.trainings,
    )


def _diagnose(
    method: str, row: Estimator, fitted: Fitted, options: Options
) -> dict[str, float]:
    diagnostics = dict(fitted.diagnostics)
    if fitted.scores and row.exponential:
        diagnostics["effective_negatives"] = min(
            values.effective_size(scores) for scores in fitted.scores
        )
    if fitted.members and {m.normalizer for m in fitted.members} == {"constant"}:
        diagnostics |= _check_law(fitted)
    if method == "smile":
        parts = [_find_clipped(scores, options.tau) for scores in fitted.scores]
        for name, part in zip(("share", "mass"), np.mean(parts, axis=0), strict=True):
            diagnostics[f"clipped_{name}"] = float(part)
    if trainings := fitted.trainings:
        for name in ("steps", "best_step"):
            figures = [getattr(each, name) for each in trainings]
            diagnostics[name] = float(np.mean(figures))
    return diagnostics


def _check_law(fitted: Fitted) -> dict[str, float]:
    """The largest log E_q[r] of all folds on held-out pairs; twice, if beyond chance.

    `ratio_excess` is there only where the mean is above 1 by more than chance.
    """
    checks = [
        law.mean_ratio(values.Scores(scores.matrix - member.constant))
        for scores, member in zip(fitted.scores, fitted.members, strict=False)
    ]
    if not checks:
        return {}
    figures = {"log_mean_ratio": max(log_mean for log_mean, _ in checks)}
    beyond = [log_mean for log_mean, is_beyond in checks if is_beyond]
    return figures | ({"ratio_excess": max(beyond)} if beyond else {})


def _find_clipped(scores: values.Scores, tau: float) -> tuple[float, float]:
    """Shares of clipped scores among the negatives, and in their mean of e^f."""
    clipped = 1.0 * (np.abs(scores.matrix) > tau)
    kept = np.clip(scores.matrix, -tau, tau)
    terms = np.exp(kept - kept.max())
    mass = scores.mean_negative(clipped * terms) / scores.mean_negative(terms)
    return scores.mean_negative(clipped), mass


def _pointwise(fitted: Fitted, samples: Samples):
    """(x, y) -> log p/q of pairs as they come, or None."""
    if fitted.members:
        from tf_infomax.estimation.pointwise import PointwiseRatio

        return PointwiseRatio(fitted.members, samples.columns)
    if fitted.log_ratio is None:
        return None

    def log_ratio(x, y):
        sides = (
            each.take(side) for each, side in zip(samples.columns, (x, y), strict=True)
        )
        return fitted.log_ratio(*transform(fitted.marginals, sides))

    return log_ratio


def _warn(
    value: float,
    interval,
    row: Estimator,
    fitted: Fitted,
    ceiling: float,
    diagnostics,
    unresolved: bool,
):
    """Yields, in words, why a value should not be taken as it is."""
    n = fitted.candidates
    if value > ceiling - REACH:
        lift = (
            "report on more pairs (max_reported)"
            if fitted.scores
            else "more pairs raise it, unless x and y are functions of one another, "
            "whose information is infinite"
        )
        yield (
            f"within 0.5 nats of the ceiling {ceiling:.2f}: the truth may be anything "
            f"above; {lift}"
        )
    elif unresolved and _is_high(value, n) and not diagnostics.get("rise"):
        yield (
            f"near log n = {math.log(n):.2f} of the {n} reported pairs: critics of so "
            "few tell such information from more, or from infinite, no better; report "
            "on more pairs (max_reported)"
        )
    elif unresolved and math.isfinite(value) and not fitted.lower:
        yield (
            f"{diagnostics['rise']:.2f} nats higher than of half of the pairs: of more "
            "it would rise further, and the truth may be anything above"
        )
    elif row.direction == "lower" and value > math.log(n) - REACH:
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
    if "ratio_excess" in diagnostics:
        yield (
            f"the mean of r = p/q over broken-up held-out pairs is "
            f"e^{diagnostics['ratio_excess']:.2f} where a density ratio has 1: the "
            "critic's ratio is none, and the value may be far too high; take info_nce "
            "or auto"
        )
    if diagnostics.get("clipped_mass", 0.0) > 0.5:
        yield (
            f"{diagnostics['clipped_mass']:.0%} of the exponential mean come from "
            "clipped negatives: the value is that of tau, not of the data; raise tau"
        )
    if not math.isfinite(value):
        cause = "too few pairs for so many columns, or values that are too large"
        if row.exponential:
            cause = "an exponential mean has overflowed"
        yield (
            f"the value is not finite ({value}): {cause}, or x and y are functions of "
            "one another"
        )
    elif interval[0] < 0.0 < interval[1]:
        yield MAYBE_INDEPENDENT
    elif value < -_NOUGHT:
        cause = "the critic does not suit these pairs"
        if not fitted.trainings:
            cause = "the estimator does not suit these pairs"
        elif all(each.stopped == "patience" for each in fitted.trainings):
            cause = "the critic has over-fitted"
        yield (
            f"negative ({value:.3g}), which mutual information never is, and shown as "
            f"0: {cause}"
        )
    yield from _warn_of_all(fitted.trainings)


def _warn_of_neighbors(method: str, samples: Samples):
    """Yields where distances to neighbours say little."""
    if method not in _NEIGHBORS:
        return
    for name, side in (("x", samples.x), ("y", samples.y)):
        rows = side.reshape(len(side), -1)
        different = count_different(rows)
        if different < _REPEATED * len(rows):
            yield (
                f"{name} repeats: {different} different values in {len(rows)} pairs, "
                "whose distances tie; mixed and auto are made for such values, and "
                "copies of a pair are no draws"
            )


def _is_high(value: float, n: int) -> bool:
    return math.log(n) - _FAR_REACH < value < math.inf


def _warn_of_dimensions(method: str, samples: Samples):
    """Yields where distances in all columns hide what few of them share.

    Information cannot fall with a column more, as estimates by neighbours do.
    """
    if method not in (*_NEIGHBORS, *_BESIDE):
        return
    sides = [side.reshape(len(side), -1) for side in (samples.x, samples.y)]
    dimensions = sum(side.shape[1] for side in sides)
    if method == "mixed" and is_filled(*(encode(side)[0] for side in sides)):
        return
    if dimensions > _MOST_DIMENSIONS:
        aside = ""
        if method == "lnc":
            aside = ", or by lnc's correction far above it"
        yield (
            f"nearest neighbours in {dimensions} dimensions fall short of the truth"
            f"{aside}; take auto or a critic"
        )
    elif dimensions > _FEW:
        try:
            richer = subsets.find_richer(ESTIMATORS[method].fit, samples)
        except PairsError:  # fewer columns may be too few for it
            return
        if richer:
            chosen, few, all_of_them = richer
            names = subsets.name_columns(chosen)
            yield (
                f"of the same pairs the columns {names[0]} and {names[1]} alone share "
                f"{few:.3f} nats, all of them {all_of_them:.3f}, though columns never "
                "take information away: the value is too low; take auto, or fewer "
                "columns"
            )


def _warn_of_copies(samples: Samples):
    """Yields where pairs of values that are rare repeat together, as copied rows do.

    Values that tie for another reason, rounded or labels, seldom tie on both sides.
    """
    n = len(samples.x)
    encoded = [encode(side.reshape(n, -1)) for side in (samples.x, samples.y)]
    (x, y), counts = zip(*encoded, strict=True)
    if any(len(each) < _RARE * n or len(each) == n for each in counts):
        return  # a few values, which repeat anyway, or none that does
    _, together = np.unique(x * len(counts[1]) + y, return_counts=True)
    ties = [int((each * (each - 1)).sum()) // 2 for each in (*counts, together)]
    copies = n - len(together)
    if copies > _COPIES * n and ties[2] > 0.5 * min(ties[:2]):
        yield (
            f"{copies} of the {n} pairs are copies of other pairs: unless each was "
            "drawn anew they are no evidence, and the value is too high and too "
            "certain; without them (numpy.unique, axis=0) there are "
            f"{len(together)}"
        )


def _warn_of_all(trainings):
    """Yields each kind of warning once, with the figures of the first it is for."""
    found: dict[str, list[str]] = {}
    for training in trainings:
        for kind, text in _warn_of(training):
            found.setdefault(kind, []).append(text)
    for texts in found.values():
        share = f" ({len(texts)} of {len(trainings)} folds)"
        yield texts[0] + (share if len(trainings) > 1 else "")


def _warn_of(training):
    """Yields what went wrong in one training: kind, words."""
    if training.stopped == "diverged":
        text = f"training diverged at step {training.steps}; lower learning_rate"
        yield "diverged", text
    elif not training.best_step:
        critic = getattr(training.model, "critic", None)
        of_copula = getattr(critic, "copula", None) is not None
        start = "its start, the Gaussian copula" if of_copula else "its start"
        text = f"no step of training was better on validation pairs than {start}"
        yield "start", text
    elif training.stopped == "max_steps" and training.best_step == training.steps:
        text = f"still rising at the last of {training.steps} steps: raise max_steps"
        yield "rising", text
    if not training.model.trainable_variables:
        text = "the critic has no weights: put an encoder in front, or take another"
        yield "weights", text
    _, on_train, _ = training.history[-1]
    chosen = max(row[2] for row in training.history)
    if on_train - chosen > max(0.5, 0.5 * abs(chosen)):
        yield (
            "over-fitted",
            f"over-fitted by the end ({on_train:.2f} in training, {chosen:.2f} on "
            "validation pairs): the step before was kept; more pairs would help",
        )
