"""Table 3 of Hjelm et al. 2019: SVM, SSIM, MINE and NDM."""

from collections.abc import Sequence
from dataclasses import replace

from tf_infomax.studies.dim_accuracies import DIM_TABLE, UNTRAINED, sizes_with
from tf_infomax.studies.layout import Arm, Line, Size, Table
from tf_infomax.studies.rules import Claim, compare

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
        UNTRAINED: Arm("supervised", trained=False),
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
        Line("untrained encoder", UNTRAINED, _MEASURED, {}),
    ),
    columns={
        **dict.fromkeys(("SVM conv", "SVM fc", "SVM Y"), (100.0, 1)),
        **dict.fromkeys(("SSIM", "MINE, nats", "NDM, nats"), (1.0, 2)),
    },
    sizes={
        scale: _measuring(scale, size)
        for scale, size in sizes_with(
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
        _SVM, "accuracy of a linear SVM on Y", "", "dim_local_jsd", (UNTRAINED,)
    ),
    history="the settings of dim_table, but probes; the paper's DIM(L) of this table "
    "has the critic concat_and_convolve, here encode_and_dot; SSIM of one scale, where "
    "the paper says MS-SSIM and its program has one scale too; not run yet",
)
