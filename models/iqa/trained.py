"""What metrics with weights that a user brings have in common: presets, a card that tells the weights, one network."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn

from models.availability import Availability, unavailable
from models.checkpoints import CheckpointError
from models.iqa.weights import MetricWeights
from models.metric import Metric, MetricCard, MetricUnavailableError
from models.tensors import MIN_SIDE


class Preset(NamedTuple):
    """A way to preprocess."""

    suffix: str
    """What the metric's name gets; empty for the default."""
    preprocessing: str
    score: Callable[[nn.Module, Tensor], Tensor]
    """From the network and the images to a score per image, (N,)."""
    min_side: int = MIN_SIDE
    max_aspect: int | None = None
    max_pixels: int | None = None


class TrainedMetric(Metric):
    """A metric by its published weights, once they were added."""

    def __init__(self, weights: MetricWeights, preset: Preset, name: str, **facts: Any) -> None:
        """Take the weights, the preset, the metric's name without the preset's, and the rest of the card."""
        self._weights, self._preset = weights, preset
        self._card = MetricCard(
            name=f"{name}{preset.suffix}",
            preprocessing=preset.preprocessing,
            weights=(weights.name,),
            version="",
            license=f"Apache-2.0 (code); weights: {weights.published[0].license}",
            higher_is_better=True,
            differentiable=True,
            human_trained=True,
            min_side=preset.min_side,
            max_aspect=preset.max_aspect,
            max_pixels=preset.max_pixels,
            **facts,
        )

    @property
    def card(self) -> MetricCard:  # type: ignore[override]
        """The facts about it, with the weights that are here now."""
        return self._card.model_copy(update={"version": f"PurifIQA 1, {self._weights.version()}"})

    def availability(self) -> Availability:
        return self._weights.availability()

    def score(self, images: Tensor) -> Tensor:
        """Return the scores, float32 (N,). Raises MetricUnavailableError if the weights cannot be read."""
        try:
            network = self._weights.load(images.device)
        except CheckpointError as error:
            reason, _, cure = str(error).partition(". Run: ")
            told = unavailable(reason, f"Run: {cure}" if cure else "Add the weights again, with --force")
            raise MetricUnavailableError(self._card.name, told) from error
        return self._preset.score(network, images).float()
