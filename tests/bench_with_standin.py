"""The command `purifiqa` with test metrics beside the others, here and in the processes that it starts."""

import os
import signal
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from standin_metrics import Standin  # noqa: E402 - once it can be found

from models.metrics import metrics  # noqa: E402


class Fatal(Standin):
    """Ends its process, as the system does when memory runs out, at the sight of a small image."""

    def score(self, images):
        if images.shape[3] < 64:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().score(images)


class Mistaken(Standin):
    """Has a mistake in its code that shows with small images."""

    def score(self, images):
        if images.shape[3] < 64:
            self.no_such_method()
        return super().score(images)


metrics()["standin"] = Standin()
metrics()["fatal"] = Fatal()
metrics()["mistaken"] = Mistaken()

if __name__ == "__main__":
    from app.cli import main

    signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs tests in the background has it ignored
    main()
