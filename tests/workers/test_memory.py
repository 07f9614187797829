"""What a worker holds beside its models."""

import ctypes
import subprocess
import sys
import threading
import time

import pytest

from workers.process import consumer as consumer_module
from workers.state.record import Status


def test_a_worker_that_holds_too_much_memory_ends_after_its_job(accept, queue, serve):
    accept("job1")
    accept("job2")
    serve(max_memory=1)
    assert [queue.ledger.get(one).status for one in ("job1", "job2")] == [Status.FINISHED, Status.QUEUED]


def test_a_worker_without_work_gives_its_memory_back_once_after_each_time_it_worked(accept, queue, serve, monkeypatch):
    given, told = threading.Semaphore(0), []
    monkeypatch.setattr(consumer_module, "give_back", given.release)

    def order_and_wait(here):
        for name in ("job1", "job2"):
            accept(name)
            told.append(given.acquire(timeout=20) and queue.ledger.get(name).status)
        time.sleep(2.5 * consumer_module.WAIT_SECONDS)
        here.stopping.request()

    serve(order_and_wait)
    assert told == [Status.FINISHED, Status.FINISHED]
    assert not given.acquire(blocking=False)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_what_tensors_have_left_in_the_heap_is_given_back():
    program = """
import torch
from workers.process.memory import give_back, resident_megabytes
some = [torch.ones(25_000) for _ in range(1_000)]  # 100 kB each, which come from the heap
pin, held = torch.ones(10), resident_megabytes()
del some
kept = resident_megabytes()
give_back()
print(held, kept, resident_megabytes())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    held, kept, left = map(int, done.stdout.split())
    assert kept > held - 10, "glibc keeps it by itself, or there would be nothing to test"
    assert left < held - 90
