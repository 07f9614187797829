"""Who may ask: keys, scopes, revocation, and that a service never stands open unless somebody said so."""

import errno
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from problems import problem
from typer.testing import CliRunner

from app.cli import app as command
from app.cli.keys import new, revoke
from app.guard.access import is_loopback, needs_keys
from app.guard.keys import KeyFileError, KeyRing, hash_of, new_key, parse_line, read_file, read_lines
from app.main import create_app
from app.settings import Settings


@pytest.mark.parametrize(("method", "path"), [
    ("POST", "/purify"), ("POST", "/score"), ("GET", "/jobs/x"), ("GET", "/jobs/x/image"), ("POST", "/jobs/x/cancel"),
    ("DELETE", "/jobs/x"), ("GET", "/defenses"), ("GET", "/iqa-metrics"), ("GET", "/metrics"),
])  # fmt: skip
def test_a_call_without_a_key_is_told_how_to_send_one(guarded, method, path):
    answer = guarded.request(method, path)
    problem(answer, 401, "key-missing")
    assert answer.headers["www-authenticate"] == 'Bearer realm="purifiqa"'


@pytest.mark.parametrize("path", ["/livez", "/docs", "/openapi.json"])
def test_what_watches_and_explains_the_service_needs_no_key(guarded, path):
    assert guarded.get(path).status_code == 200


@pytest.mark.parametrize("sent", [
    {"Authorization": "Bearer purifiqa_wrong"}, {"Authorization": "Basic cHVyaWZpcWE6eA=="}, {"X-API-Key": "x"},
    {"Authorization": "Bearer "}, {"X-API-Key": ""}, {"Authorization": "Bearer " + "x" * 5000},
    {"Authorization": b"Bearer \xff\xfe"}, {"Cookie": "Authorization=x"},
])  # fmt: skip
def test_a_wrong_key_opens_nothing(guarded, submit, sent):
    answer = submit(guarded, sent)
    assert answer.status_code == 401
    is_one = answer.json()["code"] == "key-unknown"
    assert ('error="invalid_token"' in answer.headers["www-authenticate"]) == is_one


def test_a_key_in_the_address_opens_nothing(guarded, keys):
    key = keys["alice"]["Authorization"].removeprefix("Bearer ")
    assert guarded.get(f"/defenses?api_key={key}&X-API-Key={key}&Authorization=Bearer+{key}").status_code == 401


def test_either_header_works(guarded, keys):
    key = keys["alice"]["Authorization"].removeprefix("Bearer ")
    assert guarded.get("/defenses", headers={"X-API-Key": key}).status_code == 200
    assert guarded.get("/defenses", headers={"Authorization": f"bearer {key}"}).status_code == 200


def test_where_a_proxy_or_another_key_has_the_first_header_it_is_known_which_counts(guarded, keys):
    alice, bob = ({"X-API-Key": keys[name]["Authorization"].removeprefix("Bearer ")} for name in ("alice", "bob"))
    assert guarded.get("/defenses", headers={"Authorization": "Basic cHJveHk6eA==", **alice}).status_code == 200
    assert guarded.get("/metrics", headers={**keys["monitor"], **bob}).status_code == 200
    problem(guarded.get("/metrics", headers={**keys["bob"], **alice}), 403, "scope-missing")


def test_whoever_watches_hears_that_redis_is_away_with_a_key_too(open_client, keys, tmp_path):
    client = open_client(redis_url=f"unix://{tmp_path / 'nobody.sock'}")
    answer = client.get("/metrics", headers=keys["monitor"])
    assert answer.status_code == 200
    assert "purifiqa_redis_up 0" in answer.text


def test_a_key_does_only_what_its_scopes_say(guarded, keys, submit):
    problem(submit(guarded, keys["reader"]), 403, "scope-missing")
    problem(guarded.get("/metrics", headers=keys["alice"]), 403, "scope-missing")
    problem(guarded.get("/defenses", headers=keys["monitor"]), 403, "scope-missing")
    assert guarded.get("/metrics", headers=keys["monitor"]).status_code == 200
    assert submit(guarded, keys["root"]).status_code == 202
    assert guarded.get("/metrics", headers=keys["root"]).status_code == 200


def test_a_revoked_key_is_refused_at_once_and_a_new_one_taken_without_a_restart(guarded, keys, settings):
    run = CliRunner()
    assert guarded.get("/defenses", headers=keys["alice"]).status_code == 200
    assert run.invoke(command, ["keys", "revoke", "alice"]).exit_code == 0
    problem(guarded.get("/defenses", headers=keys["alice"]), 401, "key-unknown")
    assert guarded.get("/defenses", headers=keys["bob"]).status_code == 200
    made = run.invoke(command, ["keys", "new", "carol"]).stdout.strip()
    assert guarded.get("/defenses", headers={"X-API-Key": made}).status_code == 200
    listed = run.invoke(command, ["keys", "list"]).stdout
    assert "carol" in listed
    assert "alice" not in listed
    assert run.invoke(command, ["keys", "revoke", "alice"]).exit_code == 1


def test_of_two_keys_of_a_name_one_can_be_revoked_and_a_key_can_be_made_for_another_machine(tmp_path):
    def run(*arguments):
        done = CliRunner().invoke(command, ["keys", *arguments, "--file", str(tmp_path / "keys")])
        assert done.exit_code == 0, done.output
        return done.stdout.split()

    old, other, new = (run("new", name)[0] for name in ("alice", "bob", "alice"))
    assert run("revoke", "alice", "--hash", hash_of(old)[:12]) == ["1", "revoked"]
    ring = KeyRing(tmp_path / "keys")
    assert [ring.find(key) is not None for key in (old, other, new)] == [False, True, True]
    elsewhere, line = run("new", "carol", "--print-only")
    assert parse_line(line).hash == hash_of(elsewhere)
    assert ring.find(elsewhere) is None


def test_what_an_operator_wrote_between_the_keys_stays(tmp_path):
    file, notes = tmp_path / "keys", ["# of the lab", "", "  # alice: until May"]
    kept, gone = new_key("bob")[1].line, new_key("alice")[1].line
    file.write_text("\n".join([notes[0], kept, notes[1], notes[2], gone]))
    for arguments in (["revoke", "alice"], ["new", "carol"]):
        assert CliRunner().invoke(command, ["keys", *arguments, "--file", str(file)]).exit_code == 0
    *before, carol = file.read_text().splitlines()
    assert before == [notes[0], kept, notes[1], notes[2]]
    assert carol.startswith("carol:")


def test_a_key_file_that_breaks_or_vanishes_lets_nobody_in(guarded, keys, settings):
    text = settings.keys_file.read_text()
    settings.keys_file.write_text(text + "mallory:nonsense\n")
    problem(guarded.get("/defenses", headers=keys["alice"]), 401, "key-unknown")
    settings.keys_file.unlink()
    problem(guarded.get("/defenses", headers=keys["alice"]), 401, "key-unknown")
    settings.keys_file.write_text(text)
    assert guarded.get("/defenses", headers=keys["alice"]).status_code == 200


def test_a_key_file_that_is_not_text_is_told_by_its_name_and_line_and_lets_nobody_in(guarded, keys, settings, caplog):
    text = settings.keys_file.read_bytes()
    settings.keys_file.write_bytes(text + b"# m\xfcller\n")
    for _ in range(2):
        problem(guarded.get("/defenses", headers=keys["alice"]), 401, "key-unknown")
    told = f"{settings.keys_file}, line 6: it is not text in utf-8"
    assert [record.message for record in caplog.records if told in record.message]
    for arguments in (["list"], ["new", "carol"], ["revoke", "alice"], ["list", "--json"]):
        done = CliRunner().invoke(command, ["keys", *arguments])
        assert (done.exit_code, done.stdout, done.stderr) == (1, "", f"purifiqa: {told}\n")
    with pytest.raises(KeyFileError, match=re.escape(told)):
        create_app(settings)
    settings.keys_file.write_bytes(text)
    assert guarded.get("/defenses", headers=keys["alice"]).status_code == 200


def test_only_hashes_are_kept_and_only_for_their_owner_to_read(keys, settings):
    text = settings.keys_file.read_text()
    for header in keys.values():
        key = header["Authorization"].removeprefix("Bearer ")
        assert key not in text
        assert hash_of(key) in text
    assert settings.keys_file.stat().st_mode & 0o077 == 0


def test_no_keys_is_an_answer_and_the_cure_names_the_file_that_is_read(tmp_path):
    listed = CliRunner().invoke(command, ["keys", "list", "--file", str(tmp_path / "api-keys")])
    assert (listed.exit_code, listed.stdout) == (0, "")
    assert f"there are no keys in {tmp_path / 'api-keys'}" in listed.stderr
    with pytest.raises(ValueError, match=re.escape(f"purifiqa keys new NAME --file {tmp_path / 'api-keys'}")):
        needs_keys("auto", "0.0.0.0", "", tmp_path / "api-keys")


def test_the_first_key_says_when_it_counts_and_the_second_need_not(tmp_path):
    told = [
        CliRunner().invoke(command, ["keys", "new", name, "--file", str(tmp_path / "keys")]).stderr for name in "ab"
    ]
    assert "will require them after its next start" in told[0]
    assert told[1] == ""


def test_who_makes_keys_and_who_revokes_one_at_the_same_time_lose_nothing_of_each_other(tmp_path, monkeypatch):
    place = tmp_path / "keys"

    def slow(file):
        found = read_lines(file)
        time.sleep(0.3)
        return found

    monkeypatch.setattr("app.guard.keys.read_lines", slow)
    new("alice", file=place)
    with ThreadPoolExecutor() as others:
        for change in [others.submit(new, "bob", file=place), others.submit(revoke, "alice", file=place),
                       others.submit(new, "carol", file=place)]:  # fmt: skip
            change.result()
    assert sorted(one.id for one in read_file(place)) == ["bob", "carol"]


def test_what_changes_no_key_file_leaves_nothing_beside_it(tmp_path):
    nowhere = tmp_path / "folder" / "keys"
    for arguments, status in ((["new", "alice", "--print-only"], 0), (["list"], 0), (["revoke", "alice"], 1)):
        assert CliRunner().invoke(command, ["keys", *arguments, "--file", str(nowhere)]).exit_code == status
    assert list(tmp_path.iterdir()) == []


def test_keys_are_long_and_never_the_same():
    made = {new_key("x")[0] for _ in range(50)}
    assert len(made) == 50
    assert min(map(len, made)) > 43


@pytest.mark.parametrize(
    "line",
    ["", "alice", "alice:abc", f"al ice:{'0' * 64}", f"alice:{'0' * 64}:sudo", f"a/b:{'0' * 64}", f"alice:{'A' * 64}"],
)
def test_a_wrong_line_is_refused(line):
    with pytest.raises(ValueError, match=r"\w"):
        parse_line(line)


@pytest.mark.parametrize("end", ["", ":", ": , "])
def test_a_line_without_scopes_may_send_orders_and_read_and_no_more(end):
    assert parse_line(f"alice:{'0' * 64}{end}").scopes == {"submit", "read"}


@pytest.mark.parametrize("scopes", [[], [""], [" ", ""]])
def test_a_new_key_is_given_a_scope_by_whoever_names_them(scopes):
    with pytest.raises(ValueError, match="alice: name at least one scope of submit, read, metrics, admin"):
        new_key("alice", scopes)


def test_a_wrong_line_is_told_with_its_file_and_number(tmp_path):
    (tmp_path / "keys").write_text(f"# ours\nalice:{'0' * 64}\n\nbob:x\n")
    with pytest.raises(ValueError, match=r"keys, line 4: the hash of bob"):
        read_file(tmp_path / "keys")


def test_a_folder_in_place_of_the_key_file_is_told_in_words(open_client, tmp_path):
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        open_client(api_keys_file=tmp_path)


def test_a_name_may_have_two_keys_while_one_replaces_the_other(tmp_path):
    (old, first), (new, second) = new_key("alice"), new_key("alice")
    (tmp_path / "keys").write_text(f"{first.line}\n{second.line}\n")
    ring = KeyRing(tmp_path / "keys")
    assert ring.find(old).id == ring.find(new).id == "alice"
    assert ring.find("purifiqa_x") is None


def test_finding_a_key_looks_at_every_hash_in_constant_time(tmp_path, monkeypatch):
    stored = [new_key(name)[1] for name in "abc"]
    (tmp_path / "keys").write_text("".join(f"{one.line}\n" for one in stored))
    ring, compared = KeyRing(tmp_path / "keys"), []
    monkeypatch.setattr("app.guard.keys.hmac.compare_digest", lambda a, b: compared.append(a) or a == b)
    ring.find("wrong")
    assert compared == [one.hash for one in stored]


def test_without_keys_it_is_open_on_this_machine_only(tmp_path):
    none, some = tmp_path / "none", tmp_path / "some"
    some.touch()
    assert not needs_keys("auto", "127.0.0.1", "", none)
    assert not needs_keys("off", "0.0.0.0", "", some)
    assert not needs_keys("auto", "0.0.0.0", "127.0.0.1:8000", none)
    assert needs_keys("auto", "127.0.0.1", "", some)
    assert needs_keys("keys", "0.0.0.0", "", some)
    for auth, host, publish in [("auto", "0.0.0.0", ""), ("auto", "::", ""), ("auto", "", ""), ("auto", "192.168.1.2", ""),
                                ("auto", "0.0.0.0", "8000"), ("auto", "0.0.0.0", "0.0.0.0:8000"), ("auto", "127.0.0.1", "10.0.0.1:80"),
                                ("keys", "127.0.0.1", "")]:  # fmt: skip
        with pytest.raises(ValueError, match="purifiqa keys new"):
            needs_keys(auth, host, publish, none)


def test_addresses_that_only_this_machine_reaches():
    assert all(map(is_loopback, ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "x.localhost"]))
    assert not any(
        map(is_loopback, ["", "0.0.0.0", "::", "10.0.0.1", "example.org", "127.0.0.1.evil.com", "notlocalhost"])
    )


def test_an_app_that_others_could_reach_is_not_even_made(settings):
    with pytest.raises(ValueError, match="PURIFIQA_AUTH=off"):
        create_app(Settings(host="0.0.0.0"))
    assert create_app(Settings(host="0.0.0.0", auth="off")).state.services.keys is None


def test_a_full_disk_is_told_with_the_key_file_and_leaves_it_as_it_was(tmp_path, monkeypatch):
    file = tmp_path / "api-keys"
    assert CliRunner().invoke(command, ["keys", "new", "first", "--file", str(file)]).exit_code == 0
    before = file.read_bytes()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdopen", full)
    done = CliRunner().invoke(command, ["keys", "new", "second", "--file", str(file)])
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == f"purifiqa: [Errno 28] No space left on device: '{file}'\n"
    assert file.read_bytes() == before
