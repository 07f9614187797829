"""The service from the outside: what `--server URL` uses, and an example of a client."""

import time
from types import TracebackType
from typing import Any, Self

import httpx2


class ServerError(RuntimeError):
    """The server refused the request or the job failed; the message is the problem's detail."""


class Client:
    """Orders over HTTP, one at a time, waiting for each."""

    def __init__(self, server: str) -> None:
        self._http = httpx2.Client(base_url=server.rstrip("/"), timeout=90)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def order(self, kind: str, image: bytes, fields: dict[str, str]) -> tuple[dict[str, Any], bytes | None]:
        """Send `purify` or `score`; return the finished job document and the purified file, if any.

        Raises ServerError.
        """
        answer = self._send("POST", f"/{kind}", files={"image": ("image", image)}, data=fields)
        job: dict[str, Any] = answer.json()
        while job["status"] in ("queued", "running"):
            time.sleep(float(answer.headers.get("Retry-After", 1)) / 4)
            job = self._send("GET", job["links"]["self"]).json()
        if job["status"] != "finished":
            raise ServerError(job["error"]["detail"] if job["error"] else f"the job was {job['status']}")
        place = job["result"]["image_url"]
        return job, self._send("GET", place).content if place else None

    def _send(self, method: str, path: str, **content: Any) -> httpx2.Response:
        try:
            answer = self._http.request(method, path, headers={"Prefer": "wait=60"}, **content)
        except httpx2.HTTPError as error:
            raise ServerError(f"{self._http.base_url} does not answer: {error}") from error
        if answer.is_error:
            is_problem = answer.headers.get("content-type", "").startswith("application/problem+json")
            raise ServerError(answer.json()["detail"] if is_problem else f"{method} {path}: {answer.status_code}")
        return answer
