"""Embedding a folder: the command as a user types it, and the library."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from commands import ROOT, TINY, assert_refused, run, run_alone, start
from pyarrow import parquet

from tf_infomax import embed as command
from tf_infomax.data.decoding import resize
from tf_infomax.data.files import ImageFolder, map_batches
from tf_infomax.data.images import DataError
from tf_infomax.embedding import formats
from tf_infomax.embedding.embedder import from_model, from_saved_model
from tf_infomax.embedding.formats import FORMATS
from tf_infomax.embedding.job import embed_folder, parts_folder
from tf_infomax.embedding.parts import Parts
from tf_infomax.embedding.versions import find_version
from tf_infomax.export.publishing import choose_version
from tf_infomax.options import Config, ConfigError, flags
from tf_infomax.runtime.seals import seal_text
from tf_infomax.training.trained import load_trained
from tf_infomax.training.workdir import WorkDirectory


def write_images(folder: Path, number: int, size=(32, 32)) -> np.ndarray:
    """PNG files (lossless) in order of their names, every third in a subfolder."""
    images = np.random.default_rng(1).integers(0, 256, (number, *size, 3), np.uint8)
    for k, image in enumerate(images):
        path = folder / f"{k:04d}" / "x.png" if k % 3 == 2 else folder / f"{k:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tf.io.encode_png(image).numpy())
    return images


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run of a few steps, made by the command."""
    root = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    np.savez(root / "data.npz", images=rng.integers(0, 256, (60, 32, 32, 3), np.uint8))
    result = run(
        "train", *TINY, "--steps=4", "--noevaluate", f"--workdir={root / 'run'}",
        f"--dataset=arrays:{root / 'data.npz'}", "--online_probe=none", "--best=bound",
        "--validation_fraction=0.4",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    return root / "run"


@pytest.fixture(scope="module")
def encoder(workdir):
    return load_trained(WorkDirectory(str(workdir))).objective.encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Thirty good images, and the pixels of each."""
    path = tmp_path_factory.mktemp("images")
    return path, write_images(path, 30)


@pytest.fixture(scope="module")
def saved_model(encoder, tmp_path_factory):
    """The encoder as it is exported for serving."""
    base = tmp_path_factory.mktemp("export") / "encoder"
    spec = tf.TensorSpec((None, 32, 32, 3), tf.uint8, name="images")

    def features(images):
        return dict(encoder(tf.ensure_shape(images, spec.shape), training=False))

    def serving_default(images):
        return {"embedding": features(images)["code"]}

    archive = keras.export.ExportArchive()
    archive.add_endpoint("serving_default", serving_default, input_signature=[spec])
    archive.add_endpoint("features", features, input_signature=[spec])
    archive.write_out(str(base / "12"), verbose=False)
    (base / "9").mkdir()
    (base / "9" / "saved_model.pb").write_bytes(b"an older version")
    (base / "12" / "assets.extra").mkdir()
    options = seal_text(flags.format_flags(Config(resize="stretch")))
    (base / "12" / "assets.extra" / "run.flags").write_text(options)
    return base


def embed(source, images, output, *more):
    flags = [f"--images={images}", f"--output={output}", *more]
    return run("embed", source, *flags)


def read_npz(path):
    with np.load(path, allow_pickle=False) as arrays:
        assert set(arrays.files) == {"names", "embeddings"}
        return arrays["names"], arrays["embeddings"]


class TestCommand:
    def test_bad_files_are_skipped_and_named(self, workdir, encoder, tmp_path):
        images = write_images(tmp_path / "images", 6)
        odd = os.fsdecode(b"!\x1b[31m\xff\n.gif")
        bad = {
            odd: b"",
            "cut.jpg": tf.io.encode_jpeg(images[0]).numpy()[:400],
            "text.jpg": b"this is no image",
            "0002/y.png": tf.io.encode_png(images[0, :1, :1]).numpy(),
            "empty.gif": b"",
            "photo.webp": b"RIFF____WEBPVP8 ",
            "photo.heic": b"____ftypheic",
        }
        for name, data in bad.items():
            (tmp_path / "images" / name).parent.mkdir(exist_ok=True)
            (tmp_path / "images" / name).write_bytes(data)
        output = tmp_path / "new" / "codes.npz"
        result = embed(f"--workdir={workdir}", tmp_path / "images", output)
        assert result.returncode == 0, result.stderr[-2000:]
        assert (
            "6 images embedded, 7 skipped: !\\x1b[31m\\udcff\\n.gif (empty file), "
            "0002/y.png (image is smaller than" in result.stdout
        )
        assert result.stdout.rstrip("\n").isprintable()  # nothing for a terminal
        assert "images/s" in result.stderr
        assert "Traceback" not in result.stderr
        names, embeddings = read_npz(output)
        assert names.dtype.kind == "U"
        assert list(names) == sorted(names, key=lambda name: name.split("/"))
        assert embeddings.dtype == np.float32
        expected = encoder(images)["code"].numpy()
        np.testing.assert_allclose(embeddings, expected, atol=1e-5)
        with open(
            f"{output}.skipped.csv", newline="", errors="surrogateescape"
        ) as file:
            reasons = {row["name"]: row["reason"] for row in csv.DictReader(file)}
        assert set(reasons) == set(bad)
        assert "pixels" in reasons["0002/y.png"]
        assert "empty" in reasons["empty.gif"]
        assert "not supported" in reasons["photo.heic"]
        assert "WEBP: " in reasons["photo.webp"]
        assert all("\n" not in reason for reason in reasons.values())
        left = {path.name for path in output.parent.iterdir()}
        assert left == {"codes.npz", "codes.npz.skipped.csv"}

    def test_saved_model_gives_the_same(self, saved_model, encoder, tmp_path):
        images = write_images(tmp_path / "images", 10, size=(40, 60))
        result = embed(
            f"--saved_model={saved_model}", tmp_path / "images", tmp_path / "fc.npz",
            "--feature=fc", "--batch_size=7", "--progress=none",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr[-2000:]
        assert result.stderr == ""
        expected = encoder(resize(images, (32, 32), "stretch"))["fc"].numpy()
        embeddings = read_npz(tmp_path / "fc.npz")[1]
        np.testing.assert_allclose(embeddings, expected, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("", "--workdir or --saved_model, one of them. Received: neither"),
            ("--workdir=RUN --saved_model=x", "Received: both"),
            ("--workdir=RUN", "--images is needed"),
            ("--workdir=RUN --images=FOLDER", "--output is needed"),
            ("--workdir=RUN --images=FOLDER --output=x.txt", ".npz, .csv, .tfrecord"),
            ("--workdir=RUN --images=nowhere --output=x", "no such folder"),
            ("--workdir=RUN --images=EMPTY --output=x", "no images"),
            ("--workdir=EMPTY --images=FOLDER --output=x", "run.flags"),
            ("--workdir=UNTRAINED --images=FOLDER --output=x", "checkpoint 'last'"),
            ("--saved_model=EMPTY --images=FOLDER --output=x", "saved_model.pb"),
            ("--saved_model=x --checkpoint=best", "--checkpoint belongs"),
            ("--workdir=RUN --images=FOLDER --output=FILE", "exists already"),
            ("--workdir=RUN --images=FOLDER --output=FILE/a.npz", "is a file"),
            ("--workdir=RUN --batch_size=0", "at least 1"),
            ("--workdir=RUN --format=np", "Did you mean npz"),
        ],
    )  # fmt: skip
    def test_bad_use_gets_one_line_at_once(
        self, line, words, workdir, folder, tmp_path
    ):
        (tmp_path / "empty").mkdir()
        (tmp_path / "untrained").mkdir()
        run_flags = (workdir / "run.flags").read_text()
        (tmp_path / "untrained" / "run.flags").write_text(run_flags)
        (tmp_path / "file").write_text("in the way")
        places = {
            "RUN": workdir, "FOLDER": folder[0], "EMPTY": tmp_path / "empty",
            "UNTRAINED": tmp_path / "untrained", "FILE": tmp_path / "file",
        }  # fmt: skip
        for word, place in places.items():
            line = line.replace(f"={word}", f"={place}")
        result = run_alone("embed", *line.split())
        assert_refused(result, words)
        assert result.cpu_seconds < 1.5  # before TensorFlow is loaded

    def test_unknown_feature_names_the_known(self, workdir, folder, tmp_path):
        result = embed(
            f"--workdir={workdir}", folder[0], tmp_path / "x.npz", "--feature=codes"
        )
        assert_refused(result, "'codes'", "local, conv, fc, code")
        assert not list(tmp_path.iterdir())  # nothing half-made

    def test_killed_and_started_again_gives_the_same(self, workdir, encoder, tmp_path):
        images, number = tmp_path / "images", 480
        write_images(images, number)
        (images / "broken.jpg").write_bytes(b"nothing")
        arguments = [
            f"--workdir={workdir}", f"--images={images}", "--batch_size=8",
            "--progress=lines",
        ]  # fmt: skip
        whole, divided = tmp_path / "whole.npz", tmp_path / "divided.npz"
        journal = parts_folder(divided) / "journal.jsonl"

        def stop_after(lines, how):
            process = start("embed", *arguments, f"--output={divided}")
            deadline = time.monotonic() + 60
            while (
                not journal.exists() or len(journal.read_bytes().splitlines()) < lines
            ):
                assert process.poll() is None, process.communicate()[1][-2000:]
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(how)
            return process, process.communicate(timeout=30)[1]

        stop_after(10, signal.SIGKILL)
        assert not divided.exists()
        process, stderr = stop_after(20, signal.SIGTERM)
        assert process.returncode == 1
        assert "the same command continues" in stderr.splitlines()[-1]
        assert "Traceback" not in stderr
        kept = sum(
            len(entry["names"]) + len(entry["skipped"])
            for entry in map(json.loads, journal.read_bytes().splitlines())
        )
        assert 20 * 8 <= kept < number + 1
        result = run("embed", *arguments, f"--output={divided}")
        assert result.returncode == 0, result.stderr[-2000:]
        assert f"continues after {kept} of {number + 1} images" in result.stderr
        assert f"{number} images embedded, 1 skipped: broken.jpg" in result.stdout
        embed_folder(
            from_model(encoder),
            ImageFolder(images),
            whole,
            FORMATS["npz"],
            batch_size=8,
        )
        assert whole.read_bytes() == divided.read_bytes()
        assert not parts_folder(divided).exists()


class TestFormats:
    """Each output, read by a reader that knows nothing of this package."""

    @pytest.fixture(scope="class")
    def outputs(self, encoder, folder, tmp_path_factory):
        base = tmp_path_factory.mktemp("outputs")
        for name, write in FORMATS.items():
            images = ImageFolder(folder[0])
            embed_folder(from_model(encoder), images, base / name, write, batch_size=8)
        return base

    @pytest.fixture(scope="class")
    def expected(self, encoder, folder):
        return encoder(folder[1])["code"].numpy()

    @pytest.fixture(scope="class")
    def names(self, folder):
        root = folder[0]
        return [p.relative_to(root).as_posix() for p in sorted(root.rglob("*.png"))]

    def test_npz(self, outputs, expected, names):
        found, embeddings = read_npz(outputs / "npz")
        assert found.tolist() == names
        np.testing.assert_allclose(embeddings, expected, atol=1e-5)

    def test_csv(self, outputs, names):
        with open(outputs / "csv", newline="") as file:
            head, *rows = csv.reader(file)
        assert head == ["name", *(f"e{k}" for k in range(64))]
        assert [row[0] for row in rows] == names
        values = np.array([row[1:] for row in rows]).astype(np.float32)
        np.testing.assert_array_equal(values, read_npz(outputs / "npz")[1])

    def test_parquet(self, outputs, names):
        table = parquet.read_table(outputs / "parquet")
        assert table.column("name").to_pylist() == names
        values = np.array(table.column("embedding").to_pylist(), np.float32)
        np.testing.assert_array_equal(values, read_npz(outputs / "npz")[1])

    def test_without_its_library_parquet_is_refused_at_once(self, monkeypatch):
        options = {"workdir": "run", "images": "photos", "output": "codes.parquet"}
        assert command.EmbedOptions(**options).chosen_format == "parquet"
        monkeypatch.setattr(command, "find_spec", lambda name: None)
        with pytest.raises(ConfigError, match=r"pip install 'tf_infomax\[parquet\]'"):
            command.EmbedOptions(**options)

    def test_tfrecord(self, outputs, names):
        parse = {
            "name": tf.io.FixedLenFeature([], tf.string),
            "embedding": tf.io.FixedLenFeature([64], tf.float32),
        }
        dataset = tf.data.TFRecordDataset(str(outputs / "tfrecord"))
        rows = list(dataset.map(lambda each: tf.io.parse_single_example(each, parse)))
        assert [row["name"].numpy().decode() for row in rows] == names
        values = np.stack([row["embedding"] for row in rows])
        np.testing.assert_array_equal(values, read_npz(outputs / "npz")[1])

    def test_projector(self, outputs, folder, names):
        from google.protobuf import text_format
        from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

        path = outputs / "projector"
        text = (path / "projector_config.pbtxt").read_text()
        (embedding,) = text_format.Parse(text, ProjectorConfig()).embeddings
        assert list(embedding.tensor_shape) == [30, 64]
        values = np.loadtxt(path / embedding.tensor_path, np.float32, delimiter="\t")
        np.testing.assert_array_equal(values, read_npz(outputs / "npz")[1])
        lines = (path / embedding.metadata_path).read_text().splitlines()
        assert lines[0] == "name\tfolder"
        assert [line.split("\t")[0] for line in lines[1:]] == names
        assert {line.split("\t")[1] for line in lines[1:]} >= {".", "0002"}
        sprite = tf.io.decode_png((path / embedding.sprite.image_path).read_bytes())
        width, height = embedding.sprite.single_image_dim
        assert sprite.shape == (6 * height, 6 * width, 3)
        # Thumbnails are shrunk or enlarged; the mean of an image survives that.
        tile = sprite[height : 2 * height, 2 * width : 3 * width]  # number 8
        assert np.mean(tile) == pytest.approx(np.mean(folder[1][8]), abs=1)

    def test_tensorboard_opens_the_projector(self, outputs):
        from tensorboard.plugins.base_plugin import TBContext
        from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
        from werkzeug.test import Client

        class NoRuns:
            def list_runs(self, context, experiment_id):
                return []

        logdir = str(outputs / "projector")
        plugin = ProjectorPlugin(TBContext(logdir=logdir, data_provider=NoRuns()))
        apps = plugin.get_plugin_apps()
        assert Client(apps["/runs"]).get("/").json == ["."]
        query = "/?run=.&name=embeddings"
        values = np.frombuffer(Client(apps["/tensor"]).get(query).data, np.float32)
        expected = read_npz(outputs / "npz")[1]
        np.testing.assert_array_equal(values.reshape(30, 64), expected)
        for route in ("/metadata", "/sprite_image"):
            assert Client(apps[route]).get(query).status_code == 200

    def test_projector_of_many_shows_every_kth(
        self, encoder, folder, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(formats, "_PROJECTED", 12)
        write = FORMATS["projector"]
        embed_folder(from_model(encoder), ImageFolder(folder[0]), tmp_path / "p", write)
        assert len((tmp_path / "p" / "tensors.tsv").read_text().splitlines()) == 10
        assert len((tmp_path / "p" / "metadata.tsv").read_text().splitlines()) == 11


class TestLibrary:
    def counting(self, encoder, calls):
        """The encoder as a function that counts the batches it is run on."""
        embedder = from_model(encoder)

        def extract(images):
            tf.py_function(lambda: calls.append(1), [], [])
            return embedder.extract(images)

        return type(embedder)(**{**vars(embedder), "extract": extract})

    @contextmanager
    def interrupted(self, monkeypatch, after: int):
        """A run that is interrupted after some batches."""
        add, added = Parts.add, count(1)

        def add_some(self, *arguments):
            add(self, *arguments)
            if next(added) == after:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Parts, "add", add_some)
            with pytest.raises(KeyboardInterrupt):
                yield

    def test_resuming_does_only_what_is_left(
        self, encoder, folder, tmp_path, monkeypatch
    ):
        calls, output = [], tmp_path / "x.npz"
        embedder, images = self.counting(encoder, calls), ImageFolder(folder[0])
        with self.interrupted(monkeypatch, after=3):
            embed_folder(embedder, images, output, FORMATS["npz"], batch_size=5)
        parts = parts_folder(output)
        for name in (
            "rows.f32",
            "journal.jsonl",
        ):  # what a kill may leave: half a batch
            with open(parts / name, "ab") as file:
                file.write(b'{"names": ["cut')
        calls.clear()
        summary = embed_folder(embedder, images, output, FORMATS["npz"], batch_size=5)
        assert len(calls) == 1 + 3  # one to find the width
        assert summary.count == 30
        embed_folder(embedder, images, tmp_path / "y.npz", FORMATS["npz"], batch_size=5)
        assert output.read_bytes() == (tmp_path / "y.npz").read_bytes()

    @pytest.mark.parametrize("changed", ["encoder", "feature", "list of images"])
    def test_parts_of_something_else_are_discarded(
        self, changed, encoder, tmp_path, monkeypatch, capsys
    ):
        write_images(tmp_path / "images", 12)
        output, write = tmp_path / "x.npz", FORMATS["npz"]
        embedder, images = from_model(encoder), ImageFolder(tmp_path / "images")
        with self.interrupted(monkeypatch, after=2):
            embed_folder(embedder, images, output, write, batch_size=4)
        if changed == "encoder":
            other = keras.models.clone_model(encoder)
            embedder = from_model(other)
        elif changed == "feature":
            embedder = from_model(encoder, "fc")
        else:
            (tmp_path / "images" / "0000.png").unlink()
            images = ImageFolder(tmp_path / "images")
        summary = embed_folder(embedder, images, output, write, 4, "lines")
        assert summary.count == images.count
        stderr = capsys.readouterr().err
        assert f"is discarded: its {changed} differed" in stderr
        assert "continues" not in stderr

    def test_two_runs_do_not_write_the_same_parts(self, tmp_path):
        first = Parts(tmp_path / "parts", {"encoder": "a"}, 4)
        with pytest.raises(ConfigError, match=rf"process {os.getpid()} on host"):
            Parts(tmp_path / "parts", {"encoder": "a"}, 4)
        first.close()
        Parts(tmp_path / "parts", {"encoder": "a"}, 4).close()

    def test_folder_without_a_usable_image(self, encoder, tmp_path):
        (tmp_path / "images").mkdir()
        (tmp_path / "images" / "a.jpg").write_bytes(b"nothing")
        images = ImageFolder(tmp_path / "images")
        with pytest.raises(DataError, match=r"none of the 1 image files.*a\.jpg"):
            embed_folder(from_model(encoder), images, tmp_path / "x", FORMATS["npz"])
        assert [path.name for path in tmp_path.iterdir()] == ["images"]

    def test_feature_maps_are_flattened_and_images_resized(self, encoder, tmp_path):
        pixels = write_images(tmp_path / "images", 5, size=(50, 50))
        images = ImageFolder(tmp_path / "images")
        stale = tmp_path / "x.npz.skipped.csv"  # of an output that was removed
        stale.write_text("name,reason\n0.png,empty file\n")
        embed_folder(
            from_model(encoder, "conv"), images, tmp_path / "x.npz", FORMATS["npz"]
        )
        assert not stale.exists()
        expected = encoder(resize(pixels, (32, 32)))["conv"].numpy().reshape(5, -1)
        embeddings = read_npz(tmp_path / "x.npz")[1]
        np.testing.assert_allclose(embeddings, expected, rtol=1e-5, atol=1e-5)

    def test_names_that_are_no_utf8_and_have_commas(self, encoder, tmp_path):
        images = tmp_path / "images"
        write_images(images, 1)
        odd = os.fsdecode(b'\xff, "odd"\n.png')
        os.rename(next(images.rglob("*.png")), images / odd)
        for name, write in FORMATS.items():
            embed_folder(
                from_model(encoder), ImageFolder(images), tmp_path / name, write
            )
        assert read_npz(tmp_path / "npz")[0].tolist() == [odd]
        with open(tmp_path / "csv", newline="", errors="surrogateescape") as file:
            assert [row["name"] for row in csv.DictReader(file)] == [odd]
        assert (
            len((tmp_path / "projector" / "metadata.tsv").read_text().splitlines()) == 2
        )

    def test_saved_models(self, saved_model):
        assert find_version(saved_model).name == "12"
        assert find_version(saved_model / "9").name == "9"
        embedder = from_saved_model(saved_model / "12", "conv")
        assert embedder.image_shape == (32, 32, 3)
        with pytest.raises(ConfigError, match="cannot be loaded"):
            from_saved_model(saved_model / "9")
        with pytest.raises(ConfigError, match=r"'embedding'. It has: .*code"):
            from_saved_model(saved_model / "12", "embedding")

    def test_versions_are_what_the_model_server_takes_for_such(self, tmp_path):
        names = ("3", "20", "1-backup", "21.tmp", "\u0664\u0662", "9" * 30, "-50", "x")
        for name in names:
            (tmp_path / name).mkdir()
            (tmp_path / name / "saved_model.pb").touch()
        assert find_version(tmp_path).name == "20"
        assert choose_version(tmp_path, 0) == 22  # next to what "21.tmp" may become

    def test_at_most_two_batches_are_in_memory(self):
        started, consumed, most = count(1), 0, 0
        begun = [0]

        def work(name):
            begun[0] = next(started)
            return name

        for names, results in map_batches(work, map(str, range(1000)), 10):
            assert names == results
            time.sleep(0.001)
            most = max(most, begun[0] - consumed)
            consumed += len(names)
        assert consumed == 1000
        assert 10 <= most <= 20


MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np, keras
from tf_infomax.embedding.embedder import from_model
from tf_infomax.data.files import ImageFolder
from tf_infomax.embedding.formats import FORMATS
from tf_infomax.embedding.job import embed_folder

root = Path(sys.argv[1])
inputs = keras.Input((64, 64, 3), dtype="uint8")
flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
embedder = from_model(keras.Model(inputs, {"code": flat}))
for name in ("few", "many"):
    embed_folder(embedder, ImageFolder(root / name), root / f"{name}.npz",
                 FORMATS["npz"], batch_size=32)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_does_not_grow_with_the_number_of_files(tmp_path):
    """1,000 images are 12 MB decoded, and 49 MB of embeddings."""
    image = tf.io.encode_png(np.zeros((64, 64, 3), np.uint8)).numpy()
    for name, number in (("few", 100), ("many", 1000)):
        (tmp_path / name).mkdir()
        for k in range(number):
            (tmp_path / name / f"{k:04d}.png").write_bytes(image)
    result = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    few, many = map(int, result.stdout.split())
    assert many - few < 12  # MB
    assert (tmp_path / "many.npz").stat().st_size > 49e6


class TestNeighbors:
    @pytest.fixture(scope="class")
    def photos(self, tmp_path_factory):
        """Twelve images, one of them twice, one no image."""
        path = tmp_path_factory.mktemp("photos")
        write_images(path, 12)
        (path / "again.png").write_bytes((path / "0003.png").read_bytes())
        (path / "broken.jpg").write_bytes(b"nothing")
        odd = os.fsencode(path) + b"/caf\xe9.png"  # of a disk with other names
        Path(os.fsdecode(odd)).write_bytes((path / "0006.png").read_bytes())
        return path

    def search(self, workdir, photos, tmp_path, *more):
        """Into a folder that has to be made."""
        return run(
            "neighbors", f"--workdir={workdir}", f"--images={photos}",
            f"--output={tmp_path / 'new' / 'n.html'}", "--progress=lines",
            f"--cache_dir={tmp_path / 'cache'}", *more,
        )  # fmt: skip

    def test_copies_are_the_nearest_pair_and_codes_are_kept(
        self, workdir, photos, tmp_path
    ):
        result = self.search(workdir, photos, tmp_path, "--count=3")
        assert result.returncode == 0, result.stderr[-2000:]
        with open(
            tmp_path / "new" / "n.csv", newline="", errors="surrogateescape"
        ) as file:
            head, first, *others = csv.reader(file)
        assert head == ["query", "found", "distance", "share"]
        odd = "caf\udce9.png"
        assert {tuple(row[:2]) for row in (first, others[0])} == {
            ("0003.png", "again.png"), ("0006.png", odd)
        }  # fmt: skip
        assert float(first[3]) < 1e-3
        assert len(others) == 2
        assert "14 images" in result.stdout
        assert "1 skipped: broken.jpg (" in result.stdout
        page = (tmp_path / "new" / "n.html").read_text()
        assert page.count("data:image/jpeg") == 6
        # A second search reads the codes, and looks for one image of elsewhere too.
        elsewhere = tmp_path / "else, where.png"
        elsewhere.write_bytes((photos / "0007.png").read_bytes())
        queries = ["again.png", elsewhere, photos / "again.png"]
        queries = [f"--query={each}" for each in queries]
        result = self.search(workdir, photos, tmp_path, *queries, "--count=50")
        assert result.returncode == 0, result.stderr[-2000:]
        assert "the codes of all 15 images are kept" in result.stderr
        with open(
            tmp_path / "new" / "n.csv", newline="", errors="surrogateescape"
        ) as file:
            _, *rows = csv.reader(file)
        assert len(rows) == 13 + 14  # no image is its own neighbour
        nearest = {row[0]: (row[1], float(row[3]) < 1e-3) for row in reversed(rows)}
        assert nearest["again.png"] == ("0003.png", True)
        assert nearest[str(elsewhere)] == ("0007.png", True)

    def test_bad_use_is_refused(self, workdir, photos, tmp_path):
        for more, words in (
            (["--query=gone.png"], ["--query=gone.png", "no such file"]),
            (["--query=broken.jpg"], ["broken.jpg", "cannot be used"]),
            (["--output=n.png"], ["--output", "NAME.html"]),
        ):
            assert_refused(self.search(workdir, photos, tmp_path, *more), *words)
        assert not [*tmp_path.glob("new/*")]
