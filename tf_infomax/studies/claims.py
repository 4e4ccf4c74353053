"""The claims of Tschannen et al. 2020, one row each: arms, sizes, verdict."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tf_infomax.studies import halves, negatives
from tf_infomax.studies.halves import Arm, Images, Size
from tf_infomax.studies.outcome import Effect, Runs, Verdict, draw, subtract, write

SCALES = ("smoke", "cpu", "paper")


@dataclass(frozen=True)
class Study:
    """A row of `STUDIES`.

    Attributes:
        figure: of the paper.
        run: (scale, seeds, data, folder, tell) -> `Verdict`.
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
    arms: dict[str, Arm], sizes: dict[str, Size], judge: Callable[[Runs], Verdict]
):
    """A study that trains arms on image halves."""

    def run(scale: str, seeds: Sequence[int], data: Images, folder: Path, tell):
        size = sizes[scale]
        settings = {"scale": scale, "data": data.name, **asdict(size)}
        settings["images"] = min(size.images, len(data.train))
        runs = Runs(folder / "runs", settings)
        runs.collect(
            arms,
            seeds,
            lambda arm, seed: halves.train(arms[arm], size, data, seed),
            tell,
        )
        verdict = judge(runs)
        pixels = halves.pixel_accuracy(data, size)
        note = f"A linear classifier of pixels has {pixels:.3f}; data: {data.name}."
        verdict = Verdict(verdict.claim, verdict.effects, (*verdict.notes, note))
        write(folder, runs, verdict)
        panels = [("bound/test", "I_EST on test pairs, nats"), ("accuracy", "accuracy")]
        draw(folder / "figure.png", runs, panels, {"accuracy": pixels})
        return verdict

    return run


_BIJECTIVE = {
    bound: Arm("real_nvp", "bilinear", bound) for bound in ("nwj", "info_nce")
}


def _judge_bijective(runs: Runs) -> Verdict:
    effects = []
    for bound in _BIJECTIVE:
        for curve, what, unit in (
            ("bound/test", "I_EST on test pairs, end - start", "nats"),
            ("accuracy", "linear accuracy, end - start", ""),
        ):
            values = subtract(runs.last(bound, curve), runs.first(bound, curve))
            effects.append(Effect(f"{bound}: {what}", values, unit))
    worst = max(max(runs.last(bound, "round_trip")) for bound in _BIJECTIVE)
    return Verdict(
        "With bijective encoders, whose information cannot change, the bound and the "
        "accuracy rise (fig. 1a, b).",
        tuple(effects),
        (f"Largest relative round-trip error after training: {worst:.1e}.",),
    )


_CRITICS = {
    f"{critic}, {bound}": Arm("mlp", critic, bound)
    for bound in ("nwj", "info_nce")
    for critic in halves.CRITICS
}


def _judge_critics(runs: Runs) -> Verdict:
    effects, notes = [], []
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
            lower = Effect("", subtract(runs.last(arm, "bound/test"), bounds), "")
            notes.append(
                f"I_EST of {critic} with {bound} less that of the MLP critic: "
                f"{lower.mean:+.2f} nats."
            )
    return Verdict(
        "Bilinear and separable critics give better representations than the MLP "
        "critic at a lower or equal bound (fig. 3).",
        tuple(effects),
        tuple(notes),
    )


_TARGETS = {
    f"{encoder}, t = {target:g}": Arm(encoder, "bilinear", "info_nce", target)
    for target in (2.0, 4.0)
    for encoder in ("mlp", "convnet")
}


def _judge_encoders(runs: Runs) -> Verdict:
    effects, notes = [], []
    for target in (2, 4):
        conv, mlp = f"convnet, t = {target}", f"mlp, t = {target}"
        values = subtract(runs.last(conv, "accuracy"), runs.last(mlp, "accuracy"))
        effects.append(Effect(f"t = {target}: accuracy, ConvNet - MLP", values, ""))
        reached = [runs.last(arm, "bound/train")[0] for arm in (conv, mlp)]
        notes.append(
            f"I_EST on training batches at t = {target} (first seed): ConvNet "
            f"{reached[0]:.2f}, MLP {reached[1]:.2f}."
        )
    return Verdict(
        "At the same bound the encoder decides: ConvNet beats MLP (fig. 4a, b).",
        tuple(effects),
        tuple(notes),
    )


_LENGTHS = {"smoke": (60, 3), "cpu": (20_000, 20), "paper": (20_000, 20)}


def _run_negatives(scale: str, seeds: Sequence[int], data, folder: Path, tell):
    steps, readings = _LENGTHS[scale]
    runs = Runs(folder / "runs", {"scale": scale, "steps": steps})
    runs.collect(
        negatives.ARMS,
        seeds,
        lambda arm, seed: negatives.train(arm, steps, readings, seed),
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
        tuple(effect for effect in over if "shared" in effect.what),
        (
            "Closed forms: NWJ tends to 0.1081, InfoNCE to at least 0.2018.",
            *(f"Control, {effect}." for effect in over if "iid" in effect.what),
        ),
    )
    write(folder, runs, verdict)
    draw(
        folder / "figure.png",
        runs,
        [("bound", "bound on batches, nats")],
        {"bound": negatives.TRUTH},
    )
    return verdict


STUDIES: dict[str, Study] = {
    "bijective": Study(
        "1a, 1b",
        _on_halves(
            _BIJECTIVE,
            _sizes(Size(800, 5, couplings=30, width=256), couplings=2, width=16),
            _judge_bijective,
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
            _sizes(Size(2000, 5)),
            _judge_encoders,
        ),
    ),
    "negatives": Study("4c", _run_negatives, needs_images=False),
}
