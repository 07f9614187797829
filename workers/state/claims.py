"""Idempotency keys: the same request sent again gives the same job, however often and however much at once.

A claim lasts CLAIM_SECONDS and can be renewed; the transaction that accepts the job makes it last a day, or does
nothing if the claim has been lost meanwhile. So a process that dies in between blocks its key for a minute and never
makes a job twice.
"""

import hashlib
import json
import time
from dataclasses import dataclass

from redis import Redis
from redis.client import Pipeline

from workers.state.broker import refusals
from workers.state.keys import idempotency_key

CLAIM_SECONDS = 60
KEPT_SECONDS = 86_400

_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end"

_RENEW = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('EXPIRE', KEYS[1], ARGV[2])"

_FREE = """
local found = redis.call('GET', KEYS[1])
if found and cjson.decode(found).place == ARGV[1] then return redis.call('DEL', KEYS[1]) end
"""


class ClaimLostError(RuntimeError):
    """Another request has taken the key over, because this one took too long."""


@dataclass(frozen=True)
class Claim:
    """The right to accept a job under a key."""

    name: str
    fingerprint: str
    place: str

    def value(self, *, kept: bool) -> bytes:
        """Return what Redis holds of it."""
        facts = {"fingerprint": self.fingerprint, "place": self.place, "kept": kept}
        return json.dumps(facts, sort_keys=True).encode()

    def watch(self, pipe: Pipeline) -> None:
        """Begin a transaction that does nothing if the claim is lost. Raises ClaimLostError if it is lost already."""
        pipe.watch(self.name)  # type: ignore[no-untyped-call]
        if pipe.get(self.name) != self.value(kept=False):
            raise ClaimLostError(self.name)

    def keep(self, pipe: Pipeline) -> None:
        """Make the key stand for the job, as part of the transaction that accepts it."""
        pipe.set(self.name, self.value(kept=True), ex=KEPT_SECONDS)

    def restore(self, pipe: Pipeline, since: float) -> None:
        """Let a key that Redis has lost stand again, as part of a transaction, for what it was given at `since`."""
        left = KEPT_SECONDS - int(time.time() - since)
        if left > 0:
            pipe.set(self.name, self.value(kept=True), ex=left, nx=True)


@dataclass(frozen=True)
class Earlier(Claim):
    """What a key stands for already: the claim of an earlier request."""

    kept: bool
    """False: that request has not been accepted yet."""


class Claims:
    """Take and give back claims."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._release, self._free = redis.register_script(_RELEASE), redis.register_script(_FREE)
        self._renew = redis.register_script(_RENEW)

    def take(self, scope: tuple[str, ...], fingerprint: str, place: str) -> Claim | Earlier:
        """Claim a key for a job that will be at `place`, or return what it stands for already.

        `scope` is everything that makes two keys the same: the owner, the route, the key itself. Raises BROKER_ERRORS.
        """
        name = _name_of(scope)
        claim = Claim(name, fingerprint, place)
        while True:
            with refusals():
                if self._redis.set(name, claim.value(kept=False), nx=True, ex=CLAIM_SECONDS):
                    return claim
            found = self._redis.get(name)
            if found == claim.value(kept=False):  # it was claimed, and only the answer was lost
                return claim
            if found:  # it may have ended just now
                return Earlier(name=name, **json.loads(found))

    def stands(self, scope: tuple[str, ...]) -> bool:
        """Return whether a key stands for something or is claimed; `scope` as in `take`. Raises BROKER_ERRORS."""
        with refusals():
            return bool(self._redis.exists(_name_of(scope)))

    def renew(self, claim: Claim) -> None:
        """Let an unused claim last as long as a new one. Raises ClaimLostError, BROKER_ERRORS."""
        with refusals():
            if not self._renew(keys=[claim.name], args=[claim.value(kept=False), CLAIM_SECONDS]):
                raise ClaimLostError(claim.name)

    def release(self, claim: Claim) -> None:
        """Give an unused claim back."""
        with refusals():
            self._release(keys=[claim.name], args=[claim.value(kept=False)])

    def free(self, name: str, place: str) -> None:
        """Free a key if it stands for what is at `place`, which is being erased. Raises BROKER_ERRORS."""
        with refusals():
            self._free(keys=[name], args=[place])

    def forget(self, earlier: Earlier) -> None:
        """Free a key whose job is gone."""
        with refusals():
            self._release(keys=[earlier.name], args=[earlier.value(kept=earlier.kept)])


def _name_of(scope: tuple[str, ...]) -> str:
    return idempotency_key(hashlib.sha256(json.dumps(scope).encode()).hexdigest())
