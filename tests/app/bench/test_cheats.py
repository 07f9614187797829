"""The report tells what one attacked picture gains among honest ones, on cells whose numbers are known."""

import pytest
from standin_metrics import Standin

from app.bench.cells import CLEAN, Cell, Findings
from app.bench.choices import Choices, draft
from app.bench.folder import Folder
from app.bench.parameters import Pair
from app.bench.report import whole
from app.bench.report.cheats import cheats, standings
from models.metrics import metrics

PICTURES = ["a.png", "b.png", "c.png", "d.png"]
MOS = {"a.png": 1.0, "b.png": 2.0, "c.png": 3.0}
SCORES = {
    (CLEAN, "none"): [1, 2, 3, 4], ("ifgsm", "none"): [9, 9, 9, 9], ("fgsm(goal=lower)", "none"): [0, 0, 0, 0],
    (CLEAN, "jpeg"): [1, 2, 3, 4], ("ifgsm", "jpeg"): [1, 3.5, 3.5, 4], ("fgsm(goal=lower)", "jpeg"): [0, 0, 0, 0],
}  # fmt: skip


def study(tmp_path, monkeypatch, *, higher_is_better=True):
    monkeypatch.setitem(metrics(), "standin", Standin(higher_is_better=higher_is_better))
    attacks = 'ifgsm,{"name":"fgsm","goal":"lower"}'
    choices = Choices(tmp_path, tmp_path / "out", attacks=attacks, defenses="jpeg", metrics="standin")
    manifest = draft(choices, "1")
    assert {attack.label for attack in manifest.parameters.attacks} == {attack for attack, _ in SCORES} - {CLEAN}
    sign = 1 if higher_is_better else -1
    return manifest, [
        Cell(image, "standin", attack, defense, False, {"score": sign * score})
        for (attack, defense), row in SCORES.items() for image, score in zip(PICTURES, row, strict=True)
    ]  # fmt: skip


def rows(text):
    lines = [line.strip("| ").split(" | ") for line in text if line[:2] == "| "]
    return {line[0]: [cell.split(" ")[0] for cell in line[1:]] for line in lines[1:]}


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_the_best_defense_comes_first_and_attacks_that_lower_do_not_count(tmp_path, monkeypatch, higher_is_better):
    manifest, cells = study(tmp_path, monkeypatch, higher_is_better=higher_is_better)
    found = rows(cheats(standings(manifest, cells, "standin")))
    # behind jpeg b passes c, and c nobody; undefended all come out on top
    assert found == {"jpeg": [f"{1 / 12:.3f}", "4"], "none": ["0.500", "4"]}
    assert list(found) == ["jpeg", "none"]


def test_with_opinions_it_tells_how_many_pairs_stay_in_order(tmp_path, monkeypatch):
    manifest, cells = study(tmp_path, monkeypatch)
    found = rows(cheats(standings(manifest.model_copy(update={"opinions": MOS}), cells, "standin")))
    assert found["none"][1:3] == ["1.000", "0.000"]
    assert found["jpeg"][1:3] == ["1.000", f"{2 / 3:.3f}"]


def test_the_plot_is_shown_where_there_are_opinions(tmp_path, monkeypatch):
    manifest, cells = study(tmp_path, monkeypatch)
    folder, findings = Folder(tmp_path / "out"), Findings(cells=cells)
    for opinions, is_shown in (({}, False), (MOS, True)):
        text = "\n".join(whole._cheats(manifest.model_copy(update={"opinions": opinions}), findings, folder, "standin"))
        file = "plots/standin/cheats.png"
        assert (f"![One picture cheats: standin]({file})" in text, (folder.root / file).is_file()) == (
            is_shown,
            is_shown,
        )


def test_attacks_through_a_defense_stand_beside_those_that_know_nothing(tmp_path, monkeypatch):
    manifest, cells = study(tmp_path, monkeypatch)
    cells += [Cell(image, "standin", "ifgsm", "jpeg", True, {"score": 9}) for image in PICTURES]
    found = rows(cheats(standings(manifest, cells, "standin")))
    assert found == {"jpeg": [f"{1 / 12:.3f}", "0.500", "4"], "none": ["0.500", "-", "4"]}


@pytest.mark.parametrize("missing", ["an attack", "a picture"])
def test_attacks_that_know_and_that_do_not_are_compared_over_the_same_attacks_and_pictures(
    tmp_path, monkeypatch, missing
):
    manifest, cells = study(tmp_path, monkeypatch)
    climb = f"{1 / 12:.3f}"
    if missing == "an attack":
        attacks = manifest.parameters.attacks
        attacks = (*attacks, attacks[0].model_copy(update={"label": "fgsm"}))
        pairs = (*manifest.parameters.pairs, Pair(attack="fgsm", metric="standin"))
        parameters = manifest.parameters.model_copy(update={"attacks": attacks, "pairs": pairs})
        manifest = manifest.model_copy(update={"parameters": parameters})
        cells += [
            Cell(image, "standin", "fgsm", name, False, {"score": 9}) for image in PICTURES for name in ("none", "jpeg")
        ]
        through, fewer = PICTURES, [climb, "0.500"]
        climb = f"{(1 / 12 + 1 / 2) / 2:.3f}"
    else:
        # of b, c and d c passes nobody, b passes c
        through, fewer = PICTURES[1:], [f"{1 / 6:.3f}", "0.500"]
    cells += [Cell(image, "standin", "ifgsm", "jpeg", True, {"score": 9}) for image in through]
    text = list(cheats(standings(manifest, cells, "standin")))
    assert rows(text) == {"jpeg": [climb, *fewer, "4"], "none": ["0.500", "-", "-", "4"]}
    assert "| climb, same attacks ignore it ↓ | climb, attacks through it ↓ |" in "\n".join(text)


def test_what_was_measured_on_fewer_pictures_or_under_fewer_attacks_is_not_first(tmp_path, monkeypatch):
    manifest, cells = study(tmp_path, monkeypatch)
    fewer = [cell for cell in cells if (cell.defense, cell.image, cell.attack) != ("jpeg", "b.png", "ifgsm")]
    found = rows(cheats(standings(manifest, fewer, "standin")))
    assert list(found) == ["none", "jpeg"]
    assert [found[name][-1] for name in found] == ["4", "3"]
    without = [cell for cell in cells if (cell.defense, cell.attack) != ("jpeg", "ifgsm")]
    assert not list(cheats(standings(manifest, without, "standin"))), (
        "an attack that did not run behind it is not left out"
    )


def test_an_attack_that_cannot_mislead_a_metric_does_not_count_for_it(tmp_path, monkeypatch):
    manifest, cells = study(tmp_path, monkeypatch)
    more = manifest.parameters.attacks[0].model_copy(update={"label": "madc"})
    attacks = (*manifest.parameters.attacks, more)
    grown = manifest.model_copy(update={"parameters": manifest.parameters.model_copy(update={"attacks": attacks})})
    assert standings(grown, cells, "standin") == standings(manifest, cells, "standin") != []


@pytest.mark.parametrize("measured", [0, 1, 2])
def test_an_attack_without_a_number_on_enough_pictures_is_left_out_and_named(tmp_path, monkeypatch, measured):
    manifest, cells = study(tmp_path, monkeypatch)
    complete = list(whole._cheats(manifest, Findings(cells=cells), Folder(tmp_path / "out"), "standin"))
    failed = manifest.parameters.attacks[0].model_copy(update={"label": "madc"})
    more = {
        "attacks": (*manifest.parameters.attacks, failed),
        "pairs": (*manifest.parameters.pairs, Pair(attack="madc", metric="standin")),
    }
    grown = manifest.model_copy(update={"parameters": manifest.parameters.model_copy(update=more)})
    cells += [
        Cell(image, "standin", "madc", name, False, {"score": 9})
        for image in PICTURES[:measured] for name in ("none", "jpeg")
    ]  # fmt: skip
    text = list(whole._cheats(grown, Findings(cells=cells), Folder(tmp_path / "out"), "standin"))
    assert [line for line in text if line not in complete] == [
        "Left out, because measured on fewer than 3 pictures: madc."
    ]
    assert rows(text) == rows(complete) != {}


def test_nothing_is_told_of_two_pictures_or_of_one_defense(tmp_path, monkeypatch):
    manifest, cells = study(tmp_path, monkeypatch)
    assert not list(cheats(standings(manifest, [cell for cell in cells if cell.image < "c"], "standin")))
    assert not list(cheats(standings(manifest, [cell for cell in cells if cell.defense == "none"], "standin")))
