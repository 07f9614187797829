"""The life of jobs against a model: two keys submit, look, fetch, cancel and erase in any order, a worker works."""

import pytest
import redis
from hypothesis import HealthCheck
from hypothesis import settings as bounds
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from starlette.testclient import TestClient

from app.guard.keys import new_key, write_file
from app.main import create_app
from workers import worker as worker_module
from workers.process.consumer import Consumer

OWNERS = st.sampled_from(["alice", "bob"])


@pytest.mark.slow
def test_any_history_of_jobs_is_as_the_model_says(settings, photo_png, monkeypatch):
    made = {name: new_key(name) for name in ("alice", "bob")}
    write_file(settings.keys_file, [stored for _, stored in made.values()])
    keys = {name: {"X-API-Key": key} for name, (key, _) in made.items()}
    worker_module.context.cache_clear()
    app = create_app(settings.model_copy(update={"reuse_results": False}))  # the model knows of no answers
    services = app.state.services

    class Life(RuleBasedStateMachine):
        jobs = Bundle("jobs")

        def __init__(self):
            super().__init__()
            with redis.Redis.from_url(settings.redis_url) as broker:
                broker.flushall()
            self.states, self.owners = {}, {}

        def ask(self, who, method, job, below=""):
            return client.request(method, f"/jobs/{job}{below}", headers=keys[who])

        def knows(self, who, job):
            return self.states[job] != "erased" and self.owners[job] == who

        @rule(target=jobs, who=OWNERS, defense=st.sampled_from(["none", "jpeg"]))
        def submit(self, who, defense):
            data = {"defense": defense, "metrics": ""}
            answer = client.post("/purify", files={"image": photo_png}, data=data, headers=keys[who])
            assert answer.status_code == 202, answer.text
            job = answer.json()["id"]
            self.states[job], self.owners[job] = "queued", who
            return job

        @rule(who=OWNERS)
        def submit_wrongly(self, who):
            answer = client.post("/purify", files={"image": photo_png[:-50]}, headers=keys[who])
            assert answer.status_code == 422

        @rule()
        def work(self):
            before = [job for job, state in self.states.items() if state == "queued"]
            rq = services.queue.rq
            worker = Consumer([rq], connection=rq.connection, serializer="json", log_job_description=False)
            worker.work(burst=True, logging_level="CRITICAL", max_jobs=1)
            done = [job for job in before if services.queue.ledger.get(job).status == "finished"]
            assert len(done) == min(1, len(before))
            self.states.update(dict.fromkeys(done, "finished"))

        @rule(who=OWNERS, job=jobs)
        def look(self, who, job):
            answer = self.ask(who, "GET", job)
            assert answer.status_code == (200 if self.knows(who, job) else 404)
            if answer.status_code == 200:
                assert answer.json()["status"] == self.states[job]

        @rule(who=OWNERS, job=jobs)
        def fetch(self, who, job):
            expected = {"finished": 200}.get(self.states[job], 409) if self.knows(who, job) else 404
            assert self.ask(who, "GET", job, "/image").status_code == expected

        @rule(who=OWNERS, job=jobs)
        def cancel(self, who, job):
            answer = self.ask(who, "POST", job, "/cancel")
            if not self.knows(who, job):
                assert answer.status_code == 404
            elif self.states[job] == "finished":
                assert answer.status_code == 409
            else:
                assert answer.status_code == 200
                self.states[job] = "canceled"

        @rule(who=OWNERS, job=jobs)
        def erase(self, who, job):
            answer = self.ask(who, "DELETE", job)
            assert answer.status_code == (204 if self.knows(who, job) else 404)
            if answer.status_code == 204:
                self.states[job] = "erased"

        @invariant()
        def the_queue_and_the_store_hold_what_the_model_holds(self):
            assert services.queue.depth() == list(self.states.values()).count("queued")
            kept = set(services.store.owners()) & set(self.states)
            assert kept == {job for job, state in self.states.items() if state != "erased"}

    with TestClient(app, raise_server_exceptions=False) as client:
        run_state_machine_as_test(
            Life,
            settings=bounds(
                max_examples=25, stateful_step_count=25, deadline=None, derandomize=True, database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )  # fmt: skip
    worker_module.context.cache_clear()
