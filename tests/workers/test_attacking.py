"""Carrying out an order to attack: the image that a study makes, alone, with one thread, and stopped when asked to."""

import json

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from standin_metrics import Standin, photograph_like, undefined_at

from models.attack import NoGradientError
from models.attacks import parse_attack
from models.defenses import parse_defense
from models.images import ImageFormat, encode
from models.metrics import metrics
from workers.jobs import execute
from workers.orders import AnyOrder, AttackOrder, DefenseOrder, Kind
from workers.settings import WorkerSettings
from workers.worker import explain

PNG = encode(photograph_like(1, 32, 40), ImageFormat.PNG)


@pytest.fixture
def standin(monkeypatch):
    metric = Standin()
    monkeypatch.setitem(metrics(), "standin", metric)
    return metric


def order(attack="ifgsm", defense=None, metric="standin", seed=5):
    through = None if defense is None else parse_defense(defense)
    return AttackOrder(attack=parse_attack(attack), defense=through, metrics=(metric,), seed=seed)


@pytest.mark.parametrize("defense", [None, "jpeg"])
def test_an_order_survives_json_as_what_it_is(defense):
    anything = TypeAdapter(AnyOrder)
    for one in (
        order('{"name": "ifgsm", "epsilon": 4}', defense),
        DefenseOrder(kind=Kind.SCORE, defense=parse_defense("flip"), metrics=("piqe",)),
    ):
        again = anything.validate_python(json.loads(one.model_dump_json()))
        assert again == one
        assert type(again) is type(one)
        assert isinstance(again.kind, Kind)


def test_an_order_misleads_one_metric_and_holds_no_attack_that_reads_a_file():
    with pytest.raises(ValidationError):
        AttackOrder(attack=parse_attack("fgsm"), metrics=("niqe", "piqe"))
    with pytest.raises(ValidationError, match="uap"):
        AttackOrder(attack=parse_attack('{"name": "uap", "file": "/etc/passwd"}'), metrics=("niqe",))
    with pytest.raises(ValidationError):
        DefenseOrder(kind=Kind.ATTACK, defense=parse_defense("flip"))


def test_it_computes_with_one_thread_whatever_the_worker_has(standin, monkeypatch):
    seen = []
    real = Standin.score
    monkeypatch.setattr(Standin, "score", lambda *a: seen.append(torch.get_num_threads()) or real(*a))
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        execute(order(defense="jpeg"), PNG)
        assert set(seen) == {1}
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_gradients_flow_also_where_they_are_off_around_it(standin):
    with torch.no_grad():
        report, _ = execute(order(), PNG)
    assert report.attack.first_slope > 0
    assert report.attack.attacked > report.attack.clean


@pytest.mark.parametrize("goal", ["raise", "lower"])
def test_what_is_gained_is_how_far_the_defended_score_went_the_attackers_way(standin, goal):
    one = order(f'{{"name": "ifgsm", "goal": "{goal}"}}', "flip")
    told = execute(one, PNG)[0].attack
    sign = 1 if goal == "raise" else -1
    assert told.gained == pytest.approx(sign * (told.defended_attacked - told.defended_clean))
    assert told.gained > 0
    plain = execute(order(f'{{"name": "ifgsm", "goal": "{goal}"}}'), PNG)[0].attack
    assert plain.gained == pytest.approx(sign * (plain.attacked - plain.clean))


def test_with_both_the_lesser_of_two_moves_is_gained(standin):
    told = execute(order('{"name": "ifgsm", "both": true}', "flip"), PNG)[0].attack
    moves = told.attacked - told.clean, told.defended_attacked - told.defended_clean
    assert told.gained == pytest.approx(min(moves))
    assert told.gained > 0


def test_an_attack_that_asks_for_no_gradient_tells_no_slope(standin):
    assert execute(order('{"name": "square", "queries": 5}'), PNG)[0].attack.first_slope is None


def test_progress_rises_and_an_exception_from_it_ends_the_attack(standin):
    told = []
    execute(order('{"name": "square", "queries": 40}'), PNG, progress=told.append)
    assert told == sorted(told)
    assert len(told) > 20
    assert 0.9 < told[-1] <= 1

    class StopError(Exception):
        pass

    def stop(_):
        raise StopError

    with pytest.raises(StopError):
        execute(order(), PNG, progress=stop)


@pytest.mark.parametrize("attack", ["onepixel", "parsimonious", "nes", "ifgsm", "stadv"])
def test_an_attack_is_stopped_between_two_looks_at_a_metric_that_has_no_layers(standin, monkeypatch, attack):
    from models.cancellation import cancellable

    class StopError(Exception):
        pass

    asked, real = [], Standin.score
    monkeypatch.setattr(Standin, "score", lambda *a: asked.append(1) or real(*a))

    def check():
        if len(asked) == 3:
            raise StopError

    with pytest.raises(StopError), cancellable(check):
        execute(order(attack), PNG)
    assert len(asked) == 3


def test_a_metric_that_has_no_score_for_the_attacked_image_does_not_undo_the_attack(standin, monkeypatch):
    queries = undefined_at(monkeypatch, 12)  # ten steps, the clean image, the attacked one
    report, file = execute(order(), PNG)
    assert len(queries) == 12
    assert (report.attack.attacked, report.attack.gained) == (None, None)
    assert report.attack.clean is not None
    assert report.image.bytes == len(file)


def test_what_an_attack_refuses_is_the_senders_to_change(monkeypatch):
    monkeypatch.setitem(metrics(), "flat", Standin(differentiable=False))
    with pytest.raises(NoGradientError) as caught:
        execute(order(metric="flat"), PNG)
    failure = explain(caught.value)
    assert (failure.code, failure.status) == ("no-gradient", 422)


def test_its_time_does_not_depend_on_the_defense_and_its_work_does():
    settings = WorkerSettings(timeout_attack=77)
    assert {order(defense=one).time_limit(settings) for one in (None, "jpeg", "diffpure")} == {77}
    plain, through = order(), order(defense="jpeg")
    assert through.work((100, 100)) > plain.work((100, 100)) == 10 * 100 * 100
    random = '{"name": "random-noise"}'
    many = order('{"name": "ifgsm", "draws": 4}', random)
    assert many.work((10, 10)) == 4 * order(defense=random).work((10, 10))
    assert order('{"name": "ifgsm", "draws": 4}').work((10, 10)) == order().work((10, 10)), "nothing is random"
    both = order('{"name": "ifgsm", "both": true}', "jpeg")
    assert both.work((100, 100)) == through.work((100, 100)) + plain.work((100, 100))
    assert both.held((100, 100)) > through.held((100, 100))


@pytest.mark.parametrize(
    ("attack", "defense", "matters"),
    [("ifgsm", None, False), ("ifgsm", "flip", False), ("ifgsm", "random-noise", True), ("square", None, True)],
)
def test_the_seed_matters_if_the_attack_or_the_defense_is_random(attack, defense, matters):
    assert order(attack, defense).is_stochastic is matters


def test_counts_logs_and_traces_tell_its_names():
    assert order().names == {"kind": "attack", "defense": "none", "attack": "ifgsm"}
    assert order("square", "jpeg").names == {"kind": "attack", "defense": "jpeg", "attack": "square"}


def test_the_attacked_file_holds_what_the_report_says(standin):
    from models.images import ImageLimits, decode

    report, file = execute(order('{"name": "ifgsm", "epsilon": 3}'), PNG)
    change = (decode(file, ImageLimits())[0] - decode(PNG, ImageLimits())[0]) * 255
    assert round(change.abs().max().item()) == report.attack.linf == 3
    assert report.attack.queries == 10
    assert (report.image.width, report.image.height) == (40, 32)
