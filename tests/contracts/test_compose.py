"""docker-compose.yml and the Dockerfile, read as data: what must hold wherever they run."""

from pathlib import Path

import pytest
import yaml

from app.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_hardened_and_watched(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["restart"] == "unless-stopped"
    assert service["pids_limit"] > 0
    assert service["healthcheck"]["test"]
    assert "container_name" not in service, "it could not be scaled"


def test_only_the_api_is_published_and_only_to_this_machine():
    assert [name for name in SERVICES if "ports" in SERVICES[name]] == ["api"]
    assert SERVICES["api"]["ports"] == ["${PURIFIQA_PUBLISH:-127.0.0.1:8000}:8000"]
    assert COMPOSE["networks"]["inside"]["internal"] is True
    for name in ("redis", "worker", "worker-gpu"):
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


def test_the_default_profile_needs_no_gpu_and_the_gpu_worker_reserves_one():
    assert [name for name in SERVICES if "profiles" in SERVICES[name]] == ["worker-gpu"]
    [device] = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert SERVICES["worker-gpu"]["environment"]["PURIFIQA_DEVICE"] == "cuda"
    assert SERVICES["worker"]["environment"]["PURIFIQA_DEVICE"] == "cpu"


def test_a_worker_may_finish_its_job_or_give_it_back_before_it_is_killed():
    grace = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace >= Settings.model_fields["stop_grace"].default + 15


def test_every_variable_is_a_setting():
    known = {f"PURIFIQA_{name.upper()}" for name in Settings.model_fields}
    for service in SERVICES.values():
        assert set(service.get("environment", {})) <= known


def test_the_image_runs_without_root_and_starts_without_a_shell():
    assert "\nUSER 10001:10001\n" in DOCKERFILE
    assert '\nENTRYPOINT ["purifiqa"]\n' in DOCKERFILE
    assert DOCKERFILE.count("\nFROM ") == 2
