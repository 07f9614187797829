"""With a service the same study gives the same table, and what is wrong with the service is said."""

import csv
import dataclasses
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import pytest

from app.bench import cells, study
from app.bench.choices import Choices, draft, settle
from app.bench.folder import Folder
from app.bench.items import BenchError
from app.bench.perform import perform
from app.bench.server import Server
from app.bench.units import units_of
from app.command.client import Client, ServerError

TIMES = ("ms", "attack_ms")
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


def table(out):
    with (out / "results.csv").open() as file:
        return [row for row in csv.reader(file) if row[5] not in TIMES]


def test_a_service_gives_the_table_that_this_process_gives(choices, server, tmp_path):
    here = settle(choices, draft(choices, VERSION))
    folder = Folder(choices.out)
    for unit in units_of(here.parameters):
        list(perform(unit, folder, "cpu"))
    cells.write_csv(cells.read(here, folder).cells, choices.out / "results.csv")
    there = dataclasses.replace(choices, out=tmp_path / "there")
    outcome = study.run(there, VERSION, study.Means(jobs=1, server=server, in_flight=3))
    assert (outcome.findings.done, outcome.findings.steps) == (13, 13)
    assert not outcome.interrupted
    assert outcome.manifest.parameters == here.parameters, "either can go on with what the other began"
    assert table(there.out) == table(choices.out)
    assert len(table(there.out)) > 100
    gallery = {file.name: file.read_bytes() for file in (choices.out / "purified").rglob("*.png") if file.is_file()}
    assert {
        file.name: file.read_bytes() for file in (there.out / "purified").rglob("*.png") if file.is_file()
    } == gallery
    assert len(gallery) == 10


@pytest.mark.slow
def test_what_was_finished_is_not_ordered_again(choices, server, monkeypatch):
    means = study.Means(jobs=1, server=server)
    clean_only = settle(choices, draft(choices, VERSION))
    folder = Folder(choices.out)
    for unit in units_of(clean_only.parameters):
        list(perform(unit, folder, "cpu", left_out=("flip", "random-noise")))
    ordered = []
    order = Client.order
    monkeypatch.setattr(
        Client, "order", lambda self, kind, image, fields: ordered.append(fields) or order(self, kind, image, fields)
    )
    assert study.run(choices, VERSION, means).findings.done == 13
    assert len(ordered) == 2 + 2 + 1
    assert all("flip" in one["defense"] or "random-noise" in one["defense"] for one in ordered)
    ordered.clear()
    assert study.run(choices, VERSION, means).findings.done == 13
    assert not ordered


def test_a_service_that_would_give_other_numbers_is_refused(choices, there):
    with pytest.raises(BenchError, match=f"runs PurifIQA {VERSION}, this is 9: its numbers could differ"):
        draft(choices, "9", there)
    (metric,) = draft(choices, VERSION).parameters.metrics
    other = metric.model_copy(update={"about": {**metric.about, "version": "0"}})
    with pytest.raises(BenchError, match=r"scores with version '\d+' of fr-surrogate, this is '0'"):
        there.check([other], VERSION)


def test_what_a_service_lacks_is_an_error_or_skipped_before_anything_runs(choices, there):
    with pytest.raises(BenchError, match=r"mprnet cannot be used here: .* refuses it: .*mprnet .* were not added"):
        draft(dataclasses.replace(choices, defenses="jpeg,mprnet"), VERSION, there)
    preset = Choices(choices.images, choices.out, preset="paper", attacks="ifgsm", metrics="fr-surrogate")
    manifest = draft(preset, VERSION, there)
    assert "mprnet" in [one.name for one in manifest.skipped]
    assert "diffpure" in [one.label for one in manifest.parameters.defenses]


class Script(BaseHTTPRequestHandler):
    """Answers as told, and remembers what it was asked."""

    def do_GET(self):
        self.server.asked.append(dict(self.headers))
        status, headers = self.server.answers.pop(0)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": "2"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


@pytest.fixture
def script():
    """A server that answers what a test puts into `answers`."""
    service = ThreadingHTTPServer(("127.0.0.1", 0), Script)
    service.answers, service.asked = [], []
    service.url = f"http://127.0.0.1:{service.server_port}"
    thread = threading.Thread(target=service.serve_forever)
    thread.start()
    yield service
    service.shutdown()
    thread.join()
    service.server_close()


def test_a_busy_service_is_asked_again_when_it_says_and_gets_the_key(script, monkeypatch):
    monkeypatch.setenv("PURIFIQA_API_KEY", "secret")
    script.answers += [(429, {"Retry-After": "1"}), (503, {"Retry-After": "0"}), (200, {})]
    start = time.monotonic()
    with Client(script.url, patience=60) as client:
        assert client.send("GET", "/").status_code == 200
    assert time.monotonic() - start >= 1
    assert [asked["Authorization"] for asked in script.asked] == ["Bearer secret"] * 3


@pytest.mark.parametrize("status", [401, 429, 503])
def test_patience_ends_and_a_wrong_key_is_no_matter_of_patience(script, status, choices):
    script.answers += [(status, {"Retry-After": "100"})]
    with Client(script.url, patience=60) as client, pytest.raises(ServerError, match=str(status)) as raised:
        client.send("GET", "/")
    assert raised.value.is_about_the_server
    script.answers += [(status, {})]
    with pytest.raises(BenchError, match=f"--server {script.url}: .*{status}"):
        study.run(choices, VERSION, study.Means(server=script.url))
    assert not choices.out.exists()


@pytest.mark.slow
def test_a_service_that_goes_away_stops_the_study_and_what_is_finished_stays(choices, server, monkeypatch):
    ordered = []
    order = Client.order

    def going(self, *arguments):
        if len(ordered) == 2:
            raise ServerError("it does not answer", is_about_the_server=True)
        ordered.append(arguments)
        return order(self, *arguments)

    monkeypatch.setattr(Client, "order", going)
    means = study.Means(jobs=1, server=server, in_flight=1)
    with pytest.raises(BenchError, match=r"it does not answer\. What is finished is kept; run the same command"):
        study.run(choices, VERSION, means)
    assert "**Incomplete" in (choices.out / "report.md").read_text()
    monkeypatch.setattr(Client, "order", order)
    assert study.run(choices, VERSION, means).findings.done == 13


@pytest.mark.slow
def test_when_its_time_is_over_a_study_gives_up_what_is_ordered_and_leaves_nothing_there(choices, server, monkeypatch):
    erased = []
    erase = Client.erase
    monkeypatch.setattr(Client, "erase", lambda self, job: erased.append(job["id"]) or erase(self, job))
    clean_only = dataclasses.replace(choices, attacks="ifgsm", adaptive=None, defenses="jpeg,flip")
    outcome = study.run(clean_only, VERSION, study.Means(jobs=1, server=server, in_flight=2, minutes=1e-6))
    assert outcome.interrupted
    assert outcome.findings.done < outcome.findings.steps == 7
    assert not outcome.findings.failures
    with Client(server) as client:
        for job in erased:
            with pytest.raises(ServerError, match="no such job"):
                client.send("GET", f"/jobs/{job}")
