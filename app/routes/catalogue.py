"""`GET /defenses` and `GET /iqa-metrics`: what there is, what it takes, and whether it can be used here."""

from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from app.guard.callers import reader
from models.availability import Availability
from models.defense import Cost
from models.defenses import DEFENSES, make_defense
from models.metric import MetricCard
from models.metrics import metrics

router = APIRouter(tags=["catalogue"], dependencies=[Depends(reader)])


class DefenseEntry(BaseModel):
    """A defense and its parameters."""

    name: str
    summary: str
    description: str = Field(description="With sources.")
    cost: Cost
    stochastic: bool = Field(description="Whether the result depends on the seed.")
    differentiable: bool = Field(description="Whether exact gradients run through it; if not: straight-through.")
    weights: tuple[str, ...] = Field(description="Names of the weight files it needs; empty: none.")
    license: str = Field(description="Licence of its code and weights.")
    parameters: dict[str, Any] = Field(description="JSON Schema of the object to send as `defense`.")
    availability: Availability


class MetricEntry(MetricCard):
    """A metric's facts, and whether it can be used here."""

    availability: Availability


@router.get("/defenses", operation_id="list_defenses", summary="Every defense, with the JSON Schema of its parameters")
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
            license=kind.license,
            parameters=kind.schema_of_parameters(),
            availability=make_defense({"name": name}).availability(),
        )
        for name, kind in DEFENSES.items()
    ]


@router.get(
    "/iqa-metrics", operation_id="list_metrics", summary="Every metric, with its range, licence and availability"
)
def list_metrics() -> list[MetricEntry]:
    """In alphabetical order, each under the shortest name that reaches it."""
    return [
        MetricEntry(**{**metric.card.model_dump(), "name": name}, availability=metric.availability())
        for name, metric in metrics().items()
    ]
