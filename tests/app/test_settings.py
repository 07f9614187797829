"""What an operator sets wrongly is told by the variable's name, without its secrets."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.cli.keys import keys_file
from app.cli.options import in_words
from app.command.health import own_address
from app.settings import CI_CACHE, Settings, unknown_variables
from workers.settings import WorkerSettings

ROOT = Path(__file__).parents[2]


def test_a_misspelled_setting_is_told_with_the_one_that_was_meant():
    names = ["PURIFIQA_MAX_PIXEL", "PURIFIQA_MAX_PIXELS", "PURIFIQA_XYZZY", CI_CACHE, "HOME"]
    assert unknown_variables(names) == [
        "there is no setting PURIFIQA_MAX_PIXEL; did you mean PURIFIQA_MAX_PIXELS?",
        "there is no setting PURIFIQA_XYZZY",
    ]


def test_wrong_settings_are_told_by_their_variables_and_secrets_are_not_repeated(monkeypatch):
    monkeypatch.setenv("PURIFIQA_MAX_BYTES", "5")
    monkeypatch.setenv("PURIFIQA_PORT", "http")
    with pytest.raises(ValidationError) as caught:
        Settings(webhook_secret=["hunter2"])
    told = in_words(caught.value)
    assert "PURIFIQA_MAX_BYTES: Input should be greater than or equal to 1000; it is '5'" in told
    assert "PURIFIQA_PORT: " in told
    assert "PURIFIQA_WEBHOOK_SECRET: Input should be a valid string" in told
    assert "hunter2" not in told
    assert "errors.pydantic.dev" not in told


@pytest.mark.parametrize("process", ["api", "worker", "check"])
@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("PURIFIQA_REDIS_URL", "redis.example:6379", "Redis URL must specify one of the following schemes (redis://,"),
        (
            "PURIFIQA_REDIS_URL",
            "redis://:hunter2@redis/abc",
            "a database is a number, as in redis://redis/0; it is 'abc'",
        ),
        ("PURIFIQA_REDIS_URL", "redis://:hunter2@redis:port/0", "Port could not be cast to integer value as 'port'"),
        (
            "PURIFIQA_REDIS_URL",
            "redis://redis:6379/0?nosuch=1",
            "AbstractConnection.__init__() got an unexpected keyword",
        ),
        ("PURIFIQA_REDIS_PASSWORD_FILE", "{folder}/nowhere", "{folder}/nowhere cannot be read: No such file"),
        ("PURIFIQA_REDIS_PASSWORD_FILE", "{folder}", "{folder} cannot be read: Is a directory"),
        ("PURIFIQA_REDIS_PASSWORD_FILE", "/dev/null", "/dev/null is empty"),
    ],
)
def test_a_way_to_redis_that_leads_nowhere_is_told_by_its_variable(
    run, monkeypatch, tmp_path, process, variable, value, told
):
    monkeypatch.setenv(variable, value.replace("{folder}", str(tmp_path)))
    done = run(process)
    assert done.exit_code == os.EX_CONFIG
    [line] = done.stderr.splitlines()
    assert line.startswith(f"purifiqa: {variable}: {told.replace('{folder}', str(tmp_path))}")
    assert "hunter2" not in line


def test_a_database_that_redis_does_not_have_is_told_and_nothing_is_ready(run, open_client, valkey_socket, monkeypatch):
    url = f"unix://{valkey_socket}?db=99999"
    monkeypatch.setenv("PURIFIQA_REDIS_URL", url)
    done = run("check")
    assert done.exit_code == 1
    assert done.stderr.startswith("purifiqa: Redis cannot be used: ")
    assert "DB index is out of range" in done.stderr
    assert open_client(redis_url=url).get("/readyz").status_code == 503


def test_an_empty_value_is_none_except_of_text(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    usual = Settings(redis_url="redis://redis", default_metrics="")
    for name, field in Settings.model_fields.items():
        if field.annotation is not str:
            monkeypatch.setenv(f"PURIFIQA_{name.upper()}", "")
    monkeypatch.setenv("PURIFIQA_DEFAULT_METRICS", "")
    assert Settings(redis_url="redis://redis") == usual
    assert keys_file() == usual.keys_file
    assert own_address() == "http://127.0.0.1:8000"


@pytest.mark.parametrize("process", ["api", "check"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, " cannot be read: [Errno 2] No such file or directory: '{file}'"),
        (b"\n", ": {file} is empty"),
        (b"hunter2", ": a webhook secret must be whsec_ and base64 of 24 to 64 bytes"),
        (b"whsec_\xff", " cannot be read: {file} is not text"),
    ],
)
def test_a_file_without_a_secret_for_webhooks_is_told_by_its_variable_before_anything_starts(
    run, monkeypatch, valkey_socket, tmp_path, process, content, told
):
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("PURIFIQA_REDIS_URL", f"unix://{valkey_socket}")
    monkeypatch.setenv("PURIFIQA_WEBHOOK_SECRET_FILE", str(file))
    done = run(process)
    assert (done.exit_code, done.stdout) == (os.EX_CONFIG, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"purifiqa: PURIFIQA_WEBHOOK_SECRET_FILE{told.replace('{file}', str(file))}")
    assert "hunter2" not in line


@pytest.mark.slow  # starts processes
@pytest.mark.parametrize("process", ["api", "worker"])
@pytest.mark.parametrize("is_there", [False, True])
def test_a_data_folder_that_is_somebody_elses_is_told_by_its_variable_and_the_user(tmp_path, process, is_there):
    data = tmp_path / "data"
    for folder in ("blobs", "jobs", "incoming") if is_there else ("",):
        (data / folder).mkdir(parents=True)
    for folder in (data, *data.iterdir()):
        folder.chmod(0o555)
    as_a_user = []
    if os.geteuid() == 0:
        os.chown(data, 65_534, -1)
        for folder in data.iterdir():
            os.chown(folder, 65_534, -1)
        if not shutil.which("setpriv"):
            pytest.skip("root may write everywhere, and nothing here takes that away")
        as_a_user = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    done = subprocess.run(
        [*as_a_user, sys.executable, "-m", "app", process], cwd=ROOT, capture_output=True, text=True, check=False,
        timeout=120, env={**os.environ, "PURIFIQA_DATA_DIR": str(data)},
    )  # fmt: skip
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"purifiqa: PURIFIQA_DATA_DIR: user {os.geteuid()} cannot write {data}/blobs: ")


@pytest.mark.parametrize(
    ("variable", "value", "status", "told"),
    [
        ("PURIFIQA_THREADS", "2", 0, ""),
        ("PURIFIQA_TREADS", "2", 0, "there is no setting PURIFIQA_TREADS; did you mean PURIFIQA_THREADS?"),
        ("PURIFIQA_MAX_PIXELS", "abc", os.EX_CONFIG, "PURIFIQA_MAX_PIXELS: Input should be a valid integer"),
        ("PURIFIQA_HOST", "0.0.0.0", os.EX_CONFIG, "anyone who can reach 0.0.0.0 could use this service"),
        ("PURIFIQA_REDIS_URL", "unix:///nowhere", 1, "Redis cannot be used: "),
    ],
)
def test_settings_are_tried_without_starting_anything(run, monkeypatch, valkey_socket, variable, value, status, told):
    monkeypatch.setenv("PURIFIQA_REDIS_URL", f"unix://{valkey_socket}")
    monkeypatch.setenv(variable, value)
    done = run("check")
    assert (done.exit_code, done.stdout) == (status, "" if status else "the settings are valid, and Redis answers\n")
    assert len(done.stderr.splitlines()) == bool(told)
    assert told in done.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PURIFIQA_HOST", "0.0.0.0"),
        ("PURIFIQA_LOG_FORMAT", "yaml"),
        ("PURIFIQA_PORT", "abc"),
        ("PURIFIQA_PORT", "65536"),
    ],
)
def test_up_ends_for_a_setting_with_the_status_of_its_processes(run, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    done = run("up")
    assert done.exit_code == os.EX_CONFIG
    assert len(done.stderr.splitlines()) == 1


def test_the_password_comes_from_its_file(tmp_path):
    secret = tmp_path / "password"
    secret.write_text("p@ss/word\n")
    for url, expected in (
        ("redis://redis:6379/0", "redis://:p%40ss%2Fword@redis:6379/0"),
        ("redis://user:old@redis:6379/0", "redis://user:p%40ss%2Fword@redis:6379/0"),
    ):
        assert WorkerSettings(redis_url=url, redis_password_file=secret).broker_url() == expected
