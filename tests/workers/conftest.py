"""What tests of the worker's parts have in common."""

import time

import pytest

from models.defenses import parse_defense
from models.images import check
from workers.orders import DefenseOrder, Kind
from workers.state.queue import JobQueue
from workers.state.record import JobRecord
from workers.state.store import Store


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
