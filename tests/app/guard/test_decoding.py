"""A file that kills, blocks or takes over its decoder harms nothing but its own request."""

import contextlib
import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from hostile_files import ACCEPTED, HOSTILE
from problems import problem

from app.decoding import pool as pool_module
from app.decoding.child import confine
from app.decoding.pool import DecoderPool, UndecodableImageError
from models.images import ImageError, ImageLimits, check

# A decoder whose library has a hole: what comes after the mark in a file is run.
EXPLOITABLE = """
import os, signal, sys, time
import app.decoding.child as child
def check(data, limits, original=child.check):
    mark = data.partition(b"EXPLOIT:")[2]
    if mark: exec(mark.decode())
    return original(data, limits)
child.check = check
child.main()
"""


@pytest.fixture(autouse=True)
def handed_on_decoders():
    """Each test has decoders of its own, from their start to their end."""


@pytest.fixture
def pool():
    pool = DecoderPool(ImageLimits(), 20)
    yield pool
    pool.close()


@pytest.fixture
def exploitable(monkeypatch):
    """Make every decoder one that runs what is in a file."""

    def popen(command, original=subprocess.Popen, **more):
        if "app.decoding.child" in command:
            command = [sys.executable, "-P", "-c", EXPLOITABLE, *command[4:]]
        return original(command, **more)

    monkeypatch.setattr(pool_module.subprocess, "Popen", popen)


def process_of(pool):
    [decoder] = pool._idle.queue
    return decoder.process


def test_a_hostile_file_gets_the_same_answer_from_a_process_as_from_the_function(pool):
    for name, (build, _, code) in HOSTILE.items():
        data = build()
        with pytest.raises(ImageError) as near:
            check(data)
        with pytest.raises(ImageError) as apart:
            pool.check(data)
        assert apart.value.code == code, name
        for what in (type, str, lambda error: error.limit, lambda error: error.actual):
            assert what(apart.value) == what(near.value), name
    assert pool._idle.qsize() == 1


def test_good_files_have_the_same_facts_and_one_process_serves_them_all(pool):
    for build in ACCEPTED.values():
        data = build()  # some hold the time at which they were made
        assert pool.check(data) == check(data)
    assert pool._idle.qsize() == 1


@pytest.mark.parametrize("attack", [
    "os._exit(3)", "os.kill(os.getpid(), signal.SIGSEGV)", "os.abort()", "x = bytearray(4 << 30)",
    "sys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
    "os.write(0, b'\\xff' * 1000)", "os.write(0, b'\\0\\0\\0\\4nope')", "os.write(0, b'\\0\\0\\0\\2[]')",
    "os.write(0, b'\\0\\0\\0\\7{\"a\":1}'); os._exit(0)", "os.close(0); os._exit(0)",
])  # fmt: skip
def test_a_crash_refuses_that_file_and_the_next_is_served(exploitable, pool, photo_png, attack):
    with pytest.raises(UndecodableImageError):
        pool.check(photo_png + b"EXPLOIT:" + attack.encode())
    assert pool.check(photo_png).width == 128


def test_a_file_that_burns_processor_time_is_ended_on_a_busy_machine_too(exploitable, photo_png, monkeypatch):
    monkeypatch.setattr(pool_module, "WALL_PER_PROCESSOR_SECOND", 1_000)
    with contextlib.closing(DecoderPool(ImageLimits(), 1)) as pool, pytest.raises(UndecodableImageError):
        pool.check(photo_png + b"EXPLOIT:while True: pass")


def test_a_file_that_waits_is_ended(exploitable, pool, photo_png, monkeypatch):
    pool.check(photo_png)
    monkeypatch.setattr(pool_module, "WALL_PER_PROCESSOR_SECOND", 0.05)  # 1 s
    with pytest.raises(UndecodableImageError):
        pool.check(photo_png + b"EXPLOIT:time.sleep(3600)")


def test_a_good_file_that_a_busy_machine_cannot_check_in_time_is_not_blamed(
    exploitable, idle_client, photo_png, monkeypatch, settings
):
    monkeypatch.setattr(pool_module, "WALL_PER_PROCESSOR_SECOND", 0.1)  # 2 s, of which it gets none that help it
    answer = idle_client.post("/purify", files={"image": photo_png + b"EXPLOIT:while True: pass"}, data={"metrics": ""})
    assert problem(answer, 503, "busy")["detail"].endswith("nothing was accepted.")
    assert int(answer.headers["Retry-After"]) > 0
    assert not list(settings.data_dir.glob("jobs/*/*"))


def test_a_decoder_that_is_taken_over_finds_no_secret_and_can_do_little(
    exploitable, pool, photo_png, monkeypatch, tmp_path
):
    monkeypatch.setenv("PURIFIQA_REDIS_URL", "redis://:s3cret@x")
    pool.check(photo_png)
    assert b"PURIFIQA" not in Path(f"/proc/{process_of(pool).pid}/environ").read_bytes()
    attack = f"with open({str(tmp_path / 'x')!r}, 'w') as file: file.write('x' * 10)"
    with pytest.raises(UndecodableImageError):
        pool.check(photo_png + b"EXPLOIT:" + attack.encode())
    assert (tmp_path / "x").stat().st_size == 0


def test_a_decoder_that_is_taken_over_cannot_pass_a_file_off_as_another(exploitable, pool, photo_png):
    lie = (
        "import json\nreply = json.dumps({'facts': {'format': 'png', 'width': 128, 'height': 96, 'mode': 'RGB', 'bytes': 1,"
        " 'sha256': '0' * 64, 'conversions': []}}).encode()\nos.write(0, len(reply).to_bytes(4, 'big') + reply)\ntime.sleep(60)"
    )
    data = photo_png + b"EXPLOIT:" + lie.encode()
    facts = pool.check(data)
    assert facts.bytes == len(data)
    assert facts.sha256 != "0" * 64


def test_a_system_that_can_start_no_decoder_is_busy_and_a_file_that_needs_none_anew_is_not_refused_for_it(
    pool, idle_client, submit, photo_png, monkeypatch
):
    def refuse(*_, **__):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    pool.check(photo_png)
    monkeypatch.setattr(pool_module, "FILES_PER_PROCESS", 1)
    monkeypatch.setattr(pool_module.subprocess, "Popen", refuse)
    assert pool.check(photo_png).width == 128
    problem(submit(idle_client), 503, "busy")


def test_a_decoder_that_was_killed_while_idle_is_replaced_without_anybody_noticing(pool, photo_png):
    pool.check(photo_png)
    process_of(pool).kill()
    process_of(pool).wait()
    assert pool.check(photo_png).width == 128


def test_a_decoder_is_replaced_after_many_files(pool, photo_png, monkeypatch):
    monkeypatch.setattr(pool_module, "FILES_PER_PROCESS", 2)
    pool.check(photo_png)
    first = process_of(pool).pid
    pool.check(photo_png)
    assert pool.check(photo_png).width == 128
    assert process_of(pool).pid != first


def test_decoders_end_with_the_pool_and_with_their_parent(photo_png, tmp_path):
    (tmp_path / "x.png").write_bytes(photo_png)
    code = (
        "import os, sys; from app.decoding.pool import DecoderPool; from models.images import ImageLimits\n"
        f"pool = DecoderPool(ImageLimits(), 5); pool.check(open({str(tmp_path / 'x.png')!r}, 'rb').read())\n"
        "print(pool._idle.queue[0].process.pid, flush=True); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    deadline = time.monotonic() + 10
    while psutil.pid_exists(int(done.stdout)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(int(done.stdout)) or psutil.Process(int(done.stdout)).status() == "zombie"


def test_a_decoder_imports_no_torch_and_is_small(pool, photo_png):
    pool.check(photo_png)
    assert psutil.Process(process_of(pool).pid).memory_info().rss < 120e6
    code = "import sys, app.decoding.child; print([name for name in ('torch', 'cv2', 'fastapi', 'redis') if name in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    )


def test_what_a_decoder_gives_up_it_gives_up_for_good():
    code = (
        "import json, resource; from app.decoding.child import confine; from models.image_files.limits import ImageLimits\n"
        "confine(ImageLimits())\n"
        "print(json.dumps([resource.getrlimit(getattr(resource, f'RLIMIT_{n}')) for n in ('AS', 'FSIZE', 'CORE', 'NPROC')]))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    space, *others = json.loads(done.stdout)
    assert 0 < space[0] == space[1] < 2e9
    assert others == [[0, 0]] * 3
    assert callable(confine)


def test_the_api_answers_422_to_that_file_only_and_keeps_nothing(exploitable, idle_client, submit, photo_png, settings):
    crash = photo_png + b"EXPLOIT:os.kill(os.getpid(), signal.SIGSEGV)"
    answer = idle_client.post("/purify", files={"image": crash}, data={"metrics": ""})
    assert problem(answer, 422, "image-undecodable")["errors"][0]["field"] == "image"
    assert submit(idle_client).status_code == 202
    assert len(list(settings.data_dir.glob("jobs/*/*"))) == 1
    assert psutil.Process(os.getpid()).is_running()
