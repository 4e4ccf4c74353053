"""Cases of REST: the JSON is unfit, or what carries it."""

import gzip
import json

from unfit.case import HOSTILE, Case, pick
from unfit.http1 import chunked, dripping, http
from unfit.json_answers import TEXTS, TREES, good_json, outputs_of_shape


def error(rng, body):
    text = json.dumps({"error": HOSTILE * int(rng.integers(1, 40))})
    codes = (100, 101, 204, 206, 301, 302, 304, 307, 400, 401, 404, 412, 413, 418, 429)
    code = pick(rng, [*codes, 500, 502, 503, 504, 599, 999])
    content = pick(rng, [text.encode(), HOSTILE.encode(), rng.bytes(300), b"", body])
    location = "Location: http://localhost/\x1b[31m"
    return [http(content, location, status=f"{code} {HOSTILE[:9]}")]


BOMB = gzip.compress(bytes(1 << 26))
# By kind: the parts to send of a body that must be embedded, and of one that must not.
FIT = {
    "good": lambda rng, b: [http(b)],
    "chunked": lambda rng, b: [chunked(b)],
    "by the end": lambda rng, b: [http(b, length=None)],
    "in pieces": lambda rng, b: [http(b)[:50], 0.05, http(b)[50:]],
    "continue": lambda rng, b: [b"HTTP/1.1 100 Continue\r\n\r\n" + http(b)],
    "blanks": lambda rng, b: [http(b.replace(b"[", b"\n [ "))],
    "surplus": lambda rng, b: [http(b) + b"more"],
}
UNFIT = {
    "error": error,
    "body cut": lambda rng, b: [http(b)[: -rng.integers(1, len(b))]],
    "chunks cut": lambda rng, b: [chunked(b, 7, b"")],
    "chunk cut": lambda rng, b: [chunked(b)[: -rng.integers(8, len(b))]],
    "chunk size": lambda rng, b: [
        chunked(b).replace(
            b"\r\n7\r\n", pick(rng, [b"\r\n-f\r\n", b"\r\n-1\r\n", b"\r\nx\r\n"])
        )
    ],
    "endless chunk": lambda rng, b: (
        [chunked(b, 7, b"-1\r\n")] + [b" " * 65536] * 60_000
    ),
    "huge chunk": lambda rng, b: [chunked(b, 7, b"3c0000000\r\nxx")],
    "told huge": lambda rng, b: [http(b, length=15 << 30), 9.0],
    "told less": lambda rng, b: [http(b, length=rng.integers(1, len(b)))],
    "length": lambda rng, b: [
        http(b, length=pick(rng, ["-1", "x", "1e3", "", "0x9", "9" * 30]))
    ],
    "two lengths": lambda rng, b: [http(b, "Content-Length: 3")],
    "gzip": lambda rng, b: [http(gzip.compress(b), "Content-Encoding: gzip")],
    "gzip bomb": lambda rng, b: [http(BOMB, "Content-Encoding: gzip")],
    "coding": lambda rng, b: [http(b, "Transfer-Encoding: gzip, chunked", length=None)],
    "type": lambda rng, b: [
        http(b, pick(rng, ["Content-Type: text/html", "Content-Type: \x1b[31m"]))
    ],
    "headers": lambda rng, b: [http(b, *["X: y"] * 200)],
    "long header": lambda rng, b: [http(b, "X: " + "y" * 100_000)],
    "status line": lambda rng, b: [
        http(b).replace(
            b"HTTP/1.1 200",
            pick(rng, [b"HTTP/9 x", b"\x1b[31m", b"", b"200", b"HTTP/1.1 20x"]),
            1,
        )
    ],
    "endless": lambda rng, b: [http(b"", length=None)] + [b" " * 65536] * 9000,
    "endless header": lambda rng, b: (
        [b"HTTP/1.1 100 Continue\r\n\r\n"] * 9 + dripping(http(b))
    ),
    "silent": lambda rng, b: [9.0],
    "closed": lambda rng, b: [],
    "reset": lambda rng, b: [http(b)[: rng.integers(20, 60)], None],
    "drip": lambda rng, b: dripping(http(b)),
    "dripping body": lambda rng, b: dripping(http(b), len(http(b)) - len(b)),
    "dripping chunks": lambda rng, b: dripping(chunked(b, 1), 90),
}
REST_KINDS = [*TREES, *TREES, outputs_of_shape, *TEXTS, *FIT, *UNFIT]


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
    script = (FIT | UNFIT)[kind]
    return Case(kind, stage, script(rng, text.encode()), kind in FIT, text.encode())
