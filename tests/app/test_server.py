"""What the process of the API sees to before it serves."""

import asyncio
import logging
import re
import resource
import subprocess
import sys

import pytest
import uvicorn

from app import server

LIMITS = "import resource, app.server as s; s.allow_files(500); print(*resource.getrlimit(resource.RLIMIT_NOFILE))"


def test_a_usual_limit_of_open_files_is_raised_to_what_all_connections_may_need():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2256:
        pytest.skip("nobody may open so many files here")
    told = subprocess.run(
        ["sh", "-c", f"ulimit -Sn 256; exec {sys.executable} -c '{LIMITS}'"], capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["2256", str(hard)]
    assert told.stderr == ""


@pytest.mark.parametrize(
    ("before", "after", "warned"),
    [((10_000, 20_000), None, False), ((-1, -1), None, False), ((256, -1), (2256, -1), False), ((256, 1024), (1024, 1024), True)],
)  # fmt: skip
def test_no_limit_is_lowered_and_what_cannot_be_raised_is_told(monkeypatch, caplog, before, after, warned):
    given = []
    monkeypatch.setattr(resource, "RLIM_INFINITY", -1)
    monkeypatch.setattr(resource, "getrlimit", lambda _: before)
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: given.append(limits))
    server.allow_files(500)
    assert given == ([after] if after else [])
    assert bool(caplog.records) == warned


def test_a_free_port_that_was_found_is_told(caplog):
    async def start_and_stop(server):
        server.lifespan = server.config.lifespan_class(server.config)
        await server.startup()
        port = server.servers[0].sockets[0].getsockname()[1]
        await server.shutdown()
        return port

    async def nothing(_scope, _receive, _send):
        pass

    caplog.set_level(logging.INFO)
    config = uvicorn.Config(nothing, port=0, lifespan="off", log_config=None)
    config.load()
    port = asyncio.run(start_and_stop(server._Server(config)))
    assert re.search(rf"the API listens on port {port}$", caplog.text, re.MULTILINE)
