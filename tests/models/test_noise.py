import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.noise import MAX_SEED, Noise, derive_seed

SEEDS = st.integers(0, MAX_SEED)
quick = settings(max_examples=30, deadline=None, database=None, derandomize=True)


@quick
@given(seeds=st.lists(SEEDS, min_size=1, max_size=4))
def test_each_image_draws_from_its_own_seed_whatever_the_batch(seeds):
    images = torch.zeros(len(seeds), 3, 4, 5)
    together = Noise(seeds).normal_like(images)
    for index, seed in enumerate(seeds):
        assert torch.equal(together[index], Noise([seed]).normal_like(images[:1])[0])


@quick
@given(seed=SEEDS, index=st.integers(0, 1000))
def test_derived_seeds_are_seeds_and_the_first_is_the_seed_itself(seed, index):
    assert 0 <= derive_seed(seed, index) <= MAX_SEED
    assert derive_seed(seed, 0) == seed
    assert derive_seed(seed, index) == derive_seed(seed, index)


def test_derived_seeds_do_not_collide_for_small_seeds():
    derived = {derive_seed(seed, index) for seed in range(50) for index in range(1, 50)}
    assert len(derived) == 50 * 49
    assert derive_seed(1, 23) != derive_seed(12, 3)


def test_a_derived_seed_never_changes():
    assert [derive_seed(7, index) for index in range(3)] == [7, 7847899729449647, 4145126271384799]


def test_the_draws_of_a_seed_never_change():
    noise = Noise([1234])
    torch.testing.assert_close(
        noise.normal_like(torch.zeros(1, 3)), torch.tensor([[0.0461304635, 0.4024028182, -1.0115290880]])
    )
    assert noise.integers(0, 999) == [575]


def test_streams_go_on_and_a_child_starts_anew():
    noise, images = Noise([5]), torch.zeros(1, 3, 4, 4)
    first, second = noise.normal_like(images), noise.normal_like(images)
    assert not torch.equal(first, second)
    assert torch.equal(noise.child(0).normal_like(images), first)
    child = noise.child(1).normal_like(images)
    assert not torch.equal(child, first)
    assert torch.equal(noise.child(1).normal_like(images), child)
    assert torch.equal(noise.child(1).normal_like(images), Noise([derive_seed(5, 1, "part")]).normal_like(images))


def test_draws_stay_within_their_bounds_and_reach_them():
    noise = Noise(range(2000))
    uniform = noise.uniform(-2, 3)
    assert uniform.shape == (2000,)
    assert uniform.dtype == torch.float32
    assert -2 <= uniform.min() < -1.99
    assert 2.99 < uniform.max() < 3
    assert set(noise.integers(4, 6)) == {4, 5, 6}
    assert set(noise.integers(4, 4)) == {4}


def test_normal_draws_are_normal_and_take_the_type_of_the_images():
    drawn = Noise([1, 2]).normal_like(torch.zeros(2, 3, 100, 100, dtype=torch.float64))
    assert drawn.dtype == torch.float64
    assert abs(drawn.mean()) < 0.01
    assert abs(drawn.std() - 1) < 0.01
    assert abs((drawn[0] * drawn[1]).mean()) < 0.02


def test_drawing_leaves_torchs_own_generator_alone():
    before = torch.get_rng_state()
    noise = Noise.for_batch(3, 2)
    noise.normal_like(torch.zeros(2, 3))
    noise.uniform(0, 1)
    noise.integers(0, 9)
    assert torch.equal(torch.get_rng_state(), before)


def test_one_seed_serves_all_images_and_several_must_fit():
    images = torch.zeros(2, 3)
    same = Noise.for_batch(9, 2).normal_like(images)
    assert torch.equal(same[0], same[1])
    assert torch.equal(Noise.for_batch([9, 8], 2).normal_like(images)[0], same[0])
    with pytest.raises(ValueError, match="2 images need 2 seeds, got 3"):
        Noise.for_batch([1, 2, 3], 2)


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1])
def test_seeds_out_of_range_are_refused(seed):
    with pytest.raises(ValueError, match="seed must be between 0 and 9007199254740991"):
        Noise([seed])
    Noise([0, MAX_SEED])


def test_parts_of_a_composition_and_samples_do_not_share_noise():
    like = torch.zeros(1, 3, 4, 4)
    second_part = Noise([derive_seed(7, 0)]).child(1).normal_like(like)
    second_sample = Noise([derive_seed(7, 1)]).child(0).normal_like(like)
    assert not torch.equal(second_part, second_sample)
