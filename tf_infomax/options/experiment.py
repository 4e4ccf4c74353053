"""The options of an experiment: a core, and those of the rows that are chosen.

One flat class has them all, so that flags and flagfiles stay flat; which of them have
an effect is decided by the rows: an option of none of the chosen ones is refused.
Imports the standard library only.
"""

import copy
import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tf_infomax.options import rules, tables
from tf_infomax.options.core import (
    Options,
    Row,
    option,
    own_options,
    suggest,
)
from tf_infomax.options.datasets import DATASETS, rows_of
from tf_infomax.options.encoders import ENCODERS
from tf_infomax.options.evaluations import EVALUATIONS, USUAL
from tf_infomax.options.objectives import OBJECTIVES
from tf_infomax.options.rows import ROWS, list_names
from tf_infomax.runtime.errors import ConfigError

_RUN, _READ, _VIEW = "Run", "Data", "Views"
_MODEL, _OBJECTIVE = "Encoder", "Objective"
_TRAIN, _MACHINE, _PROBE = "Training", "Machine", "Evaluation"


@dataclass(frozen=True)
class Core(Options):
    """What every experiment has, whatever it trains."""

    workdir: str = option(
        "", _RUN, "Folder of the run; made if missing. A second start continues."
    )
    seed: int = option(
        0, _RUN, "Seed of weights, data order, views and prior.", low=0, high=2**31 - 1
    )
    deterministic: bool = option(
        False, _RUN, "Only deterministic operations: the same run gives the same bits."
    )
    evaluate: bool = option(
        True, _RUN, "Probe the encoder when training is done.", driver=True
    )
    dry_run: bool = option(
        False,
        _RUN,
        "Train a few steps, say what the run would take, and leave nothing.",
        driver=True,
    )
    progress: str = option(
        "auto",
        _RUN,
        "Progress as a bar, as lines, or not at all; auto: a bar on a terminal.",
        choices=("auto", "bar", "lines", "none"),
        driver=True,
    )
    debug: bool = option(False, _RUN, "Show the traceback of an error.", driver=True)

    dataset: str = option(
        "fashion_m",
        _READ,
        f"{list_names(DATASETS)}.",
    )
    eval_dataset: str = option(
        "",
        _READ,
        "Labelled images for the probes, if not the dataset's own: a second "
        "dataset, split into a training and a test part if it has none.",
    )
    image_size: int = option(
        0, _READ, "Side of the images in pixels; 0: as they are.", low=0, high=1024
    )
    resize: str = option(
        "crop",
        _READ,
        "crop: cut the central square, then scale; stretch: scale.",
        choices=("crop", "stretch"),
    )
    data_dir: str = option(
        "", _READ, "Folder of prepared TFDS sets; empty: TFDS' default.", driver=True
    )
    validation_fraction: float = option(
        0.1,
        _READ,
        "Part of the training images kept for choosing (online probe, bound); the "
        "probes of the results may use it, training does not.",
        low=0.0,
        high=0.5,
    )
    test_fraction: float = option(
        0.2,
        _READ,
        "Part kept for the test where a dataset has no test images.",
        above=0.0,
        high=0.5,
    )
    deduplicate: bool = option(
        False,
        _READ,
        "Of exact copies keep one: a test image rather than a training image, the "
        "first of several.",
    )
    cache: str = option(
        "auto",
        _READ,
        "Where images that are decoded from files are kept: memory, disk, none; auto: "
        "what has room.",
        choices=("auto", "memory", "disk", "none"),
        driver=True,
    )
    memory_limit_mb: int = option(
        4096,
        _READ,
        "Decoded images to hold in memory.",
        low=1,
        driver=True,
    )
    cache_dir: str = option(
        "~/.cache/tf_infomax", _READ, "Folder of what is kept on disk.", driver=True
    )

    augment: tuple[str, ...] = option(
        (),
        _VIEW,
        "Augmentations, comma-separated.",
        choices=tables.AUGMENTATIONS,
    )
    views: str = option(
        "one",
        _VIEW,
        "one: the image; augment, crops: twice, each augmented or cropped by itself; "
        "halves, quadrants, color (lightness and chroma), pairs: parts of it.",
        choices=tables.VIEWS,
    )
    pair_dataset: str = option(
        "", _VIEW, "For --views=pairs: the other images, aligned with --dataset."
    )

    encoder: str = option(
        "auto",
        _MODEL,
        f"{list_names(ENCODERS)}. auto: basic28x28, basic32x32, basic64x64 by the size "
        "of the images, resnet of other sizes.",
    )
    code_size: int = option(64, _MODEL, "Numbers in the code Y.", low=1, high=65536)

    objective: str = option(
        "dim_local",
        _OBJECTIVE,
        "What is trained for; each has defaults of its own for what is not given.",
        choices=tuple(OBJECTIVES),
    )

    steps: int = option(0, _TRAIN, "Training steps. Give this or epochs.", low=0)
    epochs: int = option(
        0, _TRAIN, "Passes over the training images. Give this or steps.", low=0
    )
    batch_size: int = option(64, _TRAIN, "Images per step, over all devices.", low=2)
    learning_rate: float = option(
        1e-3,
        _TRAIN,
        "Adam's step size, at its highest (1e-4 in Hjelm et al.).",
        above=0.0,
    )
    beta_1: float = option(
        0.9,
        _TRAIN,
        "Adam's decay of the mean (0.5 in the authors' framework).",
        low=0.0,
        high=0.9999,
    )
    beta_2: float = option(
        0.999, _TRAIN, "Adam's decay of the square.", low=0.0, high=0.99999
    )
    schedule: str = option(
        "cosine",
        _TRAIN,
        "Learning rate over the run; cosine falls to 0, constant lets a run be made "
        "longer later.",
        choices=("constant", "cosine"),
    )
    warmup_steps: int = option(0, _TRAIN, "Steps of linear warm-up.", low=0)
    clip_norm: float = option(
        0.0, _TRAIN, "Largest norm of the gradient; 0: no limit.", low=0.0
    )
    ema: float = option(
        0.0,
        _TRAIN,
        "Decay of an average of the encoder's weights, which is then the one "
        "evaluated; 0: none.",
        low=0.0,
        high=0.999999,
    )
    checkpoint_every: int = option(
        500,
        _TRAIN,
        "Steps between checkpoints (besides the end of each epoch).",
        low=1,
        driver=True,
    )
    online_probe: str = option(
        "knn",
        _TRAIN,
        "Probe on the validation images during training.",
        choices=("knn", "linear", "none"),
    )
    probe_every: int = option(1, _TRAIN, "Epochs between online probes.", low=1)
    best: str = option(
        "probe",
        _TRAIN,
        "What chooses the best checkpoint: the online probe or the bound on "
        "validation images.",
        choices=("probe", "bound"),
    )

    strategy: str = option(
        "none",
        _MACHINE,
        "mirrored: all GPUs of this machine; multi_worker: those of several machines, "
        "each with its part of TF_CONFIG (docs/scaling.md).",
        choices=("none", "mirrored", "multi_worker"),
    )
    on_nan: str = option(
        "stop",
        _TRAIN,
        "If a loss or gradient is not finite: stop; skip the step; restore the last "
        "checkpoint and go on with the images in another order (three times at most).",
        choices=("stop", "skip", "restore"),
        driver=True,
    )
    mixed_precision: str = option(
        "none",
        _MACHINE,
        "Precision of the layers (scores and losses stay float32).",
        choices=("none", "float16", "bfloat16"),
    )
    jit_compile: bool = option(False, _MACHINE, "Compile the step with XLA.")
    steps_per_execution: int = option(
        1, _MACHINE, "Steps per call into the graph.", low=1
    )

    checkpoint: str = option(
        "last",
        _PROBE,
        "Which checkpoint to evaluate.",
        choices=("last", "best"),
        driver=True,
    )
    evaluations: tuple[str, ...] = option(
        USUAL,
        _PROBE,
        "What is evaluated, on test images: see docs/evaluations.md.",
        choices=tuple(EVALUATIONS),
        driver=True,
    )
    probes: tuple[str, ...] = option(
        ("linear", "mlp"),
        _PROBE,
        "Probes on conv, fc and code.",
        choices=tables.PROBES,
        driver=True,
    )
    baselines: bool = option(
        True, _PROBE, "Measure the untrained encoder, raw pixels as well.", driver=True
    )
    probe_seeds: int = option(
        3, _PROBE, "Repetitions of each probe and measure.", low=1, driver=True
    )
    probe_images: int = option(
        0,
        _PROBE,
        "Most labelled training images for the probes; 0: all.",
        low=0,
        driver=True,
    )


GROUPS = (
    _RUN, _READ, _VIEW, _MODEL, _OBJECTIVE, _TRAIN, _MACHINE, _PROBE,
)  # fmt: skip


class _Resolved(Core, *own_options(r for rows in ROWS.values() for r in rows.values())):
    """All options of core and rows, for `Config`."""


@dataclass(frozen=True, init=False)
class Config(_Resolved):
    """An experiment. `Config(steps=100)` is as good as a flagfile.

    What is not given has the default of the objective that was chosen, else its own.

    Attributes:
        given: names of the options that were given.
        complete: whether the others, too, are as a file says.
    """

    def __init__(self, **given):
        fields = type(self).__dataclass_fields__
        for name in given:
            if name not in fields:
                raise TypeError(f"{name!r} is no option.{suggest(name, fields)}")
        given = {
            name: value
            for name, value in given.items()
            if fields[name].metadata["unset"] is None
            or value != fields[name].metadata["unset"]
        }
        objective = given.get("objective", fields["objective"].default)
        row = OBJECTIVES.get(objective, Row(""))
        preset = row.preset_of(given)
        for name, each in fields.items():
            value = given.get(name, preset.get(name, each.default))
            object.__setattr__(self, name, value)
        object.__setattr__(self, "given", frozenset(given))
        object.__setattr__(self, "complete", False)
        self.__post_init__()

    def __post_init__(self):
        super().__post_init__()
        rules.check(self)

    @property
    def row_names(self) -> dict[str, tuple[str, ...]]:
        """Flag of `ROWS` -> the names of those that are chosen."""
        datasets = (self.dataset, self.eval_dataset, self.pair_dataset)
        return {
            "objective": (self.objective,),
            "encoder": (self.encoder.partition(":")[0],),
            "dataset": tuple(name for text in datasets for name, _ in rows_of(text)),
            "evaluations": self.evaluations,
        }

    @property
    def rows(self) -> dict[str, Row]:
        """The rows that are chosen, by the flag and value that choose them."""
        return {
            f"--{flag}={name}": ROWS[flag][name]
            for flag, names in self.row_names.items()
            for name in names
            if name in ROWS[flag]
        }

    def is_changed(self, name: str) -> bool:
        """Whether an option was given a value that is not its default."""
        default = type(self).__dataclass_fields__[name].default
        return name in self.given and getattr(self, name) != default

    def replace(self, **changes) -> "Config":
        """Another experiment: what was given of this one, and the changes.

        Of one read from a file that has all options the others stay as well, whatever
        their defaults are by now, unless the objective changes. With other evaluations
        the options of those that go are forgotten.
        """
        same = changes.get("objective", self.objective) == self.objective
        kept = self.__dataclass_fields__ if self.complete and same else self.given
        kept = set(kept) - self._forgotten(changes)
        values = {name: getattr(self, name) for name in kept}
        other = type(self)(**{**values, **changes})
        if not self.complete:
            return other
        return other.as_given((self.given & kept) | {*changes})

    def _forgotten(self, changes: Mapping) -> set[str]:
        """The options of evaluations alone, of which none is chosen any longer."""
        if "evaluations" not in changes:
            return set()
        chosen = [EVALUATIONS.get(each, Row("")) for each in changes["evaluations"]]
        return {
            name
            for name in self.__dataclass_fields__
            if "evaluations" in rules.owners(name)
            and not any(row.has(name) for row in chosen)
        }

    def as_given(self, names: Iterable[str]) -> "Config":
        """The same, all options written down, of which these count as given."""
        other = copy.copy(self)
        object.__setattr__(other, "given", frozenset(names))
        object.__setattr__(other, "complete", True)
        return other

    def require_length(self) -> None:
        """Raises ConfigError unless the options say how long to train."""
        if not self.steps and not self.epochs:
            raise ConfigError(
                "give the length of the run: --steps or --epochs, above 0."
            )

    def difference(self, other: "Config") -> dict[str, tuple]:
        """The options, but for drivers and the workdir, that differ: name -> both."""
        names = [
            each.name
            for each in dataclasses.fields(self)
            if not each.metadata["driver"] and each.name != "workdir"
        ]
        # The other one may lack the options of a package that is not installed here.
        pairs = {n: (getattr(self, n), getattr(other, n, None)) for n in names}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
