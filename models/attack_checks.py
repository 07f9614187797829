"""Checks that doubt an attack's result: each gives flags, which docs/attacks.md explains under their codes."""

from enum import StrEnum
from typing import NamedTuple

import torch
from torch import Tensor

from models.attack import Attack
from models.defense import Defense
from models.metric import Metric
from models.notation import write

PAGE = "docs/attacks.md"
VANISHING = 1e-3
"""What the first gradient must promise for a change of every value by one level, in units of the metric's range."""


class Code(StrEnum):
    """What may be wrong with a result."""

    ZERO_GRADIENT = "zero-gradient"
    VANISHING_GRADIENT = "vanishing-gradient"
    RANDOMNESS_NOT_AVERAGED = "randomness-not-averaged"
    STRAIGHT_THROUGH = "straight-through"
    MADE_FOR_ANOTHER = "made-for-another"
    BLACK_BOX_WINS = "black-box-wins"
    NO_EFFECT = "no-effect"


class Flag(NamedTuple):
    """A reason to doubt that an attack shows how robust a metric or a defense is."""

    code: Code
    message: str

    @property
    def link(self) -> str:
        """Where the flag is explained."""
        return f"{PAGE}#{self.code}"


def check_gradients(first_slope: Tensor) -> list[Flag]:
    """Flag gradients at the clean images that are zero or promise next to nothing; `first_slope` as `run` tells it."""
    slopes = first_slope[~first_slope.isnan()]
    promised = slopes / 255
    zero, small = int((slopes == 0).sum()), int(((promised < VANISHING) & (slopes > 0)).sum())
    flags = []
    if zero:
        flags.append(Flag(Code.ZERO_GRADIENT, f"the gradient is zero for {zero} of {len(slopes)} images"))
    if small:
        few = f"less than {VANISHING:.1%} of the range per level"
        message = f"the gradient of {small} of {len(slopes)} images predicts {few}"
        flags.append(Flag(Code.VANISHING_GRADIENT, message))
    return flags


def check_defense(attack: Attack, defense: Defense | None) -> list[Flag]:
    """Flag what makes an adaptive attack weaker than it could be: unaveraged randomness, gradients of a stand-in."""
    if defense is None or attack.universal:
        return []
    flags = []
    if defense.is_stochastic and attack.draws == 1:
        message = f"{write(defense)} is random, and {attack.name} uses one draw of it per step; raise `draws`"
        flags.append(Flag(Code.RANDOMNESS_NOT_AVERAGED, message))
    if attack.white_box and not defense.is_differentiable:
        message = f"{write(defense)} is not differentiable: the gradients are those of a stand-in"
        flags.append(Flag(Code.STRAIGHT_THROUGH, message))
    return flags


def check_purpose(attack: Attack, metric: Metric, defense: Defense | None) -> list[Flag]:
    """Flag what was made beforehand and is used on another metric, or with another defense, than it was made for."""
    if not attack.universal or not attack.availability().available:
        return []
    flags = []
    if not attack.misleads(metric):
        name = f"{metric.card.name}, version {metric.card.version}"
        flags.append(Flag(Code.MADE_FOR_ANOTHER, f"{attack.name} was learned on another metric than {name}"))
    if not attack.goes_through(defense):
        why = "was learned through a defense, which is not used here"
        if defense is not None:
            why = f"was not learned through {write(defense)}"
        flags.append(Flag(Code.MADE_FOR_ANOTHER, f"{attack.name} {why}"))
    return flags


def check_effect(gained: Tensor) -> list[Flag]:
    """Flag images whose claimed quality did not go where the attacker wanted; `gained` is how far it did, (N,)."""
    failed = int((gained <= 0).sum())
    message = f"the score of {failed} of {len(gained)} images did not move the attacker's way"
    return [Flag(Code.NO_EFFECT, message)] if failed else []


def check_black_box(white: Tensor, black: Tensor) -> list[Flag]:
    """Flag that an attack which only asks for scores gained more on average than one that follows gradients.

    Both are how far the claimed quality of the same images went where the attacker wanted, (N,), at comparable budgets.
    """
    white_mean, black_mean = torch.mean(white.double()).item(), torch.mean(black.double()).item()
    if black_mean <= white_mean:
        return []
    message = f"this black-box attack gains {black_mean:.4g} on average, one with gradients only {white_mean:.4g}"
    return [Flag(Code.BLACK_BOX_WINS, message)]
