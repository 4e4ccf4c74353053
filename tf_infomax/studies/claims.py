"""The claims of Tschannen et al. 2020, one row each: arms, sizes, verdict."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from tf_infomax.studies import adversarial, halves, invariance, negatives
from tf_infomax.studies.halves import Arm, Images, Size
from tf_infomax.studies.outcome import Effect, Runs, Verdict, draw, subtract, write

_EQUAL = 0.25  # nats by which bounds may differ that count as equal


@dataclass(frozen=True)
class Study:
    """A row of `STUDIES`.

    Attributes:
        figure: of the paper.
        run: (its name, scale, seeds, data, folder, tell) -> `Verdict`.
        needs_images: whether `data` is used.
    """

    figure: str
    run: Callable[..., Verdict]
    needs_images: bool = True


def _sizes(cpu: Size, **smoke) -> dict[str, Size]:
    """By scale; the paper's is the same for all studies, smoke takes seconds."""
    return {
        "smoke": Size(4, 2, images=400, **smoke),
        "cpu": cpu,
        "paper": Size(21_000, 22, images=60_000),
    }


def _on_halves(
    arms: dict[str, Arm],
    sizes: dict[str, Size],
    judge: Callable[[Runs], Verdict],
):
    """A study that trains arms on image halves."""

    def run(name: str, scale: str, seeds: Sequence[int], data: Images, folder, tell):
        size = sizes[scale]
        settings = {"study": name, "scale": scale, "data": data.name, **asdict(size)}
        settings["images"] = min(size.images, len(data.train))
        runs = Runs(folder / "runs", settings)
        runs.collect(
            arms,
            seeds,
            lambda arm, *which: halves.train(arms[arm], size, data, *which),
            tell,
        )
        verdict = judge(runs)
        noise = next(iter(arms.values())).noise
        pixels = halves.pixel_accuracy(data, size, noise)
        ends = "; ".join(
            f"{arm}: {np.mean(runs.last(arm, 'accuracy/converged')):.3f}"
            for arm in arms
        )
        note = f"Accuracy of a classifier of codes trained to the end, {ends}."
        verdict = replace(verdict, notes=(*verdict.notes, note))
        verdict = _say_pixels(verdict, pixels, data)
        write(folder, runs, verdict)
        panels = [
            ("bound/test", "I_EST on test pairs, nats (dashed: training)"),
            ("accuracy", "accuracy"),
        ]
        if any(arm.jacobian for arm in arms.values()):
            panels.append(("log_condition", "log condition number of dg1/dx"))
        draw(folder / "figure.png", runs, panels, {"accuracy": ("pixels", pixels)})
        return verdict

    return run


def _within(what: str, excess: Sequence[float], tolerance: float) -> Effect:
    """That an excess stays below a tolerance; what is below 0 counts as none."""
    left = subtract([tolerance] * len(excess), [max(0.0, value) for value in excess])
    return Effect(f"{tolerance:g} - {what}", left, "nats")


def _say_pixels(verdict: Verdict, accuracy: float, data: Images) -> Verdict:
    note = f"A linear classifier of pixels has {accuracy:.3f}; data: {data.name}."
    return replace(verdict, notes=(*verdict.notes, note))


_BIJECTIVE = {
    bound: Arm("real_nvp", "bilinear", bound) for bound in ("nwj", "info_nce")
}


_RISES = {
    "bound/test": ("I_EST on test pairs", "nats"),
    "accuracy": ("linear accuracy", ""),
}


def _rises(runs: Runs, arms, curves: dict[str, tuple[str, str]]) -> tuple[Effect, ...]:
    """End less start of every arm and curve, which the claim says is above 0.

    What is below 0, which for NWJ may be millions, counts as 0: a bound that says
    nothing about what cannot be negative.
    """
    from_zero = lambda values: [max(value, 0.0) for value in values]
    return tuple(
        Effect(
            f"{arm}: {what}, end - start",
            subtract(
                from_zero(runs.last(arm, curve)), from_zero(runs.first(arm, curve))
            ),
            unit,
        )
        for arm in arms
        for curve, (what, unit) in curves.items()
    )


def _judge_bijective(runs: Runs) -> Verdict:
    effects = _rises(runs, _BIJECTIVE, _RISES)
    worst = max(max(runs.last(bound, "round_trip")) for bound in _BIJECTIVE)
    return Verdict(
        "With bijective encoders, whose information cannot change, the bound and the "
        "accuracy rise (fig. 1a, b).",
        "accuracy rises from the 0.85 of pixels while I_EST goes from below 0 towards "
        "its end, within an axis of -5 .. 8 nats; curves of 20 runs, no numbers",
        effects,
        (f"Largest relative round-trip error after training: {worst:.1e}.",),
    )


_SKIP = {
    bound: Arm("skip_mlp", "bilinear", bound, noise=0.05, jacobian=True)
    for bound in ("nwj", "info_nce")
}


def _judge_hard_to_invert(runs: Runs) -> Verdict:
    median = "log_condition/50"
    condition = {median: ("median log condition number of dg1/dx", "")}
    ranges = [
        f"{bound}: {np.mean(runs.last(bound, 'log_condition/0')):.1f} .. "
        f"{np.mean(runs.last(bound, 'log_condition/100')):.1f}"
        for bound in _SKIP
    ]
    return Verdict(
        "The bound and the accuracy rise while an encoder that could stay invertible "
        "becomes hard to invert (fig. 2).",
        "accuracy within 0.83 .. 0.90, log condition numbers within 0 .. 8, both "
        "rising; curves of 20 runs, no numbers",
        _rises(runs, _SKIP, _RISES | condition),
        (f"Log condition numbers over images at the end, {'; '.join(ranges)}.",),
    )


_ADVERSARIES = {
    "smoke": adversarial.Size(4, 3, 2, 16, images=400, warm_up=10, turns=2),
    "cpu": adversarial.Size(400, 5, couplings=8, width=256, images=10_000, rate=2e-5),
    "paper": adversarial.Size(),
}


def _run_adversarial(name: str, scale: str, seeds: Sequence[int], data, folder, tell):
    size, arm = _ADVERSARIES[scale], "adversarial"
    settings = {"study": name, "scale": scale, "data": data.name, **asdict(size)}
    runs = Runs(folder / "runs", settings)
    runs.collect(
        [arm], seeds, lambda _, *which: adversarial.train(size, data, *which), tell
    )
    pixels = halves.pixel_accuracy(data, size)
    below = subtract(runs.last(arm, "accuracy"), [pixels] * len(seeds))
    worst, exact = (
        max(max(values) for values in runs.all(arm, curve))
        for curve in ("round_trip", "round_trip/float64")
    )
    ends = np.array(runs.last(arm, "round_trip/float64"))
    digits = tuple(map(float, -np.log10(ends) - 3.0))
    converged = np.mean(runs.last(arm, "accuracy/converged"))
    verdict = Verdict(
        "A bijective encoder can be trained to have an accuracy far below that of "
        "pixels, while its inverse still gives them back (fig. 1c).",
        "far below the 0.85 of pixels; a curve of 20 runs, no numbers",
        (
            Effect("linear accuracy, codes - pixels", below, "", expected=-1),
            Effect("right digits of the round trip in float64, beyond 3", digits, ""),
        ),
        (
            f"Largest relative round-trip error: {worst:.1e} (float64: {exact:.1e}).",
            f"A classifier of standardized codes trained to the end: {converged:.3f}.",
        ),
    )
    verdict = _say_pixels(verdict, pixels, data)
    write(folder, runs, verdict)
    panels = [("accuracy", "accuracy"), ("cross_entropy", "cross-entropy, nats")]
    draw(folder / "figure.png", runs, panels, {"accuracy": ("pixels", pixels)})
    return verdict


_COUNTS = {"smoke": (300, 50), "cpu": (6000, 1500), "paper": (10_000, 5000)}


def _run_invariance(name: str, scale: str, seeds: Sequence[int], data, folder, tell):
    count, steps = _COUNTS[scale]
    settings = {
        "study": name,
        "scale": scale,
        "data": data.name,
        "pairs": count,
        "steps": steps,
    }
    runs = Runs(folder / "runs", settings)
    runs.collect(
        invariance.ARMS,
        seeds,
        lambda arm, *which: invariance.train(arm, count, steps, data, *which),
        tell,
    )
    before, after = invariance.ARMS
    changes = {
        name: subtract(runs.last(after, name), runs.last(before, name))
        for name in invariance.METHODS
    }
    kept = [abs(change) for change in changes.pop("ksg")]
    agreement = _within("|change| of KSG", kept, invariance.TOLERANCE)
    others = (
        Effect(
            f"{name}: |change| - that of KSG", subtract(map(abs, found), kept), "nats"
        )
        for name, found in changes.items()
    )
    values = "; ".join(
        f"{name}: {np.mean(runs.last(before, name)):.3f} -> "
        f"{np.mean(runs.last(after, name)):.3f}"
        for name in invariance.METHODS
    )
    verdict = Verdict(
        "Under bijections of either side KSG does not change; trained bounds and "
        "linear V-information do.",
        "information is invariant under homeomorphisms of either side (Kraskov et al. "
        "2004); no experiment",
        (agreement, *others),
        (f"Means, nats: {values}.", f"Data: {data.name}."),
    )
    write(folder, runs, verdict)
    invariance.draw(folder / "figure.png", runs)
    return verdict


_CRITICS = {
    f"{critic}, {bound}": Arm("mlp", critic, bound)
    for bound in ("nwj", "info_nce")
    for critic in halves.CRITICS
}


def _judge_critics(runs: Runs) -> Verdict:
    effects = []
    for bound in ("nwj", "info_nce"):
        other = runs.last(f"concatenated, {bound}", "accuracy")
        bounds = runs.last(f"concatenated, {bound}", "bound/test")
        for critic in ("bilinear", "separable"):
            arm = f"{critic}, {bound}"
            effects.append(
                Effect(
                    f"{bound}: accuracy, {critic} - MLP critic",
                    subtract(runs.last(arm, "accuracy"), other),
                    "",
                )
            )
            excess = subtract(runs.last(arm, "bound/test"), bounds)
            what = f"({bound}: I_EST, {critic} - MLP critic)"
            effects.append(_within(what, excess, _EQUAL))
    return Verdict(
        "Bilinear and separable critics give better representations than the MLP "
        "critic at a lower or equal bound (fig. 3).",
        "accuracy within 0.80 .. 0.90, that of the MLP critic little above pixels' "
        "0.85; InfoNCE near log 128 = 4.85 for all, NWJ highest for the MLP critic; "
        "curves of 20 runs, no numbers",
        tuple(effects),
    )


_TARGETS = {
    f"{encoder}, t = {target:g}": Arm(encoder, "bilinear", "info_nce", target)
    for target in (2.0, 4.0)
    for encoder in ("mlp", "convnet")
}


def _judge_encoders(runs: Runs) -> Verdict:
    effects = []
    for target in (2, 4):
        conv, mlp = f"convnet, t = {target}", f"mlp, t = {target}"
        values = subtract(runs.last(conv, "accuracy"), runs.last(mlp, "accuracy"))
        effects.append(Effect(f"t = {target}: accuracy, ConvNet - MLP", values, ""))
        reached = (runs.last(arm, "bound/train") for arm in (conv, mlp))
        what = f"|I_EST in training, ConvNet - MLP| at t = {target}"
        effects.append(_within(what, list(map(abs, subtract(*reached))), _EQUAL))
    return Verdict(
        "At the same bound the encoder decides: ConvNet beats MLP (fig. 4a, b).",
        "ConvNet clearly above MLP at both targets, within 0.78 .. 0.92; curves of 20 "
        "runs, no numbers",
        tuple(effects),
    )


_LENGTHS = {"smoke": (60, 3), "cpu": (20_000, 20), "paper": (20_000, 20)}


def _run_negatives(name: str, scale: str, seeds: Sequence[int], data, folder, tell):
    steps, readings = _LENGTHS[scale]
    settings = {"study": name, "scale": scale, "steps": steps}
    runs = Runs(folder / "runs", settings)
    runs.collect(
        negatives.ARMS,
        seeds,
        lambda arm, *which: negatives.train(arm, steps, readings, *which),
        tell,
    )
    truth = [negatives.TRUTH] * len(seeds)
    over = [
        Effect(f"{arm}: bound - I", subtract(runs.last(arm, "bound"), truth), "nats")
        for arm in negatives.ARMS
    ]
    verdict = Verdict(
        "With negatives that are not independent, NWJ and InfoNCE exceed the "
        f"information, {negatives.TRUTH:.4f} nats (fig. 4c).",
        "both above the information, InfoNCE above NWJ, within -0.3 .. 0.25; curves of "
        "20 runs, no numbers",
        (
            *(effect for effect in over if "shared" in effect.what),
            *(
                Effect(
                    f"{bound}: shared - iid",
                    subtract(
                        runs.last(f"{bound}, shared", "bound"),
                        runs.last(f"{bound}, iid", "bound"),
                    ),
                    "nats",
                )
                for bound in ("nwj", "info_nce")
            ),
            *(
                _within(f"|{effect.what}|", list(map(abs, effect.values)), 0.01)
                for effect in over
                if "iid" in effect.what
            ),
        ),
        (
            "Data: Gaussian pairs that share a draw per batch. Closed forms: NWJ tends "
            "to 0.1081, InfoNCE to at least 0.2018.",
        ),
    )
    write(folder, runs, verdict)
    draw(
        folder / "figure.png",
        runs,
        [("bound", "bound on batches, nats")],
        {"bound": ("information", negatives.TRUTH)},
    )
    return verdict


STUDIES: dict[str, Study] = {
    "bijective": Study(
        "1a, 1b",
        _on_halves(
            _BIJECTIVE,
            _sizes(
                Size(600, 5, couplings=30, width=256, rate=3e-4), couplings=2, width=16
            ),
            _judge_bijective,
        ),
    ),
    "adversarial": Study("1c", _run_adversarial),
    "hard_to_invert": Study(
        "2",
        _on_halves(
            _SKIP,
            _sizes(Size(4000, 6)),
            _judge_hard_to_invert,
        ),
    ),
    "critics": Study(
        "3",
        _on_halves(
            _CRITICS,
            _sizes(Size(4000, 6)),
            _judge_critics,
        ),
    ),
    "encoders": Study(
        "4a, 4b",
        _on_halves(
            _TARGETS,
            _sizes(Size(2500, 6)),
            _judge_encoders,
        ),
    ),
    "negatives": Study("4c", _run_negatives, needs_images=False),
    "invariance": Study("none: section 2", _run_invariance),
}
