"""Matching of the code's distribution to a prior."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from tf_infomax.objectives.adversaries import (
    describe_winner,
    share,
    value_of_told,
)
from tf_infomax.objectives.base import Value
from tf_infomax.objectives.prior_losses import PRIOR_LOSSES
from tf_infomax.objectives.priors import PRIORS, Prior
from tf_infomax.objectives.replicas import gather
from tf_infomax.runtime import vectors

WIDTHS = (1000, 200)
_TOLD = {
    "accuracy/prior": value_of_told("draws from the prior"),
    "accuracy/codes": value_of_told("codes"),
}
_FIGURES = {
    "code_spread": Value(
        kind="score", unit="ratio", measures="variance of codes, over the prior's"
    ),
    "mmd": Value(
        kind="score",
        unit="squared MMD",
        measures="of codes and prior, unbiased; 0 where they are alike",
    ),
}
_NARROW = 0.1  # of the prior's variance, that of codes which are nearly all the same
_WIDE = 2.0  # of the prior's variance, that of codes which do not match it


@keras.saving.register_keras_serializable("tf_infomax")
class PriorMatching(keras.layers.Layer):
    """`min_E max_D  E_prior[log D(v)] + E_code[log(1 - D(squash(y)))]`.

    The discriminator is an MLP (1000, 200, 1; ReLU, no batch norm). Its loss has the
    gradient penalty `1/2 mean(|grad D(real)|^2 + |grad D(fake)|^2)`, averaged over all
    examples of the batch. The encoder's loss is the non-saturating `-E[log D(fake)]`,
    or another row of `PRIOR_LOSSES`; those of samples have no discriminator.

    Source: Hjelm et al. 2019, eq. 7; penalty: Mescheder et al. 2018, on both sides as
    in the authors' program (which, however, reaches the last example only).

    Args:
        prior: a key of `PRIORS`.
        widths: hidden widths of the discriminator.
        gradient_penalty: weight of the penalty.
        loss: of the encoder, a key of `PRIOR_LOSSES`.

    Attributes:
        discriminator: None where the loss needs none.
    """

    def __init__(
        self,
        prior: str = "uniform",
        widths: Sequence[int] = WIDTHS,
        gradient_penalty: float = 1.0,
        loss: str = "non_saturating",
        **kwargs: object,
    ):
        if loss not in PRIOR_LOSSES:
            raise ValueError(
                f"loss must be one of {', '.join(PRIOR_LOSSES)}. Received: {loss!r}."
            )
        # Small and sensitive: float32 whatever the policy, so that its optimizer needs
        # no loss scaling.
        super().__init__(**{"dtype": "float32", **kwargs})
        self.prior, self.widths = prior, tuple(widths)
        self.gradient_penalty, self.loss = gradient_penalty, loss
        self.discriminator = None
        if PRIOR_LOSSES[loss].of_logits:
            self.discriminator = _build_discriminator(self.widths)

    def build(self, code_shape: Sequence) -> None:
        if self.discriminator:
            self.discriminator.build(code_shape)
        super().build(code_shape)

    @property
    def distribution(self) -> Prior:
        """What codes are matched to."""
        return PRIORS[self.prior]

    @property
    def players(self) -> dict[str, tuple[str, ...]]:
        """The player beside the encoder's, if there is a discriminator."""
        return {"prior": ("prior",)} if self.discriminator else {}

    @property
    def loss_values(self) -> dict[str, Value]:
        """How its losses are to be read, by their names."""
        row = PRIOR_LOSSES[self.loss]
        own = Value(measures=row.measures, unit=row.unit)
        if not self.discriminator:
            return {"prior/distance": own}
        other = Value(measures="loss of the prior's discriminator")
        return {"prior/encoder": own, "prior/discriminator": other}

    @property
    def figures(self) -> dict[str, Value]:
        """How what `compare` gives is to be read."""
        return (_TOLD if self.discriminator else {}) | _FIGURES

    def call(self, code: tf.Tensor, seed: tf.Tensor) -> tuple[dict, dict]:
        """The losses on a batch of codes.

        Args:
            code: `[N, D]`, the encoder's linear output.
            seed: two integers for the draw from the prior.

        Returns:
            `(encoder_loss, discriminator_loss)`, scalars; the first alone where there
            is no discriminator. The second does not depend on the encoder.
        """
        fake, real = self._place(code, seed)
        row = PRIOR_LOSSES[self.loss]
        if not self.discriminator:
            return (row.of_samples(fake, real, self._measure_scale(code), seed),)
        encoder_loss = row.of_logits(self.discriminator(fake))
        fake = tf.stop_gradient(fake)
        real_logits, real_penalty = self._logits_and_penalty(real)
        fake_logits, fake_penalty = self._logits_and_penalty(fake)
        discriminator_loss = (
            tf.reduce_mean(tf.nn.softplus(-real_logits))
            + tf.reduce_mean(tf.nn.softplus(fake_logits))
            + self.gradient_penalty * 0.5 * (real_penalty + fake_penalty)
        )
        return encoder_loss, discriminator_loss

    def match(self, code: tf.Tensor, seed: tf.Tensor) -> tuple[dict, dict]:
        """The losses by player, and by name, of the codes of all replicas."""
        losses = self(gather(code), seed)
        by_player = dict(zip(("encoder", *self.players), losses, strict=True))
        return by_player, dict(zip(self.loss_values, losses, strict=True))

    def compare(self, code: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """`figures` of codes `[N, D]` and as many draws from the prior."""
        fake, real = self._place(gather(code), seed)
        scale, found = self._measure_scale(code), []
        if self.discriminator:
            found.append(share(self.discriminator(real) > 0))
            found.append(share(self.discriminator(fake) < 0))
        spread = tf.reduce_sum(tf.math.reduce_variance(fake, axis=0))
        found += [spread / (0.5 * scale), vectors.mmd(fake, real, scale)]
        return dict(zip(self.figures, found, strict=True))

    def _measure_scale(self, code) -> float:
        return self.distribution.scale(code.shape[-1])

    def _place(self, code, seed) -> tuple[tf.Tensor, tf.Tensor]:
        """Codes in the prior's support, and as many draws from it, `[N, D]`."""
        n, d = code.shape
        n = tf.shape(code)[0] if n is None else n
        prior = self.distribution
        return prior.squash(tf.cast(code, tf.float32)), prior.sample([n, d], seed)

    def describe_mismatch(self, values: Mapping[str, float]) -> list[str]:
        """What `figures` tell of a matching that has gone astray, in words."""
        found = []
        if self.discriminator:
            told = (values[name] for name in _TOLD)
            kinds = ("the draws from the prior", "the codes")
            found += describe_winner(dict(zip(kinds, told, strict=True)))
        if values["code_spread"] < _NARROW:
            found.append(
                "the codes have collapsed: they vary "
                f"{values['code_spread']:.2g} times as much as the prior does."
            )
        if values["code_spread"] > _WIDE:
            found.append(
                "the codes do not match the prior: they vary "
                f"{values['code_spread']:.2g} times as much as it does."
            )
        return found

    def describe(self) -> dict:
        """What it is, for the model card."""
        found = {"prior": self.prior, "prior_loss": self.loss}
        if self.discriminator:
            found["gradient_penalty"] = self.gradient_penalty
        return found

    def _logits_and_penalty(self, inputs):
        """D(inputs) `[N, 1]` and the mean over all examples of |grad D|^2."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            logits = self.discriminator(inputs)
        gradient = tape.gradient(logits, inputs)
        return logits, tf.reduce_mean(tf.reduce_sum(tf.square(gradient), axis=-1))

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "prior": self.prior,
            "widths": self.widths,
            "gradient_penalty": self.gradient_penalty,
            "loss": self.loss,
        }


def _build_discriminator(widths: tuple[int, ...]) -> keras.Sequential:
    hidden = [keras.layers.Dense(width, "relu", dtype="float32") for width in widths]
    logits = keras.layers.Dense(1, dtype="float32")
    return keras.Sequential([*hidden, logits], name="discriminator")


def as_matching(prior: str | PriorMatching, encoder: keras.Model) -> PriorMatching:
    """The layer, or that of a prior by its name, built for the codes of an encoder."""
    matching = PriorMatching(prior) if isinstance(prior, str) else prior
    if not matching.built:
        matching.build(encoder.output["code"].shape)
    return matching
