"""The service from the outside: what `--server URL` uses, and an example of a client."""

import os
import time
from types import TracebackType
from typing import Any, Self

import httpx2

from app.errors import order_is_wrong


class ServerError(RuntimeError):
    """The server refused the request or the job failed; the message is the problem's detail."""

    def __init__(self, detail: str, *, is_about_the_order: bool = False) -> None:
        super().__init__(detail)
        self.is_about_the_order = is_about_the_order


def _key() -> dict[str, str]:
    key = os.environ.get("PURIFIQA_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}


class Client:
    """Orders over HTTP, one at a time, waiting for each. The API key is that of PURIFIQA_API_KEY."""

    def __init__(self, server: str) -> None:
        try:
            self._http = httpx2.Client(base_url=server.rstrip("/"), timeout=90, headers=_key())
        except httpx2.InvalidURL as error:
            raise ServerError(f"{server} is not a URL: {error}") from error

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
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ServerError(f"{self._http.base_url} does not answer: {error}", is_about_the_order=True) from error
        if not answer.is_error:
            return answer
        if not answer.headers.get("content-type", "").startswith("application/problem+json"):
            raise ServerError(f"{method} {path}: {answer.status_code}")
        problem = answer.json()
        wrong = [(one["field"], one["code"]) for one in problem.get("errors", [])]
        raise ServerError(problem["detail"], is_about_the_order=order_is_wrong(problem["status"], wrong))
