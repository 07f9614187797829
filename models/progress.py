"""How far a long computation is, told by its loops without their knowing to whom. Loops may be inside of loops."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, TypeVar

from models.cancellation import cancellation_point

Item = TypeVar("Item")

LEAST_STEP = 0.02
"""Less is no news: whoever follows a job keeps only so many changes."""


class _Part(NamedTuple):
    """The part of the whole that is computed now."""

    tell: Callable[[float], None]
    begin: float = 0.0
    share: float = 1.0


_part: ContextVar[_Part | None] = ContextVar("part", default=None)


@contextmanager
def telling(tell: Callable[[float], None]) -> Iterator[None]:
    """Call `tell` with the fraction done whenever a turn of a loop inside has brought it on by LEAST_STEP, up to 1.

    What it has told it does not take back: a loop that comes after another one may begin at 0 again.
    """
    told = 0.0

    def tell_rise(fraction: float) -> None:
        nonlocal told
        if fraction >= told + LEAST_STEP:
            told = fraction
            tell(fraction)

    token = _part.set(_Part(tell_rise))
    try:
        yield
    finally:
        _part.reset(token)


def tracked(items: Sequence[Item]) -> Iterator[Item]:
    """Yield the items of a loop whose turns take long and about equally so. Each is a cancellation point, too."""
    whole = _part.get()
    try:
        for done, item in enumerate(items):
            cancellation_point()
            if whole is not None:
                share = whole.share / len(items)
                part = whole._replace(begin=whole.begin + done * share, share=share)
                part.tell(part.begin)
                _part.set(part)
            yield item
    finally:
        _part.set(whole)
