"""Rows; nothing heavy is imported before one is chosen."""

from dataclasses import dataclass

from tf_infomax.options import Options, Row, option


@dataclass(frozen=True)
class WhiteningOptions(Options):
    """Of whitened codes."""

    strength: float = option(1.0, "Objective", "Weight of the whitening.", above=0.0)


whitening = Row(
    "whitening.objective:build",
    options=WhiteningOptions,
    preset={"learning_rate": 1e-3},
    choices={"views": ("one",)},
)

norms = Row("whitening.evaluation:evaluate")
