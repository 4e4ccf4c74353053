"""Autoencoders, plain and variational: codes from which an image can be made again."""

import math
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from tf_infomax.objectives.base import Objective, Value
from tf_infomax.objectives.batches import IMAGES
from tf_infomax.objectives.parts import Parts, mirror, shared_options
from tf_infomax.objectives.pixels import (
    EXPLAINED,
    check_decoder,
    draw_images,
    explain,
    to_bytes,
    to_unit,
)
from tf_infomax.objectives.priors import PRIORS
from tf_infomax.objectives.replicas import draw, variance
from tf_infomax.runtime.completion import spelled_out

# That of |x - x'|^2 on images in [-1, 1], the loss of the baselines of Hjelm et al.
DEVIATION = 8**-0.5
_LEAST_VARIANCE = 0.01  # of a unit that is active: Burda et al. 2016, section 4
_LEAST_EXPLAINED = 0.02
_FEW_ACTIVE = 0.1


def gaussian(images: tf.Tensor, decoded: Mapping, deviation: float) -> tf.Tensor:
    """|x - x'|^2 / (2 s^2) + K/2 log(2 pi s^2): -log density of K pixels, `[N]`."""
    pixels = math.prod(images.shape[1:])
    errors = tf.reduce_sum(tf.square(images - decoded["image"]), axis=[1, 2, 3])
    constant = 0.5 * pixels * math.log(2 * math.pi * deviation**2)
    return errors / (2 * deviation**2) + constant


def bernoulli(images: tf.Tensor, decoded: Mapping, deviation: float) -> tf.Tensor:
    """-sum x log x' + (1 - x) log(1 - x'), `[N]`.

    A likelihood of black and white images alone. Of grey ones, for which it is used
    everywhere, it is a cross-entropy that is never 0 and no density (Loaiza-Ganem &
    Cunningham 2019). It has no `deviation`.
    """
    errors = tf.nn.sigmoid_cross_entropy_with_logits(images, decoded["logits"])
    return tf.reduce_sum(errors, axis=[1, 2, 3])


LIKELIHOODS = {"gaussian": gaussian, "bernoulli": bernoulli}
_RECONSTRUCTION = Value(measures="-log p(image | code), per image")


@keras.saving.register_keras_serializable("tf_infomax")
class Autoencoder(Objective):
    """min_E,G  E[-log p(x | G(E(x)))]: an image from its code.

    Intensities x are in [0, 1]; -log p is in nats per image, constants included. A
    Gaussian of deviation 8^-1/2 is, up to its constant, the squared error of images in
    [-1, 1], summed over pixels.

    Source: the rows "AE" of Hjelm et al. 2019.

    Args:
        networks: "encoder", and "decoder", from its code to a dict of `logits` and
            `image`, their sigmoid.
        likelihood: a key of `LIKELIHOODS`.
        deviation: s of a Gaussian, the same for all pixels, of intensities in [0, 1].
        **kwargs: `seed`, `ema` and `front` of `Objective`.
    """

    players: Mapping = {"encoder": ("encoder", "decoder")}
    values: Mapping = {"reconstruction": _RECONSTRUCTION, "explained": EXPLAINED}

    def __init__(
        self,
        networks: Mapping,
        likelihood: str = "gaussian",
        deviation: float = DEVIATION,
        **kwargs: object,
    ):
        if likelihood not in LIKELIHOODS:
            raise ValueError(
                f"likelihood must be one of {', '.join(LIKELIHOODS)}. "
                f"Received: {likelihood!r}."
            )
        if not deviation > 0:
            raise ValueError(f"deviation must be above 0. Received: {deviation}.")
        super().__init__(networks, **kwargs)
        self.likelihood, self.deviation = likelihood, deviation
        gives = ("image", "logits") if likelihood == "bernoulli" else ("image",)
        check_decoder(self.networks["encoder"], self.networks["decoder"], gives)

    def step_losses(
        self, batch: Mapping[str, tf.Tensor], seed: tf.Tensor
    ) -> tuple[dict, dict]:
        code = self._read_code(self.networks["encoder"](batch[IMAGES]))
        loss, explained = self._decode(batch, self._squash(code))
        return {"encoder": loss}, {"reconstruction": loss, "explained": explained}

    def _read_code(self, features: Mapping) -> tf.Tensor:
        return tf.cast(features["code"], tf.float32)

    def _squash(self, code: tf.Tensor) -> tf.Tensor:
        """Codes as the decoder takes them."""
        return code

    def _decode(self, batch: dict, code: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean -log p(x | code), and the share of variance that is explained."""
        images, decoded = to_unit(batch[IMAGES]), self.networks["decoder"](code)
        errors = LIKELIHOODS[self.likelihood](images, decoded, self.deviation)
        return tf.reduce_mean(errors), explain(images, decoded["image"])

    def reconstruct(self, images: tf.Tensor) -> np.ndarray:
        """What the decoder makes of the codes of uint8 images, as uint8 images.

        The codes are those of `encoder`, the average where there is one.
        """
        code = self._squash(self._read_code(self.encoder(images, training=False)))
        return to_bytes(self.networks["decoder"](code, training=False)["image"])

    def describe_collapse(self, values: Mapping[str, float]) -> list[str]:
        if values["explained"] >= _LEAST_EXPLAINED:
            return []
        return [
            "the decoder makes nearly the same image of every code: it explains "
            f"{max(values['explained'], 0.0):.1%} of the variance of the pixels."
        ]

    def describe(self) -> dict:
        found = {**super().describe(), "likelihood": self.likelihood}
        if self.likelihood == "gaussian":
            found["deviation"] = self.deviation
        return found

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "likelihood": self.likelihood,
            "deviation": self.deviation,
        }


@keras.saving.register_keras_serializable("tf_infomax")
class VAE(Autoencoder):
    """min_E,G  E[-log p(x | z)] + beta KL(q(z | x) || N(0, I)),  z ~ q(z | x).

    q(z | x) is a Gaussian with independent components: its mean is the encoder's code,
    its log variance a linear function of the last hidden layer. One z is drawn for each
    image, in tests too. With beta = 1 the loss is the negative evidence lower bound,
    `-elbo`; the reported ELBO has beta 1 always. E[KL] is above the information that a
    drawn z has on its image (Hoffman & Johnson 2016).

    Source: Kingma & Welling 2014; beta-VAE: Higgins et al. 2017, eq. 4.

    Args:
        networks: as of `Autoencoder`, and "log_variance", from `fc` of the encoder (its
            code where it has no `fc`) to a number for each unit of the code.
        kl_weight: beta.
        **kwargs: as of `Autoencoder`.
    """

    players: Mapping = {"encoder": ("encoder", "log_variance", "decoder")}
    code_prior = PRIORS["normal"]

    def __init__(self, networks: Mapping, kl_weight: float = 1.0, **kwargs: object):
        if not kl_weight >= 0:
            raise ValueError(f"kl_weight must be at least 0. Received: {kl_weight}.")
        super().__init__(networks, **kwargs)
        self.kl_weight = kl_weight
        self.units = self.networks["encoder"].output["code"].shape[-1]
        self.values = _values_of(self.units, self.likelihood)

    def step_losses(
        self, batch: Mapping[str, tf.Tensor], seed: tf.Tensor
    ) -> tuple[dict, dict]:
        features = self.networks["encoder"](batch[IMAGES])
        mean, log_variance = self._encode_law(features)
        error, explained = self._decode(batch, self._draw(mean, log_variance, seed))
        kl = tf.reduce_mean(kl_to_standard_normal(mean, log_variance))
        active = tf.reduce_sum(tf.cast(variance(mean) > _LEAST_VARIANCE, tf.float32))
        return {"encoder": error + self.kl_weight * kl}, {
            "reconstruction": error,
            "explained": explained,
            "kl": kl,
            "elbo": -(error + kl),
            "active_units": active,
        }

    def _encode_law(self, features: Mapping) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and log variance of q(z | x), `[N, D]`."""
        spread = self.networks["log_variance"](features[spread_feature(features)])
        return self._read_code(features), tf.cast(spread, tf.float32)

    def _draw(self, mean, log_variance, seed) -> tf.Tensor:
        """z of q(z | x), one for each image."""
        rows = mean.shape[0] or tf.shape(mean)[0]
        noise = draw(PRIORS["normal"].sample, rows, [self.units], seed)
        return mean + tf.exp(0.5 * log_variance) * noise

    @property
    def prior_features(self) -> tuple[str, ...]:
        needed = spread_feature(self.networks["encoder"].output)
        return tuple(dict.fromkeys(("code", needed)))

    def place_codes(
        self, features: Mapping, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        return self._draw(*self._encode_law(features), seed)

    @property
    def shown(self) -> tuple[str, ...]:
        return "reconstruction", "kl"

    def sample(self, count: int, seed: int) -> np.ndarray:
        """uint8 images of codes drawn from N(0, I)."""
        seeds = (self.seed, seed)
        return draw_images(self.networks["decoder"], "normal", count, seeds)

    def describe_collapse(self, values: Mapping[str, float]) -> list[str]:
        active, found = values["active_units"], super().describe_collapse(values)
        if values["kl"] < math.log(2) or active < 1:
            found.append(
                "posterior collapse: the codes hardly depend on the image (KL "
                f"{values['kl']:.2g} nats, {active:.0f} of {self.units} units active); "
                "a smaller kl_weight, or deviation, keeps more."
            )
        elif active < _FEW_ACTIVE * self.units:
            found.append(
                f"only {active:.0f} of {self.units} units of the code are active; the "
                "others are noise of the prior."
            )
        return found

    def describe(self) -> dict:
        return {**super().describe(), "prior": "normal", "kl_weight": self.kl_weight}

    def get_config(self) -> dict:
        return {**super().get_config(), "kl_weight": self.kl_weight}


def kl_to_standard_normal(mean: tf.Tensor, log_variance: tf.Tensor) -> tf.Tensor:
    """KL(N(m, diag s^2) || N(0, I)) = 1/2 sum(m^2 + s^2 - log s^2 - 1), nats, `[N]`."""
    terms = tf.square(mean) + tf.math.expm1(log_variance) - log_variance
    return 0.5 * tf.reduce_sum(terms, axis=-1)


def spread_feature(features: Mapping) -> str:
    """The feature of which the log variance is a function."""
    flat = "fc" in features and len(features["fc"].shape) == 2
    return "fc" if flat else "code"


def _values_of(units: int, likelihood: str) -> dict[str, Value]:
    of_what = "log density" if likelihood == "gaussian" else "log likelihood"
    return {
        **Autoencoder.values,
        "kl": Value(
            kind="divergence",
            measures="KL(q(z | image) || N(0, I)), above the information of z on it",
        ),
        "elbo": Value(
            kind="score", measures=f"lower bound on the {of_what} of an image"
        ),
        "active_units": Value(
            kind="score",
            unit="units",
            measures="of the code, whose mean varies over the batch by more than 0.01",
            ceiling=lambda batch_size: float(units),
        ),
    }


@spelled_out(Autoencoder, Objective)
def build_autoencoder(
    encoder: keras.Model, decoder: keras.Model, **kwargs: object
) -> Autoencoder:
    """An encoder and a decoder; `kwargs` are those of `Autoencoder`."""
    return Autoencoder({"encoder": encoder, "decoder": decoder}, **kwargs)


@spelled_out(VAE, Autoencoder, Objective)
def build_vae(encoder: keras.Model, decoder: keras.Model, **kwargs: object) -> VAE:
    """The same with a linear layer for the log variance; `kwargs` are of `VAE`."""
    output = encoder.output
    hidden = keras.Input(output[spread_feature(output)].shape[1:], name="hidden")
    # In float32 whatever the policy, as all that goes into an exponential.
    layer = keras.layers.Dense(
        output["code"].shape[-1], dtype="float32", name="log_variance"
    )
    spread = keras.Model(hidden, layer(hidden), name="log_variance")
    networks = {"encoder": encoder, "log_variance": spread, "decoder": decoder}
    return VAE(networks, **kwargs)


def build(config, parts: Parts) -> Autoencoder:
    """`build_autoencoder` as the options say."""
    return build_autoencoder(
        parts.encoder, mirror(parts), **reconstruction_options(config, parts)
    )


def build_variational(config, parts: Parts) -> VAE:
    """`build_vae` as the options say."""
    return build_vae(
        parts.encoder,
        mirror(parts),
        kl_weight=config.kl_weight,
        **reconstruction_options(config, parts),
    )


def reconstruction_options(config, parts: Parts) -> dict:
    """What every autoencoder takes."""
    return {
        "likelihood": config.likelihood,
        "deviation": config.deviation,
        **shared_options(config, parts),
    }
