"""Searches for good options: `python -m tf_infomax.tune --flagfile=configs/tune.flags`.

What is maximized is the accuracy of a probe on validation images, never the bound:
values of bounds of different kinds, batch sizes and critics cannot be compared, and
InfoNCE is capped at log K. The search ends with best.flags, which tf_infomax.train runs
as it is. A search that was interrupted, in whatever way, is continued by the same
command.
"""

import os
import signal
import sys
from pathlib import Path

from tf_infomax.options import ConfigError, command
from tf_infomax.runtime.progress import tell
from tf_infomax.tuning.folder import SearchFolder
from tf_infomax.tuning.options import TuneOptions


def __getattr__(name: str):
    """`tf_infomax.tune.InfoMaxHyperModel`, without loading it for the help."""
    if name != "InfoMaxHyperModel":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tf_infomax.tuning.hypermodel import InfoMaxHyperModel

    return InfoMaxHyperModel


def main(options: TuneOptions) -> int:
    """Searches, or continues the search, in `options.workdir`."""
    from tf_infomax.tuning.workers import (
        command_line,
        end_with_parent,
        role,
        run_workers,
    )

    if not options.workdir:
        raise ConfigError("--workdir is needed: the folder of the search.")
    folder = SearchFolder(Path(options.workdir))
    folder.check(options)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if options.tuner_workers:
        if role() != "solo":
            raise ConfigError(
                "--tuner_workers starts a chief and workers here, but "
                "KERASTUNER_ORACLE_IP says that this is one of them: use one way."
            )
        folder.claim(options)
        return run_workers(
            command_line(), options.tuner_workers, folder.path / "logs", tell
        )
    end_with_parent()
    command.load_tensorflow()

    from tf_infomax.tuning.search import run_search

    if role() == "worker":
        run_search(options, folder)
        return 0
    folder.claim(options)
    with folder.locked():
        try:
            run_search(options, folder)
        except KeyboardInterrupt:
            tell(
                f"tf_infomax: stopped; {folder.path} holds what is done, the same "
                "command continues."
            )
            return 1
        _finish(options, folder)
    if not options.train_best:
        print(f"python -m tf_infomax.train --flagfile={folder.best}")
        return 0
    sys.stdout.flush()
    train = [sys.executable, "-m", "tf_infomax.train", f"--flagfile={folder.best}"]
    os.execv(sys.executable, train)  # signals and the memory are then the run's own


def _finish(options: TuneOptions, folder: SearchFolder) -> None:
    """Writes and prints the results."""
    from tf_infomax.tuning.hypermodel import SCORES
    from tf_infomax.tuning.results import write_results

    if not options.keep_checkpoints:
        folder.drop_checkpoints()
    score = SCORES[options.score].words
    best = write_results(folder, options.space, score, options.full_length)
    print(f"trial {best.id} is the best: {folder.best}")


if __name__ == "__main__":
    command.run(main, "tf_infomax.tune", __doc__, TuneOptions)
