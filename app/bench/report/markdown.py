"""Tables and numbers of a report, as Markdown."""

from collections.abc import Iterator, Sequence

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


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table, and an empty one."""
    yield f"| {' | '.join(header)} |"
    yield "|---" * len(header) + "|"
    for row in rows:
        yield f"| {' | '.join(' '.join(value.replace('|', '/').split()) for value in row)} |"
    yield ""
