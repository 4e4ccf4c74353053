"""What options of an experiment do not go together."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tf_infomax.options.core import Row, format_value, refuse_if, suggest
from tf_infomax.options.datasets import DATASETS
from tf_infomax.options.encoders import ENCODERS, SAME_SIZE
from tf_infomax.options.objectives import OBJECTIVES, refuse_void
from tf_infomax.options.rows import ROWS, list_names
from tf_infomax.runtime.errors import ConfigError


def check(config) -> None:
    """Raises ConfigError, in the order of rows, their options, features and core."""
    _check_rows(config)
    for each in _checks(config.rows.values()):
        each(config)
    _check_features(config)
    _check_core(config)


def _checks(rows: Iterable[Row]) -> Iterator[Callable]:
    """What the chosen rows' classes of options check, each once."""
    done = set()
    for row in rows:
        for each in reversed(row.options.__mro__):
            check = vars(each).get("check")
            if check and each not in done:
                done.add(each)
                yield check.__func__


def owners(name: str) -> dict[str, list[str]]:
    """Flag -> values whose rows have an option; empty for options of the core."""
    found: dict[str, list[str]] = {}
    for flag, rows in ROWS.items():
        for value, row in rows.items():
            if row.has(name):
                argument = row.argument and f":{row.argument}"
                found.setdefault(flag, []).append(value + argument)
    return found


def _check_rows(c) -> None:
    """Refuses what the chosen rows leave without effect or cannot do without."""
    _check_names(c)
    rows = c.rows.values()
    for each in dataclasses.fields(c):
        name, value = each.name, getattr(c, each.name)
        if not c.is_changed(name):
            continue
        found, condition = owners(name), each.metadata["of"]
        needed = " or ".join(f"--{f}={', '.join(v)}" for f, v in found.items())
        if found and any(row.has(name) for row in rows):
            needed = ""
        if not needed and condition and getattr(c, condition[0]) != condition[1]:
            needed = "--{}={}".format(*condition)
        refuse_if(
            bool(needed),
            f"--{name}={format_value(value)} changes nothing without {needed}.",
        )
    row = OBJECTIVES[c.objective]
    for name, choices in row.choices.items():
        refuse_if(
            getattr(c, name) not in choices,
            f"--objective={c.objective} takes --{name}={','.join(choices)}. "
            f"Received: {getattr(c, name)}.",
        )


def _check_features(c) -> None:
    """Refuses an encoder that does not give what the objective asks for."""
    asks = sorted(OBJECTIVES[c.objective].asks_of(c))
    asked = [each[len("encoder:") :] for each in asks if each.startswith("encoder:")]
    row = ENCODERS[c.encoder.partition(":")[0]]
    gives = row.gives_of(c)
    missing = [feature for feature in asked if feature not in gives]
    if not missing:
        return
    able = {
        name: row
        for name, row in ENCODERS.items()
        if callable(row.gives) or {*asked} <= row.gives
    }
    raise ConfigError(
        f"--objective={c.objective} needs an encoder with the feature {missing[0]!r}; "
        f"take {list_names(able)}. Received: --encoder={c.encoder}, which gives "
        f"{', '.join(sorted(gives))}."
    )


def _check_names(c) -> None:
    """Refuses names of no row, and arguments where there are none, or missing."""
    for flag, rows in (
        ("dataset", DATASETS),
        ("eval_dataset", DATASETS),
        ("pair_dataset", DATASETS),
        ("encoder", ENCODERS),
    ):
        text = getattr(c, flag)
        if not text and flag in ("eval_dataset", "pair_dataset"):
            continue
        name, _, argument = text.partition(":")
        row = rows.get(name)
        hint = "" if row else _guess(flag, text) or suggest(name, rows)
        wanted = row.argument if row else ""
        refuse_if(
            row is None
            or (bool(argument) and not wanted)
            or (not argument and bool(wanted) and not wanted.startswith("[")),
            f"--{flag} takes {list_names(rows)}. Received: {text!r}.{hint}",
        )


def _guess(flag: str, text: str) -> str:
    """The row that a path given without it most likely is of."""
    path = Path(text).expanduser()
    if flag == "encoder":
        kinds = {"keras": path.suffix == ".keras"}
    else:
        arrays = path.suffix in (".npy", ".npz")
        kinds = {"folder": path.is_dir(), "arrays": arrays and path.is_file()}
    found = [f" Did you mean {name}:{text}?" for name, fits in kinds.items() if fits]
    return found[0] if found else ""


def _check_core(c) -> None:
    """Options of the core that make sense each by itself, but not together."""
    refuse_if(
        c.steps > 0 and c.epochs > 0,
        f"give --steps or --epochs, not both. Received: {c.steps} and {c.epochs}.",
    )
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
    refuse_if(
        c.code_size != 64 and {c.encoder, c.other_encoder or c.encoder} <= {*SAME_SIZE},
        f"--code_size changes nothing for {' and '.join(SAME_SIZE)}, whose code is as "
        "large as the image; --code_size=64, the default, takes it back.",
    )
    refuse_void(
        c,
        "code_size",
        not c.encoder.startswith("keras:"),
        "an encoder of this package: that of keras:FILE is as its layer is",
    )
    refuse_void(c, "probe_every", c.online_probe != "none", "an --online_probe")
    kind = c.dataset.partition(":")[0]
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
        c.strategy != "none" and c.jit_compile,
        f"--jit_compile does not work under --strategy={c.strategy}: choose one.",
    )
    refuse_if(
        c.strategy != "none" and c.steps_per_execution > 1,
        f"--steps_per_execution must be 1 under --strategy={c.strategy}. Received: "
        f"{c.steps_per_execution}.",
    )
    refuse_if(
        c.strategy != "none" and c.on_nan == "skip",
        f"--on_nan=skip is for one device, not for --strategy={c.strategy}: choose "
        "stop or restore.",
    )
    refuse_if(
        c.strategy == "multi_worker" and c.on_nan == "restore",
        "--on_nan=restore is for one machine, not for --strategy=multi_worker: choose "
        "stop, and start all workers again.",
    )
