"""Commands in processes that need not import TensorFlow anew.

An import takes four seconds of a processor, and the suite starts hundreds of them.
`python forked.py SOCKET` imports what all commands import, and nothing of this package,
then forks once for each request on its socket: the child has the arguments, directory,
environment and streams of the request and runs a module as `python -m` would.
"""

import contextlib
import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile
from pathlib import Path


class Forked:
    """A command that runs; of `subprocess.Popen` what the tests need.

    Attributes:
        pid, returncode: of it.
    """

    def __init__(self, name, answers, out, err):
        self.name, self._answers, self._files = name, answers, (out, err)
        self.pid, self.returncode = int(answers.recv(16)), None

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(9)

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0.001)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._answers.settimeout(timeout)
            try:
                self.returncode = int(self._answers.recv(16))
            except TimeoutError:
                raise subprocess.TimeoutExpired(self.name, timeout) from None
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """(standard output, standard error), when it has ended."""
        self.wait(timeout)
        return tuple(map(_read, self._files))


class Forks:
    """The process that forks, started with the first command."""

    def __init__(self):
        self._server = None

    def start(self, module, arguments, cwd, environment) -> Forked:
        """`python -m module arguments`, begun."""
        if self._server is None:
            self._server = _start_server()
        out, err = (tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115
        ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        request = json.dumps([module, arguments, str(cwd), environment]).encode()
        descriptors = [each.fileno() for each in (out, err, theirs)]
        socket.send_fds(self._server[1], [b"!"], descriptors)
        self._server[1].sendall(request + b"\n")
        theirs.close()
        return Forked(module, ours, out, err)

    def run(self, module, arguments, timeout, cwd, environment):
        """`subprocess.CompletedProcess` of `python -m module arguments`."""
        process = self.start(module, arguments, cwd, environment)
        try:
            texts = process.communicate(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        command = [module, *arguments]
        return subprocess.CompletedProcess(command, process.returncode, *texts)


def _start_server() -> tuple[subprocess.Popen, socket.socket]:
    ours, theirs = socket.socketpair()
    command = [sys.executable, __file__, str(theirs.fileno())]
    quiet = subprocess.DEVNULL  # what TensorFlow says at its import
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=quiet)
    theirs.close()
    return process, ours


def _read(file) -> str:
    file.seek(0)
    return file.read().decode().replace("\r\n", "\n")


def _serve(connection: socket.socket):
    """Returns in a child, with its request; ends with the connection."""
    while True:
        start, descriptors, *_ = socket.recv_fds(connection, 1, 3)
        if not start:
            os._exit(0)
        with connection.makefile() as lines:
            request = json.loads(lines.readline())
        watcher = os.fork()
        if watcher == 0:
            connection.close()
            *streams, answers = descriptors
            if _watch(answers):
                return request, streams
        os.waitpid(watcher, 0)
        for each in descriptors:
            os.close(each)


def _watch(answers: int) -> bool:
    """True in the command's own process; says its number and its status elsewhere.

    Each is a packet; its parent has gone by then, so that it leaves nobody waiting.
    """
    if os.fork():
        os._exit(0)
    child = os.fork()
    if child == 0:
        os.close(answers)
        return True
    os.write(answers, str(child).encode())
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.write(answers, str(status).encode())
    os._exit(0)


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    import keras  # noqa: F401
    import matplotlib.figure  # noqa: F401
    import rich.progress  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import tensorflow  # noqa: F401

    connection = socket.socket(fileno=int(sys.argv[1]))
    (module, arguments, cwd, environment), descriptors = _serve(connection)
    for stream, descriptor in enumerate(descriptors, start=1):
        os.dup2(descriptor, stream)
        os.close(descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    # As `python -m` has it.
    sys.path[0] = str(Path(cwd).resolve())
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
