"""The base of every objective: a Keras model that trains networks by players.

A concrete objective names its networks by role, says which player trains which of
them, and writes `step_losses`: a batch in, a loss per player and numbers to report out.
Everything else is here: gradients, loss scaling, replicas, averages of weights, seeds,
metrics, checkpoints, saving, and what a batch may be.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import keras
import tensorflow as tf

from tf_infomax.data.views import AUGMENTATIONS, VIEWS
from tf_infomax.objectives.batches import (
    IMAGES,
    INDEX,
    as_batch,
    name_features,
    put_front,
)
from tf_infomax.objectives.faults import Faults
from tf_infomax.objectives.priors import Prior
from tf_infomax.objectives.replicas import count_replicas, mean_over_replicas
from tf_infomax.optimizers import share_of_newest

STEP = "step"  # name of the variable that counts steps, in checkpoints
_SLOTS = ("momentum", "velocity")
_COMPILED = ("jit_compile", "steps_per_execution", "run_eagerly", "skip_faulty")
_OF_VIEWS = 3  # tells the draws of augmentations from those of a step


class Value(NamedTuple):
    """How a number is to be read that a pass over test images reports.

    Attributes:
        kind: "mi", "divergence", "score", "loss" or "accuracy": decides table and axis.
        unit: of the number.
        measures: what it is, in words.
        ceiling: batch size -> the largest value possible (infinite: none).
        chance: what the best constant has, or None.
        facts: what else stands beside it in the results.
    """

    kind: str = "loss"
    unit: str = "nats"
    measures: str = ""
    ceiling: Callable[[int], float] | None = None
    chance: float | None = None
    facts: Mapping = {}

    def describe(self, batch_size: int) -> dict:
        """What results say of it, for batches of this size."""
        ceiling = None if self.ceiling is None else self.ceiling(batch_size)
        return {
            "kind": self.kind,
            "unit": self.unit,
            "measures": self.measures,
            "ceiling": None if ceiling in (None, float("inf")) else ceiling,
            "chance": self.chance,
            **self.facts,
        }


class _AsLayer(keras.layers.Layer):
    """A function called as a layer, which tells all networks in it whether it trains.

    A network called elsewhere without `training`, or anywhere with training=None, runs
    in inference mode, in silence.
    """

    def __init__(self, function: Callable):
        super().__init__(dtype="float32", autocast=False, name="objective_step")
        self.function = function
        self.built = True

    def call(self, batch, seed, training=False):
        return self.function(batch, seed)


class Objective(keras.Model):
    """Networks by role, players that train them, and one method that says how.

    A subclass sets `values` (and `players`, `rounds`, `asks`, `step_values` where the
    defaults are not its own) and writes `step_losses`.

    Args:
        networks: role -> built network, or the encoder alone; "encoder" takes uint8
            images and gives a dict of features, of which "code" is one.
        seed: of all draws.
        ema: decay of an exponential moving average of the encoder (0: none), of the
            weights after each step and not of the initial ones, statistics of batch
            norm included. It has the role "average" and is then the `encoder` that is
            evaluated.
        front: a model from a whole image to view "x", where that is a part of it: then
            `encoder` takes whole images.
        views: a key of `data.views.VIEWS`, what is made of whole images. Views that
            come by their names, in a dict, stay as they are.
        augment: augmentations of these views, keys of `data.views.AUGMENTATIONS`.
        slow_layers: name of the last layer of the encoder whose weights, as those of
            all layers below it, go only a part of the way that the optimizer would have
            them go; "": none.
        slow_rate: that part.

    Attributes:
        players: player -> the roles that its optimizer trains; the first one's loss is
            reported as `loss`.
        rounds: players that are updated at the same time, one round after another; each
            has its own forward pass. () is one round of all.
        takes: view -> what its encoder takes: the views that a batch must have.
        asks: what else: "label", "index" (which training images these are).
        values: what a test reports, and how it is to be read.
        step_values: names of what a training step reports beside the loss.
        code_prior: what the distribution of codes is matched to, or None.
        prior_features: what of the encoder `place_codes` takes.
        step: steps done. Of its own, since a loss-scaling optimizer skips counts.
        faults: the steps since `faults.clear()` of which a loss was not finite, or,
            where such steps are skipped, a gradient.
        shares_values: whether what a step reports is the mean over all replicas at
            once, for a loop that, other than Keras' own, sees one of them.
    """

    players: Mapping[str, tuple[str, ...]] = {"encoder": ("encoder",)}
    rounds: tuple[tuple[str, ...], ...] = ()
    asks: frozenset[str] = frozenset()
    values: Mapping[str, Value] = {}
    code_prior: Prior | None = None
    prior_features: tuple[str, ...] = ("code",)

    def __init__(
        self,
        networks: Mapping[str, keras.layers.Layer],
        seed: int = 0,
        ema: float = 0.0,
        front: keras.Model | None = None,
        views: str = "one",
        augment: Sequence[str] = (),
        slow_layers: str = "",
        slow_rate: float = 0.1,
        **kwargs: object,
    ):
        if type(self).step_losses is Objective.step_losses:
            raise TypeError(
                f"{type(self).__name__} must write step_losses(batch, seed), which "
                "returns a loss for each player and the values to report."
            )
        super().__init__(**kwargs)
        self.views, self.augment = views, tuple(augment)
        _check_views(views, self.augment)
        if not isinstance(networks, Mapping):
            networks = {"encoder": networks}
        networks = {
            role: name_features(each) if role.startswith("encoder") else each
            for role, each in networks.items()
        }
        if ema:
            average = keras.models.clone_model(networks["encoder"])
            average.set_weights(networks["encoder"].get_weights())
            average.trainable = False
            networks["average"] = average
        self.networks, self.seed, self.ema, self.front = networks, seed, ema, front
        if not 0.0 < slow_rate <= 1.0:
            raise ValueError(f"slow_rate must be in (0, 1]. Received: {slow_rate}.")
        self.slow_layers, self.slow_rate = slow_layers, slow_rate
        self._slow = trained_up_to(networks["encoder"], slow_layers)
        self.whole_encoder = None
        if front is not None:
            self.whole_encoder = put_front(front, self._evaluated)
        self.step = self.add_weight(
            shape=(),
            dtype="int64",
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
            name="step",
        )
        self.faults, self.skip_faulty = Faults(), False
        self.shares_values = False
        self._trackers: dict[str, keras.metrics.Mean] = {}
        self.built = True

    # What a concrete objective says.

    def step_losses(self, batch: dict, seed: tf.Tensor) -> tuple[dict, dict]:
        """The mathematics of a step.

        Batch statistics, seeds and memories of the networks may change in it, nothing
        else. Networks know by themselves whether it is a training step.

        Args:
            batch: as `as_batch` gives it, of this replica.
            seed: two integers.

        Returns:
            `(losses, values)`: a loss for each player, the mean over this replica's
            part of the batch, and all that `step_values` names.
        """
        raise NotImplementedError

    def test_losses(self, batch: dict, seed: tf.Tensor) -> tuple[dict, dict]:
        """The same for a test, with all that `values` names."""
        return self.step_losses(batch, seed)

    def merit(self, values: Mapping[str, float]) -> float:
        """What chooses the best checkpoint, the larger the better.

        Args:
            values: `loss` and all that `values` names, on validation images.
        """
        return -values["loss"]

    def describe_collapse(self, values: Mapping[str, float]) -> list[str]:
        """Warnings in words of a training that has gone astray, by its values.

        Args:
            values: all that `values` names, on test or validation images.
        """
        return []

    def place_codes(
        self, features: Mapping, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Codes as they are held against `code_prior`, `[N, D]` in its support.

        Args:
            features: `prior_features` of images, by their names.
            seed: two integers, where codes are drawn.
        """
        return self.code_prior.squash(tf.cast(features["code"], tf.float32))

    def after_updates(self) -> None:
        """Called when all players of a step are updated."""

    def describe(self) -> dict:
        """What this very model is, for the model card."""
        return {"networks": {r: n.count_params() for r, n in self.networks.items()}}

    def list_critics(self) -> tuple:
        """(name, feature of x, feature of y, critic) of all critics of pairs."""
        return ()

    @property
    def step_values(self) -> tuple[str, ...]:
        return tuple(self.values)

    @property
    def shown(self) -> tuple[str, ...]:
        """Those of them that the line of progress shows."""
        return self.step_values or ("loss",)

    @property
    def takes(self) -> dict[str, keras.KerasTensor]:
        return {IMAGES: self.networks["encoder"].input}

    # What is the same for all.

    @property
    def _evaluated(self) -> keras.Model:
        return self.networks.get("average", self.networks["encoder"])

    @property
    def encoder(self) -> keras.Model:
        """The encoder to evaluate, embed with and export."""
        return self.whole_encoder or self._evaluated

    @property
    def metrics(self) -> list[keras.Metric]:
        return list(self._trackers.values())

    def variables_of(self, player: str) -> list:
        """What a player's optimizer trains."""
        return [
            variable
            for role in self.players[player]
            for variable in self.networks[role].trainable_variables
        ]

    def build(self, input_shape: object = None) -> None:
        """Everything is built in the constructor."""

    def call(
        self, images: tf.Tensor, training: bool | None = None
    ) -> dict[str, tf.Tensor]:
        """The features of a batch of images, by the encoder to evaluate."""
        return self.encoder(images, training=training)

    def predict_step(self, data: object) -> dict[str, tf.Tensor]:
        batch = as_batch(data, {IMAGES: self.encoder.input})
        return self(batch[IMAGES], training=False)

    def compile(self, optimizer: object = "adam", **kwargs: object) -> None:
        """Sets the optimizers and creates their variables.

        Args:
            optimizer: player -> optimizer; or one, of which each player gets a copy.
            **kwargs: `jit_compile`, `steps_per_execution`, `run_eagerly`;
                `skip_faulty`: whether a step whose losses or gradients are not finite
                leaves all weights as they are. An optimizer that scales its loss looks
                at its own gradients, whatever is said here.

        Raises:
            TypeError: if anything else is given, which would have no effect.
        """
        unknown = [name for name in kwargs if name not in _COMPILED]
        if unknown:
            raise TypeError(
                f"compile takes optimizer (one, or one for each of "
                f"{', '.join(self.players)}), {', '.join(_COMPILED)}: losses and "
                f"metrics are the objective's own. Received: {', '.join(unknown)}."
            )
        self.skip_faulty = bool(kwargs.pop("skip_faulty", False))
        if self.skip_faulty and count_replicas() > 1:
            raise ValueError(
                "skip_faulty is for one device: under a distribution strategy an "
                "update cannot depend on the gradients."
            )
        optimizers = self._optimizers_of(optimizer)
        first = next(iter(self.players))
        super().compile(optimizer=optimizers[first], auto_scale_loss=False, **kwargs)
        self.optimizers = optimizers
        self._trackers = {
            name: keras.metrics.Mean(name=name, dtype="float32")
            for name in dict.fromkeys(("loss", *self.step_values, *self.values))
        }
        for player, each in optimizers.items():
            each.build(self.variables_of(player))

    def _optimizers_of(self, given) -> dict[str, keras.optimizers.Optimizer]:
        if not isinstance(given, Mapping):
            config = keras.optimizers.serialize(keras.optimizers.get(given))
            first, *others = self.players
            given = {first: given} | {p: dict(config) for p in others}
        if set(given) != set(self.players):
            raise ValueError(
                f"optimizer must have one for each of {', '.join(self.players)}. "
                f"Received: {', '.join(given) or 'none'}."
            )
        return {
            p: self._scaled(p, keras.optimizers.get(given[p])) for p in self.players
        }

    def _scaled(self, player: str, optimizer):
        """With its loss scaled where float16 would lose small gradients."""
        roles = self.players[player]
        halves = any(computes_in_half(self.networks[role]) for role in roles)
        wrapped = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        if not halves or wrapped:
            return optimizer
        return keras.optimizers.LossScaleOptimizer(optimizer)

    def _run(self, function: Callable, batch: dict, seed, training: bool):
        return _AsLayer(function)(batch, seed=seed, training=training)

    def _as_batch(self, data, asks: Iterable[str], seed: tf.Tensor) -> dict:
        """A batch by names, with views of its own making where it is whole images."""
        if self.views == "pairs":  # of two sets, which come as two views
            return as_batch(data, self.takes, asks)
        own = tf.random.fold_in(seed, _OF_VIEWS, alg="philox")
        make = partial(VIEWS[self.views], names=self.augment, seed=own)
        return as_batch(data, self.takes, asks, make, self.encoder.input)

    def train_step(self, data: object) -> dict[str, tf.Tensor]:
        seed = tf.stack([tf.constant(self.seed, tf.int64), self.step.value])
        batch = self._as_batch(data, self.asks, seed)
        self._check_static(batch)
        values, fine = {}, []
        for number, players in enumerate(self.rounds or (tuple(self.players),)):
            own = tf.random.fold_in(seed, -number, alg="philox") if number else seed
            reported, done = self._update(players, batch, own)
            values |= reported
            fine.append(done)
        self._require(self.step_values, values)
        self._update_average()
        self.after_updates()
        self.step.assign_add(1)
        return self._track(values, tf.reduce_all(fine) if self.skip_faulty else None)

    def _update(self, players: Sequence[str], batch: dict, seed) -> tuple:
        """Moves these players' networks: what is reported, whether all was finite."""
        replicas = count_replicas()
        with tf.GradientTape(persistent=len(players) > 1) as tape:
            outcome = self._run(self.step_losses, batch, seed, training=True)
            losses, values = self._check_outcome(outcome, players)
            # Gradients are summed over the replicas, each of which counts its part as
            # the whole batch.
            scaled = {
                player: self.optimizers[player].scale_loss(
                    self._regularized(player, losses[player]) / replicas
                )
                for player in players
            }
        updates = {}
        for player in players:
            variables = self.variables_of(player)
            updates[player] = (tape.gradient(scaled[player], variables), variables)
        fine = self._apply_all(updates, [losses[player] for player in players])
        return self._reported(losses, values), fine

    def _apply_all(self, updates: dict[str, tuple[list, list]], losses: list):
        """All players' steps; none of them where one is faulty and to be skipped."""

        def apply():
            for player, update in updates.items():
                self._apply(player, *update)

        watched = [*losses]
        if self.skip_faulty:
            scaling = keras.optimizers.LossScaleOptimizer
            watched += [
                gradient
                for player, (gradients, _) in updates.items()
                if not isinstance(self.optimizers[player], scaling)
                for gradient in gradients
                if gradient is not None
            ]
        fine = self.faults.note(self.step.value, watched)
        if self.skip_faulty:
            tf.cond(fine, lambda: (apply(), True)[1], lambda: False)
        else:
            apply()
        return fine

    def _apply(self, player: str, gradients: list, variables: list) -> None:
        """The optimizer's step, of which slow weights go a part."""
        slow = [(v, tf.identity(v)) for v in variables if id(v) in self._slow]
        self.optimizers[player].apply(gradients, variables)
        for variable, before in slow:
            share = tf.cast(self.slow_rate, variable.dtype)
            variable.assign(before + share * (variable - before))

    def _check_outcome(self, outcome, players: Sequence[str]) -> tuple[dict, dict]:
        """What a step has returned; refuses what is no losses and values."""
        name = f"{type(self).__name__}.step_losses"
        pair = isinstance(outcome, tuple | list) and len(outcome) == 2
        if not pair or not all(isinstance(part, Mapping) for part in outcome):
            kind = type(outcome).__name__
            raise ValueError(
                f"{name} must return ({{player: loss}}, {{value: number}}). Received: "
                f"a {kind}."
            )
        losses, values = outcome
        missing = [player for player in players if player not in losses]
        if missing:
            raise ValueError(
                f"{name} must give a loss for each player. "
                f"Missing: {', '.join(missing)}; received: {', '.join(losses)}."
            )
        for given, number in {**losses, **values}.items():
            if len(tf.convert_to_tensor(number).shape) > 0:
                raise ValueError(
                    f"{name} must give single numbers. Received: {given} of shape "
                    f"{list(number.shape)}."
                )
        return losses, values

    def _regularized(self, player: str, loss):
        """The loss with what the player's networks add to it."""
        added = [
            each for role in self.players[player] for each in self.networks[role].losses
        ]
        return loss + tf.add_n(added) if added else loss

    def _reported(self, losses: dict, values: dict) -> dict:
        return {**values, "loss": losses[next(iter(self.players))]}

    def measure(self, data: object) -> dict[str, tf.Tensor]:
        """`loss` and all that `values` names of a batch, in inference mode."""
        seed = tf.constant([self.seed, -1], tf.int64)
        # Which training images these are is nothing that test images could tell.
        batch = self._as_batch(data, self.asks - {INDEX}, seed)
        outcome = self._run(self.test_losses, batch, seed, training=False)
        losses, values = self._check_outcome(outcome, self.players)
        self._require(self.values, values)
        return self._reported(losses, values)

    def _require(self, names: Iterable[str], values: Mapping) -> None:
        """Refuses values that are promised and not there."""
        missing = [name for name in names if name not in values]
        if missing:
            raise ValueError(
                f"{type(self).__name__} does not report {', '.join(missing)}, which "
                f"its `values` or `step_values` name. Received: "
                f"{', '.join(values) or 'none'}."
            )

    def test_step(self, data: object) -> dict[str, tf.Tensor]:
        return self._track(self.measure(data))

    def _track(self, values: dict, counts: tf.Tensor | None = None) -> dict:
        """The running means, in which these values count unless `counts` is false."""
        unknown = [name for name in values if name not in self._trackers]
        if unknown:
            raise ValueError(
                f"{type(self).__name__} reports {', '.join(unknown)}, which neither "
                "its `values` nor its `step_values` name."
            )
        if self.shares_values:
            values = mean_over_replicas(values)
        for name, value in values.items():
            weight = None
            if counts is not None:
                weight = tf.cast(counts, tf.float32)
                value = tf.where(counts, value, 0.0)
            self._trackers[name].update_state(value, sample_weight=weight)
        return {name: self._trackers[name].result() for name in values}

    def _check_static(self, batch: dict) -> None:
        """Under a strategy a last smaller batch would weigh as much as a full one."""
        for view in self.takes:
            if count_replicas() > 1 and batch[view].shape[0] is None:
                raise ValueError(
                    "under a distribution strategy batches need a static size: "
                    "batch(..., drop_remainder=True). Received: "
                    f"{view} {list(batch[view].shape)}."
                )

    def _update_average(self) -> None:
        if not self.ema:
            return
        share = share_of_newest(self.ema, self.step.value + 1)
        pairs = zip(
            self.networks["average"].variables,
            self.networks["encoder"].variables,
            strict=True,
        )
        move_averages(pairs, share)

    def state(self) -> dict[str, keras.Variable]:
        """Everything a step reads or changes, by name.

        Networks, step and seeds, all optimizers, and the running means of the metrics,
        so that even the row of a divided epoch comes out the same. A name says the
        role, the place in it and what it is: `encoder/003/kernel`,
        `optimizer/encoder/003/kernel/momentum`. Names that Keras makes up are not in
        it: they count what a process has built before.
        """
        names = {id(self.step): STEP}
        for role, network in self.networks.items():
            _name_all(names, role, network.variables)
        _name_all(names, "objective", self.variables)
        parts = list(self.variables)
        for player, optimizer in self.optimizers.items():
            first = player == next(iter(self.players))
            role = "optimizer" if first else f"{player}_optimizer"
            names |= _name_slots(role, optimizer, self.variables_of(player), names)
            _name_all(names, role, optimizer.variables)
            parts += optimizer.variables
        means = [self._trackers[name] for name in ("loss", *self.step_values)]
        means = [variable for metric in means for variable in metric.variables]
        _name_all(names, "metrics", means)
        parts += means
        return {names[id(variable)]: variable for variable in parts}

    def get_config(self) -> dict:
        """Networks and the options of the base; others add their own to it."""
        serialize = keras.saving.serialize_keras_object
        networks = {
            role: serialize(network)
            for role, network in self.networks.items()
            if role != "average"
        }
        return {**self._base_config(), "networks": networks}

    def _base_config(self) -> dict:
        """The options of every objective."""
        return {
            "name": self.name,
            "front": self.front and keras.saving.serialize_keras_object(self.front),
            "seed": self.seed,
            "ema": self.ema,
            "views": self.views,
            "augment": self.augment,
            "slow_layers": self.slow_layers,
            "slow_rate": self.slow_rate,
        }

    @classmethod
    def from_config(cls, config: dict) -> "Objective":
        deserialize = keras.saving.deserialize_keras_object
        networks = {r: deserialize(n) for r, n in config["networks"].items()}
        front = config["front"] and deserialize(config["front"])
        return cls(**{**config, "networks": networks, "front": front})

    def get_compile_config(self) -> dict:
        serialize = keras.saving.serialize_keras_object
        return {
            "optimizer": {p: serialize(o) for p, o in self.optimizers.items()},
            "jit_compile": self.jit_compile,
            "steps_per_execution": self.steps_per_execution,
            "skip_faulty": self.skip_faulty,
        }

    def compile_from_config(self, config: dict) -> None:
        deserialize = keras.saving.deserialize_keras_object
        optimizers = {p: deserialize(o) for p, o in config["optimizer"].items()}
        self.compile(**{**config, "optimizer": optimizers})


def _check_views(views: str, augment: Sequence[str]) -> None:
    for name, given, known in (
        ("views", (views,), VIEWS),
        ("augment", augment, AUGMENTATIONS),
    ):
        wrong = [each for each in given if each not in known]
        if wrong:
            raise ValueError(
                f"{name} must be of {', '.join(known)}. Received: {wrong[0]!r}."
            )


def trained_up_to(network: keras.Model, last: str) -> frozenset[int]:
    """The ids of the variables that are trained up to the layer of this name.

    Args:
        network: whose layers, or those of a network within, have such a name.
        last: of the layer; "" gives none.

    Raises:
        ValueError: if there is no such layer, or nothing is trained up to it.
    """
    if not last:
        return frozenset()
    within = list(network._flatten_layers())
    for model in (each for each in within if isinstance(each, keras.Model)):
        names = [layer.name for layer in model.layers]
        if last not in names:
            continue
        lower = model.layers[: names.index(last) + 1]
        found = {id(v) for layer in lower for v in layer.trainable_variables}
        if found:
            return frozenset(found)
        raise ValueError(f"slow_layers={last!r}: no weights up to there are trained.")
    names = [layer.name for layer in within if layer._trainable_variables]
    close = difflib.get_close_matches(last, names, n=3) or names[:3]
    raise ValueError(
        f"slow_layers must name a layer of the encoder, as {', '.join(close)} are. "
        f"Received: {last!r}."
    )


def move_averages(pairs: Iterable[tuple], share: object) -> None:
    """Moves averages a share of the way to their variables; only numbers that are real.

    Args:
        pairs: (average, variable).
        share: of the newest value.
    """
    for average, variable in pairs:
        if variable.dtype.startswith(("float", "bfloat")):
            moved = tf.cast(share, variable.dtype) * (variable - average)
            average.assign(average + moved)


def computes_in_half(network: keras.layers.Layer) -> bool:
    """Whether a layer that has weights of its own computes in float16."""
    return any(
        layer.compute_dtype == "float16" and layer._trainable_variables
        for layer in network._flatten_layers()
    )


def _name_all(names: dict, role: str, variables) -> None:
    """Names those that have no name yet, by their place."""
    for place, variable in enumerate(variables):
        names.setdefault(id(variable), f"{role}/{place:03d}/{variable.name}")


def _name_slots(role: str, optimizer, trained: list, names: dict) -> dict[int, str]:
    """Names of what an optimizer keeps of each variable, after that variable's."""
    waiting: dict[str, list[str]] = {}
    for variable in trained:
        kept = variable.path.replace("/", "_")
        for kind in _SLOTS:
            slots = waiting.setdefault(f"{kept}_{kind}", [])
            slots.append(f"{role}/{names[id(variable)]}/{kind}")
    return {
        id(slot): waiting[slot.name].pop(0)
        for slot in optimizer.variables
        if waiting.get(slot.name)
    }
