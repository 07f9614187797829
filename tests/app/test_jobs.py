"""Following, fetching, canceling and erasing a job."""

import pytest

from app.ending import erase
from app.images import image_response
from workers.state.store import Store

WAIT = {"Prefer": "wait=30"}


def test_the_image_is_not_there_before_the_job_is_done(idle_client, photo_png):
    job = idle_client.post("/purify", files={"image": photo_png}, data={"metrics": ""}).json()
    answer = idle_client.get(f"{job['links']['self']}/image")
    assert answer.status_code == 409
    assert answer.json()["code"] == "result-not-ready"
    assert answer.headers["retry-after"] == "1"


def test_who_has_the_image_is_not_sent_it_again(client, order):
    job = order(defense="none", headers=WAIT).json()
    first = client.get(job["result"]["image_url"])
    tag = first.headers["etag"]
    for known in (f'"other", {tag}', f"W/{tag}", "*"):
        again = client.get(job["result"]["image_url"], headers={"If-None-Match": known})
        assert again.status_code == 304, known
        assert again.content == b""
        assert again.headers["etag"] == tag
    assert client.get(job["result"]["image_url"], headers={"If-None-Match": '"other"'}).status_code == 200
    lines = [("If-None-Match", '"other"'), ("If-None-Match", tag)]
    assert client.get(job["result"]["image_url"], headers=lines).status_code == 304


def test_the_image_is_never_sniffed_and_is_saved_under_a_name_of_ours(client, order):
    job = order(defense="none", headers=WAIT).json()
    headers = client.get(job["result"]["image_url"]).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-disposition"] == f'attachment; filename="{job["id"]}.png"'
    assert "private" in headers["cache-control"]
    assert headers["x-purifiqa-seed"] == str(job["seed"])


def test_an_image_that_is_no_longer_in_the_store_is_gone_although_its_record_is_there(client, order, shared_service):
    job = order(defense="none", headers={**WAIT, "Cache-Control": "no-cache"}).json()
    [output] = shared_service.data_dir.glob(f"jobs/*/{job['id']}/output")
    output.unlink()
    answer = client.get(job["result"]["image_url"])
    assert (answer.status_code, answer.json()["code"]) == (410, "job-expired")
    assert client.get(job["links"]["self"]).status_code == 200


def test_a_job_of_another_version_is_gone_for_this_one_which_says_so(idle_client, photo_png, broker):
    job = idle_client.post("/purify", files={"image": photo_png}, data={"metrics": ""}).json()
    broker.hset(f"purifiqa:job:{job['id']}", "fixed", '{"order": "of tomorrow"}')
    answer = idle_client.get(job["links"]["self"])
    assert (answer.status_code, answer.json()["code"]) == (410, "job-expired")
    assert answer.json()["detail"].startswith("Another version of PurifIQA wrote this job")


def test_an_image_that_is_erased_while_it_is_sent_arrives_whole(client, order, monkeypatch):
    job = order(defense="none", headers=WAIT).json()
    before = client.get(job["result"]["image_url"])

    def erased(request, services, record):
        answer = image_response(request, services, record)
        erase(services, record.id)
        return answer

    monkeypatch.setattr("app.routes.jobs.image_response", erased)
    answer = client.get(job["result"]["image_url"])
    assert answer.status_code == 200
    assert answer.content == before.content
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_an_image_that_is_erased_while_it_is_asked_for_is_unknown(client, order, monkeypatch):
    job = order(defense="none", headers=WAIT).json()
    path = Store.path

    def late(self, owner, role):
        monkeypatch.undo()
        erase(client.app.state.services, job["id"])
        return path(self, owner, role)

    monkeypatch.setattr(Store, "path", late)
    answer = client.get(job["result"]["image_url"])
    assert (answer.status_code, answer.json()["code"]) == (404, "job-unknown")


def test_a_queued_job_can_be_canceled_twice_and_never_runs(idle_client, broker, photo_png):
    job = idle_client.post("/purify", files={"image": photo_png}, data={"metrics": ""}).json()
    assert idle_client.app.state.services.queue.depth() == 1
    for _ in range(2):
        answer = idle_client.post(job["links"]["cancel"])
        assert answer.status_code == 200
        assert answer.json()["status"] == "canceled"
    assert idle_client.app.state.services.queue.depth() == 0
    assert idle_client.get(f"{job['links']['self']}/image").json()["code"] == "no-result"
    assert not [key for key in broker.scan_iter("rq:*") if job["id"].encode() in key]


def test_canceling_again_and_again_writes_nothing_more(idle_client, photo_png):
    job = idle_client.post("/purify", files={"image": photo_png}).json()
    manifest = idle_client.app.state.services.store.path(job["id"], "manifest")
    written = []
    for _ in range(3):
        assert idle_client.post(job["links"]["cancel"]).status_code == 200
        written.append(manifest.read_bytes())
    assert b'"canceled"' in written[0]
    assert len(set(written)) == 1


def test_a_finished_job_cannot_be_canceled(client, order):
    job = order(defense="none", headers=WAIT).json()
    answer = client.post(f"{job['links']['self']}/cancel")
    assert answer.status_code == 409
    assert answer.json()["code"] == "job-has-ended"


def test_an_erased_job_leaves_no_file_no_key_and_is_unknown(idle_client, broker, settings, photo_png):
    before = {key for key in broker.scan_iter() if not key.startswith(b"rq:queues")}
    job = idle_client.post("/purify", files={"image": photo_png}, data={"metrics": ""}).json()
    assert [path for path in settings.data_dir.rglob("*") if path.is_file()]
    assert idle_client.delete(job["links"]["self"]).status_code == 204
    assert not [path for path in settings.data_dir.rglob("*") if path.is_file()]
    assert {key for key in broker.scan_iter() if not key.startswith(b"rq:queues")} == before
    for call in (idle_client.get, idle_client.delete):
        assert call(job["links"]["self"]).status_code == 404


def test_what_was_ordered_is_forgotten_before_the_record_is(idle_client, monkeypatch, photo_png):
    """Else a sweep in between finds a job that Redis has lost, and restores it."""
    job = idle_client.post("/purify", files={"image": photo_png}, data={"metrics": ""}).json()
    services, seen = idle_client.app.state.services, []
    manifest, erase = services.store.path(job["id"], "manifest"), services.queue.erase
    assert manifest.exists()
    monkeypatch.setattr(services.queue, "erase", lambda job_id: (seen.append(manifest.exists()), erase(job_id)))
    assert idle_client.delete(job["links"]["self"]).status_code == 204
    assert seen == [False]


def test_erasing_a_finished_job_erases_its_result(client, order, shared_service):
    job = order(defense="none", headers=WAIT).json()
    assert client.delete(job["links"]["self"]).status_code == 204
    assert client.get(job["result"]["image_url"]).status_code == 404
    assert not list(shared_service.data_dir.glob(f"jobs/*/{job['id']}"))


def test_an_expired_job_is_gone_and_not_unknown(idle_client, broker, photo_png):
    job = idle_client.post("/purify", files={"image": photo_png}, data={"metrics": ""}).json()
    assert broker.ttl(f"purifiqa:job:{job['id']}") > 0
    broker.delete(f"purifiqa:job:{job['id']}")
    for path in (job["links"]["self"], f"{job['links']['self']}/image"):
        answer = idle_client.get(path)
        assert answer.status_code == 410
        assert answer.json()["code"] == "job-expired"


@pytest.mark.parametrize("job_id", ["nosuchjob", "0" * 32, "..%2f..%2fetc", "*", "x" * 64])
def test_a_job_that_never_was_is_unknown(client, job_id):
    for path in (f"/jobs/{job_id}", f"/jobs/{job_id}/image"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
    assert client.post(f"/jobs/{job_id}/cancel").status_code == 404
    assert client.delete(f"/jobs/{job_id}").status_code == 404


def test_an_order_is_never_answered_with_304_and_an_image_is_sent_whole(client, order):
    headers = {**WAIT, "Accept": "image/png"}
    tag = order(defense="none", headers=headers).headers["etag"]
    answer = order(defense="none", headers={**headers, "If-None-Match": tag})
    assert answer.status_code == 200
    assert answer.content
    for part in ("bytes=0-9", "lines=1", "bytes=5-2", "bytes=999999999-"):
        whole = client.get(answer.headers["content-location"], headers={"Range": part})
        assert whole.status_code == 200
        assert whole.content == answer.content
