"""What the page at `/` shows of a result, in a browser: the images, their difference, the order as a command."""

import io
import shlex

import pytest
from page_with_standin import chosen, job, png
from PIL import Image

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


def test_what_is_transparent_is_white_as_the_service_sees_it(shown):
    page = shown(data=png((128, 96), (0, 0, 0, 0)), result=png((128, 96), (255, 255, 255)))
    assert page.evaluate("getComputedStyle(document.getElementById('before')).backgroundColor") == "rgb(255, 255, 255)"
    page.check("#show-difference")
    drawn = page.evaluate(
        "Array.from(document.getElementById('difference').getContext('2d').getImageData(5, 5, 1, 1).data)"
    )
    assert drawn == [128, 128, 128, 255]


def test_the_line_is_where_the_images_meet_also_where_they_are_larger_than_the_screen(shown):
    large = png((3000, 2000))
    page = shown(data=large, result=large)
    for _ in range(2):
        line, width, height, whole = page.evaluate(
            """() => {
              const [line, box] = [getComputedStyle(document.getElementById("stage"), "::after"),
                document.getElementById("before").getBoundingClientRect()];
              return [parseFloat(line.left), box.width, parseFloat(line.height), box.height];
            }"""
        )
        assert (line, height) == (pytest.approx(width / 2, abs=1), pytest.approx(whole, abs=1))
        page.check("#enlarge")
    assert width == 3000
    page.focus("#view")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.getElementById('view').scrollLeft > 0")


def test_a_result_that_is_left_for_another_before_it_is_there_is_no_error(standin, shown):
    page = shown(data=png((2000, 1500)))
    page.click("#send")
    page.locator("#tried li").nth(1).wait_for()
    page.evaluate("() => { for (const one of document.querySelectorAll('#tried button')) one.click(); }")
    page.wait_for_timeout(300)
    assert page.is_hidden("#problem")
    assert not standin.errors


def test_a_result_of_an_image_that_is_no_longer_the_chosen_one_tells_whose_it_is(standin, shown):
    standin.answers["POST", "/purify"] = [{"json": job("running")}, {"json": job()}]
    page = chosen(standin.open(), "first.png")
    page.click("#send")
    page.locator("#progress").wait_for()
    chosen(page, "second.png")
    page.get_by_text("Done.").wait_for()
    page.click("#send")
    page.locator("#tried li").nth(1).wait_for()
    assert [one.startswith("first.png; ") for one in page.locator("#tried li").all_inner_texts()] == [False, True]


def test_each_half_of_the_picture_is_the_image_that_is_named_below_it(shown):
    page = shown(data=png((200, 100), (255, 0, 0)), result=png((200, 100), (0, 0, 255)))
    picture = Image.open(io.BytesIO(page.locator("#stage").screenshot())).convert("RGB")
    left, right = page.inner_text("#slider-row").split()[0], page.inner_text("#slider-row").split()[-1]
    assert (left, right) == ("original", "purified")
    assert picture.getpixel((50, 50)) == (255, 0, 0)
    assert picture.getpixel((150, 50)) == (0, 0, 255)


def test_words_tell_which_image_is_which_also_where_they_are_of_two_sizes(shown):
    page = shown(data=png((128, 96)), result=png((64, 64)))
    assert page.inner_text("#sides") == "first the original, then the purified image; their sizes differ"
    first, second = (page.locator(one).bounding_box() for one in ("#before", "#after"))
    assert (first["x"], first["y"]) < (second["x"], second["y"])
    assert page.is_hidden("#slider-row")
