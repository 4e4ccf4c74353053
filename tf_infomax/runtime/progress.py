"""How far a long job is: a bar on a terminal, lines elsewhere."""

import sys
import time


def printable(text: str) -> str:
    """A line in which nothing is for a terminal to obey: names of files may hold it."""
    if text.isprintable():
        return text
    escape = lambda each: each.encode("unicode_escape").decode("ascii")
    return "".join(each if each.isprintable() else escape(each) for each in text)


def tell(message: str) -> None:
    """A line for the user beside the results: on standard error."""
    print(printable(message), file=sys.stderr, flush=True)


def choose_style(style: str) -> str:
    """The style itself; for "auto", a bar if a person is watching."""
    if style != "auto":
        return style
    return "bar" if sys.stderr.isatty() else "lines"


def print_wide(table) -> None:
    """Prints a table of rich with all its columns, however narrow a file or pipe is."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, Console(width=1000).measure(table).maximum)
    console.print(table)


class Progress:
    """Shows what is done out of a total, the speed and the time left.

    Args:
        total, done: what there is to do and what was done before.
        style: "bar", "lines", "none", or "auto" for a bar if a person is watching.
        unit: name of what is counted.
        line_seconds: between two lines.
        first_seconds: before the first line.
    """

    def __init__(
        self,
        total: int,
        done: int = 0,
        style: str = "auto",
        unit: str = "images",
        line_seconds: float = 10.0,
        first_seconds: float = 2.0,
    ):
        style = choose_style(style)
        self.total, self.first, self.style, self.unit = total, done, style, unit
        self.wait = 0.5 if style == "bar" else line_seconds
        self.began = self.shown = time.monotonic()
        self.shown -= max(0.0, self.wait - first_seconds)
        self.bar = None
        if style == "bar":
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self.bar = Progress(
                TextColumn("{task.completed}/{task.total}"),
                BarColumn(),
                TextColumn("{task.description}"),
                console=Console(stderr=True),
            )
            self.task = self.bar.add_task("", total=total, completed=done)

    def __enter__(self):
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *exception):
        if self.bar:
            self.bar.stop()

    def tell(self, message: str) -> None:
        """A line that does not disturb the bar."""
        if self.bar:
            self.bar.console.print(printable(message), markup=False, highlight=False)
        elif self.style != "none":
            tell(message)

    @property
    def waited(self) -> bool:
        """Whether enough time has gone by since something was shown."""
        return self.style != "none" and time.monotonic() - self.shown >= self.wait

    def due(self, done: int) -> bool:
        """Whether it is time to show something."""
        return self.waited or (self.style != "none" and done >= self.total)

    def show(self, done: int, text: str) -> None:
        """Moves the bar, or writes a line."""
        self.shown = time.monotonic()
        if self.bar:
            self.bar.update(self.task, completed=done, description=text)
        else:
            share = 100 * done // self.total
            self.tell(f"{self.unit} {done}/{self.total} {share}%  {text}")

    def update(self, done: int) -> None:
        """Shows speed and time left, if it is time to."""
        if self.due(done):
            speed = (done - self.first) / max(time.monotonic() - self.began, 1e-9)
            text = f"{speed:.0f} {self.unit}/s"
            self.show(done, f"{text}  {format_left(self.total - done, speed)}".rstrip())


def format_left(count: float, speed: float) -> str:
    """Minutes and seconds until `count` more are done; empty if there is no telling."""
    if count <= 0 or speed <= 0:
        return ""
    seconds = int(count / speed)
    return f"{seconds // 60}:{seconds % 60:02d} left"


def format_duration(seconds: float) -> str:
    """A time in words, to the second."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02} hours"
    return f"{minutes}:{seconds:02} minutes" if minutes else f"{seconds} seconds"
