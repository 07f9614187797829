"""What the report concludes, on cells whose numbers are known."""

import pytest

from app.bench.cells import CLEAN, Cell
from app.bench.items import find_attacks, find_defenses, find_metrics, label_of
from app.bench.parameters import Parameters
from app.bench.report import beside_the_paper, wins


def parameters(attacks, defenses):
    return Parameters(
        size=None, seed=0, device="cpu", pictures=(), metrics=find_metrics(["entropy"], is_preset=False).items,
        attacks=find_attacks(attacks, is_preset=False).items,
        defenses=find_defenses(defenses, is_preset=False).items, pairs=(), gallery=0, adaptive=(),
    )  # fmt: skip


def cell(defense, gain, quality=0.5, *, attack="ifgsm", adaptive=False, image="a", movement=0.1):
    measures = {"gain": gain, "aligned_quality": quality, "quality": quality, "ms": 1}
    return Cell(image, "entropy", attack, defense, adaptive, {**measures, "movement": movement})


def rows(lines):
    table = [line for line in lines if line.startswith("| ") and not line.startswith("| defense")]
    return {
        cells[0].strip(): [one.strip() for one in cells[1:]] for cells in (row.strip("|").split("|") for row in table)
    }


def test_on_the_front_is_what_no_other_beats_in_both():
    cells = [
        cell("none", 0.8, 0.9),
        cell("jpeg", 0.1, 0.6, movement=0.3),
        cell("resize", 0.2, 0.55),
        cell("flip", 0.3, 0.7),
    ]
    cells.append(Cell("a", "entropy", CLEAN, "jpeg", False, {"clean_shift": -0.25, "ms": 3}))
    found = rows(wins.winners(cells, parameters(["ifgsm"], ["jpeg", "resize", "flip"]), "entropy"))
    assert {defense: row[-1] for defense, row in found.items()} == {
        "jpeg": "1", "resize": "1", "flip": "1", "none": "1",
    }  # fmt: skip
    assert {defense: row[-2] for defense, row in found.items()} == {
        "jpeg": "yes", "resize": "", "flip": "yes", "none": "yes",
    }  # fmt: skip
    assert found["jpeg"][:2] == ["0.100", "0.300"]
    assert found["jpeg"][5:8] == ["-0.250", "0.250", "2"]
    assert list(found) == ["jpeg", "resize", "flip", "none"]


def test_as_good_in_one_and_worse_in_the_other_is_not_on_the_front():
    cells = [cell("none", 0.8, 0.7), cell("flip", 0.3, 0.7), cell("jpeg", 0.3, 0.6), cell("resize", 0.3, 0.7)]
    found = rows(wins.winners(cells, parameters(["ifgsm"], ["flip", "jpeg", "resize"]), "entropy"))
    assert {defense for defense, row in found.items() if row[-2] == "yes"} == {"flip", "resize"}


def test_a_defense_that_was_measured_on_fewer_pictures_is_not_on_the_front():
    cells = [
        *(cell("none", 0.8, 0.4, image=image) for image in "ab"),
        *(cell("median-blur", 0.3, image=image) for image in "ab"),
        cell("jpeg", 0.1, 0.9),
    ]
    found = rows(wins.winners(cells, parameters(["ifgsm"], ["jpeg", "median-blur"]), "entropy"))
    assert {defense: row[-2:] for defense, row in found.items()} == {
        "jpeg": ["-", "1"], "median-blur": ["yes", "2"], "none": ["", "2"],
    }  # fmt: skip


def test_a_clean_score_of_zero_has_no_shift_and_stops_nothing():
    cells = [cell("none", 0.8), cell("jpeg", 0.1), cell("jpeg", 0.2, image="b")]
    cells += [Cell("a", "entropy", CLEAN, "jpeg", False, {"clean_shift": 0.5, "ms": 3})]
    cells += [Cell("b", "entropy", CLEAN, "jpeg", False, {"ms": 3})]
    assert rows(wins.winners(cells, parameters(["ifgsm"], ["jpeg"]), "entropy"))["jpeg"][6] == "0.500"


@pytest.mark.parametrize(("after", "collapses"), [(0.1, ""), (0.44, ""), (0.46, "yes"), (0.9, "yes")])
def test_a_defense_collapses_if_half_of_what_it_took_off_is_gone(after, collapses):
    other = [cell("none", 0.1, image="b"), cell("jpeg", 0.9, image="b")]  # was not attacked through: does not count
    cells = [*other, cell("none", 0.8), cell("jpeg", 0.1), cell("jpeg", after, adaptive=True, movement=0.7)]
    found = rows(wins.falls(cells, parameters(["ifgsm"], ["jpeg"]), "entropy"))
    assert found == {"jpeg": ["0.800", "0.100", f"{after:.3f}", "0.100", "0.700", collapses, "1"]}


def test_before_and_after_are_of_the_same_attacked_pictures():
    cells = [cell("none", 0.8), cell("jpeg", 0.1), cell("jpeg", 0.2, adaptive=True, movement=0.7)]
    cells += [cell("jpeg", 0.9, image="b", adaptive=True), cell("none", 0.9, image="b")]  # jpeg failed before
    cells += [cell("jpeg", 0.9, image="c", adaptive=True), cell("jpeg", 0.7, image="c")]
    found = rows(wins.falls(cells, parameters(["ifgsm"], ["jpeg"]), "entropy"))
    assert found == {"jpeg": ["0.800", "0.100", "0.200", "0.100", "0.700", "", "1"]}


def test_a_defense_that_took_nothing_off_cannot_collapse():
    cells = [cell("none", 0.1), cell("jpeg", 0.2), cell("jpeg", 0.9, adaptive=True)]
    assert rows(wins.falls(cells, parameters(["ifgsm"], ["jpeg"]), "entropy"))["jpeg"][-2] == ""


PAPERS = {
    "resize": '{"name":"resize","antialias":false}',
    "rotate": '{"name":"rotate","interpolation":"nearest","border":"zeros"}',
    "jpeg": '{"name":"jpeg","channel_order":"bgr"}',
}


def test_the_papers_numbers_stand_beside_ours_over_the_same_attacks():
    ours = {"none": 0.9, "flip": 0.4, "jpeg": 0.3, "median-blur": 0.5, "rotate": 0.6, "fcn": 0.8}
    texts = [PAPERS.get(name, name) for name in ours]
    labels = {name: label_of(text) for name, text in zip(ours, texts, strict=True)}
    cells = [cell(labels[name], gain, attack=attack) for name, gain in ours.items() for attack in ("ifgsm", "madc")]
    text = list(
        beside_the_paper.comparison(cells, parameters(["ifgsm", "madc", "square"], [*texts, "unsharp"]), "entropy")
    )
    found = rows(text)
    assert found[labels["jpeg"]] == [f"{(0.079 + 0.14) / 2:.3f}", "0.300", f"{(0.601 + 0.642) / 2:.3f}", "0.500"]
    order = ["flip", "median-blur", "jpeg", "rotate", "fcn", "none"]  # by the paper's Gain
    assert list(found)[:6] == [labels[name] for name in order]
    assert found["all of them"] == ["0.70 (n = 5)", "-"]
    assert "square" not in "".join(text)


def test_a_defense_with_other_parameters_than_the_papers_does_not_stand_beside_it():
    texts = ["flip", "fcn", '{"name":"jpeg","quality":5}', PAPERS["jpeg"]]
    cells = [cell(label_of(text), 0.3) for text in ("none", *texts)]
    found = rows(beside_the_paper.comparison(cells, parameters(["ifgsm"], texts), "entropy"))
    assert {name for name in found if "jpeg" in name} == {"jpeg(channel_order=bgr)"}


def test_attacks_that_were_not_made_do_not_count_in_the_papers_means():
    texts = ["flip", "fcn", PAPERS["jpeg"]]
    cells = [cell(label_of(text), 0.3, attack="madc") for text in ("none", *texts)]
    lines = list(beside_the_paper.comparison(cells, parameters(["madc", "zhang-ssim"], texts), "entropy"))
    assert rows(lines)["fcn"][0] == "0.163"
    assert set(rows(lines)) - {"none", "fcn", "flip", label_of(PAPERS["jpeg"])} == {"all of them", "attacks", "madc"}


def test_too_few_defenses_of_the_paper_are_not_compared():
    cells = [cell("none", 0.9), cell("jpeg", 0.1)]
    assert not list(beside_the_paper.comparison(cells, parameters(["ifgsm"], ["jpeg"]), "entropy"))


def test_the_transcribed_numbers_average_to_the_papers_own_means():
    attacks = list(beside_the_paper.GROUPS)
    means = {"none": 0.813, "resize": 0.097, "jpeg": 0.094, "fcn": 0.437, "flip": 0.075, "gaussian-blur": 0.122,
             "median-blur": 0.119, "random-crop": 0.259, "rotate": 0.244}  # fmt: skip
    for name, gain in means.items():
        assert beside_the_paper._paper(name, attacks, 1) == pytest.approx(gain, abs=0.01), name  # as read off plots
