import pytest
from starlette.testclient import TestClient

from app.guard.keys import new_key, write_file
from app.main import create_app
from app.settings import Settings


@pytest.fixture
def keys(settings):
    """Keys of alice, bob, a reader, a monitor and an administrator, by name; the file holds their hashes."""
    made = {
        "alice": new_key("alice"),
        "bob": new_key("bob"),
        "reader": new_key("reader", ["read"]),
        "monitor": new_key("monitor", ["metrics"]),
        "root": new_key("root", ["admin"]),
    }
    write_file(settings.keys_file, [stored for _, stored in made.values()])
    return {name: {"Authorization": f"Bearer {key}"} for name, (key, _) in made.items()}


@pytest.fixture
def open_client(settings):
    """Return a client of an app with a broker, a store and settings of its own, and no worker: jobs stay queued."""
    clients = []

    def start(**more):
        app = create_app(Settings(**{**settings.model_dump(exclude_unset=True), **more}))
        clients.append(TestClient(app, raise_server_exceptions=False))
        clients[-1].__enter__()
        return clients[-1]

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def guarded(open_client, keys):
    """A client of an app that asks for keys."""
    return open_client()


@pytest.fixture
def submit(photo_png):
    """Send an order."""

    def send(client, headers=None, path="/purify", **fields):
        data = {"defense": "jpeg", "metrics": "" if path == "/purify" else "piqe", **fields}
        return client.post(path, files={"image": photo_png}, data=data, headers=headers or {})

    return send
