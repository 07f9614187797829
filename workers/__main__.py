"""`python -m workers`: one warm worker process. `purifiqa worker` is the same."""

from workers.settings import WorkerSettings
from workers.telemetry import logs, tracing
from workers.worker import serve

if __name__ == "__main__":
    settings = WorkerSettings()
    logs.configure(settings.log_level, settings.log_format)
    tracing.configure("purifiqa-worker")
    serve()
