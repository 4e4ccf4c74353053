"""What came out of a run, in three sentences, and what to do next."""

import shlex
from dataclasses import dataclass

from tf_infomax.evaluation.health import health_of
from tf_infomax.reporting.report import format_result, readings_of
from tf_infomax.runtime.progress import format_duration

_PROBES = ("linear", "mlp", "svm")
_APART = 2.0  # standard deviations of a difference that counts
_NEAR = 0.98  # of its ceiling: a value that says little more


@dataclass(frozen=True)
class Facts:
    """What was asked for.

    Attributes:
        objective, encoder, dataset: rows, as they were chosen.
        steps, batch_size, images: of the training.
        seconds: that it took.
        weights: numbers in the encoder that are trained.
        code_size: width of the code.
        before: what the encoder was before training.
        workdir: folder of the run.
        flags: the options that were given, as they are typed.
    """

    objective: str
    encoder: str
    dataset: str
    steps: int
    batch_size: int
    images: int
    seconds: float
    weights: int
    code_size: int
    before: str
    workdir: str
    flags: tuple[str, ...]

    @property
    def command(self) -> str:
        return shlex.join(["tf-infomax", "train", *self.flags])


def summarize(results: dict, facts: Facts) -> list[str]:
    """Three sentences: what was trained, what the code is good for, what it reached."""
    told = (
        _describe_training(facts),
        _compare(results, facts),
        _describe_value(results),
    )
    return [sentence for sentence in told if sentence]


def list_next(results: dict, facts: Facts) -> list[str]:
    """The commands that follow; no probes where there are no labels for any."""
    where = shlex.quote(facts.workdir)
    probed = any(name.startswith("probe/") for name in results)
    probes = "--probes=linear,mlp --probe_seeds=5"
    return [
        *([f"tf-infomax evaluate --workdir={where} {probes}"] if probed else []),
        f"tf-infomax neighbors --workdir={where} --images=FOLDER",
        f"tf-infomax embed --workdir={where} --images=FOLDER --output=codes.npz",
        f"tf-infomax export --workdir={where} --output=served",
    ]


def _describe_training(facts: Facts) -> str:
    return (
        f"{facts.objective} has trained {facts.encoder} ({facts.weights:,} weights) "
        f"for {facts.steps:,} steps of {facts.batch_size} of the {facts.images:,} "
        f"training images of {facts.dataset}, in {format_duration(facts.seconds)}."
    )


def _compare(results: dict, facts: Facts) -> str:
    """The probe of the code against what needs no training."""
    probe = next((p for p in _PROBES if f"probe/{p}/code" in results), "")
    if not probe:
        return _describe_unlabelled(results, facts)
    code = results[f"probe/{probe}/code"]
    others = {
        f"that of the {facts.before}": results.get(f"probe/{probe}/random/code"),
        "raw pixels": results.get(f"probe/{probe}/pixels"),
    }
    others = {name: each for name, each in others.items() if each}
    text = (
        f"A {probe} probe of the {facts.code_size} numbers of the code is right for "
        f"{format_result(code)} % of the test images"
    )
    majority = results.get("probe/majority", {})
    if majority.get("unbalanced"):
        text += f", always the commonest class for {format_result(majority)} %"
    if not others:
        return f"{text}."
    shown = ", ".join(f"{name} for {format_result(r)}" for name, r in others.items())
    worse = [name for name, each in others.items() if not _is_above(code, each)]
    verdict = f"no better than {' and '.join(worse)}" if worse else "better than both"
    if not worse and len(others) == 1:
        verdict = "better"
    return f"{text} ({shown}): {verdict}."


def _is_above(one: dict, other: dict) -> bool:
    """Whether a mean is higher by more than the spread of both explains."""
    spread = sum((each["sd"] or 0.0) ** 2 for each in (one, other)) ** 0.5
    return one["mean"] - other["mean"] > _APART * spread


def _describe_unlabelled(results: dict, facts: Facts) -> str:
    rank = health_of(results).get("effective_rank")
    filled = ""
    if rank:
        filled = (
            f"; their effective rank is {rank['mean']:.1f} of at most {rank['ceiling']}"
        )
    return (
        f"Nothing was probed, so that nothing says what the codes are good for{filled}."
    )


def _describe_value(results: dict) -> str:
    """The bound on information where there is one, else what was maximized."""
    readings = readings_of(results)
    bounds = {name: each for name, each in readings.items() if name.startswith("mi/")}
    chosen = bounds or {n: r for n, r in readings.items() if r.get("objective")}
    if not chosen:
        return ""
    parts, near, below = [], [], []
    for name, each in chosen.items():
        most = "" if each["ceiling"] is None else f" of at most {each['ceiling']:.2f}"
        parts.append(f"{name} {each['mean']:.2f}{most} {each['unit']}")
        if each["ceiling"] and each["mean"] > _NEAR * each["ceiling"]:
            near.append(name)
        if each["chance"] is not None and each["mean"] < each["chance"]:
            below.append(name)
    text = f"On test images it reached {', '.join(parts)}"
    if near:
        text += f"; {', '.join(near)} can hardly rise further, whatever the encoder"
    if below:
        text += f"; {', '.join(below)} is below what no critic at all would have"
    return f"{text}."
