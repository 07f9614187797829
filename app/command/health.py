"""Whether the service, or the worker in this container, is well. Needs neither torch nor curl."""

import os
import time

import httpx2

from workers.state.pulse import FRESH_SECONDS, last_beat, stuck_workers


def check_service(url: str) -> str | None:
    """Return what is wrong with the service at `url`, or None."""
    try:
        # a proxy that is set leads elsewhere, not to this machine
        answer = httpx2.get(f"{url.rstrip('/')}/readyz", timeout=5, trust_env=url != own_address())
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        return f"{url} does not answer: {error}"
    return None if answer.is_success else what_is_wrong(answer, url)


def what_is_wrong(answer: httpx2.Response, url: str) -> str:
    """Return what an answer that is none of success says, or that it is not the service's."""
    is_problem = answer.headers.get("content-type", "").startswith("application/problem+json")
    return str(answer.json()["detail"]) if is_problem else f"{url} answered with status {answer.status_code}"


def check_worker() -> str | None:
    """Return what is wrong with the workers on this machine, or None if one is alive and ready and none is stuck."""
    stuck = stuck_workers()
    if stuck:
        return f"worker process {', '.join(map(str, stuck))} is stuck"
    age = time.time() - last_beat()
    return None if age < FRESH_SECONDS else "no worker on this machine has reported as ready in the last seconds"


def own_address() -> str:
    """Return where the API of this container answers, by its settings."""
    return address_of(os.environ.get("PURIFIQA_HOST", "127.0.0.1"), os.environ.get("PURIFIQA_PORT") or "8000")


def address_of(host: str, port: int | str) -> str:
    """Return the URL of an API that listens on `host`, as reached from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
