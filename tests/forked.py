"""Commands in processes that need not import TensorFlow anew.

An import takes four seconds of a processor, and the suite starts hundreds of them.
`python forked.py SOCKET` imports what all commands import, and nothing of this package,
then forks once for each request on its socket: the child has the arguments, directory,
environment and streams of the request and runs a module as `python -m` would.
"""

import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile
from pathlib import Path


class Forks:
    """The process that forks, started with the first command."""

    def __init__(self):
        self._server = None

    def run(self, module, arguments, timeout, cwd, environment):
        """`subprocess.CompletedProcess` of `python -m module arguments`."""
        connection = self._connect()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            request = [module, arguments, str(cwd), environment]
            socket.send_fds(connection, [b"!"], [out.fileno(), err.fileno()])
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile() as answers:
                child = int(answers.readline())
                connection.settimeout(timeout)
                try:
                    status = int(answers.readline())
                except TimeoutError:
                    os.kill(child, 9)
                    self._server = None
                    raise subprocess.TimeoutExpired(module, timeout) from None
            texts = [_read(file) for file in (out, err)]
        return subprocess.CompletedProcess([module, *arguments], status, *texts)

    def _connect(self):
        if self._server is None:
            ours, theirs = socket.socketpair()
            code = [sys.executable, __file__, str(theirs.fileno())]
            quiet = {"stderr": subprocess.DEVNULL}  # what TensorFlow says at its import
            process = subprocess.Popen(code, pass_fds=[theirs.fileno()], **quiet)
            theirs.close()
            self._server = process, ours
        return self._server[1].dup()


def _read(file) -> str:
    file.seek(0)
    return file.read().decode().replace("\r\n", "\n")


def _serve(connection: socket.socket):
    """Returns in a child, with its request; ends with the connection."""
    while True:
        start, descriptors, *_ = socket.recv_fds(connection, 1, 2)
        if not start:
            os._exit(0)
        with connection.makefile() as lines:
            request = json.loads(lines.readline())
        child = os.fork()
        if child == 0:
            connection.close()
            return request, descriptors
        for each in descriptors:
            os.close(each)
        connection.sendall(f"{child}\n".encode())
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        connection.sendall(f"{status}\n".encode())


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
