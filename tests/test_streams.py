"""Pictures decoded on demand: the pixels of those decoded at once, kept or not."""

import errno
import os

import numpy as np
import pytest
import tensorflow as tf
from commands import TINY, assert_refused, run
from PIL import Image

from tf_infomax.data import batches, cache, encoded, examples, images, records, sources
from tf_infomax.data.headers import PictureError
from tf_infomax.data.images import DataError, Splits
from tf_infomax.data.sources import ReadOptions

SIDE = 12
BAD = "ant/04.png"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """30 pictures of two classes in turns, one of them unusable."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for k in range(30):
        path = folder / ("ant", "bee")[k % 2] / f"{k:02}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (15 + k, 24, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    (folder / BAD).write_bytes(b"nothing to be seen")
    return folder


@pytest.fixture(scope="module")
def at_once(photos):
    return read(f"folder:{photos}")


@pytest.fixture
def streaming(monkeypatch):
    monkeypatch.setattr(encoded, "_FEW", 0)


@pytest.fixture
def decoded(monkeypatch):
    """Numbers of the pictures in the order in which they were decoded."""
    numbers, decode_by = [], encoded.decode_by

    def noting(*arguments):
        decode = decode_by(*arguments)
        return lambda number: (numbers.append(number), decode(number))[1]

    monkeypatch.setattr(encoded, "decode_by", noting)
    return numbers


def read(name, **options):
    options = {"image_size": SIDE, "cache": "none"} | options
    return sources.read(name, ReadOptions(**options)).train


def assert_same(data, expected):
    """The same pictures, but for the one that cannot be used."""
    usable = [k for k, name in enumerate(data.names) if name != BAD]
    np.testing.assert_array_equal(data.images[:][usable], expected.images)
    np.testing.assert_array_equal(data.labels[usable], expected.labels)
    assert data.class_names == expected.class_names


def path_of(store, number):
    return store._folder / f"{number // store._rows:03d}"


class TestStream:
    @pytest.mark.parametrize("kept", ["memory", "disk", "none"])
    def test_has_the_pixels_of_what_is_decoded_at_once(
        self, kept, photos, at_once, streaming, decoded, tmp_path, capsys
    ):
        data = read(f"folder:{photos}", cache=kept, cache_dir=str(tmp_path))
        data.fingerprint()
        split = images.split_randomly(data, 0.5, 0)
        assert not decoded
        assert "decoded" in capsys.readouterr().err
        for _ in range(2):
            assert_same(data, at_once)
        rows = np.sort(split.train.images.rows)
        np.testing.assert_array_equal(split.train.images[:], data.images[rows])
        assert len(decoded) == 30 if kept != "none" else len(decoded) > 58
        assert data.list_unusable() == list(at_once.skipped)

    def test_what_cannot_be_used_gives_way_to_the_next_of_its_class(
        self, photos, streaming, capsys
    ):
        data = read(f"folder:{photos}")
        place, after = data.names.index(BAD), data.names.index("ant/06.png")
        np.testing.assert_array_equal(data.images[place], data.images[after])
        np.testing.assert_array_equal(data.images[[1, place]], data.images[[1, after]])
        assert capsys.readouterr().err.count(BAD) == 1
        # Of its own part alone: what is held out is not trained on.
        part = data.select(np.array([0, 1, place, 20, 5]))
        assert part.labels.tolist() == [0, 0, 0, 1, 0]
        np.testing.assert_array_equal(part.images[2], part.images[4])
        last = data.select(np.array([0, 20, place]))
        np.testing.assert_array_equal(last.images[2], last.images[0])
        other = data.select(np.array([20, place]))  # no other of its class
        np.testing.assert_array_equal(other.images[1], other.images[0])

    def test_without_a_usable_picture_it_ends(self, photos, streaming):
        data = read(f"folder:{photos}")
        alone = data.select(np.array([data.names.index(BAD)]))
        with pytest.raises(DataError, match=f"none of 1 images.*{BAD}"):
            alone.images[:]

    def test_batches_are_those_of_arrays(self, photos, streaming):
        data = read(f"folder:{photos}")
        held = data.images[:]
        for streamed, array in zip(
            batches.make_batches(data.images, 8, 3, 7, seed=1),
            batches.make_batches(held, 8, 3, 7, seed=1),
            strict=True,
        ):
            np.testing.assert_array_equal(streamed["x"], array["x"])

    def test_fingerprints_are_of_the_files(self, photos, streaming, decoded, tmp_path):
        copy = tmp_path / "copy"
        for path in photos.rglob("*.png"):
            target = copy / path.relative_to(photos)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
        first = read(f"folder:{copy}")
        again = read(f"folder:{copy}", cache="memory")
        assert first.fingerprint() == again.fingerprint()
        assert first.select(np.arange(5)).fingerprint() != first.fingerprint()
        os.utime(copy / "bee" / "01.png", (1, 1))
        assert read(f"folder:{copy}").fingerprint() != first.fingerprint()
        assert not decoded

    def test_copies_are_looked_for_on_request(self, photos, streaming, tmp_path):
        for name in ("a.png", "b.png", "c.png"):
            source = "ant/00.png" if name < "c" else "bee/01.png"
            (tmp_path / name).write_bytes((photos / source).read_bytes())
        data = read(f"folder:{tmp_path}")
        assert not data.digested
        alone = Splits(data).deduplicate().train
        assert alone.names == ("a.png", "c.png")
        assert alone.digested

    def test_pairs_of_streams(self, photos, at_once, streaming):
        data = images.pair(read(f"folder:{photos}"), read(f"folder:{photos}"))
        assert not data.digested
        pair = data.images[2:4]
        np.testing.assert_array_equal(pair[..., :3], pair[..., 3:])
        part = data.select(np.arange(4))
        assert part.fingerprint() != data.fingerprint()
        assert len({*data.list_unusable()}) == 1


class TestDisk:
    SHAPE = (16, 16, 3)

    def fill(self, folder, rng, count=40):
        store = cache.Disk(folder, count, self.SHAPE)
        rows = rng.integers(0, 256, (count, *self.SHAPE), np.uint8)
        for number, row in enumerate(rows):
            store.write(number, row)
        return store, rows

    def read(self, store, count=40):
        found = np.zeros((count, *self.SHAPE), np.uint8)
        return store.read(np.arange(count), found), found

    def test_is_read_by_the_next_process(self, tmp_path, rng, monkeypatch):
        monkeypatch.setattr(cache, "_SHARD", 3000)
        _, rows = self.fill(tmp_path / "a" / "b", rng)
        store = cache.Disk(tmp_path / "a" / "b", 40, self.SHAPE)
        assert store.share == 1.0
        here, found = self.read(store)
        assert here.all()
        np.testing.assert_array_equal(found, rows)
        assert len([*(tmp_path / "a" / "b").iterdir()]) == 15  # of 3 rows each

    def test_what_is_damaged_or_half_written_is_not_there(self, tmp_path, rng):
        store, rows = self.fill(tmp_path, rng)
        with open(path_of(store, 7), "r+b") as file:
            file.seek(7 * 768 + 100)
            file.write(bytes([rows[7].flat[100] ^ 1]))
            file.truncate(30 * 768 + 10)  # as when the machine lost its power
        with open(tmp_path / "sums", "r+b") as file:
            file.seek(4 * 9)
            file.write(bytes(4))  # killed between image and sum
        again = cache.Disk(tmp_path, 40, self.SHAPE)
        here, found = self.read(again)
        assert np.flatnonzero(~here).tolist() == [7, 9, *range(30, 40)]
        np.testing.assert_array_equal(found[here], rows[here])
        again.write(7, rows[7])
        assert self.read(again)[0][7]

    def test_a_full_disk_stops_the_keeping_only(
        self, photos, at_once, streaming, tmp_path, monkeypatch, capsys
    ):
        data = read(f"folder:{photos}", cache="disk", cache_dir=str(tmp_path))

        def full(*arguments):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "pwrite", full)
        assert_same(data, at_once)
        assert capsys.readouterr().err.count("No space left") == 1

    def test_what_cannot_be_is_refused(self, photos, streaming, tmp_path):
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(DataError, match="--cache_dir="):
            read(f"folder:{photos}", cache="disk", cache_dir=str(tmp_path / "file"))
        with pytest.raises(DataError, match="--memory_limit_mb=0"):
            read(f"folder:{photos}", cache="memory", memory_limit=1000)

    @pytest.mark.parametrize(
        ("limit", "free", "kind"),
        [
            (1 << 20, 0, cache.Memory),
            (1000, 1 << 20, cache.Disk),
            (1000, 20000, cache.Nowhere),
        ],
    )
    def test_auto_takes_what_has_room(self, limit, free, kind, tmp_path, monkeypatch):
        monkeypatch.setattr(cache, "_free", lambda folder: free)
        store = cache.open_store("auto", 30, self.SHAPE, "key", limit, str(tmp_path))
        assert isinstance(store, kind)


class TestLists:
    def test_a_text_has_a_path_on_each_line(self, photos, at_once):
        (photos / "list.txt").write_text("\ufeffant/00.png\n\n  bee/01.png \nno.png\n")
        data = read(f"files:{photos / 'list.txt'}")
        assert data.names == ("ant/00.png", "bee/01.png")
        assert data.skipped == (("no.png", "No such file or directory"),)
        assert data.labels is None
        expected = [at_once.names.index(name) for name in data.names]
        np.testing.assert_array_equal(data.images, at_once.images[expected])

    @pytest.mark.parametrize("labels", [("3", "", "0"), ("x", "", "a b")])
    def test_a_table_has_labels_too(self, labels, photos, tmp_path):
        lines = [
            f'"{photos}/bee/{n}",{w}'
            for n, w in zip(("01.png", "03.png", "05.png"), labels, strict=True)
        ]
        table = tmp_path / "t.csv"
        table.write_text("\n".join(["file_name,label", *lines]))
        data = read(f"files:{table}")
        words = labels[0] == "x"
        assert data.labels.tolist() == ([1, -1, 0] if words else [3, -1, 0])
        assert data.class_names == (("a b", "x") if words else None)

    @pytest.mark.parametrize(
        ("content", "options", "words"),
        [
            ("", {}, "names no images"),
            ("a,b\nx,y\n", {}, r"no column of images.*a, b.*--image_column"),
            ("path,b\nx,y\n", {"label_column": "c"}, r"--label_column=c.*path, b"),
            ("path,b\nx\n", {}, r"line 2 has 1 columns, the head 2"),
            ("path\n\xff", {}, "no text in UTF-8"),
        ],
    )
    def test_what_is_wrong_is_told(self, content, options, words, tmp_path):
        path = tmp_path / ("l.csv" if content else "l.txt")
        path.write_bytes(content.encode("latin-1"))
        with pytest.raises(DataError, match=words):
            read(f"files:{path}", **options)

    def test_labels_are_whole_numbers_or_words(self):
        values = ["2", "-5", "", "7"]
        assert encoded.number_labels(values)[0].tolist() == [2, -1, -1, 7]
        labels, names = encoded.number_labels(["b", "a", "", "b"])
        assert labels.tolist() == [1, 0, -1, 1]
        assert names == ("a", "b")


def make_example(content: bytes, label) -> bytes:
    feature = tf.train.Feature
    if isinstance(label, int):
        label = feature(int64_list=tf.train.Int64List(value=[label]))
    else:
        label = feature(bytes_list=tf.train.BytesList(value=[label.encode()]))
    features = {
        "image/encoded": feature(bytes_list=tf.train.BytesList(value=[content])),
        "label": label,
        "weight": feature(float_list=tf.train.FloatList(value=[0.5])),
        "empty": feature(),
    }
    return tf.train.Example(
        features=tf.train.Features(feature=features)
    ).SerializeToString()


@pytest.fixture(scope="module")
def contents(photos, at_once):
    return [(photos / name).read_bytes() for name in at_once.names]


def write_tfrecords(folder, contents, labels):
    for part in range(2):
        with tf.io.TFRecordWriter(str(folder / f"part-{part}.tfrecord")) as writer:
            for content, label in [*zip(contents, labels, strict=True)][part::2]:
                writer.write(make_example(content, label))
    return f"tfrecord:{folder}/part-*.tfrecord"


def in_two_files(values):
    return np.concatenate([np.asarray(values)[part::2] for part in range(2)])


class TestRecords:
    @pytest.mark.parametrize("kind", [int, str])
    def test_tfrecord(self, kind, contents, at_once, tmp_path, monkeypatch):
        labels = [kind(7 * k - 7) for k in at_once.labels]
        name = write_tfrecords(tmp_path, contents, labels)
        data = read(name, cache_dir=str(tmp_path))
        np.testing.assert_array_equal(data.images, in_two_files(at_once.images))
        assert data.labels.tolist() == [
            max(v, -1) for v in in_two_files(7 * at_once.labels - 7)
        ]
        assert data.names[-1] == "part-1.tfrecord:13"
        monkeypatch.setattr(records, "_make_index", None)  # found before, and kept
        again = read(name, cache_dir=str(tmp_path))
        np.testing.assert_array_equal(again.images, data.images)

    def test_a_damaged_index_is_made_again(self, contents, at_once, tmp_path):
        name = write_tfrecords(tmp_path, contents, at_once.labels.tolist())
        before = read(name, cache_dir=str(tmp_path))
        (kept,) = tmp_path.glob("records-*.npz")
        whole = kept.read_bytes()
        for damaged in (b"", whole[:-9], whole[:500] + b"\0\0\0\0" + whole[504:]):
            kept.write_bytes(damaged)
            again = read(name, cache_dir=str(tmp_path))
            np.testing.assert_array_equal(again.labels, before.labels)
            np.testing.assert_array_equal(again.images, before.images)

    @pytest.mark.parametrize(
        ("damage", "words"),
        [
            (lambda content: content[:-7], "is cut off"),
            (lambda content: b"\x1f\x8b" + content, "compressed"),
            (lambda content: b"", "is empty"),
            (lambda content: content[:12] + b"\xff" * 9 + content[21:], "record 0"),
        ],
    )
    def test_what_is_damaged_is_named(self, damage, words, contents, tmp_path):
        name = write_tfrecords(tmp_path, contents[:4], range(4))
        path = tmp_path / "part-0.tfrecord"
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(DataError, match=rf"part-0\.tfrecord.*{words}"):
            read(name, cache_dir=str(tmp_path))

    def test_columns_are_asked_for_by_name(self, contents, tmp_path):
        name = write_tfrecords(tmp_path, contents[:4], range(4))
        folder = str(tmp_path)
        with pytest.raises(DataError, match=r"--image_column=x.*image/encoded"):
            read(name, cache_dir=folder, image_column="x")
        with pytest.raises(DataError, match="no files match"):
            read("tfrecord:none-*", cache_dir=folder)
        with pytest.raises(DataError, match="image_size"):
            read(name, cache_dir=folder, image_size=0)

    @pytest.mark.parametrize("raw", [True, False])
    def test_array_record(self, raw, contents, at_once, tmp_path):
        from array_record.python.array_record_module import ArrayRecordWriter

        path = str(tmp_path / "a.array_record")
        writer = ArrayRecordWriter(path, "group_size:1")
        for content, label in zip(contents, at_once.labels.tolist(), strict=True):
            writer.write(content if raw else make_example(content, label))
        writer.close()
        data = read(f"array_record:{path}", cache_dir=str(tmp_path))
        np.testing.assert_array_equal(data.images, at_once.images)
        if raw:
            assert data.labels is None
        else:
            np.testing.assert_array_equal(data.labels, at_once.labels)
        (tmp_path / "b.array_record").write_bytes(b"x" * 100)
        with pytest.raises(DataError, match="is no ArrayRecord file"):
            read(f"array_record:{tmp_path}/b*", cache_dir=str(tmp_path))

    def test_examples_are_read_as_protocol_buffers_reads_them(self, rng):
        example = tf.train.Example()
        for name, value in (("a", [3, 4]), ("b", [-2]), ("c", []), ("d", [1 << 62])):
            example.features.feature[name].int64_list.value.extend(value)
        example.features.feature["é"].bytes_list.value.extend([b"xyz", b"second"])
        example.features.feature["f"].float_list.value.extend([1.0, 2.0])
        content = example.SerializeToString()
        found = examples.find_features(memoryview(content))
        start, end = found.pop("é")
        assert content[start:end] == b"xyz"
        assert found == {"a": 3, "b": -2, "d": 1 << 62}
        for _ in range(2000):
            damaged = bytearray(content)
            for place in rng.integers(0, len(content), rng.integers(1, 4)):
                damaged[place] = rng.integers(256)
            damaged = damaged[: rng.integers(len(content) // 2, len(content) + 1)]
            try:
                spans = examples.find_features(memoryview(damaged)).values()
            except PictureError:
                continue
            for span in spans:
                if isinstance(span, tuple):
                    assert 0 <= span[0] <= span[1] <= len(damaged)


class TestParquet:
    @pytest.mark.parametrize("limit", [1 << 30, 1000])
    @pytest.mark.parametrize("struct", [True, False])
    def test_tables(self, limit, struct, contents, at_once, tmp_path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        pictures = [None, *contents]
        if struct:
            pictures = [p and {"bytes": p, "path": "x"} for p in pictures]
        labels = [None, *at_once.labels.tolist()]
        table = pa.table({"image": pictures, "label": labels, "other": labels})
        pq.write_table(table, tmp_path / "t.parquet", row_group_size=7)
        name = f"parquet:{tmp_path / 't.parquet'}"
        for _ in range(2):
            data = read(name, cache_dir=str(tmp_path), memory_limit=limit)
            assert data.skipped == (("row 0", "no picture in this row"),)
            np.testing.assert_array_equal(data.images, at_once.images)
            np.testing.assert_array_equal(data.labels, at_once.labels)
        assert len([*tmp_path.glob("rows-*.arrow")]) == (limit == 1000)
        with pytest.raises(DataError, match=r"'other'.*int64.*Accepted: bytes"):
            read(name, cache_dir=str(tmp_path), image_column="other")

    def test_other_files_are_refused(self, tmp_path):
        (tmp_path / "x.parquet").write_bytes(b"PAR1 but no table")
        with pytest.raises(DataError, match="is no Parquet file"):
            read(f"parquet:{tmp_path}/x.parquet", cache_dir=str(tmp_path))


class TestRemote:
    def test_what_tensorflow_reads_is_read(self, photos, at_once):
        for path in photos.rglob("*.png"):
            target = f"ram://photos/{path.relative_to(photos)}"
            tf.io.gfile.makedirs(target.rpartition("/")[0])
            with tf.io.gfile.GFile(target, "wb") as file:
                file.write(path.read_bytes())
        data = read("folder:ram://photos/")
        assert data.names == at_once.names
        assert data.skipped == at_once.skipped
        np.testing.assert_array_equal(data.images, at_once.images)

    def test_what_it_does_not_read_is_no_local_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for scheme in ("s3", "abc"):
            with pytest.raises(DataError, match=f"reads no {scheme}://"):
                read(f"folder:{scheme}://bucket/photos")
        with pytest.raises(DataError, match="no such folder, or no access"):
            read("folder:ram://nothing")
        assert not [*tmp_path.iterdir()]


def test_a_run_names_at_its_end_what_it_could_not_use(photos, tmp_path):
    """From a table, of which nothing is decoded before the first step."""
    names = [f"{photos}/{p.relative_to(photos)}" for p in photos.rglob("*.png")]
    lines = [f"{name},{name.split('/')[-2]}" for name in sorted(names)]
    table = tmp_path / "many.csv"
    table.write_text("\n".join(["path,class", *(lines * 70)]))  # 2,100 rows
    workdir = tmp_path / "run"
    options = [f"--dataset=files:{table}", "--image_size=16", "--steps=20"]
    options += [f"--workdir={workdir}", "--evaluations=values", *TINY]
    options += ["--schedule=constant"]
    result = run("train", *options, "--cache=disk", f"--cache_dir={tmp_path / 'cache'}")
    assert result.returncode == 0, result.stderr[-2000:]
    assert "decoded as they are needed and kept in" in result.stderr
    assert "exact copies are not looked for" in result.stderr
    listed = (workdir / "skipped.csv").read_text().splitlines()
    assert listed[0] == "name,reason"
    assert all(BAD in line for line in listed[1:])
    assert len(listed) > 1
    options[2] = "--steps=22"
    again = run("train", *options, "--cache=none")
    assert again.returncode == 0, again.stderr[-2000:]
    assert "step 22/22" in again.stderr
    os.utime(names[0], (5, 5))
    options[2] = "--steps=24"
    changed = run("train", *options, "--cache=none")
    assert_refused(changed, "images")
