"""The command `purifiqa`, in the process and against a service."""

import csv
import errno
import io
import json
import os
import shlex
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import pytest

SCORE_CSV = ["score", "a.png", "below", "-m", "piqe", "-d", "flip", "--csv"]


def read(path):
    return cv2.imread(str(path))[..., ::-1]


def test_it_tells_its_version(run):
    done = run("--version")
    assert (done.exit_code, done.stdout.strip()) == (0, version("purifiqa"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["--help"],
        ["defenses"],
        ["defenses", "--json"],
        ["metrics", "--json"],
        ["weights", "list", "--json"],
        SCORE_CSV,
    ],
)
def test_output_that_cannot_be_written_is_told_in_one_line(folder, arguments):
    command = [sys.executable, "-m", "app", *arguments]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "purifiqa: cannot write the output: No space left on device\n")


@pytest.mark.parametrize("arguments", [["defenses", "--json"], ["metrics", "--json"], ["weights", "list", "--json"]])
def test_nothing_is_said_where_nobody_reads_the_output_any_more(folder, arguments):
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", "app", *arguments]
    done = subprocess.run(command, cwd=folder, stdout=writes, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writes)
    assert (done.returncode, done.stderr) == (1, "")


def test_results_that_cannot_be_written_leave_nothing_half_written(run, folder, tmp_path, monkeypatch):
    write = Path.write_bytes

    def full(path, data):
        write(path, data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    done = run("purify", folder, "-d", "none", "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert f"{tmp_path / 'out' / 'a.png'} cannot be written: No space left on device" in done.stderr
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(("given", "heard"), [(None, "1"), ("0", "0")])
def test_torch_is_told_before_it_is_loaded_to_ask_for_large_pages_unless_told_otherwise(monkeypatch, given, heard):
    program = """
import app.cli, os, sys
app.cli.app = lambda: None
app.cli.main()
print(os.environ["THP_MEM_ALLOC_ENABLE"], "torch" in sys.modules)
"""
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)
    if given:
        monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", given)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [heard, "False"]


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_a_closed_output_does_not_keep_a_command_from_its_work(folder, closed):
    command = shlex.join([sys.executable, "-m", "app", *SCORE_CSV])
    done = subprocess.run(f"{command} {closed}", shell=True, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert bool(done.stdout) == (closed == "2>&-")


@pytest.mark.parametrize("arguments", [["--version"], ["defenses"], SCORE_CSV])
def test_whoever_stops_reading_is_told_nothing(folder, arguments):
    process = subprocess.Popen(
        [sys.executable, "-m", "app", *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 1
    process.stderr.close()


def test_purify_with_a_list_of_no_metrics_prints_the_files_as_without_one(run, folder, tmp_path):
    done = run("purify", folder / "a.png", "-d", "none", "-m", " , ", "-o", tmp_path / "out")
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path / 'out' / 'a.png'}\n")


def test_purify_keeps_names_and_folders_and_changes_the_extension(run, folder, tmp_path, photo):
    out = tmp_path / "out"
    done = run("purify", folder, "--defense", "flip", "-o", out)
    assert done.exit_code == 0, done.output
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.*")) == ["a.png", "below/b.png"]
    assert np.array_equal(read(out / "a.png"), photo[::-1, ::-1])


def test_one_image_may_be_given_a_file_name(run, folder, tmp_path):
    done = run("purify", folder / "a.png", "-o", tmp_path / "x" / "purified.webp", "--format", "webp")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "x" / "purified.webp").read_bytes().startswith(b"RIFF")


def test_a_broken_file_is_named_and_the_others_are_done(run, folder, tmp_path, photo_png):
    (folder / "broken.png").write_bytes(photo_png[:500])
    done = run("purify", folder, "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "broken.png" in done.stderr
    assert "Traceback" not in done.output
    assert len(list((tmp_path / "out").rglob("*.png"))) == 2


def test_names_that_name_nothing_are_an_error_before_anything_is_done(run, folder, tmp_path):
    for arguments in (["nosuch.png"], [folder / "*.tiff"], [folder / "a.png", "nosuch"]):
        done = run("purify", *arguments, "-o", tmp_path / "out")
        assert done.exit_code == 1
        assert "no such file" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_format_is_that_of_the_file_name_given(run, folder, tmp_path):
    assert run("purify", folder / "a.png", "-o", tmp_path / "out.jpg").exit_code == 0
    assert (tmp_path / "out.jpg").read_bytes().startswith(b"\xff\xd8")
    assert run("purify", folder / "a.png", "-o", tmp_path / "out.JFIF").exit_code == 0
    assert (tmp_path / "out.JFIF").read_bytes().startswith(b"\xff\xd8")
    (tmp_path / "folder.jpg").mkdir()
    assert run("purify", folder / "a.png", "-o", tmp_path / "folder.jpg").exit_code == 0
    assert (tmp_path / "folder.jpg" / "a.png").exists()
    done = run("purify", folder / "a.png", "-o", tmp_path / "out.jpg", "--format", "png")
    assert done.exit_code == 1
    assert "does not fit --format png" in done.stderr


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_keep_what_is_done(run, folder, tmp_path, monkeypatch, number, status):
    from app.command import batch

    real, calls = batch._carry_out_here, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(number)
        return real(*arguments)

    monkeypatch.setattr(batch, "_carry_out_here", interrupted)
    done = run("purify", folder, "-o", tmp_path / "out", "--json")
    assert done.exit_code == status
    assert "stopped; the remaining files were not processed" in done.stderr
    assert len(json.loads(done.stdout)) == 1
    assert [path.name for path in (tmp_path / "out").rglob("*.*")] == ["a.png"]


def test_what_is_set_wrongly_is_one_line(run, folder, monkeypatch):
    monkeypatch.setenv("PURIFIQA_MAX_BYTES", "abc")
    done = run("score", folder / "a.png", "-m", "entropy")
    assert done.exit_code == 1
    assert "purifiqa: PURIFIQA_MAX_BYTES: Input should be a valid integer" in done.stderr
    assert done.stderr.strip().endswith("it is 'abc'")
    assert "Traceback" not in done.stderr
    for arguments in (["score", folder / "a.png", "--server", "http://[::1"], ["health", "--url", "http://[::1"]):
        done = run(*arguments)
        assert done.exit_code == 1
        assert done.exception is None or isinstance(done.exception, SystemExit)


def test_score_prints_json_with_the_score_objects_of_the_job_document(run, folder):
    pytest.importorskip("pyiqa")
    done = run("score", folder, "--metrics", "entropy", "--defense", "jpeg", "--seed", "3", "--json")
    entries = json.loads(done.stdout)
    assert [entry["file"].rpartition("/")[2] for entry in entries] == ["a.png", "b.jpg"]
    for entry in entries:
        [score] = entry["scores"]
        assert {"metric", "higher_is_better", "range", "original", "defended", "shift", "samples"} <= set(score)
        assert entry["seed"] == 3
        assert entry["defense"]["name"] == "jpeg"


def test_score_prints_csv_and_a_table(run, folder):
    pytest.importorskip("pyiqa")
    rows = list(csv.DictReader(io.StringIO(run("score", folder, "-m", "entropy", "--csv").stdout)))
    assert len(rows) == 2
    assert float(rows[0]["shift"]) == pytest.approx(float(rows[0]["defended"]) - float(rows[0]["original"]))
    table = run("score", folder / "a.png", "-m", "entropy").stdout
    assert "before" in table
    assert "entropy" in table


def test_every_form_of_a_score_tells_whether_people_trained_the_metric(run, folder):
    (row,) = csv.DictReader(io.StringIO(run("score", folder / "a.png", "-m", "piqe", "--csv").stdout))
    assert (row["human_trained"], row["lowest"], row["highest"]) == ("False", "0.0", "100.0")
    assert row["license"]
    assert row["preprocessing"]
    lines = run("score", folder / "a.png", "-m", "piqe").stdout.splitlines()
    assert "human" in lines[1]
    assert " no " in lines[3]


def test_a_wrong_defense_or_metric_is_told_like_the_service_tells_it(run, folder, tmp_path):
    done = run("purify", folder, "-d", "jpge", "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "did you mean 'jpeg'" in done.stderr
    done = run("score", folder, "-m", "pique")
    assert "did you mean 'piqe'" in done.stderr


def test_the_service_gives_the_same_as_this_process(run, server, folder, tmp_path):
    for name, where in (("here", []), ("there", ["--server", server])):
        done = run("purify", folder, "-d", "random-noise", "--seed", "5", "-o", tmp_path / name, *where)
        assert done.exit_code == 0, done.output
    for path in ("a.png", "below/b.png"):
        assert (tmp_path / "here" / path).read_bytes() == (tmp_path / "there" / path).read_bytes()


def test_an_order_that_no_file_can_satisfy_is_told_once(run, server, folder, tmp_path):
    done = run("purify", folder, "-d", "jpge", "-o", tmp_path / "out", "--server", server)
    assert done.exit_code == 1
    assert done.stderr.count("did you mean 'jpeg'") == 1, "once, not for every file"


def test_a_service_that_is_not_there_is_told(run, folder, tmp_path):
    done = run("score", folder / "a.png", "--server", "http://127.0.0.1:1")
    assert done.exit_code == 1
    assert "does not answer" in done.stderr


def test_defenses_and_metrics_are_listed(run):
    assert "gaussian-blur" in run("defenses").stdout
    assert {entry["name"] for entry in json.loads(run("defenses", "--json").stdout)} >= {"jpeg", "flip", "chain"}
    listed = run("metrics").stdout
    assert "piqe" in listed
    assert "0 to 100" in listed
    entries = json.loads(run("metrics", "--json").stdout)
    assert len(entries) > 50
    assert [entry["name"] for entry in entries if entry["default"]] == ["fr-surrogate", "piqe"]


def test_metrics_are_not_listed_beside_a_default_that_does_not_exist(run, monkeypatch):
    monkeypatch.setenv("PURIFIQA_DEFAULT_METRICS", "niqee")
    done = run("metrics")
    assert done.exit_code == 1
    assert done.stderr == "purifiqa: PURIFIQA_DEFAULT_METRICS: there is no metric 'niqee'; did you mean 'niqe'?\n"


def test_health_is_0_only_if_the_service_is_ready(run, server):
    assert run("health", "--url", server).exit_code == 0
    done = run("health", "--url", "http://127.0.0.1:1")
    assert done.exit_code == 1
    assert "does not answer" in done.stderr


def test_help_and_health_do_not_wait_for_torch():
    code = "import sys, app.cli, app.command.health; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
