"""The client of TensorFlow Serving, against a stub of the protocol.

The stub itself is held against recorded answers of a real TensorFlow Serving, and where
there is a tensorflow_model_server (on the PATH or as $TF_MODEL_SERVER) the same tests
run against it.
"""

import csv
import http.server
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
import tensorflow as tf
from serving_stub import ServingStub
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tf_infomax.export import client as client_module
from tf_infomax.export.client import (
    EmbeddingClient,
    ServingError,
    Signature,
    TensorSpec,
)

ROOT = Path(__file__).parent.parent
RECORDED = json.loads((ROOT / "tests/data/tf_serving_answers.json").read_text())
H, W, C, D = 8, 12, 3, 5


class Tiny(tf.Module):
    """An encoder of images, linear in the pixels."""

    def __init__(self):
        super().__init__()
        weights = np.random.default_rng(0).normal(size=(H * W * C, D))
        self.weights = tf.Variable(weights.astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, H, W, C], tf.uint8, "images")])
    def embed(self, images):
        images = tf.ensure_shape(images, [None, H, W, C])
        flat = tf.reshape(tf.cast(images, tf.float32) / 255.0, [-1, H * W * C])
        return {"embedding": flat @ self.weights}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def encoded(self, image_bytes):
        image_bytes = tf.ensure_shape(image_bytes, [None])
        return self.embed(
            tf.map_fn(self.decode, image_bytes, fn_output_signature=tf.uint8)
        )

    @staticmethod
    def decode(encoded):
        image = tf.io.decode_image(encoded, C, expand_animations=False)
        image.set_shape([None, None, C])
        return tf.cast(tf.image.resize(tf.cast(image, tf.float32), [H, W]), tf.uint8)

    @property
    def signatures(self):
        return {"serving_default": self.embed, "encoded": self.encoded}


class Toy(tf.Module):
    """The model of the recorded answers."""

    pairs = (tf.TensorSpec([None, 2], tf.float32, "x"),)
    strings = (tf.TensorSpec([None], tf.string, "b"),)

    @tf.function(input_signature=pairs)
    def double(self, x):
        return {"y": 2 * x}

    @tf.function(input_signature=pairs)
    def two(self, x):
        return {"y": 2 * x, "z": tf.reduce_sum(x, 1)}

    @tf.function(input_signature=pairs)
    def log(self, x):
        return {"y": tf.math.log(x)}

    @tf.function(input_signature=strings)
    def text(self, b):
        return {"n": tf.strings.length(b), "text_bytes": tf.identity(b)}

    @property
    def signatures(self):
        functions = (self.double, self.two, self.log, self.text)
        names = ("serving_default", "two", "log", "text")
        return dict(zip(names, functions, strict=True))


@pytest.fixture(scope="module")
def tiny():
    return Tiny()


@pytest.fixture(scope="module")
def base(tmp_path_factory, tiny):
    folder = tmp_path_factory.mktemp("models")
    for name, module in (("tiny", tiny), ("toy", Toy())):
        path = str(folder / name / "1")
        tf.saved_model.save(module, path, signatures=module.signatures)
    return folder


@contextmanager
def start_real(base, name):
    """A tensorflow_model_server with the model, ready to predict."""
    binary = os.environ.get("TF_MODEL_SERVER") or shutil.which(
        "tensorflow_model_server"
    )
    if not binary:
        pytest.skip("no tensorflow_model_server on the PATH nor as $TF_MODEL_SERVER")
    ports = [free_port(), free_port()]
    process = subprocess.Popen(
        [
            binary,
            f"--port={ports[0]}",
            f"--rest_api_port={ports[1]}",
            f"--model_name={name}",
            f"--model_base_path={base / name}",
            "--max_num_load_retries=0",
            "--file_system_poll_wait_seconds=1",
        ],
        stderr=subprocess.DEVNULL,
    )
    addresses = [f"127.0.0.1:{port}" for port in ports]
    try:
        for address, transport in zip(addresses, ("grpc", "rest"), strict=True):
            with EmbeddingClient(address, name, transport) as client:
                client.wait_ready(60)
        yield SimpleNamespace(grpc_address=addresses[0], rest_address=addresses[1])
    finally:
        process.terminate()
        process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


SERVERS = {"stub": ServingStub, "real": start_real}


@pytest.fixture(scope="module", params=SERVERS)
def toy_server(request, base):
    with SERVERS[request.param](base, "toy") as server:
        yield server


@pytest.fixture(scope="module", params=SERVERS)
def tiny_server(request, base):
    with SERVERS[request.param](base, "tiny") as server:
        yield server


@pytest.fixture(scope="module")
def stub(base):
    with ServingStub(base, "tiny") as server:
        yield server


@pytest.fixture(params=["grpc", "rest"])
def transport(request):
    return request.param


def connect(server, transport, model="tiny", **options):
    address = getattr(server, f"{transport}_address")
    return EmbeddingClient(address, model, transport, **{"retries": 0, **options})


@pytest.fixture
def client(tiny_server, transport):
    with connect(tiny_server, transport) as client:
        yield client


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (7, H, W, C), np.uint8)


@pytest.fixture
def encoded(rng):
    """Images of several sizes and formats as bytes."""
    sizes = ((H, W), (20, 30), (30, 20), (1, 1), (64, 8))
    arrays = [rng.integers(0, 256, (*size, C), np.uint8) for size in sizes]
    encoders = [tf.io.encode_png, tf.io.encode_jpeg] * 3
    return [e(a).numpy() for e, a in zip(encoders, arrays, strict=False)]


@pytest.fixture
def files(tmp_path, encoded):
    """Seven good and three bad files of images, in folders."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for k, content in enumerate([*encoded, *encoded[:2]]):
        (folder / "more" / f"{k}.PNG").write_bytes(content)
    (folder / "cut.jpg").write_bytes(encoded[1][: len(encoded[1]) // 2])
    (folder / "letter.jpeg").write_bytes(b"dear all")
    (folder / "nothing.gif").write_bytes(b"")
    (folder / "notes.txt").write_bytes(b"not looked at")
    return folder


class TestAnswers:
    """The stub's answers, and where it is there a server's, against the recording."""

    @pytest.mark.parametrize(
        "recorded", RECORDED["rest"], ids=[each["path"] for each in RECORDED["rest"]]
    )
    def test_rest(self, toy_server, recorded):
        body = recorded["body"]
        if body is not None:
            body = (body if isinstance(body, str) else json.dumps(body)).encode()
        request = urllib.request.Request(
            f"http://{toy_server.rest_address}{recorded['path']}",
            body,
            method=recorded["method"],
        )
        try:
            response = urllib.request.urlopen(request, timeout=30)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            assert response.status == recorded["status"]
            assert response.headers["Content-Type"] == recorded["content_type"]
            text = response.read().decode()
        if recorded["content_type"] == "application/json":
            assert canonical(text) == canonical(recorded["response"])

    @pytest.mark.parametrize(
        ("recorded", "inputs"),
        zip(
            RECORDED["grpc"],
            [
                *[{"x": np.ones([1, 2], np.float32)}] * 6,
                {"x": np.ones([1, 3], np.float32)},
                {"x": np.ones([1, 2], np.float64)},
                {"x": np.ones([1, 2], np.float32), "extra": np.ones(1, np.float32)},
            ],
            strict=True,
        ),
    )
    def test_grpc(self, toy_server, recorded, inputs):
        name, version, signature, expected = recorded
        request = predict_pb2.PredictRequest()
        request.model_spec.name = name
        request.model_spec.signature_name = signature
        if version is not None:
            request.model_spec.version.value = version
        for key, value in inputs.items():
            request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
        with grpc.insecure_channel(toy_server.grpc_address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            try:
                outputs = stub.Predict(request, timeout=30).outputs
                answer = {k: tf.make_ndarray(v).tolist() for k, v in outputs.items()}
            except grpc.RpcError as error:
                answer = f"{error.code().name}: {error.details()}"
        assert answer == expected

    def test_client_reads_what_json_has_no_words_for(self, toy_server, transport):
        with connect(toy_server, transport, "toy") as client:
            x = np.array([[0, -1], [1, np.inf]], np.float32)
            y = client.predict({"x": x}, "log")["y"]
            np.testing.assert_array_equal(y, [[-np.inf, np.nan], [0, np.inf]])
            b = np.array([b"\0\xff", b"a\0", b""], object)
            outputs = client.predict({"b": b}, "text")
        assert outputs["text_bytes"].tolist() == b.tolist()
        assert outputs["n"].tolist() == [2, 2, 0]
        assert outputs["n"].dtype == np.int32


def canonical(text):
    """JSON in one order, without the names of tensors in the graph."""

    def clean(value):
        if isinstance(value, list):
            return [clean(each) for each in value]
        if not isinstance(value, dict):
            return value
        dropped = {"name"} if "dtype" in value else set()
        return {k: clean(v) for k, v in value.items() if k not in dropped}

    return json.dumps(clean(json.loads(text)), sort_keys=True)


def test_messages_are_those_of_tensorflow_serving():
    messages = [
        predict_pb2.PredictRequest,
        predict_pb2.PredictResponse,
        get_model_status_pb2.GetModelStatusRequest,
        get_model_status_pb2.GetModelStatusResponse,
        get_model_metadata_pb2.GetModelMetadataRequest,
        get_model_metadata_pb2.GetModelMetadataResponse,
        get_model_metadata_pb2.SignatureDefMap,
    ]
    checked = set()

    def check(ours, theirs):
        if ours.full_name in checked:
            return
        checked.add(ours.full_name)
        for field in ours.fields:
            other = theirs.fields_by_name[field.name]
            assert field.number == other.number, (ours.name, field.name)
            assert field.is_repeated == other.is_repeated, (ours.name, field.name)
            kind = field.TYPE_INT32 if other.type == other.TYPE_ENUM else other.type
            assert field.type == kind, (ours.name, field.name)
            if field.message_type:
                check(field.message_type, other.message_type)

    for message in messages:
        ours = client_module._message_classes()[message.DESCRIPTOR.name]
        check(ours.DESCRIPTOR, message.DESCRIPTOR)
    assert {f"tf_infomax.{name}" for name in client_module._MESSAGES} <= checked
    for number, (name, *_) in client_module._DTYPES.items():
        assert types_pb2.DataType.Value(name) == number
    for number, name in client_module._STATES.items():
        assert get_model_status_pb2.ModelVersionStatus.State.Value(name) == number


@pytest.mark.parametrize("array", [
    np.array([1.5, 1.5, 1.5], np.float32), np.array([[2], [3]], np.int64),
    np.array([True, False]), np.array([7, 7], np.uint8), np.array(2.5),
    np.array([b"a\0", b""], object), np.zeros([0, 3], np.float32),
])  # fmt: skip
def test_tensors_both_ways(array):
    theirs = tf.make_tensor_proto(array)
    ours = client_module._to_proto(array)
    kind = type(theirs)
    read = tf.make_ndarray(kind.FromString(ours.SerializeToString()))
    np.testing.assert_array_equal(read, array)
    packed = type(ours).FromString(theirs.SerializeToString())
    np.testing.assert_array_equal(client_module._from_proto(packed), array)
    assert client_module._from_proto(packed).dtype == array.dtype


@pytest.mark.parametrize("values", [[], [1], [1, 2], [1, 2, 3, 4, 5]])
def test_a_tensor_has_a_value_for_each_entry(values):
    kind = client_module._message_classes()["TensorProto"]
    tensor = kind(dtype=1, float_val=values, tensor_shape={"dim": [{"size": 4}]})
    with pytest.raises(client_module._RequestError, match=f"{len(values)} values"):
        client_module._from_proto(tensor)


def test_reasons_are_one_line():
    said = "{{function_node f}} Bad data.\n\t [[{{node f/Decode}}]]\nMore of it"
    assert client_module._tidy(said) == "Bad data."
    assert client_module._tidy("Bad data [[{{node f}}]]") == "Bad data"


def test_stub_as_a_process(base):
    process = subprocess.Popen(
        [sys.executable, ROOT / "tests" / "serving_stub.py", base, "tiny"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        addresses = process.stdout.readline().split()
        for address, transport in zip(addresses, ("grpc", "rest"), strict=True):
            with EmbeddingClient(address, "tiny", transport) as client:
                client.wait_ready(10)
    finally:
        process.kill()
        process.communicate()


class TestClient:
    """Good and hostile input against a server that is well."""

    def test_ready_and_its_signatures(self, client):
        client.wait_ready(10)
        assert client.signatures() == {
            "serving_default": Signature(
                {"images": TensorSpec("uint8", (-1, H, W, C))},
                {"embedding": TensorSpec("float32", (-1, D))},
            ),
            "encoded": Signature(
                {"image_bytes": TensorSpec("bytes", (-1,))},
                {"embedding": TensorSpec("float32", (-1, D))},
            ),
        }

    @pytest.mark.parametrize("batch_size", [1, 3, 32])
    def test_images(self, client, tiny, images, batch_size):
        client.batch_size = batch_size
        embeddings = client.embed_images(images)
        assert embeddings.dtype == np.float32
        expected = tiny.embed(images)["embedding"]
        np.testing.assert_allclose(embeddings, expected, rtol=1e-5, atol=1e-5)

    def test_bytes(self, client, tiny, encoded):
        client.batch_size = 2
        expected = tiny.encoded(encoded)["embedding"]
        embeddings = client.embed_bytes(encoded)
        assert embeddings.dtype == np.float32
        np.testing.assert_allclose(embeddings, expected, rtol=1e-5, atol=1e-5)

    def test_nothing(self, client):
        assert client.embed_bytes([]).shape == (0, D)
        assert client.embed_images(np.zeros([0, H, W, C], np.uint8)).shape == (0, D)
        names, embeddings, skipped = client.embed_files([])
        assert (names, embeddings.shape, skipped) == ([], (0, D), [])

    def test_files_with_bad_ones_among_them(self, client, tiny, files):
        client.batch_size = 4
        seen = []
        paths = [*sorted(files.rglob("*.*")), files / "missing.png"]
        paths = [path for path in paths if path.name != "notes.txt"]
        good = [path for path in paths if path.parent.name == "more"]
        names, embeddings, skipped = client.embed_files(
            [good[-1], *paths], lambda *counts: seen.append(counts)
        )
        assert names == list(map(str, [good[-1], *good]))
        expected = tiny.encoded([Path(name).read_bytes() for name in names])
        np.testing.assert_allclose(embeddings, expected["embedding"], 1e-5, 1e-5)
        reasons = {Path(name).name: reason for name, reason in skipped}
        assert set(reasons) == {"cut.jpg", "letter.jpeg", "nothing.gif", "missing.png"}
        assert reasons["missing.png"] == "No such file or directory"
        assert "nown image file format" in reasons["letter.jpeg"]
        assert all("\n" not in reason and "{{" not in reason for _, reason in skipped)
        assert seen[-1] == (len(paths) + 1, len(paths) + 1)

    @pytest.mark.parametrize("content", [b"", b"dear all", b"\xff\xd8\xff\xe0", b"BM"])
    def test_no_image_is_refused_and_the_next_request_works(
        self, client, images, content
    ):
        with pytest.raises(ServingError) as caught:
            client.embed_bytes([content])
        assert caught.value.code == "INVALID_ARGUMENT"
        assert client.embed_images(images).shape == (7, D)

    @pytest.mark.parametrize(
        ("array", "words"),
        [
            (np.zeros([H, W, C], np.uint8), "received uint8 [8, 12, 3]"),
            (np.zeros([2, W, H, C], np.uint8), "received uint8 [2, 12, 8, 3]"),
            (np.zeros([2, H, W, C], np.float32), "received float32 [2, 8, 12, 3]"),
            (np.array(["a", "b"]), "received bytes [2]"),
        ],
    )
    def test_wrong_shape_or_dtype(self, client, images, array, words):
        with pytest.raises(ServingError, match="takes uint8") as caught:
            client.embed_images(array)
        assert words in str(caught.value)
        assert client.embed_images(images).shape == (7, D)

    @pytest.mark.parametrize(
        "array",
        [np.zeros([2, W, H, C], np.uint8), np.zeros([2, H, W, C], np.float32) + 0.5],
    )
    def test_server_itself_refuses_them(self, client, images, array, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr(client_module, "_check_inputs", lambda *_: None)
            with pytest.raises(ServingError) as caught:
                client.embed_images(array)
        assert caught.value.code == "INVALID_ARGUMENT"
        assert "\n" not in str(caught.value)
        assert client.embed_images(images).shape == (7, D)

    def test_wrong_names(self, client, images):
        with pytest.raises(ServingError, match=r"no such signature: 'nosuch'; it has"):
            client.predict({"images": images}, "nosuch")
        with pytest.raises(ServingError, match=r"takes \['images'\]; received \['x'\]"):
            client.predict({"x": images})


class TestFailures:
    """Servers and requests that are not well."""

    def test_server_down(self, transport):
        address = f"127.0.0.1:{free_port()}"
        client = EmbeddingClient(address, "tiny", transport, retries=2)
        with client, pytest.raises(ServingError, match="after 3 tries in") as caught:
            client.embed_bytes([b""])
        assert caught.value.code == "UNAVAILABLE"
        assert address in str(caught.value)
        with client, pytest.raises(ServingError, match=f"{address}.*unavailable"):
            EmbeddingClient(address, "tiny", transport).wait_ready(0.3)

    def test_port_of_the_other_protocol(self, stub):
        for address, transport, words in (
            (stub.rest_address, "grpc", "is this the REST port"),
            (stub.grpc_address, "rest", "is this the gRPC port"),
        ):
            with (
                EmbeddingClient(address, "tiny", transport) as client,
                pytest.raises(ServingError, match=words),
            ):
                client.wait_ready(20)

    @pytest.mark.parametrize("answer", [b"{}", b"[]", b"<html>", b"\xff"])
    def test_another_http_server(self, answer):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                """Says nothing."""

        with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            client = EmbeddingClient(f"127.0.0.1:{server.server_port}", "tiny", "rest")
            with pytest.raises(ServingError, match="HTTP 200"):
                client.wait_ready(20)
            server.shutdown()

    def test_wrong_model_or_version(self, tiny_server, transport):
        for options, words in (
            ({"model": "nosuch"}, "'nosuch'"),
            ({"version": 7}, "'tiny' version 7"),
        ):
            with connect(tiny_server, transport, **options) as client:
                for ask in (client.wait_ready, lambda: client.embed_bytes([b""])):
                    with pytest.raises(ServingError, match=f"not serve.*{words}") as c:
                        ask()
                    assert c.value.code == "NOT_FOUND"

    def test_version_by_number(self, tiny_server, transport, images):
        with connect(tiny_server, transport, version=1) as client:
            client.wait_ready(10)
            assert client.embed_images(images).shape == (7, D)

    def test_deadline(self, stub, transport, images, monkeypatch):
        monkeypatch.setattr(stub, "delay", 1.0)
        with connect(stub, transport, timeout=0.3, retries=5) as client:
            with pytest.raises(ServingError, match=r"timeout of 0\.3 s") as caught:
                client.embed_images(images)
            assert caught.value.code == "DEADLINE_EXCEEDED"
            monkeypatch.undo()
            assert client.embed_images(images).shape == (7, D)

    @pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
    def test_tried_again(self, stub, transport, images, code):
        with connect(stub, transport, retries=2) as client:
            client.signatures()
            before = stub.predictions
            stub.fail_next(2, code)
            assert client.embed_images(images).shape == (7, D)
            assert stub.predictions - before == 3
            stub.fail_next(3, code)
            with pytest.raises(
                ServingError, match=r"after 3 tries.*injected"
            ) as caught:
                client.embed_images(images)
            assert caught.value.code == code

    @pytest.mark.parametrize("code", ["FAILED_PRECONDITION", "INVALID_ARGUMENT"])
    def test_not_tried_again(self, stub, transport, images, code):
        with connect(stub, transport, retries=2) as client:
            client.signatures()
            before = stub.predictions
            stub.fail_next(1, code)
            with pytest.raises(ServingError, match=f"{code}: injected"):
                client.embed_images(images)
            assert stub.predictions - before == 1

    def test_ready_only_after_a_prediction(self, stub, transport):
        with connect(stub, transport) as client:
            stub.fail_next(2, "UNAVAILABLE")
            before = stub.predictions
            client.wait_ready(20)
            assert stub.predictions - before == 3
            stub.fail_next(1, "FAILED_PRECONDITION", "Could not find variable w")
            with pytest.raises(ServingError, match="Could not find variable w"):
                client.wait_ready(20)

    def test_message_too_big(self, stub, transport, images, encoded, tmp_path):
        with connect(stub, transport, max_message_bytes=5000, retries=3) as client:
            with pytest.raises(ServingError, match="too much at once") as caught:
                client.embed_images(np.tile(images, [8, 1, 1, 1]))
            assert caught.value.code == "MESSAGE_TOO_BIG"
            # Files go in smaller batches then; only one too big by itself is lost.
            for k, content in enumerate([encoded[0]] * 12 + [bytes(6000)]):
                (tmp_path / f"{k:02}.png").write_bytes(content)
            names, embeddings, skipped = client.embed_files(sorted(tmp_path.iterdir()))
        assert len(names) == len(embeddings) == 12
        assert [Path(name).name for name, _ in skipped] == ["12.png"]

    def test_message_too_big_for_the_server(self, base, images):
        with (
            ServingStub(base, "tiny", max_message_bytes=1000) as small,
            connect(small, "grpc", retries=3) as client,
        ):
            with pytest.raises(ServingError, match="too much at once"):
                client.embed_images(images)
            assert small.predictions == 0

    def test_bad_arguments(self):
        with pytest.raises(ValueError, match="host:port"):
            EmbeddingClient("localhost", "tiny")
        with pytest.raises(ValueError, match="grpc, rest"):
            EmbeddingClient("localhost:1", "tiny", "carrier pigeon")
        with pytest.raises(ValueError, match="batch_size"):
            EmbeddingClient("localhost:1", "tiny", batch_size=0)


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_tensorflow_is_not_loaded(stub, transport):
    script = (
        "import sys; from client import EmbeddingClient  # the file by itself\n"
        f"with EmbeddingClient({getattr(stub, f'{transport}_address')!r}, 'tiny', "
        f"{transport!r}) as client:\n"
        "    client.wait_ready(10)\n"
        "names = {name.partition('.')[0] for name in sys.modules}\n"
        "print(*sorted(names & set('tensorflow keras tensorflow_serving tf_infomax "
        "grpc google'.split())))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT / "tf_infomax" / "export",
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == (["google", "grpc"] if transport == "grpc" else [])


def run(*arguments, program=("-m", "export.client"), cwd=ROOT):
    return subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
    )


def assert_refused(result, *words, status=2):
    """One line on standard error, the status."""
    assert result.returncode == status, result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("tf_infomax: error: ")
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in last


class TestCommand:
    """The command line as a user types it."""

    def arguments(self, server, transport, *more):
        address = getattr(server, f"{transport}_address")
        flags = [f"--server={address}", "--model=tiny", f"--transport={transport}"]
        return [*flags, *more]

    def test_folder_to_npz(self, tiny_server, transport, tiny, files, tmp_path):
        output = tmp_path / "out.npz"
        result = run(
            *self.arguments(tiny_server, transport, f"--images={files}"),
            f"--output={output}",
            "--batch_size=4",
        )
        assert result.returncode == 0, result.stderr
        assert "embedded 7 images in 5 dimensions, skipped 3" in result.stdout
        assert "skipped 3 files" in result.stderr
        assert "cut.jpg" in result.stderr
        with np.load(output, allow_pickle=False) as arrays:
            names, embeddings = arrays["names"], arrays["embeddings"]
        assert [Path(name).name for name in names] == [f"{k}.PNG" for k in range(7)]
        expected = tiny.encoded([Path(name).read_bytes() for name in names])
        np.testing.assert_allclose(embeddings, expected["embedding"], 1e-5, 1e-5)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["out.npz", "photos"]

    def test_files_to_csv_by_the_file_alone(
        self, tiny_server, transport, tiny, files, tmp_path
    ):
        alone = shutil.copy(ROOT / "tf_infomax" / "export" / "client.py", tmp_path)
        images = [files / "more" / "0.PNG", files / "more" / "3.PNG"]
        odd = files / 'a "quoted", odd näme.png'
        shutil.copy(images[0], odd)
        result = run(
            *self.arguments(tiny_server, transport, f"--images={odd}"),
            *images,
            f"--output={tmp_path / 'out.csv'}",
            program=(alone,),
            cwd=tmp_path,
        )
        assert result.returncode == 0, result.stderr
        assert "skipped 0" in result.stdout
        with open(tmp_path / "out.csv", newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        assert header == ["name", "e0", "e1", "e2", "e3", "e4"]
        assert [row[0] for row in rows] == [str(odd), *map(str, images)]
        expected = tiny.encoded([odd.read_bytes(), *(p.read_bytes() for p in images)])
        values = np.array([row[1:] for row in rows], np.float32)
        np.testing.assert_allclose(values, expected["embedding"], 1e-5, 1e-5)

    def test_nothing_but_bad_files(self, stub, files, tmp_path):
        output = tmp_path / "out.npz"
        result = run(
            *self.arguments(stub, "grpc", f"--images={files / 'cut.jpg'}"),
            f"--output={output}",
        )
        assert_refused(result, "none of the 1 files", status=1)
        assert not output.exists()

    @pytest.mark.parametrize(
        ("flag", "words"),
        [
            ("--batchsize=3", ["--batchsize"]),
            ("--batch_size=0", ["--batch_size", "at least 1", "0"]),
            ("--timeout=0", ["--timeout", "above 0"]),
            ("--transport=http", ["--transport", "grpc", "rest"]),
            ("--images=nowhere", ["nowhere does not exist"]),
            ("--output=out.txt", [".npz or .csv", "out.txt"]),
            ("--output=nowhere/out.npz", ["nowhere/out.npz cannot be written"]),
            ("--server=localhost", ["host:port", "localhost"]),
        ],
    )
    def test_bad_use(self, files, flag, words):
        result = run(
            "--server=localhost:1",
            "--model=tiny",
            f"--images={files}",
            "--output=out.npz",
            flag,
        )
        assert_refused(result, *words)

    def test_folder_without_images(self, tmp_path):
        result = run(
            "--server=localhost:1",
            "--model=tiny",
            f"--images={tmp_path}",
            "--output=out.npz",
        )
        assert_refused(result, "no image files", str(tmp_path))

    def test_server_down_and_wrong_model(self, stub, transport, files, tmp_path):
        output = f"--output={tmp_path / 'out.npz'}"
        address = f"127.0.0.1:{free_port()}"
        flags = [f"--images={files}", output, f"--transport={transport}", "--wait=0.5"]
        result = run(f"--server={address}", "--model=tiny", *flags)
        assert_refused(result, address, "unavailable", status=1)
        first, _ = result.stderr.splitlines()
        assert first == f"waiting up to 0.5 s for {address}"
        result = run(*self.arguments(stub, transport), *flags, "--model=nosuch")
        assert_refused(result, "nosuch", status=1)
        assert "waiting" not in result.stderr


OVMSCLIENT = """
import sys, numpy as np
from ovmsclient import make_grpc_client, make_http_client
grpc_address, rest_address, images, output = sys.argv[1:]
images = np.load(images)
answers = {}
for make in (make_grpc_client, make_http_client):
    client = make(grpc_address if make is make_grpc_client else rest_address)
    assert client.get_model_status("tiny", 1)[1]["state"] == "AVAILABLE"
    assert "DT_UINT8" in str(client.get_model_metadata("tiny", 1))
    answers[make.__name__] = client.predict({"images": images}, "tiny", 1)
np.savez(output, **answers)
"""


def test_another_client(tiny_server, tiny, images, tmp_path):
    python = os.environ.get("OVMSCLIENT_PYTHON", sys.executable)
    if python == sys.executable and not importlib.util.find_spec("ovmsclient"):
        pytest.skip("ovmsclient is not installed, nor is there $OVMSCLIENT_PYTHON")
    np.save(tmp_path / "images.npy", images)
    addresses = (tiny_server.grpc_address, tiny_server.rest_address)
    result = subprocess.run(
        [python, "-c", OVMSCLIENT, *addresses, "images.npy", "out.npz"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PATH": os.environ.get("PATH", "")},
    )
    assert result.returncode == 0, result.stderr
    with np.load(tmp_path / "out.npz") as answers:
        for embeddings in (answers["make_grpc_client"], answers["make_http_client"]):
            expected = tiny.embed(images)["embedding"]
            np.testing.assert_allclose(embeddings, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("counts", ["--rest=32 --grpc=0", "--rest=0 --grpc=16"])
def test_no_malformed_answer_is_believed(counts):
    """A seeded part of what `unfit_answers` makes; it prints every fault it finds."""
    result = subprocess.run(
        [sys.executable, "tests/unfit_answers.py", "--seed=3", *counts.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    (line,) = result.stdout.splitlines()
    found = dict(re.findall(r"'(embedded|refused)'\): (\d+)", line))
    assert sum(map(int, found.values())) == sum(map(int, re.findall(r"=(\d+)", counts)))
    assert re.fullmatch(r"seed 3: \{(\('\w+', '\w+'\): \d+(, )?)+\}, .*", line), line
    assert int(found["refused"]) > int(found["embedded"])
