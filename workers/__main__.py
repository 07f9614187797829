"""`python -m workers`: one warm worker process. `purifiqa worker` is the same."""

from workers import logs, tracing
from workers.settings import WorkerSettings
from workers.worker import serve

if __name__ == "__main__":
    settings = WorkerSettings()
    logs.configure(settings.log_level, settings.log_format)
    tracing.configure("purifiqa-worker")
    serve()
