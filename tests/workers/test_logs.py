"""What a line of the log may hold, and what it never does."""

import io
import json
import logging

import pytest

from workers.telemetry import logs


@pytest.fixture
def written():
    """A logger that writes in a form, and a function that returns its lines."""
    handlers = []

    def start(form):
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logs.formatter(form))
        log = logging.getLogger("purifiqa.test")
        log.addHandler(handler)
        log.setLevel("DEBUG")
        handlers.append((log, handler))
        return log, lambda: stream.getvalue().splitlines()

    yield start
    for log, handler in handlers:
        log.removeHandler(handler)


def fail(text):
    raise ValueError(text)


HOSTILE = "a\r\n2026-01-01 [info] forged\x1b[2J\u2028\x85\x0bx"


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_event_is_one_line_whatever_is_in_it(written, form):
    log, lines = written(form)
    with logs.bind(request_id=HOSTILE):
        log.info("got %s", HOSTILE, extra={"route": HOSTILE})
    [line] = lines()
    assert "forged" in line
    assert not any(ord(letter) < 32 or ord(letter) == 0x85 for letter in line)


def test_json_holds_the_message_the_time_and_what_is_bound(written):
    log, lines = written("json")
    with logs.bind(request_id="r1", job_id="", trace_id="t1"):
        log.warning("%d jobs", 3, extra={"duration_ms": 1.5})
    event = json.loads(lines()[0])
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "3 jobs", "level": "warning", "logger": "purifiqa.test", "duration_ms": 1.5, "request_id": "r1", "trace_id": "t1",
    }  # fmt: skip


def test_what_was_bound_is_gone_afterwards(written):
    log, lines = written("json")
    with logs.bind(request_id="outer"), logs.bind(request_id="inner"):
        assert logs.bound("request_id") == "inner"
    log.info("after")
    assert logs.bound("request_id") == ""
    assert "request_id" not in json.loads(lines()[0])


@pytest.mark.parametrize("form", ["json", "text"])
def test_fields_that_are_not_listed_stay_out(written, form):
    log, lines = written(form)
    log.info("event", extra={"filename_of_user": "holiday.png", "data": b"\x89PNG", "arguments": {"key": "secret"}})
    assert not any(word in lines()[0] for word in ("holiday", "PNG", "secret"))


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_password_in_a_url_is_hidden_also_in_a_traceback(written, form):
    log, lines = written(form)
    log.info("broker at redis://user:hunter2@redis:6379/0")
    try:
        fail("redis://:hunter2@redis:6379/0")
    except ValueError:
        log.exception("no broker")
    assert "hunter2" not in "\n".join(lines())
    assert "***@redis" in lines()[0]


def test_lines_of_a_traceback_cannot_pass_for_events_in_text(written):
    log, lines = written("text")
    try:
        fail("first\n2026-01-01 [info] forged")
    except ValueError:
        log.exception("failed")
    forged = [line for line in lines() if "forged" in line]
    assert forged
    assert all(line.startswith("    | ") for line in forged)


def test_long_texts_are_cut(written):
    log, lines = written("json")
    log.info("x" * 1_000_000)
    assert len(lines()[0]) < 2 * logs.LONGEST_TEXT


def test_configuring_twice_does_not_write_twice_and_takes_the_libraries_in(capsys, monkeypatch):
    root = logging.getLogger()
    before = list(root.handlers)
    logs.configure("INFO", "json")
    logs.configure("INFO", "json")
    assert len([one for one in root.handlers if one not in before]) == 1
    for library in ("rq.worker", "uvicorn.error"):  # other tests let them be silent
        logging.getLogger(library).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").warning("from uvicorn")
    logging.getLogger("rq.worker").warning("from rq")
    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert events == ["from uvicorn", "from rq"]
