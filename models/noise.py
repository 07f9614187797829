"""The only source of randomness: one stream per image, drawn on the CPU, independent of batch, tile and device."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

MAX_SEED = 2**53 - 1
"""Largest seed: the largest integer that JSON readers keep exact."""


def derive_seed(seed: int, index: int, purpose: str = "sample") -> int:
    """Return an independent seed in [0, MAX_SEED] for the `index`-th use of `seed`; index 0 is `seed` itself.

    Uses of different purpose are independent of each other too.
    """
    if index == 0:
        return seed
    digest = hashlib.blake2b(f"{purpose}/{seed}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") & MAX_SEED


class Noise:
    """Random draws for a batch, each image from its own seeded stream.

    The same image with the same seed therefore gets the same draws alone or in any batch, and on any device. Seeds that
    differ by a multiple of 2^32 get the same draws too: torch's generator looks at the low 32 bits only.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        """Take one seed in [0, MAX_SEED] per image. Raises ValueError for a seed out of range."""
        for seed in seeds:
            if not 0 <= seed <= MAX_SEED:
                raise ValueError(f"seed must be between 0 and {MAX_SEED}, got {seed}")
        self._seeds = tuple(seeds)
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    @classmethod
    def for_batch(cls, seed: int | Sequence[int], count: int) -> "Noise":
        """Make noise for `count` images: one seed for each of them, or the same one for all."""
        seeds = (seed,) * count if isinstance(seed, int) else tuple(seed)
        if len(seeds) != count:
            raise ValueError(f"{count} images need {count} seeds, got {len(seeds)}")
        return cls(seeds)

    @property
    def generators(self) -> list[torch.Generator]:
        """The streams themselves, one per image, for libraries that draw from them."""
        return self._generators

    def of(self, index: int) -> "Noise":
        """Return the noise of the `index`-th image alone; it draws on from the same stream."""
        alone = Noise(())
        alone._seeds, alone._generators = self._seeds[index : index + 1], self._generators[index : index + 1]
        return alone

    def child(self, index: int, purpose: str = "part") -> "Noise":
        """Return fresh streams for the `index`-th part of a composition; child 0 repeats this noise from its start.

        As that may be a composition too, each kind of them has a `purpose` of its own.
        """
        return Noise([derive_seed(seed, index, purpose) for seed in self._seeds])

    def normal_like(self, images: Tensor) -> Tensor:
        """Draw standard normal values of the shape (N, ...), device and type of `images`."""
        draws = torch.empty(images.shape)
        for draw, generator in zip(draws, self._generators, strict=True):
            draw.normal_(generator=generator)
        return draws.to(images)

    def uniform(self, low: float, high: float) -> Tensor:
        """Draw one float32 per image from [low, high), shape (N,), on the CPU."""
        draws = [torch.rand((), generator=generator) for generator in self._generators]
        return low + (high - low) * torch.stack(draws)

    def integers(self, low: int, high: int) -> list[int]:
        """Draw one integer per image from low..high, both included."""
        return [int(torch.randint(low, high + 1, (), generator=generator)) for generator in self._generators]
