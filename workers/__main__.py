"""`python -m workers`: one warm worker process. `purifiqa worker` is the same."""

import sys

from workers.settings import WorkerSettings
from workers.state.broker import BROKER_ERRORS, without_redis
from workers.telemetry import logs, tracing
from workers.worker import serve

if __name__ == "__main__":
    settings = WorkerSettings()
    logs.configure(settings.log_level, settings.log_format)
    tracing.configure("purifiqa-worker")
    try:
        serve()
    except BROKER_ERRORS as error:
        sys.exit(f"purifiqa: {without_redis(error)}")
