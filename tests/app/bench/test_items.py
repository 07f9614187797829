"""Names and JSON become attacks, defenses and metrics, or a message, before anything runs."""

import json

import pytest

from app.bench.items import BenchError, find_attacks, find_defenses, find_metrics, label_of, slug, split
from app.bench.presets import PRESETS


def test_a_comma_list_may_hold_json_and_labels_with_commas_of_their_own():
    text = 'ifgsm, {"name": "square", "queries": 500},{"name": "chain", "steps": [{"name": "jpeg"}]} ,fgsm'
    assert split(text) == [
        "ifgsm", '{"name": "square", "queries": 500}', '{"name": "chain", "steps": [{"name": "jpeg"}]}', "fgsm"
    ]  # fmt: skip
    assert split("") == []
    labels = ["rotate(limit=15, border=zeros)", "chain(steps=jpeg(quality=30) + rotate(limit=3, border=zeros))", "fgsm"]
    assert split(",".join(labels)) == labels
    with pytest.raises(BenchError, match="fgsm' is not JSON"):
        find_attacks(split('{"name": "square", fgsm'), is_preset=False)


def test_a_label_tells_what_differs_from_the_defaults():
    texts = ["square", '{"name": "square", "queries": 500, "epsilon": 4}']
    assert [item.label for item in find_attacks(texts, is_preset=False).items] == [
        "square",
        "square(epsilon=4, queries=500)",
    ]
    chain = '{"name": "chain", "steps": [{"name": "jpeg", "quality": 30}, {"name": "unsharp"}]}'
    assert find_defenses([chain], is_preset=False).items[1].label == "jpeg(quality=30) + unsharp"


def test_the_undefended_score_is_always_measured_and_first_however_it_is_named():
    for undefended in ("none", '{"name": "none"}', ' {"name":"none"}'):
        found = find_defenses(["jpeg", undefended], is_preset=False)
        assert [item.label for item in found.items] == ["none", "jpeg"]


def test_all_parameters_are_kept_so_that_new_defaults_are_noticed():
    (item,) = find_attacks(["ifgsm"], is_preset=False).items
    assert item.about == {
        "name": "ifgsm",
        "goal": "raise",
        "draws": 1,
        "both": False,
        "epsilon": 10.0,
        "step": 1.0,
        "iterations": 10,
    }


@pytest.mark.parametrize(
    ("find", "text", "message"),
    [
        (find_attacks, "ifgms", "did you mean 'ifgsm'"),
        (find_attacks, '{"name": "ifgsm", "epsilon": -1}', "epsilon: Input should be greater"),
        (find_attacks, "uap", "cannot be used here: no learned pattern"),
        (find_defenses, "jpg", "no defense 'jpg'"),
        (find_defenses, '{"name": "jpeg", "qualty": 3}', "qualty: there is no such parameter"),
        (find_defenses, '{"name": "median-blur", "kernel": 4}', "kernel: the side of a kernel must be odd"),
        (find_metrics, "nosuch", "no metric 'nosuch'"),
    ],
)
def test_what_was_named_and_cannot_be_used_is_an_error(find, text, message):
    with pytest.raises(BenchError, match=message):
        find([text], is_preset=False)


def test_what_a_preset_names_and_cannot_be_used_is_skipped_with_the_reason():
    found = find_attacks(["ifgsm", "uap", "cadv"], is_preset=True)
    assert [item.label for item in found.items] == ["ifgsm"]
    assert [(one.name, one.reason) for one in found.skipped] == [
        ("uap", found.skipped[0].reason),
        ("cadv", "this version does not have it"),
    ]
    assert "no learned pattern" in found.skipped[0].reason


def test_one_thing_twice_and_nothing_at_all_are_errors():
    with pytest.raises(BenchError, match="twice"):
        find_attacks(["ifgsm", '{"name": "ifgsm", "epsilon": 10}'], is_preset=False)
    with pytest.raises(BenchError, match="name at least one with --attacks"):
        find_attacks([], is_preset=False)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_made_and_compares_the_papers_number_of_things(name):
    preset = PRESETS[name]
    attacks, defenses = find_attacks(preset.attacks, is_preset=True), find_defenses(preset.defenses, is_preset=True)
    counts = {"quick": (3, 6), "paper": (10, 17), "guardians": (14, 18)}
    found = [len(one.items) + len(one.skipped) for one in (attacks, defenses)]
    assert tuple(found) == counts[name]


def test_presets_purify_as_the_code_of_their_paper_does_where_the_two_differ():
    quirks = [
        ("paper", {"name": "jpeg", "channel_order": "bgr"}),
        ("guardians", {"name": "jpeg"}),
        ("paper", {"name": "real-esrgan", "outscale": 1}),
        ("guardians", {"name": "real-esrgan", "outscale": 4}),
        ("paper", {"name": "random-crop", "size": 256}),
        ("guardians", {"name": "random-crop", "size": 128}),
    ]
    for preset, wanted in quirks:
        found = find_defenses(PRESETS[preset].defenses, is_preset=True)
        labels = {item.label for item in found.items} | {one.name for one in found.skipped}
        assert label_of(json.dumps(wanted)) in labels, preset


def test_names_of_files_are_plain_and_tell_labels_apart():
    assert slug("jpeg") == "jpeg"
    names = {slug(label) for label in ("jpeg(quality=30)", "jpeg[quality=30]", "jpeg_quality=30", "pyiqa:musiq")}
    assert len(names) == 4
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789._=-") for name in names)
