"""The documentation is tested: tables are generated, commands run, examples work, names are spelled one way."""

import ast
import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import pytest

from app.bench.sweeps import expand
from app.command import listing
from app.decoding.pool import UndecodableImageError
from app.errors import image_problem
from app.schemas import AttackForm, JobDocument, PurifyForm, ScoreForm
from app.settings import Settings
from models.attacks import ATTACKS, parse_attack
from models.defenses import DEFENSES, parse_defense
from models.images import ImageError
from models.notation import split

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TABLE = r"<!-- {0}: purifiqa {0} --markdown -->\n(.*)<!-- /{0} -->"


def settings_table():
    """The table of docs/settings.md, from the settings themselves."""
    lines = ["| variable | default | what it sets |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = str(field.default).replace(str(Path.home()), "~") if field.default not in (None, "") else ""
        shown = f"`{default}`" if default else "unset"
        lines.append(f"| `PURIFIQA_{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(lines) + "\n"


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 120


@pytest.mark.parametrize("kind", ["defenses", "attacks"])
def test_a_table_is_the_catalogues(kind):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        getattr(listing, kind)("markdown")
    text = (ROOT / "docs" / f"{kind}.md").read_text()
    found = re.search(TABLE.format(kind), text, re.DOTALL)
    assert found[1] == printed.getvalue(), f"write it anew: purifiqa {kind} --markdown"


def test_a_default_in_the_table_of_defenses_is_written_as_it_can_be_given():
    rows = re.findall(TABLE.format("defenses"), (ROOT / "docs" / "defenses.md").read_text(), re.DOTALL)[0]
    for name, told in re.findall(r"^\| `(.+?)` \| .* \| (.+) \|$", rows, re.MULTILINE):
        given = ", ".join(re.findall(r"`(.+?)`", told))
        assert parse_defense(f"{name}({given})") == parse_defense(name), name


def test_every_setting_is_documented_as_it_is():
    text = (ROOT / "docs" / "settings.md").read_text()
    assert settings_table() in text, f"the table should be:\n{settings_table()}"


def test_the_words_that_a_setting_takes_are_told():
    text = " ".join((ROOT / "docs" / "settings.md").read_text().split())
    told = dict(re.findall(r"`PURIFIQA_([A-Z_]+)` is ((?:`\w+`(?:, | or )?)+)", text))
    takes = {name: get_args(field.annotation) for name, field in Settings.model_fields.items()}
    assert {name: tuple(re.findall(r"\w+", words.replace(" or ", " "))) for name, words in told.items()} == {
        name.upper(): words for name, words in takes.items() if words and all(isinstance(word, str) for word in words)
    }


def test_every_field_of_a_request_and_of_a_job_is_told():
    told = set(re.findall(r"[`\"]([a-z_]+)[`\"(]", (ROOT / "docs" / "api.md").read_text()))
    fields = {name for kind in (PurifyForm, ScoreForm, AttackForm, JobDocument) for name in kind.model_fields}
    assert fields <= told, fields - told


def test_every_word_for_what_was_done_to_an_image_is_explained():
    source = "".join(file.read_text() for file in (ROOT / "models" / "image_files").glob("*.py"))
    words = set(re.findall(r'"((?:[a-z0-9]+-)+(?:bit|ignored|picture|rgb|srgb|white))"', source))
    [rows] = re.findall(r"\| word \| what it means \|\n(.*)", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)
    told = {word for row in rows.splitlines() for word in re.findall(r"`([^`]*)`", row.split("|")[1])}
    assert told - {"exif-orientation-N"} == words


def raised_codes():
    """The codes of every problem that the source names, with the status where it stands beside it."""
    places = {"ProblemError": (0, 1), "_refuse": (0, 1), "field_problem": (0, 2)}  # of the status, of the code
    for file in [*(ROOT / "app").rglob("*.py"), *(ROOT / "workers").rglob("*.py")]:
        for call in (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)):
            name = getattr(call.func, "id", getattr(call.func, "attr", ""))
            if name == "Failure":
                found = (None, next((one.value for one in call.keywords if one.arg == "code"), None))
            elif name in places and len(call.args) > max(places[name]):
                found = tuple(call.args[place] for place in places[name])
            else:
                continue
            status, code = (one.value if isinstance(one, ast.Constant) else None for one in found)
            if code:
                yield code, status
    assert UndecodableImageError in every_subclass(ImageError)
    for kind in every_subclass(ImageError):
        yield kind.code, image_problem(kind("")).status


def every_subclass(kind):
    for one in kind.__subclasses__():
        yield one
        yield from every_subclass(one)


def test_every_code_of_a_problem_is_explained_under_its_status():
    text = (ROOT / "docs" / "api.md").read_text()
    [rows] = re.findall(r"\| status \| codes \|\n\|---\|---\|\n((?:\|.*\n)*)", text)
    told = {}
    for row in rows.splitlines():
        _, statuses, codes, _ = row.split("|")
        for code in re.findall(r"`([a-z]+(?:-[a-z]+)*)`", codes):
            told.setdefault(code, set()).update(int(one) for one in re.findall(r"\d+", statuses))
    raised = set(raised_codes())
    for code, status in raised:
        assert code in told, code
        assert status is None or status in told[code], (code, status)
    built = {"too-much-work", "too-much-memory", "job-unknown", "batch-unknown", "batch-expired", "attacks-off"}
    assert told.keys() - {code for code, _ in raised} - built == {"errors"}


def test_every_variable_named_anywhere_is_a_setting():
    known = {f"PURIFIQA_{name.upper()}" for name in Settings.model_fields}
    known |= {"PURIFIQA_CI_CACHE", "PURIFIQA_API_KEY"}  # of .ci/run, clients
    places = ["README.md", "docker-compose.yml", "docker/Dockerfile", ".ci/run", "docs", "app", "workers", "benchmarks"]
    for place in places:
        files = (
            [ROOT / place]
            if (ROOT / place).is_file()
            else [*(ROOT / place).rglob("*.md"), *(ROOT / place).rglob("*.py")]
        )
        for file in files:
            for name in re.findall(r"PURIFIQA_[A-Z_]+[A-Z]", file.read_text()):
                assert name in known, f"{file}: {name}"


def test_the_changelog_begins_with_this_version():
    first = re.search(r"^## (\S+)", (ROOT / "docs" / "changelog.md").read_text(), re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert first[1] == project["version"] == version("purifiqa")
    assert f"purifiqa}}:{project['version']} " in (ROOT / "docker-compose.yml").read_text()


def test_defense_is_spelled_one_way():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    british = "defen" + "ce"
    for name in tracked:
        path = ROOT / name
        if (
            path.is_file()
            and path.suffix in (".py", ".md", ".toml", ".yml", ".html")
            and name != "tests/app/test_bad_input.py"
        ):
            assert british not in path.read_text().lower(), name


def named_in_the_documentation():
    """What the pages give to --defense, --defenses, --attack and --attacks, and the table of how a defense is written."""
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "results").glob("*.md")]:
        given = re.findall(r"(--defenses?|--attacks?|DEFENSES)[ =]('[^']+'|[^\s|`]+)", page.read_text())
        for option, text in given:
            kinds = ATTACKS if "attack" in option else DEFENSES
            for item in expand(split(text.strip("'"), ","), kinds):
                if re.fullmatch(r'[A-Z]|LIST.*|\.\.\.|"?\$DEFENSES"?|', item) is None:
                    yield "attack" if "attack" in option else "defense", item
    table = re.search(r"\| write \| to get \|\n((?:\|.*\n)*)", (ROOT / "docs" / "defenses.md").read_text())
    for item in re.findall(r"^\| `(.*?)` \|", table[1], re.MULTILINE):
        yield "defense", item


@pytest.mark.parametrize(("kind", "text"), sorted(set(named_in_the_documentation())))
def test_every_defense_and_attack_in_the_documentation_can_be_given(kind, text):
    assert (parse_attack if kind == "attack" else parse_defense)(text)


def test_links_in_the_documentation_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page}: {target}"


def test_no_page_says_a_thing_twice():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        paragraphs = [one for one in re.split(r"\n{2,}", page.read_text()) if len(one) > 200]
        assert len(paragraphs) == len(set(paragraphs)), page


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_readmes_commands_work_and_answer_as_it_says(server, photo_jpeg, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(photo_jpeg)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    first, *others = blocks("sh")
    assert first.splitlines()[0].endswith("purifiqa up")
    answers = []
    for command in "".join(others).splitlines():
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command.replace("http://127.0.0.1:8000", server)],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        answers.append(done.stdout)
    shown, answered = json.loads(blocks("json")[0]), json.loads(answers[0])
    assert set(shown) == set(answered)
    assert list(shown["result"]["scores"][0]) == list(answered["result"]["scores"][0])  # in this order too
    assert answered["status"] == shown["status"] == "finished"
    assert (tmp_path / "purified.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "purified" / "photo.png").is_file()


def test_the_python_of_its_page_runs_as_it_stands(photo_jpeg, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(photo_jpeg)
    page = (ROOT / "docs" / "python.md").read_text()
    printed = []
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    clean, attacked, purified = (float(one) for one in re.findall(r"(?:clean|attacked|purified) ([\d.]+)", printed[0]))
    assert attacked > clean + 5
    assert abs(purified - clean) < abs(attacked - clean)
    assert (tmp_path / "purified.png").read_bytes().startswith(b"\x89PNG")
    scores = [[float(one) for one in re.findall(r"[\d.]+\d", row)] for row in re.findall(r"\[(.*?)\]", printed[1])]
    assert all(attacked > clean for clean, attacked in zip(scores[0], scores[1], strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "file", "name", "tests", "catalogue"),
    [
        ("adding-a-defense", "defenses/gamma_jitter.py", "gamma-jitter", "test_every_defense*.py", "defenses"),
        ("attacks", "attacks/pgd.py", "pgd", "test_every_attack.py", "attacks"),
    ],
    ids=["defense", "attack"],
)
def test_the_example_of_adding_one_is_all_it_takes(tmp_path, page, file, name, tests, catalogue):
    """In a scratch copy: one file, and the catalogue, the command and the contract tests have it."""
    for part in ("app", "workers", "models", "tests", "docs", "pyproject.toml", "README.md", "docker-compose.yml"):
        source = ROOT / part
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / part)
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / f"{page}.md").read_text(), re.DOTALL)[1]
    (tmp_path / "models" / file).write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        *(str(found) for found in sorted(tmp_path.glob(f"tests/contracts/{tests}"))),
        "-k",
        name,
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 10
    listed = subprocess.run(
        [sys.executable, "-m", "app", catalogue, "--json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert name in [entry["name"] for entry in json.loads(listed.stdout)]
