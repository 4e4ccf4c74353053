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
    ndm/code, ...                               measures of other evaluations, with
                                                what they `measures`, unit, warnings

A measure that fails costs itself alone: `failed/NAME` then holds `{"reason": ...}`.
Each result says of which `evaluation` it is; those of evaluations that are not asked
for stay, if they are of the same step and images, which `step` tells.

Results are on the disk as they come in, and `failed/evaluation` stays among them until
the last one has.
"""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tf_infomax.encoders.any_size import name_row
from tf_infomax.evaluation.health import describe_collapse, measure_health
from tf_infomax.evaluation.neighbors import find_neighbors
from tf_infomax.objectives import Objective
from tf_infomax.options import Config
from tf_infomax.options.evaluations import EVALUATIONS
from tf_infomax.options.flags import format_given
from tf_infomax.reporting import report
from tf_infomax.reporting.maps import draw_map
from tf_infomax.reporting.measures import format_measure, is_measure
from tf_infomax.reporting.run_page import write_run_page
from tf_infomax.reporting.summary import Facts, list_next, summarize
from tf_infomax.runtime.errors import describe_error
from tf_infomax.runtime.seals import digest
from tf_infomax.training.experiment import precision
from tf_infomax.training.run import Run
from tf_infomax.training.subject import Subject

_SAMPLES = 40  # drawn for the eye
_MAPPED = 1000  # test images on the map of codes
_AFTER_FIGURES = ("probes",)  # they take the longest
_FAILED = "failed/"
_UNFINISHED = f"{_FAILED}evaluation"


class AssessmentError(RuntimeError):
    """Measures that failed, in one line; the others stand."""

    exit_status = 1


class Record:
    """The results of a run so far, on the disk as soon as they are there.

    Args:
        run: whose work directory gets them.
        tell: hears of each probe and measure as it is done, and of what failed.
    """

    def __init__(self, run: Run, tell: Callable[[str], None]):
        self.run, self.tell, self.warnings = run, tell, []
        self.results = {_UNFINISHED: {"reason": "it has not come to its end"}}
        images = digest(*run.data.fingerprints.values())[:16]
        self.results |= _read_others(run, images)
        self.add("step", {"mean": run.step, "sd": None, "n": 1, "images": images})

    def add(self, name: str, result: dict | Exception) -> None:
        """One result, or why there is none."""
        if isinstance(result, Exception):
            if self.run.config.debug:
                traceback.print_exception(result)
            reason = describe_error(result)
            self.tell(f"warning: {name} failed: {reason}")
            name, result = f"{_FAILED}{name}", {"reason": reason}
        elif name.startswith("probe/"):
            self.tell(f"{name} {report.format_result(result)}")
        elif is_measure(result):
            self.tell(f"{name} {format_measure(result)} {result['unit']}".rstrip())
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
                if not isinstance(result, Exception):
                    result = {**result, "evaluation": stage}
                self.add(name, result)

    def finish(self) -> dict:
        """The results, now complete."""
        del self.results[_UNFINISHED]
        self._write()
        return self.results

    def _write(self) -> None:
        self.run.workdir.write_results(self.results, self.run.config.checkpoint)


def _read_others(run: Run, images: str) -> dict:
    """Results of other evaluations than these, of the same weights and images."""
    found = run.workdir.read_results(run.config.checkpoint)
    of = found.get("step", {})
    if of.get("mean") != run.step or of.get("images") != images:
        return {}
    measured = (None, *run.config.evaluations)
    return {n: r for n, r in found.items() if r.get("evaluation") not in measured}


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


def evaluate_run(run: Run, tell: Callable[[str], None], figures: bool = True) -> dict:
    """Evaluates a run: all results, written to its work directory, with figures.

    Args:
        run: restored to the checkpoint to evaluate.
        tell: hears of each probe and measure as it is done, and of what failed.
        figures: whether to draw them.

    Returns:
        The results, flat; `check_complete` tells whether all of them are there.
    """
    # What evaluations train, they train in float32, whatever the run was trained in.
    with precision("none"):
        return _evaluate(Subject(run, tell), Record(run, tell), figures)


def _evaluate(subject: Subject, record: Record, figures: bool) -> dict:
    run = subject.run
    chosen = [name for name in EVALUATIONS if name in run.config.evaluations]
    slow = [name for name in chosen if name in _AFTER_FIGURES]
    for name in chosen:
        if name not in slow:
            record.add_all(name, EVALUATIONS[name].load()(subject))
    with record.surviving("health"):
        record.warnings = [
            *run.describe_faults(),
            *_warn(run.objective, record.results, subject.codes),
        ]
        for warning in record.warnings:
            subject.tell(f"warning: {warning}")
    if figures:
        _draw(subject, record)
    for name in slow:
        record.add_all(name, EVALUATIONS[name].load()(subject))
    if figures:
        with record.surviving("report.html"):
            _write_page(run, record)
    return record.finish()


def _draw(subject: Subject, record: Record) -> None:
    run = subject.run
    with record.surviving("curves.png"):
        _draw_curves(run, record.results)
    with record.surviving("neighbors.png"):
        _draw_neighbors(run, subject.images, subject.codes)
    with record.surviving("map.png"):
        _draw_map(run, subject.images, subject.codes)
    with record.surviving("pictures"):
        _draw_pictures(subject)


def _draw_curves(run: Run, results: dict) -> None:
    rows = run.workdir.read_rows()  # all, whatever checkpoint is evaluated
    if not rows:
        return  # of a run that has not come to the end of an epoch
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


def _draw_pictures(subject: Subject) -> None:
    """What the objective makes of images, and out of nothing, if it can."""
    objective, images = subject.objective, subject.images
    chosen = images[np.linspace(0, len(images) - 1, min(10, len(images))).astype(int)]
    if hasattr(objective, "reconstruct"):
        pairs = np.stack([chosen, objective.reconstruct(chosen)])
        subject.draw("reconstructions.png", pairs, "image | from its code")
    if hasattr(objective, "sample"):
        samples = objective.sample(_SAMPLES, subject.config.seed)
        rows = samples.reshape(4, -1, *samples.shape[1:])
        subject.draw("samples.png", rows, "from codes drawn from the prior")


def _draw_neighbors(run: Run, images: np.ndarray, codes: np.ndarray) -> None:
    chosen = np.linspace(0, len(images) - 1, min(10, len(images))).astype(int)
    neighbors = find_neighbors(codes[chosen], codes, min(9, len(images)))
    path = run.workdir.of_checkpoint("neighbors.png", run.config.checkpoint)
    report.draw_neighbors(images, neighbors, path, *_classes_of(run, len(images)))


def _draw_map(run: Run, images: np.ndarray, codes: np.ndarray) -> None:
    images, codes = images[:_MAPPED], codes[:_MAPPED]
    path = run.workdir.of_checkpoint("map.png", run.config.checkpoint)
    draw_map(images, codes, *_classes_of(run, len(images)), path)


def _classes_of(run: Run, count: int) -> tuple:
    """The labels of the first test images, or None, and the names of the classes."""
    test = run.data.test.single
    return None if test.labels is None else test.labels[:count], test.class_names


def _write_page(run: Run, record: Record) -> None:
    which = run.config.checkpoint
    path = run.workdir.of_checkpoint("report.html", which)

    def find(name: str) -> Path:
        if name == "curves.png":  # of all checkpoints
            return run.workdir.path / name
        return run.workdir.of_checkpoint(name, which)

    complete = {n: r for n, r in record.results.items() if n != _UNFINISHED}
    write_run_page(path, complete, _read_facts(run), record.warnings, find)


def _read_facts(run: Run) -> Facts:
    """What was asked for, for the summary of the results."""
    config, encoder = run.config, run.objective.encoder
    weights = sum(int(np.prod(v.shape)) for v in encoder.trainable_variables)
    return Facts(
        objective=config.objective,
        encoder=name_row(config.encoder, encoder),
        dataset=config.dataset,
        steps=run.step,
        batch_size=config.batch_size,
        images=len(run.data.train),
        seconds=run.state["seconds"],
        weights=weights,
        code_size=encoder.output["code"].shape[-1],
        before=_describe_start(config),
        workdir=str(run.workdir.path),
        flags=tuple(format_given(config)),
    )


def _describe_start(config: Config) -> str:
    """What an encoder is before training: one with weights may know much already."""
    given = config.backbone_weights or config.encoder.startswith("keras:")
    return "encoder before training" if given else report.RANDOM


def print_outcome(run: Run, results: dict) -> None:
    """The results, three sentences on them, where to see them, and what may follow."""
    facts = _read_facts(run)
    page = run.workdir.of_checkpoint("report.html", run.config.checkpoint)
    following = f"Pictures: {page}. Next: {'; '.join(list_next(results, facts))}"
    told = [*summarize(results, facts), following]
    report.print_results(results, facts.workdir, told, facts.before)
