"""What the guard adds to the OpenAPI document: its answers, and whether a key is asked for."""

from typing import Any

from app.documentation import problems
from app.request_context import WATCHED


def describe(document: dict[str, Any], *, keys_are_on: bool) -> None:
    """Complete `document` in place. Where keys are off, sending one stays possible and changes nothing."""
    for name, path in document["paths"].items():
        for operation in path.values():
            statuses = [421]
            if "security" in operation:
                statuses += [401, 403]
            if "security" in operation and name not in WATCHED:
                statuses += [429, 503]  # of its turns, which are counted in Redis
            if "requestBody" in operation:
                statuses += [408]
            for status, answer in problems(*statuses).items():
                operation["responses"].setdefault(str(status), answer)
            if "security" in operation and not keys_are_on:
                operation["security"].append({})
