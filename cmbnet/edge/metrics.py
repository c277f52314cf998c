"""Counts and times for Prometheus. No label names a study, a patient or a caller."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from cmbnet.edge.events import EventName
from cmbnet.edge.folders import Folders
from cmbnet.edge.journal_reader import JournalReader

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """A listener that counts events for Prometheus.

    Args:
        journal: Journal for queue and age, read when Prometheus asks.
        folders: Folders whose free disk is measured.
        reserve_bytes: Free disk that the node does not touch.
    """

    def __init__(self, journal: JournalReader, folders: Folders, reserve_bytes: int) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        registry.register(_Now(journal, folders, reserve_bytes))
        self._objects = Counter("cmbnet_objects", "Objects by answer.", ["answer"],
                                registry=registry)  # fmt: skip
        self._bytes = Counter("cmbnet_received_bytes", "Bytes of kept objects.", registry=registry)
        self._store_s = Histogram(
            "cmbnet_store_seconds", "From whole object to synced object.", registry=registry,
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
        )  # fmt: skip
        self._refused = Counter("cmbnet_associations_refused", "Callers that were turned away.",
                                registry=registry)  # fmt: skip
        self._connections = Counter(
            "cmbnet_connections_refused", "Connections that were closed before anyone was named.",
            registry=registry,
        )  # fmt: skip
        self._runs = Counter("cmbnet_study_runs", "Runs of the worker by outcome.", ["outcome"],
                             registry=registry)  # fmt: skip
        self._run_s = Histogram(
            "cmbnet_study_run_seconds", "Time of the worker for a study.", registry=registry,
            buckets=(0.5, 1, 2, 3, 4, 6, 10, 30, 100, 300),
        )  # fmt: skip
        self._restarts = Counter("cmbnet_worker_restarts", "Workers that died or hung.",
                                 registry=registry)  # fmt: skip
        self._sent = Counter("cmbnet_results_sent", "Studies whose results were sent.",
                             ["destination"], registry=registry)  # fmt: skip
        self._unsent = Counter("cmbnet_delivery_failures", "Attempts to send that failed.",
                               ["destination"], registry=registry)  # fmt: skip
        self._promises = Counter("cmbnet_commitments", "Answers to storage commitment.",
                                 ["destination", "answer"], registry=registry)  # fmt: skip
        self._purged = Counter("cmbnet_purged_studies", "Studies removed from disk.",
                               registry=registry)  # fmt: skip
        self._count = self._counts()

    def __call__(self, name: EventName, study: str, details: Mapping[str, object]) -> None:
        """See `cmbnet.edge.events.EventHook`."""
        count = self._count.get(name)
        if count is not None:
            count(details)

    def _counts(self) -> dict[str, Callable[[Mapping[str, object]], None]]:
        """Return the action for each event."""
        return {
            "object_received": lambda facts: self._received("kept", facts),
            "object_corrected": lambda facts: self._received("corrected", facts),
            "object_conflict": lambda _: self._objects.labels("conflict").inc(),
            "object_duplicate": lambda _: self._objects.labels("duplicate").inc(),
            "object_refused": lambda _: self._objects.labels("refused").inc(),
            "connection_refused": lambda _: self._connections.inc(),
            "association_refused": lambda _: self._refused.inc(),
            "study_run": self._run,
            "worker_restarted": lambda _: self._restarts.inc(),
            "results_sent": lambda facts: self._sent.labels(facts["destination"]).inc(),
            "delivery_failed": lambda facts: self._unsent.labels(facts["destination"]).inc(),
            "commitment": self._commitment,
            "purged": lambda _: self._purged.inc(),
        }

    def text(self) -> bytes:
        """Return all metrics in Prometheus's format."""
        return generate_latest(self._registry)

    def _received(self, answer: str, facts: Mapping[str, object]) -> None:
        self._objects.labels(answer).inc()
        self._bytes.inc(_number(facts.get("bytes")))
        self._store_s.observe(_number(facts.get("seconds")))

    def _run(self, facts: Mapping[str, object]) -> None:
        self._runs.labels(facts.get("outcome", "")).inc()
        self._run_s.observe(_number(facts.get("run_s")))

    def _commitment(self, facts: Mapping[str, object]) -> None:
        answer = "failed" if facts.get("failed") else "committed"
        self._promises.labels(facts["destination"], answer).inc()


class _Now(Collector):
    """The metrics that are read when Prometheus asks."""

    def __init__(self, journal: JournalReader, folders: Folders, reserve_bytes: int) -> None:
        self._journal = journal
        self._folders = folders
        self._reserve_bytes = reserve_bytes

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """See `prometheus_client.registry.Collector`."""
        states = GaugeMetricFamily("cmbnet_studies", "Studies by state.", labels=["state"])
        for state, count in self._journal.counts().items():
            states.add_metric([str(state)], count)
        yield states
        yield GaugeMetricFamily(
            "cmbnet_queue_age_seconds", "Age of the oldest study in work.",
            value=self._journal.queue_age_s(),
        )  # fmt: skip
        yield GaugeMetricFamily(
            "cmbnet_disk_free_bytes", "Free disk.", value=self._folders.free_bytes()
        )
        yield GaugeMetricFamily(
            "cmbnet_disk_reserve_bytes", "Objects are refused below.", value=self._reserve_bytes
        )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
