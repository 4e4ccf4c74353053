"""InfoMax: maximize a weighted sum of bounds between named features."""

import math
from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from tf_infomax.objectives.base import Objective, Value
from tf_infomax.objectives.batches import IMAGES, INDEX
from tf_infomax.objectives.memory import MemoryBank
from tf_infomax.objectives.negatives import NEGATIVES
from tf_infomax.objectives.occlusion import check_block, encode_occluded
from tf_infomax.objectives.prior_matching import PriorMatching
from tf_infomax.objectives.priors import Prior
from tf_infomax.objectives.replicas import fold_images
from tf_infomax.objectives.tasks import Task
from tf_infomax.objectives.terms import Term, split_side, take_feature

# Tell the draws of parts of a step apart, and from those of its views.
_OF_MEMORY, _OF_OCCLUSION, _OF_TASKS = 1, 8, 16
_WHOLE = "whole images (trained with occluded ones)"


def _role_of(view: str) -> str:
    """The role of the encoder of a view that has one of its own."""
    return f"encoder_{view}"


def _by_role(tasks: Sequence[Task]) -> dict[str, Task]:
    """Tasks by their roles; refuses two of one name."""
    found = {f"task_{task.name}": task for task in tasks}
    if len(found) < len(tasks):
        names = ", ".join(task.name for task in tasks)
        raise ValueError(f"each task needs a name of its own. Received: {names}.")
    return found


@keras.saving.register_keras_serializable("tf_infomax")
class InfoMax(Objective):
    """max_E sum_k weight_k I_k(x_k; y_k) - gamma * prior loss.

    Global and local Deep InfoMax, multi-view InfoMax and their relatives are tables of
    terms (Hjelm et al. 2019, eq. 8; Tschannen et al. 2020, eq. 1). Each view that a
    term names is encoded once. Under a distribution strategy every replica scores the
    pairs of the whole global batch, so that the summed gradient is the single-device
    one. The players are "encoder" (with the critics) and, with a prior that has a
    discriminator, "prior".

    Args:
        encoder: a model from uint8 images to a dict of features.
        view_encoders: encoders of single views, by name; all other views have
            `encoder`. An average (`ema`) is that of `encoder` alone.
        terms: the table, or its only term.
        tasks: what else is to be told from features; each has a name of its own.
        occlude: height and width in pixels of a block, of which one at least is hidden
            and one visible in each image whose code is trained; all other features, and
            those of tests, are of whole images. None: so are these codes.
        prior: matches `code` of view "x" to a prior; its name; or None.
        gamma: weight of the prior term.
        memory: the bank of terms whose negatives are "memory"; their batches also hold
            `index`, which images they are.
        **kwargs: `seed`, `ema` and `front` of `Objective`.
    """

    def __init__(
        self,
        encoder: keras.Model,
        terms: Sequence[Term],
        prior: PriorMatching | None = None,
        gamma: float = 0.0,
        view_encoders: dict[str, keras.Model] | None = None,
        memory: MemoryBank | None = None,
        tasks: Sequence[Task] = (),
        occlude: tuple[int, int] | None = None,
        **kwargs: object,
    ):
        terms = (terms,) if isinstance(terms, Term) else tuple(terms)
        prior = PriorMatching(prior) if isinstance(prior, str) else prior
        critics = list({id(term.critic): term.critic for term in terms}.values())
        networks = {
            "encoder": encoder,
            **{_role_of(view): each for view, each in (view_encoders or {}).items()},
            **{f"critic_{place}": critic for place, critic in enumerate(critics)},
            **_by_role(tasks),
        }
        players = {"encoder": tuple(networks)}
        if prior is not None:
            networks["prior"] = prior
            players |= prior.players
        if memory is not None:
            networks["memory"] = memory
        super().__init__(networks, **kwargs)
        self.terms, self.tasks = terms, tuple(tasks)
        self.players, self.gamma = players, gamma
        self.occlude = occlude and tuple(occlude)
        self.asks = frozenset({INDEX} if memory is not None else ())
        self._build_parts(view_encoders or {})
        self.values = self._list_values()

    @property
    def prior(self) -> PriorMatching | None:
        return self.networks.get("prior")

    @property
    def code_prior(self) -> Prior | None:
        return self.prior and self.prior.distribution

    @property
    def memory(self) -> MemoryBank | None:
        return self.networks.get("memory")

    @property
    def step_values(self) -> tuple[str, ...]:
        """Each term, what the tasks report, and the two losses of the prior."""
        names = tuple(term.name for term in self.terms)
        names += tuple(name for task in self.tasks for name in task.values)
        return names + (tuple(self.prior.loss_values) if self.prior else ())

    @property
    def shown(self) -> tuple[str, ...]:
        return tuple(term.name for term in self.terms)

    @property
    def takes(self) -> dict[str, keras.KerasTensor]:
        """The views that terms and tasks name, sorted."""
        return {view: self._encoder_of(view).input for view in self._views}

    @property
    def _views(self) -> list[str]:
        sides = [side for _, sides in self._named_sides for side in sides]
        return sorted({split_side(side)[0] for side in sides})

    @property
    def _named_sides(self) -> list[tuple[str, tuple[str, ...]]]:
        """What each term and each task is called, and the features that it needs."""
        found = [(f"term {term.name!r}", (term.x, term.y)) for term in self.terms]
        return found + [(f"task {task.name!r}", task.sides) for task in self.tasks]

    def _encoder_of(self, view: str) -> keras.Model:
        """The encoder that is trained on this view."""
        return self.networks.get(_role_of(view), self.networks["encoder"])

    def _shape_of(self, side: str) -> tuple:
        view, name = split_side(side)
        return self._encoder_of(view).output[name].shape

    def _build_parts(self, view_encoders: dict) -> None:
        """Builds critics, discriminator and memory, so that every weight exists.

        An outer model that is not really built loses optimizer state on reload,
        without an error.
        """
        unknown = set(view_encoders) - set(self._views)
        if unknown:
            raise ValueError(
                f"view_encoders names {', '.join(sorted(unknown))}, but the terms have "
                f"only the views {', '.join(self._views)}."
            )
        for name, sides in self._named_sides:
            self._check_sides(name, sides)
        check_block(self.occlude, self.takes)
        for term in self.terms:
            if not term.critic.built:
                term.critic.build((self._shape_of(term.x), self._shape_of(term.y)))
        if self.prior is not None and not self.prior.built:
            self.prior.build(self._shape_of("x.code"))
        if (self.memory is not None) != bool(self._remembered):
            raise ValueError(
                "a memory goes with terms whose negatives are 'memory'. Received: "
                f"memory={self.memory}, negatives="
                f"{', '.join(term.negatives for term in self.terms)}."
            )
        if self.memory is not None and not self.memory.built:
            self.memory.build(
                {v: self._shape_of(f"{v}.{name}")[-1] for v, name in self._remembered}
            )
        for task in self.tasks:
            if not task.built:
                task.build({side: self._shape_of(side) for side in task.sides})

    def _check_sides(self, owner: str, sides: Sequence[str]) -> None:
        """Refuses features that the encoders do not give."""
        for side in sides:
            view, name = split_side(side)
            outputs = self._encoder_of(view).output
            if name not in outputs:
                raise ValueError(
                    f"{owner} names {side!r}, but the encoder gives only: "
                    f"{', '.join(sorted(outputs))}."
                )

    @property
    def _remembered(self) -> list[tuple[str, str]]:
        """(view, feature) of the terms with a memory, each view once."""
        sides = [
            split_side(side)
            for term in self.terms
            if term.negatives == "memory"
            for side in (term.x, term.y)
        ]
        return sorted(set(sides))

    def _list_values(self) -> dict[str, Value]:
        """Every reading, by "kind/name", what tasks report, and the prior's losses."""
        values = {}
        for term in self.terms:
            locations = math.prod(self._shape_of(term.x)[1:-1])
            for reading in term.readings():
                values[reading.key] = Value(
                    kind=reading.kind,
                    measures=reading.measures,
                    ceiling=lambda n, r=reading, k=locations: r.ceiling(n, k),
                    chance=reading.row.chance,
                    facts={
                        "bound": reading.bound_name,
                        "negatives": reading.negatives,
                        "pooled": reading.pooled,
                        "objective": reading.key == term.assessed().key,
                    },
                )
        for task in self.tasks:
            values |= task.values
        values |= self.prior.loss_values if self.prior else {}
        if not self.occlude:
            return values
        return {
            name: each._replace(facts={**each.facts, "codes_of": _WHOLE})
            for name, each in values.items()
        }

    def _encode(self, batch: dict, seed=None) -> dict[str, dict[str, tf.Tensor]]:
        """view -> feature -> tensor; training has a seed, and codes may be occluded."""
        if not self.occlude or seed is None:
            return {view: self._encoder_of(view)(batch[view]) for view in self._views}
        features = {}
        for place, view in enumerate(self._views):
            own = tf.random.fold_in(seed, _OF_OCCLUSION + place, alg="philox")
            images, encoder = batch[view], self._encoder_of(view)
            features[view] = encode_occluded(encoder, images, self.occlude, own)
        return features

    def step_losses(
        self, batch: Mapping[str, tf.Tensor], seed: tf.Tensor
    ) -> tuple[dict, dict]:
        features, values, loss = self._encode(batch, seed), {}, 0.0
        for term in self.terms:
            x, y = (take_feature(side, features) for side in (term.x, term.y))
            if term.negatives == "memory":
                views = [split_side(side)[0] for side in (term.x, term.y)]
                # Of its own stream: the same bits would draw the prior's samples.
                own = tf.random.fold_in(seed, _OF_MEMORY, alg="philox")
                value = self.memory.value(term.critic, x, y, views, batch[INDEX], own)
            else:
                embedded = term.critic.embed(x, y, training=True)
                value = NEGATIVES[term.negatives].value(term, *embedded)
            values[term.name] = value
            loss += term.loss(value)
        if self.memory is not None:
            codes = {view: features[view][name] for view, name in self._remembered}
            self.memory.remember(codes, batch[INDEX])
        return self._with_others(loss, values, features, seed, seed)

    def test_losses(
        self, batch: Mapping[str, tf.Tensor], seed: tf.Tensor
    ) -> tuple[dict, dict]:
        """A term's own value stands under its name, its readings beside it."""
        features, values, loss = self._encode(batch), {}, 0.0
        for term in self.terms:
            x, y = (take_feature(side, features) for side in (term.x, term.y))
            readings = term.read(*term.critic.embed(x, y, training=False))
            value = readings[term.assessed().key]
            values |= readings | {term.name: value}
            loss += term.loss(value)
        of_tasks = fold_images(seed, batch[self._views[0]]) if self.tasks else seed
        return self._with_others(loss, values, features, seed, of_tasks)

    def _with_others(self, loss, values, features, seed, of_tasks) -> tuple[dict, dict]:
        """With the tasks, which have a seed of their own, and the prior."""
        for place, task in enumerate(self.tasks):
            sides = {side: take_feature(side, features) for side in task.sides}
            own = tf.random.fold_in(of_tasks, _OF_TASKS + place, alg="philox")
            task_loss, found = task(sides, own)
            loss += task.weight * task_loss
            values |= found
        if self.prior is None:
            return {"encoder": loss}, values
        losses, found = self.prior.match(features[IMAGES]["code"], seed)
        loss += self.gamma * losses["encoder"]
        return losses | {"encoder": loss}, values | found

    def merit(self, values: Mapping[str, float]) -> float:
        """Of the terms alone: tasks and the prior are means."""
        return -sum(float(t.loss(values[t.assessed().key])) for t in self.terms)

    def describe(self) -> dict:
        terms = {
            term.name: {
                "x": term.x,
                "y": term.y,
                "critic": term.critic.kind,
                "bound": term.bound_name,
                "negatives": term.negatives,
                "negative_options": dict(term.negative_options),
                "weight": term.weight,
                "target": term.target,
            }
            for term in self.terms
        }
        return {
            **super().describe(),
            "terms": terms,
            "bound": ", ".join(dict.fromkeys(each["bound"] for each in terms.values())),
            "critics": {name: each["critic"] for name, each in terms.items()},
            "tasks": {task.name: task.describe() for task in self.tasks},
            "occluded_block": self.occlude and list(self.occlude),
            **(self.prior.describe() if self.prior else {"prior": None}),
        }

    def list_critics(self) -> tuple[tuple, ...]:
        found = {}
        for term in self.terms:
            features = (split_side(side)[1] for side in (term.x, term.y))
            found.setdefault(id(term.critic), (term.name, *features, term.critic))
        return tuple(found.values())

    def get_config(self) -> dict:
        serialize = keras.saving.serialize_keras_object
        return {
            **self._base_config(),
            "encoder": serialize(self.networks["encoder"]),
            "terms": [term.get_config() for term in self.terms],
            "tasks": [serialize(task) for task in self.tasks],
            "prior": self.prior and serialize(self.prior),
            "memory": self.memory and serialize(self.memory),
            "gamma": self.gamma,
            "occlude": self.occlude,
            "view_encoders": {
                view: serialize(self.networks[_role_of(view)])
                for view in self._views
                if _role_of(view) in self.networks
            },
        }

    @classmethod
    def from_config(cls, config: dict) -> "InfoMax":
        deserialize = keras.saving.deserialize_keras_object
        parts = {
            name: config[name] and deserialize(config[name])
            for name in ("encoder", "prior", "front", "memory")
        }
        parts["terms"] = [Term.from_config(each) for each in config["terms"]]
        parts["tasks"] = [deserialize(each) for each in config.get("tasks", ())]
        parts["view_encoders"] = {
            view: deserialize(each) for view, each in config["view_encoders"].items()
        }
        return cls(**{**config, **parts})
