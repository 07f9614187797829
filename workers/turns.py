"""Whose turn it is: API keys are served one after another, so that one which floods the queue delays only itself."""

from contextlib import suppress
from importlib.resources import files
from typing import Any

from redis import Redis

from workers.keys import JOB
from workers.ledger import BROKER_ERRORS

WINDOW = 256
"""How far into the queue is looked for other owners."""


class Turns:
    """The turns that one worker gives."""

    def __init__(self, redis: Redis, queue_key: str) -> None:
        self._queue_key, self._last = queue_key, ""
        self._turn = redis.register_script(files(__package__).joinpath("turn.lua").read_text())

    def take(self) -> None:
        """See to it that the next job to be taken is of the owner whose turn it is.

        Another worker may take that one in between; then it is the next that is taken here. While the broker is away
        nothing is.
        """
        with suppress(*BROKER_ERRORS):
            owner: Any = self._turn(keys=[self._queue_key], args=[JOB, WINDOW, self._last])
            self._last = self._last if owner is None else owner.decode()
