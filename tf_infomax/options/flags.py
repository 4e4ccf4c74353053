"""Command-line flags, one for each field of a class of options; flagfiles; the help."""

import dataclasses
from pathlib import Path

from absl import flags

from tf_infomax.options import (
    GROUPS,
    Config,
    ConfigError,
    Options,
    fields_of,
    format_value,
    plugins,
)
from tf_infomax.runtime.seals import DamagedError, open_text

FLAGS = flags.FLAGS
PACKAGED = Path(__file__).parents[1] / "configs"  # flagfiles that come along
_GIVEN = "# Given:"  # of a flagfile that has all options, those that are no defaults

_KINDS = {
    bool: flags.DEFINE_boolean,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    tuple: flags.DEFINE_list,
}


def define(options: type[Options], values: flags.FlagValues = FLAGS) -> None:
    """Defines a flag for each field of a class of options."""
    for each in dataclasses.fields(options):
        default = each.default
        define_one = _KINDS[type(default)]
        if each.metadata["repeated"]:
            define_one = flags.DEFINE_multi_string
        default = list(default) if type(default) is tuple else default
        define_one(each.name, default, each.metadata["help"], flag_values=values)


def from_flags(options: type[Options], values: flags.FlagValues = FLAGS) -> Options:
    """The flags that were given, as checked options."""
    given = {}
    for each in dataclasses.fields(options):
        if values[each.name].present:
            value = values[each.name].value
            is_list = type(value) is list
            value = tuple(part for part in value if part) if is_list else value
            given[each.name] = value
    return options(**given)


def list_packaged() -> list[str]:
    """The names of the flagfiles that come with the package."""
    return sorted(path.stem for path in PACKAGED.glob("*.flags"))


def find_flagfiles(argv: list[str]) -> list[str]:
    """The command line with the packaged file wherever `--flagfile` has its name.

    A file of that name in the present folder comes first.
    """
    found = list(argv)
    for place, flag in enumerate(argv):
        name, equals, value = flag.lstrip("-").partition("=")
        if name != "flagfile" or not flag.startswith("-"):
            continue
        if equals:
            found[place] = f"--flagfile={_find(value)}"
        elif place + 1 < len(argv):
            found[place + 1] = _find(argv[place + 1])
    return found


def _find(name: str) -> str:
    stem = name.removesuffix(".flags")
    known = not Path(name).exists() and stem in list_packaged()
    return str(PACKAGED / f"{stem}.flags") if known else name


def override(config: Config, given: Options) -> Config:
    """`config` with those of its driver options that stand on the command line.

    Raises:
        ConfigError: if an option of the experiment itself was given another value.
    """
    changes = {}
    known = {each.name for each in dataclasses.fields(given)}
    for each in dataclasses.fields(config):
        name = each.name
        if name not in known or not FLAGS[name].present or name == "workdir":
            continue
        value, there = getattr(given, name), getattr(config, name)
        if value != there and not each.metadata["driver"]:
            raise ConfigError(
                f"--{name}={value} differs from the run's {there}: what was trained "
                "cannot be changed here."
            )
        changes[name] = value
    return config.replace(**changes)


def format_flags(options: Options) -> str:
    """All options as a flagfile that repeats the experiment.

    Of an experiment comments say which options were given, the others being defaults,
    and which packages its rows are of.
    """
    lines = _comments(options) if isinstance(options, Config) else []
    for each in fields_of(type(options), GROUPS):
        value = getattr(options, each.name)
        values = value if each.metadata["repeated"] else [value]
        lines += [f"{_format_flag(each.name, value)}\n" for value in values]
    return "".join(lines)


def format_given(config: Config) -> list[str]:
    """The options that were given, as they are typed."""
    values = ((name, getattr(config, name)) for name in sorted(config.given))
    return [_format_flag(name, value) for name, value in values]


def _comments(config: Config) -> list[str]:
    lines = [f"{_GIVEN} {', '.join(sorted(config.given)) or 'nothing'}\n"]
    for flag, names in config.row_names.items():
        for name in names:
            package = plugins.package_of(flag, name)
            lines += [f"# --{flag}={name}: of the package {package}\n"] * bool(package)
    return lines


def _format_flag(name: str, value) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    return f"--{name}={format_value(value)}"


def read_flagfile(path: Path, options: type[Options] | None = None) -> Options:
    """The options that a flagfile of the format of `format_flags` describes."""
    return parse_flagfile(path.read_text(encoding="utf-8"), path, options)


def parse_flagfile(
    text: str, path: Path, options: type[Options] | None = None
) -> Options:
    """The same of what the file at `path` holds; by default an experiment's options."""
    lines = [line for line in text.split("\n") if line.strip() and line[:1] != "#"]
    if options is None:
        options = with_other_packages(plugins.extended(), ["", *lines], False)
    values = flags.FlagValues()
    define(options, values)
    try:
        rest = values(["", *lines])
    except flags.UnrecognizedFlagError as error:
        raise ConfigError(
            f"{path}: unknown option {error.flagname!r}, perhaps of a package that is "
            "not installed here."
        ) from error
    except flags.Error as error:
        raise ConfigError(f"{path}: {error}") from error
    if len(rest) > 1:
        raise ConfigError(f"{path}: no flag: {rest[1]!r}.")
    found = from_flags(options, values)
    return _marked(found, text) if isinstance(found, Config) else found


def _marked(config: Config, text: str) -> Config:
    """The same, of which those are given that the text says, if it says it."""
    marks = [line for line in text.split("\n") if line.startswith(_GIVEN)]
    if not marks:
        return config
    names = {name.strip() for name in marks[0][len(_GIVEN) :].split(",")}
    return config.as_given(names & config.given)


def open_flagfile(
    path: Path, options: type[Options] | None = None
) -> tuple[Options, dict | None]:
    """The options of a sealed flagfile, and the facts of its seal.

    Without a seal (facts None) it must have every option to the last, as `format_flags`
    writes them: one that was cut off would be taken for the defaults.

    Raises:
        DamagedError: if it is not what was written.
    """
    try:
        text, facts = open_text(path.read_bytes())
    except FileNotFoundError:
        raise DamagedError("is missing") from None
    if facts is None and not _has_all(text, options or Config):
        raise DamagedError("is cut off: it does not have all options")
    try:
        return parse_flagfile(text, path, options), facts
    except ValueError as error:
        raise DamagedError(f"cannot be read ({error})") from error


def _has_all(text: str, options: type[Options]) -> bool:
    """Whether the last option that is always written stands in a whole line."""
    fields = fields_of(options, GROUPS)
    last = [each.name for each in fields if not each.metadata["repeated"]]
    starts = tuple(f"--{no}{last[-1]}" for no in ("", "no"))
    lines = text.splitlines(keepends=True)
    return any(line.startswith(starts) and line.endswith("\n") for line in lines)


def format_help(
    program: str,
    purpose: str,
    options: type[Options] = Config,
    drivers_only: bool = False,
) -> str:
    """Help by group: flag, default, what it does, what it accepts."""
    import textwrap

    lines = [
        purpose,
        "",
        f"Usage: python -m {program} [--flagfile=FILE] [--flag=value ...]",
    ]
    shown = [
        each
        for each in fields_of(options, GROUPS)
        if not drivers_only or each.metadata["driver"] or each.name == "workdir"
    ]
    group = None
    for each in shown:
        if each.metadata["group"] != group:
            group = each.metadata["group"]
            lines += ["", f"{group}:"]
        default = _format_flag(each.name, each.default)
        if isinstance(each.default, bool):
            default = f"--[no]{each.name} (default: {'on' if each.default else 'off'})"
        accepted = ", ".join(each.metadata["choices"])
        text = each.metadata["help"] + (f" One of: {accepted}." if accepted else "")
        if type(each.default) is tuple and accepted:
            text = each.metadata["help"] + f" Of: {accepted}."
        lines.append(f"  {default}")
        lines += textwrap.wrap(
            text, 84, initial_indent=" " * 6, subsequent_indent=" " * 6
        )
    return "\n".join(lines) + "\n"


def with_other_packages(
    options: type[Config], argv: list[str], help_wanted: bool
) -> type[Config]:
    """With the rows of other packages, if the command line may mean one of them."""
    plugins.check_names()
    wanted = [] if help_wanted else _unknown_in(options, argv)
    if help_wanted or wanted:
        plugins.add_rows(wanted)
    return plugins.extended(options)


def _unknown_in(options: type[Config], argv: list[str]) -> list[str]:
    """Names of rows and flags that are unknown so far."""
    values = flags.FlagValues()
    define(options, values)
    try:
        values(argv)
    except flags.UnrecognizedFlagError as error:
        return [error.flagname]
    except (flags.Error, OSError, UnicodeDecodeError):
        return []  # what is wrong will be told when the flags are parsed
    given = {e.name: values[e.name].value for e in dataclasses.fields(options)}
    return plugins.unknown_names(given)
