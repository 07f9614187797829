"""Benchmarks print tables for people, and the same rows as JSON."""

import json

import numpy as np
import pytest
import torch
from known_photographs import NAMES, pixels
from PIL import Image

from benchmarks import fcn, metrics, purify
from benchmarks.tables import header, kept, row
from models.defenses import parse_defense
from models.metrics import find_metric
from models.noise import Noise


def test_rows_are_printed_as_markdown_or_kept_by_name(capsys):
    header("defense", "PSNR")
    row("jpeg", 31.256)
    assert capsys.readouterr().out == "| defense | PSNR |\n|---|---|\n| jpeg | 31.26 |\n"
    with kept() as rows:
        header("defense", "PSNR")
        row("jpeg", 31.256)
    assert rows == [{"defense": "jpeg", "PSNR": 31.256}]
    assert capsys.readouterr().out == ""
    row("flip", 1.0)
    assert capsys.readouterr().out == "| flip | 1.00 |\n"


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_section_of_purify_is_a_table_or_json_and_leaves_gradients_on(tmp_path, capsys, form):
    Image.fromarray(pixels(NAMES[0])).save(tmp_path / "photo.png")
    purify.main(["tiles", "--photos", str(tmp_path), "--quick", *form])
    out = capsys.readouterr().out
    found = json.loads(out)["tiles"] if form else [line for line in out.splitlines() if line.startswith("| `")]
    assert len(found) == 6
    assert torch.is_grad_enabled()


def test_signs_say_nothing_of_the_noise_that_a_defense_with_the_same_seed_adds():
    gray = torch.full((1, 3, 64, 64), 0.5)
    for seed in range(3):
        both = torch.stack([purify._signs(gray, seed, 8) - gray, Noise([seed]).normal_like(gray)]).flatten(1)
        assert torch.corrcoef(both)[0, 1].abs() < 0.05


def test_who_does_not_look_says_the_mean_label_of_the_other_photographs():
    marks = [("clean", 0), ("jpeg", 1)]
    judged = [metrics.Judged(marks, np.array([100, label]), {}) for label in (10, 20, 60)]
    told = [one.scores[metrics.BLIND].tolist() for one in metrics.with_one_who_does_not_look(judged)]
    assert told == [[100, 40], [100, 35], [100, 15]]


def test_two_defenses_of_one_name_are_told_apart():
    defenses = [parse_defense(text) for text in ("jpeg", '{"name": "jpeg", "quality": 30}')]
    shades = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    told = [fcn.judge(one, find_metric("entropy"), [(shades, shades)])["defense"] for one in defenses]
    assert told == ["jpeg", "jpeg(quality=30)"]
