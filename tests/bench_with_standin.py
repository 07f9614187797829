"""The command `purifiqa` with the stand-in metric beside the others, here and in the processes that it starts."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from standin_metrics import Standin  # noqa: E402 - once it can be found

from models.metrics import metrics  # noqa: E402

metrics()["standin"] = Standin()

if __name__ == "__main__":
    from app.cli import main

    main()
