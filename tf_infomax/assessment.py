"""The results of a run: probes against baselines, the bound on test images, health.

Results are a flat dict, name -> `{"mean": ..., "sd": ..., "n": ...}`:

    probe/linear/code, probe/mlp/conv, ...      accuracy of the trained encoder
    probe/linear/random/code, ...               of the same encoder before training
    probe/linear/pixels                         of the raw pixels of view x
    mi/local, divergence/local, score/local     each term on test images, by kind
                                                (`objectives.terms`), with its ceiling
    health/effective_rank, ...                  of the codes of test images

A measure that fails costs itself alone: `failed/NAME` then holds `{"reason": ...}`.
Results are on the disk as they come in, and `failed/evaluation` stays among them until
the last one has.
"""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import keras
import numpy as np
import tensorflow as tf

from tf_infomax import report
from tf_infomax.bounds import BOUNDS
from tf_infomax.data.batches import make_fixed_batches
from tf_infomax.data.division import name_some
from tf_infomax.data.views import build_front
from tf_infomax.evaluation.features import FeatureExtractor
from tf_infomax.evaluation.health import (
    count_dimensions,
    describe_collapse,
    measure_health,
)
from tf_infomax.evaluation.neighbors import find_neighbors
from tf_infomax.evaluation.probes import run_probe
from tf_infomax.experiment import Data, build_encoder
from tf_infomax.objectives import InfoMax
from tf_infomax.training import Run

PROBED = ("conv", "fc", "code")
_FAILED = "failed/"
_UNFINISHED = f"{_FAILED}evaluation"


class AssessmentError(RuntimeError):
    """Measures that failed, in one line; the others stand."""

    exit_status = 1


def summarize(values) -> dict:
    """Mean, standard deviation (of the sample) and number of some values."""
    values = np.asarray(values, np.float64)
    sd = float(values.std(ddof=1)) if len(values) > 1 else None
    return {"mean": float(values.mean()), "sd": sd, "n": len(values)}


def _score(*probe) -> dict | Exception:
    """`run_probe` in short; an error is returned: other probes may do better."""
    try:
        return summarize(run_probe(*probe))
    except Exception as error:
        return error


def assess_probes(
    extract: FeatureExtractor,
    untrained: keras.Model,
    data: Data,
    names: tuple[str, ...],
    seeds: int,
    limit: int,
    view: str,
) -> Iterator[tuple[str, dict | Exception]]:
    """Yields every probe's result, or its error; nothing where there are no labels.

    Args:
        extract: the trained encoder's features.
        untrained: the same one with its initial weights.
        data: with `probe_train` and `probe_test`.
        names: keys of `probes.PROBES`.
        seeds: repetitions.
        limit: most labelled training images, 0 for all.
        view: a key of `views.VIEWS`; raw pixels are those of view x.
    """
    if data.probe_train is None:
        return
    train = data.probe_train.labelled_part(limit)
    test = data.probe_test
    untrained_extract = FeatureExtractor(untrained, extract.names)
    for label, features_of in (("", extract), ("random/", untrained_extract)):
        features, test_features = features_of(train.images), features_of(test.images)
        for part in reversed(extract.names):  # the quick and most wanted first
            for name in names if not label else names[:1]:
                result = _score(
                    name,
                    features[part],
                    train.labels,
                    test_features[part],
                    test.labels,
                    seeds,
                )
                yield f"probe/{name}/{label}{part}", result
            del features[part], test_features[part]  # conv is large
    pixels, test_pixels = (
        _pixels_of(view, part.images[:]).reshape(len(part), -1).astype(np.float32)
        for part in (train, test)
    )
    result = _score(names[0], pixels, train.labels, test_pixels, test.labels, seeds)
    yield f"probe/{names[0]}/pixels", result


def _pixels_of(view: str, images: np.ndarray) -> np.ndarray:
    """What the encoder sees of whole images, where it sees a part of them."""
    front = build_front(view, images.shape[1:])
    return images if front is None else front.predict(images, 500, verbose=0)


def assess_bounds(
    objective: InfoMax, batches, batch_size: int
) -> Iterator[tuple[str, dict]]:
    """Yields what can be read off each term's scores on batches of test images.

    A result says beside its value which `bound` it is, what that `measures`, of which
    `negatives`, its `ceiling` (None if it has none), what the best constant critic has
    (`chance`), and whether it is the `objective`, the value that was maximized.
    """

    @tf.function
    def evaluate(batch):
        seed = tf.zeros([2], tf.int64)
        return objective.losses_and_values(batch, seed, training=False)[2]

    rows = [{k: float(v) for k, v in evaluate(batch).items()} for batch in batches]
    shapes = {n: o.shape for n, o in objective.online_encoder.output.items()}
    for term in objective.terms:
        shape = shapes[term.x.split(".")[-1]]
        locations = int(np.prod(shape[1:-1]))
        for reading in term.readings():
            ceiling = reading.ceiling(batch_size, locations)
            yield (
                reading.key,
                {
                    **summarize([row[reading.key] for row in rows]),
                    "bound": reading.bound,
                    "measures": reading.measures,
                    "negatives": reading.negatives,
                    "pooled": reading.pooled,
                    "ceiling": ceiling if np.isfinite(ceiling) else None,
                    "chance": BOUNDS[reading.bound].chance,
                    "objective": reading.key == term.assessed().key,
                },
            )


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
    if data.left_out:
        tell(f"too rare for the probes, left out: {name_some(data.left_out)}")
    if data.probe_train is None:
        tell(f"the encoder is not probed (see --eval_dataset): {data.labels}")
    extract = FeatureExtractor(encoder, [p for p in PROBED if p in encoder.output])
    shown = data.test.single.images[:2000]
    codes = extract(shown)["code"]
    record = Record(run, tell)
    stages = {
        "mi": _bounds_of(run),
        "health": assess_health(codes),
        "probe": _probes_of(run, extract),
    }
    for stage, results in stages.items():
        with record.surviving(stage):
            for name, result in results:
                record.add(name, result)
    with record.surviving("health"):
        for warning in describe_collapse(measure_health(codes), codes.shape[1]):
            tell(f"warning: {warning}")
    with record.surviving("curves.png"):
        _draw_curves(run, record.results)
    with record.surviving("neighbors.png"):
        _draw_neighbors(run, shown, codes)
    return record.finish()


def _bounds_of(run: Run) -> Iterator[tuple[str, dict]]:
    """`assess_bounds` of a run."""
    config, test = run.config, run.data.test
    batch_size = min(config.batch_size, len(test))
    batches = make_fixed_batches(
        test.images,
        batch_size,
        config.views,
        config.augment,
        consecutive=config.negatives == "shared_context",
    )
    yield from assess_bounds(run.objective, batches, batch_size)


def _probes_of(run: Run, extract: FeatureExtractor) -> Iterator:
    """`assess_probes` of a run."""
    config = run.config
    yield from assess_probes(
        extract,
        _build_untrained(run),
        run.data,
        config.probes,
        config.probe_seeds,
        config.probe_images,
        config.views,
    )


def _build_untrained(run: Run) -> keras.Model:
    """The encoder as it was at step 0: the same seed gives the same weights."""
    keras.utils.set_random_seed(run.config.seed)
    return build_encoder(run.config, run.data.train.image_shape)


def _draw_curves(run: Run, results: dict) -> None:
    rows = run.workdir.read_metrics()  # all, whatever checkpoint is evaluated
    path = run.workdir.path / "curves.png"
    watched = run.data.watched[0]
    report.draw_curves(rows, report.readings_of(results), path, watched)


def _draw_neighbors(run: Run, images: np.ndarray, codes: np.ndarray) -> None:
    chosen = np.linspace(0, len(images) - 1, min(10, len(images))).astype(int)
    neighbors = find_neighbors(codes[chosen], codes, min(9, len(images)))
    path = run.workdir.of_checkpoint("neighbors.png", run.config.checkpoint)
    report.draw_neighbors(images, neighbors, path)
