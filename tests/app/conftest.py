import signal
import time

import pytest
from page_with_standin import CHROMIUM, StandIn
from starlette.testclient import TestClient
from typer.testing import CliRunner
from webhook_receiver import SECRET

from app.cli import app as command
from app.guard.keys import new_key, write_file
from app.main import create_app
from app.settings import Settings
from app.webhooks import sender as sender_module


@pytest.fixture(scope="session")
def client(shared_service):
    """A client of the app, with a real broker, store and worker behind it."""
    with TestClient(create_app(shared_service), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def attacking(shared_service):
    """A client of an app with the same broker, store and worker that carries out attacks."""
    settings = Settings(**{**shared_service.model_dump(exclude_unset=True), "attacks": True})
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def order(client, photo_png):
    """Send an order with a good photo, unless another is given."""

    def send(path="/purify", image=photo_png, headers=None, **fields):
        fields.setdefault("metrics", "piqe" if path == "/score" else "")
        return client.post(path, files={"image": ("photo.png", image)}, data=fields, headers=headers or {})

    return send


@pytest.fixture(scope="session")
def finish(client):
    """Follow a job to its end."""

    def follow(answer):
        assert answer.status_code in (200, 202), answer.text
        for _ in range(600):
            job = client.get(answer.headers["location"]).json()
            if job["status"] not in ("queued", "running"):
                return job
            time.sleep(0.05)
        raise AssertionError(f"the job does not end: {job}")

    return follow


@pytest.fixture
def idle_client(settings):
    """A client of an app with a broker and a store of its own and no worker: jobs stay queued."""
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


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
def run(monkeypatch, tmp_path):
    """The command, with folders of its own and a wide terminal."""
    monkeypatch.setenv("PURIFIQA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PURIFIQA_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setenv("COLUMNS", "250")
    return lambda *arguments: CliRunner().invoke(command, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path, photo_png, photo_jpeg):
    """A folder with two photos, one of them below, and a text file."""
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    (folder / "a.png").write_bytes(photo_png)
    (folder / "below" / "b.jpg").write_bytes(photo_jpeg)
    (folder / "notes.txt").write_text("no photo")
    return folder


@pytest.fixture
def hooked(settings, monkeypatch):
    """Settings of a service that may send webhooks to this machine, and tries again at once."""
    monkeypatch.setattr(sender_module, "POLL_SECONDS", 0.02)
    update = {
        "webhook_secret": SECRET, "webhook_allow_http": True, "webhook_allow_private": True,
        "webhook_retry_seconds": 0.05, "webhook_attempts": 3, "webhook_timeout": 1,
    }  # fmt: skip
    return Settings(**update)


@pytest.fixture
def hooked_client(hooked):
    """A client of such a service, without a worker: jobs stay queued until they are canceled."""
    with TestClient(create_app(hooked), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def listening():
    """Hear Ctrl-C, which who runs the tests in the background does not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def browser():
    """A real browser; who asks for one is skipped where there is none."""
    if not CHROMIUM:
        pytest.skip("chromium is not installed")
    with (
        pytest.importorskip("playwright.sync_api").sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as running,
    ):
        yield running


@pytest.fixture
def standin(browser):
    """The page in a browser, behind it a service that answers what a test says. No script of the page may fail."""
    page = browser.new_page()
    page.set_default_timeout(20_000)
    standin = StandIn(page)
    yield standin
    page.close()
    assert not standin.errors
