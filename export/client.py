"""Embeds image files through a running TensorFlow Serving, by gRPC or REST.

    python -m export.client --server=localhost:8500 --model=dim \
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
import json
import os
import random
import re
import stat
import sys
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


class ServingError(Exception):
    """A request that failed for good, in one line.

    Attributes:
        code: gRPC's name of the status, such as "NOT_FOUND"; by REST its equivalent.
        details: what the server said.
    """

    exit_status = 1

    def __init__(self, message: str, code: str = "UNKNOWN", details: str = ""):
        super().__init__(" ".join(message.split()))
        self.code = code
        self.details = details


# Names of failures that gRPC's codes do not tell apart.
_TOO_BIG = "MESSAGE_TOO_BIG"
_WRONG_SIGNATURE = "WRONG_SIGNATURE"
_WRONG_INPUTS = "WRONG_INPUTS"
_RETRIED = ("UNAVAILABLE", "RESOURCE_EXHAUSTED")


class _RequestError(Exception):
    """One try that failed: gRPC's code or one of those above, and what was said."""

    def __init__(self, code: str, details: str):
        super().__init__(code, details)
        if "larger than max" in details:
            code = _TOO_BIG
        elif re.search(r"[Ss]ignature (name|key).* not found", details):
            code = _WRONG_SIGNATURE
        self.code = code
        self.details = details


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


class EmbeddingClient:
    """Asks one served model for embeddings.

    The model has the signatures `serving_default` (uint8 `images` [N, H, W, C]) and
    `encoded` (bytes `image_bytes` [N]), both to float32 `embedding` [N, D].

    Args:
        address: "host:port"; TensorFlow Serving's usual ports are 8500 for gRPC and
            8501 for REST.
        model: the name under which the model is served.
        transport: "grpc" or "rest".
        version: of the model; None is the latest.
        timeout: seconds for each try of a request.
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
        if not re.fullmatch(r"[^/\s]+:\d+", address):
            raise ValueError(
                f"the server is given as host:port. Received: {address!r}."
            )
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1. Received: {batch_size}.")
        self._where = f"{address} ({transport})"
        self._what = f"{model!r}" + ("" if version is None else f" version {version}")
        self._transport = TRANSPORTS[transport](
            address, model, version, max_message_bytes
        )
        self._signatures = None
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
            timeout: seconds; 0 asks once.
            probe: whether to ask `serving_default` for zeros of batch size 1: a model
                can be AVAILABLE and yet fail in every prediction.
        """
        started, tries, wait = time.monotonic(), 0, 0.1
        while True:
            tries += 1
            remaining = max(1.0, started + timeout - time.monotonic())
            try:
                return self._check_ready(min(self.timeout, remaining), probe)
            except _RequestError as error:
                elapsed = time.monotonic() - started
                retry = error.code in (*_RETRIED, "DEADLINE_EXCEEDED")
                if not retry or elapsed + wait > timeout:
                    raise self._error(error, tries, elapsed) from None
            time.sleep(wait)
            wait = min(2 * wait, 1.0)

    def _check_ready(self, timeout: float, probe: bool) -> None:
        versions = self._transport.versions(timeout)
        states = {state for _, state, _ in versions}
        if "AVAILABLE" not in states:
            said = "; ".join(f"version {v} {s} {why}".strip() for v, s, why in versions)
            ended = states <= {"END", "UNLOADING"}
            raise _RequestError("FAILED_PRECONDITION" if ended else "UNAVAILABLE", said)
        if probe:
            signature = self._signature("serving_default", timeout)
            zeros = {k: _zeros(spec) for k, spec in signature.inputs.items()}
            self._transport.predict("serving_default", signature, zeros, timeout)

    def signatures(self) -> dict[str, Signature]:
        """The model's functions by name."""
        if self._signatures is None:
            self._signatures = self._retry(self._transport.signatures)
        return self._signatures

    def _signature(self, name: str, timeout: float) -> Signature:
        if self._signatures is None:
            self._signatures = self._transport.signatures(timeout)
        if name not in self._signatures:
            known = ", ".join(self._signatures)
            raise _RequestError(_WRONG_SIGNATURE, f"{name!r}; it has {known}")
        return self._signatures[name]

    def predict(
        self, inputs: dict[str, np.ndarray], signature: str = "serving_default"
    ) -> dict[str, np.ndarray]:
        """The outputs of one request; strings are object arrays of bytes.

        Raises:
            ServingError: also, before anything is sent, if the arrays are not of the
                signature's names, dtypes and shapes.
        """

        def request(timeout):
            spec = self._signature(signature, timeout)
            arrays = {name: _as_array(value) for name, value in inputs.items()}
            _check_inputs(signature, spec, arrays)
            return self._transport.predict(signature, spec, arrays, timeout)

        return self._retry(request)

    def embed_images(self, images: np.ndarray) -> np.ndarray:
        """uint8 [N, H, W, C] -> float32 [N, D]."""
        return self._embed("serving_default", "images", np.asarray(images))

    def embed_bytes(self, encoded: Sequence[bytes]) -> np.ndarray:
        """N encoded images (JPEG, PNG, BMP, GIF) of any size -> float32 [N, D]."""
        return self._embed("encoded", "image_bytes", _as_array(list(encoded)))

    def _embed(self, signature: str, name: str, array: np.ndarray) -> np.ndarray:
        nothing = self._nothing(signature)
        parts = [
            self.predict({name: array[start : start + self.batch_size]}, signature)
            for start in range(0, len(array), self.batch_size)
        ]
        return np.concatenate([p["embedding"] for p in parts]) if parts else nothing

    def _nothing(self, signature: str) -> np.ndarray:
        """float32 [0, D]."""
        spec = self._retry(lambda timeout: self._signature(signature, timeout))
        if "embedding" not in spec.outputs:
            details = f"{signature!r} has no output 'embedding' but {[*spec.outputs]}"
            raise ServingError(f"model {self._what}: {details}", _WRONG_SIGNATURE)
        shape = spec.outputs["embedding"].shape or (0, 0)
        return np.zeros((0, max(shape[-1], 0)), np.float32)

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
        names, parts, skipped = [], [], []
        for start in range(0, len(paths), self.batch_size):
            batch = []
            for path in map(str, paths[start : start + self.batch_size]):
                try:
                    batch.append((path, convert(_read_file(path))))
                except OSError as error:
                    skipped.append((path, error.strerror or str(error)))
                except ValueError as error:
                    skipped.append((path, str(error)))
            kept, embeddings, refused = self._embed_or_skip(batch)
            names += kept
            parts += embeddings
            skipped += refused
            progress(min(start + self.batch_size, len(paths)), len(paths))
        embeddings = np.concatenate(parts) if parts else self._nothing("encoded")
        return names, embeddings, skipped

    def _embed_or_skip(self, batch: list[tuple[str, bytes]]) -> tuple[list, list, list]:
        """(name, content) pairs, halved where the server refuses them.

        Returns:
            (names, embeddings in parts, (name, reason) of the files at fault).
        """
        if not batch:
            return [], [], []
        names, contents = zip(*batch, strict=True)
        try:
            return list(names), [self.embed_bytes(contents)], []
        except ServingError as error:
            if error.code not in ("INVALID_ARGUMENT", _TOO_BIG):
                raise
            if len(batch) == 1:
                return [], [], [(names[0], error.details)]
        middle = len(batch) // 2
        one = self._embed_or_skip(batch[:middle])
        other = self._embed_or_skip(batch[middle:])
        return tuple(a + b for a, b in zip(one, other, strict=True))

    def _retry(self, request: Callable):
        """request(timeout), again after growing, random waits where that may help."""
        started = time.monotonic()
        for tries in range(1, self.retries + 2):
            try:
                return request(self.timeout)
            except _RequestError as error:
                if error.code not in _RETRIED or tries > self.retries:
                    self._signatures = None  # another version may be served by now
                    elapsed = time.monotonic() - started
                    raise self._error(error, tries, elapsed) from None
            time.sleep(min(0.1 * 2**tries, 5.0) * random.uniform(0.5, 1.0))

    def _error(self, error: _RequestError, tries: int, seconds: float) -> Exception:
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
                f"{self.timeout:g} s, {asked}. Less at once (batch_size) may help."
            )
        elif code == "NOT_FOUND":
            message = f"{self._where} does not serve model {self._what}: {details}"
        elif code == _TOO_BIG:
            message = f"too much at once (batch_size) for {self._where}: {details}"
        elif code == _WRONG_SIGNATURE:
            message = f"model {self._what} has no such signature: {details}"
        elif code == _WRONG_INPUTS:
            message = f"model {self._what}: {details}"
        else:
            message = f"{self._where}, model {self._what}: {code}: {details}"
        return ServingError(message, code, details)


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


def _zeros(spec: TensorSpec) -> np.ndarray:
    shape = [1 if axis < 0 else axis for axis in spec.shape or ()]
    return np.full(shape, b"" if spec.dtype == "bytes" else 0, _numpy_dtype(spec.dtype))


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
        shape = array.shape if spec.shape is None else spec.shape
        fits = len(shape) == array.ndim and all(
            wanted in (-1, axis)
            for wanted, axis in zip(shape, array.shape, strict=True)
        )
        if dtype != spec.dtype or not fits:
            raise _RequestError(
                _WRONG_INPUTS,
                f"{key!r} of {name!r} takes {spec}; received "
                f"{TensorSpec(dtype, array.shape)}",
            )


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


def _read_signatures(found: dict) -> dict[str, Signature]:
    """The JSON form of a SignatureDefMap, its dtypes being names or numbers."""
    dtypes = {name: dtype for name, dtype, _ in _DTYPES.values()}
    dtypes |= {number: dtype for number, (_, dtype, _) in _DTYPES.items()}

    def read_spec(info):
        shape = info.get("tensor_shape", {})
        axes = tuple(int(dim.get("size", 0)) for dim in shape.get("dim", []))
        unknown = shape.get("unknown_rank", False)
        dtype = dtypes.get(info["dtype"], f"type {info['dtype']}")
        return TensorSpec(dtype, None if unknown else axes)

    def read_specs(infos):
        return {name: read_spec(info) for name, info in sorted(infos.items())}

    return {
        name: Signature(read_specs(each["inputs"]), read_specs(each["outputs"]))
        for name, each in sorted(found["signature_def"].items())
        if not name.startswith("__")
    }


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

    A connection lives for one request; `timeout` limits the wait for each part of it.
    """

    def __init__(
        self, address: str, model: str, version: int | None, max_message_bytes: int
    ):
        self._address = address
        self._path = f"/v1/models/{urllib.parse.quote(model, safe='')}"
        self._path += "" if version is None else f"/versions/{version}"
        self._limit = max_message_bytes

    def close(self) -> None:
        """There is nothing to close."""

    def versions(self, timeout: float) -> list[tuple[int, str, str]]:
        """(version, state, what went wrong) of each version."""
        found = self._ask("GET", "", "model_version_status", timeout)
        return [
            (int(each["version"]), each["state"], each["status"]["error_message"])
            for each in found
        ]

    def signatures(self, timeout: float) -> dict[str, Signature]:
        """The model's functions by name."""
        metadata = self._ask("GET", "/metadata", "metadata", timeout)
        return _read_signatures(metadata["signature_def"])

    def predict(
        self, name: str, signature: Signature, inputs: dict, timeout: float
    ) -> dict[str, np.ndarray]:
        """The outputs by name."""
        columns = {key: self._to_json(array) for key, array in inputs.items()}
        body = json.dumps({"signature_name": name, "inputs": columns})
        outputs = self._ask("POST", ":predict", "outputs", timeout, body.encode())
        if len(signature.outputs) == 1:  # then its name is left out
            outputs = {next(iter(signature.outputs)): outputs}
        return {
            key: self._from_json(value, signature.outputs[key].dtype)
            for key, value in outputs.items()
        }

    @staticmethod
    def _to_json(array: np.ndarray) -> list:
        if array.dtype != object:
            return array.tolist()
        b64 = np.frompyfunc(lambda x: {"b64": base64.b64encode(x).decode()}, 1, 1)
        return np.asarray(b64(array), object).tolist()

    @staticmethod
    def _from_json(value: list, dtype: str) -> np.ndarray:
        if dtype != "bytes":
            return np.array(value, _numpy_dtype(dtype))
        plain = np.frompyfunc(
            lambda x: x.encode() if isinstance(x, str) else base64.b64decode(x["b64"]),
            1,
            1,
        )
        return np.asarray(plain(np.array(value, object)), object)

    def _ask(
        self, method: str, path: str, key: str, timeout: float, body: bytes = b""
    ) -> dict | list:
        """What stands under `key` of the answer."""
        self._check_size(len(body))
        connection = http.client.HTTPConnection(self._address, timeout=timeout)
        try:
            connection.request(method, self._path + path, body or None)
            response = connection.getresponse()
            content = response.read(self._limit + 1)
        except TimeoutError as error:
            raise _RequestError("DEADLINE_EXCEEDED", str(error)) from None
        except OSError as error:
            raise _RequestError("UNAVAILABLE", str(error)) from None
        except http.client.HTTPException:
            details = "the answer is not HTTP; is this the gRPC port?"
            raise _RequestError("UNKNOWN", details) from None
        finally:
            connection.close()
        self._check_size(len(content))
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        answer = answer if isinstance(answer, dict) else {"error": str(content[:200])}
        if response.status == 200 and key in answer:
            return answer[key]
        code = _CODES.get(response.status, f"HTTP {response.status}")
        raise _RequestError(code, str(answer.get("error", f"no {key!r} in the answer")))

    def _check_size(self, size: int) -> None:
        if size > self._limit:
            raise _RequestError(
                _TOO_BIG, f"message larger than max ({self._limit} bytes)"
            )


# The messages of TensorFlow Serving's protocol, as far as they are used, with the field
# numbers of tensorflow/core/{framework,protobuf} and tensorflow_serving/apis.
_MESSAGES = {
    "Int64Value": [("value", 1, "int64")],
    "Any": [("value", 2, "bytes")],
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
    "PredictResponse": [("outputs", 1, "map TensorProto")],
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
    "GetModelMetadataResponse": [("metadata", 2, "map Any")],
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


def _from_proto(tensor) -> np.ndarray:
    """A TensorProto as array; a last value stands for those that follow it."""
    _, name, field = _DTYPES.get(tensor.dtype, ("", f"type {tensor.dtype}", ""))
    dtype = _numpy_dtype(name)
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape)
    values = np.array(getattr(tensor, field), dtype)
    if 0 < len(values) < np.prod(shape):
        values = np.pad(values, (0, int(np.prod(shape)) - len(values)), mode="edge")
    return values.reshape(shape)


class _Grpc:
    """TensorFlow Serving's gRPC interface."""

    def __init__(
        self, address: str, model: str, version: int | None, max_message_bytes: int
    ):
        import grpc

        self._classes = _message_classes()
        self._spec = {"name": model}
        if version is not None:
            self._spec["version"] = {"value": version}
        self._channel = grpc.insecure_channel(
            address,
            options=[
                ("grpc.max_send_message_length", max_message_bytes),
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.enable_retries", 0),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1000),
            ],
        )

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def versions(self, timeout: float) -> list[tuple[int, str, str]]:
        """(version, state, what went wrong) of each version."""
        answer = self._ask("ModelService", "GetModelStatus", timeout)
        return [
            (each.version, _STATES.get(each.state), each.status.error_message)
            for each in answer.model_version_status
        ]

    def signatures(self, timeout: float) -> dict[str, Signature]:
        """The model's functions by name."""
        from google.protobuf import json_format

        fields = {"metadata_field": ["signature_def"]}
        answer = self._ask("PredictionService", "GetModelMetadata", timeout, **fields)
        found = self._classes["SignatureDefMap"].FromString(
            answer.metadata["signature_def"].value
        )
        return _read_signatures(
            json_format.MessageToDict(found, preserving_proto_field_name=True)
        )

    def predict(
        self, name: str, signature: Signature, inputs: dict, timeout: float
    ) -> dict[str, np.ndarray]:
        """The outputs by name."""
        tensors = {key: _to_proto(array) for key, array in inputs.items()}
        answer = self._ask(
            "PredictionService", "Predict", timeout, name, inputs=tensors
        )
        return {key: _from_proto(tensor) for key, tensor in answer.outputs.items()}

    def _ask(
        self, service: str, method: str, timeout: float, signature: str = "", **fields
    ):
        import grpc

        classes = self._classes
        call = self._channel.unary_unary(
            f"/tensorflow.serving.{service}/{method}",
            classes[f"{method}Request"].SerializeToString,
            classes[f"{method}Response"].FromString,
        )
        spec = {**self._spec, "signature_name": signature}
        request = classes[f"{method}Request"](model_spec=spec, **fields)
        try:
            return call(request, timeout=timeout)
        except grpc.RpcError as error:
            details = error.details() or ""
            if "parsing HTTP/2" in details:
                hint = "the answer is not gRPC; is this the REST port?"
                raise _RequestError("UNKNOWN", hint) from None
            raise _RequestError(error.code().name, details) from None


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
    note = lambda error: found.append(Path(error.filename))
    for start in left:
        for here, folders, names in os.walk(start, onerror=note):
            status = os.stat(here)
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            folders[:] = [each for each in folders if not each.startswith(".")]
            paths = (Path(here, each) for each in folders)
            left += [each for each in paths if each.is_symlink()]
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
            print(f"{done} of {total} images, {rate:.1f} images/s", file=sys.stderr)


def _fail(message: str, status: int = 2) -> None:
    """One line on standard error; ends the program."""
    print(f"tf_infomax: error: {' '.join(message.split())}", file=sys.stderr)
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
    add("--timeout", type=float, default=30.0, help="seconds for each try of a request")
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
    for name, least in [("batch_size", 1), ("retries", 0), ("wait", 0), ("version", 0)]:
        value = getattr(options, name)
        if value is not None and value < least:
            raise ValueError(f"--{name} must be at least {least}. Received: {value}.")
    for name in ("timeout", "max_message_bytes"):
        if not getattr(options, name) > 0:
            value = getattr(options, name)
            raise ValueError(f"--{name} must be above 0. Received: {value}.")
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
            client.wait_ready(0)
        except ServingError as error:
            if error.code not in (*_RETRIED, "DEADLINE_EXCEEDED") or not options.wait:
                raise
            seconds = f"up to {options.wait:g} s"
            print(f"waiting {seconds} for {options.server}", file=sys.stderr)
            client.wait_ready(options.wait)
        names, embeddings, skipped = client.embed_files(files, _Progress())
    if skipped:
        shown = "; ".join(f"{name} ({why})" for name, why in skipped[:3])
        more = "; ..." if len(skipped) > 3 else ""
        print(f"skipped {len(skipped)} files: {shown}{more}", file=sys.stderr)
    if not names:
        raise ServingError(f"none of the {len(files)} files could be embedded.")
    save(options.output, names, embeddings)
    print(
        f"embedded {len(names)} images in {embeddings.shape[1]} dimensions, "
        f"skipped {len(skipped)}: {options.output}"
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
