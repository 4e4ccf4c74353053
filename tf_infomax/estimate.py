"""Estimates mutual information: `python -m tf_infomax.estimate --x=a.npy --y=b.npy`.

Or of one file, `--data=pairs.npz` (arrays x and y) or `--data=table.csv --x=height
--y=weight,age` (columns by name); or of a distribution whose truth is known,
`--task=gaussian --task_options=dim=20,mi=6`. `--benchmark=tasks` runs estimators on
many of these, `--benchmark=staircase` trains critics while the information rises.
"""

from pathlib import Path

import tf_infomax
from tf_infomax.estimate_options import STAIRS, EstimateOptions
from tf_infomax.options import ConfigError, command, refuse_if
from tf_infomax.runtime.files import check_writable
from tf_infomax.runtime.progress import tell

_HELD_OUT = 512  # pairs of a held-out reading of the staircase


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
        print(f"{output / 'estimates.json'}, {output / 'estimates.png'}")
    if stopped:
        raise stopped
    if options.export:
        try:
            estimates[0].export(options.export)
        except ValueError as error:
            raise ConfigError(f"--export={options.export}: {error}") from error
        print(options.export)
    return 0


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
