"""Sends the webhooks that are due: at least once each, signed, with longer and longer waits until it is heard."""

import asyncio
import contextlib
import logging
import random
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import anyio
import httpx2
from anyio.to_thread import run_sync
from standardwebhooks import Webhook

from app.settings import Settings
from app.webhooks.messages import message, message_id
from app.webhooks.signing import signed_headers
from app.webhooks.targets import ForbiddenTargetError, Target, resolve
from workers.state.broker import BROKER_ERRORS
from workers.state.deliveries import LEASE_SECONDS
from workers.state.ledger import JobUnreadableError
from workers.state.manifest import note_delivery
from workers.state.queue import JobQueue
from workers.state.record import Delivery, JobRecord
from workers.state.store import Store
from workers.telemetry import logs

log = logging.getLogger("purifiqa.webhooks")

POLL_SECONDS = 0.5
OUTAGE_SECONDS = 2.0
MAX_AT_ONCE = 16
MAX_WAIT_SECONDS = 21_600.0
GONE = 410
_GROWTH = 3.0
_MAX_ADDRESSES = 3


class Attempt(NamedTuple):
    """What one try led to."""

    status: int | None
    detail: str = ""

    @property
    def is_success(self) -> bool:
        """Whether it was heard: 2xx and nothing else. A redirect is not followed."""
        return self.status is not None and 200 <= self.status < 300


@contextlib.asynccontextmanager
async def sending(sender: "Sender | None") -> AsyncIterator[None]:
    """Let a sender run meanwhile, if there is one."""
    if sender is None:
        yield
        return
    async with anyio.create_task_group() as tasks:  # asyncio's cancel comes once, and a Redis client may swallow it
        tasks.start_soon(sender.run)
        try:
            yield
        finally:
            tasks.cancel_scope.cancel()


class Sender:
    """Takes what is due and sends it, for as long as it runs. Any number of processes may have one."""

    def __init__(
        self,
        settings: Settings,
        queue: JobQueue,
        store: Store,
        secrets: Sequence[Webhook],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._settings, self._queue, self._store, self._secrets = settings, queue, store, secrets
        self._busy, self._left = 0, set[str]()
        self._http = httpx2.AsyncClient(
            verify=tls or True, trust_env=False, follow_redirects=False, timeout=settings.webhook_timeout,
            headers={"User-Agent": "PurifIQA", "Accept-Encoding": "identity"},
        )  # fmt: skip

    async def run(self) -> None:
        """Send until canceled. What is cut off then is sent by another, or after the lease."""
        away = False
        async with self._http, anyio.create_task_group() as tasks:
            while True:
                free = MAX_AT_ONCE - self._busy
                try:
                    due = await self._queue.deliveries.take(free) if free else []
                    away = False
                except BROKER_ERRORS as error:
                    if not away:
                        log.warning("webhooks are waiting, because Redis cannot be reached: %s", error)
                    away = True
                    await anyio.sleep(OUTAGE_SECONDS)
                    continue
                self._busy += len(due)
                for job_id in due:
                    tasks.start_soon(self._deliver, job_id)
                if not due:
                    await anyio.sleep(POLL_SECONDS)

    async def _deliver(self, job_id: str) -> None:
        try:
            await self._try(job_id)
        finally:
            self._busy -= 1

    async def _try(self, job_id: str) -> None:
        try:
            record = await run_sync(self._queue.ledger.get, job_id)
            origin = record.origin
            with logs.bind(job_id=job_id, request_id=origin.request_id, owner=origin.owner):
                attempt = await self._attempt(record)
                await self._settle(record, attempt)
        except JobUnreadableError:
            if job_id not in self._left:  # it is due again with every lease
                log.warning("webhook of job %s is left to the version of the service that accepted the job", job_id)
                self._left.add(job_id)
        except LookupError:
            with contextlib.suppress(*BROKER_ERRORS):
                await self._queue.deliveries.drop(job_id)
        except BROKER_ERRORS:
            log.warning("webhook of job %s: Redis cannot be reached; retrying in %d s", job_id, LEASE_SECONDS)
        except Exception:  # one webhook must not end the others; the lease ends and it is tried again
            log.exception("webhook of job %s failed inside the service", job_id)

    async def _attempt(self, record: JobRecord) -> Attempt:
        try:
            async with asyncio.timeout(self._settings.webhook_timeout):
                target = await resolve(record.origin.webhook, self._settings)
                return await self._send(target, record)
        except ForbiddenTargetError as error:
            return Attempt(None, str(error))
        except TimeoutError:
            return Attempt(None, "it took too long")
        except httpx2.TimeoutException:
            return Attempt(None, "it took too long")
        except OSError:
            return Attempt(None, "its host name cannot be resolved")
        except httpx2.HTTPError as error:
            return Attempt(None, f"it cannot be reached ({type(error).__name__})")

    async def _send(self, target: Target, record: JobRecord) -> Attempt:
        body, url = message(record), target.url
        headers = signed_headers(self._secrets, message_id(record), datetime.now(UTC), body)
        headers |= {"Host": url.netloc.decode("ascii"), "Content-Type": "application/json"}
        for left, address in enumerate(addresses := target.addresses[:_MAX_ADDRESSES], 1 - len(addresses)):
            try:
                async with self._http.stream(
                    "POST", url.copy_with(host=address), content=body, headers=headers,
                    extensions={"sni_hostname": url.raw_host.decode("ascii")},
                ) as answer:  # fmt: skip
                    return Attempt(answer.status_code)  # what it says is of no interest and may be endless
            except httpx2.ConnectError:
                if left == 0:
                    raise
        raise OSError("no address")

    async def _settle(self, record: JobRecord, attempt: Attempt) -> None:
        before = record.delivery or Delivery(state="pending")
        now, tried = time.time(), before.attempts + 1
        wait = None
        if attempt.is_success:
            state, detail = "delivered", ""
        elif attempt.status == GONE:
            state, detail = "refused", "it answered 410"
        else:
            detail = attempt.detail or f"it answered {attempt.status}"
            wait = self._wait(tried) if tried < self._settings.webhook_attempts else None
            state = "failed" if wait is None else "pending"
        level = logging.WARNING if state in ("refused", "failed") else logging.INFO
        log.log(level, "webhook %s", f"{state}: {detail}" if detail else state, extra={"attempts": tried})
        delivery = Delivery.model_validate(
            {"state": state, "attempts": tried, "last_status": attempt.status, "detail": detail, "last_attempt": now,
             "next_attempt": None if wait is None else now + wait}
        )  # fmt: skip
        await self._queue.deliveries.settle(record.id, delivery, wait)
        try:
            await run_sync(note_delivery, self._store, record.id, delivery)
        except OSError as error:  # it matters only if Redis loses everything: then it is sent once more
            log.warning(
                "the outcome of the webhook of job %s could not be written to its manifest: %s", record.id, error
            )

    def _wait(self, tried: int) -> float:
        """Return the seconds until the next try, up to a fifth shorter or longer so that many do not come at once."""
        wait = min(self._settings.webhook_retry_seconds * _GROWTH ** (tried - 1), MAX_WAIT_SECONDS)
        return wait * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
