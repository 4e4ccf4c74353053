"""Results that a second start goes on from, if their settings are the same."""

import json
from pathlib import Path

from tf_infomax.config import ConfigError
from tf_infomax.output import replacing


def read(path: Path | None, settings: dict, flag: str) -> dict | None:
    """What `write` left; None if there is nothing.

    Args:
        path: of the file, or None.
        settings: that it must have been made with.
        flag: that chooses another folder, for the error.

    Raises:
        ConfigError: if it was made with others.
    """
    if path is None or not path.exists():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["settings"] != json.loads(json.dumps(settings)):  # tuples are lists
        raise ConfigError(
            f"{path} holds results of other options ({content['settings']}); choose "
            f"another {flag}."
        )
    return content


def write(path: Path | None, settings: dict, **content) -> None:
    """Writes settings and content; to no path, nothing."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        text = json.dumps({"settings": settings, **content}, indent=1)
        file.write_text(text + "\n", encoding="utf-8")
