"""Embeds a folder of images: `python -m tf_infomax.embed --workdir=RUN --images=FOLDER
--output=embeddings.npz`.

The encoder is that of a run (--workdir) or of an exported model (--saved_model). A run
that was interrupted, in whatever way, is continued by the same command.
"""

import signal
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tf_infomax.options import (
    ConfigError,
    Options,
    command,
    flags,
    option,
    refuse_if,
    shared_option,
    tables,
)
from tf_infomax.runtime.progress import printable, tell
from tf_infomax.runtime.seals import DamagedError

_SUFFIXES = {
    ".npz": "npz",
    ".csv": "csv",
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
    ".parquet": "parquet",
    "": "projector",
}
_FORMATS = tables.FORMATS
_ENCODER, _EMBEDDINGS, _RUN = "Encoder", "Embeddings", "Run"


@dataclass(frozen=True)
class EmbedOptions(Options):
    """What to embed, with what, and where to."""

    workdir: str = option("", _ENCODER, "Folder of the run that trained the encoder.")
    checkpoint: str = option(
        "last", _ENCODER, "Which of the run's.", choices=("last", "best")
    )
    saved_model: str = option(
        "",
        _ENCODER,
        "Or an exported model: NAME/VERSION, or NAME for its highest version.",
    )
    feature: str = option(
        "code",
        _ENCODER,
        "Feature of the encoder: code, fc, conv, local; maps are flattened.",
    )
    images: str = option("", _EMBEDDINGS, "Folder of image files, at any depth.")
    output: str = option("", _EMBEDDINGS, "File to write (a folder for projector).")
    format: str = option(
        "auto",
        _EMBEDDINGS,
        "auto: by the suffix of --output; none means projector, for TensorBoard.",
        choices=("auto", *_FORMATS),
    )
    batch_size: int = option(256, _RUN, "Images per call of the encoder.", low=1)
    progress: str = shared_option("progress")
    debug: bool = shared_option("debug")

    def __post_init__(self):
        super().__post_init__()
        if bool(self.workdir) == bool(self.saved_model):
            raise ConfigError(
                "give --workdir or --saved_model, one of them. Received: "
                f"{'both' if self.workdir else 'neither'}."
            )
        if self.saved_model and self.checkpoint != "last":
            raise ConfigError("--checkpoint belongs to --workdir.")
        for name in ("images", "output"):
            if not getattr(self, name):
                raise ConfigError(f"--{name} is needed.")
        if self.format == "auto" and Path(self.output).suffix not in _SUFFIXES:
            raise ConfigError(
                f"--output={self.output}: no format has this suffix. Known: "
                f"{', '.join(filter(None, _SUFFIXES))}, or give --format."
            )

        refuse_if(
            self.chosen_format == "parquet" and find_spec("pyarrow") is None,
            "--format=parquet needs pyarrow: pip install 'tf_infomax[parquet]'.",
        )

    @property
    def chosen_format(self) -> str:
        """`format`, by the suffix of the output where it is "auto"."""
        auto = self.format == "auto"
        return _SUFFIXES[Path(self.output).suffix] if auto else self.format


def main(options: EmbedOptions) -> int:
    """Embeds the images and prints how many there were."""
    from tf_infomax.data.files import ImageFolder
    from tf_infomax.embedding.job import check_output
    from tf_infomax.embedding.versions import find_version
    from tf_infomax.training.workdir import WorkDirectory

    output = Path(options.output)
    check_output(output)
    if options.workdir:
        workdir = WorkDirectory(options.workdir)
        workdir.read_config()
        workdir.read_state(options.checkpoint)
    else:
        version = find_version(Path(options.saved_model))
    folder = ImageFolder(options.images)
    command.load_tensorflow()

    from tf_infomax.embedding.embedder import from_model, from_saved_model
    from tf_infomax.embedding.formats import FORMATS, projected_every
    from tf_infomax.embedding.job import embed_folder
    from tf_infomax.training.trained import load_trained

    if options.workdir:
        trained = load_trained(workdir, options.checkpoint)
        encoder, rule = trained.objective.encoder, trained.config.resize
        embedder = from_model(encoder, options.feature, rule)
    else:
        embedder = from_saved_model(version, options.feature, _read_rule(version))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        summary = embed_folder(
            embedder,
            folder,
            output,
            FORMATS[options.chosen_format],
            options.batch_size,
            options.progress,
        )
    except KeyboardInterrupt:
        message = "stopped; what is done is kept beside the output, the same command"
        print(f"tf_infomax: {message} continues.", file=sys.stderr)
        return 1
    print(printable(f"{output}: {summary}"))
    if options.chosen_format == "projector":
        every = projected_every(summary.count)
        some = f" (1 of every {every} images)" if every > 1 else ""
        print(f"tensorboard --logdir={output} shows it{some}")
    return 0


def _read_rule(version: Path) -> str:
    """How the run resized its images, as the export has kept it.

    Raises:
        ConfigError: if that is damaged.
    """
    file = version / "assets.extra" / "run.flags"
    if not file.exists():
        tell(f"{version} has no run.flags: images are cut to the central square")
        return "crop"
    try:
        config, facts = flags.open_flagfile(file)
    except DamagedError as error:
        raise ConfigError(f"{file} {error}. Export the run again.") from error
    if facts is None:
        tell(f"{file} has no seal, as of an earlier version: taken as it stands")
    return config.resize


if __name__ == "__main__":
    command.run(main, "tf_infomax.embed", __doc__, EmbedOptions)
