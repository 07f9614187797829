"""A file here is a metric, or a family of them. `find_metric` reaches any of them by name; nothing else lists them."""

import difflib
import functools
import sys

from models.discovery import concrete_subclasses
from models.metric import Metric


class UnknownMetricError(ValueError):
    """No metric has this name."""

    def __init__(self, name: str) -> None:
        self.name = name
        close = difflib.get_close_matches(name, metrics(), n=1, cutoff=0.5)
        self.suggestion = close[0] if close else None
        hint = f"; did you mean {self.suggestion!r}?" if close else ""
        super().__init__(f"there is no metric {name[:80]!r}{hint}")


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


def find_metric(name: str) -> Metric:
    """Return the metric of this name, bare or qualified (`pyiqa:musiq`). Raises UnknownMetricError."""
    if name in metrics():
        return metrics()[name]
    for metric in metrics().values():
        if metric.card.name == name:
            return metric
    raise UnknownMetricError(name)
