"""Finds images that are alike: `python -m tf_infomax.neighbors --workdir=RUN
--images=FOLDER --query=IMAGE --output=neighbors.html`.

Without --query: the nearest pairs of the folder, which are near-duplicates if there are
any; with --within=5 groups of them, of which the .csv has all. The codes are kept in
--cache_dir, so that a second search computes none of them.
"""

import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from tf_infomax.embedding.source import EncoderOptions
from tf_infomax.options import ConfigError, command, option, shared_option
from tf_infomax.runtime.progress import print_wide, printable

_SEARCH, _RUN = "Search", "Run"


@dataclass(frozen=True)
class NeighborsOptions(EncoderOptions):
    """What to look for, where, and how near is measured."""

    images: str = option("", _SEARCH, "Folder of image files, at any depth.")
    query: tuple[str, ...] = option(
        (),
        _SEARCH,
        "An image file to look for, in the folder or elsewhere; once for each. None: "
        "the nearest pairs.",
        repeated=True,
    )
    count: int = option(
        12, _SEARCH, "Images for each query, or pairs; groups on the page.", low=1
    )
    within: float = option(
        0.0,
        _SEARCH,
        "Groups near-duplicates: images that pairs join which are at most so far "
        "apart, in per cent of the usual distance; 0: no groups.",
        low=0.0,
        high=100.0,
    )
    distance: str = option(
        "l1", _SEARCH, "Of two codes.", choices=("l1", "l2", "cosine")
    )
    output: str = option(
        "neighbors.html",
        _SEARCH,
        "Page to write; the same name with .csv has the distances.",
    )
    cache_dir: str = shared_option("cache_dir")
    batch_size: int = option(256, _RUN, "Images per call of the encoder.", low=1)
    progress: str = shared_option("progress")
    debug: bool = shared_option("debug")

    def __post_init__(self):
        super().__post_init__()
        if not self.images:
            raise ConfigError("--images is needed.")
        if self.within and self.query:
            raise ConfigError(
                f"--within={self.within:g} groups the images of the folder: it goes "
                "without --query."
            )
        if Path(self.output).suffix not in (".html", ".htm"):
            raise ConfigError(
                f"--output takes a page: NAME.html. Received: {self.output!r}."
            )


def main(options: NeighborsOptions) -> int:
    """Prints the matches, writes them as a page and as .csv."""
    from tf_infomax.data.files import ImageFolder
    from tf_infomax.runtime.files import check_writable

    output = Path(options.output)
    check_writable(output.absolute().parent, f"--output={output}")
    options.check_encoder()
    folder = ImageFolder(options.images)
    queries = [_locate(each, folder.path) for each in options.query]
    command.load_tensorflow()

    embedder = options.load_embedder()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        groups, summary = _search(options, embedder, folder, queries)
    except KeyboardInterrupt:
        print(
            "tf_infomax: stopped; what is done is kept, the same command continues.",
            file=sys.stderr,
        )
        return 1
    _write(options, embedder, folder, groups, summary)
    return 0


def _locate(query: str, folder: Path) -> Path:
    """The file of a query, named from here or from the folder."""
    places = [Path(query).expanduser(), folder / query]
    for place in places:
        if place.is_file():
            return place
    what = "a folder" if any(place.is_dir() for place in places) else "no such file"
    raise ConfigError(f"--query={query}: {what}, here or in {folder}; name an image.")


def _search(options: NeighborsOptions, embedder, folder, queries: list[Path]):
    """(groups of matches, what the folder has)."""
    import numpy as np

    from tf_infomax.embedding.alike import Codes
    from tf_infomax.embedding.job import Summary, compile_embedder, embedded_parts
    from tf_infomax.runtime.seals import digest

    place = digest(f"{folder.path.resolve()} {embedder.fingerprint} {embedder.feature}")
    where = Path(options.cache_dir).expanduser() / f"codes-{place[:24]}"
    # Before the folder, which may take long.
    looked_for = {_name_of(path, folder.path): path for path in queries}
    embed = compile_embedder(embedder, max(1, len(looked_for)))
    rows = _embed([*looked_for.values()], embedder, embed)
    with embedded_parts(
        embedder, folder, where, options.batch_size, options.progress
    ) as parts:
        batches = list(parts.batches())
        summary = Summary(parts.count, parts.skipped, tuple(parts.shown), folder.others)
    names = [name for some, _ in batches for name in some]
    if len(names) < 2:
        raise ConfigError(
            f"--images={options.images}: two images are needed; {summary}."
        )
    codes = Codes(
        names, np.concatenate([each for _, each in batches]), options.distance
    )
    if queries:
        groups = [
            codes.find_near(name, row, options.count)
            for name, row in zip(looked_for, rows, strict=True)
        ]
    elif options.within:
        groups = codes.find_groups(options.within / 100.0)
    else:
        groups = [[match] for match in codes.find_pairs(options.count)]
    return groups, summary


def _name_of(path: Path, folder: Path) -> str:
    """As the folder calls it, or its whole path."""
    path, folder = path.resolve(), folder.resolve()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _embed(queries: list[Path], embedder, embed):
    """The codes of the queries."""
    import numpy as np

    from tf_infomax.data.files import make_decoder

    decode = make_decoder(Path(), embedder.image_shape, embedder.resize)
    images = []
    for path in queries:
        image = decode(str(path.absolute()))
        if isinstance(image, str):
            raise ConfigError(f"--query={path} cannot be used: {image.rstrip('.')}.")
        images.append(image)
    return embed(np.stack(images)) if images else []


def _write(options: NeighborsOptions, embedder, folder, groups, summary) -> None:
    from rich.table import Table

    from tf_infomax.data.files import make_decoder
    from tf_infomax.embedding.alike import THUMBNAIL, write_matches, write_sheet

    output = Path(options.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    matches = [match for group in groups for match in group]
    shown = groups[: options.count] if options.within else groups
    table = Table()
    for name in ("image", "is near", options.distance):
        table.add_column(name, justify="right" if name == options.distance else "left")
    table.add_column("% of usual", justify="right")
    for each in (match for group in shown for match in group):
        share = f"{100 * each.share:.1f}"
        names = [printable(name) for name in (each.query, each.found)]
        table.add_row(*names, f"{each.distance:.4g}", share)
    print_wide(table)
    write_matches(output.with_suffix(".csv"), matches)
    shape = (THUMBNAIL, THUMBNAIL, embedder.image_shape[2])
    told = [
        f"{folder.path}: {summary}.",
        f"Distance ({options.distance}) of the feature {embedder.feature}; usual is "
        "the median distance of two images at random.",
    ]
    title = "Images that are alike" if options.query else "The nearest pairs"
    if options.within:
        title = "Groups of near-duplicates"
        told.append(_describe_groups(options, groups))
    elif not any(each.distance for each in matches):
        told.append("The distances are all 0: identical images, or collapsed codes.")
    decode = make_decoder(folder.path, shape, embedder.resize)
    write_sheet(output, title, told, shown, decode)
    print(printable(" ".join([*told, f"Pictures: {output}"])))


def _describe_groups(options: NeighborsOptions, groups: list) -> str:
    """How many there are, and what could be left out."""
    if not groups:
        return f"No two images are within {options.within:g} % of the usual distance."
    extra = sum(map(len, groups))
    beyond = len(groups) - options.count
    more = f" The largest {options.count} are shown." if beyond > 0 else ""
    return (
        f"{len(groups)} group{'s' * (len(groups) > 1)} within {options.within:g} % of "
        f"the usual distance; one image of each kept, {extra} could go.{more}"
    )


if __name__ == "__main__":
    command.run(main, "tf_infomax.neighbors", __doc__, NeighborsOptions)
