"""Command-line flags: one for each field of a class of options; how a command starts.

Only mains use this module. It imports no TensorFlow, so that help and complaints about
flags come at once.
"""

import ctypes
import dataclasses
import difflib
import io
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from absl import app, flags

from tf_infomax.options import (
    GROUPS,
    Config,
    ConfigError,
    Options,
    fields_of,
    format_value,
    plugins,
)
from tf_infomax.runtime.progress import tell
from tf_infomax.runtime.seals import DamagedError, open_text

FLAGS = flags.FLAGS
_GIVEN = "# Given:"  # of a flagfile that has all options, those that are no defaults
_HELP = {"--help", "-help", "--helpshort", "--helpfull", "-h"}

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
        options = _with_other_packages(plugins.extended(), ["", *lines], False)
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


def run(
    main: Callable[[Options], int],
    program: str,
    purpose: str,
    options: type[Options] = Config,
    drivers_only: bool = False,
) -> None:
    """Parses the flags, builds the options and runs `main(options)`.

    `drivers_only` leaves what an experiment computes out of the help. Bad use ends in
    one line on standard error and status 2, a failed run in one line and status 1;
    `--debug` shows the traceback.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors come as exceptions
    if isinstance(sys.stdout, io.TextIOWrapper):  # as standard error is by itself
        sys.stdout.reconfigure(errors="backslashreplace")
    help_wanted = bool(_HELP & set(sys.argv[1:]))
    if issubclass(options, Config):
        try:
            options = _with_other_packages(options, sys.argv, help_wanted)
        except ConfigError as error:
            fail(str(error))
    define(options)

    def parse(argv):
        if help_wanted:
            print(format_help(program, purpose, options, drivers_only), end="")
            sys.exit(0)
        _check_flagfiles(argv)
        try:
            rest = FLAGS(argv)
        except flags.Error as error:
            fail(_explain(error, options))
        except (OSError, UnicodeDecodeError) as error:
            fail(f"--flagfile: no file of flags, one to a line: {error}")
        if len(rest) > 1:
            fail(f"only flags are taken (--name=value). Received: {rest[1]!r}.")
        return rest

    def start(_):
        status = 1
        try:
            status = main(from_flags(options))
        except KeyboardInterrupt:
            fail("interrupted; the same command starts again.", 1)
        except Exception as error:
            if FLAGS.debug:
                raise
            fail(*_describe(error))
        sys.exit(status)

    app.run(start, flags_parser=parse)


def _with_other_packages(
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


def _check_flagfiles(argv: list[str]) -> None:
    """Refuses a sealed flagfile that was cut: what it has lost would be defaults."""
    for flag, following in zip(argv, [*argv[1:], ""], strict=True):
        name, given, path = flag.lstrip("-").partition("=")
        if name != "flagfile" or not flag.startswith("-"):
            continue
        path = Path(path if given else following)
        try:
            open_text(path.read_bytes() if path.is_file() else b"")
        except DamagedError as error:
            fail(
                f"--flagfile={path} {error}. If you have edited it, remove its first "
                "line, which says that it is sealed."
            )


def _keep_freed_memory() -> None:
    """Lets the C library reuse the memory of large tensors.

    Above 32 MiB glibc maps and unmaps each one, and a step then spends a twentieth of
    its time on zeroed pages. Other C libraries are left as they are.
    """
    threshold, trim = -3, -1  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD of <malloc.h>
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(threshold, 1 << 30)
    mallopt(trim, 2**31 - 1)


def load_tensorflow(split_operations: bool = True) -> None:
    """Imports TensorFlow without the lines it prints on every start.

    They go to the process's standard error before any setting can stop them; if the
    import fails they are shown.

    Args:
        split_operations: whether one operation may use several cores. Those of small
            critics take less time than waking a thread does: such training is faster
            if cores share whole operations only. `TF_NUM_INTRAOP_THREADS` has the
            last word.
    """
    if not split_operations:
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    _keep_freed_memory()
    with tempfile.TemporaryFile() as log:
        saved = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            log.seek(0)
            os.write(saved, log.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def fail(message: str, status: int = 2) -> None:
    """One line on standard error; ends the program."""
    tell(f"tf_infomax: error: {' '.join(message.split())}")
    sys.exit(status)


def _explain(error: flags.Error, options: type[Options]) -> str:
    message = str(error).strip()
    if isinstance(error, flags.UnrecognizedFlagError):
        known = [each.name for each in dataclasses.fields(options)]
        close = difflib.get_close_matches(error.flagname, [*known, "flagfile"], n=1)
        hint = f" Did you mean --{close[0]}?" if close else " See --help."
        return f"unknown flag --{error.flagname}.{hint}"
    return message


def _describe(error: Exception) -> tuple[str, int]:
    """(message, status): as an error of this package says, else a failed run."""
    if hasattr(error, "exit_status"):
        return str(error), error.exit_status
    lines = str(error).strip().splitlines() or [""]
    if lines[0].startswith("Exception encountered when calling"):  # by Keras, in bold
        told = [line.strip() for line in lines[1:] if line.strip()]
        lines = [re.sub(r"\x1b\[\d+m", "", told[0])] if told else lines
    # Of what goes wrong in a compiled function, the cause comes last.
    line = lines[-1].strip() if lines[0].startswith("in user code") else lines[0]
    return f"{type(error).__name__}: {line} (--debug shows where.)", 1
