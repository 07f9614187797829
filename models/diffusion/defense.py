"""What the diffusion defenses have in common: their parameters, and the way from an image to a purified one."""

import math
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import (
    Field,
    JsonValue,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)
from pydantic_core import PydanticCustomError, PydanticKnownError
from torch import Tensor

from models.availability import Availability
from models.defense import WORK, Cost, Defense
from models.diffusion.adaptive import MOST, auto_timesteps
from models.diffusion.denoiser import Denoiser
from models.diffusion.denoisers import find_denoiser
from models.diffusion.samplers import SAMPLERS
from models.diffusion.schedule import STEPS, alpha_bar, sigma_of, timestep_of
from models.diffusion.tiling import Tiled
from models.noise import Noise
from models.progress import tracked

DEFAULT_STEPS = 4
FEW_EVALUATIONS = 8
NOT_ONE_SHOT: dict[str, JsonValue] = {"applies_with": {"sampler": "ddim"}}


def _one_finding(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """Say one thing of a wrong timestep, where pydantic says what is wrong with it as a number and as a word."""
    try:
        return handler(value)
    except ValidationError as error:
        as_number = error.errors()[0]
        if "ctx" in as_number:
            raise PydanticKnownError(as_number["type"], as_number["ctx"]) from None  # type: ignore[arg-type]
        raise PydanticCustomError("int_or_auto", "Input should be an integer or 'auto'") from None


OneFinding = WrapValidator(_one_finding)
Timestep = Annotated[Annotated[int, Field(ge=0, le=STEPS)] | Literal["auto"], OneFinding]


class DiffusionDefense(Defense):
    """Diffuse the image for `timestep` steps and let a denoiser bring it back, at its own size, in tiles if large.

    A subclass adds what it does to the result: it calls `diffuse` in its `purify`.
    """

    differentiable: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True
    cost: ClassVar[Cost] = Cost.NETWORK
    presets: ClassVar = {"timestep": (5, 10, 20, 30, 50)}

    denoiser: str = Field(
        "ffdnet",
        max_length=128,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$",
        description="Denoising network: ffdnet, ffdnet-pyramid, adm-256, or one added with `purifiqa weights add`.",
        examples=["ffdnet"],
    )
    timestep: Timestep = Field(
        30,
        description="Diffusion timestep: 30 adds noise of 13.8/255; auto chooses one per image; 0: no diffusion.",
        examples=[0, 5, 150, "auto"],
    )
    margin: float = Field(
        0,
        ge=0,
        le=0.1,
        description="Strength (RMS) of a perturbation to remove together with the added noise; 0.03 is 8/255.",
    )
    sampler: Literal["one-shot", "ancestral", "ddim", "dpm-solver"] = Field(
        "one-shot",
        description="How to denoise: one-shot takes the posterior mean; the others draw a sharper sample.",
        examples=["ddim", "dpm-solver"],
    )
    steps: int = Field(
        0,
        ge=0,
        le=STEPS,
        description="Network evaluations of the sampler; 0: one per timestep for ancestral, else 4.",
        json_schema_extra=NOT_ONE_SHOT | {"examples": [1, 3]},
    )
    texture: float = Field(
        1,
        ge=0,
        le=1,
        description="Share of the sample in the result; the rest is the posterior mean.",
        json_schema_extra=NOT_ONE_SHOT,
    )
    squeeze: Literal[0, 256] = Field(
        0, description="256: resize to 256x256 and back, as DiffPure and Guardians do; 0: keep the size."
    )

    @field_validator("timestep")
    @classmethod
    def _within_the_denoiser(cls, timestep: int | str, info: ValidationInfo) -> int | str:
        if isinstance(timestep, int) and "denoiser" in info.data:
            most = find_denoiser(info.data["denoiser"]).max_timestep
            if timestep > most:
                raise ValueError(f"{info.data['denoiser']} was trained for timesteps up to {most}")
        return timestep

    @field_validator("margin")
    @classmethod
    def _within_the_denoiser_too(cls, margin: float, info: ValidationInfo) -> float:
        if margin and info.data.keys() >= {"denoiser", "timestep"}:
            timestep = MOST if info.data["timestep"] == "auto" else info.data["timestep"]
            if timestep == 0:
                raise ValueError("timestep 0 turns diffusion off, so a margin does nothing; choose another timestep")
            name = info.data["denoiser"]
            if level(timestep, margin) > sigma_of(find_denoiser(name).max_timestep):
                raise ValueError(
                    f"timestep {timestep} and a margin of {margin} are more noise than {name} was trained for; "
                    "lower one of them"
                )
        return margin

    @field_validator("denoiser")
    @classmethod
    def _known(cls, denoiser: str) -> str:
        find_denoiser(denoiser)
        return denoiser

    @field_validator("steps", "texture")
    @classmethod
    def _for_a_sampler(cls, value: float, info: ValidationInfo) -> float:
        if info.data.get("sampler") == "one-shot" and value != cls.model_fields[str(info.field_name)].default:
            raise ValueError("the sampler one-shot has one step and no texture to blend; choose another sampler")
        return value

    @property
    def is_stochastic(self) -> bool:
        return self.timestep != 0

    @property
    def effective_cost(self) -> Cost:
        small = find_denoiser(self.denoiser).cost is Cost.NETWORK
        return Cost.NETWORK if small and self._evaluations <= FEW_EVALUATIONS else Cost.DIFFUSION

    def work(self, size: tuple[int, int]) -> float:
        height, width = (self.squeeze, self.squeeze) if self.squeeze else size
        of_sampler = 0 if self.sampler == "one-shot" or self.texture == 0 else self._evaluations
        of_mean = self.sampler == "one-shot" or self.texture < 1
        looks = self.timestep == "auto"
        return height * width * (of_sampler + of_mean + looks) * WORK[find_denoiser(self.denoiser).cost]

    @property
    def _evaluations(self) -> int:
        if self.sampler == "one-shot":
            return 1
        start = seen_as(MOST if self.timestep == "auto" else self.timestep, self.margin)
        steps = self.steps or (start if self.sampler == "ancestral" else DEFAULT_STEPS)
        return min(steps, start)  # a sampler takes no timestep twice

    def availability(self) -> Availability:
        return find_denoiser(self.denoiser).availability()

    def diffuse(self, images: Tensor, noise: Noise) -> Tensor:
        """Return the purified images, of the size of `images`."""
        if self.squeeze:
            small = F.interpolate(images, size=(self.squeeze, self.squeeze), mode="bilinear", align_corners=False)
            purified = self._diffuse(small, noise)
            return F.interpolate(purified, size=images.shape[2:], mode="bilinear", align_corners=False)
        return self._diffuse(images, noise)

    def _diffuse(self, images: Tensor, noise: Noise) -> Tensor:
        denoiser = Tiled(find_denoiser(self.denoiser))
        if isinstance(self.timestep, int):
            return self._from(denoiser, images, self.timestep, noise)
        timesteps = auto_timesteps(denoiser, images)
        if self.sampler == "one-shot":
            spread = images.new_tensor([sigma_of(one) for one in timesteps]).view(-1, 1, 1, 1)
            noisy = noise.normal_like(images).mul_(spread).add_(images)
            return denoiser.mean(noisy, images.new_tensor([level(one, self.margin) for one in timesteps]))
        parts = tracked(list(enumerate(timesteps)))
        return torch.cat([self._from(denoiser, images[i : i + 1], one, noise.of(i)) for i, one in parts])

    def _from(self, denoiser: Denoiser, images: Tensor, timestep: int, noise: Noise) -> Tensor:
        if timestep == 0:
            return images.clone()
        noisy = noise.normal_like(images).mul_(sigma_of(timestep)).add_(images)
        mean = sample = None
        if self.sampler == "one-shot" or self.texture < 1:
            sigma = torch.full((len(images),), level(timestep, self.margin), device=images.device)
            mean = denoiser.mean(noisy, sigma)
        if self.sampler != "one-shot" and self.texture > 0:
            start = seen_as(timestep, self.margin)
            x = alpha_bar(start) ** 0.5 * (2 * noisy - 1)
            sample = SAMPLERS[self.sampler](denoiser, x, start, self._evaluations, noise).add(1).div(2)
        if mean is None or sample is None:
            return mean if sample is None else sample  # type: ignore[return-value] # one of them is always there
        return torch.lerp(mean, sample, self.texture)


def level(timestep: int, margin: float) -> float:
    """Return the sigma that the denoiser is told: of the added noise and of a perturbation independent of it."""
    return math.hypot(sigma_of(timestep), margin)


def seen_as(timestep: int, margin: float) -> int:
    """Return the timestep from which a sampler starts so as to remove both: the one of `level`."""
    return round(timestep_of(level(timestep, margin)))
