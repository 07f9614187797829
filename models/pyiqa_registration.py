"""Import this, and `pyiqa.create_metric` knows our metrics: by our name if it is free there, else as purifiqa-NAME."""

from typing import Any

from torch import Tensor, nn

from models.metric import Metric, MetricUnavailableError
from models.metrics import find_metric, metrics
from models.weights import move_libraries

try:
    move_libraries()
    from pyiqa.default_model_configs import DEFAULT_CONFIGS
    from pyiqa.utils.registry import ARCH_REGISTRY
except ModuleNotFoundError as error:
    cure = "Run: pip install 'purifiqa[pyiqa]' (its license is noncommercial)"
    raise ModuleNotFoundError(f"pyiqa cannot be imported: {error}. {cure}", name=error.name) from error

NETWORK = "PurifIQAMetric"
"""Under this name pyiqa finds the network below; no class of pyiqa's has it."""

TOLERANCE = 1e-6
"""By how much pyiqa lets values leave [0, 1]."""


class PurifIQAMetric(nn.Module):
    """One of our metrics as pyiqa's networks are: images in, scores (N, 1) out. It works on the images' device."""

    def __init__(self, metric: str) -> None:
        """Take the name of one of our metrics. Raises UnknownMetricError, MetricUnavailableError with its cure."""
        super().__init__()
        self.metric = find_metric(metric)
        if not (availability := self.metric.availability()).available:
            raise MetricUnavailableError(self.metric.card.name, availability)

    def forward(self, images: Tensor) -> Tensor:
        """Score floating-point images in [0, 1], (N, 3, H, W) or gray (N, 1, H, W); raises as the metric does."""
        images = images.float().expand(-1, 3, -1, -1)
        within = images.detach().clamp(0, 1)
        nearly = (images.detach() - within).abs() <= TOLERANCE  # what is further away, the metric refuses
        return self.metric(images + (within - images.detach()) * nearly)[:, None]


def register() -> dict[str, str]:
    """Make pyiqa know each of our metrics, once; return our names of them by pyiqa's. Done by the import already."""
    if NETWORK not in ARCH_REGISTRY:
        ARCH_REGISTRY.register(PurifIQAMetric, name=NETWORK)
    registered = {}
    for metric in metrics().values():
        for name in (metric.card.name, *metric.card.aliases):
            if not name.startswith("pyiqa:"):
                registered[_enter(name, metric)] = name
    return registered


def _enter(name: str, metric: Metric) -> str:
    """Make pyiqa know a metric of ours by this name; return pyiqa's name for it."""
    free = name if _is_ours(name) or name not in DEFAULT_CONFIGS else f"purifiqa-{name}"
    if free in DEFAULT_CONFIGS and not _is_ours(free):
        raise ValueError(f"pyiqa has a metric {free!r} of somebody else's")
    DEFAULT_CONFIGS[free] = {
        "metric_opts": {"type": NETWORK, "metric": name},
        "metric_mode": "NR",
        "lower_better": not metric.card.higher_is_better,
        "score_range": ", ".join(_bound(bound, exact=metric.card.range_is_exact) for bound in metric.card.range),
    }
    return free


def _is_ours(name: str) -> bool:
    entry: dict[str, Any] = DEFAULT_CONFIGS.get(name, {})
    return bool(entry) and entry["metric_opts"].get("type") == NETWORK


def _bound(bound: float | None, *, exact: bool) -> str:
    """Return a bound as pyiqa writes it: a tilde for one that is not exact, or alone for none."""
    if bound is None:
        return "~"
    return f"{bound:g}" if exact else f"~{bound:g}"


register()
