"""Image folders with all that may lie in one, and what the readers make of them.

A case is right if every file is either read, with its own pixels, or named, or the
folder is refused with one line; without a wait, and with little memory.
`python tests/odd_folders.py 300 0` tries 300 of seed 0.
"""

import contextlib
import functools
import io
import os
import re
import socket
import stat
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

import tf_infomax  # noqa: F401  (before TensorFlow: it switches oneDNN)
from tf_infomax.data import pictures, sources
from tf_infomax.data.files import ImageFolder
from tf_infomax.data.images import DataError
from tf_infomax.export.client import find_images
from tf_infomax.options import Config, ConfigError
from tf_infomax.training import experiment

pictures.make_reader = functools.cache(pictures.make_reader)  # compiled once

SIDE = 16
KINDS = {"PNG": "png", "JPEG": "jpg", "BMP": "bmp", "GIF": "gif", "TIFF": "tif"}
SUFFIXES = (".png", ".jpg", ".JPEG", ".jfif", ".bmp", ".gif", ".tif", ".webp", ".apng")
_SUFFIXES_READ = tuple({suffix.lower() for suffix in SUFFIXES})
ODD_NAMES = (
    "a b ", "line\nbreak", "tab\t", 'quote"', "comma,", "-rf", "\\", "*", "~", "$HOME",
    "\x1b[31mred", "\u202etfel", "\u00e9", "\U0001f600", "\udcff\udcfe", "%00", ".hid",
    "'", "x" * 240, "#", "con", "=1+1",
)  # fmt: skip


@dataclass
class Folder:
    """A folder under construction, and what its files hold.

    Attributes:
        root: what is read.
        outside: a folder beside it, for links.
        colours: of each good picture, by (device, inode).
        places: real folders to put things into.
        made: the files so far, for links.
    """

    root: Path
    outside: Path
    colours: dict = field(default_factory=dict)
    places: list = field(default_factory=list)
    made: list = field(default_factory=list)


def encode(colour, kind: str = "PNG", side: int = SIDE) -> bytes:
    buffer = io.BytesIO()
    image = Image.new("RGB", (side, side), tuple(int(c) for c in colour))
    image.save(buffer, kind)
    return buffer.getvalue()


def pick(rng: np.random.Generator, things):
    return things[rng.integers(len(things))]


def free_path(rng, made: Folder, suffix: str, odd: float = 0.3) -> Path:
    """A path that nothing is at, in some place, of an odd name now and then."""
    place = pick(rng, made.places)
    stem = pick(rng, ODD_NAMES) if rng.random() < odd else f"{rng.integers(10**6)}"
    path = place / f"{stem}{suffix}"
    while os.path.lexists(path):
        path = place / f"{rng.integers(10**9)}{suffix}"
    return path


def add_good(rng, made: Folder) -> None:
    """A picture of one colour, whatever its suffix says."""
    kind = pick(rng, list(KINDS))
    suffix = f".{KINDS[kind]}" if rng.random() < 0.6 else pick(rng, SUFFIXES)
    colour, path = rng.integers(0, 256, 3), free_path(rng, made, suffix)
    path.write_bytes(encode(colour, kind))
    status = path.stat()
    made.colours[status.st_dev, status.st_ino] = colour
    made.made.append(path)


def claim(encoded: bytes) -> bytes:
    """A PNG whose header says 60,000 x 60,000."""
    return encoded[:16] + (60_000).to_bytes(4) * 2 + encoded[24:]


BAD = {
    "empty": lambda rng: b"",
    "text": lambda rng: b"no picture at all\n",
    "archive": lambda rng: b"PK\3\4" + rng.bytes(300),
    "noise": lambda rng: b"\x89PNG\r\n\x1a\n" + rng.bytes(200),
    "cut": lambda rng: encode((9, 9, 9), "JPEG")[: rng.integers(4, 300)],
    "cut PNG": lambda rng: encode((9, 9, 9))[: rng.integers(8, 50)],
    "bomb": lambda rng: claim(encode((9, 9, 9))),
    "small": lambda rng: encode((9, 9, 9), side=7),
    "apple": lambda rng: b"\0\5\x16\7\0\2\0\0Mac OS X        ",
    "HTML": lambda rng: b"<!DOCTYPE html><title>404</title>",
}


def add_bad(rng, made: Folder) -> None:
    path = free_path(rng, made, pick(rng, SUFFIXES))
    path.write_bytes(BAD[pick(rng, list(BAD))](rng))
    made.made.append(path)


def add_other(rng, made: Folder) -> None:
    path = free_path(rng, made, pick(rng, ["", ".txt", ".zip", ".db", ".png.part"]))
    path.write_bytes(rng.bytes(20))


def add_special(rng, made: Folder) -> None:
    """What is no regular file, and one that is too large."""
    path = free_path(rng, made, pick(rng, SUFFIXES), odd=0)
    kind = pick(rng, ["pipe", "socket", "zero", "nowhere", "itself", "huge"])
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "huge":
        with open(path, "wb") as file:
            file.truncate(300 << 20)
    elif kind == "socket":
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as server:
            server.bind(os.fspath(path))  # not of a path beyond 107 bytes
    else:
        targets = {"zero": "/dev/zero", "nowhere": "none/at/all", "itself": path.name}
        path.symlink_to(targets[kind])


def add_place(rng, made: Folder) -> None:
    """A folder, of one level or of forty, named as it may be."""
    deep = 40 if rng.random() < 0.1 else 1
    path = free_path(rng, made, pick(rng, ["", "", ".png", "_class"]))
    for _ in range(deep):
        path.mkdir()
        made.places.append(path)
        path = path / f"d{rng.integers(10)}"


def add_hidden(rng, made: Folder) -> None:
    path = pick(rng, made.places) / f".{rng.integers(10**6)}"
    path.mkdir()
    (path / "1.png").write_bytes(encode((1, 2, 3)))


def add_link_to_folder(rng, made: Folder) -> None:
    """To itself, another one, one above, one outside, one that is hidden."""
    target = pick(rng, [*made.places, made.root, made.outside, made.root.parent])
    path = free_path(rng, made, pick(rng, ["", ".png"]), odd=0)
    relative = os.path.relpath(target, path.parent)
    path.symlink_to(relative if rng.random() < 0.5 else target)


def add_link_to_file(rng, made: Folder) -> None:
    files = [*made.made, made.outside / "outside.png"]
    path = free_path(rng, made, ".png")
    if rng.random() < 0.3:
        os.link(pick(rng, files), path)
    else:
        path.symlink_to(pick(rng, files))


def close(rng, made: Folder) -> None:
    """Takes the rights from a file or a folder."""
    below = [place for place in made.places if place != made.root]
    if below and rng.random() < 0.5:
        pick(rng, below).chmod(pick(rng, [0o000, 0o111, 0o444]))
    elif made.made:
        pick(rng, made.made).chmod(0o000)


def make_folder(rng: np.random.Generator, here: Path) -> Folder:
    """A folder of a mixture that is drawn."""
    made = Folder(here / "photos", here / "beside")
    made.root.mkdir()
    made.outside.mkdir()
    made.places = [made.outside]
    add_good(rng, made)
    os.rename(made.made[0], made.outside / "outside.png")
    made.made, made.places = [], [made.root]
    for _ in range(rng.integers(0, 5)):
        add_place(rng, made)
    if rng.random() < 0.5 and len(made.places) > 1:
        made.places.remove(made.root)  # so that folders are classes
    adders = [add_bad, add_other, add_special, add_hidden]
    adders += [add_link_to_folder, add_link_to_file, add_place]
    kept = [adder for adder in adders if rng.random() < 0.5]
    for _ in range(pick(rng, [1, 4, 12, 30])):
        (pick(rng, kept) if kept and rng.random() < 0.5 else add_good)(rng, made)
    for _ in range(rng.integers(0, 3)):
        close(rng, made)
    return made


# What is to be found, by another way than the readers': real folders, each once.


@dataclass
class Truth:
    """How many files can be used, must be named, and are no images by their names."""

    good: int = 0
    bad: int = 0
    others: int = 0


def survey(made: Folder) -> Truth:
    """What is below a folder, as far as its rights let one see."""
    truth, seen, left = Truth(), set(), [made.root]
    while left:
        here = os.path.realpath(left.pop())
        if here in seen:
            continue
        seen.add(here)
        try:
            entries = list(os.scandir(here))
        except OSError:
            truth.bad += 1
            continue
        for entry in entries:
            if is_folder(entry):
                left += [] if entry.name.startswith(".") else [entry.path]
            elif not entry.name.lower().endswith(_SUFFIXES_READ):
                truth.others += 1
            elif is_good(entry.path, made):
                truth.good += 1
            else:
                truth.bad += 1
    return truth


def is_folder(entry: os.DirEntry) -> bool:
    with contextlib.suppress(OSError):
        return entry.is_dir()
    return False


def is_good(path: str, made: Folder) -> bool:
    with contextlib.suppress(OSError):
        status = os.stat(path)
        known = (status.st_dev, status.st_ino) in made.colours
        return (
            known
            and stat.S_ISREG(status.st_mode)
            and os.access(path, os.R_OK, effective_ids=True)
        )
    return False


@contextlib.contextmanager
def unprivileged():
    """As a user whom rights bind: not the administrator."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def check_case(made: Folder) -> str:
    """Reads a folder as the commands do; what came of it."""
    truth = survey(made)
    total = truth.good + truth.bad
    folder = refused_or(made, not total, lambda: ImageFolder(made.root))
    if folder is None:
        return "no files"
    names = list(folder)
    assert len(set(names)) == len(names) == folder.count == total, (names, truth)
    assert sum(number for _, number in folder.others) == truth.others
    sent = [str(path) for path in find_images([str(made.root)])]
    assert len(set(sent)) == len(sent) == total, set(sent) ^ {
        f"{made.root}/{name}".rstrip("/") for name in names
    }
    options = sources.ReadOptions(image_size=SIDE)
    read = lambda: sources.read(f"folder:{made.root}", options).train
    data = refused_or(made, not truth.good, read)
    if data is None:
        return "none to use"
    check_images(made, data, truth)
    return check_division(made, truth)


def refused_or(made: Folder, refused: bool | None, read):
    """What is read, or None after a refusal in one line; which of them is known."""
    result, text = None, ""
    try:
        result = read()
    except (DataError, ConfigError) as error:
        text = str(error).replace(str(made.root), "")
    assert refused in (None, result is None), text
    assert len(text) < 700, text
    return result


def check_images(made: Folder, data, truth: Truth) -> None:
    """Every image has the pixels of the file that it is named after."""
    assert (len(data), len(data.skipped)) == (truth.good, truth.bad), (data, truth)
    for name, image in zip(data.names, data.images, strict=True):
        status = os.stat(made.root / name)
        colour = made.colours[status.st_dev, status.st_ino]
        assert np.abs(image - colour).max() <= 4, name
    tops = {name.partition("/")[0] for name in data.names}
    nested = all("/" in name for name in data.names)
    assert (data.labels is not None) == (nested and len(tops) > 1)
    if data.labels is not None:
        assert set(data.class_names) == tops
        for name, label in zip(data.names, data.labels, strict=True):
            assert data.class_names[label] == name.partition("/")[0]


def check_division(made: Folder, truth: Truth) -> str:
    """Training, validation and test images are all there are, once each."""
    config = Config(
        dataset=f"folder:{made.root}", image_size=SIDE, steps=1, batch_size=4,
        workdir=str(made.outside / "run"), encoder="half_convnet", code_size=8,
    )  # fmt: skip
    data = refused_or(made, None, lambda: experiment.load_data(config))
    if data is None:
        return "too few to divide"
    parts = [part for part in (data.train, data.validation, data.test) if part]
    assert sum(map(len, parts)) == truth.good
    names = [name for part in parts for name in part.names]
    assert len(set(names)) == len(names)
    return "divided"


def check_cases(count: int, seed: int) -> tuple[Counter, int, float]:
    """Tries folders; what came of them, the most MB, the most seconds."""
    rng, found, most, longest = np.random.default_rng(seed), Counter(), 0, 0.0
    for number in range(count):
        with tempfile.TemporaryDirectory() as scratch:
            here = Path(scratch)
            here.chmod(0o755)
            made = make_folder(rng, here)
            started = time.monotonic()
            try:
                with unprivileged():
                    outcome = check_case(made)
            except BaseException:
                print(f"WRONG: case {number} of seed {seed}", file=sys.stderr)
                raise
            finally:
                for place in made.places:
                    place.chmod(0o755)
            found[outcome] += 1
            longest = max(longest, time.monotonic() - started)
    status = Path("/proc/self/status").read_text()
    most = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024
    return found, most, longest


if __name__ == "__main__":
    found, most, longest = check_cases(int(sys.argv[1]), int(sys.argv[2]))
    print(f"{dict(found)}, at most {most} MB, {longest:.1f} s")
