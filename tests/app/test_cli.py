"""The command `purifiqa`, in the process and against a service."""

import csv
import io
import json
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli import app
from app.command.files import FilesError, find_images, plan_outputs


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.setenv("PURIFIQA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path, photo_png, photo_jpeg):
    """A folder with two photos, one below, one broken, and a text file."""
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    (folder / "a.png").write_bytes(photo_png)
    (folder / "below" / "b.jpg").write_bytes(photo_jpeg)
    (folder / "notes.txt").write_text("no photo")
    return folder


def read(path):
    return cv2.imread(str(path))[..., ::-1]


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


def test_a_pattern_and_a_file_that_mean_the_same_image_count_once(folder):
    assert [image.path.name for image in find_images([str(folder / "*.png"), str(folder / "a.png")])] == ["a.png"]


def test_two_images_never_share_an_output_and_an_input_is_never_overwritten(folder, photo_png, tmp_path):
    (folder / "a.jpg").write_bytes(photo_png)
    images = find_images([str(folder / "a.png"), str(folder / "a.jpg")])
    with pytest.raises(FilesError, match="both become"):
        plan_outputs(images, tmp_path / "out", ".png")
    with pytest.raises(FilesError, match="overwritten"):
        plan_outputs(images[:1], folder, ".png")


def test_the_format_is_that_of_the_file_name_given(run, folder, tmp_path):
    assert run("purify", folder / "a.png", "-o", tmp_path / "out.jpg").exit_code == 0
    assert (tmp_path / "out.jpg").read_bytes().startswith(b"\xff\xd8")
    done = run("purify", folder / "a.png", "-o", tmp_path / "out.jpg", "--format", "png")
    assert done.exit_code == 1
    assert "not a name" in done.stderr


def test_pictures_of_other_formats_in_a_folder_are_told_of(run, folder):
    (folder / "scan.TIF").write_bytes(b"II*\0")
    (folder / "notes.txt").write_text("no picture")
    done = run("score", folder, "-m", "entropy", "-d", "none", "--csv")
    assert done.exit_code == 1
    assert "scan.TIF: the file is not a PNG, JPEG or WebP image" in done.stderr
    assert "notes" not in done.stderr
    assert len(done.stdout.splitlines()) == 1 + 2


@pytest.mark.parametrize(
    ("out", "inputs", "told"),
    [
        ("out.gif", ["a.png"], "out.gif: results are PNG, JPEG or WebP"),
        ("out.png", ["."], "out.png names one file, and there are 2 images"),
        ("there", ["a.png"], "there is a file; name a folder"),
    ],
)
def test_a_name_that_results_cannot_have_is_refused_before_anything_is_done(run, folder, tmp_path, out, inputs, told):
    (tmp_path / "there").write_text("a file")
    done = run("purify", *(folder / name for name in inputs), "-d", "none", "-o", tmp_path / out)
    assert done.exit_code == 1
    assert told in done.stderr
    assert [path.name for path in tmp_path.glob("out*")] == []


def test_two_forms_of_the_same_answer_are_refused(run, folder):
    done = run("score", folder / "a.png", "-m", "entropy", "--csv", "--json")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "choose --json or --csv" in done.stderr


def test_results_are_not_purified_again(run, folder):
    for _ in range(2):
        assert run("purify", folder, "-o", folder / "out").exit_code == 0
    assert sorted(str(path.relative_to(folder)) for path in (folder / "out").rglob("*.*")) == [
        "out/a.png",
        "out/below/b.png",
    ]


def test_no_input_is_overwritten_by_the_result_of_another(run, folder, photo_png, tmp_path):
    (folder / "sub").mkdir()
    (folder / "sub" / "a.png").write_bytes(photo_png)
    images = find_images([str(folder / "a.png"), str(folder / "sub" / "a.png")])
    with pytest.raises(FilesError, match="overwritten"):
        plan_outputs(images[:1] + images[1:], folder / "sub", ".png")


def test_ctrl_c_keeps_what_is_done(run, folder, tmp_path, monkeypatch):
    from app.command import batch

    real, calls = batch._carry_out_here, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(batch, "_carry_out_here", interrupted)
    done = run("purify", folder, "-o", tmp_path / "out", "--json")
    assert done.exit_code == 130
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
    assert len(json.loads(run("metrics", "--json").stdout)) > 50


def test_health_is_0_only_if_the_service_is_ready(run, server):
    assert run("health", "--url", server).exit_code == 0
    done = run("health", "--url", "http://127.0.0.1:1")
    assert done.exit_code == 1
    assert "does not answer" in done.stderr


def test_help_and_health_do_not_wait_for_torch():
    code = "import sys, app.cli, app.command.health; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_picture_that_can_be_read_and_one_of_its_name_that_cannot_are_not_in_each_others_way(
    run, folder, tmp_path, photo_png
):
    (folder / "a.tif").write_bytes(b"II*\0")
    (folder / "below" / "a.tif").write_bytes(photo_png)  # told of by its name, whatever it holds
    done = run("purify", folder, "-d", "none", "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "a.tif: the file is not a PNG, JPEG or WebP image" in done.stderr
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")) == [
        "a.png", "below/b.png",
    ]  # fmt: skip


@pytest.mark.parametrize("in_flight", [1, 3])
def test_a_server_has_several_orders_at_a_time_and_answers_stay_in_order(run, server, tmp_path, photo_png, in_flight):
    import threading

    from app.command.client import Client

    folder = tmp_path / "many"
    folder.mkdir()
    for name in "abcdef":
        (folder / f"{name}.png").write_bytes(photo_png)
    (folder / "bb.png").write_bytes(photo_png[:300])
    real, now, most, lock = Client.order, [0], [0], threading.Lock()

    def order(self, *arguments, **headers):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        try:
            return real(self, *arguments, **headers)
        finally:
            with lock:
                now[0] -= 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Client, "order", order)
        done = run(
            "score", folder, "-m", "entropy", "-d", "flip", "--csv", "--server", server, "--in-flight", in_flight
        )
    assert done.exit_code == 1
    assert "bb.png" in done.stderr
    files = [row["file"][-5:] for row in csv.DictReader(io.StringIO(done.stdout))]
    assert files == [f"{name}.png" for name in "abcdef"]
    assert most[0] == in_flight


def test_ctrl_c_keeps_what_the_server_has_done_out_of_order(run, server, tmp_path, photo_png, monkeypatch):
    from app.command.client import Client

    folder = tmp_path / "many"
    folder.mkdir()
    for number, name in enumerate("abcd"):
        (folder / f"{name}.png").write_bytes(photo_png + bytes(number))
    real = Client.order

    def order(self, kind, image, fields, **headers):
        if len(image) == len(photo_png) + 1:
            time.sleep(3)  # until the others are done
            raise KeyboardInterrupt  # comes out where its answer is waited for
        return real(self, kind, image, fields, **headers)

    monkeypatch.setattr(Client, "order", order)
    done = run("purify", folder, "-d", "flip", "-o", tmp_path / "out", "--server", server)
    assert done.exit_code == 130
    assert [line[-5:] for line in done.stdout.split()] == ["a.png", "c.png", "d.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png", "d.png"]


def test_lines_of_csv_are_printed_as_soon_as_they_are_known(folder, photo_png):
    (folder / "c.png").write_bytes(photo_png)
    script = (
        "import sys; from app.command import batch, listing\n"
        "results = listing.Results('csv')\n"
        "fields = {'metrics': 'entropy', 'defense': 'none', 'samples': '1'}\n"
        "def tell(done): results.tell(done); print('told', file=sys.stderr, flush=True); sys.stdin.readline()\n"
        "batch.run('score', [sys.argv[1]], fields, None, None, None, 1, tell); results.end()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    header, first = child.stdout.readline(), child.stdout.readline()  # would wait for ever if it came at the end
    assert header.startswith("file,metric,original")
    assert f"{folder}/a.png,entropy," in first
    rest, _ = child.communicate("\n\n\n", timeout=60)
    assert len(rest.splitlines()) == 2
    assert child.returncode == 0
