"""`GET /defenses`, `GET /attacks` and `GET /iqa-metrics`: what there is, what it takes, if it can be used here."""

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from app.documentation import problems
from app.guard.admission import attacks_are_on
from app.guard.callers import reader
from app.services import ServicesDep
from models.attack import Attack
from models.attacks import ORDERABLE
from models.availability import Availability
from models.defense import Cost
from models.defenses import DEFENSES, make_defense
from models.metric import MetricCard
from models.metrics import find_metric, metrics
from workers.settings import WorkerSettings

router = APIRouter(tags=["catalogue"], dependencies=[Depends(reader)])


class DefenseEntry(BaseModel):
    """A defense and its parameters."""

    name: str
    summary: str
    description: str = Field(description="The summary, details and sources.")
    cost: Cost
    stochastic: bool = Field(description="Whether the result depends on the seed.")
    differentiable: bool = Field(description="Whether it has exact gradients; false: straight-through gradients.")
    weights: tuple[str, ...] = Field(description="Names of the weight files that it needs; empty: none.")
    presets: dict[str, tuple[int | float, ...]] = Field(description="Parameter values for a sweep.")
    license: str = Field(description="License of its code and weights.")
    parameters: dict[str, Any] = Field(description="JSON Schema of its parameters; a JSON `defense` fits it.")
    availability: Availability


class AttackEntry(BaseModel):
    """An attack and its parameters."""

    name: str
    summary: str
    description: str = Field(description="The summary, details and sources.")
    sees: str = Field(
        description="What it uses of the metric: gradients; scores (black-box); nothing (learned beforehand)."
    )
    stochastic: bool = Field(description="Whether the result depends on the seed.")
    source: str
    presets: dict[str, tuple[int | float, ...]] = Field(description="Parameter values for a sweep.")
    weights: tuple[str, ...]
    parameters: dict[str, Any] = Field(description="JSON Schema of its parameters; a JSON `attack` fits it.")
    availability: Availability


class MetricEntry(MetricCard):
    """A metric's facts, and whether it can be used here."""

    default: bool = Field(description="Whether it is used for orders that name no metrics.")
    availability: Availability


@router.get(
    "/defenses", operation_id="list_defenses", summary="List the defenses, with the JSON Schema of their parameters"
)
def list_defenses() -> list[DefenseEntry]:
    """In alphabetical order."""
    return [
        DefenseEntry(
            name=name,
            summary=kind.summary(),
            description=" ".join((kind.__doc__ or "").split()),
            cost=kind.cost,
            stochastic=kind.stochastic,
            differentiable=kind.differentiable,
            weights=kind.weights,
            presets=dict(kind.presets),
            license=kind.license,
            parameters=kind.schema_of_parameters(),
            availability=make_defense({"name": name}).availability(),
        )
        for name, kind in DEFENSES.items()
    ]


@router.get(
    "/attacks",
    operation_id="list_attacks",
    summary="List the attacks that can be ordered, with the JSON Schema of their parameters",
    responses=problems(403),
    dependencies=[Depends(attacks_are_on)],
)
def list_attacks() -> list[AttackEntry]:
    """In alphabetical order, without attacks that read a local file. 403 if attacks are turned off."""
    return attack_entries(ORDERABLE.values())


def attack_entries(kinds: Iterable[type[Attack]]) -> list[AttackEntry]:
    """Return what there is to tell of these attacks."""
    return [
        AttackEntry(
            name=(made := kind.model_validate({})).name,
            summary=kind.summary(),
            description=" ".join((kind.__doc__ or "").split()),
            sees="nothing" if kind.universal else "gradients" if kind.white_box else "scores",
            stochastic=kind.stochastic,
            source=kind.source,
            presets=dict(kind.presets),
            weights=kind.weights,
            parameters=kind.model_json_schema(),
            availability=made.availability(),
        )
        for kind in kinds
    ]


@router.get(
    "/iqa-metrics", operation_id="list_metrics", summary="List the metrics, with their range, license and availability"
)
def list_metrics(services: ServicesDep) -> list[MetricEntry]:
    """In alphabetical order, each under its shortest name."""
    return metric_entries(services.settings)


def metric_entries(settings: WorkerSettings) -> list[MetricEntry]:
    """Return what there is to tell of every metric."""
    default = {find_metric(name).card.name for name in settings.default_metric_names}
    return [
        MetricEntry(
            **{**metric.card.model_dump(), "name": name},
            default=metric.card.name in default,
            availability=metric.availability(),
        )
        for name, metric in metrics().items()
    ]
