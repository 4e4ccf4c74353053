"""A server that answers each case of a seed, on sockets alone."""

import collections
import contextlib
import json
import re
import socket
import struct
import threading
import time

import numpy as np

from unfit.case import Case, pick
from unfit.grpc import GRPC_KINDS, grpc_case
from unfit.http1 import http
from unfit.http2 import frame, whole
from unfit.json_answers import good_json
from unfit.protobuf import good_message
from unfit.rest import REST_KINDS, rest_case


def make_case(seed: int, number: int, transport: str, stream: int = 1) -> Case:
    """Case `number`; kinds take turns, all else is drawn."""
    rng = np.random.default_rng([seed, number])
    stage = pick(rng, ["status", "metadata", "probe", *["predict"] * 5])
    if transport == "rest":
        kind = REST_KINDS[number % len(REST_KINDS)]
        return rest_case(kind, stage, rng, f"case{number}")
    kind = GRPC_KINDS[number % len(GRPC_KINDS)]
    return grpc_case(kind, stage, rng, f"case{number}", stream)


class Server:
    """Answers every case of a seed, on two free ports, as a context manager."""

    def __init__(self, seed: int):
        self._seed = seed
        self._sockets = {name: socket.socket() for name in ("rest", "grpc")}
        for listener in self._sockets.values():
            listener.bind(("127.0.0.1", 0))
            listener.listen(64)

    def __enter__(self):
        for name, listener in self._sockets.items():
            threading.Thread(
                target=self._accept, args=(name, listener), daemon=True
            ).start()
        return self

    def __exit__(self, *_):
        for listener in self._sockets.values():
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def address(self, transport: str) -> str:
        return f"127.0.0.1:{self._sockets[transport].getsockname()[1]}"

    def _accept(self, name: str, listener: socket.socket) -> None:
        answer = {"rest": self._answer_rest, "grpc": self._answer_grpc}[name]

        def serve(connection):
            with connection, contextlib.suppress(OSError, EOFError):
                answer(connection)

        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    def _answer_rest(self, connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += receive(connection)
        length = re.search(rb"Content-Length: (\d+)", request)
        while len(request.partition(b"\r\n\r\n")[2]) < (
            int(length[1]) if length else 0
        ):
            request += receive(connection)
        number = int(re.search(rb"case(\d+)", request)[1])
        stage = "status"
        for word in (b"metadata", b":predict"):
            stage = word.decode().strip(":") if word in request[:200] else stage
        if stage == "predict" and b'"images"' in request:
            stage = "probe"
        case = make_case(self._seed, number, "rest")
        good = json.dumps(good_json(stage, f"case{number}")).encode()
        send(connection, case.parts if case.stage == stage else [http(good)])

    def _answer_grpc(self, connection: socket.socket) -> None:
        reader = connection.makefile("rb")
        reader.read(24)  # the preface
        connection.sendall(frame(4, 0, 0))
        bodies = collections.defaultdict(bytes)
        while start := reader.read(9):
            length = int.from_bytes(start[:3], "big")
            kind, flags, stream = struct.unpack(">BBI", start[3:])
            payload = reader.read(length)
            if kind in (4, 6) and not flags & 1:  # SETTINGS, PING
                connection.sendall(frame(kind, 1, 0, payload if kind == 6 else b""))
            if kind == 0:
                bodies[stream] += payload
                if flags & 1 and not self._answer_call(
                    connection, stream, bodies[stream]
                ):
                    return

    def _answer_call(self, connection, stream: int, body: bytes) -> bool:
        """Whether the connection goes on."""
        number = int(re.search(rb"case(\d+)", body)[1])
        stage = "status"
        for word in (b"signature_def", b"image_bytes", b"images"):
            if word in body and stage == "status":
                stage = {b"signature_def": "metadata", b"images": "probe"}.get(
                    word, "predict"
                )
        case = make_case(self._seed, number, "grpc", stream)
        if case.stage == stage:
            send(connection, case.parts)
            return case.fit is not False
        connection.sendall(whole(stream, good_message(stage, f"case{number}")))
        return True


def receive(connection: socket.socket) -> bytes:
    part = connection.recv(1 << 16)
    if not part:
        raise EOFError
    return part


def send(connection: socket.socket, parts: list) -> None:
    for part in parts:
        if part is None:  # closes with a reset
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        elif isinstance(part, float):
            time.sleep(part)
        else:
            connection.sendall(part)
