"""How much work, memory and how large a result one order may be."""

import pytest
from problems import problem

from app.errors import ProblemError
from app.guard.admission import check_work
from app.guard.settings import GuardSettings
from models.attacks import parse_attack
from models.defenses import make_defense, parse_defense
from models.images import check
from workers.orders import AttackOrder, DefenseOrder


def refusal(order, image, height, width, **settings):
    """What the door says of an order for an image of this size; None: it is accepted."""
    facts = check(image).model_copy(update={"height": height, "width": width})
    try:
        check_work(order, facts, GuardSettings(**settings))
    except ProblemError as problem:
        return problem
    return None


LONG_CHAIN = '"name": "diffpure", "denoiser": "adm-256", "timestep": 150, "sampler": "ddim", "steps": 100'


@pytest.mark.parametrize(("defense", "samples", "accepted"), [
    ("diffpure", 1, True),
    ("jpeg", 32, True),
    ('{"name": "diffpure", "sampler": "ancestral", "timestep": 30}', 1, True),
    ('{"name": "diffpure", "sampler": "ancestral", "timestep": 150}', 32, False),
    ('{"name": "diffpure", "sampler": "ddim", "steps": 1000}', 1, True),  # 30, as many as there are timesteps
    (f'{{{LONG_CHAIN}}}', 1, False),
    (f'{{{LONG_CHAIN}, "squeeze": 256}}', 1, True),
    (f'{{"name": "chain", "steps": [{{"name": "jpeg"}}, {{{LONG_CHAIN}}}]}}', 1, False),
])  # fmt: skip
def test_work_is_pixels_times_steps_times_samples(defense, samples, accepted, photo_png):
    order = DefenseOrder(kind="score", defense=parse_defense(defense), metrics=("piqe",), samples=samples)
    found = refusal(order, photo_png, 2000, 3000)
    assert (found is None) == accepted
    if found:
        assert not found.is_about_the_order, "with a smaller image it may be accepted"
        [wrong] = found.errors
        assert "megapixel" in found.detail
        assert wrong.limit == GuardSettings().max_work < wrong.actual


@pytest.mark.parametrize(("attack", "defense", "megapixels", "accepted"), [
    ("ifgsm", None, 2.9, True), ("ifgsm", None, 3.1, False), ("ifgsm", "diffpure", 1.6, False),
    ('{"name": "ifgsm", "draws": 4}', "diffpure", 1.4, True),
    ("ifgsm", '{"name": "diffpure", "sampler": "ancestral", "timestep": 30}', 0.2, False),
    ('{"name": "nes", "queries": 100, "pairs": 50}', None, 39, True),
])  # fmt: skip
def test_what_an_attack_keeps_in_memory_for_a_gradient_is_bounded(attack, defense, megapixels, accepted, photo_png):
    through = None if defense is None else parse_defense(defense)
    order = AttackOrder(attack=parse_attack(attack), defense=through, metrics=("fr-surrogate",))
    found = refusal(order, photo_png, 1000, int(1000 * megapixels))
    assert (found is None) == accepted
    if found:
        assert not found.is_about_the_order, "with a smaller image it may be accepted"
        assert "keeps the gradient of" in found.detail
        assert (found.code, found.errors[0].field) == ("too-much-memory", "attack")


TWICE = '{"name": "restore", "network": "any", "outscale": 2}'
QUARTER = '{"name": "resize", "scale": 0.25}'


@pytest.mark.parametrize(("defense", "megapixels", "accepted"), [
    (TWICE, 9.9, True), (TWICE, 10.1, False), ("resize", 40, True),
    (f'{{"name": "chain", "steps": [{TWICE}, {TWICE}, {QUARTER}]}}', 2.4, True),
    (f'{{"name": "chain", "steps": [{TWICE}, {TWICE}, {QUARTER}]}}', 2.6, False),
    (f'{{"name": "chain", "steps": [{QUARTER}, {TWICE}, {TWICE}]}}', 39, True),
])  # fmt: skip
def test_no_step_of_a_defense_may_make_more_pixels_than_an_image_may_have(defense, megapixels, accepted, photo_png):
    order = DefenseOrder(kind="purify", defense=parse_defense(defense))
    found = refusal(order, photo_png, 1000, int(1000 * megapixels), max_work=1e9)
    assert (found is None) == accepted
    if found:
        assert not found.is_about_the_order, "with a smaller image it may be accepted"
        [wrong] = found.errors
        assert "smaller outscale or image" in found.detail
        assert wrong.code == "result-too-large"
        assert wrong.limit == GuardSettings().max_pixels < wrong.actual


def test_work_grows_with_the_image_for_every_defense():
    from models.defenses import DEFENSES

    for name in DEFENSES:
        defense = make_defense({"name": name})
        assert 0 < defense.work((100, 100)) < defense.work((1000, 1000)) or getattr(defense, "squeeze", 0), name


def test_too_much_work_is_refused_before_anything_is_kept(open_client, submit, settings, broker):
    client = open_client(max_work=0.001)
    answer = submit(client, defense="diffpure")
    assert problem(answer, 422, "too-much-work")["errors"][0]["limit"] == 0.001
    assert not list(settings.data_dir.glob("jobs/*/*"))
    assert broker.keys("purifiqa:job:*") == []


def test_an_order_that_was_refused_for_its_work_may_be_sent_again_with_the_same_idempotency_key(open_client, submit):
    client = open_client(max_work=0.001)
    for _ in range(2):  # a key that was not given back would be in use
        problem(submit(client, {"Idempotency-Key": "k1"}, defense="diffpure"), 422, "too-much-work")
