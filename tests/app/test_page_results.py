"""What the page at `/` shows of a result, in a browser: the images, their difference, the order as a command."""

import shlex

import pytest
from page_with_standin import chosen, job

pytestmark = pytest.mark.slow


@pytest.fixture
def shown(standin):
    """Send an image, by default a small picture; return the page with its result."""

    def send(name="a.png", data=None, result=None):
        if result:
            standin.answers["GET", "/jobs/1/image"] = [{"body": result, "content_type": "image/png"}]
        page = chosen(standin.open(), name, data)
        page.click("#send")
        page.get_by_text("Done.").wait_for()
        return page

    return send


def test_the_command_names_a_file_whatever_it_is_called(shown):
    words = shlex.split(shown("""a;b,"c'\\.png""").text_content("#command"))
    assert words[words.index("-F") + 1] == 'image=@"a;b,\\"c\'\\\\.png"'


def test_long_names_and_parameters_fit_on_a_small_screen(standin, shown):
    standin.page.set_viewport_size({"width": 360, "height": 700})
    standin.answers["POST", "/purify"] = [{"json": job(defense={"name": "w" * 90})}]
    page = shown(f"{'a' * 90}.png")
    assert "w" * 90 in page.inner_text("#tried")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
