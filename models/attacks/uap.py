from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from models.attack import Attack
from models.attack_target import Target
from models.availability import AVAILABLE, Availability, unavailable
from models.defense import Defense
from models.defenses.none import NoDefense
from models.metric import Metric
from models.perturbation.universal import UniversalFileError, load

LEARN = "Run: purifiqa attack FOLDER --attack uap --metric NAME --learn -o FILE.safetensors, and give it as `file`"


class Uap(Attack):
    """Add one universal pattern to every image, learned beforehand on a folder of other images.

    Universal perturbation of metrics, Shumitskaya et al. (BMVC 2022, arXiv 2211.00366), as in Guardians of Image
    Quality (arXiv 2408.01541): a square of 256 pixels, repeated over the image. The image under attack is not scored.
    """

    name: Literal["uap"] = "uap"
    white_box: ClassVar[bool] = False
    universal: ClassVar[bool] = True
    is_local: ClassVar[bool] = True
    source: ClassVar[str] = "arXiv 2211.00366"
    presets: ClassVar = {"epsilon": (2, 4, 8, 16)}

    epsilon: float = Field(10, ge=1, le=64, description="Largest change of a value, in 8-bit levels.")
    file: str = Field(
        "", max_length=1000, description="File with the learned pattern, written by `purifiqa attack --learn`."
    )

    @field_validator("both")
    @classmethod
    def _learned_on_one_score(cls, both: bool) -> bool:  # noqa: FBT001
        if both:
            raise ValueError("a learned pattern moves the one score that it was learned on")
        return both

    def availability(self) -> Availability:
        if not self.file:
            return unavailable("no learned pattern is given", LEARN)
        try:
            learned_for = load(Path(self.file)).facts.recipe.goal
        except UniversalFileError as error:
            return unavailable(str(error), LEARN)
        if learned_for is not self.goal:
            return unavailable(
                f"{self.file} was learned to {learned_for} the claimed quality, not to {self.goal} it", LEARN
            )
        return AVAILABLE

    def misleads(self, metric: Metric) -> bool:
        facts = load(Path(self.file)).facts
        return facts.metric == metric.card.name and facts.metric_version in (None, metric.card.version)

    def goes_through(self, defense: Defense | None) -> bool:
        through = load(Path(self.file)).facts.defense
        if defense is None or defense == NoDefense():
            return through in (None, NoDefense().model_dump_json())
        return through == defense.model_dump_json()

    @property
    def files(self) -> tuple[Path, ...]:
        return (Path(self.file),) if self.file else ()

    def budgets(self, images: Tensor) -> Tensor:
        return torch.full((len(images),), self.epsilon)

    def perturb(self, target: Target) -> Tensor:
        if target.budget is None:
            raise ValueError(f"{self.name} needs a budget")
        return target.images + target.budget * load(Path(self.file)).over(target.images)
