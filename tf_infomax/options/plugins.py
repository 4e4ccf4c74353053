"""Rows of other packages: objectives, encoders, datasets, evaluations.

An installed package offers a row by an entry point of one of `GROUPS`, whose value
names a `Row` in a module that imports `tf_infomax.options` alone. They are looked for
when a name or a flag is unknown, and for the help; other runs read their names alone.
"""

import dataclasses
import sys
from collections.abc import Iterable, Mapping
from dataclasses import field
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from tf_infomax.options.core import Options, Row, own_options
from tf_infomax.options.experiment import Config
from tf_infomax.options.rows import ROWS, list_names
from tf_infomax.runtime.errors import ConfigError

GROUPS: dict[str, dict[str, Row]] = {
    "tf_infomax.objectives": ROWS["objective"],
    "tf_infomax.encoders": ROWS["encoder"],
    "tf_infomax.datasets": ROWS["dataset"],
    "tf_infomax.evaluations": ROWS["evaluations"],
}
_added: dict[tuple[str, str], str] = {}  # (group, name) -> package


def unknown_names(values: Mapping[str, str | list[str]]) -> list[str]:
    """Those that flags choose and no row has."""
    found = []
    for flag, rows in ROWS.items():
        given = values.get(flag, [])
        names = given if isinstance(given, list) else [given.partition(":")[0]]
        found += [name for name in names if name and name not in rows]
    return found


def check_names() -> None:
    """Refuses rows of installed packages whose names are taken; loads none.

    Raises:
        ConfigError: naming both.
    """
    for point in _points():
        if (point.group, point.name) not in _added:
            _check_name(point)


@cache
def _points() -> tuple[EntryPoint, ...]:
    """Those of all groups, looked for once: it takes a look at every package."""
    found = entry_points()
    return tuple(point for group in GROUPS for point in found.select(group=group))


def _check_name(point: EntryPoint) -> None:
    if point.name in GROUPS[point.group]:
        other = _added.get((point.group, point.name), "tf_infomax")
        raise ConfigError(
            f"{point.name!r} of {point.group} is offered by {other} and by "
            f"{_package_of(point)}: uninstall one of them."
        )


def _package_of(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value


def package_of(flag: str, name: str) -> str:
    """The package that a row was added from; "" of this one's own."""
    group = next(group for group, rows in GROUPS.items() if rows is ROWS[flag])
    return _added.get((group, name), "")


def add_rows(wanted: Iterable[str] = ()) -> None:
    """Adds the rows of all installed packages to their tables.

    Args:
        wanted: names that a user asked for. A row that cannot be loaded is an error if
            it is one of these, and else a warning.

    Raises:
        ConfigError: if a name is taken, or a row that is wanted cannot be loaded.
    """
    for point in _points():
        if (point.group, point.name) not in _added:
            _add(point, wanted)


def _add(point: EntryPoint, wanted: Iterable[str]) -> None:
    _check_name(point)
    package = _package_of(point)
    try:
        row = point.load()
        if not isinstance(row, Row):
            raise TypeError(f"{point.value} is no tf_infomax.options.Row")
        _check_options(row)
    except Exception as error:  # whatever another package's code raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        text = f"{point.name!r} of the package {package} cannot be loaded: {reason}"
        if point.name in wanted:
            raise ConfigError(text) from error
        print(f"tf_infomax: warning: {text}", file=sys.stderr)
        return
    GROUPS[point.group][point.name] = row
    _added[point.group, point.name] = package
    extended.cache_clear()


def _check_options(row: Row) -> None:
    """Refuses an option that would hide another one of the same name."""
    known = {
        each.name: each
        for options in (Config, *_own_options())
        for each in dataclasses.fields(options)
    }
    for each in _fields(row.options):
        other = known.get(each.name)
        if other is not None and (each.default, each.metadata) != (
            other.default,
            other.metadata,
        ):
            raise TypeError(f"its option {each.name!r} is another one's already")


def _fields(options: type[Options]) -> tuple:
    return dataclasses.fields(options) if options is not Options else ()


def _own_options() -> tuple[type[Options], ...]:
    return own_options(GROUPS[group][name] for group, name in _added)


@cache
def extended(options: type[Config] = Config) -> type[Config]:
    """The class with the options of added rows, and their names among the choices."""
    if not _added:
        return options
    own = [each for each in _own_options() if not issubclass(options, each)]
    return dataclasses.make_dataclass(
        options.__name__,
        [_choosing(options, flag) for flag in ROWS],
        bases=(options, *own),
        frozen=True,
        init=False,
        namespace={"__doc__": options.__doc__, "__module__": options.__module__},
    )


def _choosing(options: type[Config], flag: str) -> tuple:
    """The field of a flag that chooses a row, with the names of all rows."""
    there, rows = options.__dataclass_fields__[flag], ROWS[flag]
    now = (
        {"choices": tuple(rows)}
        if there.metadata["choices"]
        else {"help": f"{list_names(rows)}."}
    )
    return flag, str, field(default=there.default, metadata={**there.metadata, **now})
