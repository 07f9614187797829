"""Which files a command takes, where results go, and how many are under way."""

import csv
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.table import Table

from app.command import batch
from app.command.files import FilesError, find_images, plan_outputs
from app.command.tables import show


def test_a_pattern_and_a_file_that_mean_the_same_image_count_once(folder):
    assert [image.path.name for image in find_images([str(folder / "*.png"), str(folder / "a.png")])[0]] == ["a.png"]


def test_two_images_never_share_an_output_and_an_input_is_never_overwritten(folder, photo_png, tmp_path):
    (folder / "a.jpg").write_bytes(photo_png)
    images, _ = find_images([str(folder / "a.png"), str(folder / "a.jpg")])
    with pytest.raises(FilesError, match="both become"):
        plan_outputs(images, tmp_path / "out", ".png")
    with pytest.raises(FilesError, match="overwritten"):
        plan_outputs(images[:1], folder, ".png")


def test_pictures_of_other_formats_in_a_folder_are_told_of(run, folder):
    (folder / "scan.TIF").write_bytes(b"II*\0")
    (folder / "notes.txt").write_text("no picture")
    done = run("score", folder, "-m", "entropy", "-d", "none", "--csv")
    assert done.exit_code == 1
    assert "scan.TIF: the file is not a PNG, JPEG or WebP image" in done.stderr
    assert "notes" not in done.stderr
    assert len(done.stdout.splitlines()) == 1 + 2


def test_nothing_more_is_done_once_the_output_cannot_be_written(folder):
    told = []

    def tell(done):
        told.append(done.file.name)
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        batch.run("score", [str(folder)], {"metrics": "piqe", "defense": "flip"}, 1, None, None, tell=tell)
    assert told == ["a.png"]


@pytest.mark.parametrize(
    ("out", "inputs", "told"),
    [
        ("/dev/null", ["a.png"], "/dev/null is a file; name a folder"),
        ("out.gif", ["a.png"], "out.gif: results are PNG, JPEG or WebP"),
        ("out.png", ["."], "out.png is one file, but there are 2 images"),
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
    images, _ = find_images([str(folder / "a.png"), str(folder / "sub" / "a.png")])
    with pytest.raises(FilesError, match="overwritten"):
        plan_outputs(images[:1] + images[1:], folder / "sub", ".png")


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


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_keep_what_the_server_has_done_out_of_order(
    run, server, tmp_path, photo_png, monkeypatch, number, status
):
    from app.command.client import Client, ServerError

    folder = tmp_path / "many"
    folder.mkdir()
    for place, name in enumerate("abcd"):
        (folder / f"{name}.png").write_bytes(photo_png + bytes(place))
    real = Client.order

    def order(self, kind, image, fields, **headers):
        if len(image) == len(photo_png) + 1:
            time.sleep(3)  # until the others are done
            os.kill(os.getpid(), number)  # the main thread hears it, where it waits for the answer
            raise ServerError("stopped")
        return real(self, kind, image, fields, **headers)

    monkeypatch.setattr(Client, "order", order)
    done = run("purify", folder, "-d", "flip", "-o", tmp_path / "out", "--server", server)
    assert done.exit_code == status
    assert [line[-5:] for line in done.stdout.split()] == ["a.png", "c.png", "d.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png", "d.png"]


@pytest.mark.slow
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


@pytest.mark.parametrize("in_flight", [1, 2])
def test_what_was_done_is_printed_when_the_key_is_revoked_midway(run, tmp_path, photo_png, monkeypatch, in_flight):
    from app.command.client import Client, ServerError

    for name in "abcd":
        (tmp_path / f"{name}.png").write_bytes(photo_png + name.encode())
    score = {
        "metric": "entropy", "higher_is_better": True, "range": [0, 8], "human_trained": False,
        "original": 1.0, "defended": 1.0, "shift": 0.0,
    }  # fmt: skip

    def order(self, kind, image, fields, **headers):
        if not image.endswith(b"a"):
            time.sleep(0.2)  # until the first is done
            raise ServerError("there is no such key", is_about_the_order=True)
        return {"seed": 1, "defense": {"name": "none"}, "result": {"scores": [score]}}, None

    monkeypatch.setattr(Client, "order", order)
    monkeypatch.setattr(Client, "send", lambda *_: None)  # the server is up
    done = run("score", tmp_path, "--csv", "--server", "http://127.0.0.1:1", "--in-flight", in_flight)
    assert done.exit_code == 1
    assert [row["file"] for row in csv.DictReader(io.StringIO(done.stdout))] == [str(tmp_path / "a.png")]
    assert done.stderr == (
        f"{tmp_path / 'b.png'}: there is no such key; the remaining 2 would fail the same way and were not tried\n"
    )


def test_files_that_failed_before_the_key_was_revoked_are_told_too(run, tmp_path, photo_png, monkeypatch):
    from app.command.client import Client, ServerError

    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(photo_png + name.encode())

    def order(self, kind, image, fields, **headers):
        if image.endswith(b"a"):
            raise ServerError("the metric has no score for it")
        raise ServerError("there is no such key", is_about_the_order=True)

    monkeypatch.setattr(Client, "order", order)
    monkeypatch.setattr(Client, "send", lambda *_: None)  # the server is up
    done = run("score", tmp_path, "--server", "http://127.0.0.1:1", "--in-flight", 1)
    assert done.exit_code == 1
    assert "a.png: the metric has no score for it" in done.stderr
    assert "b.png: there is no such key; the remaining 1 would fail the same way and were not tried" in done.stderr


@pytest.mark.skipif(sys.platform == "darwin", reason="file names are UTF-8 there")
@pytest.mark.parametrize("form", ["--csv", "--json", "table", "files"])
def test_a_name_that_is_not_utf_8_comes_out_in_every_form(run, folder, tmp_path, photo_png, form):
    name = b"caf\xe9.png"
    (folder / os.fsdecode(name)).write_bytes(photo_png)
    if form == "files":
        done = run("purify", folder, "-d", "none", "-o", tmp_path / "out")
    else:
        done = run("score", folder, "-m", "fr-surrogate", "-d", "none", *([form] if form.startswith("-") else []))
    assert done.exit_code == 0, done.exception
    assert (rb"caf\udce9.png" if form == "--json" else name) in done.stdout_bytes
    assert b"a.png" in done.stdout_bytes
    assert b"b." in done.stdout_bytes


def test_a_name_that_the_terminal_cannot_write_comes_out_as_codes(folder, photo_png):
    (folder / "caf\u00e9.png").write_bytes(photo_png)
    command = [sys.executable, "-m", "app", "score", str(folder), "-m", "piqe", "-d", "none"]
    done = subprocess.run(command, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, check=True)
    assert rb"caf\xe9.png" in done.stdout


def test_a_table_changes_nothing_in_names_and_commands(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    table = Table("file")
    told = ["photo[edited].jpg", "a:dog:b.jpg", "pip install 'purifiqa[perceptual]'"]
    for one in told:
        table.add_row(one)
    show(table)
    printed = capsys.readouterr().out
    assert [one for one in told if one in printed] == told


@pytest.mark.parametrize("argument", ["photos", "photos/a.png", "photos/*.png", "photos/**/*.png"])
@pytest.mark.parametrize("out", [".", "..", "elsewhere"])
def test_results_may_go_to_a_folder_above_the_images(folder, tmp_path, monkeypatch, argument, out):
    monkeypatch.chdir(tmp_path)
    assert "a.png" in [image.path.name for image in find_images([argument], Path(out))[0]]


@pytest.mark.parametrize("argument", [".", "photos", "photos/*/*.[jp]*g", "**/*.png"])
def test_earlier_results_below_the_images_are_not_images(folder, tmp_path, photo_png, monkeypatch, argument):
    monkeypatch.chdir(tmp_path)
    (folder / "out").mkdir()
    for name in ("result.png", "scan.tif"):
        (folder / "out" / name).write_bytes(photo_png)
    out = Path("photos/out")
    images, others = find_images([argument], out)
    assert {image.path.name for image in images} <= {"a.png", "b.jpg"}
    assert others == []


@pytest.mark.parametrize(("argument", "out"), [("photos", "photos"), ("photos/*.png", "photos"), (".", ".")])
def test_images_that_all_lie_where_results_go_are_refused_with_the_cure(run, folder, monkeypatch, argument, out):
    monkeypatch.chdir(folder if out == "." else folder.parent)
    done = run("purify", argument, "-o", out)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == f"purifiqa: {argument}: all its images are in the output folder {out}; choose another -o\n"
