"""How critics and conditionals are trained, and what `estimate_mi` takes beside."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real

# What a method may use of `Options`, by what is done; rows of tables take from these.
SHARED = ("level", "block", "bracket", "seed")
POINTS = (*SHARED, "preprocess")
NEIGHBORS = (*POINTS, "k")
SPLIT = (*SHARED, "folds", "parts", "max_reported")
TRAINED = (
    *SPLIT, "preprocess", "widths", "batch_size", "learning_rate", "weight_decay",
    "max_steps", "check_every", "patience", "schedule", "shown",
)  # fmt: skip
ENCODED = (*TRAINED, "x_encoder", "y_encoder")
CRITIC = (*ENCODED, "critic")
KNOWN = (*SPLIT, "log_conditional")

SHALLOW = ("inner_product", "bilinear", "cosine")  # critics without hidden layers


def names_used(row, options: dict) -> tuple[str, ...]:
    """What a row of a table of methods uses; with a bracket also its bounds'."""
    names = dict.fromkeys(row.uses + (KNOWN if options.get("bracket") else ()))
    if "critic" in names and options.get("critic") in SHALLOW:
        without = not row.second_network
    else:
        without = "family" in names and options.get("family", "linear") != "mlp"
    if without:
        names.pop("widths", None)
    return tuple(names)


def used_of(row, options: dict) -> dict:
    """Those of the options that a row uses."""
    used = names_used(row, options)
    return {name: value for name, value in options.items() if name in used}


@dataclass(frozen=True)
class TrainOptions:
    """How a critic is trained.

    Attributes:
        critic: a key of `critics.VECTOR_CRITICS`; or "copula": starts at the Gaussian
            copula's log-ratio (`preprocess="rank"` makes the marginals fit it). That is
            what `smile` and `density_ratio` do unless there is an encoder.
        widths: hidden widths of critic (of a separable one its embedding too),
            baseline and conditional.
        batch_size: pairs per step; all others of the batch are negatives.
        learning_rate, weight_decay: of Adam, the latter decoupled.
        negatives: "all" others of the batch, or a "derangement": one per pair.
        max_steps: at most.
        check_every: steps between looks at the validation pairs.
        patience: looks without a better value after which training ends.
        schedule: learning rate over `max_steps`: "constant", or "cosine", down to 0.
        shown: hears at each look how many steps are done, or None.
        seed: of weights and batches.
    """

    critic: str = "concatenated"
    widths: tuple[int, ...] = (64, 64)
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    negatives: str = "all"
    max_steps: int = 5000
    check_every: int = 100
    patience: int = 10
    schedule: str = "constant"
    shown: Callable[[int], None] | None = None
    seed: int = 0

    def __post_init__(self):
        for name, low in (
            ("batch_size", 2), ("max_steps", 1), ("check_every", 1), ("patience", 1),
            ("seed", 0),
        ):  # fmt: skip
            _accept_whole(self, name, low)
        _accept_numbers(self, "weight_decay", "learning_rate")
        _accept(self, "weight_decay", self.weight_decay >= 0.0, "at least 0")
        whole = isinstance(self.widths, (tuple, list)) and all(
            isinstance(width, Integral) and width > 0 for width in self.widths
        )
        _accept(self, "widths", whole, "whole numbers above 0, as (64, 64) is")
        _accept(self, "learning_rate", 0.0 < self.learning_rate < math.inf, "above 0")
        known = "all", "derangement"
        _accept(self, "negatives", self.negatives in known, f"one of {known}")
        known = "constant", "cosine"
        _accept(self, "schedule", self.schedule in known, f"one of {known}")


def _accept(options, name: str, accepted: bool, what: str) -> None:
    if not accepted:
        raise ValueError(
            f"{name} must be {what}. Received: {getattr(options, name)!r}."
        )


def _accept_whole(options, name: str, low: int) -> None:
    value = getattr(options, name)
    whole = isinstance(value, Integral) and type(value) is not bool and value >= low
    _accept(options, name, whole, f"a whole number of at least {low}")


def _accept_numbers(options, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        number = isinstance(value, Real) and type(value) is not bool
        _accept(options, name, number, "a number")


@dataclass(frozen=True)
class Options(TrainOptions):
    """What `estimate_mi` takes beside the pairs and the method.

    The seed is also that of the split and of the bootstrap.

    Attributes:
        x_encoder, y_encoder: Keras models in front of the critic. Copies are trained
            with it: `estimate.trainings[fold].model.encoders`.
        preprocess: a name of `inputs.MARGINALS`.
        folds: 1 splits once and reports on a fifth; k reports on every pair, by a
            critic that was trained without its fold.
        parts: positions of the pairs to train on, to choose on and to report on, where
            chance shall not divide them.
        k: neighbours.
        alpha: of I_alpha.
        tau: of SMILE.
        correct: whether the Gaussian estimate is corrected for its bias.
        level: of the interval.
        block: consecutive rows that depend on one another and stay together.
        max_reported: most pairs of a fold to report on; their score matrix is n x n.
        bracket: also a lower and an upper bound, `tnce` and `l1out_known`: of pairs
            alone there is no upper bound, so that it takes `log_conditional`.
        log_conditional: known log p(y_j | x_i) `[n, n]` of (x, y), for `ba`, `vub`,
            `tnce`, `l1out_known`, `club_known` and `bracket`.
        entropy_y: known differential entropy of y, for `ba`, nats.
    """

    x_encoder: object | None = None
    y_encoder: object | None = None
    preprocess: str = "standardize"
    folds: int = 1
    parts: tuple | None = None
    k: int = 5
    alpha: float = 0.01
    tau: float = 5.0
    correct: bool = True
    level: float = 0.9
    block: int = 1
    max_reported: int = 2000
    bracket: bool = False
    log_conditional: Callable | None = None
    entropy_y: float | None = None

    def __post_init__(self):
        super().__post_init__()
        for name, low in (("folds", 1), ("k", 1), ("block", 1), ("max_reported", 2)):
            _accept_whole(self, name, low)
        _accept_numbers(self, "alpha", "tau", "level")
        if self.entropy_y is not None:
            _accept_numbers(self, "entropy_y")
        alone = self.parts is None or (self.folds == 1 and len(self.parts) == 3)
        _accept(self, "parts", alone, "three, with folds=1")
        for name in ("correct", "bracket"):
            _accept(self, name, type(getattr(self, name)) is bool, "True or False")
        if self.bracket and self.log_conditional is None:
            raise ValueError(
                "bracket=True needs log_conditional, the known log p(y_j | x_i): no "
                "upper bound holds that is fitted to pairs. Received: None."
            )
        _accept(self, "alpha", 0.0 <= self.alpha <= 1.0, "between 0 and 1")
        _accept(self, "tau", self.tau > 0.0, "above 0")
        _accept(self, "level", 0.0 < self.level < 1.0, "between 0 and 1, as 0.9 is")
