"""What is measured is what the parts give by themselves; tables are exact; what did not run has no number."""

import csv
import dataclasses
import re

import pytest
import torch
from studies import performed, settled

from app.bench import cells, study
from app.bench.folder import AttackRecord, DefenseRecord, FailureRecord
from app.bench.items import BenchError
from app.bench.perform import perform
from app.bench.report import whole
from app.bench.units import ATTACK, units_of
from models.attacks import parse_attack
from models.defenses import parse_defense
from models.evaluation.fidelity import compare
from models.images import ImageFormat, decode, encode


def test_every_number_is_what_the_parts_give_by_themselves(choices, standin):
    manifest, folder = performed(choices)
    findings = cells.read(manifest, folder)
    assert (findings.done, findings.steps) == (2 * (3 + 4 + 2), 18)
    picture = manifest.parameters.pictures[1]
    clean, _ = decode((choices.images / "b.png").read_bytes())
    attack, noise, flip = parse_attack("ifgsm"), parse_defense("random-noise"), parse_defense("flip")
    attacked = attack(clean, standin, None, picture.seed)
    by_name = {(one.attack, one.defense, one.adaptive): one for one in findings.cells if one.image == "b.png"}
    assert set(by_name) == {
        ("clean", "none", False), ("clean", "random-noise", False), ("clean", "flip", False),
        ("ifgsm", "none", False), ("ifgsm", "random-noise", False), ("ifgsm", "flip", False), ("ifgsm", "flip", True),
    }  # fmt: skip
    c, a = float(standin(clean)), float(standin(attacked))
    da, dc = float(standin(noise(attacked, picture.seed))), float(standin(noise(clean, picture.seed)))
    measures = by_name["ifgsm", "random-noise", False].measures
    assert measures["gain"] == abs(c - da) / c
    assert measures["robust_abs_gain"] == abs(c - da) / 10
    assert measures["both_defended_rel_gain"] == pytest.approx(abs(dc - da) / dc)
    assert measures["movement"] == abs(dc - da) / dc
    seen = decode(encode(noise(attacked, picture.seed), ImageFormat.PNG))[0]
    assert measures["quality"] == compare(clean, seen).quality
    assert measures["linf"] == 10
    assert by_name["ifgsm", "none", False].measures["gain"] == abs(c - a) / c
    assert by_name["clean", "random-noise", False].measures["clean_shift"] == (dc - c) / c
    flipped = by_name["ifgsm", "flip", False].measures
    assert flipped["quality"] < flipped["aligned_quality"] == by_name["ifgsm", "none", False].measures["quality"]
    through = attack(clean, standin, flip, picture.seed)
    assert by_name["ifgsm", "flip", True].measures["score"] == float(standin(flip(through)))
    assert by_name["ifgsm", "flip", True].measures["attacked_score"] == float(standin(through))
    assert measures["attacked_score"] == a


def test_what_is_finished_is_not_done_again_and_a_line_cut_short_is(choices):
    manifest, folder = performed(choices)
    unit = next(unit for unit in units_of(manifest.parameters) if unit.attack)
    file = folder.root / "records" / f"{unit.place}.jsonl"
    whole = file.read_bytes()
    assert list(perform(unit, folder, "cpu")) == []
    last = whole.rindex(b"\n{")
    file.write_bytes(whole[: last + 40])  # as a kill leaves it
    done = [message.step for message in perform(unit, folder, "cpu")]
    assert done == ["flip", "flip"]  # begun and ended
    assert strip_times(file.read_bytes()[-len(whole) + last - 30 :]).endswith(strip_times(whole[last:]))


def strip_times(text):
    return re.sub(rb'"seconds":[^,}]*', b"", text)


@pytest.mark.parametrize("kind", ["clean", "attacked"])
def test_a_picture_that_cannot_be_read_back_is_named_with_the_cure(choices, kind):
    performed(choices)
    damaged = next(one for one in (choices.out / kind).rglob("a.png.png") if "through" not in str(one))
    damaged.write_bytes(b"junk")
    with pytest.raises(
        BenchError, match=rf"{kind}.*a\.png\.png cannot be read back.*remove it and run the same command"
    ):
        study.run(choices, "1", study.Means(jobs=1))


def test_a_missing_attacked_picture_is_made_again(choices):
    manifest, folder = performed(choices)
    unit = next(unit for unit in units_of(manifest.parameters) if unit.attack)
    before = folder.attacked_picture(unit).read_bytes()
    folder.attacked_picture(unit).unlink()
    assert next(iter(perform(unit, folder, "cpu"))).step == ATTACK
    list(perform(unit, folder, "cpu"))
    assert folder.attacked_picture(unit).read_bytes() == before


@pytest.mark.usefixtures("undrawn")
def test_a_step_that_fails_stops_no_other_and_has_no_number(choices, monkeypatch):
    from models.defenses.flip import Flip

    monkeypatch.setattr(Flip, "purify", lambda self, images, noise: images * float("nan"))
    manifest, folder = performed(choices)
    findings = cells.read(manifest, folder)
    assert {failure.step for failure in findings.failures} == {"flip", ATTACK}  # the adaptive attack meets it too
    assert "PurificationError: flip returned NaN" in findings.failures[0].why
    assert not [cell for cell in findings.cells if cell.defense == "flip"]
    assert len([cell for cell in findings.cells if cell.defense == "random-noise"]) == 4
    whole.write(manifest, findings, folder)
    text = (folder.root / "report.md").read_text()
    assert "| flip | - | - | - | - | - | - | - | - | - | 0 |" in text or "| flip |" not in text.split("## Failed")[0]
    assert "## Failed (6 steps)" in text
    assert "**Incomplete: 10 of 18 steps" in text


def test_a_step_that_failed_when_it_was_done_anew_is_tried_again(choices):
    manifest, folder = performed(choices)
    unit = next(unit for unit in units_of(manifest.parameters) if unit.attack)
    folder.append(unit, FailureRecord(step="flip", why="no memory"))
    findings = cells.read(manifest, folder)
    assert (findings.steps - findings.done, len(findings.failures)) == (1, 1)
    assert (
        len(findings.cells) == len({(one.image, one.attack, one.defense, one.adaptive) for one in findings.cells}) == 14
    )
    assert [message.step for message in perform(unit, folder, "cpu")] == ["flip", "flip"]
    assert cells.read(manifest, folder).failures == []


def test_the_csv_is_exactly_this(choices):
    manifest, folder = settled(dataclasses.replace(choices, defenses="flip", adaptive=None, limit=1))
    clean, attacked = units_of(manifest.parameters)
    same = {"psnr": 150, "ssim": 1, "aligned_psnr": 150, "aligned_ssim": 1, "valid": 1, "seconds": 0.5}
    other = {**same, "psnr": 40, "ssim": 0.5, "aligned_psnr": 20, "aligned_ssim": None}
    folder.append(clean, DefenseRecord(defense="none", scores={"standin": 4}, **same))
    folder.append(clean, FailureRecord(step="flip", why="no"))
    folder.append(attacked, AttackRecord(seconds=2, queries=10, linf=4, first_slope=None))
    folder.append(attacked, DefenseRecord(defense="flip", scores={"standin": 5}, **other))
    findings = cells.read(manifest, folder)
    assert (findings.done, findings.steps, len(findings.failures)) == (3, 5, 1)
    cells.write_csv(findings.cells, folder.root / "results.csv")
    expected = {
        ("clean", "none"): {
            "psnr": 150, "ssim": 1, "quality": 1.4375, "similarity": 4.75, "valid": 1, "ms": 500,
            "aligned_psnr": 150, "aligned_ssim": 1, "aligned_quality": 1.4375,
            "score": 4, "clean_score": 4, "clean_shift": 0,
        },
        ("ifgsm", "flip"): {
            "psnr": 40, "ssim": 0.5, "quality": 0.5, "similarity": 1.5, "valid": 1, "ms": 500, "aligned_psnr": 20,
            "score": 5, "clean_score": 4, "gain": 0.25, "robust_rel_gain": 1 / 4.000001, "robust_abs_gain": 0.1,
            "attack_ms": 2000, "queries": 10, "linf": 4,
        },
    }  # fmt: skip
    lines = [
        f"a.png,standin,{attack},{defense},false,{measure},{float(value)!r}"
        for (attack, defense), measures in expected.items()
        for measure, value in measures.items()
    ]
    text = (folder.root / "results.csv").read_text()
    assert text == "image,metric,attack,defense,adaptive,measure,value\n" + "\n".join(lines) + "\n"


def test_parquet_holds_the_same_table(choices):
    parquet = pytest.importorskip("pyarrow.parquet")
    manifest, folder = performed(choices)
    found = cells.read(manifest, folder).cells
    cells.write_csv(found, folder.root / "results.csv")
    assert cells.write_parquet(found, folder.root / "results.parquet")
    table = parquet.read_table(folder.root / "results.parquet").to_pylist()
    with (folder.root / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [{**row, "value": float(row["value"]), "adaptive": row["adaptive"] == "true"} for row in rows] == table


def test_the_report_is_one_file_with_every_defense_plot_and_picture(choices):
    manifest, folder = performed(choices)
    whole.write(manifest, cells.read(manifest, folder), folder)
    text, page = (folder.root / "report.md").read_text(), (folder.root / "report.html").read_text()
    for row in ("| random-noise | ", "| flip | ", "| none | ", "| image | broken.png | the file is not a PNG"):
        assert row in text
    assert "### Adaptive attacks" in text
    shown = re.findall(r"!\[.*\]\((.*)\)", text)
    assert len(shown) == 3 + 3 + 2  # three plots, non-adaptive and adaptive, and a sheet for every picture
    assert all((folder.root / name).is_file() for name in shown)
    assert page.count('src="data:image/') == len(shown)
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    alternatives = re.findall(r'alt="(.*?)"', page)
    assert len(set(alternatives)) == len(shown), "each picture is told from the others"
    assert "Higher scores are better; range 0 to 10" in text
    assert "Incomplete" not in text


@pytest.mark.usefixtures("undrawn")
def test_a_study_of_few_pictures_says_that_its_intervals_are_too_narrow(choices):
    manifest, folder = performed(choices)
    findings, [one, other] = cells.read(manifest, folder), manifest.parameters.pictures
    for count, is_told in ((2, True), (19, True), (20, False), (1, False)):  # of one there are none
        chosen = manifest.parameters.model_copy(update={"pictures": (one, *[other] * (count - 1))})
        whole.write(manifest.model_copy(update={"parameters": chosen}), findings, folder)
        told = f"**With only {count} pictures, intervals are too narrow:**" in (folder.root / "report.md").read_text()
        assert told == is_told, count


@pytest.mark.usefixtures("undrawn")
def test_the_report_tells_how_often_an_attack_goes_its_way_because_gain_has_no_direction(choices):
    both = 'ifgsm,{"name": "ifgsm", "goal": "lower"}'
    manifest, folder = performed(dataclasses.replace(choices, attacks=both, defenses="none", adaptive=None))
    findings = cells.read(manifest, folder)
    turned = next(one for one in findings.cells if one.attack == "ifgsm")
    turned.measures["score"] = turned.measures["clean_score"] - 1
    whole.write(manifest, findings, folder)
    section = (folder.root / "report.md").read_text().split("### The attacks, undefended")[1].split("###")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| ifgsm")]
    ways = {row[1].strip(): row[3].strip() for row in rows}
    assert ways == {"ifgsm": "50%", "ifgsm(goal=lower)": "100%"}


def test_pictures_are_stored_as_they_are_scored(choices):
    _, folder = performed(choices)
    clean, _ = decode(folder.clean_picture("a.png").read_bytes())
    assert torch.equal(clean, decode((choices.images / "a.png").read_bytes())[0])
