"""A process of the service that cannot start says why in one line, in the form in which it says everything."""

import json
import os
import subprocess
import sys

import pytest

HASTY = """
import sys
from redis.retry import Retry
from app.cli import app
from workers.state import broker
broker.Retry = lambda *_: Retry(broker.NoBackoff(), 0)
app(sys.argv[1:])
"""


def last_words(command, **variables):
    """Return the exit status of a process and what it wrote to standard error."""
    environment = {**os.environ, **{f"PURIFIQA_{name.upper()}": str(value) for name, value in variables.items()}}
    done = subprocess.run(
        [sys.executable, "-c", HASTY, command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    return done.returncode, done.stderr


def test_a_worker_that_does_not_find_redis_names_the_variable_that_tells_where_it_is(tmp_path):
    status, said = last_words("worker", redis_url="redis://:secret@127.0.0.1:1", data_dir=tmp_path)
    assert status == 1
    [line] = said.splitlines()
    assert line.startswith("purifiqa: Redis cannot be used: ")
    assert "127.0.0.1:1" in line
    assert line.endswith("; check PURIFIQA_REDIS_URL")
    assert "secret" not in line


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid", "::2"])
def test_an_api_that_cannot_listen_names_the_variables_that_tell_where_it_listens(tmp_path, host):
    status, said = last_words("api", host=host, port=8000, auth="off", data_dir=tmp_path)
    assert status == 1
    [line] = said.splitlines()
    assert line.startswith(f"purifiqa: cannot listen on {host}:8000: ")
    assert line.endswith("; check PURIFIQA_HOST and PURIFIQA_PORT")


@pytest.mark.slow
def test_a_worker_that_cannot_write_its_folder_says_so(tmp_path):
    (tmp_path / "file").touch()
    status, said = last_words("worker", data_dir=tmp_path / "file")
    assert status == 1
    [line] = said.splitlines()
    assert line.startswith("purifiqa: ")
    assert str(tmp_path / "file") in line


def test_a_folder_that_may_not_be_read_is_no_wrong_use_of_the_command(run, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    done = run("up", "--host", "0.0.0.0")
    assert done.exit_code == os.EX_CONFIG
    assert "purifiqa keys new" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "variables", "status", "told"),
    [
        ("api", {"max_pixels": "abc"}, os.EX_CONFIG, "PURIFIQA_MAX_PIXELS: Input should be a valid integer"),
        ("worker", {"redis_url": "redis://127.0.0.1:1"}, 1, "Redis cannot be used: "),
        ("up", {"host": "0.0.0.0"}, os.EX_CONFIG, "purifiqa keys new"),
    ],
)
def test_where_a_log_is_json_the_last_words_are_too(tmp_path, command, variables, status, told):
    ended, said = last_words(command, log_format="json", **{"data_dir": tmp_path, **variables})
    assert ended == status
    [line] = said.splitlines()
    event = json.loads(line)
    assert told in event["event"]
    assert event["level"] == "error"
