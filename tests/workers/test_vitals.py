"""What a worker tells of itself."""

import os
import subprocess
import sys
import time

import pytest

from app.command.health import check_worker, own_address
from workers.state import pulse
from workers.telemetry import vitals


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(pulse.tempfile, "gettempdir", lambda: str(tmp_path))
    return tmp_path


def beat_once(deadline):
    one = pulse.Pulse(lambda: None, lambda: deadline)
    one.start()
    while pulse.last_beat() == 0:
        time.sleep(0.01)
    return one


def test_a_worker_that_moves_on_is_well(folder):
    assert "no worker" in check_worker()
    one = beat_once(time.monotonic() + 60)
    assert check_worker() is None
    one.stop()
    assert "no worker" in check_worker()


def test_a_worker_whose_pulse_beats_but_whose_main_thread_is_stuck_is_not_well(folder):
    one = beat_once(time.monotonic() - 1)
    assert check_worker() == f"worker process {os.getpid()} is stuck"
    one.stop()


def test_a_silent_worker_is_not_well_however_late_its_deadline(folder):
    file = folder / "purifiqa-worker-1.alive"
    file.write_text(str(time.monotonic() + 1000))
    old = time.time() - 2 * pulse.FRESH_SECONDS
    os.utime(file, (old, old))
    assert "no worker" in check_worker()


def test_a_worker_that_starts_sweeps_up_what_killed_ones_left(folder):
    old = time.time() - 2 * pulse.FRESH_SECONDS
    left = [folder / f"purifiqa-worker-1.{ending}" for ending in ("alive", "partial")]
    for file in left:
        file.touch()
        os.utime(file, (old, old))
    beat_once(time.monotonic() + 60).stop()
    assert not list(folder.iterdir())


def test_a_process_is_busy_while_it_does_a_job_and_stuck_when_it_overstays():
    here = vitals.Vitals()
    assert here.facts("cpu").state == "idle"
    here.allow(-1)
    assert here.facts("cpu").state == "stuck"
    here.tick()
    assert here.facts("cpu").state == "idle"
    states = []
    vitals.HERE.tick()  # as a worker does before it takes a job; other tests may have ended long ago

    @vitals.one_job
    def perform(job_id):
        states.append(vitals.HERE.facts("cpu").state)
        raise ValueError(job_id)

    with pytest.raises(ValueError, match="job1"):
        perform("job1")
    assert states == ["busy"]
    assert vitals.HERE.facts("cpu").state == "idle"


@pytest.mark.parametrize(
    ("host", "port", "address"),
    [
        (None, None, "http://127.0.0.1:8000"),
        ("0.0.0.0", "9000", "http://127.0.0.1:9000"),
        ("10.1.2.3", None, "http://10.1.2.3:8000"),
        ("::", None, "http://[::1]:8000"),
        ("fd00::1", None, "http://[fd00::1]:8000"),
    ],
)
def test_the_health_of_a_container_is_asked_where_its_api_listens(monkeypatch, host, port, address):
    for name, value in (("PURIFIQA_HOST", host), ("PURIFIQA_PORT", port)):
        monkeypatch.delenv(name, raising=False)
        if value:
            monkeypatch.setenv(name, value)
    assert own_address() == address


HEALTH = """
import contextlib, sys
from app.cli import app
with contextlib.suppress(BaseException):
    app(["health", "--worker"], standalone_mode=False)
print(sorted({"torch", "fastapi", "redis", "structlog"} & set(sys.modules)))
"""


def test_asking_for_health_imports_nothing_that_takes_long():
    done = subprocess.run([sys.executable, "-c", HEALTH], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_clock_that_is_put_forward_makes_no_worker_stuck(folder, monkeypatch):
    here, now = vitals.Vitals(), time.time
    here.allow(60)
    monkeypatch.setattr(time, "time", lambda: now() + 3600)
    assert here.facts("cpu").state == "idle"
    (folder / "purifiqa-worker-1.alive").write_text(str(here.deadline))
    os.utime(folder / "purifiqa-worker-1.alive", (time.time(), time.time()))
    assert pulse.stuck_workers() == []
