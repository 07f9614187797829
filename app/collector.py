"""What Prometheus is told about queue, store and workers: the same by every API process, read when it asks."""

from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from models.defenses import DEFENSES
from workers.orders import Kind
from workers.state.broker import BROKER_ERRORS
from workers.state.measures import MEASURES_TOLD, histograms
from workers.state.queue import JobQueue
from workers.state.record import Status
from workers.state.store import Store
from workers.telemetry.vitals import Facts

STATES = ("busy", "idle", "stuck")


class ServiceCollector(Collector):
    """The state of the whole service at the moment of a scrape."""

    def __init__(self, queue: JobQueue, store: Store) -> None:
        self._queue, self._store = queue, store

    def collect(self) -> Iterator[Metric]:
        """Yield every family; of those that Redis knows, only `purifiqa_redis_up` when it takes no writes."""
        build = GaugeMetricFamily("purifiqa_build_info", "Always 1; the version is a label.", labels=["version"])
        build.add_metric([version("purifiqa")], 1)
        yield build
        yield from self._free()
        families: list[Metric] = []
        with suppress(*BROKER_ERRORS):
            if self._queue.broker.is_up():
                families = [*self._waiting(), *self._workers(), *self._jobs(), *self._histograms(), *self._stored()]
        yield GaugeMetricFamily(
            "purifiqa_redis_up", "Whether Redis answers and takes writes.", value=float(bool(families))
        )
        yield from families

    def _free(self) -> Iterator[Metric]:
        try:
            free = self._store.free_bytes()
        except OSError:  # absent says it: /readyz tells why
            return
        yield GaugeMetricFamily("purifiqa_store_free_bytes", "Free bytes on the disk of the store.", value=free)

    def _stored(self) -> Iterator[Metric]:
        size = self._queue.presence.store_size()
        if size is not None:
            yield GaugeMetricFamily("purifiqa_store_bytes", "Bytes in the store at the last sweep.", value=size[0])
            yield GaugeMetricFamily("purifiqa_store_files", "Files in the store at the last sweep.", value=size[1])

    def _waiting(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("purifiqa_queue_depth", "Waiting jobs.", value=self._queue.depth())
        age = self._queue.outlook.oldest_age()
        yield GaugeMetricFamily(
            "purifiqa_oldest_job_age_seconds", "Seconds since the oldest waiting job arrived.", value=age
        )

    def _workers(self) -> Iterator[Metric]:
        crew = [Facts.model_validate_json(text) for text in self._queue.presence.crew()]
        workers = GaugeMetricFamily("purifiqa_workers", "Workers that are alive and warm.", labels=["state"])
        for state in STATES:
            workers.add_metric([state], sum(facts.state == state for facts in crew))
        yield workers
        memory = GaugeMetricFamily(
            "purifiqa_gpu_memory_bytes", "Memory that workers hold on a GPU, in use or not.", labels=["device"]
        )
        for gpu in sorted({facts.gpu for facts in crew if facts.gpu}):
            memory.add_metric([gpu], sum(facts.gpu_bytes for facts in crew if facts.gpu == gpu))
        yield memory

    def _jobs(self) -> Iterator[Metric]:
        totals: dict[tuple[str, str, str], int] = {
            (kind, defense, status): 0 for kind in Kind for defense in DEFENSES for status in Status if status.is_final
        }
        ended = CounterMetricFamily("purifiqa_jobs", "Jobs that ended.", labels=["kind", "defense", "outcome"])
        for labels, count in (totals | self._queue.presence.totals()).items():
            ended.add_metric(labels, count)
        yield ended

    def _histograms(self) -> Iterator[Metric]:
        fields = self._queue.presence.measures()
        for measure in MEASURES_TOLD:
            family = HistogramMetricFamily(f"purifiqa_{measure.name}", measure.summary, labels=measure.labels)
            for one in histograms(fields, measure):
                below, buckets = 0, []
                for bound, count in zip([*measure.bounds, float("inf")], one.counts, strict=True):
                    below += count
                    buckets.append(("+Inf" if bound == float("inf") else f"{bound:g}", below))
                family.add_metric(one.labels, buckets, one.total)
            yield family
