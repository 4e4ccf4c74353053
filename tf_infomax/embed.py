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

from tf_infomax.embedding.source import EncoderOptions
from tf_infomax.options import (
    ConfigError,
    command,
    option,
    refuse_if,
    shared_option,
    tables,
)
from tf_infomax.runtime.progress import printable

_SUFFIXES = {
    ".npz": "npz",
    ".csv": "csv",
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
    ".parquet": "parquet",
    "": "projector",
}
_FORMATS = tables.FORMATS
_EMBEDDINGS, _RUN = "Embeddings", "Run"


@dataclass(frozen=True)
class EmbedOptions(EncoderOptions):
    """What to embed, with what, and where to."""

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

    output = Path(options.output)
    check_output(output)
    options.check_encoder()
    folder = ImageFolder(options.images)
    command.load_tensorflow()

    from tf_infomax.embedding.formats import FORMATS, projected_every
    from tf_infomax.embedding.job import embed_folder

    embedder = options.load_embedder()
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


if __name__ == "__main__":
    command.run(main, "tf_infomax.embed", __doc__, EmbedOptions)
