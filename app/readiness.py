"""Whether jobs can be accepted and will be done: each thing that it takes, looked at now."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

from pydantic import BaseModel, Field

from app.services import Services
from models.defenses import parse_defense
from models.metrics import find_metric
from workers.state.broker import BROKER_ERRORS
from workers.telemetry.vitals import Facts


class Check(BaseModel):
    """One check."""

    name: str = Field(
        description="`service`, `store`, `redis`, `workers`, or a default: `defense:NAME`, `metric:NAME`."
    )
    ok: bool
    required: bool = Field(description="Whether the service needs it to be ready.")
    detail: str = Field(description="The finding, in words.")
    code: str = Field(description="A stable slug.")


def look(services: Services, *, draining: bool) -> list[Check]:
    """Return everything that must hold, and whether it does."""
    service = Check(name="service", ok=True, required=True, detail="accepts orders", code="ok")
    if draining or services.queue.broker.is_closing:
        service = Check(
            name="service", ok=False, required=True, detail="this process is shutting down", code="draining"
        )
    return [service, _store(services), *_broker_and_workers(services)]


def defaults(services: Services) -> Iterator[Check]:
    """Yield whether what a request gets that names neither a defense nor metrics can be used here."""
    settings = services.settings
    defense = parse_defense(settings.default_defense)
    parts = {f"defense:{defense.name}": defense.availability()}
    parts |= {f"metric:{name}": find_metric(name).availability() for name in settings.default_metric_names}
    for name, found in parts.items():
        code = "ok" if found.available else "unavailable"
        detail = "can be used" if found.available else found.explanation
        yield Check(name=name, ok=found.available, required=False, detail=detail, code=code)


def _store(services: Services) -> Check:
    ok, code, detail = services.store.is_writable(), "not-writable", "the data folder is not writable"
    if ok:
        free, least = services.store.free_bytes(), services.settings.min_free_bytes
        ok, code, detail = True, "ok", f"writable; {free:,} bytes are free"
        if free < least:
            ok, code, detail = False, "full", f"{free:,} bytes are free on its disk; at least {least:,} are needed"
        elif (left := services.room.left()) is not None:
            detail = f"{detail}; {max(0, left):,} are left of PURIFIQA_MAX_STORE_BYTES"
            ok, code = (True, "ok") if left > 0 else (False, "full")
    return Check(name="store", ok=ok, required=True, detail=detail, code=code)


def _broker_and_workers(services: Services) -> Iterator[Check]:
    crew = None
    with suppress(*BROKER_ERRORS):
        if services.queue.broker.is_up():
            crew = [Facts.model_validate_json(text) for text in services.queue.presence.crew()]
    if crew is None:
        yield Check(
            name="redis",
            ok=False,
            required=True,
            detail="Redis does not answer or does not accept writes",
            code="unreachable",
        )
        return
    yield Check(name="redis", ok=True, required=True, detail="answers and accepts writes", code="ok")
    least = services.settings.ready_workers
    well = [facts for facts in crew if facts.state != "stuck"]
    found = Counter(f"{facts.state} on {facts.device}" for facts in crew)
    detail = ", ".join(f"{count} {what}" for what, count in sorted(found.items())) or "no worker is alive and ready"
    ok = len(well) >= least
    if not ok and well:
        detail = f"{detail}; {least} are needed"
    code = "ok" if ok else "too-few" if well else "stuck" if crew else "none"
    yield Check(name="workers", ok=ok, required=True, detail=detail, code=code)
