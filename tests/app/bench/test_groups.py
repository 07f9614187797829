"""What the report says of groups of attacks, on cells whose numbers are known."""

import pytest

from app.bench.cells import Cell, Failure, Findings
from app.bench.folder import Folder
from app.bench.items import find_attacks, find_defenses, find_metrics
from app.bench.parameters import Manifest, Pair, Parameters
from app.bench.report import whole
from app.bench.report.html import to_html
from models.availability import AVAILABLE

pytestmark = pytest.mark.usefixtures("undrawn")


def manifest(*attacks):
    found = find_attacks(attacks, is_preset=False, availability=lambda _: AVAILABLE).items
    parameters = Parameters(
        size=None, seed=0, device="cpu", pictures=(), metrics=find_metrics(["entropy"], is_preset=False).items,
        attacks=found, defenses=find_defenses(["jpeg"], is_preset=False).items, gallery=0, adaptive=("jpeg",),
        pairs=tuple(Pair(attack=one.label, metric="entropy") for one in found),
    )  # fmt: skip
    return Manifest(version="1", command="bench", parameters=parameters, skipped=())


def cell(attack, *, adaptive=False):
    measures = {
        "score": 1,
        "clean_score": 1,
        "defended_clean_score": 1,
        "movement": 0.1,
        "gain": 0.1,
        "linf": 2,
        "ms": 1,
    }
    return Cell("a", "entropy", attack, "jpeg", adaptive, measures)


def sentences(manifest, found, root):
    """Return the report, and what it says of groups: of attacks that know of no defense, and through it."""
    whole.write(manifest, Findings(found), Folder(root))
    report = (root / "report.md").read_text()
    return report, [line for line in report.splitlines() if line.startswith("Gain (lower is better) by group")]


def test_a_group_names_only_the_attacks_that_its_numbers_are_of(tmp_path):
    both = [cell(name, adaptive=True) for name in ("mifgsm", "square", "nes")]
    its = manifest("ifgsm", "mifgsm", "square", "nes")
    _, [plain, through] = sentences(its, [cell("ifgsm"), cell("square"), *both], tmp_path)
    assert ("mifgsm" in plain, "nes" in plain) == (False, False)
    assert ("square, nes" in through, "= ifgsm" in through) == (True, False)


def test_a_name_of_a_file_that_looks_like_markdown_is_told_of_groups_as_it_is(tmp_path):
    its = manifest('{"name": "uap", "file": "my *b* _x_.safetensors"}', "madc")
    label = its.parameters.attacks[0].label
    report, _ = sentences(its, [cell(label), cell("madc")], tmp_path)
    assert f"uap = {label}." in to_html(report, tmp_path)


def test_what_failed_everywhere_for_one_reason_is_told_once(tmp_path):
    why, other = "standin: UnsuitableSizeError: too small", "ValueError: no"
    failures = [Failure(f"clean/{name}", "resize", why) for name in "abc"]
    whole.write(manifest("madc"), Findings(unscored=[*failures, Failure("clean/a", "flip", other)]), Folder(tmp_path))
    lines = (tmp_path / "report.md").read_text().splitlines()
    start = lines.index("## Without a score (4)")
    assert lines[start + 4 : start + 6] == [
        f"| clean/a and 2 more | resize | {why} |",
        f"| clean/a | flip | {other} |",
    ]
