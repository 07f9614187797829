import heapq
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from models.attack import Attack
from models.attack_target import Target

GROUP = 64
"""So many blocks are weighed against each other at a time."""


class Parsimonious(Attack):
    """Black-box: choose greedily for each block whether it goes up or down by the whole budget.

    Moon et al. (ICML 2019, arXiv 1905.06635), with the parameters of Guardians of Image Quality (arXiv 2408.01541): all
    blocks begin down; those that gain most go up, then those that no longer gain go down again; then blocks are halved.
    As in their code, blocks are taken in random order, some at a time, so that few queries go a long way too. Through a
    random defense, what flips change is seen through the same draws, for one query more each time.
    """

    name: Literal["parsimonious"] = "parsimonious"
    white_box: ClassVar[bool] = False
    stochastic: ClassVar[bool] = True
    source: ClassVar[str] = "arXiv 1905.06635"
    presets: ClassVar = {"epsilon": (2, 4, 8)}

    epsilon: float = Field(12.75, ge=1, le=64, description="Largest change of a value, in 8-bit levels.")
    queries: int = Field(10_000, ge=2, le=1_000_000, description="Largest number of scores per image, per draw.")
    block: int = Field(32, ge=1, le=1024, description="Side in pixels of the first blocks.")

    def budgets(self, images: Tensor) -> Tensor:
        return torch.full((len(images),), self.epsilon)

    def perturb(self, target: Target) -> Tensor:
        return torch.cat([self._perturb_one(target.of(index)) for index in range(len(target.images))])

    def _perturb_one(self, target: Target) -> Tensor:
        block = min(self.block, max(target.images.shape[2:]))
        search = _Search(target, self.queries, block)
        while search.can_ask and block >= 1:
            search.flip_blocks(-1)
            search.flip_blocks(1)
            block //= 2
            if block:
                search.split_blocks(block)
        return search.images(search.signs[None])


class _Search:
    """Up or down for every block of one image, and the loss of that."""

    def __init__(self, target: Target, queries: int, block: int) -> None:
        if target.budget is None:
            raise ValueError("blocks that go up or down need a budget")
        self.target, self.budget, self.block, self.left = target, target.budget, block, queries
        height, width = target.images.shape[2:]
        self.again = int(target.is_random)
        """Queries for the loss of the image as it is, which is to be asked for with each change."""
        self.signs = -torch.ones(3, -(-height // block), -(-width // block))
        self.loss = self._loss()

    @property
    def can_ask(self) -> bool:
        """Whether queries are left to see what a flip changes."""
        return self.left > self.again

    def images(self, signs: Tensor) -> Tensor:
        """Return the images that choices of signs, (M, 3, rows, columns), make: (M, 3, H, W)."""
        height, width = self.target.images.shape[2:]
        grown = signs.repeat_interleave(self.block, dim=2)[:, :, :height].repeat_interleave(self.block, dim=3)
        return (self.target.images + self.budget * grown[..., :width].to(self.budget)).clamp_(0, 1)

    def flip_blocks(self, sign: int) -> None:
        """Flip blocks of this sign where the loss falls by it, a group of them after the other."""
        places = (self.signs.flatten() == sign).nonzero().flatten()
        places = places[torch.randperm(len(places), generator=self.target.noise.generators[0])]
        while len(places) and self.can_ask:
            size = min(GROUP, max(1, self.left // 2))  # looking at all of them leaves some queries to flip them
            self._flip_group(places[:size].tolist())
            places = places[size:]

    def _flip_group(self, places: list[int]) -> None:
        """Flip the best of these blocks while the loss falls. Gains are looked at again before each flip."""
        heap = list(zip(self._changes(places), places, strict=False))  # fewer changes than places: no queries left
        heapq.heapify(heap)
        while heap and self.can_ask:
            change, place = heapq.heappop(heap)
            if change >= 0:
                return
            [change] = self._changes([place])
            if heap and change > heap[0][0]:
                heapq.heappush(heap, (change, place))
            elif change < 0:
                self.signs.view(-1)[place] *= -1
                self.loss += change

    def split_blocks(self, block: int) -> None:
        """Go on with smaller blocks, of half the side rounded down, that begin as the image is now."""
        height, width = self.target.images.shape[2:]
        rows = torch.arange(0, height, block) // self.block
        columns = torch.arange(0, width, block) // self.block
        self.signs = self.signs[:, rows][:, :, columns].contiguous()
        self.block = block
        self.loss = self._loss()

    def _changes(self, places: list[int]) -> list[float]:
        """Return how the loss changes if each of these blocks alone is flipped, as far as there are queries left."""
        changes: list[float] = []
        for start in range(0, len(places), 16):
            if some := places[start : start + 16][: max(0, self.left - self.again)]:
                signs = self.signs.repeat(len(some) + self.again, 1, 1, 1)
                signs.view(len(signs), -1)[range(len(some)), some] *= -1
                losses = self._losses(signs)
                changes += (losses[: len(some)] - (losses[-1] if self.again else self.loss)).tolist()
        return changes

    def _loss(self) -> Tensor:
        """Return the loss of the image as it is, as long as it may be asked for and does not differ every time."""
        return self._losses(self.signs[None])[0] if self.left and not self.again else torch.zeros(())

    def _losses(self, signs: Tensor) -> Tensor:
        self.left -= len(signs)
        return self.target.losses(len(signs), lambda some: self.images(signs[some]))
