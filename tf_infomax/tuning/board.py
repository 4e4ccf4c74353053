"""The trials of a search for the eye: a live table, or a line for each."""

import threading
import time

from tf_infomax.runtime.progress import Progress, choose_style, format_left
from tf_infomax.tuning.folder import SearchFolder, Trial, rank
from tf_infomax.tuning.space import Space

_ROWS = 20  # of the live table
_FIXED = 6  # columns before those of the parameters


def format_value(value) -> str:
    """A value of an option for a table."""
    if isinstance(value, tuple):
        return "+".join(value) or "none"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def format_score(trial: Trial) -> str:
    """Score in per cent, or why there is none."""
    if trial.status != "completed":
        return trial.status
    return f"{100 * trial.score:.1f}"


def varied(trials: list[Trial], space: Space) -> list[str]:
    """The parameters of which the trials have more than one value."""
    seen = {each.name: set() for each in space.parameters}
    for trial in trials:
        active = space.active(trial.values)
        for name, values in seen.items():
            values.add(active.get(name))
    return [name for name, values in seen.items() if len(values) > 1 or len(trials) < 2]


def build_table(
    trials: list[Trial], space: Space, title: str, limit: int = 0, console=None
):
    """A rich table: rank, trial, score, length, seconds, what differs, reasons.

    Args:
        trials: in any order.
        space: the search space.
        title: above the table.
        limit: most rows (0: all).
        console: where it will stand; one too narrow for a column per parameter gets
            them in one.
    """
    from rich.measure import Measurement

    table = _build_table(trials, space, title, limit, apart=True)
    if console is not None:
        wanted = Measurement.get(console, console.options.update(width=1000), table)
        if wanted.maximum > console.width:
            return _build_table(trials, space, title, limit, apart=False)
    return table


def _build_table(trials, space: Space, title: str, limit: int, apart: bool):
    from rich.markup import escape
    from rich.table import Table

    head, rows = list_rows(trials, space, apart)
    table = Table(title=escape(title), title_justify="left")
    for heading in head[:_FIXED]:
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in head[_FIXED:]:
        table.add_column(heading, overflow="fold")
    for row in rows[: limit or None]:
        table.add_row(*row)
    if limit and len(rows) > limit:
        table.caption = f"and {len(rows) - limit} more"
    return table


def list_rows(
    trials: list[Trial], space: Space, apart: bool = True
) -> tuple[list[str], list[list[str]]]:
    """(headings, a row for each trial, the best first).

    Args:
        trials: in any order.
        space: the search space.
        apart: a column for each parameter that differs, or one for all.
    """
    ranked = rank(trials)
    rest = [trial for trial in trials if trial.status != "completed"]
    names = varied(trials, space)
    rows = []
    for place, trial in [*enumerate(ranked, 1), *(("-", trial) for trial in rest)]:
        active = space.active(trial.values)
        given = {n: format_value(active[n]) for n in names if n in active}
        cells = [given.get(n, "") for n in names]
        if not apart:
            cells = [" ".join(f"{name}={value}" for name, value in given.items())]
        rows.append(
            [
                str(place),
                trial.id,
                format_score(trial),
                "" if trial.sd is None else f"{100 * trial.sd:.1f}",
                f"{trial.share:.0%}" if trial.share else "",
                f"{trial.seconds:.0f}" if trial.seconds else "",
                *cells,
            ]
        )
    fixed = ["rank", "trial", "score, %", "sd", "length", "s"]
    return [*fixed, *(names if apart else ["what differs"])], rows


class Board(Progress):
    """Shows a search while it goes on; a run of it reports its steps here.

    Args:
        folder: of the search.
        space: the search space.
        title: what is maximized.
        style: "bar" (the live table), "lines", "none" or "auto".
        most: trials of the whole search, 0 if that is open.
        minutes: its time limit, 0 for none.
    """

    def __init__(
        self,
        folder: SearchFolder,
        space: Space,
        title: str,
        style: str = "auto",
        most: int = 0,
        minutes: float = 0.0,
    ):
        style = choose_style(style)
        super().__init__(1, style="none" if style == "bar" else style, unit="step")
        self.folder, self.space, self.title = folder, space, title
        self.most, self.minutes = most, minutes
        self.live, self.running = None, ""
        self.ended = {t.id for t in folder.trials() if t.status != "running"}
        self.before, self.last_end = len(self.ended), self.began
        self.lock = threading.Lock()
        if style == "bar":
            from rich.console import Console
            from rich.live import Live

            self.style, self.wait = "table", 0.5
            self.live = Live(console=Console(stderr=True), auto_refresh=False)

    def __enter__(self):
        if self.live:
            self.live.start()
        self.refresh()
        return self

    def __exit__(self, *exception):
        if self.live:
            self.live.stop()

    def tell(self, message: str) -> None:
        """A line that does not disturb the table."""
        if self.live:
            self.live.console.print(message, markup=False, highlight=False)
        else:
            super().tell(message)

    def due(self, done: int) -> bool:
        """Whether it is time to show something."""
        return self.style != "none" and time.monotonic() - self.shown >= self.wait

    def show(self, done: int, text: str) -> None:
        """The step of the trial that is running in this process."""
        if not self.due(done):
            return  # the end of a trial has a line of its own
        self.shown = time.monotonic()
        self.running = f"step {done}  {text}"
        if self.live:
            self.refresh()
        else:
            self.tell(f"{self.status()}; this trial: {self.running}")

    def status(self) -> str:
        """How far the search is and how long it may take."""
        done, now = len(self.ended), time.monotonic()
        text = f"{done} of {self.most} trials" if self.most else f"{done} trials"
        parts = [text, f"{(now - self.began) / 60:.1f} min"]
        if self.most and done > self.before:
            each = (self.last_end - self.began) / (done - self.before)
            seconds = (self.most - done) * each - (now - self.last_end)
            parts.append(format_left(seconds, 1.0))
        elif self.minutes:
            parts.append(f"limit {self.minutes:g} min")
        return ", ".join(part for part in parts if part)

    def refresh(self) -> None:
        """Looks at the records: new lines, or the table anew."""
        with self.lock:
            trials = self.folder.trials()
            news = [
                trial
                for trial in trials
                if trial.status != "running" and trial.id not in self.ended
            ]
            if news:
                self.ended |= {trial.id for trial in news}
                self.last_end = time.monotonic()
            if self.live:
                title = f"{self.title}\n{self.status()}   {self.running}"
                table = build_table(trials, self.space, title, _ROWS, self.live.console)
                self.live.update(table, refresh=True)
                return
            for trial in news:
                self.tell(self._describe(trial, trials))

    def _describe(self, trial: Trial, trials: list[Trial]) -> str:
        active = self.space.active(trial.values)
        values = " ".join(f"{n}={format_value(v)}" for n, v in active.items())
        text = f"trial {trial.id}: {format_score(trial)}"
        if trial.status == "completed":
            best = rank(trials)[0]
            text += f" % (best {format_score(best)} % of trial {best.id})"
        if trial.share and trial.share < 1:
            text += f" after {trial.share:.0%}"
        reason = f" - {trial.reason}" if trial.reason else ""
        return f"{text}, {trial.seconds:.0f} s, {values}{reason}; {self.status()}"

    def follow(self, stop: threading.Event, seconds: float = 2.0) -> None:
        """Refreshes until `stop` is set: for a chief, whose trials run elsewhere."""
        while not stop.wait(seconds):
            self.refresh()
