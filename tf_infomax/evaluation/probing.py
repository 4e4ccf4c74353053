"""The probes of a run: of its encoder, of that encoder untrained, and of raw pixels.

Every finished probe is kept (`probes.json`) under a key of all that it depends on, so
that an evaluation that was stopped goes on with the next one. One of other weights,
images, labels or settings has another key and is made anew.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import keras
import numpy as np

from tf_infomax.data.images import ImageSet, name_class
from tf_infomax.evaluation.features import FeatureStore, hash_weights, see_part
from tf_infomax.evaluation.probes import Labelled, describe_classes, run_probe
from tf_infomax.evaluation.summary import summarize
from tf_infomax.runtime.progress import Progress, format_left

PROBED = ("code", "fc", "conv")
_CONFUSED = "probe/linear/code"  # the probe whose mistakes are kept,
_MOST_CLASSES = 50  # where there are no more classes
_PROTOCOL = 3  # of the probes; another one makes kept results worthless


@dataclass(frozen=True)
class Settings:
    """How to probe.

    Attributes:
        names: keys of `probes.PROBES`; baselines get the first.
        seeds: repetitions.
        limit: labelled training images of each repetition, 0 for nine tenths of all.
        view: a key of `views.VIEWS`; raw pixels are those of view x.
        baselines: whether the untrained encoder and raw pixels are probed as well.
        progress: style of it.
    """

    names: tuple[str, ...]
    seeds: int
    limit: int
    view: str
    progress: str = "none"
    baselines: bool = True


@dataclass(frozen=True)
class _Source:
    """Where features come from: label of the results, names and widths, what computes
    them, a digest of what that depends on, and the probes that are made of them."""

    label: str
    widths: dict[str, int]
    compute: Callable[..., dict[str, np.ndarray]]
    digest: str
    probes: tuple[str, ...]


class _Job(NamedTuple):
    """One probe of one feature."""

    source: _Source
    part: str
    probe: str

    @property
    def name(self) -> str:
        return f"probe/{self.probe}/{self.source.label}{self.part}"


def evaluate(subject) -> Iterator[tuple[str, dict | Exception]]:
    """`assess_probes` of a run, going on after those that are kept."""
    config, data = subject.config, subject.data
    if data.probe_train is None or not config.probes:
        why = data.labels if config.probes else "--probes is empty"
        hint = " (see --eval_dataset)" if config.probes else ""
        subject.tell(f"the encoder is not probed{hint}: {why}")
    if subject.labelled is None:
        return
    settings = Settings(
        config.probes,
        config.probe_seeds,
        config.probe_images,
        config.views,
        config.progress,
        config.baselines,
    )
    yield from assess_probes(
        subject.objective.encoder,
        subject.untrained,
        subject.labelled,
        settings,
        subject.read_probes(),
        subject.keep_probes,
        subject.store,
    )


def assess_probes(
    encoder: keras.Model,
    untrained: keras.Model,
    labelled: Labelled,
    settings: Settings,
    kept: dict,
    keep: Callable[[dict], None],
    store: FeatureStore,
) -> Iterator[tuple[str, dict | Exception]]:
    """Yields every probe's result, or its error.

    Args:
        encoder: the trained one.
        untrained: the same one with its initial weights.
        labelled: the images, and those of each repetition.
        settings: of the probes.
        kept: what `keep` was given in an earlier evaluation, or nothing.
        keep: gets all finished probes after each.
        store: computes the features.
    """
    train, test, examples = labelled
    yield "probe/majority", _describe_majority(test.labels)
    jobs = _list_jobs(encoder, untrained, train, settings, store)
    common = _digest(settings, train, test)
    keys = {job.name: _hash(common, job.source.digest, job.name) for job in jobs}
    done = {n: each for n, each in kept.items() if each.get("key") == keys.get(n)}
    source = features = None
    with _Work(jobs, settings) as work:
        for job in jobs:
            if job.name not in done:
                if source is not job.source:
                    source, features = job.source, None  # at most one's in memory
                    features = [
                        source.compute(each.images, work.encode)
                        for each in (train, test)
                    ]
                result = _score(job, features, train, test, examples, work.of(job))
                if isinstance(result, Exception):
                    yield job.name, result
                    continue
                done[job.name] = {"key": keys[job.name], "result": result}
                keep(done)
            work.finish(job)
            yield job.name, done[job.name]["result"]


def _describe_majority(labels: np.ndarray) -> dict:
    figures = describe_classes(labels)
    return {**summarize([figures.pop("share")]), **figures}


def _list_jobs(
    encoder, untrained, train: ImageSet, settings: Settings, store: FeatureStore
) -> list[_Job]:
    """All probes, by source; the quick and most wanted features of each first."""
    names = settings.names
    sources = [_encoder_source("", encoder, names, store)]
    if settings.baselines:
        pixels = _pixel_source(settings.view, train.images.shape[1:], names[:1])
        sources += [_encoder_source("random/", untrained, names[:1], store), pixels]
    return [
        _Job(source, part, probe)
        for source in sources
        for part in source.widths
        for probe in source.probes
    ]


def _encoder_source(label: str, encoder: keras.Model, probes, store) -> _Source:
    parts = [part for part in PROBED if part in encoder.output]
    widths = {p: int(np.prod(encoder.output[p].shape[1:])) for p in parts}
    digest = hash_weights(encoder.get_weights())
    compute = lambda images, shown: store(encoder, parts, images, shown)
    return _Source(label, widths, compute, digest, probes)


def _pixel_source(view: str, shape: tuple[int, ...], probes) -> _Source:
    """What the encoder sees of whole images, where it sees a part of them."""

    def compute(images, shown) -> dict[str, np.ndarray]:
        pixels = see_part(images, view)
        return {"pixels": pixels.reshape(len(pixels), -1).astype(np.float32)}

    return _Source("", {"pixels": int(np.prod(shape))}, compute, "", probes)


def _digest(settings: Settings, *parts: ImageSet) -> str:
    """Of all that every probe depends on."""
    chosen = (settings.seeds, settings.limit, settings.view)
    labels = [hash_weights([part.labels]) for part in parts]
    return _hash(_PROTOCOL, chosen, *(p.fingerprint() for p in parts), *labels)


def _hash(*values) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()


def _score(job: _Job, features, train, test, examples, shown) -> dict | Exception:
    """The result of a probe; an error is returned: other probes may do better."""
    try:
        found = run_probe(
            job.probe,
            features[0][job.part],
            train.labels,
            features[1][job.part],
            test.labels,
            examples=examples,
            shown=shown,
        )
    except Exception as error:
        return error
    balanced = summarize(found.balanced)
    result = {
        **summarize(found.accuracy),
        "balanced": {"mean": balanced["mean"], "sd": balanced["sd"]},
        "penalties": found.penalties.tolist(),
    }
    if job.name == _CONFUSED and len(found.classes) <= _MOST_CLASSES:
        names = [name_class(test.class_names, k) for k in found.classes]
        counts = found.confusion.tolist()
        result["confusion"] = {"classes": names, "counts": counts}
    return result


class _Work:
    """Progress of probes: which, and the time left, by the widths of features."""

    def __init__(self, jobs: list[_Job], settings: Settings):
        self.costs = {job.name: 100 + job.source.widths[job.part] for job in jobs}
        self.left = sum(self.costs.values())
        self.made = self.spent = 0.0  # of what is left, and seconds for it
        self.shown = Progress(len(jobs), 0, settings.progress, "probe")
        self.count = 0

    def __enter__(self):
        self.shown.__enter__()
        return self

    def __exit__(self, *exception):
        self.shown.__exit__(*exception)

    def of(self, job: _Job) -> Callable[[float], None]:
        """Hears what share of a probe is done."""
        before, cost = self.made, self.costs[job.name]
        # Features are computed in between, and tell nothing of how long probes take.
        began, spent = time.monotonic(), self.spent

        def hear(share: float) -> None:
            self.made = before + share * cost
            self.spent = spent + time.monotonic() - began
            if self.shown.due(self.count):
                speed = self.made / max(self.spent, 1e-9)
                left = format_left(self.left - share * cost, speed)
                self.shown.show(self.count, f"{job.name} {100 * share:.0f}%  {left}")

        hear(0.0)
        return hear

    def encode(self, done: int) -> None:
        """Hears of how many images the features are there."""
        if self.shown.due(self.count):
            self.shown.show(self.count, f"features of {done} images")

    def finish(self, job: _Job) -> None:
        """One more is done, or was kept."""
        self.left -= self.costs[job.name]
        self.count += 1
