"""A table of opinions is read with care, and the report tells how well defended scores follow it."""

import pytest
from standin_metrics import Standin

from app.bench.cells import CLEAN, Cell
from app.bench.choices import Choices, draft
from app.bench.items import BenchError
from app.bench.opinions import read_opinions
from app.bench.report.agreements import agreements
from models.metrics import metrics

PICTURES = ["a.png", "sub/b.png", "c.png", "d.png"]
MOS = {"a.png": 1.0, "sub/b.png": 2.5, "c.png": 3.0, "d.png": 4.0}


def test_the_pictures_opinions_are_found_and_others_passed_over(tmp_path):
    file = tmp_path / "mos.csv"
    file.write_text("\ufefffile,mos,n\nc.png,3.25,9\na.png,1,9\nelsewhere.png,5,9\nsub/b.png,2.5,8\n")
    assert read_opinions(file, PICTURES) == {"a.png": 1.0, "sub/b.png": 2.5, "c.png": 3.25}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,mos\na.png,1\n", "a CSV table with the columns file, mos"),
        ("", "a CSV table with the columns file, mos"),
        ("file,mos\na.png,good\n", "line 2: 'good' is not a number"),
        ("file,mos\na.png,\n", "line 2: '' is not a number"),
        ("file,mos\na.png,nan\n", "line 2: 'nan' is not a number"),
        ("file,mos\na.png,1\na.png,2\n", "line 3: a.png appears twice"),
        ("file,mos\na.png,1\nb.png,2\nc.png,2\n", r"opinions on 2 of 4 images, but at least 3 .* names a.png, b.png"),
    ],
)
def test_a_table_that_is_wrong_is_refused_with_the_place(tmp_path, text, message):
    file = tmp_path / "mos.csv"
    file.write_text(text)
    with pytest.raises(BenchError, match=message):
        read_opinions(file, PICTURES)


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BenchError, match=r"none\.csv cannot be read"):
        read_opinions(tmp_path / "none.csv", PICTURES)


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_the_report_tells_agreement_before_and_after_purification(tmp_path, monkeypatch, higher_is_better):
    monkeypatch.setitem(metrics(), "standin", Standin(higher_is_better=higher_is_better))
    choices = Choices(tmp_path, tmp_path / "out", attacks="ifgsm,fgsm", defenses="jpeg,flip", metrics="standin")
    manifest = draft(choices, "1").model_copy(update={"opinions": MOS})
    assert not list(agreements(draft(choices, "1"), [], "standin"))
    scores = {
        (CLEAN, "none"): [1, 2, 3, 4], ("ifgsm", "none"): [4, 3, 2, 1], ("fgsm", "none"): [4, 3, 2, 1],
        (CLEAN, "jpeg"): [1, 3, 2, 4], ("ifgsm", "jpeg"): [1, 2, 3, 4], ("fgsm", "jpeg"): [2, 1, 3, 4],
    }  # fmt: skip
    sign = 1 if higher_is_better else -1
    cells = [
        Cell(image, "standin", attack, defense, False, {"score": sign * score})
        for (attack, defense), row in scores.items() for image, score in zip(PICTURES, row, strict=True)
    ]  # fmt: skip
    cells += [Cell(image, "standin", "ifgsm", "jpeg", True, {"score": 0.1 * len(image)}) for image in PICTURES]
    text = "\n".join(agreements(manifest, cells, "standin"))
    rows = {line.split(" | ")[0].strip("| "): line.split(" | ")[1:] for line in text.splitlines() if line[:2] == "| "}
    values = {name: [cell.split(" ")[0] for cell in row] for name, row in rows.items() if name != "defense"}
    assert values["none"][0::3] == ["1.000", "-1.000"]
    assert values["jpeg"][0::3] == ["0.800", "0.900"]
    assert values["none"][2::3] == ["4", "4"]
    assert values["flip"] == ["-", "-", "0", "-", "-", "0"]
    assert "the opinions on at most 4 pictures" in text


def test_a_picture_that_one_attack_was_not_made_on_does_not_count_for_the_others(tmp_path, standin):
    choices = Choices(tmp_path, tmp_path / "out", attacks="ifgsm,fgsm", defenses="jpeg", metrics="standin")
    manifest = draft(choices, "1").model_copy(update={"opinions": MOS})
    cells = [
        Cell(image, "standin", attack, "jpeg", False, {"score": score})
        for attack, row in (("ifgsm", [1, 2, 3, 0]), ("fgsm", [2, 5, 9])) for image, score in zip(PICTURES, row, strict=False)
    ]  # fmt: skip
    cells += [Cell(image, "standin", CLEAN, "jpeg", False, {"score": 1}) for image in PICTURES[:2]]
    [jpeg] = [line.strip("| ").split(" | ") for line in agreements(manifest, cells, "standin") if line[:6] == "| jpeg"]
    assert [cell.split(" ")[0] for cell in jpeg[1:5]] == ["-", "-", "2", "1.000"], "two pictures have no correlation"
    assert jpeg[6] == "3"


def test_an_attack_that_was_made_on_two_pictures_only_does_not_hide_the_others(tmp_path, standin):
    choices = Choices(tmp_path, tmp_path / "out", attacks="ifgsm,fgsm", defenses="jpeg", metrics="standin")
    manifest = draft(choices, "1").model_copy(update={"opinions": MOS})
    cells = [
        Cell(image, "standin", attack, "jpeg", False, {"score": score})
        for attack, row in (("ifgsm", [1, 2, 3, 4]), ("fgsm", [9, 1])) for image, score in zip(PICTURES, row, strict=False)
    ]  # fmt: skip
    [jpeg] = [line.strip("| ").split(" | ") for line in agreements(manifest, cells, "standin") if line[:6] == "| jpeg"]
    assert jpeg[4].startswith("1.000")
    assert jpeg[6] == "4"
