"""When it makes sense to ask again."""

import math

from workers.queue import JobQueue

SECONDS_PER_JOB = 1.0
LONGEST = 600


def seconds_until_shorter(queue: JobQueue) -> int:
    """Return in how many seconds a tenth of the waiting jobs should be done. Raises BROKER_ERRORS."""
    return max(1, min(LONGEST, math.ceil(queue.depth() / 10 * SECONDS_PER_JOB / max(1, len(queue.workers())))))
