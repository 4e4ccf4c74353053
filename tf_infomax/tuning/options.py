"""The options of a search: those of an experiment, and how to search.

Imports the configuration and the space only.
"""

from dataclasses import dataclass
from functools import cached_property

from tf_infomax.options import Config, option, refuse_if, tables
from tf_infomax.options.plugins import extended
from tf_infomax.tuning.space import Space

_SEARCH = "Search"
_HYPERBAND = ("hyperband_factor", "hyperband_rungs", "hyperband_iterations")


@dataclass(frozen=True, init=False)
class TuneOptions(Config):
    """A search: the options that all trials share, and how to search the others.

    `--steps` or `--epochs` is the length of a full trial; `--workdir` the folder of the
    search; options of the evaluation are those of the final run (`--train_best`).
    """

    tune: tuple[str, ...] = option(
        (),
        _SEARCH,
        "An option to search, once for each: NAME:A,B,C; NAME:LOW..HIGH[/STEP]; "
        "NAME:log:LOW..HIGH; of names joined by +, for --augment; with a condition, "
        "NAME:VALUES@OTHER=VALUE,VALUE. The last one of a name counts; none: forget "
        "those before.",
        repeated=True,
    )
    tuner: str = option(
        "random",
        _SEARCH,
        "How values are chosen.",
        choices=tables.TUNERS,
    )
    score: str = option(
        "linear",
        _SEARCH,
        "What is maximized: accuracy on validation images of a linear probe, or of 20 "
        "nearest neighbours (cheaper); without labels effective_rank (of the codes, by "
        "their size), a proxy that knows of no task (RankMe, Garrido et al. 2023).",
        choices=tables.SCORES,
    )
    executions: int = option(
        1, _SEARCH, "Seeds per trial; its score is their mean.", low=1, high=100
    )
    max_trials: int = option(
        0, _SEARCH, "Trials in all; 0: no limit.", low=0, driver=True
    )
    max_minutes: float = option(
        0.0,
        _SEARCH,
        "No trial begins after so many minutes, over all starts; 0: no limit.",
        low=0.0,
        driver=True,
    )
    hyperband_factor: int = option(
        3, _SEARCH, "Of so many trials hyperband trains one on.", low=2, high=10
    )
    hyperband_rungs: int = option(
        3,
        _SEARCH,
        "Lengths of trials; the shortest is steps / factor^(rungs - 1).",
        low=2,
        high=10,
    )
    hyperband_iterations: int = option(
        1, _SEARCH, "Passes over all of hyperband's brackets.", low=1, high=1000
    )
    full_steps: int = option(
        0,
        _SEARCH,
        "Steps of a run with the best flags; 0: as in the search.",
        low=0,
        driver=True,
    )
    full_epochs: int = option(
        0, _SEARCH, "Or its epochs; 0: as in the search.", low=0, driver=True
    )
    train_best: bool = option(
        False,
        _SEARCH,
        "Then train with the best flags and evaluate on test images, which the search "
        "has not seen.",
        driver=True,
    )
    tuner_workers: int = option(
        0,
        _SEARCH,
        "Processes that run trials at the same time, with a chief; 0: this one.",
        low=0,
        high=256,
        driver=True,
    )
    keep_checkpoints: bool = option(
        False, _SEARCH, "Keep the checkpoints of the trials.", driver=True
    )

    def __post_init__(self):
        super().__post_init__()
        _ = self.space  # checked as a whole
        self.require_length()

        refuse_if(
            not self.max_trials and not self.max_minutes and self.tuner != "hyperband",
            "give the budget of the search: --max_trials or --max_minutes, above 0.",
        )
        for name in _HYPERBAND:
            default = self.__dataclass_fields__[name].default
            refuse_if(
                self.tuner != "hyperband" and getattr(self, name) != default,
                f"--{name} belongs to --tuner=hyperband. Received: {self.tuner}.",
            )
        refuse_if(
            self.validation_fraction == 0,
            "--validation_fraction must be above 0 in a search: trials are scored on "
            "validation images.",
        )
        refuse_if(
            self.full_steps > 0 and self.full_epochs > 0,
            "give --full_steps or --full_epochs, not both. Received: "
            f"{self.full_steps} and {self.full_epochs}.",
        )
        refuse_if(self.dry_run, "--dry_run belongs to tf_infomax.train.")
        refuse_if(
            self.strategy != "none",
            "a search does not take --strategy: give each of --tuner_workers a GPU.",
        )

    @cached_property
    def config(self) -> Config:
        """What all trials share."""
        config = extended(Config)
        names = self.given & config.__dataclass_fields__.keys()
        return config(**{name: getattr(self, name) for name in names})

    @cached_property
    def space(self) -> Space:
        """What differs between trials."""
        return Space.parse(self.tune, self.config)

    @property
    def full_length(self) -> dict[str, int]:
        """`steps` or `epochs` of a run with the best flags, if it is another."""
        given = {"steps": self.full_steps, "epochs": self.full_epochs}
        return {name: value for name, value in given.items() if value}
