"""The page at `/`: its own files, nothing from elsewhere, and in a real browser an image in and scores out."""

import re

import pytest

from app.routes.page import FILES

HTML = FILES["index.html"].decode()
SCRIPTS = {name: text.decode() for name, text in FILES.items() if name.endswith(".js")}


@pytest.mark.parametrize("path", ["/", *(f"/web/{name}" for name in FILES)])
def test_every_file_of_the_page_comes_with_a_policy_that_lets_nothing_else_run(client, path):
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.content == FILES[path.removeprefix("/web/") if path != "/" else "index.html"]
    policy = dict(one.split(" ", 1) for one in answer.headers["content-security-policy"].split("; "))
    assert policy.pop("img-src") == "'self' blob: data:"
    own = dict.fromkeys(("script-src", "style-src", "connect-src"), "'self'")
    none = dict.fromkeys(("default-src", "frame-ancestors", "base-uri", "form-action"), "'none'")
    assert policy == own | none
    kind = {"/": "html", "html": "html", "css": "css", "js": "javascript"}[path.rpartition(".")[2]]
    assert answer.headers["content-type"].startswith(f"text/{kind}")


def test_a_file_that_the_page_does_not_have_is_a_problem(client):
    for name in ("other.js", "..%2Fmain.py", "page.py"):
        answer = client.get(f"/web/{name}")
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_the_page_asks_only_for_files_of_its_own():
    asked = re.findall(r'(?:src|href)="([^"#]+)"', HTML)
    assert {"/web/page.css", "/web/page.js", "/docs"} <= set(asked)
    assert all(one in ("/docs", "data:,") or one.removeprefix("/web/") in FILES for one in asked)
    for name, text in SCRIPTS.items():
        assert all(f"{one}.js" in SCRIPTS for one in re.findall(r'from "\./(\w+)\.js"', text)), name
        assert not re.search(r"https?://|innerHTML|eval\(", text), name
    assert not re.search(r"\son\w+=|style=|https?://", HTML), "inline handlers and styles would not run"


def test_what_scripts_look_for_is_on_the_page():
    ids = set(re.findall(r'id="([\w-]+)"', HTML))
    for name, text in SCRIPTS.items():
        assert set(re.findall(r'part\("([\w-]+)"\)', text)) <= ids, name


def test_each_control_has_a_label():
    controls = re.findall(r"<(?:input|select|progress)\b[^>]*>", HTML)
    assert len(controls) == 8
    for control in controls:
        name = re.search(r'id="([\w-]+)"', control).group(1)
        is_within = re.search(rf"<label>\s*{re.escape(control)}", HTML)
        assert is_within or f'for="{name}"' in HTML or "aria-label=" in control, name


@pytest.mark.slow
def test_in_a_browser_an_image_is_purified_and_its_scores_and_problems_are_shown(browser, server, photo_png):
    page = browser.new_page()
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(server)
    page.locator("#metrics input").first.wait_for()
    page.set_input_files("#image", {"name": "a 'quoted' <b>.png", "mimeType": "image/png", "buffer": photo_png})
    page.select_option("#defense", "jpeg")
    page.click("#parameters-box summary")
    page.fill("#parameter-quality", "30")
    page.click("#send")
    page.locator("#tried li").first.wait_for(timeout=60_000)
    assert '"quality": 30' in page.text_content("#job")
    assert page.locator("#scores th").all_inner_texts() == ["fr-surrogate (version 10)", "piqe (version 1)"]
    assert "difference" not in page.get_attribute("#stage", "class")
    assert page.evaluate("e => [e.naturalWidth, e.naturalHeight]", page.query_selector("#after")) == [128, 96]
    assert "defense=jpeg(quality=30)" in page.text_content("#command")
    assert "-F 'image=@\"a '\\''quoted'\\'' <b>.png\"'" in page.text_content("#command")
    page.check("#show-difference")
    assert page.is_visible("#difference")

    page.select_option("#defense", "random-crop")
    page.fill("#parameter-size", "64")
    page.click("#send")
    page.locator("#tried li").nth(1).wait_for(timeout=60_000)
    assert "over" not in (page.get_attribute("#stage", "class") or ""), "images of two sizes stand side by side"

    page.select_option("#defense", "chain")
    assert page.input_value("#parameter-steps") == "median-blur + unsharp"
    page.fill("#parameter-steps", "flip + diffpure(timestep=auto)")
    page.click("#send")
    page.locator("#tried li").nth(2).wait_for(timeout=60_000)
    assert "defense=chain(steps=flip + diffpure(timestep=auto))" in page.text_content("#command")
    assert '"timestep": "auto"' in page.text_content("#job")

    page.fill("#parameter-steps", "flop + jpeg")
    page.click("#send")
    page.locator("#problem").wait_for()
    assert "did you mean 'flip'?" in page.inner_text("#problem")
    assert not wrong
