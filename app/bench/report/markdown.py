"""Tables and numbers of a report, as Markdown."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from models.evaluation.bootstrap import Mean

NOTHING = "-"
"""Stands where nothing was measured."""


def shown(mean: Mean | None, digits: int = 3) -> str:
    """Return a mean with its interval, if it has one."""
    if mean is None:
        return NOTHING
    if mean.low is None or mean.high is None:
        return number(mean.value, digits)
    return f"{number(mean.value, digits)} [{number(mean.low, digits)}, {number(mean.high, digits)}]"


def number(value: float, digits: int = 3) -> str:
    """Return a number with so many digits; what rounds to zero has no sign."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def significant(value: float, digits: int) -> str:
    """Return a number with so many significant digits, a larger one with all that are before its point."""
    return f"{value:.{digits}g}" if abs(value) < 10**digits - 0.5 else f"{value:.0f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table, and an empty one. Its cells are texts: names of files may look like Markdown."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(plain(cell).replace('|', '/') for cell in cells)} |"

    yield line(header)
    yield "|---" * len(header) + "|"
    yield from map(line, rows)
    yield ""


def picture(title: str, file: Path) -> str:
    """Return the line that shows a picture; `file` is its path below the report's folder."""
    alternative = re.sub(r"[][]", r"\\\g<0>", plain(title))
    return f"![{alternative}]({file.as_posix()})\n"


def plain(text: str) -> str:
    """Return a text on one line in which Markdown finds no HTML, link, code or emphasis."""
    return " ".join(_ACTIVE.sub(r"\\\g<0>", text).split())


_ACTIVE = re.compile(r"[\\`*<]|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])|(?<=\])\(")
"""What Markdown would read; underscores within words and brackets without a link stay as they are."""
