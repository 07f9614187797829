"""How fast jobs are done lately, so that whoever waits can be told for how long."""

from redis import Redis

from workers.orders import Order
from workers.state.broker import refusals
from workers.state.keys import PACE

UNKNOWN_SECONDS = 1.0
"""What a job is thought to take before any was done."""

_ALL = "all"
_NOTE_TTL = 86_400
_NOTE = """
-- A mean that forgets: each job counts a fifth. KEYS: the means. ARGV: seconds, time to live, then the means to change.
for i = 3, #ARGV do
  local old = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or ARGV[1])
  redis.call('HSET', KEYS[1], ARGV[i], string.format('%.6f', old + (ARGV[1] - old) * 0.2))
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
"""


class Pace:
    """Recent mean seconds of work, over all jobs and for each kind, defense and attack."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._note = redis.register_script(_NOTE)

    def note(self, order: Order, seconds: float) -> None:
        """Count a job that was done in this time."""
        with refusals():
            self._note(keys=[PACE], args=[max(seconds, 0.0), _NOTE_TTL, _ALL, _name(order)])

    def expected(self, order: Order | None = None) -> tuple[float, float]:
        """Return the seconds that a job of this order is expected to take, and those of any job."""
        name = _name(order) if order else _ALL
        own, every = (float(mean) if mean else None for mean in self._redis.hmget(PACE, [name, _ALL]))
        every = UNKNOWN_SECONDS if every is None else every
        return (every if own is None else own), every


def _name(order: Order) -> str:
    return "|".join(order.names.values())
