"""Marks by which a file shows that it is whole and as it was written.

A text has a first line that announces its last one, `# complete sha256=...`, so that a
text that was cut, at the end of a line even, is not taken for one that never had a
seal. A JSON object has a key "seal". An archive (.npz, .keras) has its seal in the
comment, of the names, sizes and CRC-32 sums of its members: the format itself checks
each member against its sum as it is read. With the seal go facts: which run it is of.

Seals tell damage and mistakes; they are no signatures.

Imports the standard library only.
"""

import hashlib
import json
from pathlib import Path
from zipfile import BadZipFile, ZipFile

_ANNOUNCEMENT = "# sealed: the last line tells whether this is whole"
_FACTS, _SEAL = "# facts ", "# complete sha256="
_KEY = "seal"


class DamagedError(ValueError):
    """Why a file is not what was written: the end of "the file ..."."""


def digest(*parts: str | bytes) -> str:
    """SHA-256 in hexadecimal."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part.encode() if isinstance(part, str) else part)
    return total.hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of what a file holds."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal_text(text: str, **facts) -> str:
    """A text of lines, of a kind in which # begins a comment, sealed."""
    body = f"{_ANNOUNCEMENT}\n{text}{_FACTS}{json.dumps(facts)}\n"
    return f"{body}{_SEAL}{digest(body)}\n"


def open_text(content: bytes) -> tuple[str, dict | None]:
    """(text, facts) of a sealed text; (text, None) of one without a seal.

    Raises:
        DamagedError: if it is not what was sealed.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise DamagedError("is no text") from None
    if not text.startswith(_ANNOUNCEMENT):
        return text, None
    body, mark, seal = text.rpartition(_SEAL)
    if not mark:
        raise DamagedError("is cut off")
    text, _, facts = body.removeprefix(f"{_ANNOUNCEMENT}\n").rpartition(_FACTS)
    if seal != f"{digest(body)}\n":
        raise DamagedError("was changed after it was written")
    return text, json.loads(facts)


def seal_json(content: dict, **facts) -> str:
    """A JSON object, for people to read, with a seal."""
    content = json.loads(json.dumps(content))  # tuples are lists, keys are strings
    seal = {**facts, "sha256": _digest_json(content, facts)}
    return json.dumps({**content, _KEY: seal}, indent=1) + "\n"


def open_json(text: str | bytes) -> tuple[dict, dict | None]:
    """(content, facts) of a sealed object; (content, None) of one without a seal.

    Raises:
        DamagedError: if it is not what was sealed, or no JSON object.
    """
    try:
        content = json.loads(text)
    except ValueError:
        raise DamagedError("is cut off or no JSON") from None
    if not isinstance(content, dict):
        raise DamagedError("is no JSON object")
    if _KEY not in content:
        return content, None
    facts = content.pop(_KEY)
    if not isinstance(facts, dict):
        raise DamagedError("has no seal that can be read")
    found = facts.pop("sha256", None)
    if found != _digest_json(content, facts):
        raise DamagedError("was changed after it was written")
    return content, facts


def _digest_json(content: dict, facts: dict) -> str:
    return digest(json.dumps([content, facts], sort_keys=True))


def seal_archive(path: Path, **facts) -> None:
    """Seals a zip archive; to its readers it stays what it was."""
    with ZipFile(path, "a") as archive:
        seal = {**facts, "sha256": _digest_members(archive, facts)}
        archive.comment = json.dumps({_KEY: seal}).encode()


def open_archive(path: Path, members: bool = False) -> dict | None:
    """The facts of a sealed archive; None of one without a seal.

    Args:
        path: of the archive.
        members: whether to read all of them; else each is checked as it is read.

    Raises:
        DamagedError: if it is not what was sealed, or no archive.
        OSError: if it cannot be read.
    """
    try:
        with ZipFile(path) as archive:
            facts = _open_comment(archive)
            if members and (bad := archive.testzip()) is not None:
                raise DamagedError(f"is damaged in {bad}")
            return facts
    except (BadZipFile, EOFError, NotImplementedError, ValueError) as error:
        if isinstance(error, DamagedError):
            raise
        raise DamagedError("is cut off or no archive") from error


def _open_comment(archive: ZipFile) -> dict | None:
    if not archive.comment:
        return None
    try:
        facts = json.loads(archive.comment)[_KEY]
        found = facts.pop("sha256")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DamagedError("has no seal that can be read") from None
    if found != _digest_members(archive, facts):
        raise DamagedError("was changed after it was written")
    return facts


def _digest_members(archive: ZipFile, facts: dict) -> str:
    members = sorted((m.filename, m.CRC, m.file_size) for m in archive.infolist())
    return digest(json.dumps([members, facts], sort_keys=True))
