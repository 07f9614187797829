"""`python -m workers`, the worker without the command."""

import os
import subprocess
import sys

import pytest


def test_python_m_workers_is_a_worker(settings, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "workers"],
        env={**os.environ, "PURIFIQA_THREADS": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "threads" in done.stderr, "a wrong setting is named"


@pytest.mark.slow
def test_python_m_workers_without_redis_says_so_in_a_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "workers"],
        env={**os.environ, "PURIFIQA_REDIS_URL": "redis://127.0.0.1:1/0", "PURIFIQA_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("purifiqa: Redis cannot be used: Error 111 connecting")
