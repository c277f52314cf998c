"""The status page: one page without scripts, read-only, that names studies by pseudonyms."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from cmbnet import RESEARCH_USE_ONLY, __version__
from cmbnet.edge.activity import Activity
from cmbnet.edge.config import EdgeConfig
from cmbnet.edge.folders import Folders
from cmbnet.edge.journal_reader import JournalReader
from cmbnet.edge.pseudonyms import Pseudonyms
from cmbnet.edge.records import State, Study
from cmbnet.pages import render

_MOST_STUDIES: Final = 30
_GB: Final = 1e9
_STATES: Final = {
    State.RECEIVED: "receiving",
    State.READY: "waiting",
    State.RUNNING: "running",
    State.RESULT_WRITTEN: "to be sent",
    State.SENT: "sent, not yet committed",
    State.COMMITTED: "committed",
    State.FAILED: "without result",
}

_MARKS: Final = {
    _STATES[State.COMMITTED]: "good",
    "done": "good",
    _STATES[State.FAILED]: "bad",
    "refused": "bad",
    "failed": "bad",
}
"""Coloured words and their colours."""


@dataclass(eq=False)
class StatusPage:
    """The writer of the page."""

    config: EdgeConfig  # Settings of the node
    journal: JournalReader  # Journal of the node
    folders: Folders  # Folders whose disk is measured
    names: Pseudonyms  # Pseudonyms of studies

    def html(self, activity: Activity, faults: Sequence[str], up_s: float) -> str:
        """Write the page of this moment.

        `faults` are the reasons why the node is not ready.
        """
        studies = self.journal.last_studies(_MOST_STUDIES)
        return render(
            "status.html",
            title=f"cmbnet node {self.config.ae_title}",
            notice=RESEARCH_USE_ONLY,
            faults=faults,
            about=f"cmbnet {__version__}, up for {_duration(up_s)}; {_time(time.time())}. Studies "
            "go by pseudonyms: the node's key is needed to trace one back.",
            queue=self._queue(),
            throughput=_throughput(activity),
            refused={
                "objects since the start": activity.count("object"),
                "callers since the start": activity.count("connection", "association"),
            },
            refusals=[
                (_time(one.at), one.what, one.caller, self.names.scrub(one.reason))
                for one in activity.refusals()
            ],
            disk=self._disk(),
            destinations=self._destinations(studies),
            studies=[self._row(study) for study in studies],
            marks=_MARKS,
        )

    def _queue(self) -> dict[str, object]:
        counts = {_STATES[state]: count for state, count in self.journal.counts().items()}
        return {**counts, "oldest in work": _duration(self.journal.queue_age_s())}

    def _disk(self) -> dict[str, object]:
        total = shutil.disk_usage(self.folders.root).total
        free, reserve = self.folders.free_bytes(), self.config.storage.reserve_mb << 20
        return {
            "total": total,
            "free": free,
            "reserve": reserve,
            # Red below the reserve, yellow below twice of it; `high` must lie below the optimum.
            "high": min(2 * reserve, total - 1),
            "words": f"{free / _GB:.1f} GB of {total / _GB:.1f} GB are free; below "
            f"{reserve / _GB:.1f} GB objects are refused",
        }

    def _destinations(self, studies: Sequence[Study]) -> list[tuple[str, ...]]:
        """The last word of each destination on the studies that the page lists."""
        last: dict[str, tuple[str, ...]] = {}
        for study in studies:
            for delivery in self.journal.deliveries(study.study):
                last.setdefault(
                    delivery.destination,
                    (
                        delivery.destination,
                        self.names(study.study),
                        str(delivery.state),
                        str(delivery.tries),
                        self.names.scrub(delivery.reason),
                    ),
                )
        none = ("", "nothing to send yet", "", "")
        return [last.get(one.name, (one.name, *none)) for one in self.config.destinations]

    def _row(self, study: Study) -> tuple[str, ...]:
        return (
            self.names(study.study),
            _time(study.received_at),
            study.caller,
            str(study.images or ""),
            _STATES[study.state],
            study.outcome,
            self.names.scrub(study.reason),
        )


def _throughput(activity: Activity) -> dict[str, object]:
    sizes, seconds = activity.object_bytes(), activity.run_seconds()
    return {
        "objects in the last minute": len(sizes),
        "MB in the last minute": f"{sum(sizes) / 1e6:.1f}",
        "studies in the last hour": len(seconds),
        "mean time of a study": f"{fmean(seconds):.1f} s" if seconds else "none yet",
        "worker restarts": activity.count("worker_restarted"),
    }


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _duration(seconds: float) -> str:
    """Write a duration in words.

    Examples:
        >>> _duration(59.4), _duration(3700), _duration(200_000)
        ('59 s', '1 h 1 min', '2 d 7 h')
    """
    whole = round(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
