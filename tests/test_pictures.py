"""Every kind of picture against Pillow, in files, in the graph, through the client."""

import io
import os
import re
import struct
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from tf_infomax.data import decoding, files, gate, headers, pictures
from tf_infomax.data.files import ImageFolder, make_decoder
from tf_infomax.data.headers import PictureError
from tf_infomax.data.images import DataError
from tf_infomax.export.client import convert, find_images

ROOT = Path(__file__).parent.parent
HEIGHT, WIDTH = 41, 53


def encode(image, kind, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def encode_png(depth, colour, rows) -> bytes:
    """What Pillow does not write: PNG of 16 bits in colour, grey of 2 and 4."""

    def chunk(name, content):
        checksum = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + checksum.to_bytes(4)

    size = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = chunk(b"IHDR", size), chunk(b"IDAT", pixels), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def make_all() -> dict[str, bytes]:
    """Smooth pictures of every kind by name."""
    rng = np.random.default_rng(5)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 7, 4), np.uint8))
    rgba = coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    rgb, grey = rgba.convert("RGB"), rgba.convert("RGB").convert("L")
    palette, values = rgb.quantize(200), np.asarray(rgba)
    deep = values.astype(">u2") * 257
    cmyk = Image.fromarray(values, "CMYK")
    made = {
        "rgb.png": encode(rgb, "PNG"),
        "rgba.png": encode(rgba, "PNG"),
        "grey.png": encode(grey, "PNG"),
        "grey-alpha.png": encode(rgba.convert("LA"), "PNG"),
        "palette.png": encode(palette, "PNG"),
        "palette-alpha.png": encode(palette, "PNG", transparency=bytes(range(200))),
        "key.png": encode(grey, "PNG", transparency=int(np.asarray(grey)[3, 3])),
        "1bit.png": encode(grey.convert("1"), "PNG"),
        "4colours.png": encode(rgb.quantize(4), "PNG"),
        "16bit.png": encode(Image.fromarray(deep[..., 0].astype("<u2")), "PNG"),
        "rgb16.png": encode_png(16, 2, [row.tobytes() for row in deep[..., :3]]),
        "rgba16.png": encode_png(16, 6, [row.tobytes() for row in deep]),
        "grey-alpha16.png": encode_png(16, 4, [r.tobytes() for r in deep[..., 2:]]),
        "2bit.png": encode_png(2, 0, [rng.bytes(14) for _ in range(HEIGHT)]),
        "4bit.png": encode_png(4, 0, [rng.bytes(27) for _ in range(HEIGHT)]),
        "animated.png": encode(rgb, "PNG", save_all=True, append_images=[grey] * 2),
        "rgb.jpg": encode(rgb, "JPEG", quality=95),
        "progressive.jpg": encode(rgb, "JPEG", progressive=True),
        "full.jpg": encode(rgb, "JPEG", subsampling=0),
        "grey.jpg": encode(grey, "JPEG"),
        "cmyk.jpg": encode(cmyk, "JPEG", quality=95),
        "rgb.bmp": encode(rgb, "BMP"),
        "palette.bmp": encode(palette, "BMP"),
        "grey.bmp": encode(grey, "BMP"),
        "1bit.bmp": encode(grey.convert("1"), "BMP"),
        "4bit.bmp": make_bmp_of_16_colours(rng),
        "32bit.bmp": encode(rgba, "BMP"),
        "palette.gif": encode(palette, "GIF"),
        "alpha.gif": encode(palette, "GIF", transparency=3),
        "animated.gif": encode(palette, "GIF", save_all=True, append_images=[grey]),
        "rgb.webp": encode(rgb, "WEBP", quality=90),
        "rgba.webp": encode(rgba, "WEBP", lossless=True),
        "animated.webp": encode(rgb, "WEBP", save_all=True, append_images=[grey]),
        "rgb.tif": encode(rgb, "TIFF"),
        "rgba.tiff": encode(rgba, "TIFF", compression="tiff_lzw"),
        "palette.tif": encode(palette, "TIFF"),
        "cmyk.tif": encode(cmyk, "TIFF"),
        "16bit.tif": encode(Image.fromarray(deep[..., 0].astype("<u2")), "TIFF"),
        "pages.tif": encode(rgb, "TIFF", save_all=True, append_images=[grey]),
        "rgba.avif": encode(rgba, "AVIF", quality=90),
    }
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = orientation
        for suffix, kind in (("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP")):
            made[f"turned{orientation}.{suffix}"] = encode(rgb, kind, exif=exif)
        tags = {274: orientation}
        made[f"turned{orientation}.tif"] = encode(rgb, "TIFF", tiffinfo=tags)
    return made


def make_bmp_of_16_colours(rng) -> bytes:
    rows = (WIDTH // 2 + 4) // 4 * 4 * HEIGHT
    info = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 4, 0, rows, 0, 0, 16, 0)
    start = struct.pack("<2sIII", b"BM", 118 + rows, 0, 118)
    return start + info + rng.bytes(64) + rng.bytes(rows)


def read_truth(encoded: bytes, channels: int = 3) -> np.ndarray:
    """By Pillow: upright RGB over white, 16 bits divided by 257, or its luma.

    Of a JPEG the luma that it stores; that of its RGB is another where this is cut off.
    """
    if channels == 1:
        with Image.open(io.BytesIO(encoded)) as image:
            if image.format == "JPEG" and image.mode == "RGB":
                image.draft("L", image.size)
                return np.asarray(ImageOps.exif_transpose(image))[..., None]
        rgb = Image.fromarray(read_truth(encoded))
        return np.asarray(rgb.convert("L"))[..., None]
    image = Image.open(io.BytesIO(encoded))
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        grey = np.round(np.asarray(image) / 257).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return np.asarray(white.convert("RGB"))


ALL = make_all()


@pytest.fixture(scope="module")
def readers():
    """What reads any picture without resizing it, by (height, width, channels)."""
    made = {}

    def get(*shape):
        if shape not in made:
            made[shape] = pictures.make_reader(shape, "crop")
        return made[shape]

    return get


@pytest.fixture(scope="module")
def served():
    """The graph of a served model, by number of channels."""
    spec = tf.TensorSpec([], tf.string)

    def compile_one(channels):
        graph = tf.function(lambda encoded: decoding.decode(encoded, channels))
        return graph.get_concrete_function(spec)

    return {channels: compile_one(channels) for channels in (1, 3)}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ALL)
def test_every_kind_is_what_pillow_says(name, channels, readers, served):
    truth = read_truth(ALL[name], channels)
    from_file = readers(*truth.shape)(ALL[name])
    sent = served[channels](tf.constant(convert(ALL[name]))).numpy()
    for found in (from_file, sent):
        assert found.shape == truth.shape
        assert np.abs(found.astype(int) - truth).max() <= 4


def test_served_graph_reads_right_or_refuses(served):
    """What is sent as it is, by whomever: never other pixels."""
    refused = set()
    for name, encoded in ALL.items():
        try:
            found = served[3](tf.constant(encoded)).numpy().astype(int)
            assert np.abs(found - read_truth(encoded)).max() <= 4, name
        except tf.errors.InvalidArgumentError:
            refused.add(name)
    known = ("jpg", "png", "rgb.bmp", "32bit.bmp", "palette.gif", "animated.gif")
    assert refused == {name for name in ALL if not name.endswith(known)}


@pytest.mark.parametrize("place", ["before the others", "after the others"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_wherever_exif_stands(order, place, readers, served):
    magic = {"<": b"II*\0", ">": b"MM\0*"}[order]
    entry = struct.pack(f"{order}HHIHH", 274, 3, 1, 6, 0)
    other = struct.pack(f"{order}HHII", 271, 3, 1, 0)
    exif = magic + struct.pack(f"{order}IH", 8, 2) + other + entry + bytes(4)
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\0\0" + exif
    plain, comment = ALL["rgb.jpg"], b"\xff\xfe\0\x0ca comment."
    start = 2 if place == "before the others" else 20
    encoded = plain[:start] + comment + segment + plain[start:]
    expected = np.rot90(read_truth(plain), -1)
    np.testing.assert_array_equal(readers(*expected.shape)(encoded), expected)
    np.testing.assert_array_equal(served[3](tf.constant(encoded)), expected)


def claim(name: str, width: int, height: int) -> bytes:
    """A picture whose header says another size."""
    encoded = bytearray(ALL[name])
    if name.endswith("jpg"):
        place = encoded.find(b"\xff\xc0")
        encoded[place + 5 : place + 9] = struct.pack(">HH", height, width)
    elif name.endswith("png"):
        encoded[16:24] = struct.pack(">II", width, height)
        encoded[29:33] = zlib.crc32(encoded[12:29]).to_bytes(4)
    else:
        encoded[6:10] = struct.pack("<HH", width, height)
    return bytes(encoded)


GIANTS = """
import re, sys
from pathlib import Path
from tf_infomax.options.command import load_tensorflow

load_tensorflow()
from tf_infomax.data.files import ImageFolder, make_decoder, map_batches

folder = ImageFolder(sys.argv[1])
decode = make_decoder(folder.path, (32, 32, 3), "crop")
for _, images in map_batches(decode, folder, 4):
    assert all(image.shape == (32, 32, 3) for image in images), images
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())
print(int(peak[1]) // 1024)
"""


class TestClaims:
    """What a header says is not believed."""

    @pytest.mark.parametrize("name", ["rgb.jpg", "rgb.png"])
    def test_more_pixels_than_the_file_can_hold(self, name, readers, served):
        encoded = claim(name, 7990, 7990)
        with pytest.raises(PictureError, match="too short for its 7990 x 7990 pixels"):
            readers(16, 16, 3)(encoded)
        with pytest.raises(tf.errors.InvalidArgumentError, match="are too few"):
            served[3](tf.constant(encoded))

    @pytest.mark.parametrize("name", ["rgb.jpg", "rgb.png", "palette.gif"])
    def test_more_pixels_than_are_borne(self, name, readers):
        with pytest.raises(PictureError, match=r"more than (64|32)000000"):
            readers(16, 16, 3)(claim(name, 20_000, 20_000) + bytes(8 << 20))

    def test_scans_without_end(self, readers):
        encoded = claim("rgb.jpg", 4000, 4000).replace(b"\xff\xc0", b"\xff\xc2", 1)
        with pytest.raises(PictureError, match="scans"):
            readers(16, 16, 3)(encoded + b"\xff\xda\0\0" * 40_000)

    def test_large_pictures_take_turns(self):
        limit = 10 * gate.FREE
        turns, inside, most = gate.Gate(limit), [], []

        def work(_):
            with turns.hold(4 * gate.FREE):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(200)))
        assert max(most) <= 2
        with turns.hold(100 * limit):  # alone, not never
            assert turns._held == limit

    def test_large_files_are_read_in_turns(self, tmp_path, monkeypatch):
        """What waits to be decoded takes memory, too, as many threads as there are."""
        names, inside, most = [f"{k}.png" for k in range(6)], [], []
        for name in names:
            with open(tmp_path / name, "wb") as file:
                file.truncate(100 << 20)

        def read(encoded):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

        monkeypatch.setattr(pictures, "make_reader", lambda *_: read)
        monkeypatch.setattr(files, "read_file", lambda path: b"")
        decode = make_decoder(tmp_path, (16, 16, 3), "crop")
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(decode, names))
        assert max(most) == 2  # of 256 MiB together

    @pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
    def test_giants_together_stay_below_two_gigabytes(self, tmp_path):
        """Of 64 million pixels and 190 to 240 MiB each, one after another."""
        for k, channels in enumerate((4, 3, 4, 3)):
            pixels = np.full((7900, 8000, channels), 200, np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{k}.png", compress_level=0)
        command = [sys.executable, "-c", GIANTS, str(tmp_path)]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr[-2000:]
        assert int(result.stdout) < 2048

    def test_a_gif_is_cut_after_its_first_frame(self):
        """The decoder would hold all frames: 20 of 47 KB took 1.4 GB."""
        from tf_infomax.data.graph_headers import find_end_of_frame

        first, whole = ALL["palette.gif"], ALL["animated.gif"]
        assert find_end_of_frame(tf.constant(first)).numpy() == len(first) - 1
        assert find_end_of_frame(tf.constant(whole)).numpy() < len(whole) // 2 + 800


def mutate(encoded: bytes, rng) -> bytes:
    data, kind = bytearray(encoded), rng.integers(4)
    if kind == 0:
        return bytes(data[: rng.integers(len(data))])
    if kind == 1:
        return bytes(data) + rng.bytes(50)
    for place in rng.integers(0, 80 if kind == 2 else len(data), 4):
        data[place] = rng.integers(256)
    return bytes(data)


def test_damaged_pictures_are_right_or_refused_in_a_few_words(readers):
    rng, names = np.random.default_rng(11), list(ALL)
    read = readers(16, 16, 3)
    reasons = []
    for _ in range(300):
        try:
            read(mutate(ALL[names[rng.integers(len(names))]], rng))
        except PictureError as error:
            reasons.append(str(error))
    assert 100 < len(reasons) < 300
    assert all(0 < len(reason) < 250 for reason in reasons)
    assert not any("\n" in reason for reason in reasons)


class TestFolders:
    @pytest.fixture
    def folder(self, tmp_path):
        root = tmp_path / "photos"
        for name in ("a/1.png", "b/2.png", "b/c/3.png"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(ALL["rgb.png"])
        return root

    def test_a_link_to_itself_is_named(self, folder):
        (folder / "loop").symlink_to("loop")
        (folder / "loop.png").symlink_to("loop.png")
        names = list(ImageFolder(folder))
        assert names == ["a/1.png", "b/2.png", "b/c/3.png", "loop.png"]
        assert "links" in make_decoder(folder, (16, 16, 3), "crop")("loop.png")

    def test_folders_that_link_to_each_other_are_gone_through_once(self, folder):
        for name in "defghijk":
            (folder / name).mkdir()
            (folder / name / f"{name}.png").write_bytes(ALL["rgb.png"])
            for other in ("..", "../a", *(f"../{each}" for each in "defghijk")):
                link = folder / name / f"to{other.replace('/', '').replace('.', '_')}"
                link.symlink_to(other)
        (folder / "0").symlink_to("b")  # before it by name, and yet a link
        expected = ["a/1.png", "b/2.png", "b/c/3.png"]
        expected += [f"{name}/{name}.png" for name in "defghijk"]
        assert list(ImageFolder(folder)) == expected
        found = [path.relative_to(folder) for path in find_images([str(folder)])]
        assert list(map(str, found)) == expected

    def test_links_outwards_are_followed_once(self, folder, tmp_path):
        (tmp_path / "linked").mkdir()
        for name in ("x", "y"):
            (tmp_path / "linked" / name).symlink_to(folder)
        expected = ["x/a/1.png", "x/b/2.png", "x/b/c/3.png"]
        assert list(ImageFolder(tmp_path / "linked")) == expected
        assert len(list(find_images([str(tmp_path / "linked")]))) == 3

    def test_what_is_no_file_is_named_and_never_opened(self, folder):
        import socket

        os.mkfifo(folder / "pipe.png")
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(folder / "socket.jpg"))
        (folder / "nowhere.gif").symlink_to("nowhere")
        (folder / "full.bmp").symlink_to("/dev/full")
        read = make_decoder(folder, (16, 16, 3), "crop")
        reasons = {name: read(name) for name in ImageFolder(folder)}
        server.close()
        bad = {name: why for name, why in reasons.items() if isinstance(why, str)}
        assert bad == {
            "full.bmp": "no regular file",
            "nowhere.gif": "No such file or directory",
            "pipe.png": "no regular file",
            "socket.jpg": "no regular file",
        }

    def test_files_too_large_are_not_read(self, folder):
        with open(folder / "sparse.png", "wb") as file:
            file.truncate(headers.LARGEST_FILE + 1)
        decode = make_decoder(folder, (16, 16, 3), "crop")
        assert decode("sparse.png") == "file is larger than 256 MiB"

    def test_every_suffix_is_read_and_other_files_are_counted(self, folder):
        for name in ("1.jfif", "2.JPE", "3.WebP", "4.TIF", "5.txt", "6.txt", "7"):
            (folder / name).write_bytes(ALL["rgb.jpg"])  # whatever the suffix says
        images = ImageFolder(folder)
        assert list(images)[:4] == ["1.jfif", "2.JPE", "3.WebP", "4.TIF"]
        assert images.others == ((".txt", 2), ("", 1))
        read = make_decoder(folder, (16, 16, 3), "crop")
        assert all(isinstance(read(name), np.ndarray) for name in images)

    @pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
    def test_no_odd_folder_is_read_wrong(self):
        """A seeded part of what `odd_folders` makes."""
        command = [sys.executable, "tests/odd_folders.py", "40", "1"]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr[-2000:]
        counts, most = result.stdout.split("}")
        counts = list(map(int, re.findall(r": (\d+)", counts)))
        assert sum(counts) == 40
        assert len(counts) == 4  # every outcome there is
        assert int(re.search(r"(\d+) MB", most)[1]) < 2048

    def test_depth_is_no_trouble(self, tmp_path):
        deep, here = tmp_path / "deep", os.getcwd()
        deep.mkdir()
        try:
            os.chdir(deep)
            for _ in range(1200):
                os.mkdir("a")
                os.chdir("a")
            with open("x.png", "wb") as file:
                file.write(ALL["rgb.png"])
            (name,) = ImageFolder(deep)
            os.unlink("x.png")
        finally:
            while os.getcwd() != str(deep):  # not even rmtree goes down so far
                os.chdir("..")
                os.rmdir("a")
            os.chdir(here)
        assert name.endswith("/a/x.png")

    def test_a_folder_that_cannot_be_listed_is_named(self, folder, monkeypatch):
        scandir = os.scandir

        def refuse(path):
            if str(path).rstrip("/").endswith("/b"):
                raise PermissionError(13, "Permission denied")
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse)
        assert list(ImageFolder(folder)) == ["a/1.png", "b/"]
        with pytest.raises(DataError, match="cannot be read: Permission denied"):
            ImageFolder(folder / "b")
