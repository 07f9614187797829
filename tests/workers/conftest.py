"""What tests of the worker's parts have in common."""

import signal
import threading
import time

import pytest
import torch
from submitted import submitted

from models.defenses import parse_defense
from models.images import ImageFormat, check, encode
from workers import worker as worker_module
from workers.orders import DefenseOrder, Kind
from workers.process import batch as batch_module
from workers.process.consumer import Consumer, consume
from workers.state.queue import JobQueue
from workers.state.record import JobRecord
from workers.state.store import Store

DIFFPURE = parse_defense("diffpure")


@pytest.fixture
def queue(settings):
    return JobQueue(settings)


@pytest.fixture
def store(settings):
    store = Store(settings.data_dir)
    store.open()
    return store


@pytest.fixture
def accept(queue, store, photo_png):
    """Take an order in as the API does."""
    from workers.state.manifest import open_manifest

    def put(job_id, defense="none", **fields):
        order = DefenseOrder(kind=Kind.PURIFY, defense=parse_defense(defense), **fields)
        record = JobRecord(id=job_id, order=order, image=check(photo_png), created=time.time())
        store.put(job_id, "input", photo_png)
        open_manifest(store, record)
        queue.submit_all([record])
        return record

    return put


@pytest.fixture
def submit(queue, store):
    """Put an order for a gray image into the queue."""

    def put(job_id, defense=DIFFPURE, side=48, data=None, owner="", **fields):
        data = data or encode(torch.full((1, 3, side, 40), 0.25), ImageFormat.PNG)
        store.put(job_id, "input", data)
        order = DefenseOrder(kind=Kind.PURIFY, defense=defense, **fields)
        facts = check(encode(torch.zeros(1, 3, side, 40), ImageFormat.PNG))
        return submitted(queue, job_id, order, facts, owner=owner)

    return put


@pytest.fixture
def here(settings, monkeypatch):
    """This process as a worker with room for a million pixels at once."""
    monkeypatch.setenv("PURIFIQA_BATCH_PIXELS", "1000000")
    worker_module.context.cache_clear()
    yield worker_module.context()
    worker_module.context.cache_clear()


@pytest.fixture
def work(here, queue):
    """Perform every waiting job in this process, as a worker would, and return."""

    def burst():
        worker = Consumer([queue.rq], connection=queue.rq.connection, serializer="json", log_job_description=False)
        worker.stopping, worker.gather = here.stopping, here.batcher.batch
        worker.work(burst=True, logging_level="CRITICAL")

    return burst


@pytest.fixture
def serve(monkeypatch):
    """Be a worker in this process until it ends by itself; meanwhile a thread does `meanwhile`."""
    worker_module.context.cache_clear()

    def go(meanwhile=lambda here: None, **settings):
        for name, value in settings.items():
            monkeypatch.setenv(f"PURIFIQA_{name.upper()}", str(value))
        here = worker_module.context()
        thread = threading.Thread(target=meanwhile, args=(here,))
        thread.start()
        consume(here.settings.broker_url(), here.name, here.stopping)
        thread.join()

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield go
    worker_module.context.cache_clear()
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def batches(monkeypatch):
    """The seeds of the orders of each batch that is computed."""
    real, seen = batch_module.execute_together, []

    def spy(orders, **options):
        seen.append([order.seed for order, _ in orders])
        return real(orders, **options)

    monkeypatch.setattr(batch_module, "execute_together", spy)
    return seen


@pytest.fixture
def alone(monkeypatch):
    """The seeds of the orders that are computed one by one."""
    real, seen = worker_module.execute, []

    def spy(order, data, **options):
        if options.get("outcome") is None:
            seen.append(order.seed)
        return real(order, data, **options)

    monkeypatch.setattr(worker_module, "execute", spy)
    return seen
