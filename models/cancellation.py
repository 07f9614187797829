"""Let whoever started a long computation stop it, without what computes knowing why or by whom.

Loops that take long are `tracked` (models/progress.py) or call `cancellation_point`, and every layer of every network
is one by itself.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch.nn.modules.module import register_module_forward_pre_hook

_check: ContextVar[Callable[[], None] | None] = ContextVar("check", default=None)


def cancellation_point() -> None:
    """Raise what the check of `cancellable` raises, if this runs inside of one."""
    check = _check.get()
    if check is not None:
        check()


@contextmanager
def cancellable(check: Callable[[], None]) -> Iterator[None]:
    """Call `check` at every cancellation point inside: it raises to stop. It must cost next to nothing."""
    token = _check.set(check)
    hook = register_module_forward_pre_hook(_before_layer)
    try:
        yield
    finally:
        hook.remove()
        _check.reset(token)


def _before_layer(_module: Any, _arguments: Any) -> None:
    cancellation_point()
