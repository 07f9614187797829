"""How far a study is and how long it will take, on a terminal as a bar, in a log as a line a minute."""

import time
from collections import Counter, defaultdict
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

LOG_SECONDS = 60


class Estimate:
    """Time left, from how long steps of each kind took so far: an attack may take a thousand times a blur's time."""

    def __init__(self, ahead: Counter[str], jobs: int) -> None:
        self._ahead, self._jobs = ahead, jobs
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._done: Counter[str] = Counter()

    def ended(self, kind: str, seconds: float) -> None:
        """Take note of a step."""
        self._ahead[kind] -= 1
        self._done[kind] += 1
        self._seconds[kind] += seconds

    @property
    def seconds_left(self) -> float | None:
        """Return the time left; None: nothing is known yet. Kinds not yet seen take as long as the mean one."""
        if not self._done:
            return None
        means = {kind: self._seconds[kind] / count for kind, count in self._done.items()}
        usual = sum(means.values()) / len(means)
        return sum(count * means.get(kind, usual) for kind, count in self._ahead.items()) / self._jobs


class Bar:
    """The bar."""

    def __init__(self, total: int, done: int, estimate: Estimate) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("bench"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"),
            console=self._console, transient=True, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("bench", total=total, completed=done, left="")
        self._total, self._done, self._estimate = total, done, estimate
        self._logged = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """Print a line that whoever waits should know of."""
        self._console.print(f"bench: {line}", markup=False, highlight=False, soft_wrap=True)

    def advance(self) -> None:
        """A step is done."""
        self._done += 1
        left = spoken(self._estimate.seconds_left)
        self._bar.update(self._task, advance=1, left=left)
        if not self._console.is_terminal and time.monotonic() - self._logged > LOG_SECONDS:
            self._logged = time.monotonic()
            self._console.print(f"bench: {self._done} of {self._total} steps, {left}")


def spoken(seconds: float | None) -> str:
    """Return a duration as people say it, with "left"."""
    if seconds is None:
        return ""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute left"
    return f"{minutes // 60} h {minutes % 60:02} min left" if minutes >= 60 else f"{minutes} min left"
