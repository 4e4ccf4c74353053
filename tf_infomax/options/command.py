"""How a command starts and ends: flags, help, errors in one line, TensorFlow.

Only mains use this module. It imports no TensorFlow, so that help and complaints about
flags come at once.
"""

import ctypes
import dataclasses
import difflib
import gc
import io
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from absl import app
from absl import flags as absl_flags

from tf_infomax.options import Config, ConfigError, Options, flags
from tf_infomax.runtime.progress import tell
from tf_infomax.runtime.seals import DamagedError, open_text

_OBJECTS = 50_000  # that are made between two searches for garbage
_HELP = {"--help", "-help", "--helpshort", "--helpfull", "-h"}


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
    sys.argv[1:] = flags.find_flagfiles(sys.argv[1:])
    help_wanted = bool(_HELP & set(sys.argv[1:]))
    if issubclass(options, Config):
        try:
            options = flags.with_other_packages(options, sys.argv, help_wanted)
        except ConfigError as error:
            fail(str(error))
    flags.define(options)

    def parse(argv):
        if help_wanted:
            print(flags.format_help(program, purpose, options, drivers_only), end="")
            sys.exit(0)
        _check_flagfiles(argv)
        try:
            rest = flags.FLAGS(argv)
        except absl_flags.Error as error:
            fail(_explain(error, options))
        except (OSError, UnicodeDecodeError) as error:
            fail(f"--flagfile: no file of flags, one to a line: {error}")
        if len(rest) > 1:
            fail(f"only flags are taken (--name=value). Received: {rest[1]!r}.")
        return rest

    def start(_):
        status = 1
        try:
            status = main(flags.from_flags(options))
        except KeyboardInterrupt:
            fail("interrupted; the same command starts again.", 1)
        except Exception as error:
            if flags.FLAGS.debug:
                raise
            fail(*_describe(error))
        sys.exit(status)

    app.run(start, flags_parser=parse)


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


@contextmanager
def _collecting_less() -> Iterator[None]:
    """Spares what is imported inside, which stays, all later searches for garbage.

    Tracing makes hundreds of thousands of objects, and a search through all modules
    after every seven hundred of them takes a twentieth of a short run.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(_OBJECTS, 20, 20)
        gc.enable()


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
    with tempfile.TemporaryFile() as log, _collecting_less():
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


def _explain(error: absl_flags.Error, options: type[Options]) -> str:
    message = str(error).strip()
    if isinstance(error, absl_flags.UnrecognizedFlagError):
        known = [each.name for each in dataclasses.fields(options)]
        close = difflib.get_close_matches(error.flagname, [*known, "flagfile"], n=1)
        hint = f" Did you mean --{close[0]}?" if close else " See --help."
        return f"unknown flag --{error.flagname}.{hint}"
    if isinstance(error, absl_flags.CantOpenFlagFileError):
        told = message.removeprefix("ERROR:: ")
        packaged = ", ".join(flags.list_packaged())
        return f"{told}; by their names alone there are {packaged}."
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
