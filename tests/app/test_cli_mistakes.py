"""What a newcomer does wrong with the command, and what it says: one line, with what is wrong and what would be right."""

import os

import pytest

LONG = "long" * 100


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["purify", "{photo}", "-d", "jpeg,flip", "-o", "{out}"], "join several with +, such as flip+jpeg"),
        (["purify", "{photo}", "-d", "jpeg", "-o", "{photo}/deeper"], "{photo} is a file, not a folder"),
        (["attack", "{photo}", "-a", "fgsm", "-m", "fr-surrogate", "-o", "{photo}/a"], "{photo} is a file, not a folder"),
        (["attack", "{photo}", "-a", '{"name": "ifgsm", "epsilo": 4}', "-m", "niqe", "-o", "{out}"], "did you mean 'epsilon'?"),
        (["score", "{photo}", "--server", "localhost:8000"], "'localhost:8000' is not the URL of a service"),
        (["score", LONG], f"purifiqa: {LONG}: File name too long"),
        (["purify", "{photo}", "-o", LONG], f"purifiqa: {LONG}: File name too long"),
        (["attack", "{photo}", "-a", "fgsm", "-m", "niqe", "-o", LONG], f"purifiqa: {LONG}: File name too long"),
        (["attack", "{photo}", "-a", "uap", "-m", "niqe", "--learn", "-o", LONG], f"{LONG}: File name too long"),
        (["bench", "--images", "{photo}", "--preset", "quick", "--out", LONG], f"--out {LONG} cannot be used: File name"),
        (["bench", "--images", LONG, "--preset", "quick", "--out", "{out}"], f"purifiqa: {LONG}: File name too long"),
        (["attacks", "--json", "--markdown"], "choose --json or --markdown"),
        (["defenses", "--json", "--markdown"], "choose --json or --markdown"),
        (["keys", "revoke", "nobody", "--file", "{out}"], "there is no such key in {out}"),
        (["keys", "new", "team:alice", "--file", "{out}"], "'team:alice' is not a valid name: use letters, digits, "),
        (["weights", "verify", "mine"], "the weights mine have not been added; there are none"),
        (["bench", "--images", "{photo}", "--preset", "quick", "--out", "{photo}"], "--out {photo} cannot be used: it is"),
        (["bench", "--images", "{photo}", "--preset", "quick", "--out", "{out}", "--size", "1x1"], "purifiqa: --size 1x1: the "),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_one_line_before_anything_is_done(run, folder, tmp_path, arguments, told):
    names = {"{photo}": str(folder / "a.png"), "{out}": str(tmp_path / "out")}
    for name, path in names.items():
        arguments, told = [one.replace(name, path) for one in arguments], told.replace(name, path)
    done = run(*arguments)
    assert done.exit_code == 1
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert "Errno" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["score", "-m", "entropy", "-d", "none"],
        ["attack", "-a", "square", "-m", "entropy", "-o", "out"],
        ["bench", "--attacks", "square", "--defenses", "flip", "-m", "entropy", "-o", "out", "--images"],
    ],
)
def test_a_setting_that_is_wrong_is_told_by_its_name(run, folder, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PURIFIQA_MAX_PIXELS", "many")
    done = run(*arguments, folder / "a.png")
    assert done.exit_code == 1
    assert done.stderr.startswith("purifiqa: PURIFIQA_MAX_PIXELS: ")
    assert done.stderr.endswith("it is 'many'\n")
    assert len(done.stderr.splitlines()) == 1


STUDY = ["bench", "--attacks", "square", "--defenses", "flip", "-o", "out", "--images"]


@pytest.mark.parametrize(
    ("variable", "arguments"),
    [
        ("PURIFIQA_DEFAULT_METRICS", ["score"]),
        ("PURIFIQA_DEFAULT_DEFENSE", ["score"]),
        ("PURIFIQA_DEFAULT_METRICS", STUDY),
    ],
)
def test_a_default_that_does_not_exist_is_told_by_its_name(run, folder, tmp_path, monkeypatch, variable, arguments):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, "nope")
    done = run(*arguments, folder / "a.png")
    assert done.exit_code == 1
    assert done.stderr.startswith(f"purifiqa: {variable}: there is no ")
    assert len(done.stderr.splitlines()) == 1
    assert run("score", folder / "a.png", "-m", "entropy", "-d", "none").exit_code == 0


def test_a_folder_that_may_not_be_written_is_told_before_anything_is_done(run, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    done = run("purify", folder, "-d", "flip", "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert done.stderr == f"purifiqa: {tmp_path / 'out'}: no permission to write in {tmp_path}\n"


def test_a_result_that_cannot_be_written_is_named_and_not_blamed_on_the_picture(run, folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "below").write_text("in the way of below/b.png")
    done = run("purify", folder, "-d", "flip", "-o", tmp_path / "out")
    assert done.exit_code == 1
    [line] = done.stderr.splitlines()
    assert line.endswith(f"{tmp_path / 'out' / 'below' / 'b.png'} cannot be written: File exists")
    assert (tmp_path / "out" / "a.png").is_file()


def test_an_attack_that_failed_on_every_file_prints_no_empty_table(run, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    done = run("attack", tmp_path / "broken.png", "-a", "fgsm", "-m", "fr-surrogate", "-o", tmp_path / "out")
    assert (done.exit_code, done.stdout) == (1, "")


def test_a_narrow_table_cuts_no_name_and_no_address(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    printed = run("weights", "list").stdout
    assert max(map(len, printed.splitlines())) <= 60
    assert "…" not in printed


@pytest.mark.parametrize(
    "arguments",
    [
        ["score", ""],
        ["purify", "", "-o", "out"],
        ["purify", "a.png", "-o", ""],
        ["attack", "a.png", "-a", "fgsm", "-m", "fr-surrogate", "-o", ""],
        ["bench", "--images", "", "--preset", "quick", "--out", "out"],
        ["bench", "--images", "a.png", "--preset", "quick", "--out", ""],
    ],
)
def test_an_empty_name_as_of_a_variable_that_is_not_set_is_not_the_folder_where_one_stands(
    run, folder, monkeypatch, arguments
):
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    done = run(*arguments)
    assert done.exit_code != 0
    assert "is empty" in done.stderr
    assert sorted(folder.rglob("*")) == before
