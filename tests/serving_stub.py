"""A stub of TensorFlow Serving's protocol over the SavedModel loader, for tests only.

It answers gRPC and REST on free loopback ports in TensorFlow Serving's own format, but
it is no server: one model, its latest version, no batching, nothing reloaded. The model
runs in a session (`tf.compat.v1.saved_model.loader`), as in the real one.

    python tests/serving_stub.py BASE NAME

serves BASE/NAME/<version>/, prints the gRPC and the REST port and runs until killed.
"""

import base64
import json
import re
import sys
import threading
import time
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "NOT_FOUND": 404,
    "FAILED_PRECONDITION": 412,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
}


class Failure(Exception):  # noqa: N818
    """An answer that is an error: gRPC's name of the status and the message."""

    def __init__(self, code: str, message: str):
        super().__init__(code, message)
        self.code = code
        self.message = message


class ServingStub:
    """The stub, as a context manager.

    Attributes:
        grpc_address, rest_address: "host:port".
        predictions: how many predict requests came.
        delay: seconds before each prediction.
    """

    def __init__(self, base: str | Path, name: str, max_message_bytes: int = -1):
        self.name = name
        entries = [path.name for path in (Path(base) / name).iterdir()]
        self.version = max(int(entry) for entry in entries if entry.isdigit())
        self.predictions = 0
        self.delay = 0.0
        self._failures = []
        self._lock = threading.Lock()
        self._load(Path(base) / name / str(self.version))
        self._grpc = grpc.server(
            futures.ThreadPoolExecutor(4),
            options=[("grpc.max_receive_message_length", max_message_bytes)],
        )
        add_services(self, self._grpc)
        self.grpc_address = f"127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), make_handler(self))
        self.rest_address = f"127.0.0.1:{self._http.server_port}"

    def _load(self, folder: Path) -> None:
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            loaded = tf.compat.v1.saved_model.loader.load(
                self._session, ["serve"], str(folder)
            )
        self.signatures = loaded.signature_def
        self._callables = {}
        for name, signature in self.signatures.items():
            if name.startswith("__"):
                continue
            options = config_pb2.CallableOptions()
            options.feed.extend(i.name for _, i in sorted(signature.inputs.items()))
            options.fetch.extend(o.name for _, o in sorted(signature.outputs.items()))
            # Unlike session.run it leaves shapes and dtypes to the runtime, as the real
            # server does.
            self._callables[name] = self._session._make_callable_from_options(options)

    def __enter__(self):
        self._grpc.start()
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._grpc.stop(None).wait()
        self._http.shutdown()
        self._http.server_close()
        self._callables.clear()
        self._session.close()

    def fail_next(self, count: int, code: str, message: str = "injected") -> None:
        """The next `count` predict requests, of either protocol, fail with `code`."""
        self._failures = [Failure(code, message)] * count

    def count_request(self) -> None:
        """Counts a predict request, and fails or delays it where that was asked for."""
        with self._lock:
            self.predictions += 1
            if self._failures:
                raise self._failures.pop()
        time.sleep(self.delay)

    def check_model(self, name: str, version: int | None) -> None:
        """Fails unless this model and version are served."""
        if name != self.name or version not in (None, self.version):
            which = (
                f"Latest({name})" if version is None else f"Specific({name}, {version})"
            )
            raise Failure("NOT_FOUND", f"Servable not found for request: {which}")

    def check_status(self, name: str, version: int | None) -> None:
        """The same for requests of the status."""
        if name != self.name:
            raise Failure("NOT_FOUND", f"Could not find any versions of model {name}")
        if version not in (None, self.version):
            raise Failure(
                "NOT_FOUND", f"Could not find version {version} of model {name}"
            )

    def run(self, signature: str, inputs: dict) -> dict:
        """The outputs of a signature by name."""
        wanted, given = set(self.signatures[signature].inputs), set(inputs)
        if wanted != given:
            show = lambda names: "{" + ",".join(sorted(names)) + "}"
            extra, missing = show(given - wanted), show(wanted - given)
            raise Failure(
                "INVALID_ARGUMENT",
                f"input size does not match signature: {len(given)}!={len(wanted)} "
                f"len({show(given)}) != len({show(wanted)}). Sent extra: "
                f"{extra}. Missing but required: {missing}.",
            )
        for k, (key, info) in enumerate(
            sorted(self.signatures[signature].inputs.items())
        ):
            expected, dtype = (type_name(d) for d in (info.dtype, inputs[key].dtype))
            if dtype != expected:
                message = f"Expects arg[{k}] to be {expected} but {dtype} is provided"
                raise Failure("INVALID_ARGUMENT", message)
        try:
            values = self._callables[signature](
                *(inputs[key] for key in sorted(inputs))
            )
        except tf.errors.OpError as error:
            code = next(
                c.name for c in grpc.StatusCode if c.value[0] == error.error_code
            )
            message = re.split(r"\n\n(Original stack|Errors may)", error.message)[0]
            raise Failure(code, message) from error
        names = sorted(self.signatures[signature].outputs)
        return dict(zip(names, values, strict=True))

    def status_message(self):
        """GetModelStatusResponse."""
        answer = get_model_status_pb2.GetModelStatusResponse()
        one = answer.model_version_status.add(version=self.version)
        one.state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        one.status.SetInParent()
        return answer

    def signature_message(self):
        """SignatureDefMap."""
        found = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in self.signatures.items():
            found.signature_def[name].CopyFrom(signature)
        return found


def type_name(dtype) -> str:
    """The runtime's name of a type, such as "float"."""
    name = tf.dtypes.as_dtype(dtype).name
    return {"float32": "float", "float64": "double"}.get(name, name)


# gRPC


def add_services(stub: ServingStub, server: grpc.Server) -> None:
    """Registers PredictionService and ModelService."""

    def answering(method):
        def answer(_, request, context):
            spec = request.model_spec
            version = spec.version.value if spec.HasField("version") else None
            try:
                return method(request, spec, version)
            except Failure as failure:
                context.abort(getattr(grpc.StatusCode, failure.code), failure.message)

        return answer

    def predict(request, spec, version):
        stub.count_request()
        stub.check_model(spec.name, version)
        name = spec.signature_name or "serving_default"
        if name not in stub.signatures:
            raise Failure(
                "FAILED_PRECONDITION", f'Serving signature key "{name}" not found.'
            )
        inputs = {key: tf.make_ndarray(t) for key, t in request.inputs.items()}
        answer = predict_pb2.PredictResponse()
        fill_spec(answer.model_spec).signature_name = name
        for key, value in stub.run(name, inputs).items():
            answer.outputs[key].CopyFrom(tf.make_tensor_proto(value))
        return answer

    def metadata(_, spec, version):
        stub.check_model(spec.name, version)
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        fill_spec(answer.model_spec)
        answer.metadata["signature_def"].Pack(stub.signature_message())
        return answer

    def status(_, spec, version):
        stub.check_status(spec.name, version)
        return stub.status_message()

    def fill_spec(spec):
        spec.name = stub.name
        spec.version.value = stub.version
        return spec

    prediction = type(
        "Prediction",
        (prediction_service_pb2_grpc.PredictionServiceServicer,),
        {"Predict": answering(predict), "GetModelMetadata": answering(metadata)},
    )
    model = type(
        "Model",
        (model_service_pb2_grpc.ModelServiceServicer,),
        {"GetModelStatus": answering(status)},
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        prediction(), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(model(), server)


# REST


def make_handler(stub: ServingStub) -> type[BaseHTTPRequestHandler]:
    """The handler of HTTP requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._answer("GET")

        def do_POST(self):
            self._answer("POST")

        def _answer(self, method):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if not self.path.startswith("/v1/models"):
                return self._send(404, "<HTML>404 Not Found</HTML>\n", "text/html")
            try:
                return self._send(200, dump(answer_rest(stub, method, self.path, body)))
            except Failure as failure:
                status = HTTP_STATUS.get(failure.code, 500)
                return self._send(status, dump({"error": failure.message}))

        def _send(self, status, text, content_type="application/json"):
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            """Says nothing."""

    return Handler


def answer_rest(stub: ServingStub, method: str, path: str, body: bytes) -> dict:
    """The JSON of an answer."""
    if path == "/v1/models":
        raise Failure("INVALID_ARGUMENT", "Missing model name in request.")
    form = (
        r"/v1/models/(?P<name>[^/:]+)(/versions/(?P<version>\d+))?"
        r"(?P<what>|/metadata|:predict)"
    )
    match = re.fullmatch(form, path)
    if not match or (match["what"] == ":predict") != (method == "POST"):
        raise Failure("INVALID_ARGUMENT", f"Malformed request: {method} {path}")
    version = int(match["version"]) if match["version"] else None
    if match["what"] == ":predict":
        stub.count_request()
        stub.check_model(match["name"], version)
        return predict_rest(stub, body)
    if match["what"] == "/metadata":
        stub.check_model(match["name"], version)
        found = to_dict(stub.signature_message())
        spec = {"name": stub.name, "version": str(stub.version), "signature_name": ""}
        return {"model_spec": spec, "metadata": {"signature_def": found}}
    stub.check_status(match["name"], version)
    return to_dict(stub.status_message())


def to_dict(message) -> dict:
    """A message as JSON with all its fields."""
    return json_format.MessageToDict(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )


def predict_rest(stub: ServingStub, body: bytes) -> dict:
    """The answer of :predict, in rows or in columns as asked."""
    try:
        request = json.loads(body)
    except ValueError as error:
        why = "Missing a name for object member." if "name" in error.msg else error.msg
        message = f"JSON Parse error: {why} at offset: {error.pos}"
        raise Failure("INVALID_ARGUMENT", message) from error
    name = request.get("signature_name", "serving_default")
    rows, columns = "instances" in request, "inputs" in request
    if rows and columns:
        raise Failure(
            "INVALID_ARGUMENT",
            f"JSON Value: {dump(request)} Not formatted correctly expecting only one "
            "of 'inputs' or 'instances' keys to exist ",
        )
    if not rows and not columns:
        raise Failure("INVALID_ARGUMENT", "Missing 'inputs' or 'instances' key")
    if name not in stub.signatures:
        message = f'Serving signature name: "{name}" not found in signature def'
        raise Failure("INVALID_ARGUMENT", message)
    infos = stub.signatures[name].inputs
    inputs = read_rows(request, infos) if rows else read_columns(request, infos)
    outputs = {k: write(k, v) for k, v in stub.run(name, inputs).items()}
    sole = next(iter(outputs.values())) if len(outputs) == 1 else None
    if columns:
        return {"outputs": outputs if sole is None else sole}
    if sole is not None:
        return {"predictions": sole}
    keys = list(outputs)
    lines = zip(*outputs.values(), strict=True)
    return {"predictions": [dict(zip(keys, line, strict=True)) for line in lines]}


def read_columns(request: dict, infos) -> dict:
    """The arrays of `inputs`."""
    columns = request["inputs"]
    if not isinstance(columns, dict) or set(columns) == {"b64"}:
        columns = {next(iter(infos)): columns}
    for key in columns:
        if key not in infos:
            message = f"JSON object: does not have named input: {key}"
            raise Failure("INVALID_ARGUMENT", message)
    return {key: as_array(value, infos[key].dtype) for key, value in columns.items()}


def read_rows(request: dict, infos) -> dict:
    """The arrays of `instances`."""
    if not request["instances"]:
        message = f"JSON Value: {dump(request)} No values in 'instances' array"
        raise Failure("INVALID_ARGUMENT", message)
    found = {key: [] for key in infos}
    for k, row in enumerate(request["instances"]):
        where = f"Failed to process element: {k}"
        if not isinstance(row, dict) or set(row) == {"b64"}:
            row = {next(iter(infos)): row}
        else:
            for key in set(row) - set(infos):
                raise Failure(
                    "INVALID_ARGUMENT",
                    f"{where} key: {key} of 'instances' list. Error: INVALID_ARGUMENT: "
                    f"JSON object: does not have named input: {key}",
                )
        for key, value in row.items():
            try:
                found[key].append(as_array(value, infos[key].dtype))
            except Failure as failure:
                raise Failure(
                    failure.code,
                    f"{where} of 'instances' list. Error: {failure.code}: "
                    f"{failure.message}",
                ) from failure
    return {key: np.stack(values) for key, values in found.items()}


def as_array(value, dtype: int) -> np.ndarray:
    """The array of a nested list."""
    kind = tf.dtypes.as_dtype(dtype)

    def leaf(x):
        if kind == tf.string and isinstance(x, dict):
            return base64.b64decode(x["b64"])
        if kind == tf.string and isinstance(x, str):
            return x.encode()
        if isinstance(x, (int, float)) and kind.is_floating:
            return x
        if isinstance(x, int) and kind.is_integer:
            return x
        shown = {str: "String", float: "Number", int: "Number", dict: "Object"}
        raise Failure(
            "INVALID_ARGUMENT",
            f"JSON Value: {dump(x)} Type: {shown.get(type(x), 'Null')} is not of "
            f"expected type: {type_name(kind)}",
        )

    def nest(x):
        return [nest(each) for each in x] if isinstance(x, list) else leaf(x)

    try:
        return np.array(nest(value), object if kind == tf.string else kind.name)
    except ValueError as error:
        message = f"JSON Value: {dump(value)} Encountered list at unexpected size"
        raise Failure("INVALID_ARGUMENT", message) from error


def write(name: str, value: np.ndarray) -> list:
    """An output as nested lists; those that are called `_bytes` in base 64."""
    if value.dtype != object:
        return value.tolist()
    b64 = lambda x: {"b64": base64.b64encode(x).decode()}
    one = b64 if name.endswith("_bytes") else bytes.decode
    return np.frompyfunc(one, 1, 1)(value).tolist()


def dump(value, indent: str = "") -> str:
    """JSON as TensorFlow Serving lays it out: an entry a line, a list in one."""
    if not isinstance(value, dict):
        return json.dumps(value)
    inner = f"{indent}    "
    entries = [f"{inner}{json.dumps(k)}: {dump(v, inner)}" for k, v in value.items()]
    return "{\n" + ",\n".join(entries) + f"\n{indent}" + "}"


if __name__ == "__main__":
    with ServingStub(sys.argv[1], sys.argv[2]) as running:
        print(running.grpc_address, running.rest_address, flush=True)
        threading.Event().wait()
