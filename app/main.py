"""`create_app()`: settings in, the HTTP service out."""

import functools
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import anyio
from anyio.to_thread import run_sync
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app import documentation, errors
from app.decoding.pool import DecoderPool
from app.guard.access import needs_keys
from app.guard.install import install_inner, install_outer
from app.guard.keys import KeyRing
from app.guard.openapi import describe
from app.guard.room import Room
from app.head import HeadLikeGet
from app.request_context import RequestContext, is_watching
from app.routes import attack, batches, catalogue, events, health, jobs, listing, page, purify, score
from app.services import Services
from app.settings import Settings
from app.telemetry import RequestMetrics, make_registry
from app.webhooks.sender import Sender, sending
from app.webhooks.signing import read_secrets
from workers.defaults import check_defaults
from workers.state.queue import JobQueue
from workers.state.store import Store

DESCRIPTION = """
A perturbation that nobody sees can cheat a no-reference image-quality score. Send an image: a defense of your choice
purifies it, and you get back the purified image and the score **before and after**.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the service. Settings default to the environment.

    Raises ValueError for defaults that do not exist, and where it would stand open and nobody said so."""
    settings = settings or Settings()
    check_defaults(settings)
    secrets = read_secrets(settings)
    keys = (
        KeyRing(settings.keys_file)
        if needs_keys(settings.auth, settings.host, settings.publish, settings.keys_file)
        else None
    )
    queue, store = JobQueue(settings), Store(settings.data_dir)
    store.open()
    decoding = DecoderPool(settings.limits, settings.decode_seconds)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        gc.freeze()  # what has been imported is here to stay: looking through it again costs every request
        try:
            async with sending(Sender(settings, queue, store, secrets) if secrets else None):
                yield
        finally:
            gc.unfreeze()
            await queue.broker.close()
            await run_sync(decoding.close)

    app = FastAPIOffline(
        redirect_slashes=False,  # it names http:// behind a proxy with TLS, and a client would send its key there
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
        settings=settings,
        queue=queue,
        store=store,
        decoders=anyio.CapacityLimiter(settings.decoders),
        followers=anyio.CapacityLimiter(settings.max_followers),
        decoding=decoding,
        room=Room(store, settings),
        keys=keys,
    )
    app.state.draining = False
    app.state.registry = make_registry(queue, store)
    for routes in (purify, score, attack, listing, jobs, events, batches, catalogue, health, page):
        app.include_router(routes.router)
    errors.install(app)
    documentation.install(app, functools.partial(describe, keys_are_on=keys is not None))
    app.add_middleware(HeadLikeGet)
    install_inner(app, settings, keys_are_on=keys is not None)
    app.add_middleware(RequestMetrics, registry=app.state.registry)
    install_outer(app, settings)
    app.add_middleware(RequestContext)
    return app
