"""What an encoder minimizes so that its codes are distributed as a prior.

A row of `PRIOR_LOSSES` is a loss of the logits u of a discriminator D = sigmoid(u) of
the codes, or of the codes and as many draws from the prior, without a discriminator.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tf_infomax.objectives.priors import PRIORS
from tf_infomax.runtime import vectors

_DIRECTIONS = 128
_OF_DIRECTIONS = 2  # tells them from the draws, and from other parts of a step


class PriorLoss(NamedTuple):
    """A row of `PRIOR_LOSSES`, of which one function is None.

    Attributes:
        of_logits: logits of codes `[N, 1]` -> loss, nats.
        of_samples: (codes, draws, scale, seed) -> loss, both `[N, D]`, `scale` being
            that of the prior.
        measures: in words.
        unit: of it.
    """

    of_logits: Callable | None
    of_samples: Callable | None
    measures: str
    unit: str = "nats"


def non_saturating(logits: tf.Tensor) -> tf.Tensor:
    """-E[log D(z)] = E[softplus(-u)].

    Source: Goodfellow et al. 2014, section 3.
    """
    return tf.reduce_mean(tf.nn.softplus(-logits))


def minimax(logits: tf.Tensor) -> tf.Tensor:
    """E[log(1 - D(z))] = -E[softplus(u)], what the discriminator maximizes.

    Of codes that it tells for certain the gradient is 0.

    Source: Goodfellow et al. 2014, eq. 1; Hjelm et al. 2019, eq. 7.
    """
    return -tf.reduce_mean(tf.nn.softplus(logits))


def boundary_seeking(logits: tf.Tensor) -> tf.Tensor:
    """1/2 E[(log D(z) - log(1 - D(z)))^2] = E[u^2] / 2, least where D is 1/2.

    Source: Hjelm et al. 2018 (boundary-seeking GAN), for continuous outputs.
    """
    return 0.5 * tf.reduce_mean(tf.square(logits))


def mmd(codes: tf.Tensor, draws: tf.Tensor, scale: float, seed: tf.Tensor) -> tf.Tensor:
    """The squared maximum mean discrepancy, unbiased (`vectors.mmd`).

    Source: Tolstikhin et al. 2018, algorithm 2.
    """
    return vectors.mmd(codes, draws, scale)


def sliced_wasserstein(
    codes: tf.Tensor, draws: tf.Tensor, scale: float, seed: tf.Tensor
) -> tf.Tensor:
    """The squared Wasserstein-2 distance along 128 directions, their mean.

    They are drawn anew for each step, uniformly (`vectors.sliced_wasserstein`).

    Source: Kolouri et al. 2019.
    """
    own = tf.random.fold_in(seed, _OF_DIRECTIONS, alg="philox")
    directions = PRIORS["sphere"].sample([_DIRECTIONS, codes.shape[-1]], own)
    return vectors.sliced_wasserstein(codes, draws, directions)


_OF_D = "of the encoder, D being the discriminator"
PRIOR_LOSSES: dict[str, PriorLoss] = {
    "non_saturating": PriorLoss(non_saturating, None, "-log D(code), of the encoder"),
    "minimax": PriorLoss(minimax, None, f"log(1 - D(code)), {_OF_D}"),
    "boundary_seeking": PriorLoss(
        boundary_seeking, None, f"half the squared logit of D(code), {_OF_D}"
    ),
    "mmd": PriorLoss(
        None, mmd, "of codes and draws from the prior, unbiased", "squared MMD"
    ),
    "sliced_wasserstein": PriorLoss(
        None,
        sliced_wasserstein,
        "of codes and draws from the prior, above 0 where they are alike, too",
        "squared length",
    ),
}
