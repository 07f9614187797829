"""One image attacked as the service and a study do it: timed, as a file, and with the facts that are kept."""

import math
import time
from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from models.attack import Attack, Attacked
from models.defense import Defense
from models.images import ImageFormat, encode
from models.metric import Metric
from models.threads import one_thread


class AttackFacts(BaseModel):
    """What an attack did to an image."""

    model_config = ConfigDict(extra="forbid")

    seconds: float = Field(description="That the attack took.")
    queries: int = Field(description="How often the image was scored meanwhile.")
    linf: int = Field(description="Largest change of a value, in 8-bit levels.")
    first_slope: float | None = Field(description="Sum of the magnitudes of the first gradient; null: none was asked.")


class AttackedImage(NamedTuple):
    """An image after an attack."""

    done: Attacked
    file: bytes
    """The attacked image as a PNG, which keeps every value."""
    facts: AttackFacts


def attack_alone(attack: Attack, image: Tensor, metric: Metric, defense: Defense | None, seed: int) -> AttackedImage:
    """Attack an image, (1, 3, H, W), with one thread: so the result does not depend on where that is done.

    Raises as `Attack.run` does.
    """
    start = time.perf_counter()
    with one_thread():
        done = attack.run(image, metric, defense, seed)
    if image.device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    slope = done.first_slope.item()
    facts = AttackFacts(
        seconds=seconds,
        queries=int(done.queries.item()),
        linf=int(((done.images - image) * 255).round().abs().max().item()),
        first_slope=slope if math.isfinite(slope) else None,
    )
    return AttackedImage(done, encode(done.images.cpu(), ImageFormat.PNG), facts)
