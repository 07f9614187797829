"""The service from the outside: what `--server URL` uses, and an example of a client."""

import os
import threading
import time
import uuid
from types import TracebackType
from typing import Any, Self

import httpx2

from app.errors import order_is_wrong
from app.idempotency import HEADER

API_KEY = "PURIFIQA_API_KEY"
"""Name of the environment variable with the key that is sent to the server."""
TOO_MANY = 429
BUSY = (TOO_MANY, 502, 503, 504, 507)
"""Statuses that pass: too many requests, no broker, a proxy whose service restarts, a full store."""
CONFLICT = 409
FORBIDDEN = (401, 403)
LONGEST_PAUSE = 30.0
PATIENCE_SECONDS = 300
"""How long whoever has many orders asks a server again that is busy, or stops answering in between."""
WAIT_SECONDS = 5
"""How long one request of theirs stays open: so long at most does it take to stop."""


class ServerError(RuntimeError):
    """The server refused the request or the job failed; the message is the problem's detail."""

    def __init__(
        self, detail: str, *, code: str = "", is_about_the_order: bool = False, is_about_the_server: bool = False
    ) -> None:
        super().__init__(detail)
        self.code = code
        """Of the problem that the server answered; empty: none."""
        self.is_about_the_order = is_about_the_order
        self.is_about_the_server = is_about_the_server
        """Whether any other order would fare no better now: it does not answer, is busy, or knows no such key."""


class StoppedError(ServerError):
    """The order was given up because the client was told to stop."""


class Client:
    """Orders over HTTP, waiting for each; threads may share one.

    A server that is busy or does not answer is asked again, as it says in `Retry-After`, for up to `patience` seconds.
    `wait` is how many seconds one request may stay open for a job to end. The API key is that of `PURIFIQA_API_KEY`.
    """

    def __init__(self, server: str, patience: float = 0, wait: int = 60) -> None:
        if not server.lower().startswith(("http://", "https://")):
            raise ServerError(f"{server!r} is not the URL of a service, such as http://127.0.0.1:8000")
        headers = {"Prefer": f"wait={wait}"}
        if key := os.environ.get(API_KEY):
            headers["Authorization"] = f"Bearer {key}"
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
        try:
            self._http = httpx2.Client(base_url=server.rstrip("/"), timeout=wait + 30, headers=headers, limits=limits)
        except httpx2.InvalidURL as error:
            raise ServerError(f"{server} is not a URL: {error}") from error
        self._patience = patience
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def stop(self) -> None:
        """Make every order that waits in another thread end with a StoppedError soon."""
        self._stopped.set()

    def order(
        self, kind: str, image: bytes, fields: dict[str, str], **headers: str
    ) -> tuple[dict[str, Any], bytes | None]:
        """Send `purify`, `score` or `attack`; return the finished job document and the file that it made, if any.

        Raises ServerError; StoppedError after `stop`.
        """
        job, pause = self.begin(kind, image, fields, **headers)
        try:
            while job["status"] in ("queued", "running"):
                self._pause(pause / 4)
                place = job["links"]["self"]
                job = _document("GET", place, self.send("GET", place))
        except StoppedError:
            self.erase(job)
            raise
        if job["status"] != "finished":
            error = job["error"] or {"detail": f"the job was {job['status']}"}
            raise ServerError(error["detail"], code=error.get("code", ""))
        place = job["result"]["image_url"]
        return job, self.send("GET", place).content if place else None

    def begin(self, kind: str, image: bytes, fields: dict[str, str], **headers: str) -> tuple[dict[str, Any], float]:
        """Send an order; return the job document and after how many seconds to ask for it again.

        Asked again because an answer was lost, it is the same job. Raises ServerError.
        """
        headers = {HEADER: uuid.uuid4().hex, **headers}
        answer = self.send("POST", f"/{kind}", files={"image": ("image", image)}, data=fields, headers=headers)
        return _document("POST", f"/{kind}", answer), _seconds(answer, usual=1)

    def erase(self, job: dict[str, Any]) -> None:
        """Let the server forget a job and its files at once; it would by itself, later."""
        self._try("DELETE", job["links"]["self"], {})

    def send(self, method: str, path: str, **content: Any) -> httpx2.Response:
        """Return the answer to a request, with patience. Raises ServerError."""
        end, tries = time.monotonic() + self._patience, 0
        while True:
            answer, why = self._try(method, path, content)
            if answer is not None and not _passes(answer):
                break
            tries += 1
            pause = min(2.0 ** (tries - 1), LONGEST_PAUSE)
            pause = pause if answer is None else max(pause / 4, _seconds(answer, usual=pause))
            if time.monotonic() + pause > end:
                break
            self._pause(pause)
        if answer is None:
            detail = f"{self._http.base_url} does not answer: {why}"
            raise ServerError(detail, is_about_the_order=True, is_about_the_server=True)
        if not answer.is_success:
            asked_again = f", after retries for {self._patience:.0f} s" if tries > 1 else ""
            raise _refused(method, path, answer, asked_again)
        return answer

    def _try(self, method: str, path: str, content: dict[str, Any]) -> tuple[httpx2.Response | None, str]:
        try:
            return self._http.request(method, path, **content), ""
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            return None, str(error) or type(error).__name__

    def _pause(self, seconds: float) -> None:
        if self._stopped.wait(seconds):
            raise StoppedError("stopped")


def _passes(answer: httpx2.Response) -> bool:
    """Return whether it is worth asking again: a conflict that says when, as of a key in use, passes too."""
    return answer.status_code in BUSY or (answer.status_code == CONFLICT and "Retry-After" in answer.headers)


def _document(method: str, path: str, answer: httpx2.Response) -> dict[str, Any]:
    try:
        document: dict[str, Any] = answer.json()
    except ValueError as error:  # the page of a proxy, or another service
        detail = f"the answer to {method} {path} is not from PurifIQA; check the URL"
        raise ServerError(detail, is_about_the_order=True, is_about_the_server=True) from error
    return document


def _refused(method: str, path: str, answer: httpx2.Response, asked_again: str) -> ServerError:
    is_about_the_server = answer.status_code in (*BUSY, *FORBIDDEN)
    is_for_all = is_about_the_server and answer.status_code != TOO_MANY  # the key's other orders end, and make room
    try:
        problem = answer.json() if answer.headers.get("content-type", "").startswith("application/problem+json") else {}
    except ValueError:
        problem = {}
    if not problem:
        to = f", to {answer.headers['Location']}" if answer.has_redirect_location else ""
        detail = f"{method} {path}: {answer.status_code}{to}{asked_again}"
        return ServerError(detail, is_about_the_order=is_for_all, is_about_the_server=is_about_the_server)
    wrong = [(one["field"], one["code"]) for one in problem.get("errors", [])]
    is_about_the_order = is_for_all or order_is_wrong(problem["status"], wrong)
    return ServerError(
        f"{problem['detail']}{asked_again}",
        code=problem["code"],
        is_about_the_order=is_about_the_order,
        is_about_the_server=is_about_the_server,
    )


def _seconds(answer: httpx2.Response, usual: float) -> float:
    """Return what `Retry-After` says; a date, which it may be too, or nothing: `usual`."""
    said = answer.headers.get("Retry-After", "")
    return float(said) if said.isdigit() else usual
