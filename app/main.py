"""`create_app()`: settings in, the HTTP service out."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import anyio
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app import documentation, errors
from app.body_limit import FORM_OVERHEAD, BodyLimit
from app.request_context import RequestContext, is_watching
from app.routes import batches, catalogue, events, health, jobs, listing, purify, score
from app.services import Services
from app.settings import Settings
from app.telemetry import RequestMetrics, make_registry
from app.webhooks.sender import Sender, sending
from app.webhooks.signing import read_secrets
from models.defenses import parse_defense
from models.metrics import find_metric
from workers.queue import JobQueue
from workers.store import Store

DESCRIPTION = """
A no-reference image-quality score can be cheated by a perturbation that nobody sees. Send an image: a chosen defense
purifies it, and the purified image comes back beside the score **before and after**.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the service. Settings default to the environment. Raises ValueError for defaults that do not exist."""
    settings = settings or Settings()
    parse_defense(settings.default_defense)  # a wrong default is the operator's to know, now
    for name in settings.default_metric_names:
        find_metric(name)
    secrets = read_secrets(settings)
    queue, store = JobQueue(settings), Store(settings.data_dir)
    store.open()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        gc.freeze()  # what has been imported is here to stay: looking through it again costs every request
        async with sending(Sender(settings, queue, secrets) if secrets else None):
            yield
        gc.unfreeze()
        await queue.close()

    app = FastAPIOffline(
        title="PurifIQA",
        summary="Image-quality scores that can be trusted",
        description=DESCRIPTION,
        version=version("purifiqa"),
        lifespan=lifespan,
        redoc_url=None,
        # Requests are spans; Prometheus has the metrics, and a validation error would tell a log what was sent.
        telemetry={"metrics": False, "logs": False, "operation_spans": False, "exclude": is_watching},
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    app.state.services = Services(
        settings, queue, store, anyio.CapacityLimiter(settings.decoders), anyio.CapacityLimiter(settings.max_followers)
    )
    app.state.draining = False
    app.state.registry = make_registry(queue, store)
    for routes in (purify, score, listing, jobs, events, batches, catalogue, health):
        app.include_router(routes.router)
    errors.install(app)
    documentation.install(app)
    app.add_middleware(BodyLimit, max_bytes=settings.max_bytes + FORM_OVERHEAD)
    app.add_middleware(RequestMetrics, registry=app.state.registry)
    app.add_middleware(RequestContext)
    return app
