"""What a request may use: the settings, the queue and the store. The API itself holds no state."""

from dataclasses import dataclass
from typing import Annotated

import anyio
from fastapi import Depends, Request

from app.decoding.pool import DecoderPool
from app.guard.keys import KeyRing
from app.guard.room import Room
from app.settings import Settings
from workers.state.queue import JobQueue
from workers.state.store import Store


@dataclass(frozen=True)
class Services:
    """The parts behind the API."""

    settings: Settings
    queue: JobQueue
    store: Store
    decoders: anyio.CapacityLimiter
    followers: anyio.CapacityLimiter
    decoding: DecoderPool
    room: Room
    keys: KeyRing | None
    """None: no keys are asked for."""


def get_services(request: Request) -> Services:
    """Return the services of the running app."""
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(get_services)]
