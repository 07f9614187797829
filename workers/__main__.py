"""`python -m workers`: one warm worker process. `purifiqa worker` is the same."""

import logging

from workers.settings import WorkerSettings
from workers.worker import serve

if __name__ == "__main__":
    logging.basicConfig(level=WorkerSettings().log_level, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    serve()
