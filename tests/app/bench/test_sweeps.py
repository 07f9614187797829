"""Several values of a parameter in one item of a study's lists, and what the report makes of them."""

import pytest

from app.bench.choices import Choices, draft
from app.bench.items import BenchError, find_attacks, find_defenses, split
from app.bench.sweeps import Curve, curves, expand
from models.attacks import ATTACKS
from models.defenses import DEFENSES
from models.metrics import metrics


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("jpeg(quality=30|50),flip", ["jpeg(quality=30)", "jpeg(quality=50)", "flip"]),
        (
            "flip+jpeg(quality=9| 8, subsampling=4:4:4)",
            ["flip + jpeg(quality=9, subsampling=4:4:4)", "flip + jpeg(quality=8, subsampling=4:4:4)"],
        ),
        ("upscale(scale=0.5|0.25,mode=nearest|bicubic)", [
            "upscale(scale=0.5, mode=nearest)", "upscale(scale=0.5, mode=bicubic)",
            "upscale(scale=0.25, mode=nearest)", "upscale(scale=0.25, mode=bicubic)",
        ]),
        ("diffpure(timestep=*)", [f"diffpure(timestep={t})" for t in (5, 10, 20, 30, 50)]),
        ('{"name": "jpeg", "quality": 30}', ['{"name": "jpeg", "quality": 30}']),
        ('restore(file="a|b.pth")', ['restore(file="a|b.pth")']),
        ("barrage(count=1|2, among=flip + jpeg(quality=30))", [
            "barrage(count=1, among=flip + jpeg(quality=30))", "barrage(count=2, among=flip + jpeg(quality=30))"
        ]),
    ],
)  # fmt: skip
def test_values_between_bars_become_an_item_each(text, texts):
    assert expand(split(text), DEFENSES) == texts


def test_a_star_stands_for_the_values_of_guardians_and_only_where_there_are_some():
    assert expand(["ifgsm(step=*, draws=4)"], ATTACKS) == [f"ifgsm(step={s}, draws=4)" for s in (0.2, 0.4, 0.8)]
    with pytest.raises(BenchError, match=r"jpeg has values to try only for quality\. Write them, as in subsampling=1"):
        expand(["jpeg(subsampling=*)"], DEFENSES)
    with pytest.raises(BenchError, match="flip has values to try for none of its parameters"):
        expand(["flip(angle=*)"], DEFENSES)


def test_a_study_attacks_through_each_value_that_is_named(tmp_path):
    lists = {"attacks": "ifgsm(epsilon=2|4)", "defenses": "jpeg(quality=10|50),flip", "metrics": "fr-surrogate"}
    drawn = draft(Choices(tmp_path, tmp_path, **lists, adaptive="jpeg(quality=10|50)"), "1").parameters
    assert [one.label for one in drawn.attacks] == ["ifgsm(epsilon=2)", "ifgsm(epsilon=4)"]
    assert drawn.adaptive == ("jpeg(quality=10)", "jpeg")


def test_a_metric_whose_name_holds_a_plus_or_a_bar_is_one_metric(tmp_path, standin, monkeypatch):
    for name in ("standin+", "standin+_a|b"):  # as pyiqa's clipiqa+
        monkeypatch.setitem(metrics(), name, standin)
    lists = {"attacks": "ifgsm", "defenses": "jpeg", "metrics": "standin+,standin+_a|b"}
    drawn = draft(Choices(tmp_path, tmp_path, **lists), "1").parameters
    assert [one.label for one in drawn.metrics] == ["standin+", "standin+_a|b"]


def test_what_differs_in_one_number_is_a_curve_in_the_order_of_that_number():
    texts = expand(split("jpeg(quality=90|50|10),flip+jpeg(quality=20|5),jpeg(channel_order=bgr),flip"), DEFENSES)
    chains = Curve("quality", {5: "flip + jpeg(quality=5)", 20: "flip + jpeg(quality=20)"})
    single = Curve("quality", {10: "jpeg(quality=10)", 50: "jpeg", 90: "jpeg(quality=90)"})
    assert curves(find_defenses(texts, is_preset=False).items) == [single, chains]
    attacks = find_attacks(["ifgsm(epsilon=2)", "ifgsm(epsilon=4, step=2)", "mifgsm"], is_preset=False).items
    assert curves(attacks) == []
