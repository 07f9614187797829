"""`purifiqa weights pull` against a real server that breaks off, changes its file, lies and has nothing."""

import hashlib
import http.server
import os
import resource
import shutil
import threading

import pytest
from official_files import metaiqa_file, small_backbones

from app.command import download
from app.command.download import DownloadError, fetch
from models import checkpoints, published
from models.checkpoints import CheckpointError, Entry, Facts, Published

CONTENT = os.urandom(700_000)


class Server(http.server.ThreadingHTTPServer):
    """Serves one file with ranges; breaks off as often as told, after as many bytes as told."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.mark, self.break_after, self.status, self.kind = CONTENT, '"one"', [], 200, "application/x"
        self.longest_part, self.ranges = None, []

    def handle_error(self, request, address):
        pass  # a client that goes away early is what some tests are about

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/file.pt"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if server.status != 200:
            self.send_error(server.status)
            return
        if start and self.headers.get("If-Range") != server.mark:
            start = 0
        if start >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = server.content[start:][: server.longest_part if start else None]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", server.kind)
        if server.mark:
            self.send_header("ETag", server.mark)
        self.end_headers()
        self.wfile.write(body[: server.break_after.pop(0)] if server.break_after else body)
        self.close_connection = True

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def file(server):
    """The published file, as far as its address is the server's."""
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    return Published(
        name="thing", file="file.pt", url="https://example.org", download=server.url, license="x", sha256=sha256
    )


def pull(file, folder):
    told = []
    return fetch(file, folder, lambda here, of: told.append((here, of))), told


def test_a_file_is_fetched_with_its_progress_and_not_again(server, file, tmp_path):
    fetched, told = pull(file, tmp_path / "new")
    assert fetched.read_bytes() == CONTENT
    assert told[0] == (0, len(CONTENT))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file.pt"]
    pull(file, tmp_path / "new")
    assert len(server.ranges) == 1


def test_a_file_that_was_damaged_since_is_fetched_again(server, file, tmp_path):
    fetched, _ = pull(file, tmp_path / "new")
    fetched.write_bytes(b"")
    assert pull(file, tmp_path / "new")[0].read_bytes() == CONTENT
    assert len(server.ranges) == 2


def test_a_connection_that_breaks_is_gone_on_with(server, file, tmp_path):
    server.break_after = [100_000, 0, 300_000]
    fetched, _ = pull(file, tmp_path)
    assert fetched.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-", "bytes=100000-", "bytes=400000-"]


def test_a_server_that_sends_less_than_the_rest_is_asked_for_more(server, file, tmp_path):
    server.break_after, server.longest_part = [400_000], 100_000
    fetched, told = pull(file, tmp_path)
    assert fetched.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=400000-", "bytes=500000-", "bytes=600000-"]
    assert {of for _, of in told} == {len(CONTENT)}


def test_what_an_interrupted_command_left_is_gone_on_with(server, file, tmp_path):
    server.break_after = [100_000] + [0] * download.ATTEMPTS
    with pytest.raises(DownloadError, match="run the same command again to resume"):
        pull(file, tmp_path)
    assert (tmp_path / "file.pt.part").stat().st_size == 100_000
    server.ranges.clear()
    fetched, told = pull(file, tmp_path)
    assert fetched.read_bytes() == CONTENT
    assert server.ranges == ["bytes=100000-"]
    assert told[0] == (100_000, len(CONTENT))


def test_a_file_that_changed_meanwhile_or_has_no_mark_is_fetched_from_its_start(server, file, tmp_path):
    for mark in ('"two"', ""):
        server.mark, server.content = '"one"', os.urandom(700_000)
        server.break_after = [100_000] + [0] * download.ATTEMPTS
        with pytest.raises(DownloadError):
            pull(file, tmp_path)
        server.mark, server.content = mark, CONTENT
        fetched, _ = pull(file, tmp_path)
        assert fetched.read_bytes() == CONTENT
        fetched.unlink()


def test_a_part_that_is_whole_is_recognized(server, file, tmp_path):
    (tmp_path / "file.pt.part").write_bytes(CONTENT)
    (tmp_path / "file.pt.part.mark").write_text('"one"')
    fetched, _ = pull(file, tmp_path)
    assert fetched.read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_thrown_away(server, file, tmp_path):
    (tmp_path / "file.pt.part").write_bytes(CONTENT + b"x")
    (tmp_path / "file.pt.part.mark").write_text('"one"')
    fetched, _ = pull(file, tmp_path)
    assert fetched.read_bytes() == CONTENT


@pytest.mark.parametrize("known", ["sha256", "git_sha1"])
def test_another_file_than_the_published_one_is_refused_and_not_kept(server, file, tmp_path, known):
    wrong = file.model_copy(update={"sha256": None, known: "0" * 40})
    with pytest.raises(DownloadError, match="returned a different file than the published one"):
        pull(wrong, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_size_is_refused_before_it_is_fetched(server, file, tmp_path):
    with pytest.raises(DownloadError, match="has 700000 bytes, but the published file has 5"):
        pull(file.model_copy(update={"size": 5}), tmp_path)
    assert (tmp_path / "file.pt.part").stat().st_size == 0


@pytest.mark.parametrize(("status", "kind", "told"), [(404, "x", "status 404"), (200, "text/html; a", "a web page")])
def test_a_server_without_the_file_is_told_with_the_way_by_hand(server, file, tmp_path, status, kind, told):
    server.status, server.kind = status, kind
    with pytest.raises(DownloadError, match=told) as caught:
        pull(file, tmp_path)
    assert "Save file.pt from https://example.org by hand, then run: purifiqa weights add thing" in str(caught.value)


def test_a_server_that_is_not_there_is_told(file, tmp_path):
    gone = file.model_copy(update={"download": "http://127.0.0.1:9/file.pt"})
    with pytest.raises(DownloadError, match=r"http://127\.0\.0\.1:9/file\.pt could not be downloaded"):
        pull(gone, tmp_path)


def test_a_full_disk_is_told_before_anything_is_fetched(server, file, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6))
    with pytest.raises(DownloadError, match="has 1 MB free, but thing needs 1 MB: free some space, or set PURIFIQA_"):
        pull(file, tmp_path)
    assert (tmp_path / "file.pt.part").stat().st_size == 0


def test_a_disk_that_fills_up_meanwhile_is_told_and_the_rest_is_fetched_later(server, file, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(DownloadError, match=r"file\.pt\.part cannot be written: .* free some space"):
            pull(file, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    fetched, _ = pull(file, tmp_path)
    assert fetched.read_bytes() == CONTENT


def test_two_pulls_at_once_do_not_mix_their_bytes(server, file, tmp_path):
    part = tmp_path / "file.pt.part"
    told = pytest.raises(DownloadError, match="is being downloaded by another process")
    with part.open("ab") as stream, download._alone(stream, part), told:
        pull(file, tmp_path)


# The command


@pytest.fixture
def run(run):
    return lambda *arguments: run("weights", *arguments)


def test_pulled_weights_are_added_and_nothing_else_is_left(run, server, tmp_path, monkeypatch):
    small_backbones(monkeypatch)
    metaiqa_file(tmp_path / "network.pt")
    server.content = (tmp_path / "network.pt").read_bytes()
    from models.metrics import metaiqa

    here = metaiqa._FILES[0].model_copy(
        update={"download": server.url, "git_sha1": checkpoints.git_digest(tmp_path / "network.pt")}
    )
    weights = metaiqa._WEIGHTS._replace(published=(here,))
    monkeypatch.setitem(published.PUBLISHED, "metaiqa", weights.entry)
    done = run("pull", "metaiqa")
    assert done.exit_code == 0, done.output
    assert "metaiqa: metric from TID2013_KADID10K_IQA_Meta_resnet18.pt, converted, tested" in done.output
    assert "metaiqa: it is the published TID2013_KADID10K_IQA_Meta_resnet18.pt" in done.output
    assert "the small image scores 0." in done.output
    assert run("verify", "metaiqa").exit_code == 0
    assert not list((tmp_path / "weights").rglob("*.part"))
    assert not list((tmp_path / "weights").rglob("*.pt"))
    again = run("pull", "metaiqa")
    assert again.exit_code != 0
    assert "--force replaces it" in again.output


def test_partners_are_pulled_first_and_lie_beside_the_file(run, server, file, monkeypatch):
    seen = []

    def add(source):
        seen.extend(sorted(path.name for path in source.parent.iterdir()))
        return Facts(name="thing", kind="restorer", source=source.name, source_sha256="", sha256="")

    partner = file.model_copy(update={"file": "partner.pt"})
    monkeypatch.setitem(published.PUBLISHED, "thing", Entry(file, "restorer", add, (partner,)))
    assert run("pull", "thing").exit_code == 0
    assert seen == ["file.pt", "partner.pt"]
    assert len(server.ranges) == 2


@pytest.mark.parametrize("known", [True, False], ids=["hash known", "hash unknown"])
def test_what_cannot_be_added_is_fetched_anew_unless_it_is_the_published_file(run, server, file, monkeypatch, known):
    def add(source):
        raise CheckpointError(f"{source} is no network")

    published_file = file if known else file.model_copy(update={"sha256": None})
    monkeypatch.setitem(published.PUBLISHED, "thing", Entry(published_file, "restorer", add))
    for _ in range(2):
        refused = run("pull", "thing")
        assert refused.exit_code == 1
        assert "is no network" in refused.output
    assert len(server.ranges) == (1 if known else 2)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("linearity", "Save p1q2.pth from https://drive.google.com/drive/folders/"),
        ("spaq-bl", "then run: purifiqa weights add spaq-bl BL_release.pt"),
        ("mprnet", "then run: purifiqa weights add mprnet mprnet_denoise.pth"),
        ("nothing", "there are no published weights 'nothing'; see `purifiqa weights list`\n"),
        ("linearty", "did you mean 'linearity'?"),
    ],
)
def test_what_cannot_be_pulled_is_told_in_one_line(run, name, told):
    refused = run("pull", name)
    assert refused.exit_code != 0
    assert told in refused.output
    assert len(refused.output.strip().splitlines()) == 1


def test_the_big_networks_can_be_pulled():
    assert published.PUBLISHED["adm-256"].published.download.startswith("https://openaipublic")
    assert [one.file for one in published.PUBLISHED["real-esrgan"].partners] == ["realesr-general-wdn-x4v3.pth"]
