"""What a table of the paper consists of, before anything is run."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tf_infomax.options import Config
from tf_infomax.studies.rules import Claim, Rule


@dataclass(frozen=True)
class Arm:
    """What is trained, and by which options it differs from the size's.

    Attributes:
        objective: a row of `--objective`.
        options: of its own, by name.
        trained: whether it is trained at all.
        evaluations: beside the size's.
    """

    objective: str
    options: tuple[tuple[str, object], ...] = ()
    trained: bool = True
    evaluations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Size:
    """What all arms of a scale have in common.

    Attributes:
        options: of the experiment, by name.
        evaluations: keys of `EVALUATIONS`.
    """

    options: tuple[tuple[str, object], ...]
    evaluations: tuple[str, ...]


def settle(arm: Arm, size: Size, data: Mapping, seed: int = 0, workdir="") -> Config:
    """The experiment of a cell.

    Args:
        arm, size, seed, workdir: of it.
        data: options of the data, `dataset` among them.
    """
    given = {**dict(size.options), **dict(arm.options), **data}
    return Config(
        **given,
        objective=arm.objective,
        evaluations=size.evaluations + arm.evaluations,
        seed=seed,
        workdir=str(workdir),
    )


@dataclass(frozen=True)
class Line:
    """A line of a table.

    Attributes:
        label: as the paper has it.
        arm: whose results stand in it.
        curves: column -> name of the result.
        paper: column -> the paper's number on CIFAR-10, as it prints it.
    """

    label: str
    arm: str
    curves: Mapping[str, str]
    paper: Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """A study whose runs are the cells of a table.

    Attributes:
        what: the paper's table.
        arms: name -> what is trained.
        lines: of the table, in its order.
        columns: column -> (unit that a value is multiplied by, digits).
        sizes: scale -> what all arms have in common.
        claims, controls: as those of `rules.Plan`.
        history: how the setting came about.
        differences: name -> two arms, whose difference by seed rules read by it.
    """

    what: str
    arms: Mapping[str, Arm]
    lines: tuple[Line, ...]
    columns: Mapping[str, tuple[float, int]]
    sizes: Mapping[str, Size]
    claims: tuple[Claim, ...]
    controls: tuple[Rule, ...]
    history: str
    differences: Mapping[str, tuple[str, str]] = field(default_factory=dict)
