"""Readers, views and batches: real files, exact laws, bad input."""

import io
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tf_infomax.data import (
    batches,
    decoding,
    division,
    fashion,
    graph_headers,
    images,
    sources,
    views,
)
from tf_infomax.data.embedded import make_fashion, restore_fashion
from tf_infomax.data.files import ImageFolder
from tf_infomax.data.images import DataError, ImageSet, Splits
from tf_infomax.data.scale import PIXEL_RANGES, convert_to_uint8


@pytest.fixture(scope="module")
def embedded():
    return fashion.load_fashion()


@pytest.fixture(scope="module")
def fashion_m(embedded):
    return fashion.make_fashion_m(embedded)


class TestFashion:
    def test_is_the_stratified_subset(self, embedded):
        assert embedded.train.images.shape == (10000, 28, 28, 1)
        assert embedded.test.images.shape == (2000, 28, 28, 1)
        assert (np.bincount(embedded.train.labels) == 1000).all()
        assert (np.bincount(embedded.test.labels) == 200).all()

    def test_has_the_content_that_the_script_makes(self, embedded):
        import hashlib

        digest = hashlib.sha256()
        for part in (embedded.train, embedded.test):
            digest.update(part.images.tobytes())
            digest.update(part.labels.astype(np.uint8).tobytes())
        assert digest.hexdigest() == (
            "d5b91c929ef64cdf3fac6a13820932f698037ef77030a9584f3d6499a1ccee00"
        )

    def test_script_takes_the_first_of_each_class(self):
        labels = np.array([1, 0, 1, 1, 0, 0])
        assert make_fashion.select_first(labels, 2).tolist() == [0, 1, 2, 4]

    def test_script_refuses_other_files(self, tmp_path):
        import gzip

        path = tmp_path / "train-labels-idx1-ubyte.gz"
        path.write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\x01\x05"))
        with pytest.raises(ValueError, match="sha256"):
            make_fashion.read_idx(tmp_path, "train-labels-idx1-ubyte")

    def test_comes_with_its_licence(self):
        from importlib import resources

        folder = resources.files("tf_infomax.data.embedded")
        text = (folder / "LICENSE-fashion-mnist").read_text()
        assert "MIT License" in text
        assert "Zalando SE" in text


class TestFashionM:
    def test_is_colour_of_the_same_items(self, embedded, fashion_m):
        assert fashion_m.train.images.shape == (10000, 32, 32, 3)
        np.testing.assert_array_equal(fashion_m.train.labels, embedded.train.labels)

    def test_is_the_same_every_time(self, embedded, fashion_m):
        small = Splits(
            embedded.train.select(np.arange(50)), embedded.test.select(np.arange(50))
        )
        first, second = (fashion.make_fashion_m(small) for _ in range(2))
        np.testing.assert_array_equal(first.train.images, second.train.images)
        other = fashion.make_fashion_m(small, seed=1)
        assert not np.array_equal(first.train.images, other.train.images)

    def test_blends_by_absolute_difference_with_a_shift_of_0_to_4(self, embedded):
        """Where the item is black the texture stays; elsewhere it is |t - i|."""
        item = embedded.train.select(np.arange(40))
        blended = fashion._blend(item, (0, 0)).images.astype(int)
        rng = np.random.default_rng((0, 0, 0))
        texture = fashion.make_textures(40, rng).astype(int)
        shifts = set()
        for k in range(40):
            found = [
                (top, left)
                for top in range(5)
                for left in range(5)
                if np.array_equal(
                    blended[k],
                    np.abs(
                        texture[k]
                        - np.pad(
                            item.images[k].astype(int),
                            ((top, 4 - top), (left, 4 - left), (0, 0)),
                        )
                    ),
                )
            ]
            assert len(found) == 1
            shifts.add(found[0])
        assert len(shifts) > 10

    def test_train_and_test_textures_are_disjoint(self, embedded):
        blank = ImageSet(np.zeros((200, 28, 28, 1), np.uint8))
        parts = fashion.make_fashion_m(Splits(blank, blank))
        train, test = (p.images.reshape(200, -1) for p in (parts.train, parts.test))
        assert len({row.tobytes() for row in np.concatenate([train, test])}) == 400

    def test_textures_have_a_falling_spectrum(self, rng):
        textures = fashion.make_textures(300, rng).astype(float)
        power = np.abs(np.fft.fft2(textures, axes=(1, 2))[:, 1:16, 0]) ** 2
        profile = power.mean(axis=(0, 2))
        slope = np.polyfit(np.log(np.arange(1, 16)), np.log(profile), 1)[0]
        assert -3.6 < slope < -2.0  # amplitude f^-1.5, power f^-3, clipped at 0 and 255


def write_image(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    encode = {
        ".png": tf.io.encode_png,
        ".jpg": lambda a: tf.io.encode_jpeg(a, quality=100),
    }
    if path.suffix in encode:
        path.write_bytes(encode[path.suffix](array).numpy())
    else:
        from PIL import Image

        Image.fromarray(array.squeeze()).save(path)


@pytest.fixture
def folder(tmp_path, rng):
    """Two classes, four formats, several sizes, nested, and four bad files."""
    root = tmp_path / "photos"
    for k in range(12):
        suffix = (".png", ".jpg", ".bmp", ".gif")[k % 4]
        size = (20 + 3 * k, 40, 1 if k % 4 == 3 else 3)
        array = rng.integers(0, 256, size, np.uint8)
        write_image(root / ("cat", "dog/old")[k % 2] / f"{k:02d}{suffix}", array)
    whole = (root / "cat" / "00.png").read_bytes()
    (root / "cat" / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (root / "cat" / "text.jpg").write_text("no image")
    write_image(root / "dog" / "tiny.png", np.zeros((1, 1, 3), np.uint8))
    (root / "dog" / "modern.webp").write_bytes(b"RIFF")
    (root / "dog" / "notes.txt").write_text("ignored")
    return root


class TestImageSize:
    """Read off the header, before anything is decoded."""

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF"])
    @pytest.mark.parametrize("size", [(300, 9), (8, 1027)])
    def test_is_that_of_the_image(self, kind, size, rng):
        buffer = io.BytesIO()
        pixels = rng.integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(buffer, kind)
        encoded = buffer.getvalue()
        layout = graph_headers.read_layout(tf.constant(encoded))
        assert layout.size.numpy().tolist() == list(size)
        assert decoding.decode(tf.constant(encoded)).shape == (*size, 3)
        largest = size[0] * size[1] - 1
        decode = tf.function(lambda encoded: decoding.decode(encoded, largest=largest))
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            decode(tf.constant(encoded))
        reason = decoding.explain(caught.value)
        assert reason.startswith("image has more than")
        assert reason.endswith(f": {size[0]} {size[1]}")

    @pytest.mark.parametrize("encoded", [b"", b"\xff\xd8\xff", b"text", b"\x89PNG"])
    def test_of_other_bytes_is_refused(self, encoded):
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            tf.function(decoding.decode)(tf.constant(encoded))
        assert "[" not in decoding.explain(caught.value)


class TestFolder:
    def read(self, path, **options):
        return sources.read(
            f"folder:{path}", sources.ReadOptions(**{"image_size": 16, **options})
        ).train

    @pytest.mark.parametrize(("strays", "told"), [(1, True), (6, False)])
    def test_a_stray_image_that_takes_the_labels_is_named(self, strays, told, tmp_path):
        """Where most lie in subfolders; a flat folder may well have some of these."""
        image = tf.io.encode_png(np.zeros((16, 16, 3), np.uint8)).numpy()
        names = [f"{kind}/{k}.png" for kind in ("cat", "dog") for k in range(2)]
        for name in [*names, *(f"s{k}.png" for k in range(strays))]:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(image)
        data = self.read(tmp_path)
        assert data.labels is None
        note = "no labels: 1 of 5 images lie outside the 2 subfolders that would name "
        assert data.notes == ((f"{note}classes (s0.png)",) if told else ())

    def test_reads_any_mix_and_names_what_it_skips(self, folder):
        data = self.read(folder)
        assert data.images.shape == (12, 16, 16, 3)
        skipped = dict(data.skipped)
        assert set(skipped) == {
            "cat/truncated.png", "cat/text.jpg", "dog/tiny.png", "dog/modern.webp",
        }  # fmt: skip
        assert "8 x 8" in skipped["dog/tiny.png"]
        assert "not supported" in skipped["dog/modern.webp"]
        assert data.names[0] == "cat/00.png"

    def test_links_to_folders_are_followed_but_not_in_a_circle(self, folder, tmp_path):
        (tmp_path / "linked").mkdir()
        (tmp_path / "linked" / "pets").symlink_to(folder, target_is_directory=True)
        (folder / "cat" / "back").symlink_to(folder, target_is_directory=True)
        names = list(ImageFolder(tmp_path / "linked"))
        (folder / "cat" / "back").unlink()
        assert "pets/cat/00.png" in names
        assert not [name for name in names if "back" in name]

    @pytest.mark.parametrize(
        ("name", "words"),
        [("", "not named"), ("cat/00.png", "is a file"), ("bird", "no such folder")],
    )
    def test_what_is_no_folder_is_named(self, name, words, folder):
        path = folder / name if name else ""
        with pytest.raises(DataError, match=words):
            self.read(path)

    def test_first_level_folders_are_the_classes(self, folder):
        data = self.read(folder)
        assert data.class_names == ("cat", "dog")
        expected = [0 if name.startswith("cat") else 1 for name in data.names]
        assert data.labels.tolist() == expected

    def test_flat_folders_have_no_labels(self, folder):
        assert self.read(folder / "cat").labels is None
        write_image(folder / "loose.png", np.zeros((20, 20, 3), np.uint8))
        assert self.read(folder).labels is None

    def test_decodes_like_the_shared_path(self, folder):
        data = self.read(folder)
        encoded = (folder / data.names[0]).read_bytes()
        image = decoding.decode(tf.constant(encoded))
        expected = decoding.resize(image, (16, 16), "crop")
        np.testing.assert_array_equal(data.images[0], expected)

    def test_bad_folders_get_one_clear_line(self, tmp_path):
        with pytest.raises(DataError, match="no such folder"):
            self.read(tmp_path / "none")
        with pytest.raises(DataError, match=r"no images.*0 other files"):
            self.read(tmp_path)
        (tmp_path / "a.txt").write_text("text")
        with pytest.raises(DataError, match=r"no images.*1 other files.*\.png"):
            self.read(tmp_path)
        (tmp_path / "a.png").write_text("text")
        with pytest.raises(DataError, match=r"none of the 1 image files.*a\.png"):
            self.read(tmp_path)
        with pytest.raises(DataError, match="image_size"):
            self.read(tmp_path, image_size=0)


class TestArrays:
    def read(self, path, **options):
        return sources.read(f"arrays:{path}", sources.ReadOptions(**options))

    def test_npy_with_and_without_labels(self, tmp_path, rng):
        array = rng.integers(0, 256, (5, 9, 9), np.uint8)
        np.save(tmp_path / "x.npy", array)
        np.save(tmp_path / "y.npy", np.array([0, 1, 1, 0, -1], np.int32))
        data = self.read(tmp_path / "x.npy").train
        np.testing.assert_array_equal(data.images[..., 0], array)
        assert data.labels is None
        data = self.read(tmp_path / "x.npy", labels=str(tmp_path / "y.npy")).train
        assert data.labels.tolist() == [0, 1, 1, 0, -1]
        assert len(data.labelled_part()) == 4

    @pytest.mark.parametrize("scale", [1.0, 255.0])
    def test_floats_are_scaled_and_rounded(self, tmp_path, rng, scale):
        array = rng.integers(0, 256, (5, 9, 9, 3), np.uint8)
        np.save(tmp_path / "x.npy", (array / 255 * scale).astype(np.float32))
        np.testing.assert_array_equal(self.read(tmp_path / "x.npy").train.images, array)

    @pytest.mark.parametrize(
        ("low", "high", "dtype", "pixel_range"),
        [
            (0.0, 1.0000002, np.float32, "0_1"),
            (-1e-5, 1.0, np.float64, "0_1"),
            (-1.0, 1.0, np.float32, "-1_1"),
            (0.0, 255.00002, np.float32, "0_255"),
            (0, 1, np.uint8, "0_1"),
            (0, 1, bool, "0_1"),
            (0, 255, np.int64, "0_255"),
            (0, 65535, np.uint16, "0_65535"),
        ],
    )
    def test_the_range_is_that_which_the_values_fill(
        self, tmp_path, rng, low, high, dtype, pixel_range
    ):
        values = rng.uniform(low, high, (4, 9, 9, 1))
        values = (values if np.dtype(dtype).kind == "f" else values.round()).astype(
            dtype
        )
        values[0, 0, 0], values[0, 0, 1] = low, high
        np.save(tmp_path / "x.npy", values)
        data = self.read(tmp_path / "x.npy").train
        black, white = PIXEL_RANGES[pixel_range]
        expected = 255 * (values.astype(np.float64) - black) / (white - black)
        assert np.abs(data.images - expected).max() <= 0.5 + 1e-3
        assert f"--pixel_range={pixel_range}" in data.notes[0]

    @pytest.mark.parametrize(
        "values",
        [
            np.linspace(0, 16, 81),  # digits of scikit-learn
            np.append(np.linspace(0, 1, 80), 200.0),  # one hot pixel
            np.linspace(0, 4095, 81),  # 12 bits
            np.linspace(-2.1, 2.6, 81),  # standardized
            np.linspace(-0.2, 0.4, 81),
        ],
    )
    def test_a_doubtful_range_is_refused_until_it_is_said(self, tmp_path, values):
        np.save(tmp_path / "x.npy", values.reshape(1, 9, 9, 1))
        with pytest.raises(DataError, match=r"x\.npy.*not clear.*--pixel_range"):
            self.read(tmp_path / "x.npy")

    def test_the_range_may_be_said(self, tmp_path):
        values = np.append(np.linspace(0, 1, 809), 1.3).reshape(10, 9, 9, 1)
        np.save(tmp_path / "x.npy", values)
        data = self.read(tmp_path / "x.npy", pixel_range="0_1").train
        assert data.images.max() == 255
        assert data.images[5, 0, 0, 0] == round(255 * 405 / 808)
        assert "1 of 810 clipped" in data.notes[0]
        np.save(tmp_path / "x.npy", values * 100)
        with pytest.raises(DataError, match="do not lie in --pixel_range=-1_1"):
            self.read(tmp_path / "x.npy", pixel_range="-1_1")

    def test_one_range_for_training_and_test_images(self, tmp_path, rng):
        train = rng.uniform(0, 255, (4, 9, 9)).astype(np.float32)
        dark = np.full((2, 9, 9), 0.75, np.float32)
        np.savez(tmp_path / "x.npz", train_images=train, test_images=dark)
        assert self.read(tmp_path / "x.npz").test.images.max() == 1

    def test_of_pixels_no_more_is_read_than_says_that_they_are_such(self, rng):
        class Mapped:
            dtype, shape = np.dtype(np.uint8), (10**6, 64, 64, 3)
            read = 0

            def __len__(self):
                return self.shape[0]

            def __getitem__(self, rows):
                Mapped.read += rows.stop - rows.start
                return np.full((rows.stop - rows.start, 64, 64, 3), 32, np.uint8)

        images = Mapped()
        assert convert_to_uint8([images]) == ([images], "")
        assert convert_to_uint8([images], "0_255") == ([images], "")
        assert Mapped.read < 1000

    def test_npz_by_either_convention(self, tmp_path, rng):
        x, y = rng.integers(0, 256, (6, 9, 9, 1), np.uint8), np.arange(6) % 2
        np.savez(tmp_path / "a.npz", x_train=x, y_train=y[:, None], x_test=x[:2])
        data = self.read(tmp_path / "a.npz")
        assert data.train.labels.tolist() == y.tolist()
        assert len(data.test) == 2
        np.savez(tmp_path / "b.npz", images=x, labels=y)
        assert self.read(tmp_path / "b.npz").train.labelled

    def test_resized_on_request(self, tmp_path, rng):
        np.save(tmp_path / "x.npy", rng.integers(0, 256, (3, 20, 30, 3), np.uint8))
        data = self.read(tmp_path / "x.npy", image_size=16)
        assert data.train.images.shape == (3, 16, 16, 3)

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (np.full((3, 9, 9, 1), np.nan), "3 values|243 values that are NaN"),
            (np.full((3, 9, 9, 1), 300.0), "from 300 to 300"),
            (np.full((3, 9, 9, 1), -1.0), "from -1 to -1"),
            (np.zeros((3, 9, 9, 1), np.complex64), "complex64"),
            (np.zeros((3, 9), np.uint8), r"uint8 \[3, 9\]"),
            (np.zeros((3, 1, 1, 3), np.uint8), "1 x 1"),
            (np.zeros((0, 9, 9, 3), np.uint8), "no images"),
            (np.zeros((3, 9, 9, 4), np.uint8), "C = 1 or 3"),
        ],
    )
    def test_bad_arrays_are_named(self, tmp_path, array, message):
        np.save(tmp_path / "x.npy", array)
        with pytest.raises(DataError, match=message) as error:
            self.read(tmp_path / "x.npy")
        assert "x.npy" in str(error.value)

    def test_pickles_are_never_loaded(self, tmp_path):
        objects = np.array([{"a": 1}, None], dtype=object)
        np.save(tmp_path / "x.npy", objects, allow_pickle=True)
        np.savez(tmp_path / "x.npz", images=objects)
        for name in ("x.npy", "x.npz"):
            with pytest.raises(DataError, match="never loaded"):
                self.read(tmp_path / name)

    def test_other_complaints(self, tmp_path, rng):
        x = rng.integers(0, 256, (4, 9, 9, 1), np.uint8)
        np.save(tmp_path / "x.npy", x)
        np.save(tmp_path / "y.npy", np.arange(3))
        np.save(tmp_path / "z.npy", np.arange(4.0))
        with pytest.raises(DataError, match="4 images but 3 labels"):
            self.read(tmp_path / "x.npy", labels=str(tmp_path / "y.npy"))
        with pytest.raises(DataError, match="one integer for each image"):
            self.read(tmp_path / "x.npy", labels=str(tmp_path / "z.npy"))
        with pytest.raises(DataError, match="no such file"):
            self.read(tmp_path / "none.npy")
        np.savez(tmp_path / "w.npz", pictures=x)
        with pytest.raises(DataError, match="pictures"):
            self.read(tmp_path / "w.npz")
        (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 damaged")
        with pytest.raises(DataError, match=r"bad\.npz"):
            self.read(tmp_path / "bad.npz")


class TestTfds:
    def test_official_files_are_prepared_and_read_offline(self, tmp_path, monkeypatch):
        """The real builder on files of the official layout, checksums included."""
        tfds = pytest.importorskip("tensorflow_datasets")
        import gzip
        import hashlib
        import struct

        files, manual = {}, tmp_path / "official"
        manual.mkdir()
        rng = np.random.default_rng(0)
        for split, count in (("train", 60), ("t10k", 20)):
            pixels = rng.integers(0, 256, (count, 28, 28), np.uint8)
            header = struct.pack(">4I", 2051, count, 28, 28)
            files[f"{split}-images-idx3-ubyte.gz"] = header + pixels.tobytes()
            labels = bytes(k % 10 for k in range(count))
            files[f"{split}-labels-idx1-ubyte.gz"] = (
                struct.pack(">2I", 2049, count) + labels
            )
        builder = tfds.builder("fashion_mnist", data_dir=tmp_path / "prepared")
        infos = {}
        for url, info in builder.url_infos.items():
            content = gzip.compress(files[info.filename], mtime=0)
            (manual / info.filename).write_bytes(content)
            checksum = hashlib.sha256(content).hexdigest()
            infos[url] = type(info)(
                size=len(content), checksum=checksum, filename=info.filename
            )
        options = dict(data_dir=str(tmp_path / "prepared"), local_files=str(manual))
        with pytest.raises(DataError, match=r"(?i)checksum"):
            sources.read("tfds:fashion_mnist", sources.ReadOptions(**options))
        monkeypatch.setattr(type(builder), "url_infos", infos, raising=False)
        mnist = "tensorflow_datasets.image_classification.mnist."
        monkeypatch.setattr(f"{mnist}_TRAIN_EXAMPLES", 60)
        monkeypatch.setattr(f"{mnist}_TEST_EXAMPLES", 20)
        data = sources.read("tfds:fashion_mnist", sources.ReadOptions(**options))
        assert len(data.train) == 60
        assert len(data.test) == 20
        assert data.train.class_names[0] == "T-shirt/top"
        again = sources.read(
            "tfds:fashion_mnist", sources.ReadOptions(data_dir=options["data_dir"])
        )
        np.testing.assert_array_equal(again.train.images, data.train.images)

    @pytest.mark.skipif(
        not Path(restore_fashion.SOURCE).is_dir(),
        reason="needs the Debian package dataset-fashion-mnist",
    )
    def test_the_full_fashion_mnist(self, tmp_path, embedded):
        """60,000 and 10,000 real images, official checksums, no network."""
        restore_fashion.main(str(tmp_path / "official"))
        options = sources.ReadOptions(
            data_dir=str(tmp_path / "prepared"), local_files=str(tmp_path / "official")
        )
        data = sources.read("tfds:fashion_mnist", options)
        assert data.train.images.shape == (60000, 28, 28, 1)
        assert (np.bincount(data.train.labels) == 6000).all()
        assert (np.bincount(data.test.labels) == 1000).all()
        whole = {image.tobytes() for image in data.train.images}
        assert all(image.tobytes() in whole for image in embedded.train.images)

    def test_nothing_prepared_is_said_at_once(self, tmp_path):
        import time

        pytest.importorskip("tensorflow_datasets")
        options = sources.ReadOptions(data_dir=str(tmp_path))
        started = time.monotonic()
        with pytest.raises(DataError, match=r"--local_files.*--download"):
            sources.read("tfds:cifar10", options)
        missing = sources.ReadOptions(data_dir=str(tmp_path), local_files=str(tmp_path))
        with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz"):
            sources.read("tfds:cifar10", missing)
        assert time.monotonic() - started < 20

    def test_unknown_names_get_a_suggestion(self, tmp_path):
        with pytest.raises(DataError, match="cifar10"):
            sources.read("tfds:cifar01", sources.ReadOptions(data_dir=str(tmp_path)))
        with pytest.raises(DataError, match="needs a name"):
            sources.read("tfds:", sources.ReadOptions())


def test_unknown_kinds_and_arguments_are_refused():
    with pytest.raises(DataError, match=r"unknown dataset.*fashion_m"):
        sources.read("imagenet")
    with pytest.raises(DataError, match="takes no argument"):
        sources.read("fashion:x")
    with pytest.raises(DataError, match="cannot be made"):
        sources.read("fashion_m:fashion_m")


class TestResize:
    def test_crop_keeps_the_centre_and_the_aspect_ratio(self):
        image = np.zeros((8, 16, 1), np.uint8)
        image[:, 4:12] = 200
        assert (decoding.resize(image, (8, 8), "crop").numpy() == 200).all()
        stretched = decoding.resize(image, (8, 8), "stretch").numpy()
        assert stretched.min() == 0

    def test_same_size_is_the_identity(self, images):
        for rule in decoding.RESIZE_RULES:
            np.testing.assert_array_equal(
                decoding.resize(images, (32, 32), rule), images
            )


class TestSplit:
    def test_is_stratified_disjoint_and_complete(self):
        labels = np.repeat([0, 1, 2], [40, 20, 10])
        pixels = np.arange(70, dtype=np.uint8)[:, None, None, None] * np.ones(
            (1, 8, 8, 1), np.uint8
        )
        parts = images.split_randomly(ImageSet(pixels, labels), 0.2, seed=0)
        assert np.bincount(parts.test.labels).tolist() == [8, 4, 2]
        both = np.concatenate([parts.train.images, parts.test.images])[:, 0, 0, 0]
        assert sorted(both.tolist()) == list(range(70))

    def test_nothing_held_out_is_none(self):
        data = ImageSet(np.zeros((4, 8, 8, 1), np.uint8))
        assert images.split_randomly(data, 0.0, seed=0).test is None


class TestViews:
    @pytest.mark.parametrize("name", views.AUGMENTATIONS)
    def test_a_function_of_images_and_seed(self, name, images):
        seeds = [tf.constant([3, k], tf.int64) for k in (0, 0, 1)]
        first, same, other = (views.augment(images, (name,), s).numpy() for s in seeds)
        assert first.shape == images.shape
        assert first.dtype == np.uint8
        np.testing.assert_array_equal(first, same)
        assert not np.array_equal(first, other)
        graph = tf.function(lambda x: views.augment(x, (name,), seeds[0]))(images)
        np.testing.assert_allclose(graph, first.astype(float), atol=1)

    @pytest.mark.parametrize("name", ["flip", "shift"])
    def test_moves_are_exact_per_image(self, name, rng):
        pixels = rng.integers(0, 256, (64, 16, 16, 3), np.uint8)
        moved = views.augment(pixels, (name,), tf.constant([0, 5], tf.int64)).numpy()
        found = set()
        for before, after in zip(pixels, moved, strict=True):
            if name == "flip":
                ways = {0: before, 1: before[:, ::-1]}
            else:
                padded = np.pad(before, ((2, 2), (2, 2), (0, 0)), mode="reflect")
                ways = {
                    (t, l): padded[t : t + 16, l : l + 16]
                    for t in range(5)
                    for l in range(5)  # noqa: E741
                }
            matching = [w for w, image in ways.items() if np.array_equal(image, after)]
            assert len(matching) == 1
            found.update(matching)
        assert len(found) > (1 if name == "flip" else 15)

    def test_color_jitter_leaves_grey_images_grey(self, rng):
        grey = np.repeat(rng.integers(0, 256, (16, 8, 8, 1), np.uint8), 3, axis=-1)
        jittered = views.augment(
            grey, ("color",), tf.constant([0, 0], tf.int64)
        ).numpy()
        assert not np.array_equal(grey, jittered)
        spread = jittered.max(axis=-1).astype(int) - jittered.min(axis=-1)
        assert spread.max() <= 1

    def test_hue_rotation_keeps_brightness_and_comes_round(self, rng):
        chroma = rng.normal(size=(4, 2, 2, 3)).astype(np.float32)
        luma = np.array(views._LUMA)
        chroma -= (chroma @ luma)[..., None]  # brightness 0

        def turn(values, angle):
            return values @ views._rotation_of_hue(tf.fill([1, 1, 1], angle)).numpy()[0]

        turned = turn(chroma, 1.0)
        assert np.abs(turned - chroma).max() > 0.5
        np.testing.assert_allclose(turned @ luma, 0, atol=1e-4)
        np.testing.assert_allclose(turn(turned, -1.0), chroma, atol=1e-4)

    def test_color_jitter_is_its_four_steps(self, rng):
        images = rng.uniform(60, 120, (32, 6, 6, 3)).astype(np.float32)
        seed, luma = tf.constant([3, 4], tf.int64), np.array(views._LUMA)
        draws = [
            views._uniform(32, seed, key, low, high).numpy()
            for key, (low, high) in enumerate(
                [(0.6, 1.4), (0.6, 1.4), (0.6, 1.4), (-0.628, 0.628), (0.0, 1.0)]
            )
        ]
        brightness, contrast, saturation, angle, chance = draws
        expected = images * brightness
        mean = (expected @ luma).mean(axis=(1, 2))[:, None, None, None]
        expected = mean + contrast * (expected - mean)
        grey = (expected @ luma)[..., None]
        red, _, blue = np.moveaxis(saturation * (expected - grey), -1, 0)
        u, v, angle = 0.492 * blue, 0.877 * red, angle[..., 0]
        red = (np.sin(angle) * u + np.cos(angle) * v) / 0.877
        blue = (np.cos(angle) * u - np.sin(angle) * v) / 0.492
        green = -(luma[0] * red + luma[2] * blue) / luma[1]
        expected = grey + np.stack([red, green, blue], axis=-1)
        expected = np.where(chance < 0.8, np.clip(expected, 0, 255), images)
        assert 0 < np.count_nonzero(chance >= 0.8) < 32
        np.testing.assert_allclose(
            views.color(tf.constant(images), seed), expected, atol=1e-2
        )

    def test_grey_removes_the_colour_of_about_a_quarter(self, rng):
        pixels = rng.integers(0, 256, (400, 8, 8, 3), np.uint8)
        out = views.augment(pixels, ("grey",), tf.constant([0, 1], tf.int64)).numpy()
        grey = (out.max(axis=-1) == out.min(axis=-1)).all(axis=(1, 2))
        assert 0.17 < grey.mean() < 0.33
        np.testing.assert_array_equal(out[~grey], pixels[~grey])

    def test_cutout_blanks_at_most_a_quarter(self, rng):
        pixels = rng.integers(0, 100, (64, 16, 16, 1), np.uint8)
        out = views.augment(pixels, ("cutout",), tf.constant([0, 1], tf.int64)).numpy()
        blank = out == 128
        np.testing.assert_array_equal(out[~blank], pixels[~blank])
        share = blank.mean(axis=(1, 2, 3))
        assert share.max() == pytest.approx(0.25)
        assert share.min() > 0

    def test_crop_of_a_constant_image_is_constant(self):
        pixels = np.full((8, 16, 16, 3), 77, np.uint8)
        out = views.augment(pixels, ("crop",), tf.constant([0, 1], tf.int64))
        np.testing.assert_array_equal(out, pixels)

    def test_halves_are_the_upper_and_the_lower_half(self, images):
        halves = views.VIEWS["halves"](
            tf.constant(images), (), tf.constant([0, 0], tf.int64)
        )
        both = np.concatenate([halves["x"], halves["y"]], axis=1)
        np.testing.assert_array_equal(both, images)

    def test_two_views_are_independent(self, images):
        seed = tf.constant([0, 0], tf.int64)
        pair = views.make_augmented(tf.constant(images), ("shift", "cutout"), seed)
        assert not np.array_equal(pair["x"], pair["y"])


class TestBatches:
    def take(self, first, last, n=50, size=8, seed=3, **options):
        pixels = np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones(
            (1, 8, 8, 1), np.uint8
        )
        dataset = batches.make_batches(pixels, size, first, last, seed, **options)
        return np.array([batch["x"].numpy()[:, 0, 0, 0] for batch in dataset])

    def test_an_epoch_has_no_image_twice_and_epochs_differ(self):
        drawn = self.take(0, 12)
        epochs = drawn.reshape(2, 48)
        assert all(len(set(epoch)) == 48 for epoch in epochs)
        assert not np.array_equal(*epochs)

    def test_every_image_is_seen(self):
        assert len(np.unique(self.take(0, 60))) == 50

    def test_batch_k_is_the_same_wherever_one_starts(self):
        whole = self.take(0, 15)
        np.testing.assert_array_equal(whole[7:15], self.take(7, 15))

    def test_augmentation_is_a_function_of_the_step(self, images):
        def draw(first):
            names = tuple(views.AUGMENTATIONS)
            dataset = batches.make_batches(images, 4, first, 6, 1, "augment", names)
            return [batch["y"].numpy() for batch in dataset]

        for whole, part in zip(draw(0)[3:], draw(3), strict=True):
            np.testing.assert_array_equal(whole, part)

    def test_orders_look_like_random_permutations(self):
        """Position and value are uncorrelated, and the first image is uniform."""
        drawn = self.take(0, 6 * 300).reshape(300, 48)
        correlations = [np.corrcoef(np.arange(48), row)[0, 1] for row in drawn]
        assert abs(np.mean(correlations)) < 4 / np.sqrt(48 * 300)
        counts = np.bincount(drawn[:, 0], minlength=50)
        assert counts.max() < 25  # 6 expected

    @pytest.mark.parametrize(
        ("n", "size"), [(100, 10), (1000, 50), (9000, 128), (54000, 256), (60000, 256)]
    )
    @pytest.mark.parametrize("seed", range(5))
    def test_companions_are_those_of_random_permutations(self, n, size, seed):
        """How often two images meet again in 20 passes, and how often those of a class.

        Pairs are all but uncorrelated: the one is about Poisson, the other binomial.
        """
        batch_of, order = self.companions(n, size, seed)
        places = n // size * size
        met = places * (size - 1) / 2  # pairs in a pass
        expected = 190 * met**2 / (n * (n - 1) / 2)
        again = 0
        for p, q in itertools.combinations(batch_of, 2):
            both = (p >= 0) & (q >= 0)
            together = np.bincount(p[both] * (n // size) + q[both])
            again += np.sum(together * (together - 1) // 2)
        assert abs(again - expected) < 4 * np.sqrt(expected)

        classes = order * 10 // n
        counts = np.stack([np.sum(classes == c, axis=-1) for c in range(10)])
        share = np.sum(counts * (counts - 1) // 2) / (20 * met)
        right = (n / 10 - 1) / (n - 1)
        assert abs(share - right) < 4 * np.sqrt(right * (1 - right) / (20 * met))

    def companions(self, n, size, seed):
        """The batch of each image in 20 passes (-1: none), and what batches hold."""
        images = np.zeros((n, 1, 1, 1), np.uint8)
        per_pass = n // size
        drawn = batches.make_batches(
            images, size, 0, 20 * per_pass, seed, with_index=True
        )
        order = np.stack([batch["index"] for batch in drawn])
        batch_of = np.full((20, n), -1)
        for k, rows in enumerate(order):
            batch_of[k // per_pass, rows] = k % per_pass
        return batch_of, order

    def test_orders_do_not_repeat_and_every_one_of_them_comes(self):
        """All 24 orders of four images, alike often; no order of 40 comes twice."""
        drawn = self.take(0, 4800, n=4, size=2, seed=0).reshape(2400, 4)
        counts = np.unique(drawn, axis=0, return_counts=True)[1]
        assert len(counts) == 24
        assert np.sum((counts - 100) ** 2 / 100) < 60  # chi2(23): p = 4e-5
        drawn = self.take(0, 600, n=40, size=40)
        assert len(np.unique(drawn, axis=0)) == 600

    @pytest.mark.parametrize("consecutive", [False, True])
    def test_seeds_and_steps_of_any_size(self, consecutive):
        first, step = 10**12 - 10**12 % 6, 10**12 + 3
        draw = lambda seed, a, b: self.take(a, b, seed=seed, consecutive=consecutive)
        orders = [
            draw(seed, first, first + 6)
            for seed in (0, 1, 256, 2**31, 2**32, 2**62, -1, -(2**32))
        ]
        assert all(len(np.unique(order)) == 48 for order in orders)
        assert len({order.tobytes() for order in orders}) == len(orders)
        later = draw(2**62, step, step + 5)
        whole = draw(2**62, first, step + 5)
        np.testing.assert_array_equal(whole[step - first :], later)

    def test_number_of_batches_is_known(self):
        images = np.zeros((50, 1, 1, 1), np.uint8)
        for first, last in ((0, 0), (0, 15), (4, 6), (7, 7), (11, 40)):
            dataset = batches.make_batches(images, 8, first, last)
            assert dataset.cardinality() == last - first == len(list(dataset))

    @pytest.mark.parametrize("size", [1, 51])
    def test_batches_larger_than_the_data_are_refused(self, size):
        with pytest.raises(DataError, match=rf"batch_size.*50.*Received: {size}"):
            self.take(0, 1, size=size)

    def test_fixed_batches_hold_every_image_once(self, images):
        def read(**options):
            parts = list(batches.make_fixed_batches(images, 4, **options))
            return np.concatenate([part["x"] for part in parts])

        in_order, mixed = read(consecutive=True), read()
        np.testing.assert_array_equal(in_order, images)
        np.testing.assert_array_equal(mixed, read())
        keys = [sorted(image.tobytes() for image in part) for part in (mixed, images)]
        assert keys[0] == keys[1]

    def test_fixed_batches_of_augmented_views_differ(self, images):
        """An image against itself would be reported as two views of it."""
        for name in ("augment", "crops"):
            draw = lambda name=name: next(
                iter(batches.make_fixed_batches(images, 4, name, ("shift", "cutout")))
            )
            batch = draw()
            assert not np.array_equal(batch["x"], batch["y"])
            np.testing.assert_array_equal(batch["y"], draw()["y"])
        plain = batches.make_fixed_batches(images, 4, "one", ("cutout",), True)
        np.testing.assert_array_equal(next(iter(plain))["x"], images[:4])

    def test_fixed_batches_of_sorted_classes_are_mixed(self):
        """Negatives of one's own class alone are no draws from the marginals."""
        classes = np.repeat(np.arange(10, dtype=np.uint8), 40)
        images = classes[:, None, None, None] * np.ones((1, 8, 8, 1), np.uint8)
        for batch in batches.make_fixed_batches(images, 40):
            assert len(np.unique(batch["x"])) > 5

    def test_consecutive_batches_are_runs_of_neighbours(self):
        drawn = self.take(0, 60, consecutive=True)
        np.testing.assert_array_equal(np.diff(drawn, axis=1), 1)
        epochs = drawn.reshape(10, 48)
        assert all(len(set(epoch)) == 48 for epoch in epochs)
        assert len({tuple(epoch[::8]) for epoch in epochs}) > 5
        assert len(np.unique(drawn)) == 50
        np.testing.assert_array_equal(drawn[7:], self.take(7, 60, consecutive=True))


def test_unlabelled_examples_are_left_out_of_probes():
    """STL-10 marks them with -1, which has poisoned others' probes."""
    data = ImageSet(np.zeros((5, 8, 8, 1), np.uint8), np.array([-1, 0, 1, -1, 1]))
    assert data.labelled
    assert data.labelled_part().labels.tolist() == [0, 1, 1]
    assert len(data.labelled_part(2)) == 2
    alone = ImageSet(np.zeros((2, 8, 8, 1), np.uint8), np.array([-1, 1]))
    assert not alone.labelled


def test_fingerprint_tells_one_changed_bit_in_any_image(rng):
    pixels = rng.integers(0, 256, (1500, 8, 8, 1), np.uint8)
    one = ImageSet(pixels).fingerprint()
    assert one == ImageSet(pixels.copy()).fingerprint()
    for place in (0, 1, 1023, 1024, 1499):
        changed = pixels.copy()
        changed[place, 3, 3, 0] ^= 1
        assert ImageSet(changed).fingerprint() != one
    assert ImageSet(pixels[::-1]).fingerprint() != one
    tall, wide = (ImageSet(pixels.reshape(375, *s, 1)) for s in ((32, 8), (8, 32)))
    assert tall.fingerprint() != wide.fingerprint()


class TestCopies:
    """Thirty pictures, five exact copies of each."""

    @pytest.fixture
    def splits(self, rng):
        pictures = rng.integers(0, 256, (30, 8, 8, 3), np.uint8)
        return images.Splits(
            ImageSet(np.repeat(pictures, 5, axis=0), np.repeat(np.arange(30), 5) % 3)
        )

    def test_they_are_counted_and_said(self, splits):
        whole = division.require_test(splits, 0.2, "--dataset=x")
        notes = division.divide(whole, whole, 0.1).notes
        assert "30 of 30 test images are exact copies" in notes[0]
        assert re.match(r"\d+ of 108 training images repeat", notes[1])

    def test_one_of_each_is_kept(self, splits):
        alone = splits.deduplicate()
        np.testing.assert_array_equal(alone.train.images, splits.train.images[::5])
        assert alone.train.labels.tolist() == splits.train.labels[::5].tolist()
        whole = division.require_test(alone, 0.2, "--dataset=x")
        (note,) = division.divide(whole, whole, 0.1).notes  # and none of copies
        assert note.startswith("6 labelled test images: each counts 16.7 %")

    def test_a_test_image_is_kept_rather_than_a_training_image(self, splits):
        tested = splits.train.select(np.arange(10))
        alone = images.Splits(splits.train, tested).deduplicate()
        np.testing.assert_array_equal(alone.test.images, splits.train.images[:10:5])
        np.testing.assert_array_equal(alone.train.images, splits.train.images[10::5])
        with pytest.raises(DataError, match="every training image"):
            images.Splits(tested, tested).deduplicate()

    def test_labelled_images_of_another_set_are_compared_too(self, splits):
        tested = splits.train.select(np.arange(0, 30))
        labelled = images.Splits(splits.train.select(np.arange(75, 150, 5)), tested)
        whole = division.require_test(splits.deduplicate(), 0.2, "--dataset=x")
        notes = division.divide(whole, labelled, 0.1).notes
        assert any("30 of 30 labelled test images" in note for note in notes)

    def test_images_that_are_mapped_or_paired(self, splits, tmp_path):
        np.save(tmp_path / "x.npy", splits.train.images)
        mapped = images.MappedImages(
            np.load(tmp_path / "x.npy", mmap_mode="r"), np.arange(150)
        )
        assert ImageSet(mapped).fingerprint() == splits.train.fingerprint()
        pairs = images.pair(splits.train, splits.train.select(np.arange(149, -1, -1)))
        assert len(images.Splits(pairs).deduplicate().train) == 30


def test_digests_are_made_once():
    data = ImageSet(np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1), np.uint8))
    digests = data.digests
    part = data.select(np.arange(10, 20))
    assert "digests" in vars(part)
    np.testing.assert_array_equal(part.digests, digests[10:20])
    np.testing.assert_array_equal(ImageSet(data.images[10:20]).digests, digests[10:20])
