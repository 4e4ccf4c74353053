"""Estimates mutual information: `python -m tf_infomax.estimate --x=a.npy --y=b.npy`.

Or of one file, `--data=pairs.npz` (arrays x and y) or `--data=table.csv --x=height
--y=weight,age` (columns by name); or of a distribution whose truth is known,
`--task=gaussian --task_options=dim=20,mi=6`. `--benchmark=tasks` runs estimators on
many of these, `--benchmark=staircase` trains critics while the information rises.
"""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import tf_infomax
from tf_infomax.options import (
    ConfigError,
    Options,
    command,
    option,
    refuse_if,
    shared_option,
    tables,
)
from tf_infomax.runtime.files import check_writable
from tf_infomax.runtime.progress import tell

ESTIMATORS = tables.ESTIMATORS
RELATED = tables.RELATED
STAIRS = tables.STAIRS
_METHODS = tuple(dict.fromkeys(ESTIMATORS + RELATED + STAIRS))
_TASKS = tables.TASKS
_PAIRS, _HOW, _TRAIN, _OUTPUT = "Pairs", "Estimators", "Training", "Output"
_HELD_OUT = 512  # pairs of a held-out reading of the staircase


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
    dim: int = option(
        0, _PAIRS, "Of the task, as in --task_options; 0: its own.", low=0
    )
    mi: float = option(
        -1.0, _PAIRS, "Nats of the task, as in --task_options; -1: its own.", low=-1.0
    )
    samples: int = option(10_000, _PAIRS, "Pairs to draw of a task.", low=20)
    block: int = option(
        1, _PAIRS, "Consecutive rows that depend on one another.", low=1
    )
    benchmark: str = option(
        "",
        _PAIRS,
        "Run estimators on pairs whose truth is known; tables and figures.",
        choices=("tasks", "staircase"),
    )
    seeds: int = option(
        0, _PAIRS, "Draws of a benchmark; 0: 3 of tasks, 1 of the staircase.", low=0
    )
    method: tuple[str, ...] = option(
        ("auto",), _HOW, "Estimators, comma-separated.", choices=_METHODS
    )
    preprocess: str = option(
        "",
        _HOW,
        "Of each column; information does not change, estimators do. Empty: the "
        "method's own.",
        choices=("standardize", "rank", "asinh", "none"),
    )
    folds: int = option(
        0,
        _HOW,
        "1: report on a fifth; more: on all pairs, by critics trained without them. "
        "0: the method's own.",
        low=0,
    )
    k: int = option(5, _HOW, "Neighbours.", low=1)
    alpha: float = option(0.01, _HOW, "Of interpolated.", low=0.0, high=1.0)
    tau: float = option(5.0, _HOW, "Of smile.", above=0.0)
    family: str = option(
        "linear",
        _HOW,
        "Predictors of v_information.",
        choices=tables.FAMILIES,
    )
    lipschitz: str = option(
        "penalty",
        _HOW,
        "How critics of wasserstein and wpc are: a penalty on gradients, or by the "
        "spectral norm of every layer.",
        choices=tables.LIPSCHITZ,
    )
    level: float = option(0.9, _HOW, "Of the intervals.", above=0.0, high=0.999)
    max_reported: int = option(2000, _HOW, "Most pairs to report on.", low=20)
    permutations: int = option(
        0,
        _HOW,
        "Also a p-value, by so many estimates of broken-up pairs; 99 allow for 0.01.",
        low=0,
    )
    critic: str = option(
        "",
        _TRAIN,
        "Critic of the pairs; copula starts at a Gaussian copula's log-ratio. Empty: "
        "the method's own.",
        choices=(*tables.VECTOR_CRITICS, "copula"),
    )
    negatives: str = option(
        "all",
        _TRAIN,
        "All others of the batch, or one per pair (dv, mine, nwj, jsd, smile, "
        "density_ratio).",
        choices=("all", "derangement"),
    )
    widths: tuple[str, ...] = option(
        (), _TRAIN, "Hidden widths, e.g. 64,64. Empty: the method's own."
    )
    batch_size: int = option(0, _TRAIN, "Pairs per step; 0: the method's own.", low=0)
    learning_rate: float = option(
        0.0, _TRAIN, "Adam's step size; 0: the method's own.", low=0.0
    )
    weight_decay: float = option(
        -1.0, _TRAIN, "Decoupled; -1: the method's own.", low=-1.0
    )
    max_steps: int = option(
        0, _TRAIN, "At most (per level of the staircase); 0: the method's own.", low=0
    )
    patience: int = option(
        0,
        _TRAIN,
        "Looks at validation pairs without a better value; 0: the method's own.",
        low=0,
    )
    seed: int = option(0, _TRAIN, "Of everything.", low=0, high=2**31 - 1)
    output: str = option(
        "",
        _OUTPUT,
        "Folder for estimates.json, estimates.png, report.html; empty: none.",
    )
    export: str = option(
        "", _OUTPUT, "Folder for the critic as a SavedModel, which gives log p/q."
    )
    debug: bool = shared_option("debug")

    def __post_init__(self):
        super().__post_init__()
        x_alone = bool(self.x and not self.data)
        if sum(map(bool, (self.task, self.data, x_alone, self.benchmark))) != 1:
            raise ConfigError(
                "give pairs one way: --x and --y, --data, --task, or --benchmark. "
                f"Received: --x={self.x} --y={self.y} --data={self.data} "
                f"--task={self.task} --benchmark={self.benchmark}."
            )
        if x_alone and not self.y:
            raise ConfigError("--y is needed beside --x.")
        refuse_if(
            bool(self.y) and not (x_alone or self.data),
            f"--y belongs to --x or --data. Received: --y={self.y}.",
        )
        if not self.method:
            raise ConfigError("--method is needed.")
        refuse_if(self.batch_size == 1, "--batch_size must be at least 2. Received: 1.")
        refuse_if(
            bool(self.export) and (len(self.method) > 1 or bool(self.benchmark)),
            "--export takes one --method, and no --benchmark. Received: "
            f"--method={','.join(self.method)}.",
        )
        refuse_if(
            bool(self.permutations) and self.block > 1,
            "--permutations needs independent rows, which --block denies.",
        )
        refuse_if(
            self.benchmark == "staircase" and self.critic == "copula",
            "--critic=copula needs given pairs, which --benchmark=staircase has not.",
        )
        if self.benchmark == "staircase" and self.method != ("auto",):
            wrong = [name for name in self.method if name not in STAIRS]
            refuse_if(
                bool(wrong),
                f"--benchmark=staircase takes --method={','.join(STAIRS)}. Received: "
                f"{','.join(wrong)}.",
            )
        stairs_alone = [m for m in self.method if m not in ESTIMATORS + RELATED]
        refuse_if(
            bool(stairs_alone) and self.benchmark != "staircase",
            f"--method={','.join(stairs_alone)} belongs to --benchmark=staircase.",
        )
        for name in ("ba", "vub", "tnce", "l1out_known", "club_known"):
            if name in self.method:
                raise ConfigError(
                    f"--method={name} needs a known density: tf_infomax.estimate_mi "
                    "takes one as log_conditional."
                )
        _check_used(self)
        for name in ("task_options", "dim", "mi"):
            refuse_if(
                name in self.changed and not self.task, f"--{name} belongs to --task."
            )
        for given in self.task_options:
            name, equals, value = given.partition("=")
            if not (name and equals and value):
                raise ConfigError(
                    f"--task_options takes NAME=VALUE pairs. Received: {given!r}."
                )
        named = [given.partition("=")[0] for given in self.task_options]
        named += [name for name in ("dim", "mi") if name in self.changed]
        for name in sorted(set(named)):
            refuse_if(named.count(name) > 1, f"{name} of the task is given twice.")
        for width in self.widths:
            if not width.isdigit() or not int(width):
                raise ConfigError(
                    f"--widths takes whole numbers above 0. Received: {width!r}."
                )

    @property
    def changed(self) -> dict[str, object]:
        """The options that are not at their defaults."""
        fields = EstimateOptions.__dataclass_fields__
        return {
            name: getattr(self, name)
            for name in fields
            if getattr(self, name) != fields[name].default
        }

    @property
    def given(self) -> dict[str, object]:
        """The options of the task: numbers where they look like numbers."""
        given = {
            name: _parse(value)
            for name, _, value in (each.partition("=") for each in self.task_options)
        }
        return given | {n: getattr(self, n) for n in ("dim", "mi") if n in self.changed}

    @property
    def shared(self) -> dict[str, object]:
        """What `estimate_mi` takes."""
        shared = {name: getattr(self, name) for name in _SHARED}
        own = {name: getattr(self, name) for name in _OWN if getattr(self, name)}
        if self.widths:
            own["widths"] = tuple(map(int, self.widths))
        if self.weight_decay >= 0.0:
            own["weight_decay"] = self.weight_decay
        return shared | own


_SHARED = (
    "k", "alpha", "tau", "level", "max_reported", "negatives", "block", "seed",
)  # fmt: skip
# Where empty, the method has a default of its own.
_OWN = (
    "preprocess", "folds", "batch_size", "learning_rate", "max_steps", "patience",
    "critic",
)  # fmt: skip


def _parse(text: str):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text == "true" if text in ("true", "false") else text


_ONLY_OF_PAIRS = (
    "block",
    "level",
    "export",
    "family",
    "permutations",
    "lipschitz",
)
_OF_THE_STAIRCASE = (
    "benchmark", "method", "critic", "widths", "batch_size", "learning_rate",
    "max_steps", "seed", "seeds", "output", "debug",
)  # fmt: skip


def _check_used(options: EstimateOptions) -> None:
    """Refuses what would be accepted and have no effect."""
    given = list(options.changed)
    benchmark = options.benchmark
    for name in given:
        unused = {
            "": name == "seeds",
            "tasks": name in _ONLY_OF_PAIRS,
            "staircase": name not in _OF_THE_STAIRCASE,
        }[benchmark]
        where = f"--benchmark={benchmark}" if benchmark else "a single estimate"
        refuse_if(unused, f"--{name} changes nothing for {where}.")
    if benchmark != "staircase":
        _check_used_by_methods(options, given)
    elif options.widths:
        from tf_infomax.estimation.options import SHALLOW

        refuse_if(
            options.critic in SHALLOW,
            f"--widths changes nothing for --critic={options.critic}.",
        )
    refuse_if(
        "samples" in given and not (options.task or benchmark),
        "--samples belongs to --task and --benchmark=tasks.",
    )
    refuse_if(
        benchmark == "tasks" and bool(set(options.method) & set(RELATED)),
        f"--benchmark=tasks takes estimators of information, not {', '.join(RELATED)}.",
    )


def _check_used_by_methods(options: EstimateOptions, given: list[str]) -> None:
    from tf_infomax.estimation import estimators, related
    from tf_infomax.estimation.options import names_used

    chosen = {name: getattr(options, name) for name in ("critic", "family")}
    users: dict[str, list[str]] = {}
    for method, row in {**estimators.ESTIMATORS, **related.RELATED}.items():
        for name in names_used(row, chosen):
            users.setdefault(name, []).append(method)
    methods = set(options.method)
    beside = "".join(
        f" --{name}={chosen[name]}" for name in ("critic", "family") if name in given
    )
    for name in (name for name in given if name in users):
        refuse_if(
            not set(users[name]) & methods,
            f"--{name} changes nothing for --method={','.join(options.method)}"
            f"{beside if name == 'widths' else ''}. It is for "
            f"{', '.join(users[name])}.",
        )


def main(options: EstimateOptions) -> int:
    """Runs every estimator and prints the table."""
    if options.benchmark:
        return _run_benchmark(options)
    from tf_infomax.data.synthetic import draw
    from tf_infomax.estimation.files import read_given

    output, truth = Path(options.output), None
    if options.output:
        check_writable(output, f"--output={output}")
    if options.export:
        from tf_infomax.estimation.estimators import ESTIMATORS

        row = ESTIMATORS.get(options.method[0])
        refuse_if(  # encoders go in front of critics, and of nothing else
            row is None or "x_encoder" not in row.uses,
            f"--export needs a method with a critic. Received: {options.method[0]}.",
        )
        check_writable(Path(options.export).parent, f"--export={options.export}")
        refuse_if(
            Path(options.export).exists(),
            f"--export={options.export} exists already; choose another name.",
        )
    if options.task:
        pairs = draw(options.task, options.samples, options.seed, **options.given)
        x, y, truth = pairs.x, pairs.y, pairs.mi
    else:
        x, y = read_given(options.x, options.y, options.data)
    command.load_tensorflow(split_operations=False)

    from tf_infomax.estimation.report import print_table, run_all, write
    from tf_infomax.reporting.estimates_page import write_estimates_page

    names = "family", "lipschitz"
    shared = options.shared | {name: getattr(options, name) for name in names}
    estimates, stopped = [], None
    try:
        for each in run_all(x, y, options.method, shared, options.permutations, tell):
            estimates.append(each)
    except KeyboardInterrupt as interrupt:
        if not estimates:
            raise
        stopped = interrupt
    print_table(estimates, truth)
    if options.output:
        settings = {"version": tf_infomax.__version__, "options": options.changed}
        write(output, estimates, x, y, truth, settings)
        typed = shlex.join(["tf-infomax", "estimate", *sys.argv[1:]])
        figure, shown = output / "estimates.png", output / "report.html"
        shapes, named = (x.shape, y.shape), _name_columns(options, x.shape, y.shape)
        write_estimates_page(shown, estimates, shapes, truth, typed, figure, named)
        print(f"{output / 'estimates.json'}, {figure}, {shown}")
    if stopped:
        raise stopped
    if options.export:
        try:
            estimates[0].export(options.export)
        except ValueError as error:
            raise ConfigError(f"--export={options.export}: {error}") from error
        print(options.export)
    return 0


def _name_columns(options: EstimateOptions, *shapes) -> list[str]:
    """What x[0], x[1], ... of warnings are called in the table that was given."""
    if Path(options.data).suffix != ".csv":
        return []
    lines = []
    for side, given, shape in zip("xy", (options.x, options.y), shapes, strict=True):
        names = [given] if shape[1] == 1 else given.split(",")
        lines.append(", ".join(f"{side}[{k}] is {n}" for k, n in enumerate(names)))
    return lines


def _run_benchmark(options: EstimateOptions) -> int:
    output = Path(options.output) if options.output else None
    if output:
        check_writable(output, f"--output={output}")
        output.mkdir(parents=True, exist_ok=True)
    command.load_tensorflow(split_operations=False)
    if options.benchmark == "staircase":
        return _run_staircase(options, output)
    from tf_infomax.studies import known_pairs

    shared = {k: v for k, v in options.shared.items() if k != "seed"}
    records = known_pairs.run(
        known_pairs.tasks(options.samples),
        options.method,
        range(options.seed, options.seed + (options.seeds or 3)),
        shared,
        output and output / "tasks.json",
        tell,
        {"samples": options.samples},
    )
    refuse_if(not records, "nothing could be estimated; the reasons stand above.")
    known_pairs.print_table(records)
    if output:
        known_pairs.draw_figure(records, output / "tasks.png")
        print(f"{output / 'tasks.json'}, {output / 'tasks.png'}")
    return 0


def _run_staircase(options: EstimateOptions, output: Path | None) -> int:
    from tf_infomax.estimation.options import TrainOptions
    from tf_infomax.studies import staircase

    methods = STAIRS if options.method == ("auto",) else options.method
    training = TrainOptions(
        critic=options.critic or "concatenated",
        widths=tuple(map(int, options.widths)) or (256, 256),
        batch_size=options.batch_size or 64,
        learning_rate=options.learning_rate or 5e-4,
        max_steps=options.max_steps or 4000,
        seed=options.seed,
    )
    readings, curves = staircase.run(
        methods, training, _HELD_OUT, output, tell, options.seeds or 1
    )
    staircase.print_table(readings, training.critic)
    if output:
        path = output / f"staircase-{training.critic}.png"
        staircase.draw_figure(readings, curves, _HELD_OUT, training.batch_size, path)
        print(path)
    return 0


if __name__ == "__main__":
    command.run(main, "tf_infomax.estimate", __doc__, EstimateOptions)
