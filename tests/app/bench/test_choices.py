"""What a study is asked to do: what is refused before anything runs, and what may be added to a folder."""

import dataclasses

import pytest
from PIL import Image, ImageOps
from studies import settled

from app.bench import study
from app.bench.choices import draft
from app.bench.folder import Folder
from app.bench.items import BenchError
from app.bench.parameters import Manifest


def test_other_parameters_are_refused_unless_they_only_add(choices):
    settled(choices)
    for change, message in [
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"size": "32x32"}, "size was unset and is"),
        ({"attacks": "ifgsm,fgsm"}, "attacks with fgsm"),
        ({"attacks": '{"name": "ifgsm", "epsilon": 4}'}, r"without ifgsm and with ifgsm\(epsilon=4\)"),
        ({"limit": 1}, "pictures without b.png"),
    ]:
        with pytest.raises(BenchError, match=message):
            settled(dataclasses.replace(choices, **change))
    (manifest, _) = settled(dataclasses.replace(choices, attacks="ifgsm,fgsm", add=True))
    assert len(manifest.parameters.pairs) == 2
    with pytest.raises(BenchError, match="only adds to what the folder holds"):
        settled(dataclasses.replace(choices, attacks="fgsm", add=True))


@pytest.mark.parametrize("add", [False, True])
def test_a_picture_that_changed_is_told_as_another_of_its_name(choices, add):
    settled(choices)
    with Image.open(choices.images / "a.png") as picture:
        ImageOps.mirror(picture).save(choices.images / "b.png")
    with pytest.raises(BenchError, match=r"pictures:? with another b.png(\.|$)"):
        settled(dataclasses.replace(choices, add=add))


def test_a_folder_of_something_else_and_one_in_use_are_refused(choices):
    choices.out.mkdir()
    (choices.out / "manifest.json").write_text("{}")
    with pytest.raises(BenchError, match="was not written by this version"):
        settled(choices)
    with Folder(choices.out).alone(), pytest.raises(BenchError, match="another purifiqa bench"):
        study.run(choices, "1")


def test_an_attack_that_follows_gradients_needs_a_metric_that_has_some(choices, monkeypatch):
    from standin_metrics import Standin

    from models.metrics import metrics

    monkeypatch.setitem(metrics(), "flat", Standin(differentiable=False))
    with pytest.raises(BenchError, match="ifgsm needs gradients, and flat has none: choose another metric"):
        draft(dataclasses.replace(choices, metrics="flat"), "1")
    both = draft(
        dataclasses.replace(choices, metrics="standin,flat", attacks='{"name":"square","queries":9},ifgsm'), "1"
    )
    assert [(pair.attack, pair.metric) for pair in both.parameters.pairs] == [
        ("square(queries=9)", "standin"), ("square(queries=9)", "flat"), ("ifgsm", "standin"),
    ]  # fmt: skip
    assert [one.name for one in both.skipped if one.kind == "pair"] == ["ifgsm on flat"]


@pytest.mark.parametrize(
    ("adaptive", "expected"),
    [
        ("jpeg", ["jpeg", "jpeg(quality=30)"]),
        ('{"name": "jpeg", "quality": 30}', ["jpeg(quality=30)"]),
        ("flip,jpeg(quality=30)", ["jpeg(quality=30)", "flip"]),
        ("all", ["jpeg", "jpeg(quality=30)", "flip"]),
        (None, []),
    ],
)
def test_a_bare_name_means_every_defense_of_that_name(choices, adaptive, expected):
    defenses = 'jpeg,{"name": "jpeg", "quality": 30},flip'
    drafted = draft(dataclasses.replace(choices, defenses=defenses, adaptive=adaptive), "1")
    assert list(drafted.parameters.adaptive) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attacks": None}, "name --attacks and --defenses, or a --preset"),
        ({"size": "big"}, "WIDTHxHEIGHT"),
        ({"adaptive": "jpeg"}, "--adaptive names jpeg, which is not among the defenses: random-noise, flip"),
        ({"preset": "papers"}, "no preset 'papers'"),
    ],
)
def test_choices_that_cannot_be_carried_out_leave_nothing_behind(choices, change, message):
    with pytest.raises(BenchError, match=message):
        study.run(dataclasses.replace(choices, **change), "1")
    assert not choices.out.exists()


def test_a_manifest_reads_back_as_it_was(choices):
    manifest, folder = settled(choices)
    assert folder.manifest() == manifest == Manifest.model_validate_json(manifest.model_dump_json())
