"""The tables of Hjelm et al. 2019 as they are fixed before they are run.

Rows, budget, claims and controls of each. `digest` sums it up and `VERSIONS` records
it, as `protocol` does for the studies of the critique.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace

from tf_infomax.studies.layout import Arm, Line, Size, Table
from tf_infomax.studies.rules import Claim, compare

SEEDS, SCALE, DATASET = (100, 101, 102), "cpu", "fashion_m"
_LEVEL = 0.02  # of accuracy: what is no more below counts as level
_AS_GOOD = 0.01  # of accuracy, by which a ">=" may be missed
_LEARNED = 0.05  # of accuracy above the untrained encoder's, the least that counts


_PROBED = {
    "conv": "probe/linear/conv",
    "fc": "probe/linear/fc",
    "Y": "probe/linear/code",
}
_PERCENT = dict.fromkeys(_PROBED, (100.0, 1))


def _line(label: str, arm: str, *paper: str) -> Line:
    return Line(label, arm, _PROBED, dict(zip(_PROBED, paper, strict=False)))


_UNTRAINED = "untrained"
_CRITIC = (("critic_units", 256),)
_DIM_ARMS = {
    "dim_global": Arm("dim_global", (*_CRITIC, ("bound", "jsd"))),
    **{
        f"dim_local_{bound}": Arm("dim_local", (*_CRITIC, ("bound", bound)))
        for bound in ("dv", "jsd", "info_nce")
    },
    "dim_local_global": Arm("dim_local_global", (*_CRITIC, ("bound", "info_nce"))),
}
_GENERATIVE = ("vae", "ae", "beta_vae", "aae", "bigan")
_AUGMENTED = (("views", "augment"), ("augment", ("crop", "flip", "color")))

_CPU = (
    ("encoder", "basic32x32"),
    ("steps", 1000),
    ("batch_size", 64),
    ("learning_rate", 1e-3),
    ("schedule", "cosine"),
    ("online_probe", "none"),
    ("probes", ("linear",)),
    ("probe_seeds", 1),
    ("probe_images", 5000),
    ("baselines", False),
)
_SMOKE = {"steps": 4, "batch_size": 32, "probe_images": 200}
_PAPER = (
    ("encoder", "basic32x32"),
    ("epochs", 1000),
    ("batch_size", 64),
    ("learning_rate", 1e-4),
    ("beta_1", 0.5),
    ("online_probe", "none"),
    ("probes", ("linear", "mlp")),
    ("probe_seeds", 1),
)


def _sizes(*evaluations: str) -> dict[str, Size]:
    return {
        "smoke": Size(tuple((dict(_CPU) | _SMOKE).items()), evaluations),
        "cpu": Size(_CPU, evaluations),
        "paper": Size(_PAPER, evaluations),
    }


_Y, _FC = _PROBED["Y"], _PROBED["fc"]
_ACCURACY = "accuracy of a linear probe"


def _above(arm: str, others: Sequence[str], curves=(_Y,), **region) -> tuple:
    """A rule for each of the others and each curve."""
    return tuple(
        compare(curve, arm, other, f"{_ACCURACY}, {curve.split('/')[-1]}", **region)
        for other in others
        for curve in curves
    )


_BEST = "dim_local_info_nce"
DIM_TABLE = Table(
    what="tables 1 and 2",
    arms={
        "supervised": Arm("supervised"),
        "supervised_1": Arm("supervised", (("label_fraction", 0.01),)),
        "supervised_10": Arm("supervised", (("label_fraction", 0.1),)),
        "vae": Arm("vae"),
        "ae": Arm("ae"),
        "beta_vae": Arm("beta_vae"),
        "aae": Arm("aae"),
        "bigan": Arm("bigan", (("learning_rate", 2e-4),)),
        "nat": Arm("nat"),
        **_DIM_ARMS,
        "cpc": Arm("cpc", (("encoder", "cpc"),)),
        "cmc": Arm("multiview", (("views", "color"), ("view_critic", "cosine"))),
        "prior_matching": Arm("prior_matching"),
        _UNTRAINED: Arm("supervised", (("baselines", True),), False, ("pca",)),
    },
    lines=(
        _line("fully supervised", "supervised", "75.39", "75.39", "75.39"),
        _line("supervised, 10 % of the labels", "supervised_10"),
        _line("supervised, 1 % of the labels", "supervised_1"),
        _line("VAE", "vae", "60.71", "60.54", "54.61"),
        _line("AE", "ae", "62.19", "55.78", "54.47"),
        _line("beta-VAE", "beta_vae", "62.4", "57.89", "55.43"),
        _line("AAE", "aae", "59.44", "57.19", "52.81"),
        _line("BiGAN", "bigan", "62.57", "62.74", "52.54"),
        _line("NAT", "nat", "56.19", "51.29", "31.16"),
        _line("DIM(G)", "dim_global", "52.2", "52.84", "43.17"),
        _line("DIM(L), DV", "dim_local_dv", "72.66", "70.60", "64.71"),
        _line("DIM(L), JSD", "dim_local_jsd", "73.25", "73.62", "66.96"),
        _line("DIM(L), InfoNCE", _BEST, "75.21", "75.57", "69.13"),
        _line("DIM(L+G), InfoNCE", "dim_local_global"),
        _line("CPC", "cpc"),
        _line("CMC, lightness and chroma", "cmc"),
        _line("prior matching alone", "prior_matching"),
        Line("untrained encoder", _UNTRAINED, _PROBED, {}),
        Line("raw pixels", _UNTRAINED, {"conv": "probe/linear/pixels"}, {}),
        Line("64 principal components", _UNTRAINED, {"Y": "probe/linear/pca"}, {}),
    ),
    columns=_PERCENT,
    sizes=_sizes("values", "health", "probes"),
    claims=(
        Claim(
            "DIM(L) is above DIM(G) (table 1).",
            "69.13 against 43.17 on Y, 75.57 against 52.84 on fc",
            _above(_BEST, ("dim_global",), (_Y, _FC)),
        ),
        Claim(
            "DIM(L) is above every generative baseline, and NAT (table 1).",
            "69.13 on Y; the best of the others 55.43",
            _above(_BEST, (*_GENERATIVE, "nat")),
        ),
        Claim(
            "InfoNCE is at least as good as JSD, JSD at least as good as DV (table 1).",
            "69.13, 66.96, 64.71 on Y",
            (
                *_above(_BEST, ("dim_local_jsd",), low=-_AS_GOOD),
                *_above("dim_local_jsd", ("dim_local_dv",), low=-_AS_GOOD),
            ),
        ),
        Claim(
            "DIM(L) is level with the supervised network (table 1).",
            "75.57 on fc against 75.39",
            _above(_BEST, ("supervised",), (_FC,), low=-_LEVEL),
        ),
    ),
    controls=(
        *_above(_BEST, (_UNTRAINED,), low=_LEARNED),
        *_above("supervised", (_UNTRAINED,), low=_LEARNED),
        *_above(_BEST, ("prior_matching",), low=_LEARNED),
    ),
    history="1,000 steps, a learning rate of 1e-3 for all but BiGAN; not run yet",
)

_COORDINATES = (("coordinates", "absolute"),)
_OCCLUDED = (("occlude", True),)
_NCE = (*_CRITIC, ("bound", "info_nce"))


def _structured(label: str, arm: str, y: str, fc: str, conv: str) -> Line:
    return _line(label, arm, conv, fc, y)


DIM_STRUCTURE = Table(
    what="table 4",
    arms={
        "dim": Arm("dim_local", _NCE),
        "coordinates": Arm("dim_local", (*_NCE, *_COORDINATES)),
        "occlude": Arm("dim_local", (*_NCE, *_OCCLUDED)),
        "both": Arm("dim_local", (*_NCE, *_COORDINATES, *_OCCLUDED)),
        _UNTRAINED: Arm("supervised", trained=False),
    },
    lines=(
        _structured("DIM(L)", "dim", "70.65", "73.33", "77.46"),
        _structured("+ coordinates", "coordinates", "71.56", "73.89", "77.28"),
        _structured("+ occlusion", "occlude", "72.87", "74.45", "76.77"),
        _structured("+ both", "both", "73.99", "75.15", "77.27"),
        Line("untrained encoder", _UNTRAINED, _PROBED, {}),
    ),
    columns=_PERCENT,
    sizes=_sizes("values", "health", "probes"),
    claims=(
        Claim(
            "To predict coordinates helps (table 4).",
            "71.56 against 70.65 on Y, 73.89 against 73.33 on fc",
            _above("coordinates", ("dim",), (_Y, _FC)),
        ),
        Claim(
            "To occlude the image of the global code helps (table 4).",
            "72.87 against 70.65 on Y, 74.45 against 73.33 on fc",
            _above("occlude", ("dim",), (_Y, _FC)),
        ),
        Claim(
            "Both together help more than either (table 4).",
            "73.99 on Y, 75.15 on fc",
            _above("both", ("coordinates", "occlude"), (_Y, _FC)),
        ),
    ),
    controls=_above("dim", (_UNTRAINED,), low=_LEARNED),
    history="the settings of dim_table; not run yet",
)

_MEASURED = {
    "SVM conv": "probe/svm/conv",
    "SVM fc": "probe/svm/fc",
    "SVM Y": "probe/svm/code",
    "SSIM": "reconstruction/ssim/code",
    "MINE, nats": "mine/code",
    "NDM, nats": "ndm/sigmoid/code",
}
_SVM, _SSIM, _MINE, _NDM = (
    _MEASURED[each] for each in ("SVM Y", "SSIM", "MINE, nats", "NDM, nats")
)


def _measured(label: str, arm: str, *paper: str) -> Line:
    return Line(label, arm, _MEASURED, dict(zip(_MEASURED, paper, strict=False)))


def _more(curve: str, what: str, unit: str, arm: str, others: Sequence[str]) -> tuple:
    return tuple(compare(curve, arm, other, what, unit=unit) for other in others)


def _measuring(scale: str, size: Size) -> Size:
    short = {"ndm_steps": 4, "mine_steps": 4, "decoder_steps": 4}
    given = {"probes": ("svm",), **(short if scale == "smoke" else {})}
    return replace(size, options=(*size.options, *given.items()))


_MEASURED_ARMS = (
    "vae", "aae", "bigan", "nat", "dim_global", "dim_local_global", "dim_local_jsd",
)  # fmt: skip
DIM_MEASURES = Table(
    what="table 3",
    arms={
        **{name: DIM_TABLE.arms[name] for name in _MEASURED_ARMS},
        _UNTRAINED: Arm("supervised", trained=False),
    },
    lines=(
        _measured("VAE", "vae", "53.83", "42.14", "39.59", "0.72", "93.02", "1.62"),
        _measured("AAE", "aae", "55.22", "43.34", "37.76", "0.67", "87.48", "0.03"),
        _measured(
            "BiGAN", "bigan", "56.40", "38.42", "44.90", "0.46", "37.69", "24.49"
        ),
        _measured("NAT", "nat", "48.62", "42.63", "39.59", "0.29", "6.04", "0.02"),
        _measured(
            "DIM(G)", "dim_global", "46.8", "28.79", "29.08", "0.49", "49.63", "0.35"
        ),
        _measured(
            "DIM(L+G)",
            "dim_local_global",
            *("57.55", "45.56", "18.63", "0.53", "101.65", "0.5"),
        ),
        _measured(
            "DIM(L), JSD",
            "dim_local_jsd",
            *("63.25", "54.06", "49.62", "0.37", "45.09", "0.18"),
        ),
        Line("untrained encoder", _UNTRAINED, _MEASURED, {}),
    ),
    columns={
        **dict.fromkeys(("SVM conv", "SVM fc", "SVM Y"), (100.0, 1)),
        **dict.fromkeys(("SSIM", "MINE, nats", "NDM, nats"), (1.0, 2)),
    },
    sizes={
        scale: _measuring(scale, size)
        for scale, size in _sizes(
            "values", "health", "ndm", "mine", "reconstruction", "probes"
        ).items()
    },
    claims=(
        Claim(
            "A linear SVM does best on Y of DIM(L) (table 3).",
            "49.62; the best of the others, BiGAN, 44.90",
            _more(
                _SVM,
                "accuracy of a linear SVM on Y",
                "",
                "dim_local_jsd",
                ("vae", "aae", "bigan", "nat", "dim_global", "dim_local_global"),
            ),
        ),
        Claim(
            "By MINE the code of DIM(L+G) has the most information on the image, that "
            "of a VAE more than that of DIM(L), that of NAT the least (table 3).",
            "101.65, 93.02, 45.09 and 6.04 nats",
            (
                *_more(_MINE, "MINE", "nats", "dim_local_global", ("vae",)),
                *_more(_MINE, "MINE", "nats", "vae", ("dim_local_jsd",)),
                *_more(_MINE, "MINE", "nats", "dim_local_jsd", ("nat",)),
            ),
        ),
        Claim(
            "By NDM the units of BiGAN depend on one another most, those of a VAE more "
            "than those of DIM(L) (table 3).",
            "24.49, 1.62 and 0.18 nats of sigmoid(Y)",
            (
                *_more(_NDM, "NDM", "nats", "bigan", ("vae",)),
                *_more(_NDM, "NDM", "nats", "vae", ("dim_local_jsd",)),
            ),
        ),
        Claim(
            "A decoder makes more of an image again from Y of a VAE than of DIM(L) "
            "(table 3).",
            "MS-SSIM of 0.72 against 0.37",
            _more(_SSIM, "SSIM", "", "vae", ("dim_local_jsd",)),
        ),
    ),
    controls=_more(
        _SVM, "accuracy of a linear SVM on Y", "", "dim_local_jsd", (_UNTRAINED,)
    ),
    history="the settings of dim_table, but probes; the paper's DIM(L) of this table "
    "has the critic concat_and_convolve, here encode_and_dot; SSIM of one scale, where "
    "the paper says MS-SSIM and its program has one scale too; not run yet",
)

TABLES: dict[str, Table] = {
    "dim_table": DIM_TABLE,
    "dim_measures": DIM_MEASURES,
    "dim_structure": DIM_STRUCTURE,
}

VERSIONS: tuple[tuple[str, str, str], ...] = ()


def digest(name: str) -> str:
    """SHA-256 of a table and of what is frozen for all, in canonical JSON."""
    content = {
        "seeds": SEEDS,
        "scale": SCALE,
        "dataset": DATASET,
        "table": asdict(TABLES[name]),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def why_exploratory(
    name: str, scale: str, seeds: Sequence[int], dataset: str
) -> tuple[str, ...]:
    """What of a table's settings is not as it was frozen; () if all is."""
    reasons = []
    if scale != SCALE:
        reasons.append(f"scale {scale} instead of {SCALE}")
    if tuple(seeds) != SEEDS:
        given, frozen = (", ".join(map(str, each)) for each in (seeds, SEEDS))
        reasons.append(f"seeds {given} instead of {frozen}")
    if dataset != DATASET:
        reasons.append(f"data {dataset} instead of {DATASET}")
    frozen = {study: recorded for study, recorded, _ in VERSIONS}
    if frozen.get(name) != digest(name):
        reasons.append("rules that are not on record")
    return tuple(reasons)
