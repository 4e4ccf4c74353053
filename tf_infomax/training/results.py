"""The results of a run: probes against baselines, the bound on test images, health.

Results are a flat dict, name -> `{"mean": ..., "sd": ..., "n": ...}`:

    probe/linear/code, probe/mlp/conv, ...      accuracy of the trained encoder; also
                                                `balanced`: the mean over classes, and
                                                `penalties`: what each seed chose
    probe/linear/random/code, ...               of the same encoder before training
    probe/linear/pixels                         of the raw pixels of view x
    probe/majority                              the commonest test class's share
    mi/local, divergence/local, score/local     each term on test images, by kind
                                                (`objectives.terms`), with its ceiling
    health/effective_rank, ...                  of the codes of test images

A measure that fails costs itself alone: `failed/NAME` then holds `{"reason": ...}`.
Results are on the disk as they come in, and `failed/evaluation` stays among them until
the last one has.
"""

import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import keras
import numpy as np
import tensorflow as tf

from tf_infomax.data.batches import make_fixed_batches
from tf_infomax.evaluation.features import FeatureExtractor
from tf_infomax.evaluation.health import (
    count_dimensions,
    describe_collapse,
    measure_health,
)
from tf_infomax.evaluation.neighbors import find_neighbors
from tf_infomax.evaluation.probing import Settings, assess_probes, summarize
from tf_infomax.objectives import Objective
from tf_infomax.reporting import report
from tf_infomax.runtime.progress import Progress
from tf_infomax.training.experiment import build_encoder
from tf_infomax.training.run import Run

_SAMPLES = 40  # drawn for the eye
_FAILED = "failed/"
_UNFINISHED = f"{_FAILED}evaluation"


class AssessmentError(RuntimeError):
    """Measures that failed, in one line; the others stand."""

    exit_status = 1


def assess_values(
    objective: Objective, batches, batch_size: int
) -> Iterator[tuple[str, dict]]:
    """Yields all that the objective itself reports of batches of test images.

    A result says beside the value what it `measures`, of which `kind` it is, its
    `ceiling` (None if it has none) and what the best constant has (`chance`); of a term
    also which `bound` it is, of which `negatives`, and whether it is the `objective`,
    the value that was maximized.
    """
    measure = tf.function(objective.measure)
    rows = [{k: float(v) for k, v in measure(batch).items()} for batch in batches]
    for name, value in objective.values.items():
        found = summarize([row[name] for row in rows])
        yield name, {**found, **value.describe(batch_size)}


def assess_health(codes: np.ndarray) -> Iterator[tuple[str, dict]]:
    """Yields the figures of `measure_health`, with how many test images they are of."""
    figures = measure_health(codes)
    images = figures.pop("images")
    for name, value in figures.items():
        result = {"mean": value, "sd": None, "n": 1, "images": images}
        if name == "effective_rank":
            result["ceiling"] = count_dimensions(*codes.shape)
        yield f"health/{name}", result


class Record:
    """The results of a run so far, on the disk as soon as they are there.

    Args:
        run: whose work directory gets them.
        tell: hears of each probe as it is done, and of what failed.
    """

    def __init__(self, run: Run, tell: Callable[[str], None]):
        self.run, self.tell = run, tell
        self.results = {_UNFINISHED: {"reason": "it has not come to its end"}}
        self.add("step", {"mean": run.step, "sd": None, "n": 1})

    def add(self, name: str, result: dict | Exception) -> None:
        """One result, or why there is none."""
        if isinstance(result, Exception):
            if self.run.config.debug:
                traceback.print_exception(result)
            reason = " ".join(f"{type(result).__name__}: {result}".split())[:300]
            self.tell(f"warning: {name} failed: {reason}")
            name, result = f"{_FAILED}{name}", {"reason": reason}
        elif name.startswith("probe/"):
            self.tell(f"{name} {report.format_result(result)}")
        self.results[name] = result
        self._write()

    @contextmanager
    def surviving(self, stage: str) -> Iterator[None]:
        """What is raised inside ends this stage alone."""
        try:
            yield
        except Exception as error:
            self.add(stage, error)

    def add_all(self, stage: str, results: Iterator) -> None:
        """The results of a stage; what it raises ends this stage alone."""
        with self.surviving(stage):
            for name, result in results:
                self.add(name, result)

    def finish(self) -> dict:
        """The results, now complete."""
        del self.results[_UNFINISHED]
        self._write()
        return self.results

    def _write(self) -> None:
        self.run.workdir.write_results(self.results, self.run.config.checkpoint)


def check_complete(results: dict) -> None:
    """Raises AssessmentError if a measure is missing among the results."""
    reasons: dict[str, list[str]] = {}
    for name, result in results.items():
        if name.startswith(_FAILED):
            failed = reasons.setdefault(result["reason"], [])
            failed.append(name.removeprefix(_FAILED))
    if reasons:
        parts = [f"{', '.join(names)} ({why})" for why, names in reasons.items()]
        raise AssessmentError(
            f"measures failed: {'; '.join(parts)}. The run and the other results "
            "stand; tf_infomax.evaluate measures again."
        )


def evaluate_run(run: Run, tell: Callable[[str], None]) -> dict:
    """Evaluates a run: all results, written to its work directory, with figures.

    Args:
        run: restored to the checkpoint to evaluate.
        tell: hears of each probe as it is done, and of what failed.

    Returns:
        The results, flat; `check_complete` tells whether all of them are there.
    """
    data, encoder = run.data, run.objective.encoder
    if data.probe_train is None or not run.config.probes:
        why = data.labels if run.config.probes else "--probes is empty"
        hint = " (see --eval_dataset)" if run.config.probes else ""
        tell(f"the encoder is not probed{hint}: {why}")
    extract = FeatureExtractor(encoder, ["code"])
    shown = data.test.single.images[:2000]
    codes = extract(shown)["code"]
    record = Record(run, tell)
    stages = {
        "values": _values_of(run),
        "health": assess_health(codes),
    }
    for stage, results in stages.items():
        record.add_all(stage, results)
    with record.surviving("health"):
        for warning in _warn(run.objective, record.results, codes):
            tell(f"warning: {warning}")
    with record.surviving("curves.png"):
        _draw_curves(run, record.results)
    with record.surviving("neighbors.png"):
        _draw_neighbors(run, shown, codes)
    with record.surviving("pictures"):
        _draw_pictures(run, shown)
    record.add_all("probe", _probes_of(run))  # last: they take the longest
    return record.finish()


def _values_of(run: Run) -> Iterator[tuple[str, dict]]:
    """`assess_values` of a run."""
    config, test = run.config, run.data.test
    batch_size = min(config.batch_size, len(test))
    batches = make_fixed_batches(
        test.images,
        batch_size,
        config.views,
        config.augment,
        consecutive=config.negatives == "shared_context",
        labels=run.labels_of(test),
    )
    with Progress(
        len(test) // batch_size, 0, config.progress, "test batches", 10.0, 2.0
    ) as shown:
        batches = _watched(batches, shown)
        yield from assess_values(run.objective, batches, batch_size)


def _watched(batches: Iterable, shown: Progress) -> Iterator:
    """The batches, counted."""
    for done, batch in enumerate(batches, 1):
        yield batch
        if done < shown.total:  # the last one is told by the results
            shown.update(done)


def _probes_of(run: Run) -> Iterator:
    """`assess_probes` of a run, going on after those that are kept."""
    config, workdir = run.config, run.workdir
    settings = Settings(
        config.probes,
        config.probe_seeds,
        config.probe_images,
        config.views,
        config.progress,
    )
    yield from assess_probes(
        run.objective.encoder,
        _build_untrained(run),
        run.data,
        settings,
        workdir.read_probes(config.checkpoint),
        lambda done: workdir.write_probes(done, config.checkpoint),
    )


def _build_untrained(run: Run) -> keras.Model:
    """The encoder as it was at step 0: the same seed gives the same weights."""
    keras.utils.set_random_seed(run.config.seed)
    return build_encoder(run.config, run.data.train.image_shape)


def _draw_curves(run: Run, results: dict) -> None:
    rows = run.workdir.read_rows()  # all, whatever checkpoint is evaluated
    path = run.workdir.path / "curves.png"
    watched = run.data.watched[0]
    report.draw_curves(rows, report.readings_of(results), path, watched)


def _warn(objective: Objective, results: dict, codes: np.ndarray) -> list[str]:
    """What is wrong with the codes, or with what was trained, in words."""
    found = {name: results[name] for name in objective.values if name in results}
    warnings = describe_collapse(measure_health(codes), codes.shape[1])
    if len(found) == len(objective.values):
        means = {name: result["mean"] for name, result in found.items()}
        warnings += objective.describe_collapse(means)
    return warnings


def _draw_pictures(run: Run, images: np.ndarray) -> None:
    """What the objective makes of images, and out of nothing, if it can."""
    objective, which = run.objective, run.config.checkpoint
    chosen = images[np.linspace(0, len(images) - 1, min(10, len(images))).astype(int)]
    if hasattr(objective, "reconstruct"):
        path = run.workdir.of_checkpoint("reconstructions.png", which)
        pairs = np.stack([chosen, objective.reconstruct(chosen)])
        report.draw_images(pairs, "image | from its code", path)
    if hasattr(objective, "sample"):
        path = run.workdir.of_checkpoint("samples.png", which)
        samples = objective.sample(_SAMPLES, run.config.seed)
        rows = samples.reshape(4, -1, *samples.shape[1:])
        report.draw_images(rows, "from codes drawn from the prior", path)


def _draw_neighbors(run: Run, images: np.ndarray, codes: np.ndarray) -> None:
    chosen = np.linspace(0, len(images) - 1, min(10, len(images))).astype(int)
    neighbors = find_neighbors(codes[chosen], codes, min(9, len(images)))
    path = run.workdir.of_checkpoint("neighbors.png", run.config.checkpoint)
    report.draw_neighbors(images, neighbors, path)
