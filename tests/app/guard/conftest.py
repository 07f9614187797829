"""What tests of the guard have in common."""

import contextlib

import pytest
from conftest import served

from app.guard.protocol import protocol
from app.main import create_app
from app.settings import Settings


@pytest.fixture
def submit(photo_png):
    """Send an order."""

    def send(client, headers=None, path="/purify", **fields):
        data = {"defense": "jpeg", "metrics": "" if path == "/purify" else "piqe", **fields}
        return client.post(path, files={"image": photo_png}, data=data, headers=headers or {})

    return send


@pytest.fixture
def serve(settings, monkeypatch):
    """Serve the app on a real port with these settings; return the port."""

    def start(grace=10.0, **more):
        monkeypatch.setattr("app.guard.deadline.BodyDeadline.__init__.__defaults__", (grace,))
        ours = Settings(**{**settings.model_dump(exclude_unset=True), **more})
        service = served(create_app(ours), http=protocol(ours), server_header=False)
        port, start.server = running.enter_context(service)
        return port

    with contextlib.ExitStack() as running:
        yield start
        start.server.force_exit = True
