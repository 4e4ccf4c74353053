"""A discriminator against what it judges: how much it tells, and who is winning."""

from collections.abc import Mapping

import tensorflow as tf

from tf_infomax.objectives.base import Value

_SURE = 0.98  # accuracy of a discriminator that has won


def value_of_told(what: str) -> Value:
    """How the share of something that a discriminator tells is to be read."""
    return Value(
        kind="accuracy",
        unit="share",
        measures=f"{what} that the discriminator tells",
        ceiling=lambda batch_size: 1.0,
    )


def share(told: tf.Tensor) -> tf.Tensor:
    """The part that is true."""
    return tf.reduce_mean(tf.cast(told, tf.float32))


def describe_winner(told: Mapping[str, float]) -> list[str]:
    """Whether one side has won, in words; empty while both can learn.

    Args:
        told: what is judged -> the share of it that the discriminator tells.
    """
    if min(told.values()) > _SURE:
        shares = " and ".join(f"{each:.0%} of {what}" for what, each in told.items())
        return [
            f"the discriminator has won: it tells {shares}, and the other side learns "
            "little from it; a larger gradient penalty holds it back."
        ]
    if max(told.values()) < 1 - _SURE:
        return [
            "the discriminator has lost: it takes nearly all for the other kind and "
            "teaches nothing."
        ]
    return []
