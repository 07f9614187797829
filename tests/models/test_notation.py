"""How a defense or an attack is written in a line, and that the line says the same."""

import json

import pytest
from pydantic import ValidationError

from models.attacks import ATTACKS, UnknownAttackError, parse_attack
from models.defenses import DEFENSES, UnknownDefenseError, make_defense, parse_defense
from models.notation import split, write

NOISE = {"name": "random-noise", "sigma": 0.008}


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("jpeg", {"name": "jpeg"}),
        (" jpeg ", {"name": "jpeg"}),
        ("jpeg()", {"name": "jpeg"}),
        ("jpeg(quality=30)", {"name": "jpeg", "quality": 30}),
        ("jpeg ( quality = 30 , subsampling = 4:4:4 )", {"name": "jpeg", "quality": 30, "subsampling": "4:4:4"}),
        ("resize(antialias=false)", {"name": "resize", "antialias": False}),
        ("diffpure(timestep=auto)", {"name": "diffpure", "timestep": "auto"}),
        ('diffpure(denoiser="ffdnet")', {"name": "diffpure", "denoiser": "ffdnet"}),
        ("flip+jpeg", {"name": "chain", "steps": [{"name": "flip"}, {"name": "jpeg"}]}),
        ("flip + random-noise(sigma=0.008)", {"name": "chain", "steps": [{"name": "flip"}, NOISE]}),
        ('flip + {"name": "random-noise", "sigma": 8e-3}', {"name": "chain", "steps": [{"name": "flip"}, NOISE]}),
        ("chain(steps=flip + jpeg)", {"name": "chain", "steps": [{"name": "flip"}, {"name": "jpeg"}]}),
        ("chain(steps=flip)", {"name": "chain", "steps": [{"name": "flip"}]}),
        ('chain(steps=[{"name": "flip"}])', {"name": "chain", "steps": [{"name": "flip"}]}),
        (
            "barrage(among=flip + jpeg(quality=30), count=1) + unsharp",
            {
                "name": "chain",
                "steps": [
                    {"name": "barrage", "among": [{"name": "flip"}, {"name": "jpeg", "quality": 30}], "count": 1},
                    {"name": "unsharp"},
                ],
            },
        ),
    ],
)
def test_a_line_is_the_defense_that_its_json_is(line, meant):
    assert parse_defense(line) == make_defense(meant) == parse_defense(json.dumps(meant))


def test_a_line_is_the_attack_that_its_json_is():
    assert parse_attack("ifgsm(epsilon=4, goal=lower)") == parse_attack('{"name":"ifgsm","epsilon":4,"goal":"lower"}')
    assert parse_attack("uap(file=/a folder/b+c.pt)") == parse_attack('{"name":"uap","file":"/a folder/b+c.pt"}')


def presets():
    for parse, kinds in ((parse_defense, DEFENSES), (parse_attack, ATTACKS)):
        for name, kind in kinds.items():
            yield parse, kind()
            for field, values in kind.presets.items():
                for value in values:
                    yield parse, kind.model_validate({"name": name, field: value})
    for line in ("flip + jpeg(quality=30)", "barrage(among=flip + jpeg, count=1)", "chain(steps=median-blur)"):
        yield parse_defense, parse_defense(line)
    yield parse_defense, parse_defense('{"name": "random-noise", "sigma": 0.0081234567891}')
    for pattern in ("/tmp/a b.pt", "a,b(1)+=.pt", 'a "quoted" name', "12", "true", "C:\\folder\\file", "{", " "):
        yield parse_attack, ATTACKS["uap"](file=pattern)


@pytest.mark.parametrize(("parse", "made"), list(presets()), ids=lambda one: write(one) if hasattr(one, "name") else "")
def test_what_is_written_is_read_again(parse, made):
    assert parse(write(made)) == made


def test_a_line_is_short():
    assert write(make_defense({"name": "jpeg", "quality": 50})) == "jpeg"
    assert write(parse_defense("chain")) == "median-blur + unsharp"
    chain = {"name": "chain", "steps": [{"name": "flip"}, {"name": "jpeg", "quality": 30, "rounding": "nearest"}]}
    assert write(make_defense(chain)) == "flip + jpeg(quality=30)"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("jpeg(quality=30", "is not a name with parameters in parentheses"),
        ("jpeg(quality=30) flip", "is not a name with parameters in parentheses"),
        ("(quality=30)", "is not a name with parameters in parentheses"),
        ("jpeg(30)", "'30' in jpeg(...) is not parameter=value"),
        ("jpeg(=30)", "'=30' in jpeg(...) is not parameter=value"),
        ("jpeg(quality=30, quality=40)", "'quality' is there twice"),
        ("jpeg(quality=30,)", "'' in jpeg(...) is not parameter=value"),
        ("jpeg(name=flip)", "'name' is there twice"),
        ("flip+", "lacks a defense before or after a +"),
        ("+flip", "lacks a defense before or after a +"),
        ("flip++jpeg", "lacks a defense before or after a +"),
        ('{"name": "jpeg", "quality": 30', "is not JSON"),
        ('{"name": "jpeg", "quality": 30} + {', "is not JSON"),
        ('jpeg(subsampling="4:4:4)', "is not JSON: Unterminated string"),
        ("flip+jpge", "Input tag 'jpge'"),
        ("flip+chain", "a chain cannot hold a chain"),
        ("jpeg(quality=101)", "less than or equal to 100"),
        ("jpeg(qualty=50)", "Extra inputs are not permitted"),
    ],
)
def test_a_line_that_says_nothing_is_refused_with_its_reason(line, message):
    with pytest.raises(ValueError, match=r".") as caught:
        parse_defense(line)
    assert message in str(caught.value)


def test_what_is_no_name_is_unknown():
    for line in ("jpge", "jpge(quality=3)", "jpeg,flip", ""):
        with pytest.raises(UnknownDefenseError):
            parse_defense(line)
    with pytest.raises(UnknownAttackError):
        parse_attack("ifgms(epsilon=4)")
    with pytest.raises(ValueError, match="only defenses are joined"):
        parse_attack("ifgsm+mifgsm")


def test_a_list_of_two_is_told_how_to_be_one():
    with pytest.raises(UnknownDefenseError, match=r"join several with \+, such as flip\+jpeg"):
        parse_defense("jpeg,flip")


def test_a_deep_nest_costs_nothing():
    for line in (
        "(" * 100_000,
        "chain(steps=" * 5000 + "flip" + ")" * 5000,
        "[" * 100_000,
        "a(" * 50_000,
        "chain(x=)),steps=" * 5000 + ")" * 5000,
    ):
        with pytest.raises((ValueError, ValidationError)):
            parse_defense(line)


def test_brackets_and_quotes_keep_a_separator():
    assert split('a, b(1, 2), {"c": "d, }"}, "e, \\", f" ,g', ",") == [
        "a",
        "b(1, 2)",
        '{"c": "d, }"}',
        '"e, \\", f"',
        "g",
    ]
    assert split("", ",") == [""]
    assert split("a)),b", ",") == ["a))", "b"]
