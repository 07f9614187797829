"""The texture that comes back: as colored and as coarse as what was taken away, and nothing of its pattern."""

import pytest
import torch
from known_photographs import NAMES, crop, pixels, tensor
from pydantic import ValidationError

from models.attacks import parse_attack
from models.defenses import make_defense
from models.diffusion.defense import DiffusionDefense
from models.filters import gaussian_blur
from models.metrics import find_metric

PHOTOS = torch.cat(
    [crop("chelsea", 60, 130), crop("coffee", 150, 250), crop("astronaut", 60, 60), crop("rocket", 60, 60)]
)


def random_phase(**parameters):
    return make_defense({"name": "diffpure-random-phase", **parameters})


def texture_and_removed(seed=1, images=PHOTOS, **parameters):
    smooth = random_phase(strength=0, **parameters)(images, seed)
    return random_phase(strength=1, **parameters)(images, seed) - smooth, images - smooth


def correlation(one, other):
    return float((one * other).mean() / (one.square().mean() * other.square().mean()).sqrt())


def test_without_strength_it_is_diffpure():
    expected = make_defense({"name": "diffpure", "timestep": 20, "margin": 0.05})(PHOTOS, 3)
    assert torch.equal(random_phase(strength=0)(PHOTOS, 3), expected)


def test_nothing_of_the_pattern_comes_back():
    texture, removed = texture_and_removed()
    assert abs(correlation(texture, removed)) < 0.03
    other, _ = texture_and_removed(seed=2)
    assert abs(correlation(texture, other)) < 0.05, "each seed has its own"


def test_the_texture_is_as_strong_as_what_was_taken_away_at_every_place():
    texture, removed = texture_and_removed()
    found, wanted = (gaussian_blur(one.square().mean(1, keepdim=True), 31).sqrt() for one in (texture, removed))
    assert correlation(found - found.mean(), wanted - wanted.mean()) > 0.8
    assert float(found.mean() / wanted.mean()) == pytest.approx(1, abs=0.1)


def test_the_texture_has_the_colors_and_the_coarseness_of_what_was_taken_away():
    generator = torch.Generator().manual_seed(0)
    speckles = gaussian_blur(torch.randn(1, 1, 96, 128, generator=generator), 5).expand(-1, 3, -1, -1)
    images = (0.5 + 0.03 * speckles / speckles.std()).clamp(0, 1)
    texture, removed = texture_and_removed(images=images, margin=0.1)
    for channel in (0, 1):
        # the channels go together, as they did
        assert correlation(texture[:, channel], texture[:, 2]) > 0.9
    steps = [float((one[..., 1:] - one[..., :-1]).std() / one.std()) for one in (texture, removed)]
    assert steps[0] == pytest.approx(steps[1], rel=0.15), "neighbors are as alike as they were"


def test_what_is_put_on_a_smooth_image_cannot_be_seen():
    ramp = torch.linspace(0.2, 0.8, 128).expand(1, 3, 96, 128).contiguous()
    texture, _ = texture_and_removed(images=ramp)
    assert float(texture.std()) < 1 / 255


def test_what_was_made_darker_does_not_come_back_lighter(monkeypatch):
    monkeypatch.setattr(DiffusionDefense, "diffuse", lambda _, images, noise: images - 0.02)
    for seed in range(4):
        texture, _ = texture_and_removed(seed=seed)
        assert float(texture.mean().abs()) < 1e-4


def test_each_image_of_a_batch_has_the_texture_of_its_own_seed():
    together = random_phase()(PHOTOS[:2], [4, 9])
    for index, seed in enumerate((4, 9)):
        torch.testing.assert_close(together[index : index + 1], random_phase()(PHOTOS[index : index + 1], seed))


def test_where_nothing_was_taken_away_nothing_is_put_on(monkeypatch):
    monkeypatch.setattr(DiffusionDefense, "diffuse", lambda _, images, noise: images.clone())
    assert torch.equal(random_phase()(PHOTOS, 5), PHOTOS)


@pytest.mark.slow
def test_behind_it_attacks_move_a_score_less_far_than_behind_diffpure_and_clean_photographs_keep_more_of_theirs():
    """Mean of four real photographs and three attacks."""
    metric = find_metric("fr-surrogate")
    photos = torch.cat([tensor(pixels(name, 192)) for name in NAMES])
    clean = metric(photos)
    attacked = [parse_attack(name)(photos, metric) for name in ("ifgsm", "mifgsm", "korhonen")]
    assert all(float((metric(one) - clean).mean()) > 20 for one in attacked)
    moved, kept = {}, {}
    for name in ("diffpure-random-phase", "diffpure"):
        defense = make_defense({"name": name})
        score = metric(defense(photos, 1))
        moved[name] = sum(float((metric(defense(one, 1)) - score).abs().mean()) for one in attacked)
        kept[name] = float((score - clean).abs().mean())
    assert moved["diffpure-random-phase"] < 0.67 * moved["diffpure"]
    assert kept["diffpure-random-phase"] < 0.75 * kept["diffpure"]


@pytest.mark.parametrize("parameters", [{"timestep": 0}, {"timestep": "much"}, {"window": 8}, {"strength": 1.5}])
def test_parameters_that_mean_nothing_are_refused(parameters):
    with pytest.raises(ValidationError):
        random_phase(**parameters)
