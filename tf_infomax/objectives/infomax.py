"""InfoMax: maximize a weighted sum of bounds between named features."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tf_infomax.objectives.memory import MemoryBank
from tf_infomax.objectives.negatives import NEGATIVES, gather
from tf_infomax.objectives.prior_matching import PriorMatching
from tf_infomax.objectives.terms import Term
from tf_infomax.optimizers import share_of_newest


def put_front(front: keras.Model | None, encoder: keras.Model) -> keras.Model:
    """The encoder of whole images, given the model that makes its part of one."""
    if front is None:
        return encoder
    return keras.Model(front.input, encoder(front.output), name=encoder.name)


@keras.saving.register_keras_serializable("tf_infomax")
class InfoMax(keras.Model):
    """max_E sum_k weight_k I_k(x_k; y_k) - gamma * prior loss.

    Global and local Deep InfoMax, multi-view InfoMax and their relatives are tables of
    terms (Hjelm et al. 2019, eq. 8; Tschannen et al. 2020, eq. 1). The batch is a dict
    of views, `{"x": uint8 [N, H, W, C], ...}`; each view that a term names is encoded
    once. Under a distribution strategy every replica scores the pairs of the whole
    global batch and the loss is divided by the number of replicas, so that the summed
    gradient is the single-device one.

    Args:
        encoder: a model from uint8 images to a dict of features.
        view_encoders: encoders of single views, by name; all other views have
            `encoder`. An average (`ema`) is that of `encoder` alone.
        terms: the table.
        prior: matches `code` of view "x" to a prior, or None.
        gamma: weight of the prior term.
        seed: seed of the draws from the prior.
        ema: decay of an exponential moving average of the encoder (0: none), of the
            weights after each step and not of the initial ones, statistics of batch
            norm included. With it `.encoder` is the average and `.online_encoder` the
            one that is trained.
        front: a model from a whole image to view "x", where that is a part of it: then
            `.encoder` takes whole images.
        memory: the bank of terms whose negatives are "memory"; their batches also hold
            `index`, which images they are.
    """

    def __init__(
        self,
        encoder: keras.Model,
        terms: Sequence[Term],
        prior: PriorMatching | None = None,
        gamma: float = 0.0,
        seed: int = 0,
        ema: float = 0.0,
        view_encoders: dict[str, keras.Model] | None = None,
        front: keras.Model | None = None,
        memory: MemoryBank | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.online_encoder = encoder
        self.view_encoders = dict(view_encoders or {})
        self.terms = tuple(terms)
        self.critics = list({id(t.critic): t.critic for t in self.terms}.values())
        self.prior, self.gamma, self.seed, self.ema = prior, gamma, seed, ema
        self.averaged_encoder = None
        if ema:
            self.averaged_encoder = keras.models.clone_model(encoder)
            self.averaged_encoder.set_weights(encoder.get_weights())
            self.averaged_encoder.trainable = False
        self.front, self.memory, self.whole_encoder = front, memory, None
        if front is not None:
            self.whole_encoder = put_front(front, self.averaged_encoder or encoder)
        self._trackers = {
            name: keras.metrics.Mean(name=name, dtype="float32")
            for name in (*self.value_names, *self.reading_names)
        }
        # Of its own, since a loss-scaling optimizer skips counts; it seeds the draws.
        self.step = self.add_weight(
            shape=(),
            dtype="int64",
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
            name="step",
        )
        self._build_parts()

    @property
    def encoder(self) -> keras.Model:
        """The encoder to evaluate, embed with and export."""
        return self.whole_encoder or self.averaged_encoder or self.online_encoder

    def _encoder_of(self, view: str) -> keras.Model:
        """The encoder that is trained on this view."""
        return self.view_encoders.get(view, self.online_encoder)

    @property
    def value_names(self) -> list[str]:
        """What a step reports: the loss, each term, the two losses of the prior."""
        names = ["loss", *(term.name for term in self.terms)]
        return names + (["prior/encoder", "prior/discriminator"] if self.prior else [])

    @property
    def reading_names(self) -> list[str]:
        """What a test reports beside: every reading, by "kind/name"."""
        return [each.key for term in self.terms for each in term.readings()]

    @property
    def metrics(self):
        return list(self._trackers.values())

    @property
    def training_metrics(self) -> list[keras.metrics.Mean]:
        """The running means that training steps change."""
        return [self._trackers[name] for name in self.value_names]

    @property
    def views(self) -> list[str]:
        """The views that the terms name, sorted."""
        sides = [side for term in self.terms for side in (term.x, term.y)]
        return sorted({side.split(".")[0] for side in sides})

    def _build_parts(self):
        """Builds critics and discriminator, so that every weight exists from here on.

        An outer model that is not really built loses optimizer state on reload,
        without an error.
        """
        unknown = set(self.view_encoders) - set(self.views)
        if unknown:
            raise ValueError(
                f"view_encoders names {', '.join(sorted(unknown))}, but the terms have "
                f"only the views {', '.join(self.views)}."
            )
        for term in self.terms:
            shapes = []
            for side in (term.x, term.y):
                view, name = side.split(".")
                outputs = self._encoder_of(view).output
                if name not in outputs:
                    raise ValueError(
                        f"term {term.name!r} names {side!r}, but the encoder gives "
                        f"only: {', '.join(sorted(outputs))}."
                    )
                shapes.append(outputs[name].shape)
            if not term.critic.built:
                term.critic.build(tuple(shapes))
        if self.prior is not None and not self.prior.built:
            self.prior.build(self._encoder_of("x").output["code"].shape)
        if (self.memory is not None) != bool(self._sides_to_remember):
            raise ValueError(
                "a memory goes with terms whose negatives are 'memory'. Received: "
                f"memory={self.memory}, negatives="
                f"{', '.join(term.negatives for term in self.terms)}."
            )
        if self.memory is not None and not self.memory.built:
            self.memory.build(
                {
                    view: self._encoder_of(view).output[name].shape[-1]
                    for view, name in self._sides_to_remember
                }
            )
        self.built = True

    @property
    def _sides_to_remember(self) -> list[tuple[str, str]]:
        """(view, feature) of the terms with a memory, each view once."""
        sides = [
            side.split(".")
            for term in self.terms
            if term.negatives == "memory"
            for side in (term.x, term.y)
        ]
        return sorted({(view, name) for view, name in sides})

    def build(self, input_shape=None):
        """Everything is built in the constructor."""

    def compile(self, optimizer, prior_optimizer=None, **kwargs):
        """Sets the optimizers and creates their variables.

        Args:
            optimizer: of the encoder and the critics.
            prior_optimizer: of the discriminator; needed if there is a prior.
            **kwargs: `jit_compile`, `steps_per_execution`, `run_eagerly`.
        """
        if (self.prior is None) != (prior_optimizer is None):
            raise ValueError(
                "prior_optimizer is needed with a prior and meaningless without. "
                f"Received: prior={self.prior}, prior_optimizer={prior_optimizer}."
            )
        super().compile(optimizer=optimizer, **kwargs)
        self.prior_optimizer = (
            keras.optimizers.get(prior_optimizer) if self.prior else None
        )
        self.optimizer.build(self.encoder_and_critic_variables)
        if self.prior is not None:
            self.prior_optimizer.build(self.prior.trainable_variables)

    @property
    def encoder_and_critic_variables(self) -> list:
        parts = [self.online_encoder, *self.view_encoders.values(), *self.critics]
        return [v for part in parts for v in part.trainable_variables]

    def call(self, images, training=False):
        """The features of a batch of images, by the encoder to evaluate."""
        return self.encoder(images, training=training)

    def losses_and_values(self, views: dict, seed: tf.Tensor, training: bool):
        """The mathematics of a step.

        Args:
            views: name -> uint8 images of this replica.
            seed: two integers.
            training: whether batch norm uses the batch's statistics.

        Returns:
            `(loss, discriminator_loss, values)`: the encoder's and critics' loss, the
            discriminator's (0 without a prior), and the value of every metric. A term's
            own value stands under its name; outside of training all that can be read
            off its scores stands beside it, by kind (see `terms`).
        """
        features = {
            name: self._encoder_of(name)(views[name], training=training)
            for name in self.views
        }

        def feature(side: str):
            view, name = side.split(".")
            return features[view][name]

        loss, values = 0.0, {}
        for term in self.terms:
            x, y = feature(term.x), feature(term.y)
            if term.negatives == "memory" and training:
                names = [side.split(".")[0] for side in (term.x, term.y)]
                # Of its own stream: the same bits would draw the prior's samples.
                own = tf.random.fold_in(seed, 1, alg="philox")
                value = self.memory.value(term.critic, x, y, names, views["index"], own)
            else:
                hx, hy = term.critic.embed(x, y, training=training)
                if training:
                    value = NEGATIVES[term.negatives].value(term, hx, hy)
                else:
                    readings = term.read(hx, hy)
                    values |= readings
                    value = readings[term.assessed().key]
            values[term.name] = value
            loss += term.loss(value)
        if training and self.memory is not None:
            codes = {v: features[v][name] for v, name in self._sides_to_remember}
            self.memory.remember(codes, views["index"])
        discriminator_loss = tf.constant(0.0)
        if self.prior is not None:
            encoder_loss, discriminator_loss = self.prior(
                gather(features["x"]["code"]), seed
            )
            loss += self.gamma * encoder_loss
            values["prior/encoder"] = encoder_loss
            values["prior/discriminator"] = discriminator_loss
        values["loss"] = loss
        return loss, discriminator_loss, values

    def train_step(self, batch):
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        seed = tf.stack([tf.constant(self.seed, tf.int64), self.step.value])
        with tf.GradientTape(persistent=True) as tape:
            loss, discriminator_loss, values = self.losses_and_values(
                batch, seed, training=True
            )
            # Gradients are summed over the replicas, each of which sees the loss of
            # the whole batch.
            scaled = self.optimizer.scale_loss(loss / replicas)
            discriminator_loss /= replicas
        variables = self.encoder_and_critic_variables
        self.optimizer.apply(tape.gradient(scaled, variables), variables)
        if self.prior is not None:
            variables = self.prior.trainable_variables
            gradients = tape.gradient(discriminator_loss, variables)
            self.prior_optimizer.apply(gradients, variables)
        self._update_average()
        self.step.assign_add(1)
        return self._update_metrics(values)

    def test_step(self, batch):
        seed = tf.constant([self.seed, -1], tf.int64)
        _, _, values = self.losses_and_values(batch, seed, training=False)
        return self._update_metrics(values)

    def _update_average(self):
        if self.averaged_encoder is None:
            return
        share = share_of_newest(self.ema, self.step.value + 1)
        pairs = zip(
            self.averaged_encoder.variables, self.online_encoder.variables, strict=True
        )
        for average, variable in pairs:
            if variable.dtype.startswith(("float", "bfloat")):
                moved = tf.cast(share, variable.dtype) * (variable - average)
                average.assign(average + moved)

    def _update_metrics(self, values: dict) -> dict:
        for name, value in values.items():
            self._trackers[name].update_state(value)
        return {name: self._trackers[name].result() for name in values}

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        terms = [
            {**vars(term), "critic": serialize(term.critic)} for term in self.terms
        ]
        return {
            "name": self.name,
            "encoder": serialize(self.online_encoder),
            "terms": terms,
            "prior": self.prior and serialize(self.prior),
            "front": self.front and serialize(self.front),
            "memory": self.memory and serialize(self.memory),
            "gamma": self.gamma,
            "seed": self.seed,
            "ema": self.ema,
            "view_encoders": {
                view: serialize(encoder) for view, encoder in self.view_encoders.items()
            },
        }

    @classmethod
    def from_config(cls, config):
        deserialize = keras.saving.deserialize_keras_object
        terms = []
        for term in config["terms"]:
            options = {
                name: tuple(tuple(option) for option in term[name])
                for name in ("options", "negative_options")
            }
            critic = deserialize(term["critic"])
            terms.append(Term(**{**term, **options, "critic": critic}))
        optional = {
            name: config[name] and deserialize(config[name])
            for name in ("prior", "front", "memory")
        }
        return cls(
            **{
                **config,
                **optional,
                "encoder": deserialize(config["encoder"]),
                "terms": terms,
                "view_encoders": {
                    view: deserialize(encoder)
                    for view, encoder in config["view_encoders"].items()
                },
            }
        )

    def get_compile_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            "optimizer": serialize(self.optimizer),
            "prior_optimizer": self.prior and serialize(self.prior_optimizer),
            "jit_compile": self.jit_compile,
            "steps_per_execution": self.steps_per_execution,
        }

    def compile_from_config(self, config):
        deserialize = keras.saving.deserialize_keras_object
        optimizers = ("optimizer", "prior_optimizer")
        self.compile(
            **{
                key: deserialize(value) if key in optimizers and value else value
                for key, value in config.items()
            }
        )
