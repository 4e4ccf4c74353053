"""What a study may claim: readings of its arms and rules that their means must keep.

A rule names readings, a difference and a region; nothing of it depends on results, so
that a study's rules can be written down, and frozen, before it is run.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Reading:
    """A number of each run of an arm.

    Attributes:
        arm, curve: which.
        at: "end" or "start" of the curve.
        floor: what is less counts as it; None: nothing does. Of a bound on what cannot
            be negative, values below 0 say nothing (NWJ may start at minus millions).
    """

    arm: str
    curve: str
    at: str = "end"
    floor: float | None = None


@dataclass(frozen=True)
class Rule:
    """That the mean of a difference lies in a region.

    Attributes:
        what: is measured, in words.
        of: the reading.
        less: what is subtracted, of the run of the same seed, or a number.
        unit: of the difference.
        low, high: ends of the region; None: there is none. `low` = 0 is a positive
            sign, `high` = 0 a negative one, both a tolerance.
        outside: the region is what lies beyond `low` and `high`: a change of either
            sign.
    """

    what: str
    of: Reading
    less: Reading | float = 0.0
    unit: str = ""
    low: float | None = None
    high: float | None = None
    outside: bool = False

    @property
    def region(self) -> str:
        """In words."""
        if self.low is None:
            return f"below {self.high:g}"
        if self.high is None:
            return f"above {self.low:g}"
        return (
            f"{'outside' if self.outside else 'within'} {self.low:g} .. {self.high:g}"
        )


@dataclass(frozen=True)
class Claim:
    """A sentence that has a word of its own.

    Attributes:
        text: the sentence, with the paper's figure.
        paper: what the paper shows, in words.
        rules: all that the sentence needs.
    """

    text: str
    paper: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Plan:
    """A study, as it is fixed before it is run.

    Attributes:
        figure: of the paper.
        kind: how an arm is trained, a key of `claims.KINDS`.
        arms: name -> its settings, a dataclass of the kind.
        sizes: scale -> how long and how large, a dataclass of the kind.
        claims: what is asked.
        controls: rules that hold if the study measures what it means to; without them
            nothing counts as reproduced.
        data: names of the data sets that the rules are frozen for; () if none is used.
        history: how the setting came about.
        constants: further numbers that training and reading depend on.
    """

    figure: str
    kind: str
    arms: Mapping[str, object]
    sizes: Mapping[str, object]
    claims: tuple[Claim, ...]
    controls: tuple[Rule, ...]
    history: str
    data: tuple[str, ...] = ("fashion",)
    constants: Mapping[str, object] | None = None


def compare(
    curve: str,
    arm: str,
    other: str | float,
    what: str = "",
    floor: float | None = None,
    unit: str = "",
    **region,
) -> Rule:
    """The end of an arm less that of another, or less a number.

    Without a region, `low` and `high`, it must be positive.
    """
    less, name = other, f"{other:.4g}" if isinstance(other, float) else other
    if isinstance(other, str):
        less = Reading(other, curve, floor=floor)
    what = f"{what or curve}, {arm} - {name}" if less else f"{what or curve}, {arm}"
    of = Reading(arm, curve, floor=floor)
    return Rule(what, of, less, unit, **(region or {"low": 0.0}))


def rise(curve: str, arm: str, what: str, unit: str = "", floor=None) -> Rule:
    """That a curve ends above its start."""
    ends = (Reading(arm, curve, at, floor) for at in ("end", "start"))
    return Rule(f"{arm}: {what}, end - start", *ends, unit=unit, low=0.0)


def within(tolerance: float) -> dict[str, float]:
    """The region of what counts as no difference."""
    return {"low": -tolerance, "high": tolerance}


def beyond(tolerance: float) -> dict:
    """The region of what counts as a change, whatever its sign."""
    return {**within(tolerance), "outside": True}
