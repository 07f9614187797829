"""With a service the same study gives the same pictures and tables, and what is wrong with the service is said."""

import dataclasses
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from conftest import served
from standin_metrics import photograph_like
from studies import table

from app.bench import cells, study
from app.bench.choices import Choices, draft, settle
from app.bench.folder import Folder
from app.bench.items import BenchError
from app.bench.perform import perform
from app.bench.server import Server
from app.bench.units import units_of
from app.command.client import Client, ServerError
from app.main import create_app
from app.settings import Settings
from models.availability import AVAILABLE, unavailable
from models.images import ImageFormat, encode
from models.metrics import find_metric
from models.perturbation.universal import Recipe, learn, save

pytestmark = pytest.mark.usefixtures("undrawn")

DEFENSES = 'random-noise,flip,{"name": "random-crop", "size": 48},diffpure'
VERSION = version("purifiqa")


@pytest.fixture
def choices(photos, tmp_path):
    return Choices(
        photos, tmp_path / "here", attacks="ifgsm", defenses=DEFENSES, metrics="fr-surrogate", adaptive="flip", limit=1
    )


@pytest.fixture
def there(server):
    with Server(server) as found:
        yield found


@pytest.fixture(scope="session")
def attacking_server(shared_service):
    """The address of a service that carries out attacks, with the same workers."""
    settings = Settings(**{**shared_service.model_dump(exclude_unset=True), "attacks": True})
    with served(create_app(settings), log_level="warning") as (port, _):
        yield f"http://127.0.0.1:{port}"


def in_process(choices):
    """Do the study in this process; return what is to be done."""
    manifest = settle(choices, draft(choices, VERSION))
    folder = Folder(choices.out)
    for unit in units_of(manifest.parameters):
        list(perform(unit, folder, "cpu"))
    cells.write_csv(cells.read(manifest, folder).cells, choices.out / "results.csv")
    return manifest


def pictures(out, kind):
    return {str(file.relative_to(out)): file.read_bytes() for file in (out / kind).rglob("*.png") if file.is_file()}


def attack_records(manifest, out):
    """What is kept of each attack, but for how long it took."""
    records = {unit.place: Folder(out).records(unit) for unit in units_of(manifest.parameters) if unit.attack}
    return {place: found["attack"].model_dump(exclude={"seconds"}) for place, found in records.items()}


@pytest.fixture
def ordered(monkeypatch):
    """The kinds of the orders that the service gets, and their fields."""
    seen, order = [], Client.order
    monkeypatch.setattr(
        Client,
        "order",
        lambda self, kind, image, fields, **headers: (
            seen.append((kind, fields)) or order(self, kind, image, fields, **headers)
        ),
    )
    return seen


@pytest.mark.parametrize("attacks", ["ordered", "here"])
def test_a_service_gives_the_pictures_and_the_table_that_this_process_gives(
    attacks, choices, request, ordered, tmp_path, capsys
):
    url = request.getfixturevalue("attacking_server" if attacks == "ordered" else "server")
    here = in_process(choices)
    there = dataclasses.replace(choices, out=tmp_path / "there")
    outcome = study.run(there, VERSION, study.Means(jobs=1, server=url, in_flight=3))
    assert (outcome.findings.done, outcome.findings.steps) == (13, 13)
    assert not outcome.interrupted
    assert outcome.manifest.parameters == here.parameters, "either can go on with what the other began"
    assert table(there.out) == table(choices.out)
    assert len(table(there.out)) > 100
    assert attack_records(here, there.out) == attack_records(here, choices.out)
    for kind, count in {"attacked": 2, "purified": 10}.items():
        assert pictures(there.out, kind) == pictures(choices.out, kind)
        assert len(pictures(there.out, kind)) == count
    assert sum(kind == "attack" for kind, _ in ordered) == (2 if attacks == "ordered" else 0)
    why = f"bench: attacked on this machine: ifgsm; {url} does not offer attacks (PURIFIQA_ATTACKS is not set there)"
    assert (why in capsys.readouterr().err.splitlines()) == (attacks == "here")


@pytest.mark.slow
def test_what_the_service_remembers_of_a_study_that_was_killed_is_done_anew(
    choices, attacking_server, tmp_path, monkeypatch
):
    means = study.Means(jobs=1, server=attacking_server)
    with monkeypatch.context() as killed:
        killed.setattr(Client, "erase", lambda *_: None)
        study.run(choices, VERSION, means)
    again = study.run(dataclasses.replace(choices, out=tmp_path / "again"), VERSION, means)
    assert (again.findings.done, again.findings.steps) == (13, 13)
    assert table(tmp_path / "again") == table(choices.out)


def test_an_attack_on_a_metric_without_a_score_is_listed_and_not_ordered_again(choices, attacking_server, ordered):
    (choices.images / "a.png").write_bytes(encode(torch.full((1, 3, 112, 112), 0.5), ImageFormat.PNG))
    flat = dataclasses.replace(choices, defenses="flip", metrics="niqe", size="native")
    found = study.run(flat, VERSION, study.Means(jobs=1, server=attacking_server)).findings
    assert (found.failures, found.cells, found.done) == ([], [], found.steps)
    assert sorted(one.place for one in found.unscored if one.step == "attack") == [
        "niqe/ifgsm--through--flip/a.png",
        "niqe/ifgsm/a.png",
    ]
    ordered.clear()
    assert study.run(flat, VERSION, study.Means(jobs=1, server=attacking_server)).findings == found
    assert not ordered


def test_an_attack_is_ordered_with_what_it_knows_and_nothing_else(choices, attacking_server, ordered):
    def newest():
        with Client(attacking_server) as client:
            return [job["id"] for job in client.send("GET", "/jobs").json()["jobs"]]

    before = newest()
    study.run(choices, VERSION, study.Means(jobs=1, server=attacking_server))
    plain, through = sorted((fields for kind, fields in ordered if kind == "attack"), key=len)
    assert set(plain) == {"attack", "metric", "seed"}, "no defense: the service has a default one"
    assert '"flip"' in through["defense"]
    assert newest() == before, "what was fetched is erased"


@pytest.mark.slow
def test_random_attacks_through_random_defenses_are_the_same_too(choices, attacking_server, tmp_path):
    odd = dataclasses.replace(
        choices, attacks='{"name": "square", "queries": 12},{"name": "ifgsm", "draws": 2}', defenses="random-noise",
        adaptive="all", metrics="fr-surrogate,niqe", size="native", images=choices.images,
    )  # fmt: skip
    (choices.images / "a.png").write_bytes(encode(photograph_like(1, 104, 120), ImageFormat.PNG))
    here = in_process(odd)
    there = dataclasses.replace(odd, out=tmp_path / "there")
    outcome = study.run(there, VERSION, study.Means(jobs=1, server=attacking_server, in_flight=4))
    assert not outcome.findings.failures
    assert pictures(there.out, "attacked") == pictures(odd.out, "attacked")
    assert len(pictures(there.out, "attacked")) == 2 * 2 * 2
    assert attack_records(here, there.out) == attack_records(here, odd.out)


def test_an_attack_that_reads_a_file_of_this_machine_runs_here_and_that_is_said(
    choices, attacking_server, ordered, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    pattern = Path("p.safetensors")
    images = [photograph_like(1, 64, 72, seed)[0] for seed in range(2)]
    save(learn(images, find_metric("fr-surrogate"), Recipe(side=32, epochs=1)), pattern)
    both = dataclasses.replace(
        choices, attacks=f'fgsm,{{"name": "uap", "file": "{pattern}"}}', defenses="flip", adaptive=None
    )
    outcome = study.run(both, VERSION, study.Means(jobs=1, server=attacking_server))
    assert (outcome.findings.done, outcome.findings.failures) == (8, [])
    assert ["fgsm" in fields["attack"] for kind, fields in ordered if kind == "attack"] == [True]
    assert not any(str(pattern) in str(fields) for _, fields in ordered)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("bench: attacked on")]
    [line] = said
    assert "uap(" in line
    assert line.endswith("it reads a local file")


def test_an_attack_that_the_service_refuses_is_a_step_that_failed_and_the_rest_goes_on(
    choices, attacking_server, monkeypatch
):
    begin = Client.begin

    def too_much(self, kind, image, fields, **headers):
        if kind == "attack" and "defense" in fields:
            raise ServerError("attack: this order is too much", code="too-much-work", is_about_the_order=True)
        return begin(self, kind, image, fields, **headers)

    monkeypatch.setattr(Client, "begin", too_much)
    outcome = study.run(choices, VERSION, study.Means(jobs=1, server=attacking_server))
    [failure] = outcome.findings.failures
    assert (failure.step, failure.why) == ("attack", "server: attack: this order is too much")
    assert outcome.findings.done == 13 - 2


def test_a_study_may_attack_through_what_only_the_service_has_if_it_attacks_too(
    choices, attacking_server, server, monkeypatch
):
    monkeypatch.setattr("models.defenses.mprnet.MPRNet.availability", lambda _: unavailable("no weights", "Bring them"))
    only_there = dataclasses.replace(choices, defenses="mprnet", adaptive="mprnet")
    monkeypatch.setattr(Server, "availability", lambda *_: AVAILABLE)
    with (
        Server(server) as off,
        pytest.raises(BenchError, match="mprnet is not usable here, so no attack can go through it: no weights"),
    ):
        draft(only_there, VERSION, off)
    with Server(attacking_server) as on:
        assert draft(only_there, VERSION, on).parameters.adaptive == ("mprnet",)


@pytest.mark.slow
@pytest.mark.parametrize("left_out", [("flip", "random-noise"), ("attack", "flip", "random-noise")])
def test_what_was_finished_is_not_ordered_again(choices, attacking_server, ordered, left_out):
    means = study.Means(jobs=1, server=attacking_server)
    begun = settle(choices, draft(choices, VERSION))
    folder = Folder(choices.out)
    for unit in units_of(begun.parameters):
        list(perform(unit, folder, "cpu", left_out=left_out))
    kept = pictures(choices.out, "attacked")
    assert study.run(choices, VERSION, means).findings.done == 13
    attacks = [fields for kind, fields in ordered if kind == "attack"]
    if "attack" in left_out:
        assert len(attacks) == 2
        assert len(ordered) == 2 + 2 + 5 + 1
    else:
        assert not attacks
        assert len(ordered) == 2 + 2 + 1
        assert pictures(choices.out, "attacked") == kept
        assert all("flip" in fields["defense"] or "random-noise" in fields["defense"] for _, fields in ordered)
    ordered.clear()
    assert study.run(choices, VERSION, means).findings.done == 13
    assert not ordered


def test_a_service_that_would_give_other_numbers_is_refused(choices, there):
    with pytest.raises(BenchError, match=f"runs PurifIQA {VERSION}, and this is 9: its numbers could differ"):
        draft(choices, "9", there)
    (metric,) = draft(choices, VERSION).parameters.metrics
    other = metric.model_copy(update={"about": {**metric.about, "version": "0"}})
    with pytest.raises(BenchError, match=r"scores with version '\d+' of fr-surrogate, not '0'"):
        there.check([other], VERSION)


def test_what_a_service_lacks_is_an_error_or_skipped_before_anything_runs(choices, there):
    with pytest.raises(BenchError, match=r"mprnet cannot be used here: .* refuses it: .*mprnet .* have not been added"):
        draft(dataclasses.replace(choices, defenses="jpeg,mprnet"), VERSION, there)
    preset = Choices(choices.images, choices.out, preset="paper", attacks="ifgsm", metrics="fr-surrogate")
    manifest = draft(preset, VERSION, there)
    assert "mprnet" in [one.name for one in manifest.skipped]
    assert "diffpure" in [one.label for one in manifest.parameters.defenses]


@pytest.mark.slow
@pytest.mark.parametrize("after", [2, 6])
def test_a_service_that_goes_away_stops_the_study_and_what_is_finished_stays(
    choices, attacking_server, monkeypatch, after
):
    ordered = []
    order = Client.order

    def going(self, *arguments, **headers):
        if len(ordered) == after:
            raise ServerError("it does not answer", is_about_the_server=True)
        ordered.append(arguments)
        return order(self, *arguments, **headers)

    monkeypatch.setattr(Client, "order", going)
    means = study.Means(jobs=1, server=attacking_server, in_flight=1)
    with pytest.raises(BenchError, match=r"it does not answer\. What is finished is kept; run the same command"):
        study.run(choices, VERSION, means)
    assert "**Incomplete" in (choices.out / "report.md").read_text()
    monkeypatch.setattr(Client, "order", order)
    assert study.run(choices, VERSION, means).findings.done == 13


@pytest.mark.slow
def test_when_its_time_is_over_a_study_gives_up_what_is_ordered_and_leaves_nothing_there(
    choices, attacking_server, monkeypatch
):
    erased = []
    erase = Client.erase
    monkeypatch.setattr(Client, "erase", lambda self, job: erased.append(job["id"]) or erase(self, job))
    clean_only = dataclasses.replace(choices, attacks="ifgsm", adaptive=None, defenses="jpeg,flip")
    outcome = study.run(clean_only, VERSION, study.Means(jobs=1, server=attacking_server, in_flight=2, minutes=1e-6))
    assert outcome.interrupted
    assert outcome.findings.done < outcome.findings.steps == 7
    assert not outcome.findings.failures
    with Client(attacking_server) as client:
        for job in erased:
            with pytest.raises(ServerError, match="no such job"):
                client.send("GET", f"/jobs/{job}")
