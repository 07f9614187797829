"""Jobs put into the queue without an API."""

import time

from workers.state.record import JobRecord, Origin


def submitted(queue, job_id, order, image, **origin):
    """Write the record of a job, put it into the queue, and return the record."""
    record = JobRecord(id=job_id, order=order, image=image, origin=Origin(**origin), created=time.time())
    queue.submit_all([record])
    return record
