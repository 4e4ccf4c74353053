"""Exports: what they answer, by TensorFlow's own loader and by other runtimes."""

import io
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from c_session import COMPILER, compile_program
from commands import ROOT, TINY, assert_refused, run, run_alone, start
from PIL import Image
from serving_stub import ServingStub

from tf_infomax import critics
from tf_infomax.encoders import build_trunk
from tf_infomax.export import conversion, replay
from tf_infomax.export.building import save
from tf_infomax.export.client import EmbeddingClient, ServingError
from tf_infomax.export.client import convert as convert_picture
from tf_infomax.export.conversion import RUNTIMES, convert
from tf_infomax.export.inspection import find_faults
from tf_infomax.export.publishing import choose_version, publishing
from tf_infomax.export.signatures import (
    Parts,
    build_signatures,
    make_embed,
    score_pairs,
)
from tf_infomax.export.verification import ExportError, compare
from tf_infomax.options import ConfigError
from tf_infomax.training.trained import load_trained
from tf_infomax.training.workdir import WorkDirectory


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A labelled run of a few steps, in mixed precision, made by the command."""
    root = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    images = rng.integers(0, 120, (80, 32, 32, 3)) + 100 * labels[:, None, None, None]
    np.savez(root / "data.npz", images=images.astype(np.uint8), labels=labels)
    result = run(
        "train", *TINY, "--encoder=basic32x32", "--steps=4", "--noevaluate",
        f"--workdir={root / 'tiny'}",
        f"--dataset=arrays:{root / 'data.npz'}", "--mixed_precision=bfloat16",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    return root / "tiny"


@pytest.fixture(scope="module")
def trained(workdir):
    return load_trained(WorkDirectory(str(workdir)))


@pytest.fixture(scope="module")
def exported(workdir, tmp_path_factory):
    """(version folder, what the command said), with the critics."""
    output = tmp_path_factory.mktemp("served")
    result = run(
        "export.saved_model", f"--workdir={workdir}", f"--output={output}", "--critics"
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return output / "tiny" / "1", result


@pytest.fixture(scope="module")
def shown():
    return np.random.default_rng(1).integers(0, 256, (9, 32, 32, 3), np.uint8)


def png(image) -> bytes:
    return tf.io.encode_png(image).numpy()


class TestCommand:
    def test_says_where_and_how_exact(self, exported):
        path, result = exported
        assert result.stdout.strip() == str(path)
        difference = float(re.search(r"difference .* ([\d.e-]+)", result.stderr)[1])
        assert difference <= 1e-5

    def test_leaves_nothing_but_the_version_and_how_to_serve_it(self, exported):
        path, _ = exported
        assert {p.name for p in path.parent.iterdir()} == {
            "1", "models.config", "batching_parameters.txt", "compose.yaml",
        }  # fmt: skip
        assert {p.name for p in (path / "assets.extra").iterdir()} == {
            "tf_serving_warmup_requests", "run.flags", "model_card.json",
        }  # fmt: skip

    def test_card(self, exported, trained):
        card = json.loads((exported[0] / "assets.extra/model_card.json").read_text())
        assert card["steps"] == 4
        assert card["bound"] == "info_nce"
        assert card["critics"] == {"local": "encode_and_dot"}
        assert card["prior"] == "uniform"
        assert card["preprocessing"]["image"] == [32, 32, 3]
        assert card["classifier"]["classes"] == ["0", "1"]
        assert card["classifier"]["test_accuracy"] > 0.9  # brightness tells them apart
        assert set(card["signatures"]) == {
            "serving_default", "encoded", "features", "classify", "score",
        }  # fmt: skip

    def test_each_weight_is_stored_once_and_nothing_else(self, exported, trained):
        variables = tf.train.list_variables(str(exported[0] / "variables/variables"))
        stored = sum(np.prod(shape, dtype=int) for _, shape in variables if shape)
        critic = trained.objective.terms[0].critic
        weights = trained.objective.encoder.count_params() + critic.count_params()
        assert 0 <= stored - weights <= 1  # the bytes of the object graph

    def test_no_path_of_this_machine_is_told(self, exported, workdir):
        for path in exported[0].rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert str(ROOT).encode() not in content, path
                if path.name == "saved_model.pb":
                    assert str(workdir.parent).encode() not in content

    def test_run_flags_is_the_run_without_its_folder(self, exported, workdir):
        def lines(path):
            flags = path.read_text().splitlines()
            return [each for each in flags if not each.startswith(("--workdir", "#"))]

        flagfile = exported[0] / "assets.extra" / "run.flags"
        assert lines(flagfile) == lines(workdir / "run.flags")

    def test_next_version_and_other_formats(self, exported, workdir, tmp_path):
        folder = tmp_path / "tiny"
        shutil.copytree(exported[0].parent, folder)
        common = [f"--workdir={workdir}", f"--output={tmp_path}"]
        taken = run("export.saved_model", *common, "--version=1")
        assert_refused(taken, "--version=1", "exists")
        models = folder / "models.config"
        models.write_text("# mine")
        more = ["--noclassify", "--checkpoint=best", "--largest_image=1500"]
        result = run("export.saved_model", *common, *more)
        assert result.returncode == 0, result.stderr[-2000:]
        second = folder / "2"
        assert result.stdout.strip() == str(second)
        assert models.read_text() == "# mine"
        card = json.loads((second / "assets.extra" / "model_card.json").read_text())
        assert "classify" not in card["signatures"]
        assert card["checkpoint"] == "best"
        assert card["results"] == {}  # none were measured of it
        session, specs = replay.load_session(str(second))
        feed = {specs["encoded"].inputs["image_bytes"].name: [make_huge_png(40)]}
        with pytest.raises(tf.errors.InvalidArgumentError, match="1500 pixels"):
            session.run(specs["encoded"].outputs["embedding"].name, feed)
        result = run("export.saved_model", *common, "--format=onnx", "--version=7")
        assert result.returncode == 0, result.stderr[-2000:]
        assert (folder / "7.onnx").exists()
        assert (folder / "7.onnx.json").exists()

    @pytest.mark.parametrize(
        ("flags", "words"),
        [
            ([], ["--workdir is needed"]),
            (["--workdir=here"], ["--output is needed"]),
            (["--workdir=nowhere", "--output=x"], ["nowhere", "run.flags"]),
            (["--workdir=a", "--output=x", "--name=a/b"], ["--name", "'a/b'"]),
            (["--workdir=a", "--output=x", "--version=-1"], ["--version", "-1"]),
            (["--workdir=a", "--output=x", "--quantize=int8"], ["--format=tflite"]),
            (["--workdir=a", "--output=x", "--format=onxx"], ["Did you mean onnx"]),
            (
                ["--workdir=a", "--output=x", "--critics", "--format=onnx"],
                ["--critics", "saved_model"],
            ),
            (["--outptu=x"], ["Did you mean --output"]),
        ],
    )
    def test_bad_use_is_answered_at_once(self, flags, words):
        result = run_alone("export.saved_model", *flags)
        assert_refused(result, *words)
        assert result.cpu_seconds < 1.5

    def test_output_that_cannot_be_written(self, workdir, tmp_path):
        (tmp_path / "file").write_text("in the way")
        result = run(
            "export.saved_model",
            f"--workdir={workdir}",
            f"--output={tmp_path / 'file'}",
        )
        assert_refused(result, "cannot be written")


def test_killed_at_any_moment_shows_no_version_that_does_not_load(workdir, tmp_path):
    """The kill comes at a later file each time, the last ones during verification."""
    folder = tmp_path / "tiny"
    arguments = [f"--workdir={workdir}", f"--output={tmp_path}", "--noclassify"]
    rng = np.random.default_rng(0)
    for _ in range(2):
        process = start("export.saved_model", *arguments)
        deadline = time.monotonic() + 60
        while not list(folder.glob(".*.tmp/*")) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 1.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        for version in folder.iterdir():
            if version.name.isdigit():
                replay.load_session(str(version))[0].close()
    result = run("export.saved_model", *arguments)
    assert result.returncode == 0, result.stderr[-2000:]
    replay.load_session(result.stdout.strip())[0].close()


class TestPublishing:
    def test_versions(self, tmp_path):
        assert choose_version(tmp_path / "new", 0) == 1
        for name in ("2", "10", "11.onnx", ".12.1.tmp", "models.config"):
            (tmp_path / name).mkdir()
        for name in ("20-backup", "30a", "\N{SUPERSCRIPT TWO}", "40 copy.onnx"):
            (tmp_path / name).mkdir()  # none of them is a version to a model server
        assert choose_version(tmp_path, 0) == 12
        assert choose_version(tmp_path, 5) == 5
        assert choose_version(tmp_path, 11) == 11  # only its ONNX form exists
        with pytest.raises(ConfigError, match="--version=10"):
            choose_version(tmp_path, 10)

    def test_nothing_is_left_of_a_failure(self, tmp_path):
        with (  # noqa: PT012
            pytest.raises(RuntimeError),
            publishing(tmp_path / "m" / "1") as built,
        ):
            built.mkdir()
            (built / "file").write_text("half")
            raise RuntimeError
        assert not list((tmp_path / "m").iterdir())

    def test_the_slower_of_two_exports_is_refused(self, tmp_path):
        target = tmp_path / "m" / "1"
        with (  # noqa: PT012
            pytest.raises(ConfigError, match="taken by another"),
            publishing(target) as built,
        ):
            built.mkdir()
            target.mkdir()
            (target / "other").write_text("theirs")
        assert (target / "other").read_text() == "theirs"
        assert len(list((tmp_path / "m").iterdir())) == 1

    def test_what_a_killed_export_left_is_removed_and_no_other(self, tmp_path):
        (tmp_path / ".1.7.tmp" / "1").mkdir(parents=True)
        with publishing(tmp_path / "2") as other, publishing(tmp_path / "3") as built:
            built.mkdir()
            assert other.parent.is_dir()  # that one is at work
            other.mkdir()
        assert {p.name for p in tmp_path.iterdir()} == {"2", "3"}


class TestInspection:
    """Every fault that the graph can show, by a model that has it."""

    def spec(self):
        return tf.TensorSpec([None, 3], tf.float32, name="x")

    def save(self, path, function, module=None):
        module = module or tf.Module()
        module.f = tf.function(function, input_signature=[self.spec()])
        tf.saved_model.save(module, str(path), {"f": module.f})
        return find_faults(path, ["f"])

    def test_good_model(self, tmp_path):
        assert self.save(tmp_path / "m", lambda x: {"y": 2 * x}) == []

    def test_naive_save_of_a_keras_model(self, tmp_path):
        model = keras.Sequential([keras.Input([3]), keras.layers.Dense(2)])
        tf.saved_model.save(model, str(tmp_path / "m"))
        faults = find_faults(tmp_path / "m", ["serving_default"])
        assert any("read but not restored" in fault for fault in faults)

    def test_weights_stored_twice(self, tmp_path):
        model = keras.Sequential([keras.Input([3]), keras.layers.Dense(2)])
        model.export(tmp_path / "m", verbose=False)
        faults = find_faults(tmp_path / "m", ["serve", "serving_default"])
        assert any("stored but never read" in fault for fault in faults)

    def test_python(self, tmp_path):
        def f(x):
            return {
                "y": tf.ensure_shape(
                    tf.numpy_function(np.sin, [x], tf.float32), x.shape
                )
            }

        assert any("calls Python" in fault for fault in self.save(tmp_path / "m", f))

    def test_random_numbers_in_a_branch(self, tmp_path):
        def f(x):
            noise = tf.cond(
                tf.size(x) > 3, lambda: tf.random.normal(tf.shape(x)), lambda: x
            )
            return {"y": x + noise}

        assert any("random" in fault for fault in self.save(tmp_path / "m", f))

    def test_a_variable_that_requests_change(self, tmp_path):
        module = tf.Module()
        module.count = tf.Variable(0.0)
        faults = self.save(
            tmp_path / "m", lambda x: {"y": x + module.count.assign_add(1.0)}, module
        )
        assert any("changes variables" in fault for fault in faults)

    def test_forced_xla(self, tmp_path):
        inner = tf.function(lambda x: x + 1, jit_compile=True)
        faults = self.save(tmp_path / "m", lambda x: {"y": inner(x)})
        assert any("XLA" in fault for fault in faults)

    def test_no_batch_axis_wrong_dtype_missing_signature(self, tmp_path):
        faults = self.save(
            tmp_path / "m", lambda x: {"s": tf.reduce_sum(x), "n": tf.cast(x, tf.int32)}
        )
        assert any("s has no leading axis" in fault for fault in faults)
        assert any("n is DT_INT32" in fault for fault in faults)
        assert any("g" in fault for fault in find_faults(tmp_path / "m", ["f", "g"]))


@pytest.fixture(scope="module")
def loader(tmp_path_factory):
    """Runs a signature of a SavedModel by the C program."""
    if not COMPILER:
        pytest.skip("no C compiler")
    program = compile_program(tmp_path_factory.mktemp("c"))

    def load(model, signature, inputs, folder):
        """Runs one signature; (completed process, outputs by name)."""
        session, signatures = replay.load_session(str(model))
        session.close()
        spec = signatures[signature]
        feeds, files = [], {}
        for name, value in inputs.items():
            if isinstance(value, list):
                paths = [folder / f"{name}{k}" for k in range(len(value))]
                for path, content in zip(paths, value, strict=True):
                    path.write_bytes(content)
                source = "@" + ",".join(map(str, paths))
            else:
                source = folder / f"{name}.npy"
                np.save(source, value)
            feeds.append(f"{spec.inputs[name].name}={source}")
        for name, info in spec.outputs.items():
            files[name] = (info.name, folder / f"out_{name}.npy")
        fetches = [f"{tensor}={path}" for tensor, path in files.values()]
        result = subprocess.run(
            [program, model, "0", *feeds, "--", *fetches],
            capture_output=True,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        outputs = {n: np.load(p) for n, (_, p) in files.items() if p.exists()}
        return result, outputs

    return load


class TestWithoutPython:
    """By the C API: the loader of the model server."""

    def test_every_signature_agrees_with_keras(
        self, loader, exported, trained, shown, tmp_path
    ):
        features = trained.objective.encoder(shown)
        jpeg = [tf.io.encode_jpeg(image).numpy() for image in shown]
        decoded = np.stack([np.asarray(Image.open(io.BytesIO(j))) for j in jpeg])
        examples = [
            tf.train.Example(
                features=tf.train.Features(
                    feature={
                        "image_bytes": tf.train.Feature(
                            bytes_list=tf.train.BytesList(value=[png(image)])
                        )
                    }
                )
            ).SerializeToString()
            for image in shown
        ]
        critic = trained.objective.terms[0].critic
        pairs = critic((features["local"], features["code"]))
        cases = {
            "serving_default": ({"images": shown}, {"embedding": features["code"]}),
            "encoded": (
                {"image_bytes": jpeg},
                {"embedding": trained.objective.encoder(decoded)["code"]},
            ),
            "features": ({"images": shown}, features),
            "score": (
                {"x": shown, "y": shown},
                {"local": tf.einsum("lnn->nl", pairs)},
            ),
            "classify": ({"inputs": examples}, {}),
        }
        for name, (inputs, expected) in cases.items():
            folder = tmp_path / name
            folder.mkdir()
            result, outputs = loader(exported[0], name, inputs, folder)
            assert result.returncode == 0, result.stderr
            for output, value in expected.items():
                assert compare(outputs[output], np.asarray(value)) < 1e-5, name
        np.testing.assert_allclose(outputs["scores"].sum(axis=1), 1, rtol=1e-5)

    @pytest.mark.parametrize("size", [0, 1, 7])
    def test_any_batch_size(self, loader, exported, trained, shown, size, tmp_path):
        _, outputs = loader(
            exported[0], "serving_default", {"images": shown[:size]}, tmp_path
        )
        code = np.asarray(trained.objective.encoder(shown)["code"])
        assert compare(outputs["embedding"], code[:size]) < 1e-5

    def test_naive_export_is_refused(self, loader, trained, shown, tmp_path):
        naive = tmp_path / "naive"
        tf.saved_model.save(trained.objective.encoder, str(naive))
        loaded = tf.saved_model.load(str(naive))  # and yet Python reads it
        [key] = loaded.signatures["serving_default"].structured_input_signature[1]
        result, _ = loader(naive, "serving_default", {key: shown}, tmp_path)
        assert result.returncode == 1
        assert "Could not find variable" in result.stderr


@pytest.fixture(scope="module", params=["grpc", "rest"])
def client(request, exported):
    """A client of the exported model, over the protocol stub."""
    with ServingStub(exported[0].parent.parent, "tiny") as stub:
        address = getattr(stub, f"{request.param}_address")
        with EmbeddingClient(address, "tiny", request.param) as client:
            client.wait_ready(30)
            yield client


def make_gif(frames) -> bytes:
    first, *rest = [Image.fromarray(frame) for frame in frames]
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=rest)
    return buffer.getvalue()


def make_huge_png(side: int) -> bytes:
    """A PNG of side x side pixels whose content is small: a decompression bomb."""

    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    compressor = zlib.compressobj(1)
    row = b"\0" * (1 + 3 * side)
    data = b"".join(compressor.compress(row) for _ in range(side)) + compressor.flush()
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


BAD = {
    "empty": (b"", "JPEG, PNG, GIF or BMP"),
    "text": (b"just some text, long enough", "JPEG, PNG, GIF or BMP"),
    "truncated JPEG": (
        tf.io.encode_jpeg(np.full((40, 40, 3), 90, np.uint8)).numpy()[:300],
        "JPEG",
    ),
    "truncated PNG": (png(np.zeros((40, 40, 3), np.uint8))[:50], "PNG"),
    "huge PNG": (make_huge_png(20_000), "more than 64000000 pixels: 20000 20000"),
    "one pixel": (png(np.zeros((1, 1, 3), np.uint8)), "smaller than 8 x 8"),
    "no pixels": (png(np.zeros((9, 9, 3), np.uint8))[:16] + b"\0" * 40, "pixels"),
}


class TestHostileInput:
    """Refused as an invalid argument, and the next good request is answered."""

    @pytest.mark.parametrize("case", BAD)
    def test_bytes(self, client, trained, shown, case):
        content, words = BAD[case]
        with pytest.raises(ServingError, match=re.escape(words)) as caught:
            client.embed_bytes([png(shown[0]), content])
        assert caught.value.code == "INVALID_ARGUMENT"
        self.assert_serves(client, trained, shown)

    def test_huge_image_takes_no_memory(self, exported, trained):
        """A gigabyte would be decoded; the session's process stays below that."""
        code = (
            "import resource, sys\n"
            "import tensorflow as tf\n"
            "from tf_infomax.export import replay\n"
            "session, signatures = replay.load_session(sys.argv[1])\n"
            "s = signatures['encoded']; content = open(sys.argv[2], 'rb').read()\n"
            "def peak():\n"
            "    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
            "before = peak()\n"
            "try:\n"
            "    session.run(s.outputs['embedding'].name,"
            " {s.inputs['image_bytes'].name: [content]})\n"
            "except tf.errors.InvalidArgumentError:\n"
            "    print(peak() - before)\n"
        )
        file = exported[0].parent.parent / "huge.png"
        file.write_bytes(BAD["huge PNG"][0])
        result = subprocess.run(
            [sys.executable, "-c", code, exported[0], file],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert int(result.stdout) < 100, result.stderr[-1000:]  # MB

    def test_unusual_but_valid_images(self, client, trained, rng):
        pixels = rng.integers(0, 256, (45, 70, 3), np.uint8)

        def encode(image, kind):
            buffer = io.BytesIO()
            image.save(buffer, kind)
            return buffer.getvalue()

        image = Image.fromarray(pixels)
        deep = Image.fromarray(rng.integers(0, 65536, (50, 40)).astype(np.uint16))
        contents = [
            encode(image.convert("CMYK"), "JPEG"),
            encode(deep, "PNG"),
            encode(image.convert("RGBA"), "PNG"),
            encode(image.convert("L"), "JPEG"),
            convert_picture(encode(image.convert("P"), "BMP")),
            make_gif([pixels, 255 - pixels, pixels]),
        ]
        embeddings = client.embed_bytes(contents)  # of mixed sizes, in one batch
        assert embeddings.shape == (6, 64)
        assert np.isfinite(embeddings).all()
        with pytest.raises(ServingError, match="BMP must have 24 or 32 bits"):
            client.embed_bytes([encode(image.convert("P"), "BMP")])
        still = client.embed_bytes([make_gif([pixels])])
        np.testing.assert_allclose(embeddings[5], still[0], atol=1e-5)

    @pytest.mark.parametrize(
        "images",
        [
            np.zeros((2, 16, 64, 3), np.uint8),
            np.zeros((2, 64, 16, 3), np.uint8),
            np.zeros((32, 32, 3), np.uint8),
            np.zeros((2, 32, 32, 1), np.uint8),
            np.full((2, 32, 32, 3), np.nan, np.float32),
        ],
        ids=["other size", "H and W swapped", "rank", "channels", "dtype and NaN"],
    )
    def test_arrays(self, client, trained, shown, images, monkeypatch):
        # As a client would that does not check before it sends.
        monkeypatch.setattr(
            "tf_infomax.export.client._check_inputs", lambda *arguments: None
        )
        with pytest.raises(ServingError) as caught:
            client.predict({"images": images})
        assert caught.value.code == "INVALID_ARGUMENT"
        self.assert_serves(client, trained, shown)

    def test_no_image_at_all(self, client):
        assert client.embed_bytes([]).shape == (0, 64)
        nothing = np.zeros((0, 32, 32, 3), np.uint8)
        assert client.embed_images(nothing).shape == (0, 64)

    def assert_serves(self, client, trained, shown):
        code = np.asarray(trained.objective.encoder(shown)["code"])
        assert compare(client.embed_images(shown), code) < 1e-5
        encoded = [png(image) for image in shown]
        assert compare(client.embed_bytes(encoded), code) < 1e-5


def test_classes_by_the_protocol(client, shown):
    example = tf.train.Example()
    feature = example.features.feature["image_bytes"]
    for level, name in ((40, b"0"), (170, b"1")):
        image = np.clip(shown[0] // 4 + level, 0, 255).astype(np.uint8)
        feature.bytes_list.value[:] = [png(image)]
        answer = client.predict(
            {"inputs": np.array([example.SerializeToString()], object)}, "classify"
        )
        assert answer["classes"][0, answer["scores"][0].argmax()] == name


CRITICS = {
    **{name: make(8) for name, make in critics.LOCAL_CRITICS.items()},
    **{
        name: make(8, lambda width: build_trunk("basic32x32", (8, 8, 6), width))
        for name, make in critics.GLOBAL_CRITICS.items()
    },
}


@pytest.mark.parametrize("name", CRITICS)
def test_scores_of_pairs_are_the_diagonal_of_all_scores(name, rng):
    critic = CRITICS[name]
    x = tf.constant(rng.normal(size=(5, 8, 8, 6)), tf.float32)
    y = tf.constant(rng.normal(size=(5, 4)), tf.float32)
    expected = tf.einsum("...nn->n...", critic((x, y)))
    score = tf.function(lambda x, y: score_pairs(critic, x, y))
    np.testing.assert_allclose(score(x, y), expected, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def plain(trained, tmp_path_factory):
    """(SavedModel of serving_default alone, images, their embedding)."""
    images = np.random.default_rng(2).integers(0, 256, (64, 32, 32, 3), np.uint8)
    encoder = trained.objective.encoder
    parts = Parts(encoder, (32, 32, 3), "crop", 10**6, empty_batches=False)
    path = tmp_path_factory.mktemp("plain") / "model"
    save(path, {"serving_default": make_embed(parts)})
    return path, images, np.asarray(encoder(images)["code"])


@pytest.mark.parametrize(
    ("kind", "quantization"),
    [("tflite", "none"), ("tflite", "dynamic"), ("tflite", "int8"), ("onnx", "none")],
)
def test_other_runtimes_compute_the_same(kind, quantization, plain, tmp_path):
    model, images, expected = plain
    report = convert(kind, model, tmp_path / "m", quantization, images, expected)
    if quantization == "none":
        assert report["largest_difference"] <= 1e-5
    else:
        assert report["cosine_min"] > 0.98
        assert (tmp_path / "m").stat().st_size < 6e6  # float32: 17 MB of weights


@pytest.mark.parametrize("kind", RUNTIMES)
def test_graph_that_cannot_be_converted(kind, tmp_path):
    module = tf.Module()
    spec = tf.TensorSpec([None], tf.string, name="images")
    module.f = tf.function(
        lambda images: {"embedding": tf.cast(tf.strings.length(images), tf.float32)},
        input_signature=[spec],
    )
    model = tmp_path / "model"
    tf.saved_model.save(module, str(model), {"serving_default": module.f})
    with pytest.raises(ExportError, match=f"--format={kind}.*cannot be converted"):
        convert(kind, model, tmp_path / "m", "none", np.array([b"x"]), np.zeros(1))


def test_runtime_that_answers_something_else_is_refused(plain, tmp_path, monkeypatch):
    model, images, expected = plain
    wrong = RUNTIMES["onnx"].run
    runtime = conversion.Runtime(
        RUNTIMES["onnx"].convert, lambda file, x: wrong(file, x) + 1e-3
    )
    monkeypatch.setitem(RUNTIMES, "onnx", runtime)
    with pytest.raises(ExportError, match="differs from the encoder in memory"):
        convert("onnx", model, tmp_path / "m", "none", images, expected)


class Shifted(keras.Model):
    """The simplest invertible encoder: code = (x + shift) * 2."""

    def __init__(self):
        super().__init__()
        self.shift = self.add_weight(shape=(48,), initializer="ones", name="shift")

    def call(self, images):
        flat = tf.reshape(tf.cast(images, tf.float32), [-1, 48])
        return {"code": 2 * (flat + self.shift)}

    def inverse(self, code):
        return tf.reshape(code / 2 - self.shift, [-1, 4, 4, 3])

    def log_det_jacobian(self, images):
        return tf.fill([tf.shape(images)[0]], 48 * np.log(2).astype(np.float32))


def test_invertible_encoders_serve_their_inverse(tmp_path):
    parts = Parts(Shifted(), (4, 4, 3), "crop", 10**6)
    signatures = build_signatures(parts)
    assert {"inverse", "log_det_jacobian"} < set(signatures)
    save(tmp_path / "m", signatures)
    assert find_faults(tmp_path / "m", signatures) == []
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), np.uint8)
    session, specs = replay.load_session(str(tmp_path / "m"))

    def answer(name, **inputs):
        spec = specs[name]
        feed = {spec.inputs[k].name: v for k, v in inputs.items()}
        return session.run({k: v.name for k, v in spec.outputs.items()}, feed)

    code = answer("serving_default", images=images)["embedding"]
    np.testing.assert_allclose(answer("inverse", embedding=code)["images"], images)
    log_det = answer("log_det_jacobian", images=images)["log_det_jacobian"]
    np.testing.assert_allclose(log_det, np.full(5, 48 * np.log(2)), rtol=1e-6)


def test_difference_of_answers():
    one = np.array([[1.0, 2.0]], np.float32)
    assert compare(one, one) == 0
    assert compare(one, one + 1) == pytest.approx(1 / 3)  # in units of the largest
    assert compare(one / 10, one / 10 + 0.5) == pytest.approx(0.5)
    assert compare(one, one[0]) == np.inf
    assert compare(one * np.nan, one) == np.inf
    text = np.array([["a", "b"]])
    assert compare(text, np.array([[b"a", b"b"]], object)) == 0
    assert compare(text, np.array([[b"a", b"c"]], object)) == np.inf
