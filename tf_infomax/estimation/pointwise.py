"""The log density ratio of single pairs as a TensorFlow module: called, or exported."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from tf_infomax.estimation.columns import Columns
from tf_infomax.estimation.inputs import Marginal
from tf_infomax.estimation.neural import Model, flatten
from tf_infomax.runtime.files import replacing_folder
from tf_infomax.runtime.remarks import without_remarks


@dataclass(frozen=True)
class Member:
    """One trained critic and how its scores become log p/q.

    Attributes:
        model: the critic and its encoders.
        marginals: of x and y, in front of it.
        normalizer: "constant" (f - constant), "baseline" (f - log a(y)), "inverse"
            (-u), "candidates_y" (f less its log-mean-exp over all reported y, as
            InfoNCE has it), "candidates_x" (over all x), "candidates" (the mean of
            both).
        constant: see there.
        reference: preprocessed reported pairs, the candidates.
    """

    model: Model
    marginals: tuple[Marginal, Marginal]
    normalizer: str
    constant: float = 0.0
    reference: tuple[np.ndarray, np.ndarray] | None = None


class PointwiseRatio(tf.Module):
    """log p(x, y) / (p(x) p(y)) of pairs: the mean over members.

    Args:
        members: at least one.
        columns: of either side, that the members see.
    """

    def __init__(self, members: Sequence[Member], columns: tuple[Columns, Columns]):
        super().__init__()
        self.members, self.columns = list(members), columns
        self.parts = [part for member in members for part in member.model.parts]
        self.signature = [
            tf.TensorSpec([None, *each.shape], tf.float64, name=name)
            for each, name in zip(columns, "xy", strict=True)
        ]
        self.pointwise = tf.function(self._pointwise, input_signature=self.signature)

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Float64 `[n]`."""
        x, y = (tf.constant(side, tf.float64) for side in (x, y))
        for name, side, spec in zip("xy", (x, y), self.signature, strict=True):
            if not spec.shape.is_compatible_with(side.shape):
                raise ValueError(
                    f"{name} must be {spec.shape}, as it was estimated with. Received: "
                    f"{side.shape}."
                )
        # Concrete: TensorFlow would warn of a function that each estimate traces.
        run = self.pointwise.get_concrete_function()
        return run(x, y)["log_ratio"].numpy().astype(np.float64)

    def _pointwise(self, x, y):
        x, y = map(_take, self.columns, (x, y))
        ratios = [_ratio(member, x, y) for member in self.members]
        return {"log_ratio": tf.add_n(ratios) / len(ratios)}

    def export(self, path: Path) -> None:
        """Writes a SavedModel with the signature x, y (float64) -> log_ratio."""
        with replacing_folder(path) as folder, without_remarks():
            tf.saved_model.save(
                self, str(folder), signatures={"serving_default": self.pointwise}
            )


def _take(columns: Columns, values: tf.Tensor) -> tf.Tensor:
    """`Columns.take` in TensorFlow."""
    if columns.kept is None:
        return values
    return tf.gather(flatten(values), columns.kept, axis=1)


def _ratio(member: Member, x, y) -> tf.Tensor:
    sides = [
        apply_marginal(marginal, side)
        for marginal, side in zip(member.marginals, (x, y), strict=True)
    ]
    model, kind = member.model, member.normalizer
    vectors = model.encode(*sides)
    baseline, u = model.beside(*vectors)
    if kind == "inverse":
        return -u
    hx, hy = model.critic.embed(*vectors)
    scores = model.critic.score_pairs(hx, hy)
    if kind == "baseline":
        return scores - baseline
    if kind == "constant":
        return scores - member.constant
    rx, ry = (tf.constant(side) for side in member.reference)
    rx, ry = model.critic.embed(*model.encode(rx, ry))
    log_n = math.log(len(member.reference[0]))
    terms = []
    if kind != "candidates_x":
        terms.append(tf.reduce_logsumexp(model.critic.score(hx, ry), axis=1) - log_n)
    if kind != "candidates_y":
        terms.append(tf.reduce_logsumexp(model.critic.score(rx, hy), axis=0) - log_n)
    return scores - tf.add_n(terms) / len(terms)


def apply_marginal(marginal: Marginal, values: tf.Tensor) -> tf.Tensor:
    """`transform` of one side in TensorFlow: of float64, which times need; float32."""
    return tf.cast(_apply(marginal, tf.cast(values, tf.float64)), tf.float32)


def _apply(marginal: Marginal, values: tf.Tensor) -> tf.Tensor:
    if marginal.kind == "none":
        return values
    if marginal.kind != "rank":
        standard = (values - marginal.center) / marginal.scale
        if marginal.tail is not None:
            beyond = tf.maximum(tf.abs(standard) - marginal.tail, 0.0)
            kept = tf.clip_by_value(standard, -marginal.tail, marginal.tail)
            beyond = tf.math.log1p(beyond)
            return kept + tf.sign(standard) * beyond / (1.0 + beyond)
        return tf.asinh(standard) if marginal.kind == "asinh" else standard
    known = tf.constant(marginal.sorted_values.T)  # [d, n]
    columns = tf.transpose(tf.reshape(values, [-1, known.shape[0]]))
    low = tf.searchsorted(known, columns, side="left")
    high = tf.searchsorted(known, columns, side="right")
    middle = 0.5 * tf.cast(low + high, tf.float64) + 0.5
    quantiles = tf.math.ndtri(middle / (known.shape[1] + 1.0))
    return tf.reshape(tf.transpose(quantiles), tf.shape(values))
