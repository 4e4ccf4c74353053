"""Terms of an objective, and what can honestly be read off their scores.

Every value is filed under its kind:

* `mi/`: an estimate of a lower bound on mutual information, in nats, whose negatives
  are draws from the product of the marginals; over several locations l the mean of
  bounds on I(x_l; y);
* `divergence/`: a bound on another f-divergence of joint and product
  (`Bound.measures` says which);
* `score/`: what is maximized, and no bound: InfoNCE with negatives pooled over
  locations, and every bound whose negatives are chosen, weighted, remembered or share
  something with the pair.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import keras
import tensorflow as tf

from tf_infomax import bounds
from tf_infomax.critics import as_critic
from tf_infomax.objectives.negatives import NEGATIVES, of_scores, score_all_pairs

_PARTS = ("critic", "bound")  # what Keras serializes


def split_side(side: str) -> tuple[str, str]:
    """ "view.feature" -> (view, feature); of a feature alone the view is "x"."""
    view, _, name = side.rpartition(".")
    return view or "x", name


def take_feature(side: str, features: Mapping) -> tf.Tensor:
    """The feature of a side, of view -> feature -> tensor."""
    view, name = split_side(side)
    return features[view][name]


@dataclass(frozen=True)
class Term:
    """One summand `weight * mean(bound(critic(x, y)))` of the objective.

    Attributes:
        name: names the metric.
        x: "view.feature", the side whose locations become the leading axis.
        y: "view.feature", a vector, or a map as large as x.
        critic: a `critics.Critic`, or a layer that `critics.as_critic` makes one of.
        bound: a key of `bounds.BOUNDS`, a `Bound`, or a function of scores.
        weight: its weight in the objective.
        options: keyword arguments of the bound (`pooled`, `candidates`).
        target: the value to reach instead of the largest, by minimizing
            weight |value - target| (Tschannen et al. 2020, section 3.2), or None.
        negatives: a key of `NEGATIVES`; with the bound it says of what kind the value
            is.
        negative_options: what they need (`count` of some and hard ones, `hardness`).
    """

    name: str
    x: str
    y: str
    critic: keras.layers.Layer
    bound: str | bounds.Bound | Callable
    weight: float = 1.0
    options: tuple[tuple[str, object], ...] = ()
    negatives: str = "iid"
    target: float | None = None
    negative_options: tuple[tuple[str, object], ...] = ()

    def __post_init__(self):
        bounds.as_bound(self.bound)
        object.__setattr__(self, "critic", as_critic(self.critic))
        if self.negatives not in NEGATIVES:
            raise ValueError(
                f"negatives must be one of {', '.join(NEGATIVES)}. "
                f"Received: {self.negatives!r}."
            )
        options = dict(self.negative_options)
        if self.negatives == "some" and (
            "negatives" not in self.row.options or not options.get("count", 0) > 0
        ):
            raise ValueError(
                "'some' negatives are a `count` of them, for "
                f"{', '.join(bounds.BOUNDS)}. Received: {options} for "
                f"{self.bound_name}."
            )

    @property
    def row(self) -> bounds.Bound:
        """The bound with what is known of it."""
        return bounds.as_bound(self.bound)

    @property
    def bound_name(self) -> str:
        return self.bound if isinstance(self.bound, str) else self.row.name

    @property
    def pooled(self) -> bool:
        """Whether locations share their negatives."""
        return bool(dict(self.options).get("pooled", False))

    @property
    def kind(self) -> str:
        """What the value is: "mi", "divergence" or "score"."""
        row = self.row
        if not NEGATIVES[self.negatives].independent:
            return "score"
        if self.pooled and not row.pooled_is_bound:
            return "score"
        return row.kind

    @property
    def key(self) -> str:
        """What the value is filed under, "kind/name"."""
        return f"{self.kind}/{self.name}"

    @property
    def measures(self) -> str:
        """What the value is, in words."""
        if self.kind != "score":
            return self.row.measures
        if self.row.kind == "score":
            return f"{self.bound_name} of the scores, of which nothing more is known"
        where = ", pooled over locations" if self.pooled else ""
        options = dict(self.negative_options)
        which = NEGATIVES[self.negatives].meaning.format(**options)
        return f"no bound (negatives: {which}{where})"

    def loss(self, value: tf.Tensor) -> tf.Tensor:
        """What this term adds to the loss."""
        if self.target is None:
            return -self.weight * value
        return self.weight * tf.abs(value - self.target)

    def value(self, scores: tf.Tensor) -> tf.Tensor:
        """Mean of the bound over the leading axes of the scores."""
        function = self.row.function
        return tf.reduce_mean(function(scores, **dict(self.options)))

    def ceiling(self, batch_size: int, locations: int) -> float:
        """The largest value possible with this many images and locations."""
        candidates = NEGATIVES[self.negatives].candidates(self, batch_size, locations)
        return self.row.ceiling(candidates)

    def assessed(self) -> "Term":
        """The term on images that no memory holds: all others are its negatives."""
        return replace(self, negatives="iid") if self.negatives == "memory" else self

    def information(self) -> "Term | None":
        """InfoNCE of the same critic, each location by itself, where this is no bound.

        Its scores are the log-ratios that the critic stands for. None where the term
        is a bound on mutual information itself, or where others of the batch are no
        draws from the product of the marginals.
        """
        term = self.assessed()
        if term.kind == "mi" or term.negatives == "shared_context":
            return None
        candidates = dict(term.options).get("candidates", "both")
        options = (("candidates", candidates),)
        return replace(term, bound="info_nce", options=options, negatives="iid")

    def readings(self) -> "list[Term]":
        """What is read on held-out images: the objective, and a bound beside it."""
        return [term for term in (self.assessed(), self.information()) if term]

    def read(self, hx: tf.Tensor, hy: tf.Tensor) -> dict[str, tf.Tensor]:
        """The value of every reading, by its key, of what `critic.embed` gives."""
        term, information = self.assessed(), self.information()
        row = NEGATIVES[term.negatives]
        scores = row.scores(term, hx, hy)
        values = {term.key: row.of_scores(term, scores)}
        if information is not None:
            if row.scores is not score_all_pairs:
                scores = score_all_pairs(term, hx, hy)
            scores = of_scores(term.row.log_ratio, scores)
            values[information.key] = information.value(scores)
        return values

    def get_config(self) -> dict:
        """What `from_config` makes the same term of, for `.keras` files."""
        serialize = keras.saving.serialize_keras_object
        parts = {name: serialize(getattr(self, name)) for name in _PARTS}
        return {**vars(self), **parts}

    @classmethod
    def from_config(cls, config: dict) -> "Term":
        deserialize = keras.saving.deserialize_keras_object
        parts = {name: deserialize(config[name]) for name in _PARTS}
        options = {
            name: tuple(tuple(option) for option in config[name])
            for name in ("options", "negative_options")
        }
        return cls(**{**config, **options, **parts})
