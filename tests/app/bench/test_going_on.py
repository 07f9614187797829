"""A folder takes more of everything up to its report, and never mixes what could differ without saying so."""

import dataclasses
import json

import pytest
import torch
from standin_metrics import Standin, photograph_like

from app.bench import study
from app.bench.choices import Choices, draft, settle
from app.bench.folder import Folder
from app.bench.items import BenchError
from app.bench.units import units_of
from models.attack import Goal
from models.defenses import parse_defense
from models.metric import UndefinedScoreError
from models.metrics import metrics
from models.perturbation.universal import Recipe, learn, save

pytestmark = pytest.mark.usefixtures("undrawn")

NO_TIME = ("ms", "attack_ms")


class Other(Standin):
    """The stand-in with a name of its own, and another scale."""

    def __init__(self):
        super().__init__()
        self.card = self.card.model_copy(update={"name": "other"})

    def score(self, images):
        return 10 - super().score(images) / 2


@pytest.fixture
def choices(photos, tmp_path, standin, monkeypatch):
    monkeypatch.setitem(metrics(), "other", Other())
    return Choices(photos, tmp_path / "out", attacks="fgsm", defenses="flip", metrics="standin")


def numbers(outcome):
    return {
        (cell.image, cell.metric, cell.attack, cell.defense, cell.adaptive):
            {name: value for name, value in cell.measures.items() if name not in NO_TIME}
        for cell in outcome.findings.cells
    }  # fmt: skip


def run(choices, version="1"):
    return study.run(choices, version, study.Means(jobs=1))


def in_process(choices, monkeypatch):
    """Let steps be done here, where the metrics of the tests are known."""
    from app.bench import pool
    from app.bench.perform import Ended, perform

    def work(units, root, device, jobs, tell, deadline=None):
        for unit in units:
            for message in perform(unit, Folder(root), device):
                if isinstance(message, Ended):
                    tell(unit, message)
        return True

    monkeypatch.setattr(pool, "run", work)


def test_a_metric_that_is_added_is_measured_on_what_was_finished_too(choices, monkeypatch, tmp_path):
    in_process(choices, monkeypatch)
    before = numbers(run(choices))
    grown = numbers(run(dataclasses.replace(choices, metrics="standin,other", add=True)))
    at_once = numbers(run(dataclasses.replace(choices, metrics="standin,other", out=tmp_path / "at-once")))
    assert grown == at_once
    assert len(grown) == 2 * len(before)
    assert before.items() <= grown.items()


def test_a_metric_without_a_score_takes_no_other_metrics_results_with_it(choices, monkeypatch):
    in_process(choices, monkeypatch)
    alone = numbers(run(dataclasses.replace(choices, out=choices.out.with_name("alone"))))
    clean = (choices.images / "a.png").read_bytes()

    def undefined(self, images):
        from models.images import decode

        if torch.equal(images, decode(clean)[0]):
            raise UndefinedScoreError("other is not defined for this image")
        return Standin.score(self, images)

    monkeypatch.setattr(Other, "score", undefined)
    outcome = run(dataclasses.replace(choices, metrics="standin,other"))
    found = numbers(outcome)
    assert alone.items() <= found.items()
    assert not [place for place in found if place[:2] == ("a.png", "other")], "Gain needs the clean score"
    assert {place[2:4] for place in found if place[:2] == ("b.png", "other")} >= {("clean", "none"), ("fgsm", "flip")}
    assert outcome.findings.done == outcome.findings.steps
    assert sorted((one.place, one.step) for one in outcome.findings.unscored) == [
        ("clean/a.png", "none"),
        ("other/fgsm/a.png", "attack"),
    ]
    text = (choices.out / "report.md").read_text()
    assert "## Without a score (2)" in text
    assert "other: UndefinedScoreError: other is not defined for this image" in text


def test_a_metric_that_cannot_be_added_leaves_what_was_measured(choices, monkeypatch):
    in_process(choices, monkeypatch)
    before = numbers(run(choices))

    def no_memory(self, images):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(Other, "score", no_memory)
    outcome = run(dataclasses.replace(choices, metrics="standin,other", add=True))
    assert numbers(outcome) == before
    assert {(one.place, one.step) for one in outcome.findings.failures} >= {
        ("clean/a.png", "none"),
        ("clean/a.png", "flip"),
    }
    assert outcome.findings.done < outcome.findings.steps, "what failed is tried again by the same command"


def test_a_clean_score_of_zero_ends_in_a_report_with_a_doubt(choices, monkeypatch):
    in_process(choices, monkeypatch)
    real = Standin.score
    monkeypatch.setattr(Standin, "score", lambda self, images: real(self, images) - real(self, images).detach())
    outcome = run(choices)
    assert not [cell for cell in outcome.findings.cells if "gain" in cell.measures or "clean_shift" in cell.measures]
    assert "clean-score-near-zero" in (choices.out / "report.md").read_text()


def test_another_version_does_not_go_on_in_the_folder(choices):
    settle(choices, draft(choices, "1"))
    with pytest.raises(
        BenchError, match=r"a study by PurifIQA 1, and this is 2: numbers could differ\. Name another --out"
    ):
        settle(dataclasses.replace(choices, add=True), draft(choices, "2"))


def test_changed_code_or_weights_go_on_and_the_report_says_so_if_they_did_anything(choices, monkeypatch):
    in_process(choices, monkeypatch)
    first = run(choices).manifest
    assert len(first.states) == 1
    monkeypatch.setattr("app.bench.study.state_of_things", lambda: "ffffffffffff")
    assert run(choices).manifest.states == first.states, "nothing was left to do"
    assert "states of the code" not in (choices.out / "report.md").read_text()
    assert run(dataclasses.replace(choices, attacks="fgsm,ifgsm", add=True)).manifest.states == (
        *first.states,
        "f" * 12,
    )
    told = f"**Made with 2 states of the code or the weights** ({first.states[0]}, ffffffffffff)"
    assert told in (choices.out / "report.md").read_text()


@pytest.mark.parametrize("size", ["32x32", "native"])
def test_pictures_that_a_command_left_before_it_began_are_made_anew(choices, size, monkeypatch):
    in_process(choices, monkeypatch)
    (choices.images / "opinions.csv").write_text("file,mos\na.png,1\n")
    with pytest.raises(BenchError, match="opinions on 1 of 2 images"):
        run(dataclasses.replace(choices, size="48x48", mos=choices.images / "opinions.csv"))
    fresh = numbers(run(dataclasses.replace(choices, out=choices.out.with_name("fresh"), size=size)))
    assert numbers(run(dataclasses.replace(choices, size=size))) == fresh


def test_records_of_which_no_manifest_tells_are_not_taken_for_those_of_another_study(choices, monkeypatch):
    in_process(choices, monkeypatch)
    run(choices)
    (choices.out / "manifest.json").unlink()
    with pytest.raises(
        BenchError, match=r"has records of a study, but its manifest\.json is missing; name another --out"
    ):
        run(dataclasses.replace(choices, seed=1))


def test_results_of_another_study_among_the_pictures_are_no_pictures(choices, monkeypatch):
    in_process(choices, monkeypatch)
    earlier, now = (dataclasses.replace(choices, out=choices.images / "below" / name) for name in ("earlier", "now"))
    names = [picture.name for picture in run(earlier).manifest.parameters.pictures]
    manifest = run(now).manifest
    assert [picture.name for picture in manifest.parameters.pictures] == names
    assert ("below/earlier", "it holds the results of a study") in {(one.name, one.reason) for one in manifest.skipped}


@pytest.fixture
def pattern(tmp_path):
    file = tmp_path / "pattern.safetensors"
    images = photograph_like(2, 64, 64)
    save(learn(images, Standin(), Recipe(goal=Goal.RAISE, side=32, epochs=1)), file)
    return file


def test_a_learned_pattern_attacks_its_own_metric_and_goes_through_no_defense(choices, pattern):
    attacks = json.dumps({"name": "uap", "file": str(pattern)})
    both = dataclasses.replace(choices, attacks=f"{attacks},fgsm", metrics="standin,other", adaptive="all")
    manifest = settle(both, draft(both, "1"))
    label = next(attack.label for attack in manifest.parameters.attacks if attack.label != "fgsm")
    units = [unit for unit in units_of(manifest.parameters) if unit.attack and unit.picture.name == "a.png"]
    assert {
        (unit.metrics[0].label, unit.through and unit.through.label) for unit in units if unit.attack.label == label
    } == {("standin", None)}
    assert len([unit for unit in units if unit.attack.label == "fgsm"]) == 4
    skipped = {one.name: one.reason for one in manifest.skipped if one.kind == "pair"}
    assert skipped == {
        f"{label} on other": f"{label} was learned on another metric than other, version 1",
        f"{label} through flip": "it was not learned through this defense",
    }


@pytest.mark.parametrize("through", ["flip", "none"])
def test_a_pattern_that_was_learned_through_a_defense_is_no_attack_that_knows_of_none(choices, tmp_path, through):
    pattern = tmp_path / "pattern.safetensors"
    save(learn(photograph_like(2, 64, 64), Standin(), Recipe(side=32, epochs=1), parse_defense(through)), pattern)
    attacks = f"{json.dumps({'name': 'uap', 'file': str(pattern)})},fgsm"
    named = dataclasses.replace(choices, attacks=attacks, defenses="flip,jpeg", adaptive="all")
    manifest = settle(named, draft(named, "1"))
    label = next(attack.label for attack in manifest.parameters.attacks if attack.label != "fgsm")
    units = [unit for unit in units_of(manifest.parameters) if unit.attack and unit.picture.name == "a.png"]
    ways = {unit.through and unit.through.label for unit in units if unit.attack.label == label}
    skipped = {one.name: one.reason for one in manifest.skipped if one.kind == "pair"}
    without = "it was not learned through this defense"
    if through == "none":
        assert ways == {None}
        assert skipped == {f"{label} through flip": without, f"{label} through jpeg": without}
        return
    assert ways == {"flip"}
    reason = "it was learned through a defense, so it is not an attack on the undefended metric"
    assert skipped == {f"{label} through nothing": reason, f"{label} through jpeg": without}
    assert [unit.attack.label for unit in units if unit.keeps_purified] == ["fgsm"], "the first that has all defenses"
    with pytest.raises(
        BenchError, match="was learned through a defense: name that defense, with the same parameters, with --adaptive"
    ):
        draft(dataclasses.replace(named, adaptive="jpeg"), "1")


def test_what_a_pattern_does_through_its_defense_is_told_of_attacks_through_it_only(choices, tmp_path, monkeypatch):
    pattern = tmp_path / "pattern.safetensors"
    save(learn(photograph_like(2, 64, 64), Standin(), Recipe(side=32, epochs=1), parse_defense("flip")), pattern)
    attack = json.dumps({"name": "uap", "file": str(pattern)})
    in_process(choices, monkeypatch)
    outcome = run(dataclasses.replace(choices, attacks=f"{attack},fgsm", adaptive="flip"))
    assert (outcome.findings.done, outcome.findings.failures) == (outcome.findings.steps, [])
    its = [cell for cell in outcome.findings.cells if cell.attack.startswith("uap")]
    assert {(cell.defense, cell.adaptive) for cell in its} == {("flip", True)}
    assert all({"gain", "movement", "clean_score", "score"} <= cell.measures.keys() for cell in its)


def test_another_pattern_in_the_same_file_is_another_study(choices, pattern):
    named = dataclasses.replace(choices, attacks=json.dumps({"name": "uap", "file": str(pattern)}))
    settle(named, draft(named, "1"))
    assert settle(named, draft(named, "1"))
    save(learn(photograph_like(1, 64, 64, seed=9), Standin(), Recipe(side=32, epochs=1)), pattern)
    for add in (False, True):
        with pytest.raises(BenchError, match="files"):
            settle(dataclasses.replace(named, add=add), draft(named, "1"))
