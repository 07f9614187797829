"""Ctrl-C in the milliseconds in which a process of a study is started."""

import multiprocessing
import os
import signal
import time
from multiprocessing.context import SpawnProcess

import pytest

from app.bench import pool
from app.cli.stopping import ended_as_by_ctrl_c


@pytest.mark.usefixtures("listening")
def test_sigterm_while_a_process_starts_is_left_to_the_handler_that_was_there_before():
    reached, before = [], signal.getsignal(signal.SIGTERM)

    def told_to_end_at_a_start():
        with pool._interrupts_held_back():
            signal.raise_signal(signal.SIGTERM)
            reached.append("the end of the start")

    with ended_as_by_ctrl_c(), pytest.raises(KeyboardInterrupt):
        told_to_end_at_a_start()
    assert reached
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.usefixtures("listening")
def test_an_interrupt_while_a_process_starts_comes_right_after():
    reached = []

    def interrupted_at_a_start():
        with pool._interrupts_held_back():
            os.kill(os.getpid(), signal.SIGINT)
            reached.append("the end of the start")

    with pytest.raises(KeyboardInterrupt):
        interrupted_at_a_start()
    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.usefixtures("listening")
def test_an_interrupt_at_the_second_start_ends_both_processes(tmp_path, monkeypatch):
    started, start = [], SpawnProcess.start

    def interrupted(process):
        start(process)
        started.append(process)
        if len(started) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(SpawnProcess, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pool.run(["unit", "unit"], tmp_path, "cpu", 2, lambda *_: None)
    assert [process.is_alive() for process in started] == [False, False]


@pytest.mark.usefixtures("listening")
def test_a_process_started_meanwhile_never_hears_an_interrupt():
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(30,), daemon=True)
    with pool._interrupts_held_back():
        process.start()
    os.kill(process.pid, signal.SIGINT)
    process.join(1)
    assert process.is_alive()
    process.terminate()
    process.join(10)
    assert process.exitcode == -signal.SIGTERM
