"""What a defense IS: frozen, bounded parameters, and one method that turns images into purified images."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple, cast, final

import torch
import torch.nn.functional as F
from torch import Tensor

from models.availability import AVAILABLE, Availability, UnavailableError
from models.noise import Noise
from models.parameters import Parameters
from models.tensors import check_images, clamp_to_image


class Cost(StrEnum):
    """How much work a defense is, which decides how long a job may run; from least to most."""

    CHEAP = "cheap"
    NETWORK = "network"
    DIFFUSION = "diffusion"


WORK: Mapping[Cost, float] = {Cost.CHEAP: 0.1, Cost.NETWORK: 1.0, Cost.DIFFUSION: 60.0}
"""Work per pixel, in evaluations of a small network such as FFDNet: about a microsecond of a core each."""


class DefenseUnavailableError(UnavailableError):
    """The defense cannot be used on this machine; the message says why and what to do."""


class PurificationError(RuntimeError):
    """A defense produced something that is not an image: NaN, infinity or the wrong shape."""


def check_finite(images: Tensor, maker: str) -> None:
    """Raise PurificationError if an image holds NaN or infinity."""
    if not math.isfinite(images.detach().sum().item()):
        raise PurificationError(f"{maker} returned NaN or infinite pixels")


class Aligned(NamedTuple):
    """A purified batch mapped back onto the grid of its input."""

    images: Tensor
    """Float32, (N, 3, H, W) with the input's H and W."""
    valid: Tensor
    """Bool, (N, 1, H, W): where a pixel really comes from the purified image."""


class Defense(Parameters, ABC):
    """A purification method. The object is its parameters; calling it purifies.

    To add one, put a file into `models/defenses/` with one subclass whose `name` equals the file's name (dashes for
    underscores), whose fields are its parameters (each with a bound and a description) and whose docstring's first
    line is the public description. Write `purify`; the rest of the service follows from it.
    """

    name: str
    differentiable: ClassVar[bool]
    """True: autograd runs through `purify`. False: the gradient is straight-through, that of `surrogate`."""
    stochastic: ClassVar[bool]
    """True: the result depends on the seed."""
    cost: ClassVar[Cost] = Cost.CHEAP
    weights: ClassVar[tuple[str, ...]] = ()
    """Names of the weight files it needs."""
    license: ClassVar[str] = "Apache-2.0"
    """License of its code and weights."""
    presets: ClassVar[Mapping[str, tuple[float, ...]]] = {}
    """For a sweep: the values of a parameter that Guardians of Image Quality (arXiv 2408.01541) tries."""

    @abstractmethod
    def purify(self, images: Tensor, noise: Noise) -> Tensor:
        """Return the purified batch, as the metric will see it. The one method that an author must write.

        `images` is float32 RGB in [0, 1], (N, 3, H, W), H and W >= 16, and must not be changed in place. All
        randomness comes from `noise`. Values out of [0, 1] are clamped by the caller.
        """

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) of the output for an input of (height, width). Default: unchanged.

        Never below MIN_SIDE, so that a purified image can be purified again.
        """
        return size

    def restore(self, purified: Tensor, size: tuple[int, int], noise: Noise) -> Aligned:
        """Map `purified` back onto the input's grid of (height, width), given the noise it was made with.

        Default: nothing moved, so at most the size is undone, bilinearly. Override where pixels moved.
        """
        images = purified
        if tuple(purified.shape[2:]) != size:
            images = F.interpolate(purified, size=size, mode="bilinear", align_corners=False, antialias=True)
        return Aligned(images, torch.ones_like(images[:, :1], dtype=torch.bool))

    def surrogate(self, images: Tensor) -> Tensor:
        """Return a differentiable stand-in whose gradient is used when `differentiable` is False. Default: identity."""
        return images

    def straight_through(self, images: Tensor, noise: Noise) -> Tensor:
        """Purify with a gradient although autograd cannot run through `purify`.

        Default: the exact values, with the gradient of `surrogate`. Override where parts have exact gradients.
        """
        with torch.no_grad():
            exact = self.purify(images.detach(), noise)
        surrogate = self.surrogate(images)
        if surrogate.shape != exact.shape:
            raise PurificationError(f"the surrogate of {self.name} must have the output's shape")
        return cast("Tensor", _StraightThrough.apply(surrogate, exact))

    def availability(self) -> Availability:
        """Return whether it can purify on this machine with these parameters, without loading anything.

        Default: it can. Override where weights may be missing.
        """
        return AVAILABLE

    @property
    def is_stochastic(self) -> bool:
        """Whether these parameters make the result depend on the seed. Default: as the class says."""
        return self.stochastic

    @property
    def is_differentiable(self) -> bool:
        """Whether autograd runs through `purify` with these parameters. Default: as the class says."""
        return self.differentiable

    @property
    def effective_cost(self) -> Cost:
        """The cost with these parameters. Default: as the class says."""
        return self.cost

    @property
    def is_batchable(self) -> bool:
        """Whether purifying several images at once can be faster; the output is the same either way.

        Default: not for a cheap defense, whose images take longer to read and write than to purify.
        """
        return self.effective_cost is not Cost.CHEAP

    def work(self, size: tuple[int, int]) -> float:
        """Return roughly how much work an image of (height, width) is, in pixels x evaluations of a small network.

        It decides whether an order is too large to be accepted. Default: by `effective_cost`.
        """
        return size[0] * size[1] * WORK[self.effective_cost]

    def largest(self, size: tuple[int, int]) -> int:
        """Return the most pixels that an image of (height, width) has on its way to the purified one, both included."""
        return max(math.prod(size), math.prod(self.output_size(size)))

    @classmethod
    def summary(cls) -> str:
        """Return the first line of the docstring, the public one-line description."""
        return (cls.__doc__ or "").strip().partition("\n")[0]

    @classmethod
    def schema_of_parameters(cls) -> dict[str, Any]:
        """Return the JSON Schema of the object that stands for this defense, its own properties at the top."""
        schema = cls.model_json_schema()
        place = schema.pop("$ref", None)  # a defense made of defenses refers to itself
        return {**schema["$defs"][place.rpartition("/")[2]], **schema} if place else schema

    @final
    def __call__(self, images: Tensor, seed: int | Sequence[int] = 0) -> Tensor:
        """Purify float32 RGB images in [0, 1], (N, 3, H, W), H and W >= 16; return them clamped to [0, 1].

        `seed` is one seed for every image or one per image, in [0, 2^53 - 1]. The same image with the same seed gives
        the same output, alone or in a batch. Gradients flow to `images`, exactly or straight-through.
        Raises ValueError for images or seeds out of contract, DefenseUnavailableError, PurificationError if the output
        is not finite.
        """
        check_images(images)
        if not (availability := self.availability()).available:
            raise DefenseUnavailableError(self.name, availability)
        return self.apply(images, Noise.for_batch(seed, len(images)))

    @final
    def apply(self, images: Tensor, noise: Noise) -> Tensor:
        """Do what a call does once its input is checked; a defense made of defenses calls this on its parts.

        Raises PurificationError if the output is not finite or not of the size that `output_size` promises.
        """
        if images.requires_grad and torch.is_grad_enabled() and not self.is_differentiable:
            purified = self.straight_through(images, noise)
        else:
            purified = self.purify(images, noise)
        self._check_output(purified, images)
        return clamp_to_image(purified)

    @final
    def align(self, purified: Tensor, size: tuple[int, int], seed: int | Sequence[int] = 0) -> Aligned:
        """Map the output of a call with `seed` on images of (height, width) `size` back onto their grid.

        Geometric defenses are undone (a flip is flipped back, a crop put back in its place), so that fidelity can be
        measured fairly; `valid` says which pixels carry the purified image.
        """
        return self.restore(purified, size, Noise.for_batch(seed, len(purified)))

    def _check_output(self, purified: Tensor, images: Tensor) -> None:
        height, width = self.output_size((images.shape[2], images.shape[3]))
        if tuple(purified.shape) != (len(images), 3, height, width):
            raise PurificationError(
                f"{self.name} returned shape {tuple(purified.shape)} instead of {(len(images), 3, height, width)}"
            )
        check_finite(purified, self.name)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, surrogate: Tensor, exact: Tensor) -> Tensor:  # noqa: ARG004 - torch's signature
        return exact.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004 - torch's signature
        return grads[0], None
