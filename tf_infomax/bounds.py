"""Bounds on mutual information and f-divergences as functions of a score matrix.

The contract of every function here:

* `scores[..., i, j] = f(x_i, y_j)`, a critic on all pairs of a batch; the pairs
  drawn from the joint distribution stand on the diagonal, all others count as draws
  from the product of the marginals. Leading axes are independent problems
  (locations, crops, time steps): `[..., N, N] -> [...]`.
* The result is to be **maximized**, in nats where it is a bound on mutual
  information; `BOUNDS` says what each one measures and where its ceiling lies.
* Everything is computed in float32 (float64 if the scores are), and is finite, with
  finite gradients, for scores up to +-1e4.

`pooled=True` (InfoNCE and DV) lets the problems on axis -3 share their negatives: the
candidates for y_j are then all x of all *other* batch members at all locations, as in
Deep InfoMax. Pooled InfoNCE is an objective and no bound: its candidates of one image
stand and fall together, and where locations are copies of one another it exceeds the
information. Pooled DV is a bound wherever DV is: as the logarithm is concave, it never
exceeds the mean over locations of `dv`. The other bounds are linear in their negatives,
so that pooling would change nothing after the mean over locations.

`negatives=K` contrasts each y_j with K others alone, those x that follow in the batch,
x_(j+1) ... x_(j+K), in a circle (0, or more than there are: with all). In a batch of
independent pairs they are draws from the product of the marginals as all of them are.

Of the rows of `BOUNDS` with all others as negatives, `scores` may also be
`runtime.blocks.ScoresInBlocks`: the same value without the whole matrix.

Imports TensorFlow only.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import tensorflow as tf

from tf_infomax.runtime.blocks import ScoresInBlocks

__all__ = [
    "BOUNDS",
    "MUTUAL_INFORMATION",
    "Bound",
    "as_bound",
    "dv",
    "flo",
    "gan",
    "info_nce",
    "interpolated",
    "jsd",
    "log_mean_exp",
    "mine",
    "moving_average",
    "nwj",
    "pearson_chi2",
    "rank_candidates",
    "reverse_kl",
    "safe_exp",
    "squared_hellinger",
    "tuba",
]

Scores = tf.Tensor | ScoresInBlocks

# Beyond this exponent e^t is continued by its tangent: e^60 is far outside of what a
# sample mean can estimate, and sums of such terms still fit into float32.
_MAX_EXPONENT = 60.0


def _prepare(scores: Scores) -> Scores:
    if isinstance(scores, ScoresInBlocks):
        return scores
    scores = tf.convert_to_tensor(scores)
    rows, columns = scores.shape[-2:]
    if rows is not None and (rows != columns or rows < 2):
        raise ValueError(
            "scores must be [..., N, N] with N >= 2 (one positive and at least one "
            f"negative for each pair). Received shape {tuple(scores.shape)}."
        )
    return _at_least_float32(scores)


def _at_least_float32(values: tf.Tensor) -> tf.Tensor:
    values = tf.convert_to_tensor(values)
    return values if values.dtype == tf.float64 else tf.cast(values, tf.float32)


def _positives(scores: Scores) -> tf.Tensor:
    """The diagonal `[..., N]`."""
    if isinstance(scores, ScoresInBlocks):
        return scores.positives()
    return _diagonal(scores)


@tf.custom_gradient
def _diagonal(scores: tf.Tensor) -> tf.Tensor:
    """The diagonal, with a faster gradient than TensorFlow's own."""
    zeros = tf.zeros_like(scores)
    return tf.linalg.diag_part(scores), lambda g: tf.linalg.set_diag(zeros, g)


def _set_diagonal(scores: tf.Tensor, value: float) -> tf.Tensor:
    fill = tf.fill(tf.shape(scores)[:-1], tf.constant(value, scores.dtype))
    return tf.linalg.set_diag(scores, fill)


@tf.custom_gradient
def _mean_log_share(scores: tf.Tensor) -> tf.Tensor:
    """mean_i of log e^(u_ii) / sum_j e^(u_ij): [..., N, N] -> [...].

    The softmax is computed once, for value and gradient. Its largest entry, which
    unlike the one on the diagonal never underflows, gives the log of the sum.
    """
    shares = tf.nn.softmax(scores)
    top, largest = tf.reduce_max(scores, axis=-1), tf.reduce_max(shares, axis=-1)
    logs = tf.linalg.diag_part(scores) - top + tf.math.log(largest)

    def gradient(upstream):
        n = tf.cast(tf.shape(scores)[-1], scores.dtype)
        weight = (upstream / n)[..., None, None]
        off = -weight * shares
        return tf.linalg.set_diag(off, weight[..., 0] + tf.linalg.diag_part(off))

    return tf.reduce_mean(logs, axis=-1), gradient


def _keep_negatives(scores: tf.Tensor, value: float, negatives: int) -> tf.Tensor:
    """The scores of negatives, and `value` in place of all others."""
    if not negatives:
        return _set_diagonal(scores, value)
    n = tf.shape(scores)[-1]
    ahead = tf.math.floormod(tf.range(n)[:, None] - tf.range(n), n)  # i - j
    kept = (ahead > 0) & (ahead <= negatives)
    return tf.where(kept, scores, tf.constant(value, scores.dtype))


def _size(scores: Scores, axis: int) -> tf.Tensor:
    """The number of columns (-1), or of locations (-3)."""
    if isinstance(scores, ScoresInBlocks):
        return tf.constant(scores.count if axis == -1 else scores.places, tf.float32)
    return tf.cast(tf.shape(scores)[axis], scores.dtype)


def _count_others(scores: Scores, negatives: int) -> tf.Tensor:
    """How many images each is contrasted with: K, or N - 1."""
    others = _size(scores, -1) - 1.0
    return tf.minimum(others, float(negatives)) if negatives else others


def _count_negatives(
    scores: Scores, pooled: bool = False, negatives: int = 0
) -> tf.Tensor:
    """How many negatives one problem has: N K, or L N K if pooled; K may be N - 1."""
    locations = _size(scores, -3) if pooled else 1.0
    return locations * _size(scores, -1) * _count_others(scores, negatives)


def _mean_negatives(
    scores: Scores, negatives: int = 0, function: Callable = tf.identity
) -> tf.Tensor:
    """Mean of a function of the scores of negatives: [..., N, N] -> [...]."""
    if isinstance(scores, ScoresInBlocks):
        _require_all(negatives)
        total = scores.sum(function)
    else:
        kept = _keep_negatives(function(scores), 0.0, negatives)
        total = tf.reduce_sum(kept, axis=[-2, -1])
    return total / _count_negatives(scores, negatives=negatives)


def _require_all(negatives: int) -> None:
    if negatives:
        raise ValueError(
            "scores in blocks are contrasted with all others, negatives=0. "
            f"Received: negatives={negatives}."
        )


def _log_mean_exp_negatives(
    scores: Scores, pooled: bool = False, negatives: int = 0
) -> tf.Tensor:
    """log of the mean of e^u of negatives: [..., N, N] -> [...] ([..., 1])."""
    if isinstance(scores, ScoresInBlocks):
        _require_all(negatives)
        total = scores.log_sum_exp("pairs", pooled)
        total = total[..., None] if pooled else total
        return total - tf.math.log(_count_negatives(scores, pooled))
    masked = _keep_negatives(scores, -math.inf, negatives)
    axes, keep = ([-3, -2, -1], True) if pooled else ([-2, -1], False)
    total = tf.reduce_logsumexp(masked, axis=axes, keepdims=keep)
    total = total[..., 0, 0] if pooled else total
    return total - tf.math.log(_count_negatives(scores, pooled, negatives))


def safe_exp(exponent: tf.Tensor) -> tf.Tensor:
    """e^t, continued by its tangent beyond t = 60 so that it stays finite."""
    capped = tf.minimum(exponent, _MAX_EXPONENT)
    return tf.exp(capped) * (1.0 + tf.nn.relu(exponent - _MAX_EXPONENT))


def log_mean_exp(values: tf.Tensor) -> tf.Tensor:
    """log of the mean of e^v over the last axis."""
    n = tf.cast(tf.shape(values)[-1], values.dtype)
    return tf.reduce_logsumexp(values, axis=-1) - tf.math.log(n)


def dv(scores: Scores, pooled: bool = False, negatives: int = 0) -> tf.Tensor:
    """Donsker-Varadhan: `E_p[u] - log E_q[e^u]`, in nats.

    A lower bound in population; the value on a batch is not one, since the log of a
    sample mean is biased. Optimum at u = log p/q + c. Pooled, the mean over locations
    is at most that of the unpooled values, whatever the scores.
    Source: Belghazi et al. 2018, eq. 3; Hjelm et al. 2019, eq. 2.

    Args:
        scores: `[..., N, N]`; with `pooled`, `[..., L, N, N]`.
        pooled: take the mean of e^u over the locations of axis -3 as well.
        negatives: see above.

    Returns:
        `[...]` (`[..., L]` if pooled), nats.
    """
    scores = _prepare(scores)
    positive = tf.reduce_mean(_positives(scores), axis=-1)
    return positive - _log_mean_exp_negatives(scores, pooled, negatives)


def nwj(scores: Scores, negatives: int = 0) -> tf.Tensor:
    """Nguyen-Wainwright-Jordan (KL f-GAN, MINE-f): `E_p[u] - E_q[e^(u-1)]`, in nats.

    An unbiased lower bound with high variance. Optimum at u = 1 + log p/q.
    Source: Nguyen et al. 2010; Poole et al. 2019, eq. 6; Nowozin et al. 2016, table 1.
    """
    scores = _prepare(scores)
    positive = tf.reduce_mean(_positives(scores), axis=-1)
    negative = _log_mean_exp_negatives(scores, negatives=negatives)
    return positive - safe_exp(negative - 1.0)


def info_nce(
    scores: Scores,
    candidates: str = "y",
    pooled: bool = False,
    negatives: int = 0,
) -> tf.Tensor:
    """InfoNCE: `mean_i[u_ii - log(1/K sum_j e^(u_ij))]`, in nats, at most log K.

    The own pair is one of the K candidates. Never forms more than the score matrix:
    pooled, all positives of one y share the log-sum-exp of their negatives, and the
    value is `log K - mean softplus(logsumexp(negatives) - positive)`. Pooled, it is no
    bound on mutual information: locations that are L copies of one another raise it by
    up to log L.
    Source: van den Oord et al. 2018; Hjelm et al. 2019, eq. 5.

    Args:
        scores: `[..., N, N]`; with `pooled`, `[..., L, N, N]`.
        candidates: "y" ranks all y for each x (rows, K = N), "x" ranks all x for each
            y (columns), "both" averages the two.
        pooled: the candidates for y_j are x_j at one location and the other x at all L
            locations, K = 1 + L (N - 1). Needs `candidates="x"`.

    Returns:
        `[...]` (`[..., L]` if pooled), nats.
    """
    if candidates == "both" and not pooled:
        x, y = (info_nce(scores, side, negatives=negatives) for side in ("x", "y"))
        return 0.5 * (x + y)
    if candidates not in ("x", "y") or (pooled and candidates != "x"):
        raise ValueError(
            "candidates must be 'x', 'y' or 'both', and 'x' for pooled negatives. "
            f"Received: candidates={candidates!r}, pooled={pooled}."
        )
    scores = _prepare(scores)
    others = _count_others(scores, negatives)
    if isinstance(scores, ScoresInBlocks):
        _require_all(negatives)
        negative = scores.log_sum_exp(candidates, pooled)
        regret = tf.nn.softplus(negative - _positives(scores))
        ceiling = tf.math.log1p(others * (_size(scores, -3) if pooled else 1.0))
        return ceiling - tf.reduce_mean(regret, axis=-1)
    if not pooled:
        if negatives:
            left = _keep_negatives(scores, -math.inf, negatives)
            scores = tf.linalg.set_diag(left, _positives(scores))
        rows = tf.linalg.matrix_transpose(scores) if candidates == "x" else scores
        return tf.math.log(1.0 + others) + _mean_log_share(rows)
    masked = _keep_negatives(scores, -math.inf, negatives)
    negative = tf.reduce_logsumexp(masked, axis=[-3, -2])
    regret = tf.nn.softplus(negative[..., None, :] - _positives(scores))
    ceiling = tf.math.log1p(_size(scores, -3) * others)
    return ceiling - tf.reduce_mean(regret, axis=-1)


def rank_candidates(positive: tf.Tensor, negatives: tf.Tensor) -> tf.Tensor:
    """InfoNCE of positives `[N]` against candidates of their own `[N, K - 1]`, nats.

    `mean_i[u_i - log(1/K (e^(u_i) + sum_k e^(u_ik)))]`, at most log K: for negatives
    that are not the other pairs of a batch. Scores of -inf are not candidates.
    """
    positive, negatives = _at_least_float32(positive), _at_least_float32(negatives)
    regret = tf.nn.softplus(tf.reduce_logsumexp(negatives, axis=-1) - positive)
    counted = tf.cast(negatives > -math.inf, positive.dtype)
    ceiling = tf.math.log1p(tf.reduce_sum(counted, axis=-1))
    return tf.reduce_mean(ceiling - regret, axis=-1)


def jsd(scores: Scores, negatives: int = 0) -> tf.Tensor:
    """`2 log 2 - E_p[softplus(-u)] - E_q[softplus(u)]`, at most 2 JSD(p || q).

    A lower bound on twice the Jensen-Shannon divergence of joint and product, itself
    at most 2 log 2; *not* an estimate of mutual information. Optimum at u = log p/q.
    Source: Nowozin et al. 2016; Hjelm et al. 2019, eq. 4 (there without 2 log 2).
    """
    return gan(scores, negatives) + 2.0 * math.log(2.0)


def gan(scores: Scores, negatives: int = 0) -> tf.Tensor:
    """`-E_p[softplus(-u)] - E_q[softplus(u)]`: `jsd` without its constant 2 log 2.

    The classification log-likelihood of joint against product; at most 0.
    Source: Hjelm et al. 2019, eq. 4; Goodfellow et al. 2014.
    """
    scores = _prepare(scores)
    positive = tf.reduce_mean(tf.nn.softplus(-_positives(scores)), axis=-1)
    return -positive - _mean_negatives(scores, negatives, tf.nn.softplus)


def reverse_kl(scores: Scores, negatives: int = 0) -> tf.Tensor:
    """`-E_p[e^(-u)] - E_q[u] + 1`, at most KL(q || p), in nats.

    A lower bound on the reverse Kullback-Leibler divergence (lautum information).
    Optimum at u = log p/q. Source: Nowozin et al. 2016, table 1.
    """
    scores = _prepare(scores)
    positive = safe_exp(log_mean_exp(-_positives(scores)))
    return 1.0 - positive - _mean_negatives(scores, negatives)


def squared_hellinger(scores: Scores, negatives: int = 0) -> tf.Tensor:
    """`2 - E_p[e^(-u)] - E_q[e^u]`, at most the squared Hellinger distance.

    The distance is the integral of (sqrt p - sqrt q)^2, between 0 and 2. Optimum at
    u = 1/2 log p/q. Source: Nowozin et al. 2016, table 1 (u reparametrized).
    """
    scores = _prepare(scores)
    positive = safe_exp(log_mean_exp(-_positives(scores)))
    negative = _log_mean_exp_negatives(scores, negatives=negatives)
    return 2.0 - positive - safe_exp(negative)


def pearson_chi2(scores: Scores, negatives: int = 0) -> tf.Tensor:
    """`E_p[u] - E_q[u^2/4 + u]`, at most the Pearson chi^2 divergence of p from q.

    Optimum at u = 2 (p/q - 1). Source: Nowozin et al. 2016, table 1.
    """
    scores = _prepare(scores)
    positive = tf.reduce_mean(_positives(scores), axis=-1)
    square = lambda u: 0.25 * tf.square(u) + u
    return positive - _mean_negatives(scores, negatives, square)


def moving_average(
    log_average: tf.Tensor, log_value: tf.Tensor, decay: float = 0.9
) -> tf.Tensor:
    """log of `decay m + (1 - decay) v`, a constant for the gradient.

    Args:
        log_average: log m; -inf before the first value.
        log_value: log v.
        decay: weight of the past.
    """
    log_average = tf.cast(log_average, log_value.dtype)
    decay = tf.cast(decay, log_value.dtype)
    past = tf.math.log(decay) + log_average
    both = tf.reduce_logsumexp([past, tf.math.log1p(-decay) + log_value], axis=0)
    first = tf.math.is_inf(log_average)
    return tf.stop_gradient(tf.where(first, log_value, both))


def mine(
    scores: tf.Tensor, log_average: tf.Tensor, decay: float = 0.9
) -> tuple[tf.Tensor, tf.Tensor]:
    """MINE: `E_p[u] - E_q[e^u] / m`, whose gradient is that of DV, less biased.

    m is a moving average of E_q[e^u], constant for the gradient and kept as a
    logarithm; the value itself is a surrogate, `dv` is what it estimates.
    Source: Belghazi et al. 2018, section 3.2.

    Args:
        scores: `[..., N, N]`.
        log_average: `[...]`, log m of the step before; -inf before the first.
        decay: weight of the past.

    Returns:
        (value to maximize, new log m), both `[...]`.
    """
    scores = _prepare(scores)
    batch = _log_mean_exp_negatives(scores)
    average = moving_average(log_average, batch, decay)
    positive = tf.reduce_mean(_positives(scores), axis=-1)
    return positive - safe_exp(batch - average), average


def tuba(scores: tf.Tensor, log_baseline: tf.Tensor) -> tf.Tensor:
    """`1 + E_p[u - log a(y)] - E_q[e^u / a(y)]`, in nats; NWJ is a = e.

    A lower bound for every a(y) > 0, the best at a(y) = E_q[e^u] over x.
    Source: Barber & Agakov 2003, unnormalized; Poole et al. 2019.

    Args:
        scores: `[..., N, N]`.
        log_baseline: `[..., N]`, log a(y_j).
    """
    scores = _prepare(scores)
    log_baseline = tf.cast(log_baseline, scores.dtype)
    return nwj(scores - log_baseline[..., None, :] + 1.0)


def interpolated(scores: tf.Tensor, log_baseline: tf.Tensor, alpha: float) -> tf.Tensor:
    """I_alpha: TUBA with the baseline `alpha m(y) + (1 - alpha) a(y)`, in nats.

    m(y) is the mean of e^u over the x of a batch of which one is left out. A lower
    bound, at most log((N - 1) / alpha): alpha = 0 is TUBA (low bias, high variance),
    alpha = 1 InfoNCE with N - 1 candidates. Source: Poole et al. 2019.

    Args:
        scores: `[..., N, N]`.
        log_baseline: `[..., N]`, log a(y_j).
        alpha: between 0 and 1.
    """
    if alpha == 0.0:
        return tuba(scores, log_baseline)
    scores = _prepare(scores)
    n = tf.cast(tf.shape(scores)[-1], scores.dtype)
    # Column j without row i. Without its own row the column is summed anew: the pair
    # may outweigh all others, and a difference would be lost.
    top = tf.stop_gradient(tf.reduce_max(scores, axis=-2, keepdims=True))
    terms = tf.exp(scores - top)
    rest = tf.reduce_sum(terms, axis=-2, keepdims=True) - terms
    left = tf.math.log(tf.maximum(rest, 1e-30)) + top
    own = tf.reduce_logsumexp(_set_diagonal(scores, -math.inf), axis=-2)
    own -= tf.math.log(n - 1.0)
    log_mean = tf.linalg.set_diag(left - tf.math.log(n - 1.0), own)
    log_a = math.log(alpha) + log_mean
    if alpha < 1.0:
        log_baseline = tf.cast(log_baseline, scores.dtype)
        learned = math.log1p(-alpha) + log_baseline[..., None, :]
        log_a = tf.reduce_logsumexp([log_a, learned + tf.zeros_like(log_a)], axis=0)
    positive = _mean_negatives(_positives(scores)[..., None, :] - log_a)
    own_a = tf.linalg.diag_part(log_a)[..., None, :]
    return 1.0 + positive - safe_exp(_log_mean_exp_negatives(scores - own_a))


def flo(scores: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
    """`1 - E_p[u + E_q[e^(-u + g(x, y') - g(x, y))]]`, in nats; scores g.

    A lower bound for every function u(x, y), tight at u = -log p/q. Source: Guo et al.
    2022 (Fenchel-Legendre optimization).

    Args:
        scores: `[..., N, N]`.
        u: `[..., N]` of the joint pairs.
    """
    scores = _prepare(scores)
    n = tf.cast(tf.shape(scores)[-1], scores.dtype)
    off = tf.reduce_logsumexp(_set_diagonal(scores, -math.inf), axis=-1)
    contrast = off - tf.math.log(n - 1.0) - _positives(scores)
    u = tf.cast(u, scores.dtype)
    return 1.0 - tf.reduce_mean(u + safe_exp(contrast - u), axis=-1)


MUTUAL_INFORMATION = "mutual information, nats"


class Bound(NamedTuple):
    """A row of `BOUNDS`.

    Attributes:
        function: scores -> value to maximize.
        measures: what the maximum over all critics is, in words.
        ceiling: the largest value possible with K candidates per positive
            (`math.inf` where only the divergence itself is the limit).
        options: the keyword arguments that the function takes beside the scores.
        chance: the value of the best constant critic: what lies below it says that the
            critic does worse than none.
        pooled_is_bound: whether the value is still a bound with `pooled=True`.
        in_blocks: whether the function takes `ScoresInBlocks`.
        log_ratio: scores of the optimal critic -> log p/q, up to a constant.
    """

    function: Callable[..., tf.Tensor]
    measures: str
    ceiling: Callable[[int], float]
    options: tuple[str, ...] = ()
    chance: float = 0.0
    pooled_is_bound: bool = True
    in_blocks: bool = False
    log_ratio: Callable[[tf.Tensor], tf.Tensor] = lambda scores: scores

    @property
    def kind(self) -> str:
        """What the value is filed under: "mi", "divergence", or else "score"."""
        if not self.measures:
            return "score"
        return "mi" if self.measures == MUTUAL_INFORMATION else "divergence"

    @property
    def name(self) -> str:
        """What the function is called."""
        return getattr(self.function, "__name__", type(self.function).__name__)


def as_bound(bound: "str | Bound | Callable") -> "Bound":
    """A row of `BOUNDS` by its name; a `Bound`; or a function of scores.

    Of a function nothing is known but its value, which is filed as a score.

    Args:
        bound: as above; a function takes `[..., N, N]`, gives `[...]` and is maximized.

    Raises:
        ValueError: if it is none of these.
    """
    found = BOUNDS.get(bound) if isinstance(bound, str) else bound
    if isinstance(found, Bound):
        return found
    if not callable(found):
        raise ValueError(
            f"bound must be one of {', '.join(BOUNDS)}, a Bound, or a function of "
            f"scores [..., N, N]. Received: {bound!r}."
        )
    return Bound(found, "", _unbounded)


def _unbounded(k: int) -> float:
    return math.inf


def _log_ratio_of_chi2(scores: tf.Tensor) -> tf.Tensor:
    """log(1 + u/2), continued below the ratio 1e-6, where u has no ratio of its own."""
    return tf.math.log(tf.maximum(1.0 + 0.5 * _prepare(scores), 1e-6))


_FEWER = ("negatives",)
_Row = partial(Bound, in_blocks=True)

BOUNDS = {
    "dv": _Row(dv, MUTUAL_INFORMATION, _unbounded, ("pooled", "negatives")),
    "nwj": _Row(nwj, MUTUAL_INFORMATION, _unbounded, _FEWER),
    "info_nce": _Row(
        info_nce,
        MUTUAL_INFORMATION,
        math.log,
        ("candidates", "pooled", "negatives"),
        pooled_is_bound=False,
    ),
    "jsd": _Row(jsd, "2 JSD(joint || product)", lambda k: 2.0 * math.log(2.0), _FEWER),
    "gan": _Row(
        gan,
        "2 JSD(joint || product) - 2 log 2",
        lambda k: 0.0,
        _FEWER,
        chance=-2.0 * math.log(2.0),
    ),
    "reverse_kl": _Row(reverse_kl, "KL(product || joint), nats", _unbounded, _FEWER),
    "squared_hellinger": _Row(
        squared_hellinger,
        "squared Hellinger distance",
        lambda k: 2.0,
        _FEWER,
        log_ratio=lambda scores: 2.0 * scores,
    ),
    "pearson_chi2": _Row(
        pearson_chi2, "Pearson chi^2", _unbounded, _FEWER, log_ratio=_log_ratio_of_chi2
    ),
}
