"""Counts and times for Prometheus. No label names a study, a patient or a caller."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from cmbnet.edge.activity import number_of
from cmbnet.edge.events import EventName
from cmbnet.edge.folders import Folders
from cmbnet.edge.journal_reader import JournalReader

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """A listener that counts events for Prometheus.

    Queue, age and free disk are read when Prometheus asks.
    """

    def __init__(self, journal: JournalReader, folders: Folders, reserve_bytes: int) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Now(journal, folders, reserve_bytes))
        counter = partial(Counter, registry=self._registry)
        histogram = partial(Histogram, registry=self._registry)
        self._objects = counter("cmbnet_objects", "Objects by answer.", ["answer"])
        self._bytes = counter("cmbnet_received_bytes", "Bytes of kept objects.")
        self._store_s = histogram("cmbnet_store_seconds", "From whole object to synced object.",
                                  buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3))  # fmt: skip
        self._refused = counter("cmbnet_associations_refused", "Callers that were turned away.")
        self._connections = counter("cmbnet_connections_refused",
                                    "Connections closed before anyone was named.")  # fmt: skip
        self._runs = counter("cmbnet_study_runs", "Runs of the worker by outcome.", ["outcome"])
        self._run_s = histogram("cmbnet_study_run_seconds", "Time of the worker for a study.",
                                buckets=(0.5, 1, 2, 3, 4, 6, 10, 30, 100, 300))  # fmt: skip
        self._restarts = counter("cmbnet_worker_restarts", "Workers that died or hung.")
        where = ["destination"]
        self._sent = counter("cmbnet_results_sent", "Studies whose results were sent.", where)
        self._unsent = counter("cmbnet_delivery_failures", "Attempts to send that failed.", where)
        self._promises = counter("cmbnet_commitments", "Answers to storage commitment.",
                                 [*where, "answer"])  # fmt: skip
        self._purged = counter("cmbnet_purged_studies", "Studies removed from disk.")
        self._count = self._counts()

    def __call__(self, name: EventName, study: str, details: Mapping[str, object]) -> None:
        """See `cmbnet.edge.events.EventHook`."""
        count = self._count.get(name)
        if count is not None:
            count(details)

    def _counts(self) -> dict[str, Callable[[Mapping[str, object]], None]]:
        """Return the action for each event."""
        return {
            "object_received": lambda details: self._received("kept", details),
            "object_corrected": lambda details: self._received("corrected", details),
            "object_conflict": lambda _: self._objects.labels("conflict").inc(),
            "object_duplicate": lambda _: self._objects.labels("duplicate").inc(),
            "object_refused": lambda _: self._objects.labels("refused").inc(),
            "connection_refused": lambda _: self._connections.inc(),
            "association_refused": lambda _: self._refused.inc(),
            "study_run": self._run,
            "worker_restarted": lambda _: self._restarts.inc(),
            "results_sent": lambda details: self._sent.labels(details["destination"]).inc(),
            "delivery_failed": lambda details: self._unsent.labels(details["destination"]).inc(),
            "commitment": self._commitment,
            "purged": lambda _: self._purged.inc(),
        }

    def text(self) -> bytes:
        """Return all metrics in Prometheus's format."""
        return generate_latest(self._registry)

    def _received(self, answer: str, details: Mapping[str, object]) -> None:
        self._objects.labels(answer).inc()
        self._bytes.inc(number_of(details.get("bytes")))
        self._store_s.observe(number_of(details.get("seconds")))

    def _run(self, details: Mapping[str, object]) -> None:
        self._runs.labels(details.get("outcome", "")).inc()
        self._run_s.observe(number_of(details.get("run_s")))

    def _commitment(self, details: Mapping[str, object]) -> None:
        answer = "failed" if details.get("failed") else "committed"
        self._promises.labels(details["destination"], answer).inc()


@dataclass(eq=False)
class _Now(Collector):
    """The metrics that are read when Prometheus asks."""

    journal: JournalReader
    folders: Folders
    reserve_bytes: int

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """See `prometheus_client.registry.Collector`."""
        states = GaugeMetricFamily("cmbnet_studies", "Studies by state.", labels=["state"])
        for state, count in self.journal.counts().items():
            states.add_metric([str(state)], count)
        yield states
        yield GaugeMetricFamily(
            "cmbnet_queue_age_seconds", "Age of the oldest study in work.",
            value=self.journal.queue_age_s(),
        )  # fmt: skip
        yield GaugeMetricFamily(
            "cmbnet_disk_free_bytes", "Free disk.", value=self.folders.free_bytes()
        )
        yield GaugeMetricFamily(
            "cmbnet_disk_reserve_bytes", "Objects are refused below.", value=self.reserve_bytes
        )
