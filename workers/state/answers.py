"""Identical orders are answered from the store: same bytes, parameters, seed, weights and implementation.

An answer is found only by the owner who ordered it, so that nobody learns, not even by how fast the answer comes, what
others have sent.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import time
from pathlib import Path
from typing import Any

from redis import Redis
from redis.client import Pipeline

import models
import workers
from models import checkpoints
from models.metrics import find_metric
from workers.orders import Kind, Order
from workers.settings import WorkerSettings
from workers.state.broker import refusals
from workers.state.keys import TOTALS, WEBHOOKS, answer_key
from workers.state.ledger import write_end
from workers.state.record import JobRecord

_LIBRARIES = ("diffusers", "numpy", "opencv-python-headless", "pillow", "scipy", "spandrel", "torch", "torchvision")


class Answers:
    """Which finished job has the answer to an order."""

    def __init__(self, redis: Redis, settings: WorkerSettings) -> None:
        self._redis, self._settings = redis, settings

    def remember(self, record: JobRecord, pipe: Pipeline | None = None) -> None:
        """Note that this job has the answer, for as long as its result is kept; in a transaction if one is given."""
        with refusals():
            (self._redis if pipe is None else pipe).set(self._key(record), record.id, ex=self._settings.result_ttl)

    def write(self, record: JobRecord, pipe: Pipeline) -> None:
        """Let a record that was just written be finished at once, as part of the same transaction."""
        write_end(record, self._settings.result_ttl, pipe)
        pipe.hincrby(TOTALS, f"{record.order.kind}|{record.order.names['defense']}|{record.status}", 1)
        self.remember(record, pipe)
        if record.origin.webhook:
            pipe.zadd(WEBHOOKS, {record.id: time.time()})

    def find(self, owner: str, order: Order, sha256: str) -> str | None:
        """Return the id of the job that has the answer, which may be gone by now."""
        found: Any = self._redis.get(answer_key(self._digest(owner, order, sha256)))
        return found.decode() if found else None

    def forget(self, record: JobRecord) -> None:
        """Forget that this job has an answer."""
        key = self._key(record)
        if self._redis.get(key) == record.id.encode():
            self._redis.delete(key)

    def _key(self, record: JobRecord) -> str:
        return answer_key(self._digest(record.origin.owner, record.order, record.image.sha256))

    def _digest(self, owner: str, order: Order, sha256: str) -> str:
        ordered = order.model_dump(mode="json")
        if not order.is_stochastic:
            del ordered["seed"]
        if order.kind is Kind.SCORE:
            del ordered["format"]
        facts = [
            owner, sha256, ordered, [find_metric(name).card.version for name in order.metrics],
            _added_weights(), self._settings.device, self._settings.precision, implementation(),
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def is_repeatable(order: Order, *, seeded: bool) -> bool:
    """Return whether the sender may expect the same answer again: a seed was sent, or none matters."""
    return seeded or not order.is_stochastic


def _added_weights() -> list[tuple[str, str]]:
    found = []
    for name in checkpoints.names():
        with contextlib.suppress(FileNotFoundError):  # it is being replaced or removed
            found.append((name, checkpoints.digest(checkpoints.folder(name) / checkpoints.FACTS)))
    return found


def state_of_things() -> str:
    """Return a short digest of all here that decides a number: the implementation, and the weights that were added."""
    return hashlib.sha256(json.dumps([implementation(), _added_weights()]).encode()).hexdigest()[:12]


@functools.cache
def implementation() -> str:
    """Return a digest of everything here that makes a result: our models with the weights that ship, and libraries.

    So a changed defense or attack is never answered with what an older one made, whatever the version says.
    """
    digest = hashlib.sha256()
    root = Path(str(models.__file__)).parent
    ours = sorted(Path(str(workers.__file__)).parent.glob("*.py"))
    for file in [*sorted(root.rglob("*")), *ours]:
        if file.is_file() and file.suffix != ".pyc":
            digest.update(str(file.relative_to(root.parent)).encode())
            digest.update(checkpoints.digest(file).encode())
    for name in _LIBRARIES:
        digest.update(f"{name} {importlib.metadata.version(name)}".encode())
    return digest.hexdigest()
