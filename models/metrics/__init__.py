"""A file here is a metric, or a family of them. `find_metric` reaches any of them by name; nothing else lists them."""

import functools
import sys

from models.discovery import UnknownNameError, concrete_subclasses
from models.metric import Metric


class UnknownMetricError(UnknownNameError):
    """No metric has this name."""

    kind = "metric"
    lists_all = False


@functools.cache
def metrics() -> dict[str, Metric]:
    """Return every metric by the shortest name that reaches it: its own, or its bare one in a family if unclaimed."""
    qualified: dict[str, Metric] = {}
    for kind in concrete_subclasses(sys.modules[__name__], Metric):  # type: ignore[type-abstract]
        for metric in kind.family():
            if metric.card.name in qualified:
                raise TypeError(f"two metrics are named {metric.card.name!r}")
            qualified[metric.card.name] = metric
    shortest: dict[str, Metric] = {}
    for name, metric in qualified.items():
        bare = name.rpartition(":")[2]
        if bare not in qualified and bare in shortest:
            raise TypeError(f"two families have a metric {bare!r}")
        shortest[name if bare in qualified else bare] = metric
    return dict(sorted(shortest.items()))


@functools.cache
def _aliases() -> dict[str, Metric]:
    found: dict[str, Metric] = {}
    for metric in metrics().values():
        for alias in metric.card.aliases:
            if alias in metrics() or alias in found:
                raise TypeError(f"two metrics are named {alias!r}")
            found[alias] = metric
    return found


def find_metric(name: str) -> Metric:
    """Return the metric of this name, bare, qualified (`pyiqa:musiq`) or an alias. Raises UnknownMetricError."""
    if found := metrics().get(name) or _aliases().get(name):
        return found
    for metric in metrics().values():
        if metric.card.name == name:
            return metric
    raise UnknownMetricError(name, metrics())
