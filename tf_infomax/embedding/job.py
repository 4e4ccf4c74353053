"""A folder of images into a file of embeddings."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from tf_infomax.data.files import (
    DECODING,
    ImageFolder,
    count_others,
    make_decoder,
    map_batches,
)
from tf_infomax.data.images import DataError
from tf_infomax.embedding.embedder import Embedder
from tf_infomax.embedding.parts import Parts, parts_folder
from tf_infomax.options import ConfigError
from tf_infomax.runtime.files import check_writable, write_skipped
from tf_infomax.runtime.progress import Progress


@dataclass(frozen=True)
class Summary:
    """What `embed_folder` did: `shown` are the first (name, reason) skipped.

    `others` are (suffix, number) of the files that are no images by their names.
    """

    count: int
    skipped: int
    shown: tuple[tuple[str, str], ...]
    others: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        text = f"{self.count} images embedded, {self.skipped} skipped"
        reasons = [f"{name} ({reason})" for name, reason in self.shown]
        if self.skipped > len(self.shown):
            reasons.append("...")
        text += f": {', '.join(reasons)}" if reasons else ""
        return text + count_others(self.others)


def check_output(output: Path) -> None:
    """Whether an output can be made here; writes nothing.

    Raises:
        ConfigError: if it exists or its folder cannot be written.
    """
    if os.path.lexists(output):
        raise ConfigError(
            f"{output} exists already; choose another --output or remove it."
        )
    check_writable(output.absolute().parent, f"--output={output}")


def embed_folder(
    embedder: Embedder,
    folder: ImageFolder,
    output: Path,
    write: Callable[[Parts, Path, Callable], None],
    batch_size: int = 256,
    progress: str = "none",
) -> Summary:
    """Embeds every image below a folder into a file; a second call continues.

    Batch k holds the files from k * batch_size on, good or bad, so that a run that was
    interrupted computes the same batches as one that was not.

    Args:
        embedder: the frozen encoder.
        folder: the images.
        output: appears when it is complete; with it, if files were skipped,
            `OUTPUT.skipped.csv`.
        write: a row of `formats.FORMATS`.
        batch_size: images per call of the encoder.
        progress: a style of `Progress`.

    Raises:
        ConfigError: if the output exists or cannot be written.
        DataError: if not one of the files can be used.
    """
    check_output(output)
    with embedded_parts(
        embedder, folder, parts_folder(output), batch_size, progress
    ) as parts:
        if parts.count:
            _finish(parts, output, write, embedder, folder)
    shutil.rmtree(parts.folder)
    if not parts.count:
        raise _nothing_usable(folder, parts)
    return Summary(parts.count, parts.skipped, tuple(parts.shown), folder.others)


@contextmanager
def embedded_parts(
    embedder: Embedder,
    folder: ImageFolder,
    where: Path,
    batch_size: int = 256,
    progress: str = "none",
) -> Iterator[Parts]:
    """The embeddings of every image below a folder, kept in the folder `where`.

    What is there of the same encoder and the same files is not computed again.
    """
    batch_size = min(batch_size, folder.count)
    embed = compile_embedder(embedder, batch_size)
    width = embed(np.zeros((0, *embedder.image_shape), np.uint8)).shape[1]
    key = {
        "encoder": embedder.fingerprint,
        "feature": f"{embedder.feature}, {width} numbers",
        "image size": f"{embedder.image_shape}, {embedder.resize}",
        "decoding": DECODING,
        "list of images": folder.fingerprint,
    }
    parts = Parts(where, key, width)
    try:
        with Progress(folder.count, parts.files, progress) as shown:
            _tell_beginning(parts, folder, shown.tell)
            _embed_rest(embedder, embed, folder, parts, batch_size, shown.update)
        yield parts
    finally:
        parts.close()


def compile_embedder(embedder: Embedder, batch_size: int) -> Callable:
    """A function uint8 `[N, H, W, C]` -> float32 `[N, D]`, compiled once."""
    from tf_infomax.evaluation.features import compile_features

    run = compile_features(
        lambda images: {"feature": embedder.extract(images)},
        embedder.image_shape,
        batch_size,
    )
    return lambda images: run(images)["feature"]


def _nothing_usable(folder: ImageFolder, parts: Parts) -> DataError:
    name, reason = parts.shown[0]
    return DataError(
        f"none of the {folder.count} image files in {folder.path} can be used; "
        f"the first: {name} ({reason})."
    )


def _tell_beginning(parts: Parts, folder: ImageFolder, tell) -> None:
    if parts.discarded:
        tell(
            f"the unfinished {parts.folder} is discarded: its "
            f"{' and '.join(parts.discarded)} differed"
        )
    if parts.files == folder.count:
        tell(f"the codes of all {parts.files} images are kept from before")
    elif parts.files:
        tell(f"continues after {parts.files} of {folder.count} images")


def _embed_rest(embedder, embed, folder, parts, batch_size, update) -> None:
    decode = make_decoder(folder.path, embedder.image_shape, embedder.resize)
    rest = islice(folder, parts.files, None)
    for names, results in map_batches(decode, rest, batch_size):
        pairs = list(zip(names, results, strict=True))
        good = [(n, image) for n, image in pairs if not isinstance(image, str)]
        skipped = [(n, reason) for n, reason in pairs if isinstance(reason, str)]
        rows = np.empty((0, parts.width), np.float32)
        if good:
            rows = embed(np.stack([image for _, image in good]))
        parts.add([n for n, _ in good], rows, skipped)
        update(parts.files)


def _finish(parts: Parts, output: Path, write, embedder, folder) -> None:
    """Writes the output within the parts, then renames it into its place."""

    def thumbnails(side: int):
        shape = (side, side, embedder.image_shape[2])
        return make_decoder(folder.path, shape, embedder.resize)

    finished = parts.folder / "finished"
    if finished.is_dir():  # a projector's folder that a kill has left
        shutil.rmtree(finished)
    write(parts, finished, thumbnails)
    path = output.with_name(f"{output.name}.skipped.csv")
    if parts.skipped:
        write_skipped(path, parts.skipped_files())
    else:
        path.unlink(missing_ok=True)  # of an output of this name that was removed
    for file in finished.rglob("*") if finished.is_dir() else [finished]:
        with open(file, "rb") as opened:
            os.fsync(opened.fileno())
    os.rename(finished, output)
