"""What is entered on the page at `/`, in a browser: parameters, an image, by mouse and by keyboard."""

import pytest
from page_with_standin import chosen

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
    assert f'{{"name":"jpeg","sigma":{sent}}}' in standin.sent[0]
