"""Estimates mutual information: `python -m tf_infomax.estimate --x=a.npy --y=b.npy`.

Or of one file, `--data=pairs.npz` (arrays x and y) or `--data=table.csv --x=height
--y=weight,age` (columns by name); or of a distribution whose truth is known,
`--task=gaussian --task_options=dim=20,mi=6`.
"""

from dataclasses import dataclass
from pathlib import Path

from tf_infomax import flags
from tf_infomax.config import ConfigError, Options, option, shared_option, table_names
from tf_infomax.progress import tell

_ESTIMATORS = table_names("estimation/estimators.py", "ESTIMATORS")
_TASKS = table_names("data/synthetic.py", "TASKS")
_PAIRS, _HOW, _TRAIN, _OUTPUT = "Pairs", "Estimators", "Training", "Output"


@dataclass(frozen=True)
class EstimateOptions(Options):
    """What to estimate, how, and where to."""

    x: str = option("", _PAIRS, ".npy file; or with --data, array or columns by name.")
    y: str = option("", _PAIRS, ".npy file; or with --data, array or columns by name.")
    data: str = option("", _PAIRS, ".npz or .csv file with both.")
    task: str = option(
        "", _PAIRS, "Draw pairs of known information instead.", choices=_TASKS
    )
    task_options: tuple[str, ...] = option((), _PAIRS, "Of the task, e.g. dim=20,mi=6.")
    samples: int = option(10_000, _PAIRS, "Pairs to draw of a task.", low=20)
    block: int = option(
        1, _PAIRS, "Consecutive rows that depend on one another.", low=1
    )
    method: tuple[str, ...] = option(
        ("ksg", "info_nce", "smile"),
        _HOW,
        "Estimators, comma-separated.",
        choices=_ESTIMATORS,
    )
    preprocess: str = option(
        "standardize",
        _HOW,
        "Of each column; information does not change, estimators do.",
        choices=("standardize", "rank", "asinh", "none"),
    )
    k: int = option(5, _HOW, "Neighbours.", low=1)
    alpha: float = option(0.01, _HOW, "Of interpolated.", low=0.0, high=1.0)
    tau: float = option(5.0, _HOW, "Of smile.", above=0.0)
    level: float = option(0.9, _HOW, "Of the intervals.", above=0.0, high=0.999)
    max_reported: int = option(2000, _HOW, "Most pairs to report on.", low=20)
    critic: str = option(
        "concatenated",
        _TRAIN,
        "Critic of the pairs.",
        choices=table_names("critics.py", "VECTOR_CRITICS"),
    )
    widths: tuple[str, ...] = option(("64", "64"), _TRAIN, "Hidden widths.")
    batch_size: int = option(128, _TRAIN, "Pairs per step.", low=2)
    learning_rate: float = option(1e-3, _TRAIN, "Adam's step size.", above=0.0)
    max_steps: int = option(5000, _TRAIN, "At most.", low=1)
    patience: int = option(
        10, _TRAIN, "Looks at validation pairs without a better value.", low=1
    )
    seed: int = option(0, _TRAIN, "Of everything.", low=0, high=2**31 - 1)
    output: str = option(
        "", _OUTPUT, "Folder for estimates.json and estimates.png; empty: none."
    )
    debug: bool = shared_option("debug")

    def __post_init__(self):
        super().__post_init__()
        given = [bool(self.task), bool(self.data), bool(self.x and not self.data)]
        if sum(given) != 1:
            raise ConfigError(
                "give pairs one way: --x and --y, --data, or --task. Received: "
                f"--x={self.x} --y={self.y} --data={self.data} --task={self.task}."
            )
        if given[2] and not self.y:
            raise ConfigError("--y is needed beside --x.")
        if not self.method:
            raise ConfigError("--method is needed.")
        for name in ("ba", "vub", "tnce", "l1out_known"):
            if name in self.method:
                raise ConfigError(
                    f"--method={name} needs a known density: tf_infomax.estimate_mi "
                    "takes one as log_conditional."
                )
        if self.task_options and not self.task:
            raise ConfigError("--task_options belongs to --task.")
        for given in self.task_options:
            name, equals, value = given.partition("=")
            if not (name and equals and value):
                raise ConfigError(
                    f"--task_options takes NAME=VALUE pairs. Received: {given!r}."
                )
        for width in self.widths:
            if not width.isdigit() or not int(width):
                raise ConfigError(
                    f"--widths takes whole numbers above 0. Received: {width!r}."
                )

    @property
    def given(self) -> dict[str, object]:
        """The options of the task: numbers where they look like numbers."""
        return {
            name: _parse(value)
            for name, _, value in (each.partition("=") for each in self.task_options)
        }

    @property
    def shared(self) -> dict[str, object]:
        """What `estimate_mi` takes."""
        names = (
            "preprocess", "k", "alpha", "tau", "level", "max_reported", "critic",
            "batch_size", "learning_rate", "max_steps", "patience", "seed", "block",
        )  # fmt: skip
        shared = {name: getattr(self, name) for name in names}
        return shared | {"widths": tuple(map(int, self.widths))}


def _parse(text: str):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text == "true" if text in ("true", "false") else text


def main(options: EstimateOptions) -> int:
    """Runs every estimator and prints the table."""
    from tf_infomax.data.synthetic import draw
    from tf_infomax.estimation.files import read_given
    from tf_infomax.output import check_writable

    output, truth = Path(options.output), None
    if options.output:
        check_writable(output, f"--output={output}")
    if options.task:
        pairs = draw(options.task, options.samples, options.seed, **options.given)
        x, y, truth = pairs.x, pairs.y, pairs.mi
    else:
        x, y = read_given(options.x, options.y, options.data)
    flags.load_tensorflow()

    from tf_infomax.estimation.report import print_table, run_all, write

    estimates = run_all(x, y, options.method, options.shared, tell)
    print_table(estimates, truth)
    if options.output:
        write(output, estimates, x, y, truth)
        print(f"{output / 'estimates.json'}, {output / 'estimates.png'}")
    return 0


if __name__ == "__main__":
    flags.run(main, "tf_infomax.estimate", __doc__, EstimateOptions)
