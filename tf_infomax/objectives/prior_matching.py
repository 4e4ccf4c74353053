"""Adversarial matching of the code's distribution to a prior."""

import keras
import tensorflow as tf

from tf_infomax.objectives.priors import PRIORS


@keras.saving.register_keras_serializable("tf_infomax")
class PriorMatching(keras.layers.Layer):
    """`min_E max_D  E_prior[log D(v)] + E_code[log(1 - D(squash(y)))]`.

    The discriminator is an MLP (1000, 200, 1; ReLU, no batch norm). Its loss has the
    gradient penalty `1/2 mean(|grad D(real)|^2 + |grad D(fake)|^2)`, averaged over all
    examples of the batch. The encoder's loss is the non-saturating `-E[log D(fake)]`.

    Source: Hjelm et al. 2019, eq. 7; penalty: Mescheder et al. 2018, on both sides as
    in the authors' program (which, however, reaches the last example only).

    Args:
        prior: a key of `PRIORS`.
        widths: hidden widths of the discriminator.
        gradient_penalty: weight of the penalty.
    """

    def __init__(
        self, prior="uniform", widths=(1000, 200), gradient_penalty=1.0, **kwargs
    ):
        # Small and sensitive: float32 whatever the policy, so that its optimizer needs
        # no loss scaling.
        super().__init__(**{"dtype": "float32", **kwargs})
        self.prior, self.widths = prior, tuple(widths)
        self.gradient_penalty = gradient_penalty
        hidden = [
            keras.layers.Dense(width, "relu", dtype="float32") for width in self.widths
        ]
        self.discriminator = keras.Sequential(
            [*hidden, keras.layers.Dense(1, dtype="float32")], name="discriminator"
        )

    def build(self, code_shape):
        self.discriminator.build(code_shape)
        super().build(code_shape)

    def call(self, code, seed):
        """The two losses on a batch of codes.

        Args:
            code: `[N, D]`, the encoder's linear output.
            seed: two integers for the draw from the prior.

        Returns:
            `(encoder_loss, discriminator_loss)`, scalars. The second does not depend
            on the encoder.
        """
        n, d = code.shape
        n = tf.shape(code)[0] if n is None else n
        fake = PRIORS[self.prior].squash(tf.cast(code, tf.float32))
        real = PRIORS[self.prior].sample([n, d], seed)
        encoder_loss = tf.reduce_mean(tf.nn.softplus(-self.discriminator(fake)))
        fake = tf.stop_gradient(fake)
        real_logits, real_penalty = self._logits_and_penalty(real)
        fake_logits, fake_penalty = self._logits_and_penalty(fake)
        discriminator_loss = (
            tf.reduce_mean(tf.nn.softplus(-real_logits))
            + tf.reduce_mean(tf.nn.softplus(fake_logits))
            + self.gradient_penalty * 0.5 * (real_penalty + fake_penalty)
        )
        return encoder_loss, discriminator_loss

    def _logits_and_penalty(self, inputs):
        """D(inputs) `[N, 1]` and the mean over all examples of |grad D|^2."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            logits = self.discriminator(inputs)
        gradient = tape.gradient(logits, inputs)
        return logits, tf.reduce_mean(tf.reduce_sum(tf.square(gradient), axis=-1))

    def get_config(self):
        return {
            **super().get_config(),
            "prior": self.prior,
            "widths": self.widths,
            "gradient_penalty": self.gradient_penalty,
        }
