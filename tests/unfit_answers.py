# ruff: noqa: E501, B023
"""Servers whose answers are unfit, of as many kinds as one thinks of, by a seed.

    python tests/unfit_answers.py --seed=0 --rest=1400 --grpc=600

lets the client's command line embed three files with each of them, and says of how many
it wrote numbers that were not served, showed a traceback or a control character, took
longer than its time-out or more than 2 GB. Case `n` is asked for as the model `case<n>`.
Sockets alone are used, no library of HTTP or gRPC, so that every byte may be wrong.
"""

import argparse
import collections
import contextlib
import gzip
import io
import json
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROWS, D = 3, 4
TRUTH = np.random.default_rng(0).normal(size=(ROWS, D)).astype(np.float32)
HOSTILE = "\x1b[31mred\x1b]0;title\x07\r\n\u202eright\u2028 \x9b2J\x00 {{" + " " * 3000


class Case(NamedTuple):
    """What is answered at one stage, and what the client may make of it.

    Attributes:
        stage: "status", "metadata", "probe" or "predict"; the other answers are good.
        parts: what is sent: bytes, or seconds to wait; a last None resets.
        fit: whether it must be embedded (True), must be refused (False), or may be
            embedded as what `served` gives (None).
        served: the answer to read on, apart from its transport.
    """

    kind: str
    stage: str
    parts: list
    fit: bool | None
    served: bytes = b""


# REST


def good_json(stage: str, model: str):
    """The answer of a server that is well, as JSON."""
    if stage == "status":
        status = {"error_code": "OK", "error_message": ""}
        one = {"version": "1", "state": "AVAILABLE", "status": status}
        return {"model_version_status": [one]}
    if stage != "metadata":
        return {"outputs": TRUTH[: 1 if stage == "probe" else ROWS].tolist()}

    def tensor(dtype, *axes):
        dims = [{"size": str(axis), "name": ""} for axis in axes]
        shape = {"dim": dims, "unknown_rank": False}
        return {"dtype": dtype, "tensor_shape": shape, "name": "x:0"}

    embedding = {"embedding": tensor("DT_FLOAT", -1, D)}
    arrays = {"images": tensor("DT_UINT8", -1, 4, 4, 3)}
    contents = {"image_bytes": tensor("DT_STRING", -1)}
    signatures = {
        "serving_default": {"inputs": arrays, "outputs": embedding},
        "encoded": {"inputs": contents, "outputs": embedding},
    }
    spec = {"name": model, "version": "1", "signature_name": ""}
    found = {"signature_def": {"signature_def": signatures}}
    return {"model_spec": spec, "metadata": found}


JUNK = [
    *(None, True, False, "", "1.5", "x", HOSTILE, [], {}, [[]], [{}], {"a": 1}),
    *(-1, 0, 1, 3, 7.5, 1e39, -1e39, 10**30, 10**400, 2**63, "9" * 400, "-1", "1e3"),
    *(float("nan"), float("inf"), -float("inf"), "NaN", {"b64": "####"}, {"b64": 1}),
    *("\ud800", "DT_HALF", "DT_STRING", "END", [0.5] * 9, [[0.5] * D] * 9, "x" * 5000),
]


def nodes(tree, path=()):
    """The path of each node of a JSON tree."""
    yield path
    if isinstance(tree, dict | list):
        keys = tree if isinstance(tree, dict) else range(len(tree))
        for key in keys:
            yield from nodes(tree[key], (*path, key))


def replaced(tree, path, change):
    """The tree with change(node) in the place of a node."""
    if not path:
        return change(tree)
    copy = tree.copy()
    copy[path[0]] = replaced(tree[path[0]], path[1:], change)
    return copy


def pick(rng, things):
    return things[rng.integers(len(things))]


def other_node(rng, tree):
    path = pick(rng, list(nodes(tree)))
    return replaced(tree, path, lambda _: pick(rng, JUNK))


def lost_node(rng, tree):
    path = pick(rng, [path for path in nodes(tree) if path])

    def without(node):
        kept = node.copy()
        del kept[path[-1]]
        return kept

    return replaced(tree, path[:-1], without)


def doubled_node(rng, tree):
    paths = [path for path in nodes(tree) if path and isinstance(path[-1], int)]
    if not paths:
        return [tree, tree]
    path = pick(rng, paths)
    return replaced(tree, path[:-1], lambda node: [*node, node[path[-1]]])


def wrapped_node(rng, tree):
    change = pick(rng, [lambda x: [x], lambda x: {"embedding": x}, lambda x: str(x)])
    return replaced(tree, pick(rng, list(nodes(tree))), change)


def outputs_of_shape(rng, tree):
    """Predictions of another number or width."""
    axes = rng.integers(0, 10, 2)
    return {"outputs": np.full(axes, 0.25).tolist()}


TREES = [other_node, lost_node, doubled_node, wrapped_node]


def other_character(rng, text):
    at = rng.integers(len(text))
    return text[:at] + pick(rng, list('[]{},:"0e-x \\\n')) + text[at + 1 :]


def huge_digits(rng, text):
    digits = "7" * int(rng.integers(300, 6000))
    return re.sub(r"-?[0-9]+(\.[0-9]+)?", digits, text, count=1)


TEXTS = {
    "cut": lambda rng, text: text[: rng.integers(len(text))].encode(),
    "character": lambda rng, text: other_character(rng, text).encode(),
    "digits": lambda rng, text: huge_digits(rng, text).encode(),
    "appended": lambda rng, text: (text + pick(rng, ["x", text, "]", "\0"])).encode(),
    "UTF-16": lambda rng, text: text.encode("utf-16"),
    "UTF-32": lambda rng, text: text.encode("utf-32-le"),
    "mark": lambda rng, text: b"\xef\xbb\xbf" + text.encode(),
    "not UTF-8": lambda rng, text: text.encode().replace(b'"', b'"\xff\xfe', 1),
    "byte": lambda rng, text: (
        (raw := bytearray(text.encode())).__setitem__(
            rng.integers(len(raw)), rng.integers(256)
        )
        or bytes(raw)
    ),
    "key twice": lambda rng, text: ("{" + text.strip()[1:-1] + "," + text[1:]).encode(),
    "deep": lambda rng, text: (
        pick(rng, [b"[", b'{"outputs":', b'{"a":[']) * int(rng.integers(500, 200_000))
    ),
    "lists": lambda rng, text: b'{"outputs":[' + b"[]," * 20_000_000 + b"[]]}",
    "empty": lambda rng, text: b"",
    "random": lambda rng, text: rng.bytes(int(rng.integers(1, 3000))),
}


def http(body: bytes, *headers: str, status="200 OK", length: int | str | None = -1):
    """An HTTP response."""
    lines = [f"HTTP/1.1 {status}", *headers]
    if not any("Content-Type" in header for header in headers):
        lines.append("Content-Type: application/json")
    if length is not None:
        lines.append(f"Content-Length: {len(body) if length == -1 else length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(body: bytes, size: int = 7, end: bytes = b"0\r\n\r\n") -> bytes:
    parts = [body[k : k + size] for k in range(0, len(body), size)]
    pieces = [b"%x\r\n%s\r\n" % (len(part), part) for part in parts]
    return http(b"".join(pieces) + end, "Transfer-Encoding: chunked", length=None)


def dripping(content: bytes, start: int = 0) -> list:
    """All at once up to `start`, then a byte every half second."""
    parts = [content[:start]]
    for k in range(start, len(content)):
        parts += [content[k : k + 1], 0.5]
    return parts


def error(rng, body):
    text = json.dumps({"error": HOSTILE * int(rng.integers(1, 40))})
    codes = (100, 101, 204, 206, 301, 302, 304, 307, 400, 401, 404, 412, 413, 418, 429)
    code = pick(rng, [*codes, 500, 502, 503, 504, 599, 999])
    content = pick(rng, [text.encode(), HOSTILE.encode(), rng.bytes(300), b"", body])
    location = "Location: http://localhost/\x1b[31m"
    return [http(content, location, status=f"{code} {HOSTILE[:9]}")]


# kind -> (whether it must be embedded, the parts to send)
WIRES = {
    "good": (True, lambda rng, b: [http(b)]),
    "chunked": (True, lambda rng, b: [chunked(b)]),
    "by the end": (True, lambda rng, b: [http(b, length=None)]),
    "in pieces": (True, lambda rng, b: [http(b)[:50], 0.05, http(b)[50:]]),
    "continue": (True, lambda rng, b: [b"HTTP/1.1 100 Continue\r\n\r\n" + http(b)]),
    "blanks": (True, lambda rng, b: [http(b.replace(b"[", b"\n [ "))]),
    "surplus": (True, lambda rng, b: [http(b) + b"more"]),
    "error": (False, error),
    "body cut": (False, lambda rng, b: [http(b)[: -rng.integers(1, len(b))]]),
    "chunks cut": (False, lambda rng, b: [chunked(b, 7, b"")]),
    "chunk cut": (False, lambda rng, b: [chunked(b)[: -rng.integers(8, len(b))]]),
    "chunk size": (False, lambda rng, b: [chunked(b).replace(b"\r\n7\r\n", pick(rng, [b"\r\n-f\r\n", b"\r\n-1\r\n", b"\r\nx\r\n"]))]),
    "endless chunk": (False, lambda rng, b: [chunked(b, 7, b"-1\r\n")] + [b" " * 65536] * 60_000),
    "huge chunk": (False, lambda rng, b: [chunked(b, 7, b"3c0000000\r\nxx")]),
    "told huge": (False, lambda rng, b: [http(b, length=15 << 30), 9.0]),
    "told less": (False, lambda rng, b: [http(b, length=rng.integers(1, len(b)))]),
    "length": (False, lambda rng, b: [http(b, length=pick(rng, ["-1", "x", "1e3", "", "0x9", "9" * 30]))]),
    "two lengths": (False, lambda rng, b: [http(b, "Content-Length: 3")]),
    "gzip": (False, lambda rng, b: [http(gzip.compress(b), "Content-Encoding: gzip")]),
    "gzip bomb": (False, lambda rng, b: [http(BOMB, "Content-Encoding: gzip")]),
    "coding": (False, lambda rng, b: [http(b, "Transfer-Encoding: gzip, chunked", length=None)]),
    "type": (False, lambda rng, b: [http(b, pick(rng, ["Content-Type: text/html", "Content-Type: \x1b[31m"]))]),
    "headers": (False, lambda rng, b: [http(b, *["X: y"] * 200)]),
    "long header": (False, lambda rng, b: [http(b, "X: " + "y" * 100_000)]),
    "status line": (False, lambda rng, b: [http(b).replace(b"HTTP/1.1 200", pick(rng, [b"HTTP/9 x", b"\x1b[31m", b"", b"200", b"HTTP/1.1 20x"]), 1)]),
    "endless": (False, lambda rng, b: [http(b"", length=None)] + [b" " * 65536] * 9000),
    "endless header": (False, lambda rng, b: [b"HTTP/1.1 100 Continue\r\n\r\n"] * 9 + dripping(http(b))),
    "silent": (False, lambda rng, b: [9.0]),
    "closed": (False, lambda rng, b: []),
    "reset": (False, lambda rng, b: [http(b)[: rng.integers(20, 60)], None]),
    "drip": (False, lambda rng, b: dripping(http(b))),
    "dripping body": (False, lambda rng, b: dripping(http(b), len(http(b)) - len(b))),
    "dripping chunks": (False, lambda rng, b: dripping(chunked(b, 1), 90)),
}  # fmt: skip
BOMB = gzip.compress(bytes(1 << 26))
REST_KINDS = [*TREES, *TREES, outputs_of_shape, *TEXTS, *WIRES]


def rest_case(kind, stage: str, rng, model: str) -> Case:
    tree = good_json(stage, model)
    text = json.dumps(tree)
    if callable(kind):
        stage = "predict" if kind is outputs_of_shape else stage
        body = json.dumps(kind(rng, good_json(stage, model))).encode()
        return Case(kind.__name__, stage, [http(body)], None, body)
    if kind in TEXTS:
        body = TEXTS[kind](rng, text)
        return Case(kind, stage, [http(body)], None, body)
    fit, script = WIRES[kind]
    return Case(kind, stage, script(rng, text.encode()), fit, text.encode())


def read_json(body: bytes) -> np.ndarray | None:
    """The embeddings of an answer, if they are ROWS rows of D finite numbers."""
    try:
        rows = json.loads(body.decode())["outputs"]
        right = all(type(x) in (int, float) for row in rows for x in row)
        array = np.array(rows, float)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    if not right or array.shape != (ROWS, D) or not (np.abs(array) < 3e38).all():
        return None
    return array.astype(np.float32)


# gRPC


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: int | bytes | str) -> bytes:
    """A field of a protobuf message, a number or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def shape_of(*axes: int) -> bytes:
    return b"".join(field(2, field(1, int(axis))) for axis in axes)


def spec_of(model: str, signature: str = "", version: int = 1) -> bytes:
    number = field(2, field(1, version))
    return field(1, model) + number + field(3, signature)


def answer_of(*parts: bytes, model: str, signature: str, key="embedding") -> bytes:
    """A PredictResponse of one tensor."""
    tensor = b"".join(parts)
    spec = spec_of(model, signature)
    return field(1, field(1, key) + field(2, tensor)) + field(2, spec)


def floats(array) -> bytes:
    return np.asarray(array, "<f4").tobytes()


def good_message(stage: str, model: str) -> bytes:
    """The answer of a server that is well."""
    if stage == "status":
        return field(1, field(1, 1) + field(2, 30) + field(3, b""))
    if stage != "metadata":
        rows = 1 if stage == "probe" else ROWS
        signature = "serving_default" if stage == "probe" else "encoded"
        tensor = (
            field(1, 1) + field(2, shape_of(rows, D)) + field(5, floats(TRUTH[:rows]))
        )
        return answer_of(tensor, model=model, signature=signature)

    def tensor(dtype, *axes):
        return field(2, field(2, dtype) + field(3, shape_of(*axes)))

    def signature(name, key, info):
        inputs = field(1, field(1, key) + info)
        outputs = field(2, field(1, "embedding") + tensor(1, -1, D))
        return field(1, field(1, name) + field(2, inputs + outputs))

    signatures = signature("serving_default", "images", tensor(4, -1, 4, 4, 3))
    signatures += signature("encoded", "image_bytes", tensor(7, -1))
    url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    packed = field(1, url) + field(2, signatures)
    entry = field(1, "signature_def") + field(2, packed)
    return field(1, spec_of(model)) + field(2, entry)


def odd_tensor(rng, model: str) -> bytes:
    """A PredictResponse that is sound but for what it says."""
    rows, width = pick(
        rng, [(1, D), (9, D), (0, D), (ROWS, D + 1), (ROWS, 0), (D, ROWS)]
    )
    whole = field(5, floats(TRUTH))
    right = shape_of(ROWS, D)
    bad = pick(rng, [np.nan, np.inf, -np.inf])
    odd = np.where(rng.random((ROWS, D)) < 0.2, bad, TRUTH)
    odd[0, 0] = bad
    tensors = [
        (1, shape_of(rows, width), field(5, floats(np.ones((rows, width))))),
        (1, shape_of(rows, width), field(4, floats(np.ones((rows, width))))),
        (1, shape_of(rows, width), whole),
        (1, right, field(5, floats(odd))),
        (1, right, field(4, floats(odd))),
        (1, right, field(5, floats(TRUTH)[: 4 * rng.integers(ROWS * D)])),
        (1, right, field(4, floats(TRUTH)[: rng.integers(4 * ROWS * D)])),
        (1, right, field(4, floats(TRUTH) * 2)),
        (1, right, field(5, floats(TRUTH) + b"\0\0")),
        (1, right, field(6, TRUTH.astype("<f8").tobytes())),
        (2, right, field(6, TRUTH.astype("<f8").tobytes())),
        (3, right, field(7, bytes(range(12)))),
        (7, right, field(8, "x") * (ROWS * D)),
        (int(rng.integers(8, 200)), right, whole),
        (1, shape_of(2**31, 2**31), field(5, floats([1]))),
        (1, shape_of(ROWS, 10**9), field(5, floats([1]))),
        (1, shape_of(-1, D), whole),
        (1, shape_of(-ROWS, -D), whole),
        (1, shape_of(ROWS, D, 1), whole),
        (1, shape_of(ROWS * D), whole),
        (1, shape_of(*[1] * 5000, ROWS, D), whole),
        (1, right + field(3, 1), whole),
        (1, b"", whole),
        (1, right, b""),
    ]  # fmt: skip
    dtype, shape, values = pick(rng, tensors)
    tensor = field(1, dtype) + field(2, shape) + values
    return answer_of(tensor, model=model, signature="encoded")


def odd_answer(rng, model: str) -> bytes:
    """A PredictResponse of another model, version, signature or output."""
    tensor = field(1, 1) + field(2, shape_of(ROWS, D)) + field(5, floats(TRUTH))
    make = lambda **changed: answer_of(
        tensor, **{"model": model, "signature": "encoded"} | changed
    )
    return pick(rng, [
        make(model="another"), make(signature="serving_default"), make(key="code"),
        make(key=HOSTILE), make() + field(1, field(1, "more") + field(2, tensor)),
        make() + field(2, spec_of(model, "encoded", 2)), b"", make()[:-9],
        field(1, b"") * 10_000, rng.bytes(int(rng.integers(1, 500))),
    ])  # fmt: skip


def flipped(rng, message: bytes) -> bytes:
    raw = bytearray(message)
    for _ in range(rng.integers(1, 4)):
        raw[rng.integers(len(raw))] = rng.integers(256)
    return bytes(raw)


def spliced(rng, message: bytes) -> bytes:
    a, b = np.sort(rng.integers(0, len(message) + 1, 2))
    return message[:a] + pick(rng, [b"", message[a:b] * 2, rng.bytes(5)]) + message[b:]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(
        ">BBI", kind, flags, stream
    ) + payload  # fmt: skip


def headers(**pairs: str) -> bytes:
    """HPACK, literally; `status` is HTTP's."""
    out = b""
    for name, value in pairs.items():
        name = ":status" if name == "status" else name.replace("_", "-")
        raw = value.encode("latin-1")[:100]
        out += b"\0" + bytes([len(name)]) + name.encode() + bytes([len(raw)]) + raw
    return out


def head(stream: int, flags: int = 4, **changed: str) -> bytes:
    pairs = {"status": "200", "content_type": "application/grpc"} | changed
    return frame(1, flags, stream, headers(**pairs))


def tail(stream: int, status="0", message="") -> bytes:
    return frame(1, 5, stream, headers(grpc_status=status, grpc_message=message))


def data(stream: int, message: bytes, told: int | None = None, packed=0) -> bytes:
    told = len(message) if told is None else told
    return frame(0, 0, stream, bytes([packed]) + struct.pack(">I", told) + message)


def whole(stream: int, message: bytes) -> bytes:
    return head(stream) + data(stream, message) + tail(stream)


ESCAPED = "%1B[31mred%0D%0A%E2%80%AEright%00{{"
# kind -> (whether it must be embedded, the parts to send on stream `s`)
FRAMES = {
    "good": (True, lambda rng, s, m: [whole(s, m)]),
    "in pieces": (True, lambda rng, s, m: [whole(s, m)[:40], 0.05, whole(s, m)[40:]]),
    "unknown fields": (True, lambda rng, s, m: [whole(s, m + field(99, "x" * 99))]),
    "status": (False, lambda rng, s, m: [head(s) + tail(s, str(rng.integers(1, 30)), ESCAPED)]),
    "status at once": (False, lambda rng, s, m: [head(s, 5, grpc_status=str(rng.integers(1, 17)), grpc_message=ESCAPED)]),
    "status after all": (False, lambda rng, s, m: [head(s) + data(s, m) + tail(s, str(rng.integers(1, 17)), ESCAPED)]),
    "status odd": (False, lambda rng, s, m: [head(s) + tail(s, "x", ESCAPED)]),
    "HTTP status": (False, lambda rng, s, m: [head(s, 5, status=pick(rng, ["302", "404", "418", "500", "503"]))]),
    "type": (False, lambda rng, s, m: [head(s, 4, content_type="text/html", status="404") + frame(0, 1, s, b"<html>\x1b[31m")]),
    "no message": (False, lambda rng, s, m: [head(s) + tail(s)]),
    "two messages": (False, lambda rng, s, m: [head(s) + data(s, m) * 2 + tail(s)]),
    "told more": (False, lambda rng, s, m: [head(s) + data(s, m, len(m) + int(rng.integers(1, 9999))) + tail(s)]),
    "told huge": (False, lambda rng, s, m: [head(s) + data(s, m, 0xFFFFFFFF), 9.0]),
    "told less": (False, lambda rng, s, m: [head(s) + data(s, m, int(rng.integers(0, len(m)))) + tail(s)]),
    "packed": (False, lambda rng, s, m: [head(s, grpc_encoding="gzip") + data(s, gzip.compress(m), packed=1) + tail(s)]),
    "bomb": (False, lambda rng, s, m: [head(s, grpc_encoding="gzip") + b"".join(frame(0, 0, s, p) for p in pieces(BOMB_MESSAGE)) + tail(s)]),
    "packed oddly": (False, lambda rng, s, m: [head(s, grpc_encoding="x") + data(s, m, packed=1) + tail(s)]),
    "no end": (False, lambda rng, s, m: [head(s) + data(s, m), 9.0]),
    "cut": (False, lambda rng, s, m: [whole(s, m)[: rng.integers(9, 60)]]),
    "reset": (False, lambda rng, s, m: [head(s) + frame(3, 0, s, struct.pack(">I", rng.integers(0, 13)))]),
    # Code 13, HTTP_1_1_REQUIRED, is left out: grpcio 1.85 ends the process at it.
    "gone": (False, lambda rng, s, m: [frame(7, 0, 0, struct.pack(">II", 0, rng.integers(0, 13)) + b"\x1b[31m")]),
    "aborted": (False, lambda rng, s, m: [head(s), None]),
    "closed": (False, lambda rng, s, m: []),
    "silent": (False, lambda rng, s, m: [9.0]),
    "drip": (False, lambda rng, s, m: dripping(whole(s, m))),
    "random frame": (False, lambda rng, s, m: [frame(int(rng.integers(20)), int(rng.integers(256)), s, rng.bytes(40))]),
    "random": (False, lambda rng, s, m: [rng.bytes(200)]),
    "huge frame": (False, lambda rng, s, m: [b"\xff\xff\xff\0\0" + struct.pack(">I", s) + m]),
    "REST": (False, lambda rng, s, m: [http(b"{}")]),
}  # fmt: skip
BOMB_MESSAGE = (lambda raw: b"\1" + struct.pack(">I", len(raw)) + raw)(
    gzip.compress(bytes(60 << 20))
)
MESSAGES = [odd_tensor, odd_tensor, odd_tensor, odd_answer]
GRPC_KINDS = [*MESSAGES, flipped, spliced, flipped, spliced, *FRAMES]


def pieces(raw: bytes, size: int = 16_000) -> list[bytes]:
    return [raw[k : k + size] for k in range(0, len(raw), size)]


def grpc_case(kind, stage: str, rng, model: str, stream: int) -> Case:
    message = good_message(stage, model)
    if kind in MESSAGES:
        message = kind(rng, model)
        return Case(kind.__name__, "predict", [whole(stream, message)], None, message)
    if callable(kind):
        message = kind(rng, message)
        return Case(kind.__name__, stage, [whole(stream, message)], None, message)
    fit, script = FRAMES[kind]
    return Case(kind, stage, script(rng, stream, message), fit, message)


def read_messages(messages: list[bytes]) -> list[np.ndarray | None]:
    """The embeddings of answers by TensorFlow's own reader, as by `read_json`."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    def read(message):
        try:
            answer = predict_pb2.PredictResponse.FromString(message)
            return tf.make_ndarray(answer.outputs["embedding"])
        except Exception:
            return None

    return [read(message) for message in messages]


# Cases and the server


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


# What the client makes of them


class Outcome(NamedTuple):
    """What one run of the command line gave."""

    status: int | str
    shown: str
    embeddings: np.ndarray | None
    left: list[str]
    seconds: float


def embed(address: str, transport: str, number: int, folder: Path, timeout: float):
    """Runs the client's command line on three files, in this process."""
    from export import client

    files = [folder / "images" / f"{k}.png" for k in range(ROWS)]
    output = folder / "out.npz"
    output.unlink(missing_ok=True)
    shown, status, started = io.StringIO(), 0, time.monotonic()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        try:
            client.main([
                f"--server={address}", f"--model=case{number}", "--wait=0",
                f"--transport={transport}", f"--timeout={timeout}", "--retries=0",
                f"--output={output}", "--images", *map(str, files),
            ])  # fmt: skip
        except SystemExit as end:
            status = end.code
        except BaseException:
            status = "traceback"
            traceback.print_exc()
    seconds = time.monotonic() - started
    embeddings = None
    if output.exists():
        with np.load(output) as arrays:
            embeddings = arrays["embeddings"]
    left = [
        each.name for each in folder.iterdir() if each.name not in ("images", "out.npz")
    ]
    return Outcome(status, shown.getvalue(), embeddings, left, seconds)


def judge(case: Case, outcome: Outcome, timeout: float, read=read_json) -> list[str]:
    """What is wrong with an outcome."""
    faults = []
    shown = outcome.shown
    if "Traceback" in shown:
        faults.append("traceback")
    lines = shown.rstrip("\n").split("\n")
    several = len(lines) > 1 + lines[0].startswith("skipped ")
    if several or not "".join(lines).isprintable() or len(shown) > 3300:
        faults.append("control characters, or more than a line")
    if outcome.seconds > 2 * timeout + 1:  # to be ready, and to be embedded
        faults.append("too long")
    if outcome.left or (outcome.embeddings is None) != (outcome.status != 0):
        faults.append("files that do not belong to the exit status")
    if outcome.status != 0:
        return [*faults, "refused"] if case.fit else faults
    truth = read(case.served) if case.stage == "predict" and case.fit is None else TRUTH
    if case.fit is False or truth is None:
        faults.append("embedded what was unfit")
    elif not np.array_equal(outcome.embeddings, truth):
        faults.append("wrong numbers")
    return faults


@contextlib.contextmanager
def three_files():
    """A folder with `images/0.png` and so on; no server here looks into them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        for k in range(ROWS):
            (folder / "images" / f"{k}.png").write_bytes(b"\x89PNG")
        yield folder


def peak() -> int:
    """The most MB that this process had since the last call."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rest", type=int, default=1400)
    parser.add_argument("--grpc", type=int, default=600)
    parser.add_argument("--only", type=int, help="one case")
    parser.add_argument("--timeout", type=float, default=2.0)
    parser.add_argument("--serve", action="store_true")
    options = parser.parse_args()
    if options.serve:
        with Server(options.seed) as server:
            print(server.address("rest"), server.address("grpc"), flush=True)
            threading.Event().wait()
    command = [sys.executable, __file__, "--serve", f"--seed={options.seed}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            run(
                options,
                dict(
                    zip(("rest", "grpc"), server.stdout.readline().split(), strict=True)
                ),
            )
        finally:
            server.kill()


def run(options: argparse.Namespace, addresses: dict[str, str]) -> None:
    """All cases; prints those at fault and the counts."""
    cases = [("rest", k) for k in range(options.rest)]
    cases += [("grpc", k) for k in range(options.grpc)]
    counts, most, longest, late = collections.Counter(), 0, 0.0, []
    with three_files() as folder:
        for transport, number in cases:
            if options.only not in (None, number):
                continue
            case = make_case(options.seed, number, transport)
            peak()
            outcome = embed(
                addresses[transport], transport, number, folder, options.timeout
            )
            memory = peak()
            most, longest = max(most, memory), max(longest, outcome.seconds)
            reads = []
            faults = judge(
                case,
                outcome,
                options.timeout,
                read_json
                if transport == "rest"
                else lambda m: reads.append(m) or outcome.embeddings,
            )
            if reads:
                late.append((number, case, outcome, reads[0]))
            if memory > 2048:
                faults.append(f"{memory} MB")
            counts[transport, "embedded" if outcome.status == 0 else "refused"] += 1
            counts.update(faults)
            if faults or options.only is not None:
                print(
                    transport,
                    number,
                    case.kind,
                    case.stage,
                    faults,
                    repr(outcome.shown[-400:]),
                    flush=True,
                )
    if late:
        for (number, case, outcome, message), truth in zip(
            late, read_messages([m for *_, m in late]), strict=True
        ):
            if truth is None or not np.array_equal(truth, outcome.embeddings):
                counts["wrong numbers"] += 1
                print(
                    "grpc",
                    number,
                    case.kind,
                    "wrong numbers",
                    message[:200],
                    flush=True,
                )
    print(f"seed {options.seed}: {dict(counts)}, at most {most} MB, {longest:.1f} s")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    main()
