"""The options of a run on the disk, which everything that is read of it goes by.

`run.flags` is a runnable flagfile, sealed. Its facts are the number that all files of
the run have in common, and the checksum of the run's copy of a user's model. Each
checkpoint holds the same, and stands in for a run.flags that is damaged or was edited.
"""

import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from tf_infomax.options import Config, ConfigError
from tf_infomax.options.flags import format_flags, open_flagfile, parse_flagfile
from tf_infomax.runtime import seals
from tf_infomax.runtime.files import replacing
from tf_infomax.runtime.progress import tell
from tf_infomax.runtime.seals import DamagedError
from tf_infomax.training.checkpoints import read_state

LENGTH = ("steps", "epochs")


class RunOptions:
    """`run.flags` of a work directory.

    Args:
        path: the work directory.
        checkpoints: that may be there, the most wanted first.
    """

    def __init__(self, path: Path, checkpoints: Sequence[Path]):
        self.path, self.checkpoints = path, checkpoints
        self.file = path / "run.flags"
        self.own_model = path / "own_model.keras"
        self._read: tuple[Config, dict] | None = None

    @property
    def begun(self) -> bool:
        """Whether a run has left its options or a checkpoint."""
        return any(file.exists() for file in (self.file, *self.checkpoints))

    def write(self, config: Config) -> None:
        """Writes run.flags, unless it says the same already, and copies the model.

        Of a run that was begun only the length is taken from `config`.

        Raises:
            OSError: if they cannot be written.
        """
        facts = {"run": uuid.uuid4().hex}
        if self.begun:
            there, found = self.read()
            facts |= found
            config = there.replace(**{n: getattr(config, n) for n in LENGTH})
        if config.encoder.startswith("keras:"):
            facts["own_model"] = self._copy_model(config, facts)
        text = seals.seal_text(format_flags(config), **facts).encode()
        if not self.file.exists() or self.file.read_bytes() != text:
            with replacing(self.file) as file:
                file.write_bytes(text)
        self._read = config, facts

    def _copy_model(self, config: Config, facts: dict) -> str:
        """SHA-256 of the run's copy of the user's model, made if it is not there."""
        wanted = facts.get("own_model")
        if not self.own_model.exists() or (
            wanted and seals.hash_file(self.own_model) != wanted
        ):
            with replacing(self.own_model) as file:
                shutil.copyfile(config.encoder.partition(":")[2], file)
        return seals.hash_file(self.own_model)

    def read(self) -> tuple[Config, dict]:
        """Options, and the facts of their seal, read once.

        Raises:
            ConfigError: if there are none that can be believed.
        """
        if self._read is None:
            if not self.begun:
                raise ConfigError(
                    f"--workdir={self.path} is no folder of a run: it has no run.flags."
                )
            self._read = self._find_options()
        return self._read

    def _find_options(self) -> tuple[Config, dict]:
        config, facts = None, None
        try:
            config, facts = open_flagfile(self.file)
            why = "has no seal"
        except DamagedError as error:
            why = str(error)
        if facts is not None:
            return config, facts
        for path in self.checkpoints:
            kept = _kept_in(path)
            if kept is not None:
                tell(f"{self.file} {why}: the options are those kept in {path}")
                return kept
        if config is None:
            raise ConfigError(
                f"{self.file} {why}, and no checkpoint holds the run's options. "
                "Put the file back, or choose another folder to train anew."
            )
        tell(
            f"{self.file} has no seal, as of an earlier version or written by "
            "hand: it is taken as it stands"
        )
        return config, {}

    def describe(self) -> dict:
        """What a checkpoint keeps of the run: its number and its options."""
        if not self.file.exists():
            return {}
        config, facts = self.read()
        return {**facts, "flags": format_flags(config)}

    @property
    def run(self) -> str:
        """The number that the files of the run have in common; "" of earlier ones."""
        return self.read()[1].get("run", "") if self.begun else ""

    def localize(self, config: Config) -> Config:
        """The options with the run's own copy of a user's model, once it has one.

        Raises:
            ConfigError: if that is not what was copied.
        """
        wanted = self.read()[1].get("own_model") if self.begun else None
        there = self.own_model.exists()
        if there and wanted in (None, seals.hash_file(self.own_model)):
            return config.replace(encoder=f"keras:{self.own_model}")
        if not wanted:
            return config
        original = Path(config.encoder.partition(":")[2])
        why = f"{self.own_model} {'was changed or cut off' if there else 'is missing'}"
        if not original.is_file() or seals.hash_file(original) != wanted:
            raise ConfigError(
                f"{why}, and {original} is not what it was copied from. Put it back."
            )
        tell(f"{why}: the model is read from {original}, of which it was a copy")
        return config


def _kept_in(path: Path) -> tuple[Config, dict] | None:
    """Options and facts that a checkpoint holds, if it is whole and has them."""
    try:
        state = read_state(path)
    except (ConfigError, OSError):
        return None
    if not isinstance(state.get("flags"), str):
        return None
    facts = {n: state[n] for n in ("run", "own_model") if n in state}
    return parse_flagfile(state["flags"], path), facts
