"""What is entered on the page at `/`, in a browser: parameters, an image, by mouse and by keyboard."""

import pytest
from page_with_standin import chosen, handed, job

pytestmark = pytest.mark.slow


def test_a_wrong_parameter_in_a_closed_box_opens_the_box(standin):
    page = chosen(standin.open())
    page.select_option("#defense", "jpeg")
    page.click("#parameters-box summary")
    page.fill("#parameter-quality", "500")
    page.click("#parameters-box summary")
    page.click("#send")
    page.wait_for_timeout(200)
    assert page.evaluate("document.activeElement.id") == "parameter-quality"
    assert not standin.sent


@pytest.mark.parametrize(("typed", "sent"), [(".5", 0.5), ("05", 5), ("2e0", 2)])
def test_a_number_may_be_written_as_browsers_take_it(standin, typed, sent):
    page = chosen(standin.open())
    page.select_option("#defense", "jpeg")
    page.click("#parameters-box summary")
    page.fill("#parameter-sigma", "")
    page.locator("#parameter-sigma").press_sequentially(typed)
    page.click("#send")
    page.locator("#tried li").wait_for()
    assert f"\r\n\r\njpeg(sigma={sent})\r\n" in standin.sent[0]


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_the_control_shows_the_image_that_was_dropped_or_pasted(standin, event):
    page = chosen(standin.open(), "picked.png")
    handed(page, event, "#drop", "other.png")
    assert page.evaluate("Array.from(document.getElementById('image').files, (one) => one.name)") == ["other.png"]
    assert page.inner_text("#asked") == "other.png"


def test_an_image_dropped_beside_the_frame_is_taken_and_does_not_make_the_browser_leave_the_page(standin):
    page = standin.open()
    assert handed(page, "dragover", "header", "a.png")
    assert handed(page, "drop", "header", "a.png")
    assert page.inner_text("#asked") == "a.png"


def test_text_pasted_into_a_field_stays_text_although_a_picture_of_it_comes_along(standin):
    page = chosen(standin.open(), "picked.png")
    handed(page, "paste", "#seed", "cells.png", "12")
    assert page.inner_text("#asked") == "picked.png"


def test_whoever_works_by_keyboard_stays_where_they_were_and_sends_nothing_twice(standin):
    standin.answers["POST", "/purify"] = [{"json": job("running")}]
    standin.answers["GET", "/jobs/1"] = [{"json": job("running")}, {"json": job()}]
    page = chosen(standin.open())
    page.focus("#send")
    page.keyboard.press("Enter")
    page.get_by_text("Purifying.").wait_for()
    page.keyboard.press("Enter")
    page.get_by_text("Done.").wait_for()
    assert page.evaluate("document.activeElement.id") == "send"
    assert len(standin.sent) == 1


def test_the_focus_goes_from_a_cancel_that_vanishes_to_the_button_beside_it(standin):
    standin.answers["POST", "/purify"] = [{"json": job("running")}]
    standin.answers["POST", "/jobs/1/cancel"] = [{"json": job("canceled")}]
    standin.answers["GET", "/jobs/1"] = [{"json": job("canceled")}]
    page = chosen(standin.open())
    page.click("#send")
    page.click("#cancel")
    page.get_by_text("The job was canceled.").wait_for()
    assert page.evaluate("document.activeElement.id") == "send"


def test_a_defense_whose_usual_weights_are_not_here_can_be_ordered_with_others_and_tells_the_cure(standin):
    page = chosen(standin.open())
    page.select_option("#defense", "restore", timeout=2_000)
    assert (
        page.inner_text("#summary")
        == "A network. Not usable with its default parameters: real-esrgan is not here. Pull it"
    )
    page.click("#parameters-box summary")
    page.fill("#parameter-network", "mine")
    page.click("#send")
    page.locator("#tried li").wait_for()
    assert "\r\n\r\nrestore(network=mine)\r\n" in standin.sent[0]
