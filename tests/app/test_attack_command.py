"""`purifiqa attack` and `purifiqa attacks`."""

import errno
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from standin_metrics import Standin, undefined_at

from models.availability import unavailable
from models.metric import MetricUnavailableError, UndefinedScoreError
from models.metrics import metrics
from models.perturbation.universal import load


@pytest.fixture
def run(run, monkeypatch):
    monkeypatch.setitem(metrics(), "standin", Standin())
    monkeypatch.setitem(metrics(), "standin-without-gradients", Standin(differentiable=False))
    return run


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(1)
    (tmp_path / "photos" / "below").mkdir(parents=True)
    for name in ("a.png", "below/b.png"):
        pixels = generator.integers(0, 256, (20, 24, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "photos" / name), pixels)
    return tmp_path / "photos"


def levels(path):
    return cv2.imread(str(path)).astype(int)


def test_the_written_files_are_as_the_report_says(run, folder, tmp_path):
    out = tmp_path / "out"
    done = run("attack", folder, "-a", "ifgsm", "-m", "standin", "-o", out, "--json")
    assert done.exit_code == 0, done.output
    outcomes = json.loads(done.stdout)
    assert [one["output"] for one in outcomes] == [str(out / "a.png"), str(out / "below" / "b.png")]
    for one in outcomes:
        change = levels(one["output"]) - levels(one["file"])
        assert np.abs(change).max() == one["linf"] <= one["budget"] == 10
        assert one["psnr"] == pytest.approx(10 * np.log10(255**2 / np.square(change).mean()), abs=1e-3)
        assert one["attacked"] > one["clean"]
        assert one["defended_clean"] is None
        assert one["queries"] == 10
        assert one["flags"] == []


def test_a_file_is_attacked_though_the_metric_has_no_score_for_what_came_of_it(run, folder, tmp_path, monkeypatch):
    queries = undefined_at(monkeypatch, 12)  # ten steps, the clean image, the attacked one
    done = run("attack", folder / "a.png", "-a", "ifgsm", "-m", "standin", "-o", tmp_path / "x.png", "--json")
    assert done.exit_code == 0, done.output
    [one] = json.loads(done.stdout)
    assert list(one)[:2] == ["file", "output"]
    assert one["clean"] is not None
    assert (one["attacked"], one["gained"], one["flags"]) == (None, None, [])
    assert (tmp_path / "x.png").is_file()
    queries.clear()
    shown = run("attack", folder / "a.png", "-a", "ifgsm", "-m", "standin", "-o", tmp_path / "y.png")
    assert "none" in shown.stdout


def test_the_table_tells_scores_change_budget_and_psnr(run, folder, tmp_path):
    done = run("attack", folder / "a.png", "-a", "ifgsm", "-m", "standin", "-d", "resize", "-o", tmp_path / "x.png")
    assert done.exit_code == 0, done.output
    for word in ("clean", "attacked, defended", "10/255", " dB", "queries"):
        assert word in done.stdout
    assert (tmp_path / "x.png").is_file()


def test_a_table_that_is_written_into_a_file_is_cut_nowhere(run, folder, tmp_path, monkeypatch):
    monkeypatch.delenv("COLUMNS")
    name = f"{'a-long-name-' * 8}.png"
    (folder / "a.png").rename(folder / name)
    done = run("attack", folder / name, "-a", "ifgsm", "-m", "standin", "-d", "resize", "-o", tmp_path / "x.png")
    assert done.exit_code == 0, done.output
    assert "…" not in done.stdout
    heads, cells = (next(line for line in done.stdout.splitlines() if word in line) for word in ("queries", name))
    assert [head.strip() for head in heads.split("┃")[2:6]] == [
        "clean", "attacked", "clean, defended", "attacked, defended",
    ]  # fmt: skip
    assert [cell.strip() for cell in cells.split("│")[6:8]] == ["10/255", "10/255"]


def test_a_table_keeps_to_the_columns_that_are_asked_for(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert max(map(len, run("attacks").stdout.splitlines())) == 100


def test_the_goal_may_be_given_beside_the_attack(run, folder, tmp_path):
    attack = '{"name": "ifgsm", "epsilon": 2}'
    done = run("attack", folder, "-a", attack, "-m", "standin", "--goal", "lower", "-o", tmp_path / "out", "--json")
    for one in json.loads(done.stdout):
        assert one["goal"] == "lower"
        assert one["attacked"] < one["clean"]
        assert one["linf"] == 2


def test_doubts_are_told_with_their_link(run, folder, tmp_path):
    done = run("attack", folder, "-a", "ifgsm", "-m", "standin", "-d", "random-noise", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "docs/attacks.md#randomness-not-averaged" in done.stderr
    assert done.stderr.count("randomness-not-averaged") == 1


def test_a_pattern_is_learned_and_then_used(run, folder, tmp_path):
    pattern = tmp_path / "pattern.safetensors"
    done = run("attack", folder, "-a", "uap", "-m", "standin", "--learn", "--epochs", "3", "-o", pattern)
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(pattern)
    attack = json.dumps({"name": "uap", "file": str(pattern)})
    done = run("attack", folder, "-a", attack, "-m", "standin", "-o", tmp_path / "out", "--json")
    assert [one["linf"] for one in json.loads(done.stdout)] == [10, 10]


@pytest.mark.parametrize(
    ("learned", "used", "words"),
    [
        ((), (), ()),
        ((), ("-d", "none"), ()),
        (("-d", "flip"), ("-d", "flip"), ()),
        ((), ("-d", "flip"), ("not learned through flip",)),
        (("-d", "flip"), (), ("which is not used here",)),
        ((), ("-m", "piqe"), ("another metric than piqe",)),
        (("-d", "flip"), ("-m", "piqe", "-d", "jpeg"), ("another metric", "through jpeg")),
    ],
)
def test_a_pattern_that_was_learned_for_something_else_is_doubted(run, folder, tmp_path, learned, used, words):
    pattern = tmp_path / "pattern.safetensors"
    how = ("-m", "standin", "--learn", "--epochs", "1", "-o", pattern)
    done = run("attack", folder, "-a", "uap", *learned, *how)
    assert done.exit_code == 0, done.output
    attack = json.dumps({"name": "uap", "file": str(pattern)})
    metric = () if "-m" in used else ("-m", "standin")
    done = run("attack", folder, "-a", attack, *metric, *used, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert done.stderr.count("docs/attacks.md#made-for-another") == len(words)
    assert all(part in " ".join(done.stderr.split()) for part in words)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["-a", "ifgms", "-m", "standin"], "did you mean 'ifgsm'"),
        (["-a", "ifgsm", "-m", "standni"], "did you mean 'standin'"),
        (["-a", "ifgsm", "-m", "standin", "-d", "jpge"], "did you mean 'jpeg'"),
        (["-a", '{"name": "ifgsm", "epsilon": 300}', "-m", "standin"], "less than or equal to 64"),
        (["-a", "ifgsm", "-m", "standin-without-gradients"], "has none"),
        (["-a", "ifgsm", "-m", "standin,entropy"], "one metric"),
        (["-a", "ifgsm(both=true)", "-m", "standin"], "name the defense, with --defense"),
        (["-a", "uap", "-m", "standin"], "--learn"),
        (["-a", "ifgsm", "-m", "standin", "--learn"], "needs --attack uap"),
    ],
)
def test_an_order_that_no_file_can_satisfy_is_told_once(run, folder, tmp_path, options, told):
    done = run("attack", folder, *options, "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_what_is_done_is_told_though_the_metric_cannot_be_used_any_more(run, folder, tmp_path, monkeypatch):
    score, asked = Standin.score, []

    def until_its_weights_are_gone(self, images):
        asked.append(1)
        if len(asked) > 12:  # ten steps, the clean image, the attacked one
            raise MetricUnavailableError("standin", unavailable("its weights are gone", "bring them"))
        return score(self, images)

    monkeypatch.setattr(Standin, "score", until_its_weights_are_gone)
    for name in ("c.png", "d.png"):
        (folder / name).write_bytes((folder / "a.png").read_bytes())
    done = run("attack", folder, "-a", "ifgsm", "-m", "standin", "-o", tmp_path / "out", "--json")
    assert done.exit_code == 1
    assert [one["output"] for one in json.loads(done.stdout)] == [str(tmp_path / "out" / "a.png")]
    assert "its weights are gone" in done.stderr
    assert "the remaining 2 would fail the same way" in done.stderr


def test_a_lossy_file_name_is_refused(run, folder, tmp_path):
    done = run("attack", folder / "a.png", "-a", "ifgsm", "-m", "standin", "-o", tmp_path / "x.jfif")
    assert done.exit_code == 1
    assert "PNG" in done.stderr


def test_a_broken_and_a_tiny_file_are_named_and_the_others_are_done(run, folder, tmp_path):
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:200])
    cv2.imwrite(str(folder / "tiny.png"), np.zeros((8, 8, 3), np.uint8))
    done = run("attack", folder, "-a", "fgsm", "-m", "standin", "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "broken.png" in done.stderr
    assert "tiny.png" in done.stderr
    assert len(list((tmp_path / "out").rglob("*.png"))) == 2


def test_a_pattern_is_learned_on_what_can_be_used_and_the_rest_is_named(run, folder, tmp_path):
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:200])
    cv2.imwrite(str(folder / "tiny.png"), np.zeros((8, 8, 3), np.uint8))
    (folder / "gone.png").symlink_to("nowhere.png")
    pattern = tmp_path / "pattern.safetensors"
    done = run("attack", folder, "-a", "uap", "-m", "standin", "--learn", "--epochs", "1", "-o", pattern)
    assert done.exit_code == 1
    assert done.stdout.strip() == str(pattern)
    assert "broken.png" in done.stderr
    assert "tiny.png" in done.stderr
    assert load(pattern).facts.images == 2


def test_an_image_that_the_metric_has_no_score_for_is_not_learned_from_and_named(run, folder, tmp_path, monkeypatch):
    cv2.imwrite(str(folder / "flat.png"), np.full((20, 24, 3), 128, np.uint8))
    score = Standin.score

    def of_textures(self, images):
        if bool((images.std(dim=(1, 2, 3)) == 0).any()):
            raise UndefinedScoreError("standin is not defined for this image")
        return score(self, images)

    monkeypatch.setattr(Standin, "score", of_textures)
    pattern = tmp_path / "pattern.safetensors"
    done = run("attack", folder, "-a", "uap", "-m", "standin", "--learn", "--epochs", "1", "-o", pattern)
    assert (done.exit_code, done.stdout.strip()) == (1, str(pattern))
    assert "flat.png: standin is not defined" in done.stderr
    assert load(pattern).facts.images == 2


def test_a_learned_pattern_is_told_as_json_where_json_is_asked_for(run, folder, tmp_path):
    pattern = tmp_path / "pattern.safetensors"
    done = run("attack", folder, "-a", "uap", "-m", "standin", "--learn", "--epochs", "1", "-o", pattern, "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"output": str(pattern)})


@pytest.mark.parametrize("out", ["file/pattern.safetensors", "folder.safetensors"])
def test_a_pattern_that_could_not_be_written_is_not_learned(run, folder, tmp_path, monkeypatch, out):
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "folder.safetensors").mkdir()
    monkeypatch.setattr(Standin, "score", lambda *_: pytest.fail("it is learned"))
    done = run("attack", folder, "-a", "uap", "-m", "standin", "--learn", "-o", tmp_path / out)
    assert done.exit_code == 1
    assert done.stderr.startswith("purifiqa: ")


def test_a_disk_that_is_full_when_a_pattern_is_written_is_told_in_words(run, folder, tmp_path, monkeypatch):
    (folder / "scan.tif").write_bytes(b"II*\0")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    pattern = tmp_path / "pattern.safetensors"
    done = run("attack", folder, "-a", "uap", "-m", "standin", "--learn", "--epochs", "1", "-o", pattern)
    assert done.exit_code == 1
    assert f"{pattern} cannot be written: No space left on device" in done.stderr
    assert "scan.tif: the file is not a PNG" in done.stderr


def test_a_pattern_needs_at_least_one_image_and_tells_what_was_wrong_with_each(run, tmp_path):
    cv2.imwrite(str(tmp_path / "tiny.png"), np.zeros((8, 8, 3), np.uint8))
    pattern = tmp_path / "pattern.safetensors"
    done = run("attack", tmp_path / "tiny.png", "-a", "uap", "-m", "standin", "--learn", "-o", pattern)
    assert done.exit_code == 1
    assert "tiny.png" in done.stderr
    assert not pattern.exists()


def test_attacks_are_listed_with_what_a_missing_one_needs(run):
    entries = {entry["name"]: entry for entry in json.loads(run("attacks", "--json").stdout)}
    assert entries["ifgsm"]["sees"] == "gradients"
    assert entries["square"]["sees"] == "scores"
    assert "learn" in entries["uap"]["availability"]["cure"]
    assert entries["ifgsm"]["parameters"]["properties"]["epsilon"]["maximum"] == 64
    assert "zhang-ssim" in run("attacks").stdout
