"""Tables 1, 2 and 4 of Hjelm et al. 2019, and the figure on the number of negatives.

What they measure is the accuracy of linear probes.
"""

from collections.abc import Sequence

from tf_infomax.studies.layout import Arm, Line, Size, Table
from tf_infomax.studies.rules import Claim, compare

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


UNTRAINED = "untrained"
_CRITIC = (("critic_units", 256),)
OWN = {"bigan": {"learning_rate": 2e-4}}  # where it is not that of the size
# The best of six trials each on validation labels (docs/results/search_rows.json);
# the rows that have no entry do best with their own options.
FOUND = {
    "ae": {"learning_rate": 4.66e-4},
    "beta_vae": {"learning_rate": 6.98e-4, "kl_weight": 3.2},
    "bigan": {"learning_rate": 1.85e-4, "gradient_penalty": 2.26},
    "dim_global": {"learning_rate": 3.42e-4, "gamma": 0.332},
    "dim_local_info_nce": {"learning_rate": 6.98e-4, "gamma": 0.147},
    "dim_local_global": {"learning_rate": 6.98e-4, "gamma": 0.147},
    "prior_matching": {"learning_rate": 3.42e-4, "gradient_penalty": 1.11},
}


def _arm(name: str, objective: str, *options: tuple) -> Arm:
    """With what was found for a row of this name."""
    found = OWN.get(name, {}) | FOUND.get(name, {})
    return Arm(objective, (*options, *found.items()))


_DIM_ARMS = {
    "dim_global": _arm("dim_global", "dim_global", *_CRITIC, ("bound", "jsd")),
    **{
        f"dim_local_{bound}": _arm(
            f"dim_local_{bound}", "dim_local", *_CRITIC, ("bound", bound)
        )
        for bound in ("dv", "jsd", "info_nce")
    },
    "dim_local_global": _arm(
        "dim_local_global", "dim_local_global", *_CRITIC, ("bound", "info_nce")
    ),
}
_GENERATIVE = ("vae", "ae", "beta_vae", "aae", "bigan")

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
_SMOKE = {"steps": 4, "probe_images": 200}
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


def sizes_with(*evaluations: str) -> dict[str, Size]:
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
        "supervised_augmented": Arm(
            "supervised", (("augment", ("crop", "flip", "color")),)
        ),
        "supervised_1": Arm("supervised", (("label_fraction", 0.01),)),
        "supervised_10": Arm("supervised", (("label_fraction", 0.1),)),
        **{name: _arm(name, name) for name in (*_GENERATIVE, "nat")},
        **_DIM_ARMS,
        "cpc": Arm("cpc", (("encoder", "cpc"),)),
        "cmc": Arm("multiview", (("views", "color"), ("view_critic", "cosine"))),
        "prior_matching": _arm("prior_matching", "prior_matching"),
        UNTRAINED: Arm("supervised", (("baselines", True),), False, ("pca",)),
    },
    lines=(
        _line("fully supervised", "supervised", "75.39", "75.39", "75.39"),
        _line("the same, images cropped, flipped, recoloured", "supervised_augmented"),
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
        Line("untrained encoder", UNTRAINED, _PROBED, {}),
        Line("raw pixels", UNTRAINED, {"conv": "probe/linear/pixels"}, {}),
        Line("64 principal components", UNTRAINED, {"Y": "probe/linear/pca"}, {}),
    ),
    columns=_PERCENT,
    sizes=sizes_with("values", "health", "probes"),
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
        *_above(_BEST, (UNTRAINED,), low=_LEARNED),
        *_above("supervised", (UNTRAINED,), low=_LEARNED),
        *_above(_BEST, ("prior_matching",), low=_LEARNED),
    ),
    history="1,000 steps; learning rates and weights by six trials of 500 steps each "
    "on validation labels (docs/results/search_rows.json); frozen before the first run",
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
        UNTRAINED: Arm("supervised", trained=False),
    },
    lines=(
        _structured("DIM(L)", "dim", "70.65", "73.33", "77.46"),
        _structured("+ coordinates", "coordinates", "71.56", "73.89", "77.28"),
        _structured("+ occlusion", "occlude", "72.87", "74.45", "76.77"),
        _structured("+ both", "both", "73.99", "75.15", "77.27"),
        Line("untrained encoder", UNTRAINED, _PROBED, {}),
    ),
    columns=_PERCENT,
    sizes=sizes_with("values", "health", "probes"),
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
    controls=_above("dim", (UNTRAINED,), low=_LEARNED),
    history="the settings of dim_table; frozen before the first run",
)

_FEW, _MANY = 1, 63
_COUNTS = (_FEW, 3, 7, 15, 31, _MANY)
_COUNTED = ("info_nce", "jsd")


def _with_negatives(bound: str, count: int) -> Arm:
    options = (*_CRITIC, ("bound", bound), ("negative_images", count))
    return Arm("dim_local", options)


DIM_NEGATIVES = Table(
    what="the figure of appendix A.3 on the number of negatives",
    arms={
        **{
            f"{bound}_{count}": _with_negatives(bound, count)
            for bound in _COUNTED
            for count in _COUNTS
        },
        UNTRAINED: Arm("supervised", trained=False),
    },
    lines=(
        *(
            _line(
                f"{bound}, {count} other image{'s' * (count > 1)}", f"{bound}_{count}"
            )
            for bound in _COUNTED
            for count in _COUNTS
        ),
        Line("untrained encoder", UNTRAINED, _PROBED, {}),
    ),
    columns=_PERCENT,
    sizes=sizes_with("values", "health", "probes"),
    claims=(
        Claim(
            "More negatives help InfoNCE (appendix A.3).",
            "a curve of three runs, no numbers: InfoNCE rises with the logarithm",
            _above(f"info_nce_{_MANY}", (f"info_nce_{_FEW}",)),
        ),
        Claim(
            "They help it more than JSD (appendix A.3).",
            "JSD is nearly the same with few",
            _above("info_nce, many - few", ("jsd, many - few",)),
        ),
    ),
    controls=_above(f"info_nce_{_MANY}", (UNTRAINED,), low=_LEARNED),
    history="the settings of dim_table, 64 images in a batch whatever the number of "
    "negatives; frozen before the first run",
    differences={
        f"{bound}, many - few": (f"{bound}_{_MANY}", f"{bound}_{_FEW}")
        for bound in _COUNTED
    },
)
