"""Who writes what: locks that go with their process, however it ends.

All are advisory locks of the operating system (flock): a process that is killed leaves
its lock files behind, but holds them no longer. Where the file system keeps no locks,
that is said once and everybody is let in.

Imports the standard library only.
"""

import errno
import json
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a Unix
    fcntl = None

_UNSUPPORTED = {
    errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EBADF, errno.EINVAL
}  # fmt: skip
_TEMPORARY = re.compile(r"\..+\.\d+\.tmp(\..*)?", re.DOTALL)


@contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[bool]:
    """Whether what the lock file stands for is this process's while the block runs.

    The file says who holds it, and is gone after the block.

    Args:
        path: of the lock file, in a folder that exists.
        wait: until no other process holds it.

    Raises:
        OSError: if the file cannot be made.
    """
    while True:
        with open(path, "a+", encoding="utf-8") as file:
            if not _flock(file, path.parent, wait):
                yield False
                return
            if not _is_at(file.fileno(), path):  # its last holder has removed it
                continue
            _sign(file)
            try:
                yield True
            finally:
                path.unlink(missing_ok=True)
            return


def describe_holder(path: Path) -> str:
    """ "process 123 on host a since 12:30:05", of a lock file that is held."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        return f"process {held['pid']} on host {held['host']} since {held['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"  # it is signing at this moment


@contextmanager
def temporary(path: Path, folder: bool = False) -> Iterator[Path]:
    """An empty file or folder beside `path`, named for this process and locked by it.

    It is removed after the block, if it is still there.
    """
    middle = f".{os.getpid()}.tmp"
    name = f".{path.name}{middle}" if folder else f".{path.stem}{middle}{path.suffix}"
    made = path.with_name(name)
    held = _make_locked(made, folder)
    try:
        yield made
    finally:
        _remove(made)
        os.close(held)


def remove_abandoned(folder: Path, pattern: str = ".*.tmp*") -> None:
    """Removes what `temporary` has left in a folder of processes that were killed."""
    for path in folder.glob(pattern):
        if not _TEMPORARY.fullmatch(path.name):
            continue
        with suppress(OSError):
            held = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
            try:
                if _flock(held, folder, supported_only=True):
                    _remove(path)
            finally:
                os.close(held)


def _make_locked(path: Path, folder: bool) -> int:
    """The descriptor of a new file or folder, locked."""
    while True:
        if folder:
            path.mkdir(parents=True, exist_ok=True)
            held = os.open(path, os.O_RDONLY)
        else:
            held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        if _flock(held, path.parent) and _is_at(held, path):
            return held
        os.close(held)  # taken for abandoned before it was locked


def _flock(
    file, folder: Path, wait: bool = False, supported_only: bool = False
) -> bool:
    """Locks an open file; False if another process has done so.

    `supported_only` makes that False, too, where there are no locks.
    """
    try:
        if fcntl is None:
            raise OSError(errno.ENOSYS, "no flock")
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        return True
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        _say_unlocked(folder)
        return not supported_only


@cache
def _say_unlocked(folder: Path) -> None:
    print(
        f"{folder}: its file system keeps no locks; see to it that no second process "
        "writes here.",
        file=sys.stderr,
        flush=True,
    )


def _sign(file) -> None:
    file.truncate(0)
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": since}, file)
    file.flush()


def _is_at(held: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(held), path.stat())
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
