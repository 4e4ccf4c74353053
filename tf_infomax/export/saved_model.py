"""Exports a trained encoder: `tf-infomax export --workdir=RUN --output=DIR`.

Writes DIR/<name>/<version>/, a SavedModel that TensorFlow Serving loads, by one rename
after it has been verified; or <version>.tflite, <version>.onnx.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from tf_infomax.options import (
    Config,
    ConfigError,
    Options,
    command,
    flags,
    option,
    shared_option,
    tables,
)

_EXPORT = "Export"


@dataclass(frozen=True)
class ExportOptions(Options):
    """How to export."""

    workdir: str = option("", _EXPORT, "Folder of the trained run.")
    output: str = option("", _EXPORT, "Folder of exported models; made if missing.")
    name: str = option("", _EXPORT, "Name of the model; empty: the run's folder name.")
    version: int = option(
        0, _EXPORT, "Version, a whole number; 0: the next free one.", low=0
    )
    checkpoint: str = option(
        "last", _EXPORT, "Which checkpoint.", choices=("last", "best")
    )
    format: str = option(
        "saved_model",
        _EXPORT,
        "saved_model: for TensorFlow Serving; tflite: for LiteRT; onnx.",
        choices=("saved_model", *tables.RUNTIMES),
    )
    quantize: str = option(
        "none",
        _EXPORT,
        "For tflite. dynamic: weights of 8 bits; int8: activations too, calibrated on "
        "64 images.",
        choices=("none", "dynamic", "int8"),
    )
    classify: bool = option(
        True,
        _EXPORT,
        "For saved_model: a linear probe as `classify`, where the data have labels.",
    )
    critics: bool = option(
        False,
        _EXPORT,
        "For saved_model: the critics' scores of pairs of images as `score`.",
    )
    largest_image: int = option(
        64_000_000, _EXPORT, "Most pixels of an encoded image.", low=64, high=2**28
    )
    data_dir: str = shared_option("data_dir")
    local_files: str = shared_option("local_files")
    memory_limit_mb: int = shared_option("memory_limit_mb")
    cache_dir: str = shared_option("cache_dir")
    debug: bool = shared_option("debug")

    def __post_init__(self):
        super().__post_init__()
        for name in ("workdir", "output"):
            if not getattr(self, name):
                raise ConfigError(f"--{name} is needed.")
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", self.model_name):
            raise ConfigError(
                "--name takes letters, digits, '_', '-' and '.'. Received: "
                f"{self.model_name!r}."
            )
        if self.quantize != "none" and self.format != "tflite":
            raise ConfigError(
                f"--quantize={self.quantize} belongs to --format=tflite. Received: "
                f"--format={self.format}."
            )
        if self.critics and self.format != "saved_model":
            raise ConfigError(
                f"--critics belongs to --format=saved_model. Received: {self.format}."
            )

    @property
    def model_name(self) -> str:
        return self.name or Path(self.workdir).resolve().name

    @property
    def suffix(self) -> str:
        """Of the published entry: a version folder has none."""
        return "" if self.format == "saved_model" else f".{self.format}"


def main(options: ExportOptions) -> int:
    """Exports, verifies and publishes; prints where to."""
    from tf_infomax.training.workdir import WorkDirectory

    config = WorkDirectory(options.workdir).read_config()
    print(export(options, flags.override(config, options)))
    return 0


def export(options: ExportOptions, config: Config) -> Path:
    """Exports, verifies and publishes; the path of what was written.

    Args:
        options: what to write, and where.
        config: of the run, with other places of its data where they have moved.

    Raises:
        ConfigError, ExportError: if it cannot be done; nothing is published then.
    """
    from tf_infomax.export.publishing import choose_version
    from tf_infomax.runtime.files import check_writable
    from tf_infomax.training.workdir import WorkDirectory

    workdir = WorkDirectory(options.workdir)
    folder = Path(options.output) / options.model_name
    check_writable(folder, f"--output={folder}")
    version = choose_version(folder, options.version, options.suffix)
    command.load_tensorflow()

    from tf_infomax.export.building import export_run
    from tf_infomax.runtime.progress import tell

    target = folder / f"{version}{options.suffix}"
    export_run(workdir, config, options, target, tell)
    return target


def start() -> None:
    """The command."""
    command.run(main, "tf_infomax.export.saved_model", __doc__, ExportOptions)


if __name__ == "__main__":
    start()
