"""A running service as a study sees it: whether its numbers would be those of this machine, and what it can do."""

import functools
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import torch

from app.bench.items import BenchError, Item, attack_of, metric_of
from app.command.client import PATIENCE_SECONDS, WAIT_SECONDS, Client, ServerError
from app.guard.admission import ATTACKS_OFF
from models.availability import AVAILABLE, Availability, unavailable
from models.images import ImageFormat, encode

NO_ATTACKS = (ATTACKS_OFF, "not-found")
"""Codes of the problems by which a service says that it carries out no attacks."""
_SIDE = 64


class Server:
    """A running service, as far as a study needs to know it."""

    def __init__(self, url: str) -> None:
        """Take its address; nothing is sent yet. Raises BenchError for one that is none."""
        self.url = url
        try:
            self.client = Client(url, patience=PATIENCE_SECONDS, wait=WAIT_SECONDS)
        except ServerError as error:
            raise BenchError(str(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()

    def check(self, metrics: Sequence[Item], version: str) -> None:
        """Raise BenchError unless it is the same PurifIQA as this one, and scores with the same `metrics`."""
        try:
            with Client(self.url) as hasty:  # one that is down now is told now
                there = hasty.send("GET", "/openapi.json").json()["info"]["version"]
            known = {entry["name"]: entry for entry in self.client.send("GET", "/iqa-metrics").json()}
        except (ServerError, ValueError, LookupError) as error:
            raise BenchError(f"--server {self.url}: {error}") from error
        if there != version:
            raise BenchError(f"{self.url} runs PurifIQA {there}, and this is {version}: its numbers could differ")
        for metric in metrics:
            names = (metric.label, metric.label.rpartition(":")[2], *metric_of(metric).card.aliases)
            entry = next((known[name] for name in names if name in known), None)
            if entry is None:
                raise BenchError(f"{self.url} has no metric {metric.label}")
            if not entry["availability"]["available"]:
                raise BenchError(f"{self.url} cannot use metric {metric.label}: {entry['availability']['reason']}")
            check_version(self.url, metric, entry)

    def attacks_here(self, attacks: Sequence[Item]) -> dict[str, str]:
        """Return the labels of those attacks that cannot be ordered from it, each with why. Raises BenchError."""
        reasons = {attack.label: self._why_here(attack) for attack in attacks}
        return {label: reason for label, reason in reasons.items() if reason}

    def attack_availability(self, item: Item) -> Availability:
        """Return whether an attack can be used, by its workers or else on this machine. Raises BenchError."""
        return attack_of(item).availability() if self._why_here(item) else AVAILABLE

    def _why_here(self, item: Item) -> str | None:
        if self._attacks is None:
            return f"{self.url} does not offer attacks (PURIFIQA_ATTACKS is not set there)"
        if (there := self._attacks.get(item.about["name"])) is None:
            return "it reads a local file" if attack_of(item).is_local else f"{self.url} does not have it"
        return None if there.available else f"{self.url} cannot use it: {there.reason}"

    @functools.cached_property
    def _attacks(self) -> dict[str, Availability] | None:
        """What can be ordered, by name; None: it carries out no attacks."""
        try:
            listed = self.client.send("GET", "/attacks").json()
        except ServerError as error:
            if error.code in NO_ATTACKS:
                return None
            raise BenchError(f"--server {self.url}: {error}") from error
        return {entry["name"]: Availability.model_validate(entry["availability"]) for entry in listed}

    def availability(self, item: Item) -> Availability:
        """Return whether its workers can use a defense: it is ordered, and the order taken back. Raises BenchError."""
        gray = encode(torch.full((1, 3, _SIDE, _SIDE), 0.5), ImageFormat.PNG)
        try:
            job, _ = self.client.begin("purify", gray, {"defense": item.json_text, "metrics": ""}, Prefer="wait=0")
            self.client.erase(job)
        except ServerError as error:
            if error.is_about_the_server:
                raise BenchError(f"--server {self.url}: {error}") from error
            return unavailable(
                f"{self.url} refuses it: {error}", "Add what is missing on its machines, or leave out this defense"
            )
        return AVAILABLE


def check_version(url: str, metric: Item, told: dict[str, Any]) -> None:
    """Raise BenchError unless what a server told of a metric, or of its score, is of the version that is here."""
    if told["version"] != metric.about["version"]:
        raise BenchError(
            f"{url} scores with version {told['version']!r} of {metric.label}, not {metric.about['version']!r}: "
            "its numbers would differ"
        )
