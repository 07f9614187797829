"""A part of the service that ends is started again, unless it cannot live."""

import os
import signal
import sys
import threading
import time

import pytest

from app.command import parts, supervisor
from app.command.parts import QUICK_DEATHS_ALLOWED, Part, StartError, service_parts
from app.command.supervisor import Supervisor


@pytest.mark.parametrize(("command", "may_go_on"), [("true", True), ("false", False)])
def test_a_part_that_ends_by_itself_is_started_afresh_as_often_as_it_likes(monkeypatch, command, may_go_on):
    monkeypatch.setattr(parts, "RESTART_SECONDS", 0)
    part = Part("worker 1", [command], {})
    part.start()

    def live(times):
        for _ in range(times):
            part.process.wait()
            part.revive()

    if may_go_on:
        live(QUICK_DEATHS_ALLOWED + 3)
    else:
        with pytest.raises(StartError, match="keeps crashing"):
            live(QUICK_DEATHS_ALLOWED)
    part.stop()


def test_a_part_that_cannot_work_with_its_settings_ends_the_command_with_its_own_status():
    part = Part("api", [sys.executable, "-S", "-c", f"raise SystemExit({os.EX_CONFIG})"], {})
    part.start()
    part.process.wait()
    with pytest.raises(StartError, match="these settings") as told:
        part.revive()
    assert told.value.status == os.EX_CONFIG


def test_what_valkey_says_is_told_but_for_what_concerns_nobody(tmp_path, caplog):
    valkey, *_ = service_parts(tmp_path / "valkey.sock", tmp_path, "127.0.0.1", 8000, 1)
    said = "# WARNING Memory overcommit must be enabled! Without it, ...\n\n# FATAL: the disk is full\n# last"
    valkey.command = ["sh", "-c", f"printf '{said}' >&2; exit 1"]
    valkey.start()
    valkey.process.wait()
    valkey.stop()
    assert [one.getMessage() for one in caplog.records] == ["valkey: # FATAL: the disk is full", "valkey: # last"]


def test_a_folder_for_the_broker_that_cannot_be_made_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    (tmp_path / "valkey").touch()
    with pytest.raises(StartError, match=f"the folder {tmp_path}/valkey cannot be made: File exists"):
        Supervisor("127.0.0.1", 0, tmp_path, 1).run()


@pytest.mark.parametrize(("threads", "given"), [("3", "3"), ("abc", "1"), ("", "1")])
def test_only_a_number_of_threads_is_handed_to_openmp(monkeypatch, tmp_path, threads, given):
    monkeypatch.setenv("PURIFIQA_THREADS", threads)
    _, worker, _ = service_parts(tmp_path / "valkey.sock", tmp_path, "127.0.0.1", 8000, 1)
    assert worker.environment["OMP_NUM_THREADS"] == given


@pytest.mark.parametrize(("usual", "stops"), [(signal.SIG_DFL, True), (signal.SIG_IGN, False)])
def test_a_terminal_that_closes_stops_it_in_order_unless_that_is_ignored(tmp_path, monkeypatch, usual, stops):
    handled = []
    monkeypatch.setattr(signal, "getsignal", lambda _: usual)
    monkeypatch.setattr(signal, "signal", lambda number, _: handled.append(number))
    with pytest.raises(StartError):
        Supervisor("192.0.2.1", 0, tmp_path, 1).run()
    assert (signal.SIGHUP in handled) == stops
    assert {signal.SIGINT, signal.SIGTERM} <= set(handled)


@pytest.mark.parametrize("port", [0, 8000])
def test_an_address_that_is_not_of_this_machine_is_told(tmp_path, monkeypatch, port):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(StartError, match=rf"cannot listen on 192.0.2.1:{port}: .*; choose another --host or --port"):
        Supervisor("192.0.2.1", port, tmp_path, 1).run()


def test_a_part_that_was_killed_from_outside_and_started_anew_leaves_no_pipe_open(caplog):
    part = Part("valkey", ["sh", "-c", "echo last words; exec sleep 60"], {}, unsaid=("nothing",))
    part.start()
    before = part.process
    while not before.stdout.peek():
        time.sleep(0.01)
    before.kill()
    before.wait()
    part.start()
    part.stop(at_once=True)
    assert before.stdout.closed
    assert "valkey: last words" in caplog.text


TOLD_TWICE = """
import pathlib, signal, sys, time
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
place = pathlib.Path(sys.argv[1])
(place / "is ready").touch()
while len(told) < 2:
    time.sleep(0.01)
(place / "given back").touch()
"""
"""A worker in the middle of a long job, or an API that goes on answering for a while."""


@pytest.mark.parametrize("ended_by", ["a second Ctrl-C", "the end of its grace"])
@pytest.mark.parametrize("name", ["worker 1", "api"])
def test_a_part_that_does_not_end_in_time_is_told_again_so_that_it_loses_nothing(tmp_path, monkeypatch, name, ended_by):
    everything = Supervisor("127.0.0.1", 0, tmp_path, 1)
    if ended_by != "a second Ctrl-C":
        monkeypatch.setattr(supervisor, "_worker_grace", lambda: 0.5)
        monkeypatch.setattr(supervisor, "_api_grace", lambda: 0.5)
    parts = {one: Part(one, ["sleep", "60"], {}) for one in ("valkey", "worker 1", "api")}
    parts[name].command = [sys.executable, "-S", "-c", TOLD_TWICE, str(tmp_path)]
    for part in parts.values():
        part.start()
    while not (tmp_path / "is ready").exists():
        time.sleep(0.01)
    if ended_by == "a second Ctrl-C":
        everything.stopping = 1
        threading.Timer(0.5, everything._on_signal, (signal.SIGINT, None)).start()
    everything._stop([*parts.values()])
    assert (tmp_path / "given back").exists()


@pytest.mark.parametrize(("grace", "seconds"), [(None, 150), ("", 150), ("5", 150), ("600", 630), ("long", 150)])
def test_workers_may_take_longer_to_end_than_their_jobs_may_go_on(monkeypatch, grace, seconds):
    if grace is not None:
        monkeypatch.setenv("PURIFIQA_STOP_GRACE", grace)
    assert supervisor._worker_grace() == seconds


def test_the_api_may_take_longer_to_end_than_it_goes_on_answering(monkeypatch):
    monkeypatch.setenv("PURIFIQA_DRAIN_SECONDS", "20")
    assert supervisor._api_grace() == 30
