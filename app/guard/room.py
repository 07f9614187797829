"""Whether the store has room for one more image, asked before the image is received."""

import threading
import time

from app.errors import ProblemError
from app.guard.settings import GuardSettings
from workers.state.store import Store

MEASURED_SECONDS = 30


class Room:
    """What is left of the disk, exactly, and of `max_store_bytes`, as measured in the last half minute."""

    def __init__(self, store: Store, settings: GuardSettings) -> None:
        self._store, self._settings = store, settings
        self._used, self._measured = 0, -float("inf")
        self._measuring = threading.Lock()

    def check(self, count: int) -> float:
        """Count `count` bytes as kept, and return when was measured, for `give_back`.

        Blocks now and then for as long as `du` takes. Raises a 507 problem if there is no room for them.
        """
        free = self._store.free_bytes()
        if free - count < self._settings.min_free_bytes:
            raise _full(f"{self._settings.min_free_bytes} bytes of the disk must stay free")
        left = self.left()
        if left is not None and count > left:
            raise _full(f"the store may hold at most {self._settings.max_store_bytes} bytes")
        self._used += count
        return self._measured

    def give_back(self, count: int, measured: float) -> None:
        """Take back what `check` counted for a request that was refused, unless a measurement has done so since."""
        if measured == self._measured:
            self._used -= count

    def left(self) -> int | None:
        """Return what is left of `max_store_bytes`, negative if more is kept; None if it is not set.

        Blocks as `check` does.
        """
        most = self._settings.max_store_bytes
        return None if most is None else most - self._bytes_used()

    def _bytes_used(self) -> int:
        if time.monotonic() - self._measured > MEASURED_SECONDS and self._measuring.acquire(blocking=False):
            try:
                self._used, self._measured = self._store.usage()[0], time.monotonic()
            finally:
                self._measuring.release()
        return self._used


def _full(why: str) -> ProblemError:
    return ProblemError(507, "store-full", f"There is no room for the image: {why}; nothing was accepted.")
