"""What the reconciler asks Redis, and notes there: which jobs are open, who holds them, and what has been missed."""

from collections.abc import Iterable
from typing import Any, NamedTuple, cast

from redis import Redis
from redis.exceptions import ResponseError

from workers.state.keys import BROKER, ENDS, MISSING, OPEN, RECONCILING, job_keys

BROKER_NOTE_TTL = 86_400
CHUNK = 1000


class BrokerRun(NamedTuple):
    """A run of the broker, from one start to the next, as it is now."""

    run: str
    """Another one after each start."""
    uptime: int
    now: float


class State(NamedTuple):
    """What matters of an open job."""

    status: str
    placement: int
    connection: int | None
    """The connection of the worker that holds its lease; None: nobody does."""


class Survey:
    """Reads in few round trips what may be a matter of ten thousand jobs."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def claim(self, worker: str, seconds: float) -> bool:
        """Return whether it is this worker's turn; if so, it is nobody else's for so long."""
        return bool(self._redis.set(RECONCILING, worker, nx=True, px=int(seconds * 1000)))

    def broker(self) -> BrokerRun:
        """Return which run of the broker this is, since when it runs, and its clock."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.info("server")
            pipe.time()
            server, (seconds, micro) = pipe.execute()
        return BrokerRun(server["run_id"], int(server["uptime_in_seconds"]), seconds + micro / 1e6)

    def is_known(self, broker: BrokerRun) -> bool:
        """Return whether this run of the broker has been compared with the store."""
        return self._redis.get(BROKER) == broker.run.encode()

    def remember(self, broker: BrokerRun) -> None:
        """Note that it has been."""
        self._redis.set(BROKER, broker.run, ex=BROKER_NOTE_TTL)

    def open_jobs(self) -> list[str]:
        """Return the jobs that have not ended, the oldest first."""
        ids: Any = self._redis.zrange(OPEN, 0, -1)
        return [one.decode() for one in ids]

    def close(self, job_id: str) -> None:
        """Count a job no longer as open."""
        self._redis.zrem(OPEN, job_id)

    def ended(self, now: float, most: int) -> list[str]:
        """Return the jobs, at most so many, whose life has ended by now."""
        ids: Any = self._redis.zrangebyscore(ENDS, "-inf", now, start=0, num=most)
        return [one.decode() for one in ids]

    def bury(self, job_ids: list[str]) -> None:
        """Note that nothing is left of these jobs."""
        self._redis.zrem(ENDS, *job_ids)

    def states(self, job_ids: Iterable[str]) -> dict[str, State | None]:
        """Return the state of each job; None where there is no record."""
        ids, found = list(job_ids), {}
        for start in range(0, len(ids), CHUNK):
            part = ids[start : start + CHUNK]
            with self._redis.pipeline(transaction=False) as pipe:
                for one in part:
                    pipe.hmget(job_keys(one).record, "status", "placement")
                    pipe.get(job_keys(one).lease)
                answers: Any = pipe.execute()
            for one, (status, placement), lease in zip(part, answers[::2], answers[1::2], strict=True):
                found[one] = State(status.decode(), int(placement or 1), _connection(lease)) if status else None
        return found

    def connected(self, connections: Iterable[int]) -> set[int]:
        """Return which of these connections still are; all, where this client may not know: then leases run out."""
        wanted = {one for one in connections if one}
        try:
            clients: Any = self._redis.client_list(client_id=[str(one) for one in wanted]) if wanted else []
        except ResponseError:
            return wanted
        return {int(client["id"]) for client in clients}

    def kept(self, job_ids: list[str]) -> list[tuple[bool, bool]]:
        """Return, for each job, whether it has a record, and whether it is known to have had one."""
        with self._redis.pipeline(transaction=False) as pipe:
            for one in job_ids:
                pipe.exists(job_keys(one).record)
                pipe.exists(job_keys(one).expired)
            answers = [bool(answer) for answer in pipe.execute()]
        return list(zip(answers[::2], answers[1::2], strict=True))

    def overdue(self, symptoms: dict[str, float], now: float) -> set[str]:
        """Note symptoms, each with the seconds it may last, and return those that have lasted longer.

        What is no symptom any more is forgotten, and what is returned too.
        """
        noted: Any = self._redis.hgetall(MISSING)
        since = {name.decode(): float(when) for name, when in noted.items()}
        late = {name for name, patience in symptoms.items() if now - since.get(name, now) >= patience}
        gone = [name for name in since if name not in symptoms or name in late]
        new = {name: now for name in symptoms if name not in since and name not in late}
        if gone:
            self._redis.hdel(MISSING, *gone)
        if new:
            self._redis.hset(MISSING, mapping=cast("Any", new))
        return late


def _connection(lease: bytes | None) -> int | None:
    return int(lease.decode().rpartition("@")[2]) if lease else None  # 0: it has a lease, and no connection yet
