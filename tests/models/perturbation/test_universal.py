"""A universal perturbation: learned, kept, read back, applied."""

import pytest
import torch
from safetensors.torch import save_file
from standin_metrics import Standin, photograph_like

from models.attack import AttackUnavailableError, NoGradientError
from models.attacks.uap import Uap
from models.perturbation.universal import Recipe, UniversalFileError, learn, load, save


@pytest.fixture(scope="module")
def learned():
    images = [photograph_like(1, side, 48, seed)[0] for seed, side in enumerate([40, 40, 48, 40, 33, 48])]
    return learn(images, Standin(), Recipe(side=40, learning_rate=0.01, batch=2))


def test_it_raises_the_scores_of_images_that_it_was_not_learned_on(learned, tmp_path):
    save(learned, tmp_path / "pattern.safetensors")
    images = photograph_like(4, 50, 90, seed=99)
    done = Uap(file=str(tmp_path / "pattern.safetensors"), epsilon=4).run(images, Standin())
    assert (Standin()(done.images) > Standin()(images)).all()
    assert ((done.images - images) * 255).abs().max() <= 4 + 1e-3
    assert done.queries.tolist() == [0, 0, 0, 0]


def test_the_pattern_is_repeated_over_larger_images(learned):
    over = learned.over(torch.zeros(1, 3, 85, 50))
    assert over.shape == (1, 3, 85, 50)
    assert torch.equal(over[..., 40:80, :], over[..., :40, :])
    assert torch.equal(over[..., 40:], over[..., :10])
    assert learned.pattern.abs().max() == 1


def test_the_same_recipe_learns_the_same_pattern():
    images = [photograph_like(1, 32, 32, seed)[0] for seed in range(3)]
    first, second = (learn(images, Standin(), Recipe(side=32, epochs=2)) for _ in range(2))
    assert torch.equal(first.pattern, second.pattern)


def test_a_pattern_is_adam_on_what_clamped_sums_of_it_and_images_score():
    images = [photograph_like(1, 24, 40, seed)[0].mul(1.5).sub(0.25).clamp(0, 1) for seed in range(3)]
    recipe = Recipe(side=32, epochs=4, learning_rate=0.02)
    pattern, limit = torch.zeros(3, 32, 32), recipe.limit / 255
    crops = torch.stack([image[:, :, 4:36] for image in images])
    adam = torch.optim.Adam([pattern], lr=recipe.learning_rate)
    for _ in range(recipe.epochs):
        leaf = pattern.clone().requires_grad_()
        sums = crops + leaf[:, :24]
        inside = (sums >= 0) & (sums <= 1)
        loss = 1 - Standin()(torch.where(inside, sums, sums.detach().clamp(0, 1))) / 10
        (pattern.grad,) = torch.autograd.grad(loss.mean(), leaf)
        adam.step()
        pattern.clamp_(-limit, limit)
    learned = learn(images, Standin(), recipe)
    assert not pattern[:, 24:].any(), "no image reaches there"
    torch.testing.assert_close(learned.pattern, pattern / pattern.abs().max(), rtol=0, atol=1e-4)


def test_a_file_keeps_where_it_comes_from(learned, tmp_path):
    file = tmp_path / "below" / "pattern.safetensors"
    save(learned, file)
    again = load(file)
    assert torch.equal(again.pattern, learned.pattern)
    assert again.facts == learned.facts
    assert (again.facts.metric, again.facts.images) == ("standin", 6)
    assert [path.name for path in file.parent.iterdir()] == ["pattern.safetensors"]


@pytest.mark.parametrize(("version", "does"), [("1", True), ("2", False), (None, True)], ids=["its", "next", "untold"])
def test_a_pattern_misleads_the_version_of_the_metric_that_it_was_learned_on(learned, tmp_path, version, does):
    facts = learned.facts.model_copy(update={"metric_version": version})
    save(learned.model_copy(update={"facts": facts}), tmp_path / "pattern.safetensors")
    assert Uap(file=str(tmp_path / "pattern.safetensors")).misleads(Standin()) is does


def test_a_file_that_was_learned_anew_is_read_anew(learned, tmp_path):
    file = tmp_path / "pattern.safetensors"
    save(learned, file)
    assert torch.equal(load(file).pattern, learned.pattern)
    save(learned.model_copy(update={"pattern": -learned.pattern}), file)
    assert torch.equal(load(file).pattern, -learned.pattern)


def test_learning_stays_within_its_limit():
    images = [0.25 + photograph_like(1, 32, 32, seed)[0] / 2 for seed in range(4)]
    pattern = learn(images, Standin(), Recipe(side=32, learning_rate=0.1, limit=1, epochs=4)).pattern
    assert (pattern.abs() == 1).double().mean() > 0.8, "steps of 25 levels end at the limit of one"


def test_a_pattern_for_the_other_direction_is_refused(learned, tmp_path):
    save(learned, tmp_path / "pattern.safetensors")
    with pytest.raises(AttackUnavailableError, match="learned to raise"):
        Uap(file=str(tmp_path / "pattern.safetensors"), goal="lower")(photograph_like(1, 16, 16), Standin())


def test_what_is_no_pattern_is_refused_by_name(tmp_path):
    names = ("broken", "foreign", "wild", "empty")
    broken, foreign, wild, empty = (tmp_path / f"{name}.safetensors" for name in names)
    broken.write_bytes(b"no tensors")
    save_file({"perturbation": torch.zeros(3, 8, 8)}, foreign)
    facts = '{"metric": "m", "defense": null, "images": 1, "recipe": {}}'
    save_file({"perturbation": torch.full((3, 8, 8), 2.0)}, wild, {"purifiqa": facts})
    save_file({"perturbation": torch.zeros(3, 0, 8)}, empty, {"purifiqa": facts})
    for file in (broken, foreign, wild, empty, tmp_path / "missing.safetensors"):
        with pytest.raises(UniversalFileError, match=file.stem):
            load(file)
        state = Uap(file=str(file)).availability()
        assert file.name in state.reason
        assert "--learn" in state.cure


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "file/below"])
def test_a_name_that_no_file_can_have_is_refused_as_a_missing_file_is(name, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UniversalFileError, match="cannot be read"):
        load(tmp_path / name)
    assert "--learn" in Uap(file=str(tmp_path / name)).availability().cure


def test_nothing_to_learn_from_is_an_error():
    with pytest.raises(ValueError, match="needs images"):
        learn([], Standin(), Recipe())
    with pytest.raises(NoGradientError, match="standin"):
        learn([torch.zeros(3, 16, 16)], Standin(differentiable=False), Recipe())
