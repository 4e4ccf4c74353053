"""Embeds image files through a running TensorFlow Serving, by gRPC or REST.

    tf-infomax serve-client --server=localhost:8500 --model=dim \
        --images=photos --output=embeddings.npz

Imports no TensorFlow: REST needs NumPy alone, gRPC also grpcio and protobuf; Pillow
makes PNG of WebP, TIFF and what else a served model does not decode. The file runs by
itself (`python client.py ...`) wherever it is copied.
"""

import argparse
import base64
import csv
import functools
import http.client
import io
import itertools
import json
import math
import os
import queue
import random
import re
import socket
import stat
import sys
import threading
import time
import urllib.parse
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp",
    ".tif", ".tiff", ".avif",
)  # fmt: skip
# Sent as well: the server refuses them, and so they are named among the skipped.
_OTHER_SUFFIXES = (
    ".heic", ".heif", ".jxl", ".jp2", ".psd", ".svg", ".ico", ".ppm", ".pgm", ".tga",
)  # fmt: skip
# Kinds that Pillow, where it is installed, makes PNG of: their first bytes.
_CONVERTED = re.compile(
    rb"(?P<GIF>GIF8)|(?P<BMP>BM)|(?P<WEBP>RIFF....WEBP)|(?P<TIFF>II[*+]\0|MM\0[*+])"
    rb"|(?P<AVIF>....ftypavi[fs])",
    re.DOTALL,
)
_LARGEST_FILE = 256 << 20  # bytes
_LARGEST_IMAGE = 64_000_000  # pixels


def _printable(text: str, most: int = 1000) -> str:
    """One line of at most `most` characters, none of which a terminal would obey."""
    line = " ".join(text[: 2 * most].split())
    line = "".join(each if each.isprintable() else "?" for each in line)
    return line if len(line) <= most else f"{line[: most - 4]} ..."


class ServingError(Exception):
    """A request that failed for good, in one line of printable characters.

    Attributes:
        code: gRPC's name of the status, such as "NOT_FOUND"; by REST its equivalent;
            "MALFORMED_ANSWER" for an answer that is not what was asked for.
        details: what the server said.
    """

    exit_status = 1

    def __init__(self, message: str, code: str = "UNKNOWN", details: str = ""):
        super().__init__(_printable(message))
        self.code = code
        self.details = _printable(details, 300)


# Names of failures that gRPC's codes do not tell apart.
_TOO_BIG = "MESSAGE_TOO_BIG"
_MALFORMED = "MALFORMED_ANSWER"
_WRONG_SIGNATURE = "WRONG_SIGNATURE"
_WRONG_INPUTS = "WRONG_INPUTS"
_RETRIED = ("UNAVAILABLE", "RESOURCE_EXHAUSTED")


class _RequestError(Exception):
    """One try that failed: gRPC's code or one of those above, and what was said."""

    def __init__(self, code: str, details: str):
        details = details[:2000]  # the searches below take the square of the length
        super().__init__(code, details)
        if "larger than max" in details:
            code = _TOO_BIG
        elif re.search(r"[Ss]ignature (name|key).* not found", details):
            code = _WRONG_SIGNATURE
        self.code = code
        self.details = details


def _malformed(details: str) -> _RequestError:
    """An answer that is not what was asked for."""
    return _RequestError(_MALFORMED, details)


def _left(deadline: float) -> float:
    """The seconds until a moment of time.monotonic(), while it is to come."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise _RequestError("DEADLINE_EXCEEDED", "")
    return seconds


def _tidy(details: str) -> str:
    """The first line, without the names of nodes of the graph."""
    line = re.sub(r"\{\{.*?\}\} ?|\s*\[\[.*", "", details.strip().partition("\n")[0])
    if line.startswith("assertion failed: "):  # its parts stand in brackets
        line = line.removeprefix("assertion failed: ").replace("] [", " ").strip("[]")
    return line


class TensorSpec(NamedTuple):
    """What a signature says of a tensor: -1 is a free axis, a `shape` of None any."""

    dtype: str  # NumPy's name; "bytes" for strings
    shape: tuple[int, ...] | None

    def __str__(self):
        return f"{self.dtype} {'of any shape' if self.shape is None else [*self.shape]}"


class Signature(NamedTuple):
    """The named inputs and outputs of one function of a served model."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


class _Served(NamedTuple):
    """A model's version, where the server tells it, and its functions by name."""

    version: int | None
    signatures: dict[str, Signature]


class _Embeddings:
    """Batches of embeddings [n, D], of one D and of one version of a model."""

    def __init__(self, what: str, width: int):
        self._what = what
        self._width = max(width, 0)
        self._version = None
        self._parts = []

    def add(self, outputs: dict, version: int | None, rows: int) -> None:
        """One more batch, of so many rows, out of an answer's outputs."""
        if self._parts and version != self._version:
            raise ServingError(
                f"model {self._what} was replaced meanwhile: version {self._version} "
                f"gave the first embeddings, version {version} these.",
                "FAILED_PRECONDITION",
            )
        with np.errstate(over="ignore"):
            part = np.asarray(outputs["embedding"], np.float32)
        if part.ndim != 2 or len(part) != rows or not part.shape[1]:
            self._refuse(f"an embedding of shape {[*part.shape]} of {rows} images")
        if self._parts and part.shape[1] != self._width:
            self._refuse(f"{part.shape[1]} dimensions, {self._width} before")
        finite = np.isfinite(part).all(1)
        if not finite.all():
            self._refuse(f"NaN or infinite in {rows - finite.sum()} of {rows} images")
        self._version, self._width = version, part.shape[1]
        self._parts.append(part)

    def join(self) -> np.ndarray:
        """float32 [N, D]."""
        if self._parts:
            return np.concatenate(self._parts)
        return np.zeros((0, self._width), np.float32)

    def _refuse(self, details: str) -> None:
        message = f"model {self._what}: unfit answer: {details}"
        raise ServingError(message, _MALFORMED, details)


class EmbeddingClient:
    """Asks one served model for embeddings.

    The model has the signatures `serving_default` (uint8 `images` [N, H, W, C]) and
    `encoded` (bytes `image_bytes` [N]), both to float32 `embedding` [N, D].

    An answer is held against the model's own description before it is returned:
    outputs by name, dtype and shape, as many rows as were sent, an embedding finite,
    all batches of one call from one version of the model.

    Args:
        address: "host:port"; TensorFlow Serving's usual ports are 8500 for gRPC and
            8501 for REST.
        model: the name under which the model is served.
        transport: "grpc" or "rest".
        version: of the model; None is the latest.
        timeout: seconds for a request, from the connection to the last byte of the
            answer, with all that is tried again.
        retries: how often a request is tried again when the server cannot be reached
            or is overloaded, after waits that double and are random.
        batch_size: images in a request of the `embed_` methods.
        max_message_bytes: limit of a request and of an answer.

    All methods raise ServingError when a request fails for good.
    """

    def __init__(
        self,
        address: str,
        model: str,
        transport: str = "grpc",
        version: int | None = None,
        timeout: float = 30.0,
        retries: int = 5,
        batch_size: int = 32,
        max_message_bytes: int = 256 << 20,
    ):
        if transport not in TRANSPORTS:
            raise ValueError(
                f"transport must be one of {', '.join(TRANSPORTS)}. "
                f"Received: {transport!r}."
            )
        _check_server(address, model)
        _check_range("version", version or 0)
        _check_range("timeout", timeout)
        _check_range("retries", retries)
        _check_range("batch_size", batch_size)
        _check_range("max_message_bytes", max_message_bytes)
        self._where = f"{address} ({transport})"
        self._what = f"{model!r}" + ("" if version is None else f" version {version}")
        self._transport = TRANSPORTS[transport](address, model, max_message_bytes)
        self._version = version
        self._served = None
        self._max_message_bytes = max_message_bytes
        self.timeout = timeout
        self.retries = retries
        self.batch_size = batch_size

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._transport.close()

    def wait_ready(self, timeout: float = 60.0, probe: bool = True) -> None:
        """Returns when the model is AVAILABLE and answers a first prediction.

        A server that cannot be reached yet, is overloaded or still loads is asked again
        for `timeout` seconds; a model that it does not know, or that failed to load or
        to predict, is an error at once.

        Args:
            timeout: seconds; 0 asks once, within the time-out of a request.
            probe: whether to ask `serving_default` for zeros of batch size 1: a model
                can be AVAILABLE and yet fail in every prediction.
        """
        started, tries, wait = time.monotonic(), 0, 0.1
        least = 1.0 if timeout else self.timeout
        while True:
            tries += 1
            begun = time.monotonic()
            seconds = min(self.timeout, max(least, started + timeout - begun))
            try:
                return self._check_ready(begun + seconds, probe)
            except _RequestError as error:
                elapsed = time.monotonic() - started
                retry = error.code in (*_RETRIED, "DEADLINE_EXCEEDED")
                if not retry or elapsed + wait > timeout:
                    raise self._error(error, tries, elapsed, seconds) from None
            time.sleep(wait)
            wait = min(2 * wait, 1.0)

    def _check_ready(self, deadline: float, probe: bool) -> None:
        versions = self._transport.versions(self._version, deadline)
        states = {state for _, state, _ in versions}
        others = {number for number, *_ in versions} - {self._version}
        if self._version is not None and others:
            raise _malformed(f"the status of version {others.pop()}")
        if "AVAILABLE" not in states:
            said = "; ".join(f"version {v} {s} {why}".strip() for v, s, why in versions)
            ended = states <= {"END", "UNLOADING"}
            code = "FAILED_PRECONDITION" if ended else "UNAVAILABLE"
            raise _RequestError(code, said or "it has no version")
        if probe:
            signature = self._signature("serving_default", deadline)
            zeros = {
                name: _zeros(spec, self._max_message_bytes)
                for name, spec in signature.inputs.items()
            }
            self._ask(zeros, "serving_default", deadline)

    def signatures(self) -> dict[str, Signature]:
        """The model's functions by name."""
        return self._retry(self._describe).signatures

    def _describe(self, deadline: float) -> _Served:
        """The model as it is served, asked for once."""
        if self._served is None:
            self._served = self._transport.describe(self._version, deadline)
        return self._served

    def _signature(self, name: str, deadline: float) -> Signature:
        signatures = self._describe(deadline).signatures
        if name not in signatures:
            known = ", ".join(signatures)
            raise _RequestError(_WRONG_SIGNATURE, f"{name!r}; it has {known}")
        return signatures[name]

    def predict(
        self, inputs: dict[str, np.ndarray], signature: str = "serving_default"
    ) -> dict[str, np.ndarray]:
        """The outputs of one request; strings are object arrays of bytes.

        They have the names, dtypes and shapes that the signature declares; the free
        first axis of an output is as long as that of the inputs. Values are the
        model's own, NaN and infinities included.

        Raises:
            ServingError: also, before anything is sent, if the arrays are not of the
                signature's names, dtypes and shapes.
        """
        return self._predict(inputs, signature)[0]

    def _predict(self, inputs: dict, signature: str) -> tuple[dict, int | None]:
        """The outputs, and the version of the model that they are of."""
        arrays = {name: _as_array(value) for name, value in inputs.items()}

        def request(deadline):
            known = self._served is not None
            try:
                return self._ask(arrays, signature, deadline)
            except _RequestError as error:
                # The latest version of before may have made room for another.
                gone = error.code == "NOT_FOUND" and self._version is None
                if not (known and gone):
                    raise
            self._served = None
            return self._ask(arrays, signature, deadline)

        return self._retry(request)

    def _ask(self, arrays: dict, name: str, deadline: float) -> tuple[dict, int | None]:
        """One request to the version whose signatures are known."""
        signature = self._signature(name, deadline)
        version = self._served.version
        _check_inputs(name, signature, arrays)
        call = _Call(name, signature, arrays, version)
        return self._transport.predict(call, deadline), version

    def embed_images(self, images: np.ndarray) -> np.ndarray:
        """uint8 [N, H, W, C] -> float32 [N, D]."""
        return self._embed("serving_default", "images", np.asarray(images))

    def embed_bytes(self, encoded: Sequence[bytes]) -> np.ndarray:
        """N encoded images (JPEG, PNG, BMP, GIF) of any size -> float32 [N, D]."""
        return self._embed("encoded", "image_bytes", _as_array(list(encoded)))

    def _embed(self, signature: str, name: str, array: np.ndarray) -> np.ndarray:
        found = self._embeddings(signature)
        for start in range(0, len(array), self.batch_size):
            batch = array[start : start + self.batch_size]
            found.add(*self._predict({name: batch}, signature), len(batch))
        return found.join()

    def _embeddings(self, signature: str) -> _Embeddings:
        """A collection for the embeddings of a signature that gives such."""
        spec = self._retry(lambda deadline: self._signature(signature, deadline))
        output = spec.outputs.get("embedding")
        if output is None:
            details = f"{signature!r} has no output 'embedding' but {[*spec.outputs]}"
        elif not output.dtype.startswith("float") or len(output.shape or "ND") != 2:
            details = f"'embedding' of {signature!r} is {output}, not floats [N, D]"
        else:
            return _Embeddings(self._what, output.shape[1] if output.shape else -1)
        raise ServingError(f"model {self._what}: {details}", _WRONG_SIGNATURE)

    def embed_files(
        self,
        paths: Sequence[str | Path],
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> tuple[list[str], np.ndarray, list[tuple[str, str]]]:
        """Embeds image files; those that cannot be read or decoded are skipped.

        What `convert` converts is sent as PNG, all else as it is.

        Args:
            paths: the files.
            progress: called as progress(files done, of how many).

        Returns:
            (names [N], float32 [N, D], skipped (name, reason) pairs); names are the
            paths as given, in their order.
        """
        names, skipped = [], []
        found = self._embeddings("encoded")
        for start in range(0, len(paths), self.batch_size):
            batch = []
            for path in map(str, paths[start : start + self.batch_size]):
                try:
                    batch.append((path, convert(_read_file(path))))
                except OSError as error:
                    skipped.append((path, error.strerror or str(error)))
                except ValueError as error:
                    skipped.append((path, str(error)))
            kept, refused = self._embed_or_skip(batch, found)
            names += kept
            skipped += refused
            progress(min(start + self.batch_size, len(paths)), len(paths))
        return names, found.join(), skipped

    def _embed_or_skip(
        self, batch: list[tuple[str, bytes]], found: _Embeddings
    ) -> tuple[list, list]:
        """(name, content) pairs into `found`, halved where the server refuses them.

        Returns:
            (names, (name, reason) of the files at fault).
        """
        if not batch:
            return [], []
        names, contents = zip(*batch, strict=True)
        try:
            answer = self._predict({"image_bytes": list(contents)}, "encoded")
            found.add(*answer, len(batch))
            return list(names), []
        except ServingError as error:
            if error.code not in ("INVALID_ARGUMENT", _TOO_BIG):
                raise
            if len(batch) == 1:
                return [], [(names[0], error.details or error.code)]
        middle = len(batch) // 2
        one = self._embed_or_skip(batch[:middle], found)
        other = self._embed_or_skip(batch[middle:], found)
        return tuple(a + b for a, b in zip(one, other, strict=True))

    def _retry(self, request: Callable):
        """request(deadline), again after growing, random waits where that may help."""
        started = time.monotonic()
        deadline = started + self.timeout
        for tries in itertools.count(1):
            try:
                return request(deadline)
            except _RequestError as error:
                wait = min(0.1 * 2**tries, 5.0) * random.uniform(0.5, 1.0)
                now = time.monotonic()
                again = error.code in _RETRIED and tries <= self.retries
                if not again or now + wait > deadline:
                    self._served = None  # another version may be served by now
                    elapsed = now - started
                    raise self._error(error, tries, elapsed, self.timeout) from None
            time.sleep(wait)

    def _error(
        self, error: _RequestError, tries: int, seconds: float, allowed: float
    ) -> Exception:
        """The ServingError that says in one line what failed, where and how long."""
        code, details = error.code, _tidy(error.details)
        asked = f"after {tries} {'try' if tries == 1 else 'tries'} in {seconds:.1f} s"
        if code == "UNAVAILABLE":
            message = f"{self._what} at {self._where} is unavailable {asked}: {details}"
        elif code == "RESOURCE_EXHAUSTED":
            message = f"{self._where} is overloaded {asked}: {details}"
        elif code == "DEADLINE_EXCEEDED":
            message = (
                f"{self._where} did not answer within the timeout of "
                f"{allowed:g} s, {asked}. Less at once (batch_size) may help."
            )
        elif code == "NOT_FOUND":
            message = f"{self._where} does not serve model {self._what}: {details}"
        elif code == _TOO_BIG:
            message = f"too much at once (batch_size) for {self._where}: {details}"
        elif code == _MALFORMED:
            message = f"{self._where}, model {self._what}: unfit answer: {details}"
        elif code == _WRONG_SIGNATURE:
            message = f"model {self._what} has no such signature: {details}"
        elif code == _WRONG_INPUTS:
            message = f"model {self._what}: {details}"
        else:
            message = f"{self._where}, model {self._what}: {code}: {details}"
        return ServingError(message, code, details)


# The ranges of numbers, for the class and the command line alike.
_RANGES = {
    "version": ("at least", 0, 2**63 - 1),
    "timeout": ("above", 0, 1e6),
    "retries": ("at least", 0, 1000),
    "batch_size": ("at least", 1, 2**31 - 1),
    "max_message_bytes": ("above", 0, 2**31 - 1),
    "wait": ("at least", 0, 1e6),
}


def _check_range(name: str, value: float, flag: str = "") -> None:
    bound, least, most = _RANGES[name]
    if not least <= value <= most or (bound == "above" and value == least):
        raise ValueError(
            f"{flag}{name} must be {bound} {least} and at most {most}. "
            f"Received: {value}."
        )


def _check_server(address: str, model: str) -> None:
    match = re.fullmatch(r"[^/\s]+:([0-9]{1,5})", address)
    if not match or not 0 < int(match[1]) < 65536:
        raise ValueError(f"the server is given as host:port. Received: {address!r}.")
    if not model or not model.isprintable():
        raise ValueError(f"the model is given by its name. Received: {model!r}.")


def _as_array(value) -> np.ndarray:
    """An array whose strings are bytes objects: NumPy's own would drop final zeros."""
    if isinstance(value, np.ndarray) and value.dtype.kind not in "SU":
        return value
    if isinstance(value, list) and all(isinstance(each, bytes) for each in value):
        return np.array(value, object)
    array = np.asarray(value)
    if array.dtype.kind == "U":
        array = np.char.encode(array, "utf-8")
    return array.astype(object) if array.dtype.kind == "S" else array


def _zeros(spec: TensorSpec, most: int) -> np.ndarray:
    """One row of zeros, of at most `most` bytes."""
    shape = [1 if axis < 0 else axis for axis in spec.shape or ()]
    dtype = _numpy_dtype(spec.dtype)
    if math.prod(shape) * dtype.itemsize > most:
        raise _malformed(f"a single input is said to be {spec}")
    return np.full(shape, b"" if spec.dtype == "bytes" else 0, dtype)


def _check_inputs(name: str, signature: Signature, arrays: dict) -> None:
    """Raises _RequestError unless the arrays are what the signature declares."""
    if set(arrays) != set(signature.inputs):
        raise _RequestError(
            _WRONG_INPUTS,
            f"{name!r} takes {sorted(signature.inputs)}; received {sorted(arrays)}",
        )
    for key, array in arrays.items():
        spec = signature.inputs[key]
        dtype = "bytes" if array.dtype == object else array.dtype.name
        found = TensorSpec(dtype, array.shape)
        if not _fits(spec, found):
            raise _RequestError(
                _WRONG_INPUTS, f"{key!r} of {name!r} takes {spec}; received {found}"
            )


def _fits(spec: TensorSpec, found: TensorSpec) -> bool:
    """Whether a tensor is of the dtype, the rank, and the axes that are not free."""
    if spec.shape is None or len(spec.shape) != len(found.shape):
        return spec.shape is None and spec.dtype == found.dtype
    axes = zip(spec.shape, found.shape, strict=True)
    return spec.dtype == found.dtype and all(axis in (-1, n) for axis, n in axes)


# DataType of TensorFlow: number -> (name, NumPy type, field of TensorProto).
_DTYPES = {
    1: ("DT_FLOAT", "float32", "float_val"),
    2: ("DT_DOUBLE", "float64", "double_val"),
    3: ("DT_INT32", "int32", "int_val"),
    4: ("DT_UINT8", "uint8", "int_val"),
    6: ("DT_INT8", "int8", "int_val"),
    7: ("DT_STRING", "bytes", "string_val"),
    9: ("DT_INT64", "int64", "int64_val"),
    10: ("DT_BOOL", "bool", "bool_val"),
}
_NUMBERS = {dtype: number for number, (_, dtype, _) in _DTYPES.items()}


def _numpy_dtype(dtype: str) -> np.dtype:
    """NumPy's dtype of a TensorSpec's."""
    if dtype not in _NUMBERS:
        raise _RequestError("UNIMPLEMENTED", f"tensors of {dtype} cannot be handled")
    return np.dtype(object if dtype == "bytes" else dtype)


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """What Python says of JSON of another form becomes a _RequestError."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        why = f"{type(error).__name__}: {error}"
        raise _malformed(f"{what} is not of the protocol's form ({why})") from None


def _integer(value: int | str) -> int:
    """int64, which the JSON form of protobuf writes as a string."""
    if type(value) not in (int, str) or len(str(value)) > 20:
        raise ValueError(f"{str(value)[:20]!r} is no integer")
    if not -(2**63) <= int(value) < 2**63:
        raise ValueError(f"{value} is no int64")
    return int(value)


def _text(value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} for a text")
    return value


def _read_spec(info: dict) -> TensorSpec:
    """The JSON form of a TensorInfo, its dtype being a name or a number."""
    dtypes = {name: dtype for name, dtype, _ in _DTYPES.values()}
    dtypes |= {str(number): dtype for number, (_, dtype, _) in _DTYPES.items()}
    number = info["dtype"]
    if type(number) not in (int, str):
        raise TypeError(f"{type(number).__name__} for a dtype")
    dtype = dtypes.get(str(number), f"type {number}")
    shape = info.get("tensor_shape", {})
    axes = tuple(_integer(dim.get("size", 0)) for dim in shape.get("dim", []))
    if len(axes) > 32 or not all(-1 <= axis < 2**31 for axis in axes):
        raise ValueError(f"a shape of {[*axes[:32]]}")
    return TensorSpec(dtype, None if shape.get("unknown_rank", False) else axes)


def _read_signatures(found: dict) -> dict[str, Signature]:
    """The JSON form of a SignatureDefMap."""

    def read_specs(infos):
        return {name: _read_spec(info) for name, info in sorted(infos.items())}

    with _reading("the description of the model"):
        return {
            name: Signature(
                read_specs(each.get("inputs", {})), read_specs(each.get("outputs", {}))
            )
            for name, each in sorted(found.get("signature_def", {}).items())
            if not name.startswith("__")
        }


def _check_answered(
    model: str, version: int | None, signature: str, answered: tuple
) -> int | None:
    """The version that an answer is of, whose ModelSpec must be what was asked for."""
    asked = (model, version, signature)
    for name, ours, theirs in zip(
        ("model", "version", "signature"), asked, answered, strict=True
    ):
        if ours not in (None, "") and theirs not in (None, "", ours):
            raise _malformed(f"it is of {name} {theirs!r}, not {ours!r}")
    return answered[1]


def _with_rows(spec: TensorSpec, rows: int | None) -> TensorSpec:
    """The spec of an output of so many rows, where its first axis is free."""
    if rows is None or not spec.shape or spec.shape[0] != -1:
        return spec
    return TensorSpec(spec.dtype, (rows, *spec.shape[1:]))


class _Call(NamedTuple):
    """A prediction: by which function, of what, of which version of the model."""

    name: str
    signature: Signature
    inputs: dict[str, np.ndarray]
    version: int | None

    def expect(self) -> dict[str, TensorSpec]:
        """The outputs, as long as the inputs where their first axis is free."""
        rows = self._rows()
        outputs = self.signature.outputs
        return {name: _with_rows(spec, rows) for name, spec in outputs.items()}

    def _rows(self) -> int | None:
        """The length of the inputs' free first axis, where they have one."""
        lengths = {
            len(self.inputs[name])
            for name, spec in self.signature.inputs.items()
            if spec.shape and spec.shape[0] == -1 and np.ndim(self.inputs.get(name)) > 0
        }
        return lengths.pop() if len(lengths) == 1 else None


def _check_spec(name: str, spec: TensorSpec, found: TensorSpec) -> None:
    """Raises _RequestError unless an output is what was expected."""
    if not _fits(spec, found):
        raise _malformed(f"{name!r} is {found}, where {spec} was expected")


def _most_bytes(specs: dict[str, TensorSpec], per_number: Callable) -> int | None:
    """The most bytes of an answer; None where its specs leave that open."""
    total = 64 << 10
    for name, spec in specs.items():
        if spec.dtype == "bytes" or spec.shape is None or -1 in spec.shape:
            return None
        total += len(name) + math.prod(spec.shape) * per_number(len(spec.shape))
    return total


def _too_big(most: int, limit: int) -> _RequestError:
    """A message above `most` bytes, which is what was expected or the limit of all."""
    if most < limit:
        return _malformed(f"more than the {most} bytes that were expected")
    return _RequestError(_TOO_BIG, f"message larger than max ({limit} bytes)")


# The most bytes of a model's description or status, and of what is read of an error.
_DESCRIPTION = 4 << 20
_ERROR = 64 << 10
# What an answer may come to when it is unpacked: lists take up to 20 times their JSON.
_UNPACKED = 1 << 30


class _Socket(socket.socket):
    """Reads and writes until `deadline`, however little comes at a time.

    It reads `room` bytes at most, headers and all: some forms of a body http.client
    would read to the end of the stream, wherever that is.
    """

    deadline = math.inf
    room = math.inf

    def recv_into(self, *arguments):
        self.settimeout(_left(self.deadline))
        size = super().recv_into(*arguments)
        self.room -= size
        if self.room < 0:
            raise http.client.HTTPException("too much")
        return size

    def sendall(self, *arguments):
        self.settimeout(_left(self.deadline))
        return super().sendall(*arguments)


class _Connection(http.client.HTTPConnection):
    """One that is made, used and read until `deadline`, of `room` bytes at most."""

    def __init__(self, address: str, deadline: float, room: int):
        super().__init__(address)
        self._deadline = deadline
        self._room = room

    def connect(self):
        last = OSError("the name has no address")
        for family, kind, protocol, _, address in self._resolve():
            self.sock = _Socket(family, kind, protocol)
            self.sock.deadline, self.sock.room = self._deadline, self._room
            self.sock.settimeout(_left(self._deadline))
            try:
                return self.sock.connect(address)
            except OSError as error:
                self.sock.close()
                last = error
        raise last

    def _resolve(self) -> list[tuple]:
        """The host's addresses; the system's look-up has no time-out of its own."""
        found = queue.SimpleQueue()

        def look_up():
            try:
                kind = socket.SOCK_STREAM
                found.put(socket.getaddrinfo(self.host, self.port, type=kind))
            except (OSError, UnicodeError) as error:
                found.put(OSError(str(error)))

        threading.Thread(target=look_up, daemon=True).start()
        try:
            addresses = found.get(timeout=_left(self._deadline))
        except queue.Empty:
            raise TimeoutError from None
        if isinstance(addresses, OSError):
            raise addresses
        return addresses


def _check_headers(response: http.client.HTTPResponse) -> int | None:
    """The length of the body, if it is told; raises unless it is plain JSON."""
    header = response.getheader
    kind = header("Content-Type", "application/json").partition(";")[0].strip().lower()
    length = header("Content-Length", "0")
    for name, right in [
        ("Content-Type", kind == "application/json"),
        ("Content-Encoding", header("Content-Encoding", "identity") == "identity"),
        ("Transfer-Encoding", header("Transfer-Encoding", "chunked") == "chunked"),
        ("Content-Length", re.fullmatch("[0-9]{1,18}", length)),
    ]:
        if not right:
            raise _malformed(f"HTTP {response.status} with {name} {header(name)!r}")
    told = "Content-Length" in response.headers and not response.chunked
    return int(length) if told else None


def _read_body(response: http.client.HTTPResponse, most: int, limit: int) -> bytes:
    """The whole body, of at most so many bytes; of an error its beginning."""
    failed = response.status != 200
    length = None if failed else _check_headers(response)
    most = min(_ERROR, most) if failed else most
    parts, size = [], 0
    while length is None or length <= most:
        part = response.read(1 << 16)
        parts.append(part)
        size += len(part)
        if not part or size > most:
            break
    if failed:
        return b"".join(parts)[:most]
    if max(size, length or 0) > most:
        raise _too_big(most, limit)
    if length is not None and size < length:
        raise http.client.IncompleteRead(b"", length - size)
    return b"".join(parts)


def _parse_json(content: bytes) -> dict:
    """A JSON object, whose keys occur once; raises _RequestError for all else."""
    lists, commas = content.count(b"[") + content.count(b"{"), content.count(b",")
    if 72 * lists + 32 * commas + 2 * len(content) > _UNPACKED:
        raise _malformed(f"{len(content)} bytes of JSON with {lists} lists")

    def unique(pairs):
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a key occurs twice")
        return found

    try:
        answer = json.loads(content.decode(), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        head = content[:200].decode(errors="replace")
        raise _malformed(f"no JSON ({error}): {head}") from None
    if not isinstance(answer, dict):
        raise _malformed(f"JSON, but no object: {content[:200].decode()}")
    return answer


# HTTP's statuses in gRPC's words.
_CODES = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    412: "FAILED_PRECONDITION",
    413: _TOO_BIG,
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class _Rest:
    """TensorFlow Serving's REST interface, in columns.

    A connection lives for one request.
    """

    def __init__(self, address: str, model: str, max_message_bytes: int):
        self._address = address
        self._model = model
        self._limit = max_message_bytes

    def close(self) -> None:
        """There is nothing to close."""

    def versions(
        self, version: int | None, deadline: float
    ) -> list[tuple[int, str, str]]:
        """(version, state, what went wrong) of each version, or of the one asked."""
        key = "model_version_status"
        found = self._ask("GET", version, "", key, deadline, _DESCRIPTION)[key]
        with _reading("the status of the model"):
            if not isinstance(found, list):
                raise TypeError(f"{type(found).__name__} for a list")
            return [
                (
                    _integer(each["version"]),
                    _text(each["state"]),
                    _text(each.get("status", {}).get("error_message", "")),
                )
                for each in found
            ]

    def describe(self, version: int | None, deadline: float) -> _Served:
        """The model's version and functions."""
        answer = self._ask(
            "GET", version, "/metadata", "metadata", deadline, _DESCRIPTION
        )
        with _reading("the description of the model"):
            spec = answer.get("model_spec", {})
            number = _integer(spec["version"]) if "version" in spec else None
            answered = (_text(spec.get("name", "")), number, "")
            signatures = answer["metadata"]["signature_def"]
        found = _check_answered(self._model, version, "", answered)
        return _Served(found, _read_signatures(signatures))

    def predict(self, call: _Call, deadline: float) -> dict[str, np.ndarray]:
        """The outputs by name."""
        columns = {key: self._to_json(array) for key, array in call.inputs.items()}
        body = json.dumps({"signature_name": call.name, "inputs": columns}).encode()
        specs = call.expect()
        # A line for each number and bracket, indented by four blanks a level.
        most = _most_bytes(specs, lambda rank: 64 + 8 * rank * (rank + 1))
        answer = self._ask(
            "POST", call.version, ":predict", "outputs", deadline, most, body
        )
        outputs = answer["outputs"]
        if len(specs) == 1:  # then its name is left out
            outputs = {next(iter(specs)): outputs}
        if not isinstance(outputs, dict) or set(outputs) != set(specs):
            raise _malformed(f"other outputs than {sorted(specs)}")
        return {key: _from_json(key, outputs[key], spec) for key, spec in specs.items()}

    def _to_json(self, array: np.ndarray) -> list:
        if array.dtype != object:
            self._check_size(2 * array.size)
            return array.tolist()
        b64 = np.frompyfunc(lambda x: {"b64": base64.b64encode(x).decode()}, 1, 1)
        return np.asarray(b64(array), object).tolist()

    def _ask(
        self,
        method: str,
        version: int | None,
        path: str,
        key: str,
        deadline: float,
        most: int | None,
        body: bytes = b"",
    ) -> dict:
        """An answer of at most so many bytes, with something under `key`."""
        self._check_size(len(body))
        target = f"/v1/models/{urllib.parse.quote(self._model, safe='')}"
        target += ("" if version is None else f"/versions/{version}") + path
        most = self._limit if most is None else min(most, self._limit)
        status, content = self._exchange(method, target, deadline, most, body)
        if status != 200:
            code = _CODES.get(status, f"HTTP {status}")
            raise _RequestError(code, self._reason(content))
        try:
            answer = _parse_json(content)
            if key not in answer or "error" in answer:
                raise _malformed(f"no {key!r} but {[*answer][:9]}")
        except _RequestError as error:
            raise _malformed(f"HTTP 200, {error.details}") from None
        return answer

    def _exchange(
        self, method: str, target: str, deadline: float, most: int, body: bytes
    ) -> tuple[int, bytes]:
        """The status and the body of an answer."""
        room = 2 * most + (1 << 20)  # with headers, and the sizes of chunks
        connection = _Connection(self._address, deadline, room)
        try:
            connection.request(method, target, body or None)
            response = connection.getresponse()
            return response.status, _read_body(response, most, self._limit)
        except TimeoutError as error:
            raise _RequestError("DEADLINE_EXCEEDED", str(error)) from None
        except http.client.IncompleteRead:
            raise _RequestError("UNAVAILABLE", "the answer was cut short") from None
        except OSError as error:
            raise _RequestError("UNAVAILABLE", str(error)) from None
        except (http.client.HTTPException, ValueError) as error:
            details = f"the answer is not HTTP ({error}); is this the gRPC port?"
            raise _RequestError("UNKNOWN", details) from None
        finally:
            connection.close()

    @staticmethod
    def _reason(content: bytes) -> str:
        """What an answer that is an error says."""
        try:
            return _text(_parse_json(content)["error"])
        except (_RequestError, KeyError, TypeError):
            return content[:200].decode(errors="replace")

    def _check_size(self, size: int) -> None:
        if size > self._limit:
            raise _too_big(self._limit, self._limit)


# What JSON has for an entry, by the kind of NumPy's dtype.
_IN_JSON = {"f": {int, float}, "i": {int}, "u": {int}, "b": {bool}, "O": {str, dict}}


def _from_json(name: str, value: list, spec: TensorSpec) -> np.ndarray:
    """Nested lists as the array that was expected."""
    dtype = _numpy_dtype(spec.dtype)
    with _reading(repr(name)):
        rank = _depth(value) if spec.shape is None else len(spec.shape)
        leaves = value if rank else [value]
        for _ in range(rank - 1):
            leaves = itertools.chain.from_iterable(leaves)
        surplus = set(map(type, leaves)) - _IN_JSON[dtype.kind]
        if surplus:
            raise TypeError(f"{', '.join(each.__name__ for each in surplus)} in it")
        if value == [] and rank > 1:  # an empty list cannot tell the other axes
            tail = (spec.shape or (0,) * rank)[1:]
            array = np.zeros([0, *(max(axis, 0) for axis in tail)], dtype)
        else:
            array = _as_dtype(value, dtype)
    _check_spec(name, spec, TensorSpec(spec.dtype, array.shape))
    return array


def _depth(value) -> int:
    depth = 0
    while isinstance(value, list):
        value = value[0] if value else None
        depth += 1
    return depth


def _as_dtype(value: list, dtype: np.dtype) -> np.ndarray:
    """Nested lists of the right types as an array, in which every value fits."""
    if dtype.kind == "O":
        strings = np.frompyfunc(_to_bytes, 1, 1)(np.array(value, object))
        return np.asarray(strings, object)
    if dtype.kind != "f":
        return np.array(value, dtype)
    wide = np.array(value, np.float64)
    with np.errstate(over="ignore"):
        array = wide.astype(dtype)
    if (np.isinf(array) & ~np.isinf(wide)).any():
        raise OverflowError(f"numbers beyond {dtype.name}")
    return array


def _to_bytes(value: str | dict) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if set(value) != {"b64"}:
        raise ValueError("neither a text nor base 64")
    return base64.b64decode(_text(value["b64"]), validate=True)


# The messages of TensorFlow Serving's protocol, as far as they are used, with the field
# numbers of tensorflow/core/{framework,protobuf} and tensorflow_serving/apis.
_MESSAGES = {
    "Int64Value": [("value", 1, "int64")],
    "Any": [("type_url", 1, "string"), ("value", 2, "bytes")],
    "Dim": [("size", 1, "int64")],
    "TensorShapeProto": [("dim", 2, "repeated Dim"), ("unknown_rank", 3, "bool")],
    "TensorProto": [
        ("dtype", 1, "int32"),
        ("tensor_shape", 2, "TensorShapeProto"),
        ("tensor_content", 4, "bytes"),
        ("float_val", 5, "repeated float"),
        ("double_val", 6, "repeated double"),
        ("int_val", 7, "repeated int32"),
        ("string_val", 8, "repeated bytes"),
        ("int64_val", 10, "repeated int64"),
        ("bool_val", 11, "repeated bool"),
    ],
    "TensorInfo": [("dtype", 2, "int32"), ("tensor_shape", 3, "TensorShapeProto")],
    "SignatureDef": [("inputs", 1, "map TensorInfo"), ("outputs", 2, "map TensorInfo")],
    "SignatureDefMap": [("signature_def", 1, "map SignatureDef")],
    "ModelSpec": [
        ("name", 1, "string"),
        ("version", 2, "Int64Value"),
        ("signature_name", 3, "string"),
    ],
    "PredictRequest": [
        ("model_spec", 1, "ModelSpec"),
        ("inputs", 2, "map TensorProto"),
    ],
    "PredictResponse": [
        ("outputs", 1, "map TensorProto"),
        ("model_spec", 2, "ModelSpec"),
    ],
    "StatusProto": [("error_code", 1, "int32"), ("error_message", 2, "string")],
    "ModelVersionStatus": [
        ("version", 1, "int64"),
        ("state", 2, "int32"),
        ("status", 3, "StatusProto"),
    ],
    "GetModelStatusRequest": [("model_spec", 1, "ModelSpec")],
    "GetModelStatusResponse": [
        ("model_version_status", 1, "repeated ModelVersionStatus")
    ],
    "GetModelMetadataRequest": [
        ("model_spec", 1, "ModelSpec"),
        ("metadata_field", 2, "repeated string"),
    ],
    "GetModelMetadataResponse": [
        ("model_spec", 1, "ModelSpec"),
        ("metadata", 2, "map Any"),
    ],
}
_STATES = {
    0: "UNKNOWN",
    10: "START",
    20: "LOADING",
    30: "AVAILABLE",
    40: "UNLOADING",
    50: "END",
}


@functools.cache
def _message_classes() -> dict[str, type]:
    """The classes of `_MESSAGES`, in a pool apart from TensorFlow's own."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(
        name="tf_infomax/serving.proto", package="tf_infomax", syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            _add_field(message, field, number, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"tf_infomax.{name}")
        )
        for name in _MESSAGES
    }


def _add_field(message, name: str, number: int, kind: str) -> None:
    """Adds a field; a map is a repeated message of pairs."""
    *label, kind = kind.split()
    field = message.field.add(name=name, number=number)
    field.label = field.LABEL_REPEATED if label else field.LABEL_OPTIONAL
    if label == ["map"]:
        entry = f"{name.title().replace('_', '')}Entry"
        pair = message.nested_type.add(name=entry)
        pair.options.map_entry = True
        _add_field(pair, "key", 1, "string")
        _add_field(pair, "value", 2, kind)
        kind = f"{message.name}.{entry}"
    if kind.partition(".")[0] in _MESSAGES:
        field.type = field.TYPE_MESSAGE
        field.type_name = f".tf_infomax.{kind}"
    else:
        field.type = getattr(field, f"TYPE_{kind.upper()}")


def _to_proto(array: np.ndarray):
    """An array as TensorProto."""
    dtype = "bytes" if array.dtype == object else array.dtype.name
    tensor = _message_classes()["TensorProto"](dtype=_NUMBERS[dtype])
    for axis in array.shape:
        tensor.tensor_shape.dim.add(size=axis)
    if dtype == "bytes":
        tensor.string_val.extend(array.ravel())
    else:
        tensor.tensor_content = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return tensor


def _read_shape(tensor) -> TensorSpec:
    """The dtype and the shape of a TensorProto."""
    _, dtype, _ = _DTYPES.get(tensor.dtype, ("", f"type {tensor.dtype}", ""))
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    unfit = tensor.tensor_shape.unknown_rank or any(size < 0 for size in shape)
    if unfit or len(shape) > 32:
        raise _malformed(f"a tensor of shape {[*shape[:32]]}")
    return TensorSpec(dtype, shape)


def _from_proto(tensor) -> np.ndarray:
    """A TensorProto as array, with a value for each entry of its shape.

    In the constants of a graph a last value may stand for those that follow it. No
    answer is written so, and a short one would pass for whole.
    """
    name, shape = _read_shape(tensor)
    dtype = _numpy_dtype(name)
    content, count = tensor.tensor_content, math.prod(shape)
    values = getattr(tensor, _DTYPES[tensor.dtype][2])
    if content and dtype.kind != "O" and not values:
        if len(content) != count * dtype.itemsize:
            raise _malformed(f"{len(content)} bytes for {TensorSpec(name, shape)}")
        return np.frombuffer(content, dtype).reshape(shape)
    if content or len(values) != count:
        raise _malformed(f"{len(values)} values for {TensorSpec(name, shape)}")
    with _reading("a tensor"):
        return np.fromiter(values, dtype, count).reshape(shape)


# The most bytes of an answer whose size its signature leaves open: what protobuf makes
# of a message can be 15 times as large.
_OPEN = 64 << 20


class _Grpc:
    """TensorFlow Serving's gRPC interface."""

    def __init__(self, address: str, model: str, max_message_bytes: int):
        import grpc

        self._classes = _message_classes()
        self._model = model
        self._limit = max_message_bytes
        self._channel = grpc.insecure_channel(
            address,
            options=[
                ("grpc.max_send_message_length", max_message_bytes),
                ("grpc.max_receive_message_length", max_message_bytes),
                # Not asked for, and unpacked to any size.
                ("grpc.per_message_decompression", 0),
                ("grpc.enable_retries", 0),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1000),
            ],
        )

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def versions(
        self, version: int | None, deadline: float
    ) -> list[tuple[int, str, str]]:
        """(version, state, what went wrong) of each version, or of the one asked."""
        answer = self._ask(
            "ModelService", "GetModelStatus", version, deadline, _DESCRIPTION
        )
        return [
            (
                each.version,
                _STATES.get(each.state, f"state {each.state}"),
                each.status.error_message,
            )
            for each in answer.model_version_status
        ]

    def describe(self, version: int | None, deadline: float) -> _Served:
        """The model's version and functions."""
        from google.protobuf import json_format

        fields = {"metadata_field": ["signature_def"]}
        service, method = "PredictionService", "GetModelMetadata"
        answer = self._ask(service, method, version, deadline, _DESCRIPTION, **fields)
        found = self._check_model(answer, version, "")
        packed = answer.metadata["signature_def"]
        if packed.type_url.rpartition("/")[2] != "tensorflow.serving.SignatureDefMap":
            raise _malformed("the description of the model has no signatures")
        message = self._parse("SignatureDefMap", packed.value)
        return _Served(
            found,
            _read_signatures(
                json_format.MessageToDict(message, preserving_proto_field_name=True)
            ),
        )

    def predict(self, call: _Call, deadline: float) -> dict[str, np.ndarray]:
        """The outputs by name."""
        tensors = {key: _to_proto(array) for key, array in call.inputs.items()}
        specs = call.expect()
        most = _most_bytes(specs, lambda rank: 10)  # of a number, as a varint
        answer = self._ask(
            "PredictionService",
            "Predict",
            call.version,
            deadline,
            min(_OPEN, self._limit) if most is None else most,
            call.name,
            inputs=tensors,
        )
        self._check_model(answer, call.version, call.name)
        if set(answer.outputs) != set(specs):
            raise _malformed(f"other outputs than {sorted(specs)}")
        for key, tensor in answer.outputs.items():
            _check_spec(key, specs[key], _read_shape(tensor))
        return {key: _from_proto(tensor) for key, tensor in answer.outputs.items()}

    def _check_model(self, answer, version: int | None, signature: str) -> int | None:
        """The version that an answer is of."""
        spec = answer.model_spec
        number = spec.version.value if spec.HasField("version") else None
        answered = (spec.name, number, spec.signature_name)
        return _check_answered(self._model, version, signature, answered)

    def _ask(
        self,
        service: str,
        method: str,
        version: int | None,
        deadline: float,
        most: int,
        signature: str = "",
        **fields,
    ):
        """An answer of at most so many bytes."""
        import grpc

        request = self._classes[f"{method}Request"](**fields)
        request.model_spec.name = self._model
        request.model_spec.signature_name = signature
        if version is not None:
            request.model_spec.version.value = version
        call = self._channel.unary_unary(f"/tensorflow.serving.{service}/{method}")
        try:
            content = call(request.SerializeToString(), timeout=_left(deadline))
        except grpc.RpcError as error:
            details = error.details() or ""
            if "parsing HTTP/2" in details:
                hint = "the answer is not gRPC; is this the REST port?"
                raise _RequestError("UNKNOWN", hint) from None
            raise _RequestError(error.code().name, details) from None
        if content is None:  # a status of success, and nothing that comes before it
            raise _malformed(f"no {method}Response")
        if len(content) > most:
            raise _too_big(most, self._limit)
        return self._parse(f"{method}Response", content)

    def _parse(self, name: str, content: bytes):
        from google.protobuf.message import DecodeError

        try:
            return self._classes[name].FromString(content)
        except DecodeError as error:
            raise _malformed(f"no {name} ({error})") from None


TRANSPORTS = {"grpc": _Grpc, "rest": _Rest}


def find_images(paths: Sequence[str]) -> Iterator[Path]:
    """Files as given, and the image files below folders, sorted.

    Raises:
        FileNotFoundError: if a path does not exist.
    """
    for path in map(Path, paths):
        if path.is_dir():
            yield from sorted(_list_images(path))
        elif path.exists():
            yield path
        else:
            raise FileNotFoundError(f"{path} does not exist")


def _list_images(top: Path) -> list[Path]:
    """What has the suffix of an image below a folder, and folders not to be listed.

    Links to folders are followed once all else is done, each folder but once; those
    whose name begins with a dot are left out.
    """
    found, seen, left = [], set(), [top]

    def is_new(folder: str) -> bool:
        try:
            status = os.stat(folder)
        except OSError:  # it cannot be listed, which is said
            return True
        number = len(seen)
        seen.add((status.st_dev, status.st_ino))
        return len(seen) > number

    def note(error: OSError) -> None:
        if is_new(error.filename):
            found.append(Path(error.filename))

    for start in left:
        for here, folders, names in os.walk(start, onerror=note):
            if not is_new(here):
                folders.clear()
                continue
            folders[:] = [each for each in folders if not each.startswith(".")]
            paths = [os.path.join(here, each) for each in folders]
            left += filter(os.path.islink, paths)  # never an error, as Path's may be
            suffixes = SUFFIXES + _OTHER_SUFFIXES
            found += [Path(here, n) for n in names if n.lower().endswith(suffixes)]
    return found


def _read_file(path: str) -> bytes:
    """The bytes of a regular file: a pipe or a device would be waited for."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("no regular file")
    if status.st_size > _LARGEST_FILE:
        raise ValueError(f"file is larger than {_LARGEST_FILE >> 20} MiB")
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        return file.read(_LARGEST_FILE)


def convert(content: bytes) -> bytes:
    """GIF, BMP, WebP, TIFF and AVIF as PNG: upright, RGB over white, 16 bits / 257.

    Of several frames or pages the first. Without Pillow GIF and BMP are given back as
    they are: a served model reads most of them itself, and refuses the others. So is
    whatever is of another kind.

    Raises:
        ValueError: if Pillow is missing or cannot read them, in one line.
    """
    kind = _CONVERTED.match(content)
    if kind is None:
        return content
    try:
        from PIL import Image
    except ImportError:
        if kind.lastgroup in ("GIF", "BMP"):
            return content
        raise ValueError(
            f"{kind.lastgroup} must be converted: pip install pillow"
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata
            with Image.open(io.BytesIO(content), formats=(kind.lastgroup,)) as image:
                if image.width * image.height > _LARGEST_IMAGE:
                    raise ValueError(f"image has more than {_LARGEST_IMAGE} pixels")
                encoded = io.BytesIO()
                _to_rgb(image).save(encoded, "PNG", compress_level=1)
    except Exception as error:  # a damaged file may raise whatever its plugin raises
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "damaged, or of a sort that Pillow does not read"
        raise ValueError(f"{kind.lastgroup}: {reason[:160]}") from error
    return encoded.getvalue()


def _to_rgb(image):
    """An image of Pillow, upright and over white."""
    from PIL import Image, ImageOps

    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F"):
        raise ValueError("pixels of 32 bits, of which none is known to be white")
    if image.mode.startswith("I;16"):
        values = (np.asarray(image).astype(np.uint32) + 128) // 257
        return Image.fromarray(values.astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    return image.convert("RGB")


def save(path: Path, names: Sequence[str], embeddings: np.ndarray) -> None:
    """Writes .npz (arrays `names`, `embeddings`) or .csv (name, e0, e1, ...)."""
    if path.suffix == ".npz":
        with _replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, names=np.array(names, np.str_), embeddings=embeddings)
        return
    with (
        _replacing(path) as temporary,
        open(
            temporary, "w", newline="", encoding="utf-8", errors="surrogateescape"
        ) as file,
    ):
        rows = csv.writer(file)
        rows.writerow(["name", *(f"e{k}" for k in range(embeddings.shape[1]))])
        for name, row in zip(names, embeddings, strict=True):
            rows.writerow([name, *(f"{value:.9g}" for value in row)])


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary path that replaces `path` when the block succeeds."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class _Progress:
    """A line on standard error every ten seconds."""

    def __init__(self):
        self._started = self._shown = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._shown >= 10:
            self._shown = now
            rate = done / (now - self._started)
            _say(f"{done} of {total} images, {rate:.1f} images/s")


def _say(message: str, file=None) -> None:
    """One printable line, by default on standard error."""
    file = file or sys.stderr
    encoding = file.encoding or "utf-8"
    line = _printable(message).encode(encoding, "backslashreplace")
    print(line.decode(encoding), file=file)


def _fail(message: str, status: int = 2) -> None:
    """One line on standard error; ends the program."""
    _say(f"tf_infomax: error: {message}")
    sys.exit(status)


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        _fail(f"{message}. See --help.")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(
        description="Embeds image files through a running TensorFlow Serving.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--server", required=True, help="host:port")
    add("--model", required=True, help="name of the served model")
    add("--transport", default="grpc", choices=sorted(TRANSPORTS), help="protocol")
    add("--version", type=int, help="of the model; the latest if left out")
    add(
        "--images", required=True, nargs="+", action="extend",
        help=f"files, or folders that are searched for {' '.join(SUFFIXES)}",
    )  # fmt: skip
    add("more", nargs="*", default=[], help="more files or folders")
    add("--output", required=True, type=Path, help="file to write: .npz or .csv")
    add("--batch_size", type=int, default=32, help="images in a request")
    add(
        "--timeout",
        type=float,
        default=30.0,
        help="seconds for a request, with all its tries",
    )
    add("--retries", type=int, default=5, help="of a request, if out of reach or busy")
    add("--wait", type=float, default=60.0, help="seconds for the model to be ready")
    add("--max_message_bytes", type=int, default=256 << 20, help="of a request, answer")
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(arguments)


def _check(options: argparse.Namespace) -> list[Path]:
    """The files to embed.

    Raises:
        ValueError, OSError: for what cannot be meant.
    """
    for name in _RANGES:
        value = getattr(options, name)
        if value is not None:
            _check_range(name, value, "--")
    output = options.output
    if output.suffix not in (".npz", ".csv"):
        raise ValueError(f"--output must end in .npz or .csv. Received: {output}.")
    if output.is_dir() or not os.access(output.parent, os.W_OK | os.X_OK):
        raise ValueError(f"--output={output} cannot be written.")
    files = list(find_images([*options.images, *options.more]))
    if not files:
        raise ValueError(f"--images: no image files in {', '.join(options.images)}.")
    return files


def _run(options: argparse.Namespace, client: EmbeddingClient, files: list) -> None:
    with client:
        try:
            client.wait_ready(min(options.wait, 1.0))
        except ServingError as error:
            if error.code not in (*_RETRIED, "DEADLINE_EXCEEDED") or not options.wait:
                raise
            seconds = f"up to {options.wait:g} s"
            _say(f"waiting {seconds} for {options.server}")
            client.wait_ready(options.wait)
        names, embeddings, skipped = client.embed_files(files, _Progress())
    if skipped:
        shown = "; ".join(f"{name} ({why})" for name, why in skipped[:3])
        more = "; ..." if len(skipped) > 3 else ""
        _say(f"skipped {len(skipped)} files: {shown}{more}")
    if not names:
        raise ServingError(f"none of the {len(files)} files could be embedded.")
    save(options.output, names, embeddings)
    _say(
        f"embedded {len(names)} images in {embeddings.shape[1]} dimensions, "
        f"skipped {len(skipped)}: {options.output}",
        sys.stdout,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    options = _parse(arguments)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # errors come as exceptions
    try:
        files = _check(options)
        client = EmbeddingClient(
            options.server,
            options.model,
            transport=options.transport,
            version=options.version,
            timeout=options.timeout,
            retries=options.retries,
            batch_size=options.batch_size,
            max_message_bytes=options.max_message_bytes,
        )
    except (ValueError, OSError) as error:
        _fail(str(error))
    except ImportError as error:
        _fail(f"gRPC needs grpcio and protobuf ({error}); --transport=rest neither.")
    try:
        _run(options, client, files)
    except KeyboardInterrupt:
        _fail("interrupted.", 1)
    except (ServingError, OSError) as error:
        if options.debug:
            raise
        _fail(str(error), 1)


if __name__ == "__main__":
    main()
