"""When a worker computes jobs together, what it takes for a broken device, and the methods of RQ that it rests on."""

import inspect

import torch
from rq import SimpleWorker
from rq.job import Job

from models.defenses import parse_defense
from workers.process.batch import CUDA_PIXELS, is_device_lost, room_for

DIFFPURE = parse_defense("diffpure")


def test_a_lost_device_is_told_from_full_memory_and_from_other_errors():
    assert is_device_lost(torch.AcceleratorError("CUDA error: an illegal memory access was encountered"))
    assert is_device_lost(RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling ..."))
    assert not is_device_lost(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_device_lost(RuntimeError("shapes differ"))
    assert not is_device_lost(ValueError("CUDA error"))


def test_there_is_no_batching_on_a_cpu_unless_it_is_asked_for():
    assert not room_for(None, "cpu")
    assert not room_for(0, "cuda")
    assert room_for(None, "cuda").pixels(DIFFPURE) == CUDA_PIXELS
    assert room_for(500, "cpu").pixels(DIFFPURE) == 500


def test_rq_takes_and_performs_a_job_by_the_methods_that_we_extend():
    assert list(inspect.signature(SimpleWorker.dequeue_job_and_maintain_ttl).parameters)[:2] == ["self", "timeout"]
    assert "self.dequeue_job_and_maintain_ttl(" in inspect.getsource(SimpleWorker.work)
    assert list(inspect.signature(SimpleWorker.execute_job).parameters) == ["self", "job", "queue"]
    assert {"connection", "serializer"} <= set(inspect.signature(Job.fetch).parameters)
    assert "self.execute_job(job, queue)" in inspect.getsource(SimpleWorker.work)
