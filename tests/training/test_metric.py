"""Training the metric that ships, on three small crops."""

import csv
import json
import random
from collections import Counter
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import torch
from known_photographs import NAMES, pixels

from models.iqa.fr_surrogate import SEEN, SHIPPED, FRSurrogate
from training import imagenet, metric, pseudo_mos
from training.metric import Run
from training.quality_photos import QualityPhotos


@pytest.fixture
def train(tmp_path, monkeypatch):
    """A function that trains as the command does."""
    (tmp_path / "photos").mkdir()
    for name in NAMES[:3]:
        cv2.imwrite(str(tmp_path / "photos" / f"{name}.png"), pixels(name, 200)[..., ::-1])
    monkeypatch.setattr(metric, "STORED", 168)
    monkeypatch.setattr(metric, "SIDES", (64,))
    images = ["--photos", tmp_path / "photos", "--images", tmp_path / "images", "--contents", 3, "--families", 3]
    run = ["--held-out", 1, "--contents-per-step", 2, "--device", "cpu", "--threads", 1, "--out", tmp_path / "out"]
    return lambda *more: metric.main([str(word) for word in [*images, *run, *more]])


@pytest.mark.slow
def test_from_given_weights_training_goes_on_with_their_scale(train, tmp_path):
    train("--start", SHIPPED, "--steps", 1)
    assert json.loads((tmp_path / "out" / "pseudo_mos.json").read_text()) == pseudo_mos.read_scale()
    curve = (tmp_path / "out" / "curve.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in curve] == ["step", "1"]
    before = FRSurrogate.read().state_dict()
    after = FRSurrogate.read(tmp_path / "out" / "result" / "model.safetensors").state_dict()
    moved = [float((after[name] - value).abs().max()) for name, value in before.items()]
    assert 0 < max(moved) < 0.01  # one step from where it was, not from ImageNet's weights
    state = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)
    for name, value in before.items():
        expected = value.lerp(state["network"][name], 0.9)
        torch.testing.assert_close(state["average"][name], expected, msg="mostly the newest, at first")


@pytest.mark.slow
def test_every_crop_gets_the_families_that_are_always_wanted(train, tmp_path):
    train("--start", SHIPPED, "--steps", 0, "--always", "motion-blur", "low-contrast", "--levels", 3)
    for table in (tmp_path / "images").glob("*.csv"):
        with table.open(newline="") as stream:
            families = Counter(row["family"] for row in csv.DictReader(stream))
        assert families["motion-blur"] == families["low-contrast"] == 3
        assert sorted(families.values()) == [1, 3, 3, 3], "the clean one, these two and a third"


@pytest.mark.slow
def test_training_goes_on_with_crops_that_no_earlier_one_saw(train, tmp_path):
    train("--start", SHIPPED, "--steps", 1, "--rate", 0)
    train("--start", SHIPPED, "--steps", 1, "--rate", 0, "--first", 3, "--out", tmp_path / "next")
    before, after = (
        [np.load(tmp_path / "images" / f"{index:04}.npy")[0] for index in crops] for crops in ((0, 1, 2), (3, 4, 5))
    )
    assert len({crop.tobytes() for crop in before + after}) == 6
    curves = [(tmp_path / out / "curve.csv").read_text() for out in ("out", "next")]
    assert curves[0] != curves[1], "the second looked at its own crops"


@pytest.mark.slow
def test_wide_layers_learn_slowly_so_that_their_steps_do_not_add_up(train, tmp_path):
    train("--start", SHIPPED, "--steps", 1, "--rate", 1e-3)
    before = FRSurrogate.read().state_dict()
    after = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)["network"]
    names = ("trunk.stem.weight", "trunk.stages.4.1.expand.weight", "trunk.stages.4.1.project.weight")
    moved = [float((after[name] - before[name]).abs().max()) for name in names]
    assert moved == pytest.approx([1e-5, 1e-5 * 96 / 112, 1e-5 * 96 / 672], rel=0.05), (
        "a hundredth of the rate at first"
    )


@pytest.mark.slow
def test_a_checkpoint_of_an_earlier_training_is_refused(train, tmp_path):
    train("--start", SHIPPED, "--steps", 1)
    checkpoint = tmp_path / "out" / "checkpoint.pt"
    state = torch.load(checkpoint, weights_only=True)
    del state["leash"]
    torch.save(state, checkpoint)
    with pytest.raises(ValueError, match="of another version of the training"):
        train("--start", SHIPPED, "--steps", 2)


def test_what_this_machine_cannot_build_is_refused_before_any_image_is_made(train, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit):
        train("--fast")
    assert "and needs g++ and ninja" in capsys.readouterr().err
    assert not (tmp_path / "images").exists()


@pytest.mark.slow
def test_renewed_stages_are_those_of_imagenet_and_say_nothing_at_first(train, tmp_path):
    train("--start", SHIPPED, "--steps", 1, "--rate", 0, "--renew", 3)
    given, fresh = FRSurrogate.read().state_dict(), imagenet.trunk().state_dict()
    made = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)["network"]
    for name, weights in fresh.items():
        renewed = name.startswith(("stages.3", "stages.4"))
        assert torch.equal(made[f"trunk.{name}"], weights if renewed else given[f"trunk.{name}"]), name
    kept = SEEN - 2 * 112
    for name in ("mean", "deviation"):
        assert torch.equal(made[name][:kept], given[name][:kept])
        assert not torch.isclose(made[name][kept:SEEN], given[name][kept:SEEN]).any()
    assert torch.equal(made["hidden.weight"][:, :kept], given["hidden.weight"][:, :kept])
    assert not made["hidden.weight"][:, kept:].any(), "what is drawn of damage comes from these stages too"


def test_a_stage_that_the_trunk_does_not_have_is_not_renewed(train, capsys):
    with pytest.raises(SystemExit):
        train("--start", SHIPPED, "--renew", 5)
    assert "argument --renew: invalid choice: 5" in capsys.readouterr().err


def test_stages_are_renewed_only_of_weights_that_are_given(train, capsys):
    with pytest.raises(SystemExit):
        train("--renew", 3)
    assert "--renew goes with --start" in capsys.readouterr().err


def test_no_more_families_are_always_wanted_than_a_crop_gets(train, capsys):
    with pytest.raises(SystemExit):
        train("--always", "jpeg", "webp", "grain", "ringing")
    assert "--always names 4 families, --families allows 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--levels", 1], "two levels each of three families"),
        (["--families", 2], "two levels each of three families"),
        (["--families", 4, "--leave-out", "jpeg", "webp"], "two levels each of three families"),
        (["--families", 4, "--leave-out", "jepg"], "invalid choice: 'jepg'"),
        (["--levels", 6], "26 families of 5 levels"),
        (["--families", 27], "26 families of 5 levels"),
    ],
)
def test_what_a_step_could_not_learn_from_is_refused_before_any_image_is_made(train, tmp_path, capsys, options, why):
    with pytest.raises(SystemExit):
        train(*options)
    assert why in capsys.readouterr().err
    assert not (tmp_path / "images").exists()


def test_which_contents_come_first_says_nothing_of_the_side_of_their_crops(monkeypatch):
    monkeypatch.setattr(metric, "SIDES", (1, 2, 3))
    run = Mock(options=Mock(contents_per_step=1))
    for step in range(400):
        Run._batch(run, step)
    sides = {random.Random(step).choice(range(4)): set() for step in range(400)}
    for step, (_, side, _) in enumerate(call.args for call in run.photos.batch.call_args_list):
        sides[random.Random(step).choice(range(4))].add(side)
    assert list(sides.values()) == [{1, 2, 3}] * 4


def test_a_feature_that_no_image_moves_at_first_is_not_magnified_once_it_comes_to_life():
    features = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))
    features[:, 1] = 0.3
    features[:, 2] *= 1e-4
    run = Mock(network=Mock(mean=torch.zeros(4), deviation=torch.zeros(4)))
    run.network.features.side_effect = features.split(2)
    Run._settle(run)
    torch.testing.assert_close(run.network.mean, features.mean(0))
    small = torch.tensor([1e-3])
    expected = torch.cat([features.std(0)[:1], torch.ones(1), small, features.std(0)[3:]])
    torch.testing.assert_close(run.network.deviation, expected)


@pytest.mark.slow
def test_each_image_of_a_step_comes_with_the_same_part_of_what_it_was_made_of(train, tmp_path):
    train("--steps", 0, "--levels", 2)
    photos = QualityPhotos(tmp_path / "images", range(3), 1, [], pseudo_mos.read_scale())
    batch = photos.batch(2, 64, 0)
    kept = batch.labels == 100
    assert kept.sum() == 2
    assert torch.equal(batch.images[kept], batch.clean[kept])
    pairs = zip(batch.images[~kept].flatten(1), batch.clean[~kept].flatten(1), strict=True)
    assert min(float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in pairs) > 0.5


@pytest.mark.slow
def test_where_an_image_is_damaged_is_learned_unless_it_weighs_nothing(train, tmp_path):
    for weight in (0, 1):
        train("--start", SHIPPED, "--steps", 1, "--local", weight, "--out", tmp_path / str(weight))
    first, second = (torch.load(tmp_path / str(weight) / "checkpoint.pt", weights_only=True) for weight in (0, 1))
    for name in ("damage.output.weight", "trunk.stem.weight"):
        assert not torch.equal(first["network"][name], second["network"][name])


@pytest.mark.slow
def test_without_photographs_training_takes_the_crops_that_there_are(train, tmp_path, capsys):
    train("--steps", 0)
    (tmp_path / "images" / "0001.csv").unlink()
    options = ["--images", tmp_path / "images", "--out", tmp_path / "out", "--held-out", 1, "--contents-per-step", 1]
    more = ["--start", SHIPPED, "--steps", 1, "--device", "cpu", "--threads", 1]
    metric.main([str(word) for word in [*options, *more]])
    assert "7 images; step 0 of 1" in capsys.readouterr().out, "one crop is held out"


def test_without_photographs_and_crops_there_is_nothing_to_train_on(tmp_path):
    with pytest.raises(ValueError, match="images holds no crops; make some with --photos"):
        metric.main(["--out", str(tmp_path), "--threads", "1"])
