"""The report tells which attacks show in two scores, on cells whose numbers are known."""

import pytest
from standin_metrics import Standin

from app.bench.cells import CLEAN, Cell, Findings
from app.bench.choices import Choices, draft
from app.bench.folder import Folder
from app.bench.report import whole
from app.bench.report.checks import checks, section
from models.metrics import metrics

PICTURES = [f"{number:02}.png" for number in range(40)]
ATTACKS = "ifgsm,ifgsm(both=true),fgsm(goal=lower)"


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    monkeypatch.setitem(metrics(), "standin", Standin())
    choices = Choices(tmp_path, tmp_path / "out", attacks=ATTACKS, defenses="jpeg", metrics="standin", adaptive="jpeg")
    return draft(choices, "1")


def honest():
    """Scores 0, 1, 2, ... undefended, each less by one behind the defense, give or take a little."""
    for place, picture in enumerate(PICTURES):
        behind = place - 1 + (place * 7 % 40 - 20) / 100
        yield Cell(picture, "standin", CLEAN, "jpeg", False, {"clean_score": place, "score": behind})


def attacked(label, undefended, defended, *, adaptive=False, pictures=PICTURES):
    """Scores that an attack raised by so much, before and behind the defense."""
    for one in honest():
        if one.image in pictures:
            scores = {"attacked_score": one.measures["clean_score"] + undefended}
            scores["score"] = one.measures["score"] + defended
            yield Cell(one.image, "standin", label, "jpeg", adaptive, scores)


def test_an_attack_shows_unless_it_raises_both_scores_alike(manifest):
    cells = [
        *honest(), *attacked("ifgsm", 20, 2), *attacked("ifgsm", 1, 20, adaptive=True),
        *attacked("ifgsm(both=true)", 20, 20, adaptive=True),
    ]  # fmt: skip
    found = {one.attacker: one for one in checks(manifest, cells, "standin")}
    assert {attacker: one.caught.value for attacker, one in found.items()} == pytest.approx(
        {"ignores it": 1, "through it": 1, "through it, both scores": found["ignores it"].false_alarms.value}
    )
    assert found["ignores it"].honest == pytest.approx((-1.19025, -0.81975))
    assert found["through it"].climb.value > 0.3
    assert found["through it"].climb_left.value == 0
    both = found["through it, both scores"]
    assert both.climb.value >= both.climb_left.value > 0.85 * both.climb.value, "a false alarm stops a cheat too"


def test_the_report_has_a_row_for_each_attacker_and_a_column_for_each_attack(manifest):
    cells = [*honest(), *attacked("ifgsm", 20, 2), *attacked("ifgsm", 0, 20, adaptive=True)]
    text = list(section(checks(manifest, cells, "standin")))
    rows = [line.strip("| ").split(" | ") for line in text if line.startswith("| jpeg")]
    assert [row[1] for row in rows] == ["ignores it", "through it"]
    assert {row[2] for row in rows} == {"-1.19 to -0.82"}
    assert [row[4][:5] for row in rows] == ["1.000", "1.000"]


def test_what_lowers_or_was_measured_without_its_undefended_score_does_not_count(manifest):
    without = [Cell(one.image, "standin", "ifgsm", "jpeg", False, {"score": 5}) for one in honest()]
    assert checks(manifest, [*honest(), *without, *attacked("fgsm(goal=lower)", -20, -2)], "standin") == []
    assert not list(section([]))


def test_an_attack_on_too_few_pictures_takes_the_others_no_pictures(manifest):
    few = attacked("ifgsm", 20, 2, pictures=PICTURES[:5])
    assert checks(manifest, [*honest(), *few], "standin") == []
    parameters = manifest.parameters
    more = (*parameters.attacks, parameters.attacks[0].model_copy(update={"label": "other"}))
    grown = manifest.model_copy(update={"parameters": parameters.model_copy(update={"attacks": more})})
    few = attacked("ifgsm", 20, 2, pictures=PICTURES[:5])
    [found] = checks(grown, [*honest(), *few, *attacked("other", 20, 2)], "standin")
    assert (found.caught.n, list(found.by_attack)) == (40, ["other"])


def test_the_plot_of_shifts_is_part_of_the_report(manifest, tmp_path):
    cells = [*honest(), *attacked("ifgsm", 20, 2)]
    text = "\n".join(whole._checks(manifest, Findings(cells=cells), Folder(tmp_path / "out"), "standin"))
    assert "![Shift of honest and attacked pictures: standin](plots/standin/shifts.png)" in text
    assert (tmp_path / "out" / "plots" / "standin" / "shifts.png").stat().st_size > 10_000
