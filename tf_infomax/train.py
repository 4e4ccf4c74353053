"""Trains an encoder: `python -m tf_infomax.train --flagfile=configs/dim.flags`."""

import sys

from tf_infomax.options import Config, command


def main(config: Config) -> int:
    """Trains, or continues, the run in `config.workdir`, then evaluates it."""
    from tf_infomax.runtime.cluster import read_place
    from tf_infomax.runtime.files import check_writable
    from tf_infomax.training.workdir import WorkDirectory

    if config.dry_run and config.strategy == "multi_worker":
        config = config.replace(strategy="none")  # what one of them would do alone
    if config.strategy == "multi_worker" and not read_place().chief:
        return _follow(config)
    workdir = WorkDirectory(config.workdir)
    check_writable(workdir.path, f"--workdir={workdir.path}")
    if config.dry_run:
        return _plan(config, workdir)
    with workdir.held():
        workdir.check(config)
        config.require_length()
        command.load_tensorflow()
        return _train(config, workdir)


def _follow(config: Config) -> int:
    """The part of a worker that is not the chief: it trains, and leaves nothing."""
    from tempfile import TemporaryDirectory

    from tf_infomax.training.workdir import WorkDirectory

    config.require_length()
    with TemporaryDirectory(prefix="tf_infomax-") as folder:
        command.load_tensorflow()
        return _train(config.replace(workdir=folder), WorkDirectory(folder))


def _plan(config: Config, workdir) -> int:
    """Prints what the run would take."""
    workdir.check(config)
    config.require_length()
    command.load_tensorflow()

    from rich.table import Table

    from tf_infomax.runtime.progress import print_wide
    from tf_infomax.training.experiment import load_data
    from tf_infomax.training.plan import describe_plan
    from tf_infomax.training.run import Run

    table = Table(show_header=False)
    for row in describe_plan(Run(config, workdir, load_data(config))):
        table.add_row(*row)
    print_wide(table)
    print(f"Nothing was written. Without --dry_run this trains in {workdir.path}.")
    return 0


def _train(config: Config, workdir) -> int:
    from tf_infomax.training.experiment import join_workers
    from tf_infomax.training.together import watching

    if config.strategy == "multi_worker":
        join_workers()
        with watching():
            return _run(config, workdir)
    return _run(config, workdir)


def _run(config: Config, workdir) -> int:
    import keras

    from tf_infomax.runtime.progress import tell
    from tf_infomax.training.experiment import load_data
    from tf_infomax.training.run import Run, describe_data, describe_limits, train
    from tf_infomax.training.together import wait_for_all

    data = load_data(config)
    tell(describe_data(data))
    for line in describe_limits(config, data):
        tell(line)
    # For parts of the user's that draw without a seed of their own.
    keras.utils.set_random_seed(config.seed)
    run = Run(config, workdir, data)
    workdir.claim(config)
    _list_unusable(data, workdir)
    if run.step == run.steps:
        tell(f"{workdir.path}: all {run.steps} steps are done")
    train(run)
    _list_unusable(data, workdir)
    if run.stopped:
        where = f", saved in {workdir.checkpoint('last')}" * run.place.chief
        print(
            f"tf_infomax: stopped by {run.stopped} at step {run.step} of {run.steps}"
            f"{where}; the same command continues.",
            file=sys.stderr,
        )
        return 1
    if config.evaluate and run.place.chief:
        from tf_infomax.training.results import (
            check_complete,
            evaluate_run,
            print_outcome,
        )

        if config.checkpoint == "best":
            run.restore("best")
        results = evaluate_run(run, tell)
        _list_unusable(data, workdir)
        print_outcome(run, results)
        check_complete(results)
    if run.place.count > 1:
        wait_for_all(run)
    return 0


def _list_unusable(data, workdir) -> None:
    """Names the files that could not be used: of a stream, those met so far."""
    from tf_infomax.runtime.files import write_skipped

    found = data.train.list_unusable()
    if found:
        write_skipped(workdir.path / "skipped.csv", found)


if __name__ == "__main__":
    command.run(main, "tf_infomax.train", __doc__)
