"""The command in real processes: killed, interrupted, robbed of its workers, it loses nothing that was finished."""

import csv
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

COMMAND = Path(__file__).parents[2] / "bench_with_standin.py"
SQUARE = '{"name": "square", "queries": 1500}'
STEPS = 2 * (3 + 2 * 4)
"""Two pictures: three defenses on the clean one, and two attacks, each with three defenses."""
ONE_PICTURE = ["--attacks", "ifgsm", "--defenses", "resize,jpeg", "--limit", "1", "--jobs", "1"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def bench(photos, tmp_path):
    """Start the command; its output is in a file, so that no pipe fills up."""
    started = []

    def start(*more):
        arguments = ["--images", photos, "--out", tmp_path / "out", "--metrics", "standin", "--jobs", "2"]
        arguments += ["--attacks", f"ifgsm,{SQUARE}", "--defenses", "jpeg,flip", *more]
        with (tmp_path / "said").open("ab") as said:
            process = subprocess.Popen(
                [sys.executable, str(COMMAND), "bench", *map(str, arguments)], stdout=said, stderr=said,
                env={**os.environ, "COLUMNS": "200"}, start_new_session=True,
            )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def lines(out):
    """Every record that is whole, by file."""
    files = sorted((out / "records").rglob("*.jsonl")) if (out / "records").exists() else []
    return {file: [line for line in file.read_bytes().split(b"\n") if line] for file in files}


def wait_for(out, count, process):
    end = time.monotonic() + 120
    while sum(map(len, lines(out).values())) < count:
        assert process.poll() is None, "it ended too early"
        assert time.monotonic() < end
        time.sleep(0.02)


def scores(out):
    with (out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {
        tuple(row[name] for name in row if name != "value"): row["value"] for row in rows if "ms" not in row["measure"]
    }


def test_killed_and_restarted_it_redoes_nothing_that_was_finished(bench, tmp_path):
    out = tmp_path / "out"
    process = bench()
    wait_for(out, 5, process)
    children = psutil.Process(process.pid).children()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive, "its processes must not go on without it"
    before = lines(out)
    pictures = {file: file.stat().st_mtime_ns for file in (out / "attacked").rglob("*.png")}
    attacks = [file for file, some in before.items() if any(b'"kind":"attack"' in line for line in some)]
    assert 5 <= sum(map(len, before.values())) < STEPS

    assert bench().wait() == 0, (tmp_path / "said").read_text()
    after = lines(out)
    assert all(after[file][: len(some)] == some for file, some in before.items())
    assert sum(map(len, after.values())) == STEPS, "each step has one record"
    assert {file: file.stat().st_mtime_ns for file in pictures} == pictures or len(pictures) > len(attacks)
    said = (tmp_path / "said").read_text()
    assert f"{STEPS} of {STEPS} steps done, 0 failed, 1 images skipped" in said
    assert "Traceback" not in said
    assert "Incomplete" not in (out / "report.md").read_text()

    assert bench("--seed", "1").wait() == 1
    assert "seed was 0 and is 1" in (tmp_path / "said").read_text()


def test_a_killed_worker_and_an_interrupt_cost_a_step_and_change_no_number(bench, tmp_path):
    out = tmp_path / "out"
    process = bench()
    wait_for(out, 4, process)
    workers = [child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())]
    workers[0].kill()
    assert process.wait() == 0, (tmp_path / "said").read_text()
    undisturbed = scores(out)
    assert sum(map(len, lines(out).values())) == STEPS

    out.rename(tmp_path / "first")
    process = bench()
    wait_for(out, 2, process)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C: to all of them
    assert process.wait() == 130, (tmp_path / "said").read_text()
    assert "**Incomplete" in (out / "report.md").read_text()
    said = (tmp_path / "said").read_text()
    assert "run the same command again to resume" in said
    assert "Traceback" not in said
    assert bench("--jobs", "1").wait() == 0
    assert scores(out) == undisturbed


def test_sigterm_stops_it_as_ctrl_c_does(bench, tmp_path):
    process = bench()
    wait_for(tmp_path / "out", 1, process)
    process.terminate()  # the command alone, as `timeout` and `docker stop` do
    assert process.wait() == 143, (tmp_path / "said").read_text()
    said = (tmp_path / "said").read_text()
    assert "run the same command again to resume" in said
    assert "Traceback" not in said
    assert "**Incomplete" in (tmp_path / "out" / "report.md").read_text()


def test_a_disk_that_is_full_stops_it_with_that_word_and_loses_nothing_that_was_finished(bench, tmp_path):
    out = tmp_path / "out"
    process = bench()
    wait_for(out, 5, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = lines(out)

    process = bench()
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, 4096))  # no file may grow beyond that
    assert process.wait() == 1
    said = (tmp_path / "said").read_text()
    assert "results cannot be kept" in said
    assert "File too large" in said
    assert "run the same command again to resume" in said
    assert "Traceback" not in said
    assert all(lines(out)[file][: len(some)] == some for file, some in before.items())

    assert bench().wait() == 0, (tmp_path / "said").read_text()
    assert sum(map(len, lines(out).values())) == STEPS


def test_a_step_that_kills_its_process_is_tried_twice_and_told_and_all_else_is_done(bench, tmp_path):
    assert bench(*ONE_PICTURE, "--metrics", "fatal").wait() == 1  # the last of each option counts
    said = (tmp_path / "said").read_text()
    assert "5 of 7 steps done, 2 failed" in said
    assert "ifgsm/a.png, resize: its process died 2 times (killed by SIGKILL); was there enough memory?" in said
    assert defenses_measured(tmp_path / "out") == {"none", "jpeg"}


def test_a_mistake_in_a_metric_fails_its_steps_with_what_and_where_it_is_and_ends_no_process(bench, tmp_path):
    assert bench(*ONE_PICTURE, "--metrics", "mistaken").wait() == 1
    said = (tmp_path / "said").read_text()
    assert "5 of 7 steps done, 2 failed" in said
    assert "died" not in said
    why = "AttributeError: 'Mistaken' object has no attribute 'no_such_method' (in the metric mistaken)"
    assert f"ifgsm/a.png, resize: {why}" in said
    assert said.count("Traceback") == 2
    assert f"| {why} |" in (tmp_path / "out" / "report.md").read_text().replace("\\", "")
    assert defenses_measured(tmp_path / "out") == {"none", "jpeg"}


def defenses_measured(out):
    with (out / "results.csv").open() as file:
        return {row["defense"] for row in csv.DictReader(file)}
