"""The objectives that can be chosen, and their options."""

from collections.abc import Mapping
from dataclasses import dataclass

from tf_infomax.options import tables
from tf_infomax.options.core import (
    Options,
    Row,
    format_value,
    option,
    refuse_if,
    suggest,
)
from tf_infomax.options.encoders import CONVNETS, ENCODERS

_GROUP, _VIEW = "Objective", "Views"


def refuse_void(config, name: str, effective: bool, needed: str) -> None:
    """Refuses an option that others leave without effect."""
    given = format_value(getattr(config, name))
    refuse_if(
        not effective and config.is_changed(name),
        f"--{name}={given} changes nothing without {needed}.",
    )


@dataclass(frozen=True)
class Terms(Options):
    """Of objectives that are bounds between features."""

    bound: str = option(
        "info_nce", _GROUP, "What the terms maximize.", choices=tables.BOUNDS
    )
    negatives: str = option(
        "all",
        _GROUP,
        "all: every other image of the batch (of a local term at all locations); "
        "same_location: at the same; derangement: one each; hard, weighted, memory: "
        "of multiview; same_image: of cpc; shared_context: batches of consecutive "
        "images, as frames of a film.",
        choices=(
            "all", "same_location", "derangement", "hard", "weighted", "memory",
            "same_image", "shared_context",
        ),
    )  # fmt: skip


@dataclass(frozen=True)
class CriticUnits(Options):
    """Of objectives with critics of several kinds."""

    critic_units: int = option(
        256,
        _GROUP,
        "Width of the critics; 0: the paper's (2048 for dot products, 512 for the "
        "others), which take ten times as long.",
        low=0,
        high=16384,
    )


@dataclass(frozen=True)
class Discriminator(Options):
    """Of objectives with a discriminator and a distribution of codes."""

    prior: str = option(
        "uniform",
        _GROUP,
        "Distribution to match the code to.",
        choices=tables.PRIORS,
    )
    gradient_penalty: float = option(
        1.0,
        _GROUP,
        "Weight of the discriminator's gradient penalty.",
        low=0.0,
    )


WITHOUT_DISCRIMINATOR = ("mmd", "sliced_wasserstein")  # of the prior losses


@dataclass(frozen=True)
class Matching(Discriminator):
    """Of objectives that match the code to a prior."""

    prior_loss: str = option(
        "non_saturating",
        _GROUP,
        "Of the encoder against the prior's discriminator; mmd, sliced_wasserstein: "
        "distances of a batch of codes and of draws, without one.",
        choices=tables.PRIOR_LOSSES,
    )

    @staticmethod
    def check(config) -> None:
        others = [n for n in tables.PRIOR_LOSSES if n not in WITHOUT_DISCRIMINATOR]
        refuse_void(
            config,
            "gradient_penalty",
            config.prior_loss in others,
            f"a discriminator (--prior_loss={', '.join(others)})",
        )


@dataclass(frozen=True)
class Prior(Matching):
    """Of objectives that match the code to a prior, with a weight."""

    gamma: float = option(
        -1.0,
        _GROUP,
        "Weight of the prior term; -1: the objective's own.",
        low=-1.0,
        unset=-1.0,
    )

    @staticmethod
    def check(config) -> None:
        gamma = f"a --gamma above 0 (--objective={config.objective} has "
        gamma += f"{config.gamma:g})"
        for name in ("prior", "gradient_penalty", "prior_loss"):
            refuse_void(config, name, config.gamma > 0, gamma)


@dataclass(frozen=True)
class Structure(Options):
    """Of objectives between local features and the code of an image."""

    coordinates: str = option(
        "none",
        _GROUP,
        "Also predict, from local features and the code, their row and column in the "
        "map (absolute), their offset from one of them (relative), or both.",
        choices=("none", "absolute", "relative", "both"),
    )
    coordinates_weight: float = option(
        1.0, _GROUP, "Weight of each such prediction.", above=0.0
    )
    occlude: bool = option(
        False,
        _GROUP,
        "In training codes are of images of which a random rectangle is hidden, local "
        "features of whole ones.",
    )

    @staticmethod
    def check(config) -> None:
        chosen = config.coordinates != "none"
        refuse_void(config, "coordinates_weight", chosen, "--coordinates")


@dataclass(frozen=True)
class Dim(Terms, CriticUnits, Prior, Structure):
    """Of Deep InfoMax (Hjelm et al. 2019, eq. 8)."""

    alpha: float = option(
        -1.0,
        _GROUP,
        "Weight of the global term; -1: the objective's own.",
        low=-1.0,
        unset=-1.0,
    )
    beta: float = option(
        -1.0,
        _GROUP,
        "Weight of the local term; -1: the objective's own.",
        low=-1.0,
        unset=-1.0,
    )
    local_critic: str = option(
        "encode_and_dot",
        _GROUP,
        "Critic of the local term.",
        choices=tables.LOCAL_CRITICS,
    )
    global_critic: str = option(
        "concat_mlp",
        _GROUP,
        "Critic of the global term.",
        choices=tables.GLOBAL_CRITICS,
    )
    multiple_globals: bool = option(
        False,
        _GROUP,
        "The local term scores every place of the encoder's feature globals instead of "
        "the code.",
    )
    negative_images: int = option(
        0,
        _GROUP,
        "How many other images of the batch each is contrasted with; 0: all.",
        low=0,
    )

    @staticmethod
    def check(config) -> None:
        c = config
        refuse_if(
            c.negative_images >= c.batch_size,
            f"--negative_images must be at most {c.batch_size - 1}, the others of "
            f"--batch_size={c.batch_size}. Received: {c.negative_images}.",
        )
        refuse_if(
            c.alpha == c.beta == 0,
            "--alpha and --beta are both 0: nothing to maximize.",
        )
        refuse_void(c, "global_critic", c.alpha > 0, "a global term (--alpha above 0)")
        for name in ("local_critic", "negatives", "multiple_globals"):
            refuse_void(c, name, c.beta > 0, "a local term (--beta above 0)")
        refuse_if(
            c.alpha > 0
            and c.global_critic == "global_dot"
            and c.encoder not in (*CONVNETS, "auto"),
            "--global_critic=global_dot copies layers of a built-in encoder: "
            f"{', '.join(CONVNETS)}. Received: --encoder={c.encoder}; take concat_mlp.",
        )
        refuse_if(
            c.negatives != "all" and c.bound not in ("info_nce", "dv"),
            f"--negatives={c.negatives} changes nothing for --bound={c.bound}.",
        )


@dataclass(frozen=True)
class Target(Options):
    """Of objectives that can aim at a value."""

    target: float = option(
        0.0, _VIEW, "Reach this value, by |value - target|; 0: maximize.", low=0.0
    )


@dataclass(frozen=True)
class Multiview(Terms, CriticUnits, Prior, Target):
    """Of objectives between the codes of views (Tschannen et al. 2020, eq. 1)."""

    view_encoders: str = option(
        "separate",
        _VIEW,
        "Whether the views of multiview have encoders of their own.",
        choices=("separate", "shared"),
    )
    other_encoder: str = option(
        "", _VIEW, "Encoder of the views but the first; empty: as --encoder."
    )
    view_graph: str = option(
        "core",
        _VIEW,
        "Of more than two views: core pairs the first with each other one, full all.",
        choices=("core", "full"),
        of=("views", "quadrants"),
    )
    view_critic: str = option(
        "bilinear",
        _VIEW,
        "Critic between the codes of two views.",
        choices=tables.VECTOR_CRITICS,
    )
    temperature: float = option(
        0.07,
        _VIEW,
        "Of --view_critic=cosine: f = cos / T.",
        above=0.0,
        of=("view_critic", "cosine"),
    )
    hard_negatives: int = option(
        16, _VIEW, "How many, for --negatives=hard.", low=1, of=("negatives", "hard")
    )
    hardness: float = option(
        1.0,
        _VIEW,
        "Exponent of the weights, for --negatives=weighted.",
        low=0.0,
        of=("negatives", "weighted"),
    )
    memory_negatives: int = option(
        4096,
        _VIEW,
        "How many of the bank per step, for --negatives=memory.",
        low=1,
        of=("negatives", "memory"),
    )
    memory_loss: str = option(
        "info_nce",
        _VIEW,
        "Of the bank: InfoNCE, or noise-contrastive estimation.",
        choices=("info_nce", "nce"),
        of=("negatives", "memory"),
    )

    @staticmethod
    def check(config) -> None:
        _check_negatives(config)
        _check_view_encoders(config)
        refuse_if(
            config.target > 0 and config.memory_loss == "nce",
            "--target is of a value in nats, which --memory_loss=nce is not.",
        )
        refuse_if(
            config.critic_units > 0
            and config.view_critic not in ("separable", "concatenated"),
            f"--critic_units changes nothing for --view_critic={config.view_critic}.",
        )


def _check_negatives(c) -> None:
    refuse_if(
        c.negatives in ("hard", "weighted", "memory") and c.bound != "info_nce",
        f"--negatives={c.negatives} goes with --bound=info_nce. Received: {c.bound}.",
    )
    refuse_if(
        c.negatives == "derangement" and c.batch_size % 2 == 1,
        "--negatives=derangement needs an even --batch_size. Received: "
        f"{c.batch_size}.",
    )
    refuse_if(
        c.negatives == "hard" and c.hard_negatives >= c.batch_size,
        f"--hard_negatives must be below --batch_size={c.batch_size}. Received: "
        f"{c.hard_negatives}.",
    )
    refuse_if(
        c.negatives == "memory" and c.view_critic != "cosine",
        "--negatives=memory keeps unit vectors: it needs --view_critic=cosine. "
        f"Received: {c.view_critic}.",
    )
    refuse_if(
        c.negatives == "memory" and c.strategy == "mirrored",
        "--negatives=memory does not work under --strategy=mirrored: choose one.",
    )


def _check_view_encoders(c) -> None:
    shared = c.view_encoders == "shared"
    refuse_if(
        shared and bool(c.other_encoder),
        f"--other_encoder={c.other_encoder} needs --view_encoders=separate.",
    )
    refuse_if(
        shared and c.views == "color",
        "--views=color has views of one and of two channels: --view_encoders=separate.",
    )
    known = [name for name, row in ENCODERS.items() if not row.argument]
    refuse_if(
        bool(c.other_encoder) and c.other_encoder not in known,
        f"--other_encoder takes {', '.join(known)}. Received: {c.other_encoder!r}."
        f"{suggest(c.other_encoder, known)}",
    )


@dataclass(frozen=True)
class Cpc(Terms, Target):
    """Of contrastive predictive coding (van den Oord et al. 2018)."""


@dataclass(frozen=True)
class Supervised(Options):
    """Of training with labels."""

    label_fraction: float = option(
        1.0,
        _GROUP,
        "Part of the labels of each class to train with, at least one of each; the "
        "other images count in batch norm alone.",
        above=0.0,
        high=1.0,
    )


@dataclass(frozen=True)
class Reconstruction(Options):
    """Of objectives that make the image again from its code."""

    likelihood: str = option(
        "gaussian",
        _GROUP,
        "Of the pixels given the code.",
        choices=tables.LIKELIHOODS,
    )
    deviation: float = option(
        8**-0.5,
        _GROUP,
        "Of --likelihood=gaussian, of intensities in [0, 1]; 8^-1/2 is the squared "
        "error of images in [-1, 1].",
        above=0.0,
        of=("likelihood", "gaussian"),
    )


@dataclass(frozen=True)
class Variational(Reconstruction):
    """Of autoencoders with a distribution of codes."""

    kl_weight: float = option(
        -1.0,
        _GROUP,
        "Weight of KL(q(z | x) || N(0, I)), beta; -1: the objective's own.",
        low=-1.0,
        unset=-1.0,
    )


@dataclass(frozen=True)
class Adversarial(Reconstruction, Prior):
    """Of autoencoders whose codes are matched to a prior."""

    @staticmethod
    def check(config) -> None:
        refuse_if(
            config.gamma <= 0,
            "--gamma must be above 0 for --objective=aae; with 0 it is --objective=ae. "
            f"Received: {config.gamma:g}.",
        )


@dataclass(frozen=True)
class Nat(Options):
    """Of noise as targets."""

    assign_every: int = option(
        1,
        _GROUP,
        "Passes over the images from one in which the images of a batch exchange their "
        "targets to the next.",
        low=1,
    )

    @staticmethod
    def check(config) -> None:
        refuse_if(
            config.jit_compile,
            "--jit_compile cannot compile --objective=nat, which assigns targets by "
            "SciPy: choose one.",
        )


@dataclass(frozen=True)
class Embedding(Options):
    """Of objectives that embed two views of each image."""

    head_layers: int = option(
        2,
        _GROUP,
        "Layers between the code, which is probed, and the embedding, which the loss "
        "sees; 0: the code is the embedding.",
        low=0,
        high=8,
    )
    head_units: int = option(
        256, _GROUP, "Width of these layers but the last.", low=1, high=16384
    )
    embedding_size: int = option(
        128, _GROUP, "Width of the embedding.", low=2, high=16384
    )

    @staticmethod
    def check(config) -> None:
        layers = config.head_layers
        refuse_void(config, "head_units", layers > 1, "--head_layers above 1")
        refuse_void(config, "embedding_size", layers > 0, "--head_layers above 0")


@dataclass(frozen=True)
class Contrastive(Embedding):
    """Of losses of the softmax of similarities."""

    similarity_temperature: float = option(
        0.2, _GROUP, "T of the similarities cos / T of embeddings.", above=0.0
    )


@dataclass(frozen=True)
class Debiased(Contrastive):
    """Of negatives that are corrected for those of the own class."""

    class_share: float = option(
        0.1, _GROUP, "Share of images of one's own class.", low=0.0, high=0.99
    )


@dataclass(frozen=True)
class Invariant(Embedding):
    """Of losses with the distance of the two embeddings."""

    invariance_weight: float = option(
        25.0, _GROUP, "Weight of the mean squared difference of views.", above=0.0
    )


@dataclass(frozen=True)
class Vicreg(Invariant):
    """Of variance-invariance-covariance regularization."""

    variance_weight: float = option(
        25.0, _GROUP, "Weight of the shortfall of deviations from 1.", low=0.0
    )
    covariance_weight: float = option(
        1.0, _GROUP, "Weight of the squared covariances.", low=0.0
    )


@dataclass(frozen=True)
class Barlow(Embedding):
    """Of the correlation of two views."""

    off_diagonal_weight: float = option(
        0.0051, _GROUP, "Weight of correlations of different columns.", low=0.0
    )


@dataclass(frozen=True)
class Bootstrap(Embedding):
    """Of a network that foretells an average of itself."""

    momentum: float = option(
        0.99, _GROUP, "Of the average, a step.", low=0.0, high=0.9999
    )

    @staticmethod
    def check(config) -> None:
        refuse_if(
            config.head_layers == 0,
            "--head_layers must be at least 1 for --objective=byol. Received: 0.",
        )


def _preset_of_multiview(given: Mapping) -> dict:
    """Halves, by an MLP, which takes images of any size (Tschannen et al. 2020)."""
    views = given.get("views", "halves")
    parts = {"encoder": "mlp"} if views in ("halves", "quadrants") else {}
    return {"gamma": 0.0, "critic_units": 0, "views": views, **parts}


def _preset_of_aae(given: Mapping) -> dict:
    """A normal prior; what a discriminator has, if there is one."""
    alone = given.get("prior_loss") in WITHOUT_DISCRIMINATOR
    against = {} if alone else {"gradient_penalty": 0.5, "beta_1": 0.5}
    return {"prior": "normal", "gamma": 1.0, **against}


def _features_of_dim(config) -> frozenset[str]:
    places = {"encoder:globals"} if config.multiple_globals else set()
    return frozenset({"encoder:local"} | places)


_ONE_VIEW = {"views": ("one",)}
_JOINT = dict(
    preset={"views": "augment", "augment": ("crop", "flip", "color")},
    choices={"views": ("augment", "crops", "pairs")},
)
_JOINT_MODULE = "tf_infomax.objectives.joint"
_DIM = dict(
    options=Dim,
    asks=_features_of_dim,
    choices={"negatives": ("all", "same_location"), "views": ("one", "augment")},
)
# Weights as in section 4.2 of Hjelm et al. 2019, but gamma of DIM(L+G), which is not
# stated, is that of DIM(L).
OBJECTIVES: dict[str, Row] = {
    "dim_local": Row(
        "tf_infomax.objectives.dim:build",
        preset={"alpha": 0.0, "beta": 1.0, "gamma": 0.1},
        **_DIM,
    ),
    "dim_global": Row(
        "tf_infomax.objectives.dim:build",
        preset={"alpha": 1.0, "beta": 0.0, "gamma": 1.0},
        **_DIM,
    ),
    "dim_local_global": Row(
        "tf_infomax.objectives.dim:build",
        preset={"alpha": 0.5, "beta": 0.1, "gamma": 0.1},
        **_DIM,
    ),
    "multiview": Row(
        "tf_infomax.objectives.multiview:build",
        options=Multiview,
        preset=_preset_of_multiview,
        choices={
            "negatives": (
                "all", "derangement", "hard", "weighted", "memory", "shared_context",
            ),
            "views": ("augment", "crops", "halves", "quadrants", "color", "pairs"),
        },
    ),
    "cpc": Row(
        "tf_infomax.objectives.cpc:build",
        options=Cpc,
        preset={"encoder": "cpc"},
        asks=frozenset({"encoder:future"}),
        choices={
            "negatives": ("all", "same_image", "shared_context"),
            "views": ("one",),
        },
    ),
    "supervised": Row(
        "tf_infomax.objectives.supervised:build",
        options=Supervised,
        asks=frozenset({"data:label"}),
        choices=_ONE_VIEW,
    ),
    "ae": Row(
        "tf_infomax.objectives.autoencoder:build",
        options=Reconstruction,
        choices=_ONE_VIEW,
    ),
    "vae": Row(
        "tf_infomax.objectives.autoencoder:build_variational",
        options=Variational,
        preset={"kl_weight": 1.0},
        choices=_ONE_VIEW,
    ),
    "beta_vae": Row(
        "tf_infomax.objectives.autoencoder:build_variational",
        options=Variational,
        preset={"kl_weight": 4.0},
        choices=_ONE_VIEW,
    ),
    # As in section 4 and appendix A.3 of Donahue et al. 2017, with the penalty of the
    # baseline of Hjelm et al. 2019.
    "bigan": Row(
        "tf_infomax.objectives.bigan:build",
        options=Discriminator,
        preset={
            "prior": "normal",
            "gradient_penalty": 0.5,
            "beta_1": 0.5,
            "learning_rate": 2e-4,
            "schedule": "constant",
        },
        choices=_ONE_VIEW,
    ),
    "aae": Row(
        "tf_infomax.objectives.aae:build",
        options=Adversarial,
        preset=_preset_of_aae,
        choices=_ONE_VIEW,
    ),
    "prior_matching": Row(
        "tf_infomax.objectives.only_prior:build",
        options=Matching,
        choices=_ONE_VIEW,
    ),
    "nat": Row("tf_infomax.objectives.nat:build", options=Nat, choices=_ONE_VIEW),
    "simclr": Row(f"{_JOINT_MODULE}:build_nt_xent", options=Contrastive, **_JOINT),
    "decoupled": Row(f"{_JOINT_MODULE}:build_decoupled", options=Contrastive, **_JOINT),
    "debiased": Row(f"{_JOINT_MODULE}:build_debiased", options=Debiased, **_JOINT),
    "supcon": Row(
        f"{_JOINT_MODULE}:build_supervised_contrast",
        options=Contrastive,
        asks=frozenset({"data:label"}),
        **_JOINT,
    ),
    "vicreg": Row(f"{_JOINT_MODULE}:build_vicreg", options=Vicreg, **_JOINT),
    "barlow_twins": Row(
        f"{_JOINT_MODULE}:build_barlow_twins", options=Barlow, **_JOINT
    ),
    "log_determinant": Row(
        f"{_JOINT_MODULE}:build_log_determinant", options=Invariant, **_JOINT
    ),
    "byol": Row("tf_infomax.objectives.byol:build", options=Bootstrap, **_JOINT),
}  # fmt: skip
