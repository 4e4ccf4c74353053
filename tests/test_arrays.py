"""Files of arrays that are damaged, or made to do harm: one line, little memory."""

import io
import os
import re
import struct
import sys
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from commands import assert_refused, run
from numpy.lib import format as npy

from tf_infomax.data import sources
from tf_infomax.data.images import DataError
from tf_infomax.estimation.files import read_given
from tf_infomax.estimation.inputs import PairsError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 9, 9, 3), np.uint8)
# Under all names that either command looks for.
CONTENT = {"images": IMAGES, "labels": np.arange(40) % 2}
CONTENT |= {"x": RNG.normal(size=(60, 2)), "y": RNG.normal(size=(60, 1))}


def read_images(path: Path):
    data = sources.read(f"arrays:{path}").train
    return {"images": data.images} | (
        {} if data.labels is None else {"labels": data.labels}
    )


def read_pairs(path: Path):
    x, y = read_given("", "", str(path))
    return {"x": x, "y": y}


def read_side(path: Path):
    other = path.with_name("other.npy")
    if not other.exists():
        np.save(other, CONTENT["y"])
    return {"x": read_given(str(path), str(other), "")[0]}


READERS = {"arrays:": read_images, "--data": read_pairs}
OF_ONE = {"arrays:": read_images, "--x": read_side}


def check(read, path: Path, fine: bool | None = False, most=100, seconds=5) -> str:
    """A refusal in one line with the file's name; or, if `fine`, the true values."""
    memory, started, text = peak(), time.process_time(), ""
    try:
        arrays = read(path)
    except (DataError, PairsError) as error:
        arrays, text = {}, str(error)
    assert fine in (None, not text), text
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, CONTENT[name])
    if text:
        assert str(path) in text, text
        assert "\n" not in text
        assert len(text) < 600 + len(str(path))
    assert time.process_time() - started < seconds
    assert peak() - memory < most  # MB
    return text


def peak() -> int:
    """The most MB that this process had since the last call; 0 where none can tell."""
    if sys.platform != "linux":
        return 0
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024


def make_npz(compression=zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, array in CONTENT.items():
            content = io.BytesIO()
            np.save(content, array)
            archive.writestr(f"{name}.npy", content.getvalue())
    return buffer.getvalue()


def make_npy(array: np.ndarray, header: str | None = None, version=(1, 0)) -> bytes:
    """A .npy file with this header, a Python dict as text."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    if header is None:
        return buffer.getvalue()
    text = header.encode("latin-1")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return npy.magic(*version) + length + text + array.tobytes()


def bounds_of(content: bytes) -> list[int]:
    """Where something of a ZIP file begins or ends, and the bytes beside."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        found = [archive.start_dir, len(content) - 22]
        for info in archive.infolist():
            start = info.header_offset
            data = start + 30 + len(info.filename)
            found += [start, start + 30, data, data + 10, data + 128]
            found.append(data + info.compress_size)
    near = {place + step for place in found for step in (-1, 0, 1)}
    return sorted(place for place in near if 0 <= place < len(content))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_npz_cut_anywhere_is_refused(reader, compression, tmp_path):
    content = make_npz(compression)
    path = tmp_path / "cut.npz"
    path.write_bytes(content)
    check(READERS[reader], path, fine=True)
    for end in bounds_of(content):
        path.write_bytes(content[:end])
        check(READERS[reader], path)


@pytest.mark.parametrize("reader", OF_ONE)
def test_an_npy_cut_anywhere_is_refused(reader, tmp_path):
    content = make_npy(CONTENT["images" if reader == "arrays:" else "x"])
    path = tmp_path / "cut.npy"
    for end in (0, 1, 5, 6, 7, 8, 9, 10, 60, 127, 128, 129, len(content) - 1):
        path.write_bytes(content[:end])
        check(OF_ONE[reader], path)


@pytest.mark.parametrize("reader", READERS)
def test_changed_bytes_are_refused_or_mean_nothing(reader, tmp_path):
    rng, path = np.random.default_rng(4), tmp_path / "changed.npz"
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        content, refused = make_npz(compression), 0
        for _ in range(150):
            damaged = bytearray(content)
            for _ in range(rng.integers(1, 4)):
                damaged[rng.integers(len(content))] ^= rng.integers(1, 256)
            path.write_bytes(damaged)
            refused += check(READERS[reader], path, fine=None) != ""
        assert refused > 20


SHAPE = "{'descr': '|u1', 'fortran_order': False, 'shape': %s, }"
HEADERS = {
    "absurd": SHAPE % "(1000000000, 1000, 1000, 3)",
    "beyond 64 bits": SHAPE % str((2**70, 9, 9, 3)),
    "no end of nothing": SHAPE % str((2**56, 0, 9, 3)),
    "negative": SHAPE % "(-40, 9, 9, 3)",
    "negative twice": SHAPE % "(-40, -9, 9, 3)",
    "one too many": SHAPE % "(41, 9, 9, 3)",
    "no tuple": SHAPE % "40",
    "floats": SHAPE % "(40.0, 9, 9, 3)",
    "ranks": SHAPE % str((1,) * 70),
    "objects": SHAPE.replace("|u1", "|O") % "(40, 9, 9, 3)",
    "objects within": SHAPE.replace("'|u1'", "[('a', '|u1'), ('b', '|O')]") % "(40,)",
    "records": SHAPE.replace("'|u1'", "[('a', '|u1', (9, 9, 3))]") % "(40,)",
    "texts": SHAPE.replace("|u1", "<U9") % "(40, 9)",
    "dates": SHAPE.replace("|u1", "<M8[s]") % "(40, 3)",
    "unknown": SHAPE.replace("|u1", "<q7") % "(40, 9, 9, 3)",
    "a call": SHAPE % "__import__('os').getcwd()",
    "nested": "(" * 3000 + ")" * 3000,
    "another key": "{'descr': '|u1', 'fortran': False, 'shape': (40, 9, 9, 3)}",
    "unfinished": SHAPE[:40],
    "empty": "",
    "escape": "\x1b[31m{}",
}


@pytest.mark.parametrize("kind", HEADERS)
def test_headers_that_lie(kind, tmp_path):
    for version in ((1, 0), (2, 0)):
        content = make_npy(IMAGES, HEADERS[kind], version)
        (tmp_path / "x.npy").write_bytes(content)
        for read in OF_ONE.values():
            assert check(read, tmp_path / "x.npy").isprintable()
        with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
            for name in CONTENT:
                archive.writestr(f"{name}.npy", content)
        for read in READERS.values():
            assert check(read, tmp_path / "x.npz").isprintable()


def test_a_header_without_end_is_not_read(tmp_path):
    with open(tmp_path / "x.npy", "wb") as file:
        file.write(npy.magic(2, 0) + struct.pack("<I", 2**32 - 1))
        file.truncate(5 << 30)  # without a block on the disk
    for read in OF_ONE.values():
        assert "claims 4294967295" in check(read, tmp_path / "x.npy")


def make_bomb(head: bytes, told: int) -> bytes:
    """An .npz of 10 MB whose arrays begin with `head` and go on for 10 GB of zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(1 << 26)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed += zeros * 155 + packer.flush()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("images.npy", packed)
        info = archive.infolist()[0]
        info.compress_type, info.file_size = zipfile.ZIP_DEFLATED, told
    content = bytearray(buffer.getvalue())
    content[8:10] = struct.pack("<H", zipfile.ZIP_DEFLATED)
    return bytes(content)


TEN_GB = 155 << 26


@pytest.mark.parametrize(
    ("shape", "told", "words"),
    [
        ((TEN_GB // 3072, 32, 32, 3), TEN_GB, "unpacks to 9,920 MB, more than 4,096"),
        ((TEN_GB // 3072, 32, 32, 3), 10**6, "cut off"),
        ((40, 9, 9, 3), 40 * 243 + 128, "Bad CRC"),
    ],
)
def test_bombs_are_not_unpacked(shape, told, words, tmp_path):
    header = SHAPE % str(shape)
    content = make_bomb(make_npy(np.empty(0, np.uint8), header), told)
    assert 9e6 < len(content) < 11e6
    (tmp_path / "bomb.npz").write_bytes(content)
    assert words in check(read_images, tmp_path / "bomb.npz", most=60)


def test_arrays_that_are_not_read_are_named(tmp_path):
    """Else images would go without labels for a letter too few."""
    np.savez(tmp_path / "x.npz", images=IMAGES, label=CONTENT["labels"], y=IMAGES)
    (note,) = sources.read(f"arrays:{tmp_path / 'x.npz'}").train.notes
    assert "x.npz" in note
    assert "not read: label, y " in note
    np.savez(tmp_path / "x.npz", x_train=IMAGES, images=IMAGES)
    (note,) = sources.read(f"arrays:{tmp_path / 'x.npz'}").train.notes
    assert "not read: images " in note
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=CONTENT["labels"])
    assert sources.read(f"arrays:{tmp_path / 'x.npz'}").train.notes == ()


@pytest.mark.parametrize("label", [-2, 2**63, 2**64 - 1])
def test_labels_that_are_none(label, tmp_path):
    """Unsigned ones of 64 bits would come out negative, as of images without label."""
    labels = np.full(40, label, np.int64 if label < 0 else np.uint64)
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=labels)
    assert str(label) in check(read_images, tmp_path / "x.npz")


def test_whole_numbers_that_would_become_equal(tmp_path):
    """Times in nanoseconds are such: as float64 all of these would be one."""
    for kind in (np.int64, np.uint64):
        times = (2**62 + np.arange(60)).astype(kind)[:, None]
        np.savez(tmp_path / "x.npz", x=times, y=CONTENT["y"])
        assert "beyond 2^53" in check(read_pairs, tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", x=times - times.min(), y=CONTENT["y"])
    assert read_pairs(tmp_path / "x.npz")["x"][-1] == 59


def test_an_underscore_is_no_digit(tmp_path):
    """Python would read 1_2, a name or a range, as 12."""
    rows = "".join(f"{k},{k}_2\n" for k in range(40))
    (tmp_path / "x.csv").write_text(f"a,b\n{rows}")
    with pytest.raises(PairsError, match=r"'b' is no number\. Received: '0_2'"):
        read_given("a", "b", str(tmp_path / "x.csv"))


def test_two_arrays_of_one_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for name in ("images", "images.npy"):
            archive.writestr(name, make_npy(IMAGES))
    assert "two arrays of one name" in check(read_images, tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", x_train=IMAGES, train_images=IMAGES)
    assert "two arrays of one meaning" in check(read_images, tmp_path / "x.npz")


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "zeros.npz").symlink_to("/dev/zero")
    (tmp_path / "itself.npz").symlink_to("itself.npz")
    (tmp_path / "nowhere.npz").symlink_to("nowhere")
    for name in ("pipe", "folder", "zeros", "itself", "nowhere"):
        for read in {**READERS, **OF_ONE}.values():
            check(read, tmp_path / f"{name}.npz")
        np.save(tmp_path / "x.npy", IMAGES)
        options = sources.ReadOptions(labels=str(tmp_path / f"{name}.npz"))
        with pytest.raises(DataError, match=f"--labels: .*{name}"):
            sources.read(f"arrays:{tmp_path / 'x.npy'}", options)


def test_commands_say_it_in_one_line(tmp_path):
    content = make_npz()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    given = f"--dataset=arrays:{tmp_path / 'cut.npz'}"
    workdir = f"--workdir={tmp_path / 'run'}"
    assert_refused(run("train", given, workdir, "--steps=1"), "cut.npz")
    assert_refused(run("estimate", f"--data={tmp_path / 'cut.npz'}"), "cut.npz")
    assert not (tmp_path / "run").exists()
