"""docker/monitoring against the service: what it asks for exists, and Prometheus itself understands it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from app.main import create_app
from workers.state.measures import MEASURES_TOLD
from workers.telemetry.vitals import Facts

FOLDER = Path(__file__).parents[2] / "docker" / "monitoring"
DASHBOARD = json.loads((FOLDER / "grafana" / "dashboards" / "purifiqa.json").read_text())
RULES = [rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
OPERATIONS = (FOLDER.parents[1] / "docs" / "operations.md").read_text()
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = {
    **{f"panel {panel['title']}": " ".join(target["expr"] for target in panel["targets"]) for panel in PANELS},
    **{f"alert {rule['alert']}": rule["expr"] for rule in RULES},
}
OF_PROMETHEUS = {"up"}
OF_SCRAPES = {"job", "instance"}


@pytest.fixture(scope="module")
def exposed(valkey_socket, tmp_path_factory):
    """Every sample of a service that has seen one of everything: names, and the values of each label."""
    from app.settings import Settings

    settings = Settings(redis_url=f"unix://{valkey_socket}", data_dir=tmp_path_factory.mktemp("data"))
    app = create_app(settings)
    queue = app.state.services.queue
    queue.broker.connection.flushall()  # the worker of a test before this one may still be alive
    for measure in MEASURES_TOLD:
        queue.presence.observations.observe(measure, 1.0, *(["purify", "jpeg"] if measure.labels else []))
    queue.presence.note_store(1, 1)
    with TestClient(app) as client:
        assert client.get("/readyz").status_code == 503  # no worker yet: the 5xx that is asked for
        queue.presence.beat("w", Facts(state="busy", device="cuda", gpu="GPU-1", gpu_bytes=1).model_dump_json())
        for path in ("/livez", "/metrics"):
            client.get(path)
        text = client.get("/metrics").text
        queue.presence.leave("w")
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = samples.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return samples


def asked(expression):
    """The names of metrics in an expression, each with what it is selected by: label, operator, value."""
    found = re.findall(r"\b([a-z_]+)\{([^}]*)\}", expression)
    return [(name, re.findall(r'(\w+)\s*([=!]~?)=?\s*"([^"]*)"', selector)) for name, selector in found]


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_every_metric_and_label_that_is_asked_for_is_told(where, exposed):
    names = asked(EXPRESSIONS[where])
    assert names
    for name, selectors in names:
        if name in OF_PROMETHEUS:
            continue
        assert name in exposed, f"{where}: {name}"
        for label, operator, value in selectors:
            if label in OF_SCRAPES or "$" in value:
                continue
            for one in value.split("|") if "~" in operator else [re.escape(value)]:
                told = exposed[name].get(label, ())
                assert any(re.fullmatch(one, seen) for seen in told), f"{where}: {name}{{{label}}} is never {one}"
    grouped = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", EXPRESSIONS[where]))))
    assert grouped <= set().union(*(exposed.get(name, set()) for name, _ in names)), where


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_legend_names_labels_that_are_left(panel):
    for target in panel["targets"]:
        named = set(re.findall(r"{{(\w+)}}", target.get("legendFormat", "")))
        joined = re.findall(r"\b(?:sum|max|min)\b(?: by \(([^)]*)\))?", target["expr"])
        left = set(re.findall(r"\w+", joined[0])) if joined else OF_SCRAPES
        assert named <= left, target


def test_what_the_dashboard_can_be_narrowed_to_is_told(exposed):
    queries = [one["query"]["query"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"]
    assert queries
    for query in queries:
        name, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", query).groups()
        assert exposed[name][label], query


def test_every_metric_of_ours_is_in_the_table_of_the_documentation_and_no_other(exposed):
    told = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in exposed if name.startswith("purifiqa_")}
    documented = set(re.findall(r"^\| `(purifiqa_\w+)", OPERATIONS, re.MULTILINE))
    assert documented == told


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_has_a_severity_a_summary_and_a_cure_in_the_documentation(rule):
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]
    assert f"\n| `{rule['alert']}` |" in OPERATIONS


def test_what_all_api_processes_tell_alike_is_never_added_up():
    per_process = ("purifiqa_http_", "process_", "up")
    for where, expression in EXPRESSIONS.items():
        for name in re.findall(r"sum(?: by \([^)]*\))? ?\((?:rate|increase)?\(?([a-z_]+)\{", expression):
            assert name.startswith(per_process), f"{where}: sum of {name}; several API processes tell the same"


def test_panels_do_not_overlap_and_have_what_grafana_needs():
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for panel in PANELS:
        assert panel["datasource"]["uid"] == "${datasource}"
    for name in set(re.findall(r"\$\{?(\w+)\}?", " ".join(EXPRESSIONS.values()))) - {"value", "labels"}:
        assert name in {variable["name"] for variable in DASHBOARD["templating"]["list"]}


def test_the_provisioning_leads_from_grafana_to_the_dashboard_and_to_prometheus():
    compose = yaml.safe_load((FOLDER.parents[1] / "docker-compose.yml").read_text())["services"]
    [provider] = yaml.safe_load((FOLDER / "grafana/provisioning/dashboards/purifiqa.yml").read_text())["providers"]
    assert f"./docker/monitoring/grafana/dashboards:{provider['options']['path']}:ro" in compose["grafana"]["volumes"]
    [source] = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in compose
    [scrape] = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    assert scrape["dns_sd_configs"][0]["names"] == ["api"]
    assert scrape["job_name"] == "purifiqa"


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
@pytest.mark.parametrize("command", [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]])
def test_prometheus_itself_reads_the_alerts_and_they_fire_when_they_should(command):
    done = subprocess.run(["promtool", *command], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_prometheus_itself_accepts_what_is_scraped_and_the_scrape_configuration(tmp_path, settings):
    with TestClient(create_app(settings)) as client:
        text = client.get("/metrics").text
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    configuration = (FOLDER / "prometheus.yml").read_text().replace("/run/secrets/metrics_key", str(tmp_path / "key"))
    (tmp_path / "key").touch()
    (tmp_path / "prometheus.yml").write_text(configuration)
    shutil.copy(FOLDER / "alerts.yml", tmp_path)
    done = subprocess.run(
        ["promtool", "check", "config", "prometheus.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
