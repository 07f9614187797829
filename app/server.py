"""Serve the app with uvicorn, and let whoever waits for a job have an answer when the service stops."""

import logging
import resource
import socket
import threading
from contextvars import Context
from types import FrameType

import uvicorn
from fastapi import FastAPI

from app.guard.protocol import protocol
from app.settings import Settings

log = logging.getLogger("purifiqa.api")

STOP_SECONDS = 5
"""Longer than a wait takes to notice that the service stops."""

FILES_PER_CONNECTION, OTHER_FILES = 4, 256
"""Who waits has a connection to Redis too, an image may be open, and as many again may be turned away at a time."""


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen; where that is on any free port, tell which."""
        await super().startup(sockets)
        if self.started and not self.config.port:
            log.info("the API listens on port %d", self.servers[0].sockets[0].getsockname()[1])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Let a load balancer see on /readyz that this process ends, then end; at once when told again."""
        app: FastAPI = self.config.app  # type: ignore[assignment]
        seconds = app.state.services.settings.drain_seconds
        if seconds and not app.state.draining:
            app.state.draining = True
            Context().run(log.info, "stopping in %g s", seconds)  # not under the id of whichever request was served
            later = threading.Timer(seconds, self.handle_exit, (sig, frame))
            later.daemon = True
            later.start()
            return
        app.state.draining = True
        app.state.services.queue.broker.stop_waiting()
        super().handle_exit(sig, frame)


def allow_files(connections: int) -> None:
    """Let this process open what so many connections need: what a shell allows by itself is soon too little."""
    wanted = FILES_PER_CONNECTION * connections + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        log.warning("%d connections may need %d open files; only %d may be (ulimit -Hn)", connections, wanted, allowed)


def serve(app: FastAPI, settings: Settings) -> None:
    """Serve `app` until SIGTERM or SIGINT."""
    allow_files(settings.max_connections)
    config = uvicorn.Config(
        app, host=settings.host, port=settings.port, log_config=None, log_level="warning", access_log=False,
        server_header=False, timeout_graceful_shutdown=STOP_SECONDS,
        http=protocol(settings),  # type: ignore[arg-type] # called as a class is
    )  # fmt: skip
    log.info(
        "the API is starting on %s:%d; %s; attacks are %s", settings.host, settings.port,
        "keys are required" if app.state.services.keys else "no keys are required",
        "on" if settings.attacks else "off",
    )  # fmt: skip
    app.state.services.decoding.warm(settings.decoders)  # while the rest starts
    _Server(config).run()
