import json
import os
import resource
import shutil
import signal

import pytest
from restoration_networks import compact, saved

from models import checkpoints


@pytest.fixture
def network(tmp_path):
    file = tmp_path / "network.pth"
    saved(compact(), file)
    return file


def test_what_is_published_is_listed_with_where_it_is(run):
    listed = {row["name"]: row for row in json.loads(run("weights", "list", "--json").output)}
    assert {"adm-256", "real-esrgan", "mprnet", "linearity", "metaiqa", "spaq-mt-s"} <= listed.keys()
    assert listed["spaq-mt-s"]["kind"] == "metric"
    assert listed["metaiqa"]["git_sha1"] == "4d2ee23148de49396149b1733f968def9f1375cc"
    assert "license" in listed["linearity"]
    assert not any(row["here"] for row in listed.values())
    assert listed["adm-256"]["url"].startswith("https://openaipublic")


def test_a_network_is_added_used_verified_and_removed(run, network, tmp_path, photo_png):
    added = run("weights", "add", "mine", network)
    assert added.exit_code == 0, added.output
    assert "restorer from network.pth" in added.output
    assert run("weights", "verify", "mine").output == "mine: unchanged since it was added\n"
    assert run("weights", "path", "mine").output.strip().endswith("purifiqa/mine")
    (tmp_path / "photo.png").write_bytes(photo_png)
    defense = '{"name": "restore", "network": "mine"}'
    purified = run("purify", tmp_path / "photo.png", "--defense", defense, "-o", tmp_path / "out", "--metrics", "")
    assert purified.exit_code == 0, purified.output
    assert (tmp_path / "out" / "photo.png").is_file()
    assert run("weights", "remove", "mine").exit_code == 0
    assert run("purify", tmp_path / "photo.png", "--defense", defense, "-o", tmp_path / "again").exit_code != 0


def test_adding_twice_needs_force(run, network):
    assert run("weights", "add", "mine", network).exit_code == 0
    again = run("weights", "add", "mine", network)
    assert again.exit_code != 0
    assert "--force replaces it" in again.output
    assert run("weights", "add", "mine", network, "--force").exit_code == 0


@pytest.mark.parametrize("name", ["../out", "Mine", "adm-256"])
def test_what_cannot_be_added_is_told_in_one_line(run, network, name):
    refused = run("weights", "add", name, network)
    assert refused.exit_code != 0
    assert "Traceback" not in refused.output
    assert len(refused.output.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["mine", "adm-256", "metaiqa"])
def test_what_is_neither_a_file_nor_a_folder_is_not_waited_for(run, tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    refused = run("weights", "add", name, tmp_path / "pipe")
    assert refused.exit_code == 1
    assert refused.stderr.startswith(f"purifiqa: {tmp_path / 'pipe'} is neither a file nor a folder")


def test_a_name_that_is_nearly_a_published_one_is_asked_about(run, tmp_path):
    file = tmp_path / "p1q2.pth"
    file.write_bytes(b"no weights")
    refused = run("weights", "add", "linearty", str(file))
    assert refused.exit_code != 0
    assert refused.output.endswith("; did you mean 'linearity'?\n")


@pytest.mark.parametrize("command", ["verify", "path", "remove"])
def test_a_name_that_is_nearly_an_added_one_is_asked_about(run, network, command):
    run("weights", "add", "mine", network)
    refused = run("weights", command, "mime")
    assert refused.exit_code == 1
    assert refused.output == "purifiqa: the weights mime have not been added; did you mean 'mine'?\n"


def test_changed_weights_are_found(run, network, tmp_path):
    run("weights", "add", "mine", network)
    (file,) = (tmp_path / "weights").rglob("model.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    found = run("weights", "verify")
    assert found.exit_code != 0
    assert "has changed since it was added" in found.output


def test_one_that_is_broken_keeps_nobody_from_the_others_and_is_told(run, network, tmp_path):
    for name in ("broken", "empty", "mine"):
        run("weights", "add", name, network)
    home = tmp_path / "weights" / "purifiqa"
    (home / "broken" / "facts.json").write_text("{")
    (home / "empty" / "model.safetensors").unlink()
    listed = {row["name"]: row for row in json.loads(run("weights", "list", "--json").stdout)}
    assert {name: row["here"] for name, row in listed.items() if row["wrong"] or row["here"]} == {
        "broken": False, "empty": False, "mine": True,
    }  # fmt: skip
    assert "model.safetensors is missing" in listed["empty"]["wrong"]
    assert "facts.json cannot be read; remove" in run("weights", "list").output
    assert run("weights", "verify", "mine").output == "mine: unchanged since it was added\n"
    assert run("weights", "path", "mine").output.strip() == str(home / "mine")
    every = run("weights", "verify")
    assert every.exit_code == 1
    assert "mine: unchanged since it was added" in every.output
    assert "broken/facts.json cannot be read" in every.output
    assert "empty/model.safetensors is missing" in every.output


def test_a_link_to_a_bigger_disk_is_replaced_and_removed_without_what_it_leads_to(run, network, tmp_path):
    run("weights", "add", "mine", network)
    place = tmp_path / "weights" / "purifiqa" / "mine"
    big = place.rename(tmp_path / "big")
    place.symlink_to(big)
    replaced = run("weights", "add", "mine", network, "--force")
    assert replaced.exit_code == 0, replaced.output
    assert not place.is_symlink()
    shutil.rmtree(place)
    place.symlink_to(big)
    assert run("weights", "remove", "mine").exit_code == 0
    assert not place.is_symlink()
    assert sorted(path.name for path in big.iterdir()) == ["facts.json", "model.safetensors"]


def test_a_full_disk_is_told_in_one_line_and_the_older_weights_stay(run, network):
    run("weights", "add", "mine", network)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        refused = run("weights", "add", "mine", network, "--force")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert refused.exit_code == 1
    assert len(refused.output.strip().splitlines()) == 1
    assert "cannot be written" in refused.output
    assert "free some space, or set PURIFIQA_WEIGHTS_DIR" in refused.output
    assert run("weights", "verify", "mine").output == "mine: unchanged since it was added\n"


def test_sigterm_ends_an_addition_and_leaves_nothing_half_written(run, network, tmp_path, monkeypatch):
    save = checkpoints.save_file

    def interrupted(*arguments):
        save(*arguments)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(checkpoints, "save_file", interrupted)
    was = signal.signal(signal.SIGTERM, lambda *_: None)  # or it would end the tests
    try:
        assert run("weights", "add", "mine", network).exit_code == 143
    finally:
        signal.signal(signal.SIGTERM, was)
    assert list((tmp_path / "weights" / "purifiqa").iterdir()) == []
