"""The report as a page: what it needs to be read on any screen, and found one's way in."""

import html
import re
from pathlib import Path

import pytest

from app.bench.report.html import to_html
from app.bench.report.markdown import number, picture, shown, significant, table
from models.evaluation.bootstrap import Mean

LONG = "the weights were not added. Save them from where they are published, then run the command that adds them"
TEXT = f"""# Title

## a metric

### its table

| defense | why |
|---|---|
| jpeg | 0.149 [0.040, 0.287] |
| mprnet | {LONG} |

![Gain and fidelity: a metric](plot.png)

## Pictures
"""


@pytest.fixture
def page(tmp_path):
    (tmp_path / "plot.png").write_bytes(b"png")
    return to_html(TEXT, tmp_path)


def test_every_section_is_linked_to_below_the_title(page):
    links = re.findall(r'<a href="#([^"]+)">([^<]+)</a>', page)
    assert [text for _, text in links] == ["a metric", "its table", "Pictures"]
    for place, text in links:
        assert re.search(rf'<h[23] id="{place}">{text}</h', page)
    assert page.index("</h1>") < page.index("<nav>") < page.index("<h2")


def test_a_phone_does_not_shrink_the_page_and_wide_things_scroll_by_themselves(page):
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert '<div class="wide" tabindex="0"><table>' in page
    assert '<p class="wide"><img' in page


def test_only_texts_in_a_table_are_broken_into_lines(page):
    assert f'<td class="prose">{LONG}</td>' in page
    assert "<td>0.149 [0.040, 0.287]</td>" in page


def test_what_rounds_to_zero_has_no_sign():
    assert [number(value) for value in (-0.0004, -0.0, 0.0004, -0.0006)] == ["0.000", "0.000", "0.000", "-0.001"]
    assert shown(Mean(0.083, -0.0, 0.167, 4)) == "0.083 [0.000, 0.167]"


def test_large_numbers_have_no_exponent():
    numbers = (0.2321, 12.35, 999.4, 999.5, 1234.5, 60600.4)
    assert [significant(number, 3) for number in numbers] == ["0.232", "12.3", "999", "1000", "1234", "60600"]
    assert [significant(number, 4) for number in (3300, 9999.6, 10000)] == ["3300", "10000", "10000"]


@pytest.mark.parametrize(
    "name",
    [
        "b]<i>*x*[.png",
        "![x](plot.png)",
        "_DSC_1_.png",
        "<script>.png",
        "`--force`",
        r"a\_b",
        "[a]: /b",
        "&lt;&#65;&.png",
    ],
)
def test_what_looks_like_markdown_or_html_is_shown_as_it_is(tmp_path, name):
    (tmp_path / "plot.png").write_bytes(b"png")
    lines = [picture(name, Path("plot.png")), *table(("name",), [[name]])]
    page = to_html("# Title\n\n" + "\n".join(lines), tmp_path)
    assert page.count("<img") == 1
    assert html.unescape(re.findall('alt="(.*?)"', page)[0]) == name
    assert html.unescape(re.findall("<td>(.*?)</td>", page)[0]) == name


def test_numbers_and_parameters_stand_in_the_table_as_they_are():
    cells = ["0.149 [0.040, 0.287]", "adv-cf(learning_rate=0.003)", "Gain ↓"]
    assert next(iter(table(cells, []))) == f"| {' | '.join(cells)} |"
    assert list(table(["a"], [[cell] for cell in cells]))[2:5] == [f"| {cell} |" for cell in cells]
