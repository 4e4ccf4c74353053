"""Results that a second start goes on from, if their settings are the same."""

import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType

from tf_infomax.options import ConfigError
from tf_infomax.runtime import seals
from tf_infomax.runtime.files import replacing
from tf_infomax.runtime.progress import tell
from tf_infomax.training.checkpoints import load_checkpoint, read_state, save_checkpoint


class Settings(dict):
    """Settings by name, and what each is where nobody asks for anything else.

    A file of before there was such an option was made with that.
    """

    def __init__(self, values: Mapping, defaults: Mapping = MappingProxyType({})):
        super().__init__(values)
        self.defaults = defaults


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
    try:
        content, facts = seals.open_json(path.read_bytes())
        found = content["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is damaged ({error}): remove it, and its run is done again."
        ) from error
    if facts is None:
        _say_unsealed(path.parent)
    _check_settings(path, found, settings, flag)
    return content


@cache
def _say_unsealed(folder: Path) -> None:
    tell(
        f"{folder} has results without a seal, as of an earlier version: they are "
        "taken as they stand"
    )


def _check_settings(path: Path, found: dict, wanted: dict, flag: str) -> None:
    defaults = wanted.defaults if isinstance(wanted, Settings) else {}
    found = {name: defaults[name] for name in wanted if name in defaults} | found
    # Tuples are lists in a file.
    found, wanted = (json.loads(json.dumps(each)) for each in (found, wanted))
    if found == wanted:
        return
    names = [k for k in {**found, **wanted} if found.get(k) != wanted.get(k)]
    parts = [f"{k} is {wanted.get(k)}, there {found.get(k)}" for k in names]
    raise ConfigError(
        f"{path} holds results of other options ({'; '.join(parts)}); choose another "
        f"{flag}."
    )


def write(path: Path | None, settings: dict, **content) -> None:
    """Writes settings and content; to no path, nothing."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        text = seals.seal_json({"settings": settings, **content})
        file.write_text(text, encoding="utf-8")


Curves = dict[str, list[float]]


@dataclass
class Unfinished:
    """A run that is kept after each of its parts, so that a kill costs one at most.

    Attributes:
        path: of an .npz, there until the run is finished; None keeps nothing.
        settings: that it must have been made with.
        tell: hears, after each part, which share of the run is done.
        seconds: that the run has taken, over all starts.
    """

    path: Path | None = None
    settings: dict = field(default_factory=dict)
    tell: Callable[[float], None] = lambda share: None
    seconds: float = 0.0

    def __post_init__(self):
        self._clock = time.monotonic()

    def restore(self, variables: Sequence = ()) -> Curves:
        """The curves last saved, with the variables as they were; {} at the start.

        Raises:
            ConfigError: if they are of other settings.
        """
        if self.path is None or not self.path.exists():
            return {}
        found = read_state(self.path)["settings"]
        _check_settings(self.path, found, self.settings, "--workdir")
        state = load_checkpoint(self.path, list(variables))
        self.seconds += state["seconds"]
        return state["curves"]

    def save(self, curves: Curves, share: float, variables: Sequence = ()) -> None:
        """Keeps curves and variables; `share` of the run is done."""
        self.count_seconds()
        self.tell(share)
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            state = {
                "settings": self.settings,
                "seconds": self.seconds,
                "curves": curves,
            }
            save_checkpoint(self.path, list(variables), state)

    def count_seconds(self) -> float:
        """Seconds up to now."""
        now = time.monotonic()
        self.seconds, self._clock = self.seconds + now - self._clock, now
        return self.seconds


def run_in_parts(
    ends: Sequence[int],
    variables: Sequence,
    advance: Callable[[int, int], dict[str, float]],
    unfinished: Unfinished,
    start: Callable[[], dict[str, float]] | None = None,
) -> Curves:
    """Runs from end to end, and goes on at the last one that was saved.

    Args:
        ends: ascending steps; the first is the beginning.
        variables: all that the run changes.
        advance: (first, last) -> what is read at step `last`.
        unfinished: where it is kept.
        start: reads at the first end; None reads nothing there.

    Returns:
        Curves, `step` among them.
    """
    curves = unfinished.restore(variables)

    def add(step: int, row: dict[str, float]) -> None:
        for name, value in ({"step": step} | row).items():
            curves.setdefault(name, []).append(value)

    if start is not None and not curves:
        add(int(ends[0]), start())
    done = curves["step"][-1] if curves else int(ends[0])
    for first, last in itertools.pairwise(map(int, ends)):
        if last > done:
            add(last, advance(first, last))
            unfinished.save(curves, last / int(ends[-1]), variables)
    return curves
