"""The finished runs of a study, one file each, which several processes may make."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tf_infomax.options import ConfigError
from tf_infomax.runtime import locks
from tf_infomax.runtime.progress import format_left, tell
from tf_infomax.studies import kept
from tf_infomax.studies.kept import Unfinished
from tf_infomax.studies.rules import Reading


@dataclass
class Runs:
    """Arm and seed -> curves, from one JSON file each.

    Attributes:
        folder: of the files.
        settings: that a file must have been made with, or arm -> these.
        others: folders whose files count as well where they fit; those that do not are
            told.
        found: the curves.
        seconds: that the runs have taken, over all starts.
    """

    folder: Path
    settings: dict | Callable[[str], dict]
    others: Sequence[Path] = ()
    found: dict[tuple[str, int], dict] = field(default_factory=dict)
    seconds: float = 0.0

    def collect(
        self,
        arms: Iterable[str],
        seeds: Sequence[int],
        run: Callable[[str, int, Unfinished], dict],
        tell: Callable[[str], None],
    ) -> None:
        """Runs what is missing, from where it was interrupted.

        Processes of one folder share its runs: each takes what no other has in hand,
        and waits at the end for what the others are at.

        Args:
            arms, seeds: all of which are wanted.
            run: (arm, seed, `Unfinished`) -> curves.
            tell: hears how far they are.

        Raises:
            ConfigError: if the folder holds runs of other settings.
        """
        wanted = [(arm, seed) for seed in seeds for arm in arms]
        done: dict[tuple[str, int], dict] = {}
        began, before = time.monotonic(), 0
        self.folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.folder, self.folder.parent):
            locks.remove_abandoned(folder)
        for wait in (False, True):
            for arm, seed in wanted:
                if (arm, seed) in done:
                    continue
                content = self._read(arm, seed)
                if content is None and not wait:
                    content = self._find_elsewhere(arm, seed)
                before += content is not None
                if content is None:
                    told = (tell, len(done), before, len(wanted), began)
                    content = self._make(arm, seed, run, wait, told)
                if content is not None:
                    done[arm, seed] = content
        for which in wanted:
            self._take(which, done[which])

    def look(self, arms: Iterable[str], seeds: Sequence[int]) -> None:
        """Takes what is finished of these, and makes none."""
        for which in ((arm, seed) for seed in seeds for arm in arms):
            if which not in self.found:
                content = self._read(*which) or self._find_elsewhere(*which)
                if content is not None:
                    self._take(which, content)

    def _take(self, which: tuple[str, int], content: dict) -> None:
        self.seconds += content["seconds"]
        self.found[which] = content["curves"]

    def _settings_of(self, arm: str) -> dict:
        return self.settings(arm) if callable(self.settings) else self.settings

    def _path(self, arm: str, seed: int) -> Path:
        return self.folder / f"{arm}-{seed}.json"

    def _read(self, arm: str, seed: int) -> dict | None:
        settings = self._settings_of(arm)
        return kept.read(self._path(arm, seed), settings, "--workdir")

    def _find_elsewhere(self, arm: str, seed: int) -> dict | None:
        """The first of the other folders' files that fits."""
        name, settings = self._path(arm, seed).name, self._settings_of(arm)
        for folder in self.others:
            try:
                found = kept.read(folder / name, settings, "--cells")
            except ConfigError as error:
                tell(f"left out: {error}")
                continue
            if found is not None:
                return found
        return None

    def _make(self, arm: str, seed: int, run: Callable, wait: bool, told: tuple):
        """What a run gives; None if another process has it in hand."""
        path = self._path(arm, seed)
        tell, count, before, total, began = told
        name = f"{self.folder.parent.name}: {arm}, seed {seed}"
        with locks.locked(path.with_suffix(".lock"), wait) as taken:
            if not taken:
                return None
            # Another may have finished it just now.
            if (content := self._read(arm, seed)) is not None:
                return content
            show = lambda share: tell(
                f"{name}, run {count + 1}/{total}, {share:.0%}  "
                f"{_left(count + share, before, total, began)}".rstrip()
            )
            state = path.with_suffix(".npz")
            settings = self._settings_of(arm)
            unfinished = Unfinished(state, settings, show)
            curves = run(arm, seed, unfinished)
            content = {"seconds": unfinished.count_seconds(), "curves": curves}
            kept.write(path, settings, **content)
            state.unlink(missing_ok=True)
            return content

    def last(self, arm: str, curve: str) -> list[float]:
        """The curve's last value, one per seed."""
        return [values[-1] for values in self.all(arm, curve)]

    def all(self, arm: str, curve: str) -> list[list[float]]:
        """The whole curve, one per seed."""
        return [
            curves[curve] for (name, _), curves in self.found.items() if name == arm
        ]

    def read(self, reading: Reading) -> list[float]:
        """The number that a reading names, one per seed."""
        place = {"start": 0, "end": -1}[reading.at]
        values = [values[place] for values in self.all(reading.arm, reading.curve)]
        if reading.floor is None:
            return values
        return [max(value, reading.floor) for value in values]


def _left(done: float, before: int, total: int, began: float) -> str:
    """How long the rest takes if it goes on as since `began`, with `before` done."""
    speed = (done - before) / (time.monotonic() - began)
    return format_left(total - done, speed)
