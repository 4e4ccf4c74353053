"""Options and rows: what a user can ask for, checked before anything is loaded.

Every option is a field of a frozen dataclass with its default, group, help, choices and
range in one place; `flags` makes command-line flags of the fields. A row of a table
(an objective, an encoder, a dataset) names what it builds by a string, and brings
options of its own. Imports the standard library only.
"""

import dataclasses
import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tf_infomax.runtime.errors import ConfigError


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
    of: tuple[str, str] | None = None,
    unset: float | None = None,
):
    """A field of a class of options.

    Args:
        default: value and, by its type, the kind of flag.
        group: heading in the help.
        help: what it does, with its unit.
        choices: accepted strings (of each element, for a tuple).
        low, high: inclusive range; above: exclusive lower end.
        driver: says how the program runs, not what it computes, so that a run may be
            continued with another value.
        repeated: a tuple of which each element is a flag of its own.
        of: (option, value): it has an effect only where that one has this value.
        unset: the value that stands for "not given".
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
        of=of,
        unset=unset,
    )
    return field(default=default, metadata=metadata)


class Options:
    """Base of frozen dataclasses of `option` fields: checks each value by itself."""

    def __post_init__(self):
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if isinstance(each.default, float) and isinstance(value, int):
                object.__setattr__(self, each.name, float(value))
            if type(value) is str and value != each.default and value[:1] == "~":
                object.__setattr__(self, each.name, str(Path(value).expanduser()))
            check_value(each, getattr(self, each.name))


class Row(NamedTuple):
    """One thing that can be chosen by its name.

    Attributes:
        build: "module:function", imported when it is chosen.
        options: the class of its own options.
        preset: other defaults than usual, of any option; or a function of what was
            given that returns them.
        asks: what it needs, as "encoder:local" or "data:label", or a function of the
            options.
        gives: the features of an encoder, or a function of the options.
        choices: narrows an option that rows share.
        argument: what stands behind a colon after its name, as FILE.
    """

    build: str
    options: type[Options] = Options
    preset: Mapping | Callable[[Mapping], Mapping] = MappingProxyType({})
    asks: frozenset[str] | Callable = frozenset()
    gives: frozenset[str] | Callable = frozenset()
    choices: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    argument: str = ""

    def load(self):
        """What it names."""
        module, _, name = self.build.partition(":")
        return getattr(import_module(module), name)

    def preset_of(self, given: Mapping) -> dict:
        """Its defaults where these options are given."""
        return dict(self.preset(given) if callable(self.preset) else self.preset)

    def asks_of(self, config) -> frozenset[str]:
        """What it needs with these options."""
        return self.asks(config) if callable(self.asks) else self.asks

    def gives_of(self, config) -> frozenset[str]:
        """The features of an encoder with these options."""
        return self.gives(config) if callable(self.gives) else self.gives

    def has(self, name: str) -> bool:
        """Whether an option is one of its own."""
        return name in getattr(self.options, "__dataclass_fields__", ())


def own_options(rows: Iterable[Row]) -> tuple[type[Options], ...]:
    """The classes of options that rows bring; a base comes with what is made of it."""
    found = {row.options for row in rows} - {Options}
    derived = {base for each in found for base in each.__mro__[1:]}
    return tuple(sorted(found - derived, key=lambda each: each.__qualname__))


def fields_of(options: type[Options], groups: Iterable[str] = ()) -> list:
    """The fields of a class of options, by their groups in this order."""
    order = list(groups)
    for each in dataclasses.fields(options):
        if each.metadata["group"] not in order:
            order.append(each.metadata["group"])
    return sorted(
        dataclasses.fields(options), key=lambda f: order.index(f.metadata["group"])
    )


def check_value(each: dataclasses.Field, value) -> None:
    """Refuses a value of another type, choice or range than the field's."""
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
