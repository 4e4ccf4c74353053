"""Answers of REST, good ones and such of another form."""

import json
import re

import numpy as np

from unfit.case import HOSTILE, ROWS, TRUTH, D, pick


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
