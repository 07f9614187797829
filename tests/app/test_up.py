"""`purifiqa up`: everything on one machine, and nothing left of it afterwards."""

import os
import re
import signal
import subprocess
import sys
import threading
import time

import httpx2
import psutil
import pytest

pytestmark = pytest.mark.timeout(180)


class Up:
    """A running `purifiqa up`."""

    def __init__(self, data_dir, log_path, *more):
        self.log_path = log_path
        environment = {**os.environ, "PURIFIQA_DEFAULT_METRICS": ""}
        with log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "app", "up", "--port", "0", "--workers", "1", "--data-dir", str(data_dir), *more],
                env=environment, stdout=log, stderr=log,
            )  # fmt: skip

    def address(self):
        for _ in range(600):
            found = re.search(r"ready at (http://\S+)", self.log_path.read_text())
            if found:
                return found[1]
            assert self.process.poll() is None, self.log_path.read_text()
            time.sleep(0.1)
        raise AssertionError(self.log_path.read_text())

    def family(self):
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def up(tmp_path):
    started = []

    def start(*more, data_dir=tmp_path / "data"):
        started.append(Up(data_dir, tmp_path / f"up{len(started)}.log", *more))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def purify(address, photo_png, **data):
    return httpx2.post(
        f"{address}/purify",
        files={"image": photo_png},
        data={"metrics": "", **data},
        headers={"Prefer": "wait=30"},
        timeout=60,
    )


def leaves_nothing(service, stop, data_dir):
    """Stop a service and see that no process and no half-written file is left."""
    family = service.family()
    assert len([process for process in family if "app.decoding.child" not in process.cmdline()]) == 3
    service.process.send_signal(stop)
    assert service.process.wait(90) == 0
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive
    assert list((data_dir / "incoming").iterdir()) == []


def test_up_serves_and_then_leaves_nothing_behind(up, tmp_path, photo_png):
    service = up()
    assert purify(service.address(), photo_png).status_code == 200
    leaves_nothing(service, signal.SIGINT, tmp_path / "data")


@pytest.mark.slow
def test_a_worker_that_dies_is_started_again_and_jobs_survive_a_restart_of_everything(up, tmp_path, photo_png):
    service = up()
    address = service.address()
    [worker] = [process for process in service.family() if "worker" in process.cmdline()]
    worker.kill()
    worker.wait()  # while it dies, the kernel keeps its connection open, and the broker may still hand it a job
    job = purify(address, photo_png).json()
    deadline = time.monotonic() + 60  # the new one must import torch, on however busy a machine
    while job["status"] != "finished" and time.monotonic() < deadline:
        time.sleep(0.2)
        job = httpx2.get(f"{address}{job['links']['self']}").json()
    assert job["status"] == "finished"
    leaves_nothing(service, signal.SIGTERM, tmp_path / "data")
    again = up()
    assert httpx2.get(f"{again.address()}/jobs/{job['id']}").json()["status"] == "finished"


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("PURIFIQA_DEFAULT_DEFENSE", "nope", "PURIFIQA_DEFAULT_DEFENSE: there is no defense 'nope'"),
        pytest.param(
            "PURIFIQA_MAX_PIXELS",
            "abc",
            "PURIFIQA_MAX_PIXELS: Input should be a valid integer",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_no_process_can_work_with_ends_it_at_once_in_one_line(up, monkeypatch, variable, value, told):
    monkeypatch.setenv(variable, value)
    service = up()
    assert service.process.wait(60) == os.EX_CONFIG
    log = service.log_path.read_text()
    assert f"purifiqa: {told}" in log
    assert "cannot run with these settings; see the message above" in log
    assert "Traceback" not in log
    assert "restarting it" not in log


@pytest.mark.slow
def test_a_default_defense_without_its_weights_is_told_and_other_orders_are_done(up, monkeypatch, photo_png):
    monkeypatch.setenv("PURIFIQA_DEFAULT_DEFENSE", "real-esrgan")
    service = up()
    assert purify(service.address(), photo_png, defense="jpeg").status_code == 200
    assert purify(service.address(), photo_png).json()["code"] == "defense-unavailable"
    assert "the default defense real-esrgan is not available" in service.log_path.read_text()


@pytest.mark.slow
def test_nothing_outlives_a_supervisor_that_is_killed(up):
    service = up()
    service.address()
    family = service.family()
    service.process.kill()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive


@pytest.mark.slow
def test_two_services_do_not_share_a_folder_or_a_port(up, tmp_path):
    first = up()
    port = first.address().rpartition(":")[2]
    second, third = up(), up("--port", port, data_dir=tmp_path / "other")
    assert second.process.wait(90) == 1
    assert "--data-dir" in second.log_path.read_text()
    assert third.process.wait(90) == 1
    assert "--port" in third.log_path.read_text()
    assert "Traceback" not in second.log_path.read_text() + third.log_path.read_text()


def test_a_service_that_others_could_reach_does_not_start_without_keys(up, tmp_path):
    service = up("--host", "0.0.0.0")
    assert service.process.wait(90) == os.EX_CONFIG
    assert "purifiqa keys new" in service.log_path.read_text()
    assert not (tmp_path / "data" / "valkey").exists()


@pytest.mark.slow
def test_who_waits_when_the_service_stops_is_told_where_the_job_is(up, photo_png):
    service = up()
    address = service.address()
    [worker] = [process for process in service.family() if "worker" in process.cmdline()]
    worker.suspend()
    answers = []
    client = threading.Thread(target=lambda: answers.append(purify(address, photo_png)))
    client.start()
    time.sleep(1)
    service.process.send_signal(signal.SIGTERM)
    client.join(20)
    worker.resume()
    assert [answer.status_code for answer in answers] == [202]
    assert answers[0].json()["status"] in ("queued", "running")
    service.process.wait(60)
