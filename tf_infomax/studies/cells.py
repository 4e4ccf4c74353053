"""A cell of a table: an objective, trained with a seed, and what is measured of it."""

import gc
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import keras

from tf_infomax.options import Config
from tf_infomax.runtime.errors import describe_error
from tf_infomax.runtime.progress import tell
from tf_infomax.studies.kept import Curves, Unfinished
from tf_infomax.studies.layout import Arm, Size, settle
from tf_infomax.training.experiment import load_data
from tf_infomax.training.results import check_complete, evaluate_run
from tf_infomax.training.run import Run, train
from tf_infomax.training.workdir import WorkDirectory

FAILED = "failed"
_BAD_USE = 2  # status of errors that are the user's


class Maker:
    """Makes cells on one data set, which is read once.

    Args:
        size: of all cells.
        given: options of the data.
        folder: of the runs, each in a folder of its own that is removed in the end.

    Attributes:
        data: which all cells are of.
    """

    def __init__(self, size: Size, given: Mapping, folder: Path):
        self.size, self.given, self.folder = size, dict(given), folder
        self.data = load_data(settle(Arm("supervised"), size, given))

    def make(
        self, name: str, arm: Arm, seed: int, unfinished: Unfinished | None = None
    ) -> Curves:
        """Curves of a single value each, by the names of the results.

        What ends in an error, or has no finite value, is a cell too: `failed` says why.

        Raises:
            ConfigError, DataError: if options or data are unfit, as for other cells.
            KeyboardInterrupt: if a signal has stopped the training.
        """
        workdir = self.folder / f"{name}-{seed}"
        config = settle(arm, self.size, self.given, seed, workdir)
        try:
            curves = self._train(config, arm.trained)
        except Exception as error:  # whatever it is, the other cells stand
            if getattr(error, "exit_status", 1) == _BAD_USE:
                raise
            curves = {FAILED: [describe_error(error)]}
        finally:
            keras.backend.clear_session()
            gc.collect()
        shutil.rmtree(workdir)
        return curves

    def _train(self, config: Config, trained: bool) -> Curves:
        workdir = WorkDirectory(config.workdir)
        workdir.path.mkdir(parents=True, exist_ok=True)
        with workdir.held(wait=True):
            workdir.check(config)
            run = Run(config, workdir, self.data)
            workdir.claim(config)
            if trained:
                train(run)
            if run.stopped:
                raise KeyboardInterrupt
            warnings = []
            # Its folder is removed in the end, and figures with it.
            results = evaluate_run(run, _hear(warnings), figures=False)
            check_complete(results)
        return _read(results, run, warnings)


def _hear(warnings: list[str]) -> Callable[[str], None]:
    """Passes lines on, and keeps the warnings among them."""

    def hear(line: str) -> None:
        tell(line)
        if line.startswith("warning: "):
            warnings.append(line.removeprefix("warning: "))

    return hear


def _read(results: dict, run: Run, warnings: list[str]) -> Curves:
    means = {n: each["mean"] for n, each in results.items() if "mean" in each}
    wrong = [n for n, v in means.items() if v is not None and not math.isfinite(v)]
    if wrong:
        return {FAILED: [f"{', '.join(wrong)} not finite"]}
    curves = {name: [value] for name, value in means.items()}
    curves["seconds/training"] = [run.state["seconds"]]
    return curves | ({"warnings": warnings} if warnings else {})
