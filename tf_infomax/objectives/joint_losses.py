"""Losses of two embeddings of each image, whole batches of them.

Of each function the first arguments are the embeddings of both views, `[N, D]`, N at
least 2. It gives the loss, to be minimized, and what it is made of, by name.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from tf_infomax.objectives.base import Value
from tf_infomax.runtime.vectors import normalize

_SMALL = 1e-4  # added to a variance before its root is taken
_RIDGE = 1e-3  # added to a covariance before its determinant is taken


def _contrast(x: tf.Tensor, y: tf.Tensor, temperature: float):
    """(scores of all 2 N embeddings `[2N, 2N]`, those of the own other view `[2N]`).

    Scores are cos / temperature; that of an embedding with itself is -inf.
    """
    x, y = normalize(x), normalize(y)
    both = tf.concat([x, y], axis=0)
    scores = tf.matmul(both, both, transpose_b=True) / temperature
    scores = tf.linalg.set_diag(scores, tf.fill(tf.shape(scores)[:1], -math.inf))
    positive = tf.reduce_sum(x * y, axis=-1) / temperature
    return scores, tf.concat([positive, positive], axis=0)


def _without_positives(scores: tf.Tensor) -> tf.Tensor:
    """Scores of other images alone; all else is -inf."""
    n = tf.shape(scores)[0] // 2
    own = tf.eye(n, dtype=tf.bool)
    return tf.where(tf.tile(own, [2, 2]), -math.inf, scores)


def nt_xent(
    x: tf.Tensor, y: tf.Tensor, labels: object, temperature: float
) -> tuple[tf.Tensor, dict]:
    """`mean_i[log sum_(k != i) e^(s_ik) - s_ip]` over all 2 N embeddings.

    s = cos / temperature, p the other view of the same image; 2 N - 2 negatives, of
    both views. Source: Chen et al. 2020 (SimCLR), eq. 1.
    """
    scores, positive = _contrast(x, y, temperature)
    return tf.reduce_mean(tf.reduce_logsumexp(scores, axis=-1) - positive), {}


def decoupled(
    x: tf.Tensor, y: tf.Tensor, labels: object, temperature: float
) -> tuple[tf.Tensor, dict]:
    """`nt_xent` without the positive in the sum.

    The gradient does not vanish where the positive outweighs few negatives. Source: Yeh
    et al. 2022 (DCL), eq. 6.
    """
    scores, positive = _contrast(x, y, temperature)
    negative = tf.reduce_logsumexp(_without_positives(scores), axis=-1)
    return tf.reduce_mean(negative - positive), {}


def debiased(
    x: tf.Tensor,
    y: tf.Tensor,
    labels: object,
    temperature: float,
    class_share: float,
) -> tuple[tf.Tensor, dict]:
    """`nt_xent` whose negatives are corrected for those of the own class.

    With K = 2 N - 2 negatives and t the share of images that are of one's own class:
    `mean_i[log(e^(s_ip) + K g_i) - s_ip]`, `g_i = max((mean_k e^(s_ik) - t e^(s_ip)) /
    (1 - t), e^(-1/temperature))`. With t = 0 it is `nt_xent`. Source: Chuang et al.
    2020, eq. 7 and 8, one positive.
    """
    scores, positive = _contrast(x, y, temperature)
    # By the largest score possible, so that no exponential overflows.
    top = 1.0 / temperature
    count = tf.cast(tf.shape(scores)[0] - 2, tf.float32)
    negative = tf.exp(_without_positives(scores) - top)
    own = tf.exp(positive - top)
    corrected = tf.reduce_sum(negative, axis=-1) / count - class_share * own
    corrected = tf.maximum(corrected / (1.0 - class_share), math.exp(-2.0 * top))
    share = own / (own + count * corrected)
    return -tf.reduce_mean(tf.math.log(share)), {}


def supervised_contrast(
    x: tf.Tensor, y: tf.Tensor, labels: tf.Tensor, temperature: float
) -> tuple[tf.Tensor, dict]:
    """`mean_i mean_(p in P_i)[log sum_(k != i) e^(s_ik) - s_ip]`.

    P_i are all other embeddings of images of the same label, and that of the own other
    view; of an image without a label (-1) the latter alone, so that without labels it
    is `nt_xent`. Source: Khosla et al. 2020 (SupCon), eq. 2.
    """
    scores, _ = _contrast(x, y, temperature)
    labels = tf.tile(tf.cast(labels, tf.int64), [2])
    n = tf.shape(labels)[0]
    images = tf.range(n) % (n // 2)
    same = (labels[:, None] == labels[None]) & (labels >= 0)
    same |= images[:, None] == images[None]
    same = tf.linalg.set_diag(same, tf.zeros([n], tf.bool))
    lost = tf.reduce_logsumexp(scores, axis=-1, keepdims=True) - scores
    mean = tf.reduce_sum(tf.where(same, lost, 0.0), axis=-1) / tf.reduce_sum(
        tf.cast(same, tf.float32), axis=-1
    )
    return tf.reduce_mean(mean), {}


def vicreg(
    x: tf.Tensor,
    y: tf.Tensor,
    labels: object,
    invariance_weight: float,
    variance_weight: float,
    covariance_weight: float,
) -> tuple[tf.Tensor, dict]:
    """`a mean (x - y)^2 + b (v(x) + v(y)) / 2 + c (k(x) + k(y))`.

    v is the mean over columns of max(0, 1 - deviation), k the sum of squared
    covariances of two columns, over D; variances are over N - 1. Source: Bardes et al.
    2022, eq. 6, in the scale of the released code: the mean, not the sum, over columns
    in the first part, and half of the second.
    """
    invariance = tf.reduce_mean(tf.square(x - y))
    variances, covariances = [], []
    for side in (x, y):
        covariance = _covariance(side, 1)
        own = tf.linalg.diag_part(covariance)
        variances.append(tf.reduce_mean(tf.nn.relu(1.0 - tf.sqrt(own + _SMALL))))
        width = tf.cast(tf.shape(side)[1], tf.float32)
        covariances.append(_off_diagonal(covariance) / width)
    parts = {
        "invariance": invariance,
        "variance": 0.5 * tf.add_n(variances),
        "covariance": tf.add_n(covariances),
    }
    weights = invariance_weight, variance_weight, covariance_weight
    pairs = zip(weights, parts.values(), strict=True)
    return tf.add_n([weight * part for weight, part in pairs]), parts


def barlow_twins(
    x: tf.Tensor, y: tf.Tensor, labels: object, off_diagonal_weight: float
) -> tuple[tf.Tensor, dict]:
    """`sum_i (1 - C_ii)^2 + w sum_(i != j) C_ij^2`, C the correlations of x and y.

    Column i of one view with column j of the other, over the batch. Source: Zbontar et
    al. 2021, eq. 1 and 2.
    """
    x, y = (_standardize(side) for side in (x, y))
    n = tf.cast(tf.shape(x)[0], tf.float32)
    correlation = tf.matmul(x, y, transpose_a=True) / n
    on = tf.reduce_sum(tf.square(1.0 - tf.linalg.diag_part(correlation)))
    parts = {"on_diagonal": on, "off_diagonal": _off_diagonal(correlation)}
    return on + off_diagonal_weight * parts["off_diagonal"], parts


def log_determinant(
    x: tf.Tensor, y: tf.Tensor, labels: object, invariance_weight: float
) -> tuple[tf.Tensor, dict]:
    """`-(log det(R_x + e I) + log det(R_y + e I)) / (2 D) + a mean (x - y)^2`.

    R are the covariances (1 / N) of unit embeddings times their width, e = 1e-3: the
    log-determinants are the entropy of the embeddings as far as their covariances tell,
    which are at most 0 here, where all columns are uncorrelated and of variance 1.
    Source: Ozsoy et al. 2022 (CorInfoMax), eq. 5, with the covariance of the batch
    instead of a moving average.
    """
    width = x.shape[1]
    x, y = (math.sqrt(width) * normalize(side) for side in (x, y))
    ridge = _RIDGE * tf.eye(width)
    entropies = [
        tf.linalg.logdet(_covariance(side, 0) + ridge) / width for side in (x, y)
    ]
    parts = {
        "entropy": 0.5 * tf.add_n(entropies),
        "invariance": tf.reduce_mean(tf.square(x - y)),
    }
    return invariance_weight * parts["invariance"] - parts["entropy"], parts


def _covariance(values: tf.Tensor, lost: int) -> tf.Tensor:
    """`[D, D]` of columns, over N - `lost`."""
    centered = values - tf.reduce_mean(values, axis=0)
    n = tf.cast(tf.shape(values)[0] - lost, tf.float32)
    return tf.matmul(centered, centered, transpose_a=True) / n


def _standardize(values: tf.Tensor) -> tf.Tensor:
    centered = values - tf.reduce_mean(values, axis=0)
    return centered * tf.math.rsqrt(
        tf.reduce_mean(tf.square(centered), axis=0) + 0.1 * _SMALL
    )


def _off_diagonal(matrix: tf.Tensor) -> tf.Tensor:
    """The sum of the squares of what is not on the diagonal."""
    zeros = tf.zeros(tf.shape(matrix)[:1])
    return tf.reduce_sum(tf.square(tf.linalg.set_diag(matrix, zeros)))


class JointLoss(NamedTuple):
    """A row of `LOSSES`.

    Attributes:
        function: as above.
        options: what it takes.
        parts: what it is made of, and how that is read.
        contrastive: whether its score of pairs is cos / temperature, so that InfoNCE of
            the same score bounds the information of the views.
        unit: of the loss.
        labels: whether it takes labels.
    """

    function: Callable[..., tuple[tf.Tensor, dict]]
    options: tuple[str, ...]
    parts: Mapping[str, Value] = {}
    contrastive: bool = False
    unit: str = "nats"
    labels: bool = False


def _part(unit: str, measures: str) -> Value:
    return Value(kind="score", unit=unit, measures=measures)


_INVARIANCE = _part("variance", "mean squared difference of the embeddings of views")
_TEMPERATURE = ("similarity_temperature",)
LOSSES: dict[str, JointLoss] = {
    "nt_xent": JointLoss(nt_xent, _TEMPERATURE, contrastive=True),
    "decoupled": JointLoss(decoupled, _TEMPERATURE, contrastive=True),
    "debiased": JointLoss(debiased, (*_TEMPERATURE, "class_share"), contrastive=True),
    "supervised_contrast": JointLoss(
        supervised_contrast, _TEMPERATURE, contrastive=True, labels=True
    ),
    "vicreg": JointLoss(
        vicreg,
        ("invariance_weight", "variance_weight", "covariance_weight"),
        {
            "invariance": _INVARIANCE,
            "variance": _part("deviation", "mean shortfall of deviations from 1"),
            "covariance": _part("variance", "squared covariances, per column"),
        },
        unit="weighted sum",
    ),
    "barlow_twins": JointLoss(
        barlow_twins,
        ("off_diagonal_weight",),
        {
            "on_diagonal": _part("1", "squared shortfalls of correlations from 1"),
            "off_diagonal": _part("1", "squared correlations of different columns"),
        },
        unit="squared correlations",
    ),
    "log_determinant": JointLoss(
        log_determinant,
        ("invariance_weight",),
        {
            "entropy": _part(
                "nats", "log-determinant of the covariance, half of it per column"
            ),
            "invariance": _INVARIANCE,
        },
        unit="weighted sum",
    ),
}
