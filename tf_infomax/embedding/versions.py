"""Which folders of an exported model are versions of it."""

from pathlib import Path

from tf_infomax.options import ConfigError


def read_version(name: str) -> int | None:
    """The version that a folder of this name holds, as TensorFlow Serving sees it.

    It takes every name that is a number (of 64 bits) for a version, and no other.
    """
    number = int(name) if name.isascii() and name.isdecimal() else -1
    return number if 0 <= number < 2**63 else None


def find_version(path: Path) -> Path:
    """The folder itself if it holds a SavedModel, else its highest version.

    Raises:
        ConfigError: if there is no SavedModel in either.
    """
    if (path / "saved_model.pb").is_file():
        return path
    folders = [file.parent for file in path.glob("*/saved_model.pb")]
    versions = {read_version(folder.name): folder for folder in folders}
    versions.pop(None, None)
    if not versions:
        raise ConfigError(
            f"--saved_model={path} is no exported model: neither it nor a numbered "
            "folder in it has a saved_model.pb."
        )
    return versions[max(versions)]
