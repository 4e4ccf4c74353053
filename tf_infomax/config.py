"""The options of an experiment: one frozen dataclass, checked as a whole.

Every option is a field with its default, group, help, choices and range in one place;
`flags` makes command-line flags of the fields. Choices that are the rows of a table of
the library are read from its source, not imported, so that a mistyped flag is answered
before TensorFlow is loaded.

Imports the standard library only.
"""

import ast
import dataclasses
import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path


class ConfigError(ValueError):
    """An option that cannot be used: one line with the value and what is accepted."""

    exit_status = 2


@cache
def table_names(module: str, table: str) -> tuple[str, ...]:
    """The keys of the top-level dict literal `table` of a module of the package."""
    path = Path(__file__).parent / module
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        target = getattr(node, "target", None) or (getattr(node, "targets", [None])[0])
        if isinstance(target, ast.Name) and target.id == table:
            return tuple(key.value for key in node.value.keys)
    raise LookupError(f"no table {table} in {path.name}")


def suggest(given: str, known: Iterable[str]) -> str:
    """ " Did you mean ...?" if something known is close, else nothing."""
    close = difflib.get_close_matches(given, list(known), n=1)
    return f" Did you mean {close[0]}?" if close else ""


def format_value(value) -> str:
    """The value of an option as a flag takes it (but for booleans)."""
    return ",".join(value) if isinstance(value, tuple) else str(value)


def refuse_if(condition: bool, message: str) -> None:
    """Raises ConfigError if the condition holds."""
    if condition:
        raise ConfigError(message)


def option(
    default,
    group: str,
    help: str,
    *,
    choices: tuple = (),
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    driver: bool = False,
    repeated: bool = False,
):
    """A field of `Config`.

    Args:
        default: value and, by its type, the kind of flag.
        group: heading in the help.
        help: what it does, with its unit.
        choices: accepted strings (of each element, for a tuple).
        low, high: inclusive range; above: exclusive lower end.
        driver: says how the program runs, not what it computes, so that a run may be
            continued with another value.
        repeated: a tuple of which each element is a flag of its own.
    """
    metadata = dict(
        group=group,
        help=help,
        choices=choices,
        low=low,
        high=high,
        above=above,
        driver=driver,
        repeated=repeated,
    )
    return field(default=default, metadata=metadata)


def shared_option(name: str):
    """The same field as `Config` has, for another class of options."""
    original = Config.__dataclass_fields__[name]
    return field(default=original.default, metadata=original.metadata)


class Options:
    """Base of frozen dataclasses of `option` fields: checks each value by itself."""

    def __post_init__(self):
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if isinstance(each.default, float) and isinstance(value, int):
                object.__setattr__(self, each.name, float(value))
            if type(value) is str and value != each.default and value[:1] == "~":
                object.__setattr__(self, each.name, str(Path(value).expanduser()))
            _check_value(each, getattr(self, each.name))


@dataclass(frozen=True)
class Preset:
    """An objective: which terms, and weights of eq. 8 of Hjelm et al. 2019.

    Those of Deep InfoMax ("dim": global and local terms) are as in section 4.2 there,
    but gamma of DIM(L+G), which is not stated, is that of DIM(L). "multiview" has terms
    between the codes of views (Tschannen et al. 2020; Tian et al. 2019), "cpc" between
    contexts and later codes (van den Oord et al. 2018).
    """

    alpha: float
    beta: float
    gamma: float
    terms: str = "dim"


PRESETS = {
    "dim_local": Preset(alpha=0.0, beta=1.0, gamma=0.1),
    "dim_global": Preset(alpha=1.0, beta=0.0, gamma=1.0),
    "dim_local_global": Preset(alpha=0.5, beta=0.1, gamma=0.1),
    "multiview": Preset(alpha=0.0, beta=0.0, gamma=0.0, terms="multiview"),
    "cpc": Preset(alpha=0.0, beta=0.0, gamma=0.0, terms="cpc"),
}

_CRITICS, _DATA = "critics.py", "data/sources.py"

_RUN, _READ, _VIEW = "Run", "Data", "Views"
_MODEL, _OBJECTIVE = "Encoder", "Objective"
_TRAIN, _MACHINE, _PROBE = "Training", "Machine", "Evaluation"


@dataclass(frozen=True)
class Config(Options):
    """An experiment. `Config(steps=100)` is as good as a flagfile."""

    workdir: str = option(
        "", _RUN, "Folder of the run; made if missing. A second start continues."
    )
    seed: int = option(
        0, _RUN, "Seed of weights, data order, views and prior.", low=0, high=2**31 - 1
    )
    deterministic: bool = option(
        False, _RUN, "Only deterministic operations: the same run gives the same bits."
    )
    evaluate: bool = option(
        True, _RUN, "Probe the encoder when training is done.", driver=True
    )
    progress: str = option(
        "auto",
        _RUN,
        "Progress as a bar, as lines, or not at all; auto: a bar on a terminal.",
        choices=("auto", "bar", "lines", "none"),
        driver=True,
    )
    debug: bool = option(False, _RUN, "Show the traceback of an error.", driver=True)

    dataset: str = option(
        "fashion_m",
        _READ,
        "fashion_m, fashion_m:SOURCE, fashion, tfds:NAME, folder:PATH or arrays:FILE.",
    )
    eval_dataset: str = option(
        "",
        _READ,
        "Labelled images for the probes, if not the dataset's own: a second "
        "dataset, split into a training and a test part if it has none.",
    )
    image_size: int = option(
        0, _READ, "Side of the images in pixels; 0: as they are.", low=0, high=1024
    )
    resize: str = option(
        "crop",
        _READ,
        "crop: cut the central square, then scale; stretch: scale.",
        choices=("crop", "stretch"),
    )
    labels: str = option("", _READ, ".npy file with the labels of arrays:FILE.npy.")
    train_split: str = option("train", _READ, "TFDS split to train on.")
    test_split: str = option("test", _READ, "TFDS split to test on.")
    data_dir: str = option(
        "", _READ, "Folder of prepared TFDS sets; empty: TFDS' default.", driver=True
    )
    local_files: str = option(
        "",
        _READ,
        "Folder with the official files of a TFDS set, to prepare it from.",
        driver=True,
    )
    download: bool = option(False, _READ, "Let TFDS use the network.", driver=True)
    validation_fraction: float = option(
        0.1,
        _READ,
        "Part of the training images kept for choosing (online probe, bound); the "
        "probes of the results may use it, training does not.",
        low=0.0,
        high=0.5,
    )
    test_fraction: float = option(
        0.2,
        _READ,
        "Part kept for the test where a dataset has no test images.",
        above=0.0,
        high=0.5,
    )
    deduplicate: bool = option(
        False,
        _READ,
        "Of exact copies keep one: a test image rather than a training image, the "
        "first of several.",
    )
    pixel_range: str = option(
        "auto",
        _READ,
        "What black and white are in arrays:FILE; auto: by all their values.",
        choices=("auto", *table_names("data/scale.py", "PIXEL_RANGES")),
    )
    memory_limit_mb: int = option(
        4096,
        _READ,
        "Decoded images beyond this are memory-mapped from a file.",
        low=1,
        driver=True,
    )
    cache_dir: str = option(
        "~/.cache/tf_infomax", _READ, "Folder of these files.", driver=True
    )

    augment: tuple[str, ...] = option(
        (),
        _VIEW,
        "Augmentations, comma-separated.",
        choices=table_names("data/views.py", "AUGMENTATIONS"),
    )
    views: str = option(
        "one",
        _VIEW,
        "one: the image; augment, crops: twice, each augmented or cropped by itself; "
        "halves, quadrants, color (lightness and chroma), pairs: parts of it.",
        choices=table_names("data/views.py", "VIEWS"),
    )
    pair_dataset: str = option(
        "", _VIEW, "For --views=pairs: the other images, aligned with --dataset."
    )
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
    )
    view_critic: str = option(
        "bilinear",
        _VIEW,
        "Critic between the codes of two views.",
        choices=table_names(_CRITICS, "VECTOR_CRITICS"),
    )
    temperature: float = option(
        0.07, _VIEW, "Of --view_critic=cosine: f = cos / T.", above=0.0
    )
    target: float = option(
        0.0, _VIEW, "Reach this value, by |value - target|; 0: maximize.", low=0.0
    )
    hard_negatives: int = option(16, _VIEW, "How many, for --negatives=hard.", low=1)
    hardness: float = option(
        1.0, _VIEW, "Exponent of the weights, for --negatives=weighted.", low=0.0
    )
    memory_negatives: int = option(
        4096, _VIEW, "How many of the bank per step, for --negatives=memory.", low=1
    )
    memory_loss: str = option(
        "info_nce",
        _VIEW,
        "Of the bank: InfoNCE, or noise-contrastive estimation.",
        choices=("info_nce", "nce"),
    )

    encoder: str = option(
        "basic32x32",
        _MODEL,
        f"{', '.join(table_names('encoders/__init__.py', 'ENCODERS'))}, or "
        "keras:FILE.keras.",
    )
    code_size: int = option(64, _MODEL, "Numbers in the code Y.", low=1, high=65536)
    encoder_layers: tuple[str, ...] = option(
        (),
        _MODEL,
        "Layers of keras:FILE, as local=NAME,code=NAME[,conv=NAME][,fc=NAME].",
    )
    encoder_input: str = option(
        "0_255",
        _MODEL,
        "What keras:FILE expects pixels to be.",
        choices=("0_255", "0_1", "-1_1"),
    )

    objective: str = option(
        "dim_local",
        _OBJECTIVE,
        "Preset of alpha, beta and gamma.",
        choices=tuple(PRESETS),
    )
    alpha: float = option(
        -1.0, _OBJECTIVE, "Weight of the global term; -1: the preset's.", low=-1.0
    )
    beta: float = option(
        -1.0, _OBJECTIVE, "Weight of the local term; -1: the preset's.", low=-1.0
    )
    gamma: float = option(
        -1.0, _OBJECTIVE, "Weight of the prior term; -1: the preset's.", low=-1.0
    )
    bound: str = option(
        "info_nce",
        _OBJECTIVE,
        "What the terms maximize.",
        choices=table_names("bounds.py", "BOUNDS"),
    )
    negatives: str = option(
        "all",
        _OBJECTIVE,
        "all: every other image of the batch (of a local term at all locations); "
        "same_location: at the same; derangement: one each; hard, weighted, memory: "
        "of multiview; same_image: of cpc; shared_context: batches of consecutive "
        "images, as frames of a film.",
        choices=(
            "all",
            "same_location",
            "derangement",
            "hard",
            "weighted",
            "memory",
            "same_image",
            "shared_context",
        ),
    )
    local_critic: str = option(
        "encode_and_dot",
        _OBJECTIVE,
        "Critic of the local term.",
        choices=table_names(_CRITICS, "LOCAL_CRITICS"),
    )
    global_critic: str = option(
        "concat_mlp",
        _OBJECTIVE,
        "Critic of the global term.",
        choices=table_names(_CRITICS, "GLOBAL_CRITICS"),
    )
    critic_units: int = option(
        0,
        _OBJECTIVE,
        "Width of the critics; 0: the paper's (2048 for dot products, 512 for the "
        "others).",
        low=0,
        high=16384,
    )
    prior: str = option(
        "uniform",
        _OBJECTIVE,
        "Distribution to match the code to.",
        choices=table_names("priors.py", "PRIORS"),
    )
    gradient_penalty: float = option(
        1.0,
        _OBJECTIVE,
        "Weight of the prior discriminator's gradient penalty.",
        low=0.0,
    )

    steps: int = option(0, _TRAIN, "Training steps. Give this or epochs.", low=0)
    epochs: int = option(
        0, _TRAIN, "Passes over the training images. Give this or steps.", low=0
    )
    batch_size: int = option(64, _TRAIN, "Images per step, over all devices.", low=2)
    learning_rate: float = option(
        1e-4, _TRAIN, "Adam's step size, at its highest.", above=0.0
    )
    beta_1: float = option(
        0.9,
        _TRAIN,
        "Adam's decay of the mean (0.5 in the authors' framework).",
        low=0.0,
        high=0.9999,
    )
    beta_2: float = option(
        0.999, _TRAIN, "Adam's decay of the square.", low=0.0, high=0.99999
    )
    schedule: str = option(
        "constant",
        _TRAIN,
        "Learning rate over the run; cosine falls to 0.",
        choices=("constant", "cosine"),
    )
    warmup_steps: int = option(0, _TRAIN, "Steps of linear warm-up.", low=0)
    clip_norm: float = option(
        0.0, _TRAIN, "Largest norm of the gradient; 0: no limit.", low=0.0
    )
    ema: float = option(
        0.0,
        _TRAIN,
        "Decay of an average of the encoder's weights, which is then the one "
        "evaluated; 0: none.",
        low=0.0,
        high=0.999999,
    )
    checkpoint_every: int = option(
        500,
        _TRAIN,
        "Steps between checkpoints (besides the end of each epoch).",
        low=1,
        driver=True,
    )
    online_probe: str = option(
        "knn",
        _TRAIN,
        "Probe on the validation images during training.",
        choices=("knn", "linear", "none"),
    )
    probe_every: int = option(1, _TRAIN, "Epochs between online probes.", low=1)
    best: str = option(
        "probe",
        _TRAIN,
        "What chooses the best checkpoint: the online probe or the bound on "
        "validation images.",
        choices=("probe", "bound"),
    )

    strategy: str = option(
        "none",
        _MACHINE,
        "mirrored: all GPUs of this machine.",
        choices=("none", "mirrored"),
    )
    mixed_precision: str = option(
        "none",
        _MACHINE,
        "Precision of the layers (scores and losses stay float32).",
        choices=("none", "float16", "bfloat16"),
    )
    jit_compile: bool = option(False, _MACHINE, "Compile the step with XLA.")
    steps_per_execution: int = option(
        1, _MACHINE, "Steps per call into the graph.", low=1
    )

    checkpoint: str = option(
        "last",
        _PROBE,
        "Which checkpoint to evaluate.",
        choices=("last", "best"),
        driver=True,
    )
    probes: tuple[str, ...] = option(
        ("linear", "mlp"),
        _PROBE,
        "Probes on conv, fc and code.",
        choices=table_names("evaluation/probes.py", "PROBES"),
        driver=True,
    )
    probe_seeds: int = option(
        3, _PROBE, "Repetitions of each probe.", low=1, driver=True
    )
    probe_images: int = option(
        0,
        _PROBE,
        "Most labelled training images for the probes; 0: all.",
        low=0,
        driver=True,
    )

    def __post_init__(self):
        super().__post_init__()
        _check_together(self)

    @property
    def weights(self) -> Preset:
        """alpha, beta and gamma: the preset's where they are not given."""
        preset = PRESETS[self.objective]
        given = {n: getattr(self, n) for n in ("alpha", "beta", "gamma")}
        return dataclasses.replace(preset, **{n: v for n, v in given.items() if v >= 0})

    def require_length(self) -> None:
        """Raises ConfigError unless the options say how long to train."""
        if not self.steps and not self.epochs:
            raise ConfigError(
                "give the length of the run: --steps or --epochs, above 0."
            )

    def difference(self, other: "Config") -> dict[str, tuple]:
        """The options, but for drivers and the workdir, that differ: name -> both."""
        names = [
            each.name
            for each in dataclasses.fields(self)
            if not each.metadata["driver"] and each.name != "workdir"
        ]
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in names}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _check_value(each: dataclasses.Field, value) -> None:
    rules, name = each.metadata, each.name
    if type(value) is not type(each.default):
        expected = type(each.default).__name__
        raise ConfigError(f"{name} must be of type {expected}. Received: {value!r}.")
    items = value if isinstance(value, tuple) else (value,)
    for item in items:
        if isinstance(item, str):
            _check_text(name, item)
        if rules["choices"] and item not in rules["choices"] and value != each.default:
            hint = suggest(str(item), rules["choices"])
            accepted = ", ".join(rules["choices"])
            raise ConfigError(f"--{name} takes {accepted}. Received: {item!r}.{hint}")
    if rules["choices"] and len(set(items)) < len(items):
        raise ConfigError(f"--{name} names one twice. Received: {','.join(items)}.")
    low, high, above = rules["low"], rules["high"], rules["above"]
    numeric = isinstance(value, int | float)
    if (low is not None or above is not None or high is not None) and (
        not numeric
        or not math.isfinite(value)
        or (low is not None and value < low)
        or (above is not None and value <= above)
        or (high is not None and value > high)
    ):
        parts = [
            f"at least {low:g}" if low is not None else "",
            f"above {above:g}" if above is not None else "",
            f"at most {high:g}" if high is not None else "",
            "finite" if high is None and isinstance(value, float) else "",
        ]
        accepted = " and ".join(part for part in parts if part)
        raise ConfigError(f"--{name} must be {accepted}. Received: {value}.")


def _check_text(name: str, text: str) -> None:
    """Refuses what a line of a flagfile cannot hold, and paths of other machines."""
    try:
        text.encode()
        held = text == text.strip() and len(text.splitlines()) < 2
    except UnicodeEncodeError:
        held = False
    if not held or "\0" in text:
        raise ConfigError(
            f"--{name} must be text without line breaks and spaces at its ends, as a "
            f"line of a flagfile. Received: {text!r}."
        )
    if "://" in text:
        raise ConfigError(
            f"--{name} takes files and folders of this machine. Received: {text!r}; "
            "copy it here, or mount it."
        )


def _check_together(config: Config) -> None:
    """Options that make sense each by itself, but not together."""

    c = config
    kind = c.dataset.partition(":")[0]
    sources = table_names(_DATA, "SOURCES")
    for flag in ("dataset", "eval_dataset"):
        given = getattr(c, flag).partition(":")[0]
        hint = suggest(given, sources)
        refuse_if(
            given not in sources and (bool(given) or flag == "dataset"),
            f"--{flag} takes {', '.join(sources)} (with :ARGUMENT). Received: "
            f"{getattr(c, flag)!r}.{hint}",
        )
    encoders = table_names("encoders/__init__.py", "ENCODERS")
    adapted = c.encoder.startswith("keras:")
    hint = suggest(c.encoder, encoders)
    refuse_if(
        c.encoder not in encoders and not adapted,
        f"--encoder takes {', '.join(encoders)} or keras:FILE. Received: "
        f"{c.encoder!r}.{hint}",
    )
    refuse_if(
        adapted != bool(c.encoder_layers),
        "--encoder_layers belongs to --encoder=keras:FILE, which needs it. Received: "
        f"--encoder={c.encoder} --encoder_layers={','.join(c.encoder_layers)}.",
    )
    refuse_if(
        any(layer.count("=") != 1 for layer in c.encoder_layers),
        "--encoder_layers takes feature=layer pairs. Received: "
        f"{','.join(c.encoder_layers)}.",
    )
    refuse_if(
        c.steps > 0 and c.epochs > 0,
        f"give --steps or --epochs, not both. Received: {c.steps} and {c.epochs}.",
    )
    _check_terms(c)
    refuse_if(
        c.views == "augment" and not c.augment,
        "--views=augment needs --augment: without it both views are the same image.",
    )
    refuse_if(
        (c.views == "pairs") != bool(c.pair_dataset),
        "--views=pairs and --pair_dataset belong together. Received: "
        f"--views={c.views} --pair_dataset={c.pair_dataset}.",
    )
    refuse_if(
        c.views == "pairs" and bool(set(c.augment) & {"color", "grey"}),
        "--augment=color,grey do not go with --views=pairs, whose images have other "
        f"channels. Received: --augment={','.join(c.augment)}.",
    )
    same_size = ("real_nvp", "skip_mlp")
    refuse_if(
        c.code_size != 64 and {c.encoder, c.other_encoder or c.encoder} <= {*same_size},
        f"--code_size changes nothing for {' and '.join(same_size)}, whose code is as "
        "large as the image; --code_size=64, the default, takes it back.",
    )
    _check_void(c, _needs_of_data(c))
    refuse_if(
        kind == "folder" and not c.image_size,
        "--dataset=folder:PATH needs --image_size, the side to resize the images to.",
    )
    refuse_if(
        bool(c.labels) and kind != "arrays",
        f"--labels belongs to --dataset=arrays:FILE.npy. Received: {c.dataset}.",
    )
    refuse_if(
        c.best == "probe" and c.online_probe == "none" and c.checkpoint == "best",
        "--best=probe needs an --online_probe.",
    )
    refuse_if(
        c.deterministic and c.jit_compile,
        "--jit_compile is refused by Keras when --deterministic is on: choose one.",
    )
    refuse_if(
        c.strategy == "mirrored" and c.jit_compile,
        "--jit_compile does not work under --strategy=mirrored: choose one.",
    )
    refuse_if(
        c.strategy == "mirrored" and c.steps_per_execution > 1,
        "--steps_per_execution must be 1 under --strategy=mirrored. Received: "
        f"{c.steps_per_execution}.",
    )


def _check_void(c: Config, needs: dict[str, tuple[bool, str]]) -> None:
    """Refuses an option that the others leave without effect.

    Args:
        c: the options.
        needs: name -> whether it has an effect, and what it needs for one.
    """
    for name, (effective, needed) in needs.items():
        given = getattr(c, name)
        refuse_if(
            not effective and given != Config.__dataclass_fields__[name].default,
            f"--{name}={format_value(given)} changes nothing without {needed}.",
        )


def _needs_of_data(c: Config) -> dict[str, tuple[bool, str]]:
    """Of options of data, the encoder and the online probe: see `_check_void`."""
    read = " ".join((c.dataset, c.eval_dataset, c.pair_dataset))
    adapted = c.encoder.startswith("keras:")
    tfds = ("tfds:" in read, "a dataset tfds:NAME")
    return {
        **dict.fromkeys(("train_split", "test_split", "local_files", "download"), tfds),
        "pixel_range": ("arrays:" in read, "a dataset arrays:FILE"),
        "encoder_input": (adapted, "--encoder=keras:FILE"),
        "code_size": (
            not adapted,
            "an encoder of this package: that of keras:FILE is as its layer is",
        ),
        "probe_every": (c.online_probe != "none", "an --online_probe"),
    }


# Options that only some objectives have: name -> the kinds of terms that do.
_OF_TERMS = {
    **dict.fromkeys(("alpha", "beta", "local_critic", "global_critic"), ("dim",)),
    **dict.fromkeys(
        (
            "view_encoders", "other_encoder", "view_graph", "view_critic",
            "temperature", "hard_negatives", "hardness", "memory_negatives",
            "memory_loss",
        ),
        ("multiview",),
    ),
    "target": ("multiview", "cpc"),
    "critic_units": ("dim", "multiview"),
}  # fmt: skip
_NEGATIVES_OF_TERMS = {
    "dim": ("all", "same_location"),
    "multiview": ("all", "derangement", "hard", "weighted", "memory", "shared_context"),
    "cpc": ("all", "same_image", "shared_context"),
}
_VIEWS_OF_TERMS = {
    "dim": ("one", "augment"),
    "multiview": ("augment", "crops", "halves", "quadrants", "color", "pairs"),
    "cpc": ("one",),
}  # fmt: skip


def _check_terms(c: Config) -> None:
    """What the objective's kind of terms can and cannot take."""
    kind, weights = c.weights.terms, c.weights
    fields = Config.__dataclass_fields__
    for name, kinds in _OF_TERMS.items():
        refuse_if(
            kind not in kinds and getattr(c, name) != fields[name].default,
            f"--{name} changes nothing for --objective={c.objective}.",
        )
    for name, table in (("negatives", _NEGATIVES_OF_TERMS), ("views", _VIEWS_OF_TERMS)):
        given = getattr(c, name)
        refuse_if(
            given not in table[kind],
            f"--objective={c.objective} takes --{name}={','.join(table[kind])}. "
            f"Received: {given}.",
        )
    if kind == "dim":
        _check_dim(c)
    elif kind == "multiview":
        _check_multiview(c)
    refuse_if(
        (kind == "cpc") != (c.encoder == "cpc"),
        "--objective=cpc and --encoder=cpc belong together. Received: "
        f"--objective={c.objective} --encoder={c.encoder}.",
    )
    refuse_if(
        weights.gamma > 0 and kind == "cpc",
        f"--gamma changes nothing for --objective=cpc. Received: {c.gamma:g}.",
    )

    gamma = f"a --gamma above 0 (--objective={c.objective} has {weights.gamma:g})"
    matched = (weights.gamma > 0, gamma)
    _check_void(c, dict.fromkeys(("prior", "gradient_penalty"), matched))


def _check_dim(c: Config) -> None:
    weights = c.weights
    refuse_if(
        weights.alpha == weights.beta == 0,
        "--alpha and --beta are both 0: nothing to maximize.",
    )
    with_global = (weights.alpha > 0, "a global term (--alpha above 0)")
    with_local = (weights.beta > 0, "a local term (--beta above 0)")
    _check_void(
        c,
        {
            "global_critic": with_global,
            "local_critic": with_local,
            "negatives": with_local,
        },
    )
    maps = ("basic28x28", "basic32x32", "basic64x64", "half_convnet")
    refuse_if(
        c.encoder not in maps and not c.encoder.startswith("keras:"),
        f"--encoder={c.encoder} has no feature map for the terms of Deep InfoMax; take "
        f"{', '.join(maps)} or keras:FILE.",
    )
    convnets = table_names("encoders/convnet.py", "CONVNETS")
    refuse_if(
        weights.alpha > 0
        and c.global_critic == "global_dot"
        and c.encoder not in convnets,
        "--global_critic=global_dot copies layers of a built-in encoder: "
        f"{', '.join(convnets)}. Received: --encoder={c.encoder}; take concat_mlp.",
    )
    refuse_if(
        c.negatives != "all" and c.bound not in ("info_nce", "dv"),
        f"--negatives={c.negatives} changes nothing for --bound={c.bound}.",
    )


def _check_multiview(c: Config) -> None:
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
    refuse_if(
        c.target > 0 and c.memory_loss == "nce",
        "--target is of a value in nats, which --memory_loss=nce is not.",
    )
    shared = c.view_encoders == "shared"
    refuse_if(
        shared and bool(c.other_encoder),
        f"--other_encoder={c.other_encoder} needs --view_encoders=separate.",
    )
    refuse_if(
        shared and c.views == "color",
        "--views=color has views of one and of two channels: --view_encoders=separate.",
    )
    encoders = table_names("encoders/__init__.py", "ENCODERS")
    hint = suggest(c.other_encoder, encoders)
    refuse_if(
        bool(c.other_encoder) and c.other_encoder not in encoders,
        f"--other_encoder takes {', '.join(encoders)}. Received: "
        f"{c.other_encoder!r}.{hint}",
    )
    refuse_if(
        c.critic_units > 0 and c.view_critic not in ("separable", "concatenated"),
        f"--critic_units changes nothing for --view_critic={c.view_critic}.",
    )
    for flag, needed in (
        ("temperature", ("view_critic", "cosine")),
        ("hard_negatives", ("negatives", "hard")),
        ("hardness", ("negatives", "weighted")),
        ("memory_negatives", ("negatives", "memory")),
        ("memory_loss", ("negatives", "memory")),
        ("view_graph", ("views", "quadrants")),
    ):
        given = getattr(c, flag)
        refuse_if(
            given != Config.__dataclass_fields__[flag].default
            and getattr(c, needed[0]) != needed[1],
            f"--{flag}={given} belongs to --{needed[0]}={needed[1]}.",
        )
