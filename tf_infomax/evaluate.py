"""Evaluates a trained encoder: `python -m tf_infomax.evaluate --workdir=RUN`.

The experiment is the one of the work directory; only flags that say how to evaluate
(--probes, --probe_seeds, --probe_images, --checkpoint, where data lie) are taken.
"""

from tf_infomax.options import Config, command, flags, refuse_if


def main(given: Config) -> int:
    """Probes the encoder of the run in `given.workdir` and prints the table."""
    from tf_infomax.runtime.files import check_writable
    from tf_infomax.training.workdir import WorkDirectory

    refuse_if(given.dry_run, "--dry_run belongs to tf_infomax.train.")
    workdir = WorkDirectory(given.workdir)
    config = flags.override(workdir.read_config(), given)
    check_writable(workdir.path, f"--workdir={workdir.path}")
    workdir.read_state(config.checkpoint)
    with workdir.held():
        return _evaluate(given, config, workdir)


def _evaluate(given: Config, config: Config, workdir) -> int:
    which = config.checkpoint
    command.load_tensorflow()

    from tf_infomax.runtime.progress import tell
    from tf_infomax.training.experiment import load_data
    from tf_infomax.training.results import check_complete, evaluate_run, print_outcome
    from tf_infomax.training.run import Run, describe_limits

    if config.strategy == "multi_worker":  # one of them is enough
        config = config.replace(strategy="none")
    data = load_data(config)
    refuse_if(
        data.probe_train is None and "probes" in given.given,
        f"--probes={','.join(given.probes)}: there is nothing to probe with: "
        f"{data.labels} (--eval_dataset).",
    )
    for line in describe_limits(config, data):
        tell(line)
    run = Run(config, workdir, data, checkpoint=which)
    tell(f"{workdir.path}: {which} checkpoint, step {run.step} of {run.steps}")
    results = evaluate_run(run, tell)
    print_outcome(run, results)
    check_complete(results)
    return 0


if __name__ == "__main__":
    command.run(
        main,
        "tf_infomax.evaluate",
        __doc__,
        Config,
        drivers_only=True,
    )
