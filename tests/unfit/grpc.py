"""Cases of gRPC: the message is unfit, or what carries it."""

import gzip
import struct

from unfit.case import Case, pick
from unfit.http1 import dripping, http
from unfit.http2 import data, frame, head, tail, whole
from unfit.protobuf import field, flipped, good_message, odd_answer, odd_tensor, spliced


def pieces(raw: bytes, size: int = 16_000) -> list[bytes]:
    return [raw[k : k + size] for k in range(0, len(raw), size)]


def random_frame(rng, stream: int) -> bytes:
    kind, flags, payload = int(rng.integers(20)), int(rng.integers(256)), rng.bytes(40)
    if kind == 7:  # GOAWAY: at a code above 12 grpcio 1.85 ends the process
        payload = payload[:4] + struct.pack(">I", payload[4] % 13) + payload[8:]
    return frame(kind, flags, stream, payload)


ESCAPED = "%1B[31mred%0D%0A%E2%80%AEright%00{{"
_PACKED = gzip.compress(bytes(60 << 20))
BOMB_MESSAGE = b"\1" + struct.pack(">I", len(_PACKED)) + _PACKED
# By kind: the parts to send on stream `s` of a message `m` that must be embedded, and
# of one that must not.
FIT = {
    "good": lambda rng, s, m: [whole(s, m)],
    "in pieces": lambda rng, s, m: [whole(s, m)[:40], 0.05, whole(s, m)[40:]],
    "unknown fields": lambda rng, s, m: [whole(s, m + field(99, "x" * 99))],
}
UNFIT = {
    "status": lambda rng, s, m: [head(s) + tail(s, str(rng.integers(1, 30)), ESCAPED)],
    "status at once": lambda rng, s, m: [
        head(s, 5, grpc_status=str(rng.integers(1, 17)), grpc_message=ESCAPED)
    ],
    "status after all": lambda rng, s, m: [
        head(s) + data(s, m) + tail(s, str(rng.integers(1, 17)), ESCAPED)
    ],
    "status odd": lambda rng, s, m: [head(s) + tail(s, "x", ESCAPED)],
    "HTTP status": lambda rng, s, m: [
        head(s, 5, status=pick(rng, ["302", "404", "418", "500", "503"]))
    ],
    "type": lambda rng, s, m: [
        head(s, 4, content_type="text/html", status="404")
        + frame(0, 1, s, b"<html>\x1b[31m")
    ],
    "no message": lambda rng, s, m: [head(s) + tail(s)],
    "two messages": lambda rng, s, m: [head(s) + data(s, m) * 2 + tail(s)],
    "told more": lambda rng, s, m: [
        head(s) + data(s, m, len(m) + int(rng.integers(1, 9999))) + tail(s)
    ],
    "told huge": lambda rng, s, m: [head(s) + data(s, m, 0xFFFFFFFF), 9.0],
    "told less": lambda rng, s, m: [
        head(s) + data(s, m, int(rng.integers(0, len(m)))) + tail(s)
    ],
    "packed": lambda rng, s, m: [
        head(s, grpc_encoding="gzip") + data(s, gzip.compress(m), packed=1) + tail(s)
    ],
    "bomb": lambda rng, s, m: [
        head(s, grpc_encoding="gzip")
        + b"".join(frame(0, 0, s, p) for p in pieces(BOMB_MESSAGE))
        + tail(s)
    ],
    "packed oddly": lambda rng, s, m: [
        head(s, grpc_encoding="x") + data(s, m, packed=1) + tail(s)
    ],
    "no end": lambda rng, s, m: [head(s) + data(s, m), 9.0],
    "cut": lambda rng, s, m: [whole(s, m)[: rng.integers(9, 60)]],
    "reset": lambda rng, s, m: [
        head(s) + frame(3, 0, s, struct.pack(">I", rng.integers(0, 13)))
    ],
    "gone": lambda rng, s, m: [
        frame(7, 0, 0, struct.pack(">II", 0, rng.integers(0, 13)) + b"\x1b[31m")
    ],
    "aborted": lambda rng, s, m: [head(s), None],
    "closed": lambda rng, s, m: [],
    "silent": lambda rng, s, m: [9.0],
    "drip": lambda rng, s, m: dripping(whole(s, m)),
    "random frame": lambda rng, s, m: [random_frame(rng, s)],
    "random": lambda rng, s, m: [rng.bytes(200)],
    "huge frame": lambda rng, s, m: [b"\xff\xff\xff\0\0" + struct.pack(">I", s) + m],
    "REST": lambda rng, s, m: [http(b"{}")],
}
MESSAGES = [odd_tensor, odd_tensor, odd_tensor, odd_answer]
GRPC_KINDS = [*MESSAGES, flipped, spliced, flipped, spliced, *FIT, *UNFIT]


def grpc_case(kind, stage: str, rng, model: str, stream: int) -> Case:
    message = good_message(stage, model)
    if kind in MESSAGES:
        message = kind(rng, model)
        return Case(kind.__name__, "predict", [whole(stream, message)], None, message)
    if callable(kind):
        message = kind(rng, message)
        return Case(kind.__name__, stage, [whole(stream, message)], None, message)
    script = (FIT | UNFIT)[kind]
    return Case(kind, stage, script(rng, stream, message), kind in FIT, message)
