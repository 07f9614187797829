import json

import pytest
from restoration_networks import compact, saved


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
    assert run("weights", "verify", "mine").output == "mine: as it was added\n"
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


def test_changed_weights_are_found(run, network, tmp_path):
    run("weights", "add", "mine", network)
    (file,) = (tmp_path / "weights").rglob("model.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    found = run("weights", "verify")
    assert found.exit_code != 0
    assert "is not what was added" in found.output
