"""The page at `/` in a browser, with a service that fails, is too busy or restarts."""

import pytest
from page_with_standin import METRIC, ORIGIN, chosen, job, problem

pytestmark = pytest.mark.slow

PROBLEM = "#problem"


def test_a_job_is_followed_through_a_restart_of_the_service_and_through_answers_that_it_is_too_busy(standin):
    standin.answers["POST", "/purify"] = [{"json": job("running")}]
    busy = problem(429, "This key may send 10 orders per second.", **{"Retry-After": "1"})
    standin.answers["GET", "/jobs/1"] = [None, busy, {"json": job("running")}, {"json": job()}]
    standin.answers["GET", "/jobs/1/image"].insert(0, None)
    page = chosen(standin.open())
    page.click("#send")
    page.get_by_text("The service does not answer. Retrying.").wait_for()
    page.get_by_text("Done.").wait_for()
    assert page.is_hidden(PROBLEM)
    assert standin.asked.count("POST /purify") == 1


def test_a_job_that_is_unknown_is_not_asked_for_again(standin):
    standin.answers["POST", "/purify"] = [{"json": job("running")}]
    standin.answers["GET", "/jobs/1"] = [problem(404, "There is no such job.")]
    page = chosen(standin.open())
    page.click("#send")
    page.locator(PROBLEM).wait_for()
    assert page.inner_text(PROBLEM) == "There is no such job."
    assert standin.asked.count("GET /jobs/1") == 1


def test_a_refusal_tells_when_to_try_again(standin):
    refused = problem(503, "10000 jobs are waiting already; nothing was accepted.", **{"Retry-After": "7"})
    standin.answers["POST", "/purify"] = [refused]
    page = chosen(standin.open())
    page.click("#send")
    page.locator(PROBLEM).wait_for()
    assert page.inner_text(PROBLEM).splitlines()[1] == "Try again in 7 s."


def test_an_order_sent_after_the_catalogue_could_not_be_had_asks_for_the_default_metrics_all_the_same(standin):
    standin.answers["GET", "/iqa-metrics"] = [problem(503, "The queue cannot be reached."), {"json": [METRIC]}]
    page = standin.page
    page.goto(ORIGIN)
    page.locator(PROBLEM).wait_for()
    chosen(page).click("#send")
    page.locator("#tried li").wait_for()
    assert 'name="metrics"\r\n\r\npiqe\r\n' in standin.sent[0]


def test_a_key_with_a_character_that_no_header_takes_is_told_as_such(standin):
    standin.answers["GET", "/defenses"] = [problem(401, "Send an API key.")]
    page = standin.page
    page.goto(ORIGIN)
    page.fill("#key", "purifiqa_abc\u200b")
    page.press("#key", "Tab")
    page.get_by_text("An API key has only visible ASCII characters").wait_for()
    assert page.is_visible("#key")


def test_a_cancel_that_came_too_late_is_no_problem_once_the_result_is_there(standin):
    standin.answers["POST", "/purify"] = [{"json": job("running")}]
    standin.answers["GET", "/jobs/1"] = [{"json": job("running")}, {"json": job()}]
    standin.answers["POST", "/jobs/1/cancel"] = [problem(409, "The job is finished; there is nothing to cancel.")]
    page = chosen(standin.open())
    page.click("#send")
    page.click("#cancel")
    page.get_by_text("Done.").wait_for()
    assert page.is_hidden(PROBLEM)


def test_what_was_wrong_with_one_image_is_not_said_of_the_next(standin):
    standin.answers["POST", "/purify"] = [problem(413, "image: the file is larger than 25000000 bytes")]
    page = chosen(standin.open())
    page.click("#send")
    page.locator(PROBLEM).wait_for()
    chosen(page, "b.png")
    assert page.is_hidden(PROBLEM)


def test_a_job_that_waits_tells_how_many_wait_before_it_and_tells_it_once(standin):
    waiting = {"json": job("queued", position=1)}
    standin.answers["POST", "/purify"] = [waiting]
    standin.answers["GET", "/jobs/1"] = [waiting, waiting, {"json": job("running")}, {"json": job()}]
    page = chosen(standin.open())
    page.evaluate(
        """() => {
          window.told = [];
          const state = document.getElementById("state");
          new MutationObserver(() => told.push(state.textContent)).observe(state, { childList: true });
        }"""
    )
    page.click("#send")
    page.get_by_text("Done.").wait_for()
    assert page.evaluate("told") == ["Sending.", "Waiting, 1 ahead.", "Purifying.", "Done."]


def test_an_order_whose_answer_was_lost_is_sent_again_as_the_same_one(standin):
    standin.answers["POST", "/purify"] = [None, {"json": job()}]
    page = chosen(standin.open())
    page.click("#send")
    page.locator(PROBLEM).wait_for()
    for done in (1, 2):
        page.click("#send")
        page.locator("#tried li").nth(done - 1).wait_for()
        page.get_by_text("Done.").wait_for()
    first, again, another = standin.keys
    assert first == again != another
    assert first
