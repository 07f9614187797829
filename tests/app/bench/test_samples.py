"""A study can score random defenses as the service does: by the median of several seeds."""

import csv
import dataclasses
import statistics
from importlib.metadata import version

import pytest
from standin_metrics import Standin
from studies import TIMES

from app.bench import study
from app.bench.choices import Choices, draft, settle
from app.bench.folder import DefenseRecord, Folder
from app.bench.items import BenchError
from app.bench.perform import perform
from app.bench.units import units_of
from app.command.client import Client
from models.defenses import parse_defense
from models.metric import UndefinedScoreError
from models.noise import derive_seed

pytestmark = pytest.mark.usefixtures("undrawn")

SAMPLES = 4


@pytest.fixture
def choices(photos, tmp_path, standin):
    return Choices(
        photos, tmp_path / "out", attacks="fgsm", defenses="random-noise,flip", metrics="standin", samples=SAMPLES
    )


def performed(choices):
    manifest, folder = settle(choices, draft(choices, "1")), Folder(choices.out)
    for unit in units_of(manifest.parameters):
        list(perform(unit, folder, "cpu"))
        yield unit, {step: one for step, one in folder.records(unit).items() if isinstance(one, DefenseRecord)}, folder


def test_a_random_defense_is_scored_by_the_median_and_the_picture_is_that_of_the_first_seed(choices, standin):
    noise, flip = parse_defense("random-noise"), parse_defense("flip")
    alone = performed(dataclasses.replace(choices, out=choices.out.with_name("alone"), samples=1))
    for (unit, records, folder), (_, once, _) in zip(performed(choices), alone, strict=True):
        image = folder.read_attacked(unit) if unit.attack else folder.read_clean(unit)
        scores = [float(standin(noise(image, derive_seed(unit.picture.seed, n)))) for n in range(SAMPLES)]
        assert len({*scores}) == SAMPLES
        assert records["random-noise"].scores["standin"] == statistics.median(scores)
        assert once["random-noise"].scores["standin"] == scores[0]
        assert records["random-noise"].psnr == once["random-noise"].psnr
        assert records["flip"].scores == once["flip"].scores == {"standin": float(standin(flip(image)))}


def test_a_defense_that_is_not_random_is_asked_once(choices, monkeypatch):
    calls = []
    score = Standin.score
    monkeypatch.setattr(Standin, "score", lambda self, images: calls.append(0) or score(self, images))
    one = dataclasses.replace(choices, limit=1, samples=20)
    for unit, _, _ in performed(one):
        if unit.attack is None:
            assert 20 + 2 <= len(calls) <= 20 + 2 + 3, "random-noise, none and flip; warming up besides"


def test_a_picture_that_one_of_the_seeds_leaves_without_a_score_has_none(choices, monkeypatch):
    scored, score = [], Standin.score

    def rarely(self, images):
        scored.append(images)
        if len(scored) == SAMPLES:
            raise UndefinedScoreError("not this one")
        return score(self, images)

    parameters = settle(choices, draft(choices, "1")).parameters
    noise = next(one for one in parameters.defenses if one.label == "random-noise")
    unit = next(units_of(parameters)).model_copy(update={"defenses": (noise,)})
    monkeypatch.setattr(Standin, "score", rarely)
    list(perform(unit, Folder(choices.out), "cpu"))
    records, failed = Folder(choices.out).told(unit)
    assert not failed
    assert records["random-noise"].scores == {}
    assert "not this one" in records["random-noise"].unscored["standin"]


def test_a_study_is_not_mixed_of_scores_of_one_seed_and_of_several(choices):
    settle(choices, draft(choices, "1"))
    other = dataclasses.replace(choices, samples=1)
    with pytest.raises(BenchError, match="samples"):
        settle(other, draft(other, "1"))


@pytest.mark.slow
def test_a_service_gives_the_same_medians_and_is_asked_for_them_of_random_defenses_only(
    choices, server, tmp_path, monkeypatch
):
    real = dataclasses.replace(choices, metrics="fr-surrogate", limit=1)
    asked, order = [], Client.order
    monkeypatch.setattr(
        Client, "order", lambda self, kind, *more, **headers: asked.append(kind) or order(self, kind, *more, **headers)
    )
    tables = []
    for name, url in (("here", None), ("there", server)):
        study.run(dataclasses.replace(real, out=tmp_path / name), version("purifiqa"), study.Means(jobs=1, server=url))
        with (tmp_path / name / "results.csv").open() as file:
            tables.append([row for row in csv.reader(file) if row[5] not in TIMES])
    assert tables[0] == tables[1]
    assert "by the median of 4 seeds" in (tmp_path / "there" / "report.md").read_text()
    assert (asked.count("purify"), asked.count("score")) == (6, 2)
