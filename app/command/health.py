"""Whether the service, or the worker in this container, is well. Needs neither torch nor curl."""

import time

import httpx2

from workers.pulse import FRESH_SECONDS, last_beat


def check_service(url: str) -> str | None:
    """Return what is wrong with the service at `url`, or None."""
    try:
        answer = httpx2.get(f"{url.rstrip('/')}/readyz", timeout=5)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        return f"{url} does not answer: {error}"
    if answer.is_success:
        return None
    is_problem = answer.headers.get("content-type", "").startswith("application/problem+json")
    return str(answer.json()["detail"]) if is_problem else f"{url} answers {answer.status_code}"


def check_worker() -> str | None:
    """Return what is wrong with the workers on this machine, or None if at least one is alive and ready."""
    age = time.time() - last_beat()
    return None if age < FRESH_SECONDS else "no worker on this machine has been ready in the last seconds"
