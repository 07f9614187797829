"""SIGTERM, which `timeout`, Slurm and `docker stop` send, ends a command as Ctrl-C does: what is done is kept."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import typer

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
"""The status of a command that a signal ended."""


@contextlib.contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt meanwhile, and then exit with 143 where the interrupted exit with 130.

    For commands, as a decorator. In other threads than the main one, which hear no signals, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told: list[int] = []

    def interrupt(number: int, _: FrameType | None) -> None:
        told.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        if not told:
            raise
        raise typer.Exit(TERMINATED) from None
    except typer.Exit as end:
        if not told or end.exit_code != INTERRUPTED:
            raise
        raise typer.Exit(TERMINATED) from None
    finally:
        signal.signal(signal.SIGTERM, before)
