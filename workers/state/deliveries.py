"""Webhooks that are due: a list by time, from which any number of senders may take.

Taking one puts it off by a lease, so that only one sender has it and another takes it over if that one dies: each is
sent at least once. What became of it is part of the job's record and ends with it.
"""

import time
from typing import Any

import redis.asyncio
from redis.client import Pipeline

from workers.state.broker import refusals
from workers.state.keys import WEBHOOKS, job_keys
from workers.state.record import Delivery, JobRecord

LEASE_SECONDS = 60

_TAKE = """
-- KEYS: the list. ARGV: how many at most, seconds of the lease. Returns the jobs whose webhooks are due, oldest first.
local now = tonumber(redis.call('TIME')[1])
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
for _, job in ipairs(due) do redis.call('ZADD', KEYS[1], now + ARGV[2], job) end
return due
"""
_SETTLE = """
-- KEYS: the list, the record. ARGV: the job, what became of it, seconds until the next try ("" for none).
if redis.call('EXISTS', KEYS[2]) == 0 then return redis.call('ZREM', KEYS[1], ARGV[1]) end
redis.call('HSET', KEYS[2], 'delivery', ARGV[2])
if ARGV[3] == '' then return redis.call('ZREM', KEYS[1], ARGV[1]) end
local now = redis.call('TIME')
return redis.call('ZADD', KEYS[1], now[1] + now[2] / 1e6 + ARGV[3], ARGV[1])
"""


class Deliveries:
    """Take what is due, and say what became of it."""

    def __init__(self, connection: redis.asyncio.Redis) -> None:
        self._take = connection.register_script(_TAKE)
        self._settle = connection.register_script(_SETTLE)
        self._redis = connection

    async def take(self, most: int) -> list[str]:
        """Return the ids of at most so many jobs whose webhooks nobody else sends now. Raises BROKER_ERRORS."""
        with refusals():
            due: Any = await self._take(keys=[WEBHOOKS], args=[most, LEASE_SECONDS])
        return [job_id.decode() for job_id in due]

    async def settle(self, job_id: str, delivery: Delivery, again_in: float | None = None) -> None:
        """Write down what became of a webhook, and when to try again; None: never. Raises BROKER_ERRORS."""
        wait = "" if again_in is None else again_in
        keys = [WEBHOOKS, job_keys(job_id).record]
        with refusals():
            await self._settle(keys=keys, args=[job_id, delivery.model_dump_json(), wait])

    @staticmethod
    def restore(record: JobRecord, pipe: Pipeline) -> None:
        """Let the webhook of an ended job that Redis has lost be due, if it was still to be sent, in a transaction."""
        before = record.delivery
        if record.origin.webhook and (before is None or before.state == "pending"):
            pipe.zadd(WEBHOOKS, {record.id: (before and before.next_attempt) or time.time()})

    async def drop(self, job_id: str) -> None:
        """Forget a webhook whose job is gone. Raises BROKER_ERRORS."""
        with refusals():
            await self._redis.zrem(WEBHOOKS, job_id)
