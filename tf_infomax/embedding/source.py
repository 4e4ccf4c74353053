"""Which frozen encoder a command embeds with: options, checked early, loaded late."""

from dataclasses import dataclass
from pathlib import Path

from tf_infomax.embedding.versions import find_version
from tf_infomax.options import ConfigError, Options, flags, option
from tf_infomax.runtime.progress import tell
from tf_infomax.runtime.seals import DamagedError

_ENCODER = "Encoder"


@dataclass(frozen=True)
class EncoderOptions(Options):
    """The encoder of a run or of an exported model, and one of its features."""

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

    def __post_init__(self):
        super().__post_init__()
        if bool(self.workdir) == bool(self.saved_model):
            raise ConfigError(
                "give --workdir or --saved_model, one of them. Received: "
                f"{'both' if self.workdir else 'neither'}."
            )
        if self.saved_model and self.checkpoint != "last":
            raise ConfigError("--checkpoint belongs to --workdir.")

    def check_encoder(self) -> None:
        """Refuses a run or a model that is not there, before TensorFlow is loaded."""
        from tf_infomax.training.workdir import WorkDirectory

        if self.workdir:
            workdir = WorkDirectory(self.workdir)
            workdir.read_config()
            workdir.read_state(self.checkpoint)
        else:
            find_version(Path(self.saved_model))

    def load_embedder(self):
        """The `Embedder`."""
        from tf_infomax.embedding.embedder import from_model, from_saved_model
        from tf_infomax.training.trained import load_trained
        from tf_infomax.training.workdir import WorkDirectory

        if self.saved_model:
            version = find_version(Path(self.saved_model))
            return from_saved_model(version, self.feature, _read_rule(version))
        trained = load_trained(WorkDirectory(self.workdir), self.checkpoint)
        return from_model(
            trained.objective.encoder, self.feature, trained.config.resize
        )


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
