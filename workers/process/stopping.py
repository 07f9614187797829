"""Whether a worker is to end, and how long its job may still go on."""

import math
import time


class StoppedError(Exception):
    """The worker has to end before its job is done."""


class Stopping:
    """Asked by SIGTERM, by SIGINT, or by the worker itself when it has grown old."""

    def __init__(self, grace: float) -> None:
        """`grace`: seconds from the first request until a job is given back."""
        self._grace = grace
        self._deadline = math.inf
        self._told = False
        self.requested = False

    def request(self) -> None:
        """End after the current job; asked again, give the job back at its next step."""
        self._deadline = time.monotonic() + (0 if self._told else self._grace)
        self._told = self.requested = True

    def retire(self) -> None:
        """End after the current job, however long it takes."""
        self.requested = True

    @property
    def is_due(self) -> bool:
        """Whether the current job has to be given back."""
        return time.monotonic() >= self._deadline
