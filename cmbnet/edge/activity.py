"""The recent activity of the node, kept in memory for the status page."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cmbnet.edge.events import EventName

_MINUTE_S = 60.0
_HOUR_S = 3600.0
_MOST = 200_000
_LAST_REFUSALS = 8
_REFUSALS = {
    "connection_refused": "connection",
    "association_refused": "association",
    "object_refused": "object",
    "object_conflict": "object",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A connection, association or object that was turned away.

    Args:
        at: Unix time.
        what: "connection", "association" or "object".
        caller: AE title of the caller. For a connection, the network address.
        reason: The reason. It names no patient.
    """

    at: float
    what: str
    caller: str
    reason: str


@dataclass(frozen=True, slots=True)
class Lately:
    """The recent activity in numbers.

    Args:
        objects_a_minute: Number of objects kept in the last minute.
        megabytes_a_minute: Size of these objects.
        studies_an_hour: Number of runs of the worker that ended with an answer in the last hour.
        seconds_a_study: Mean time of these runs, or 0 without a run.
        refused_callers: Number of connections and associations refused since the start.
        refused_objects: Number of objects refused since the start.
        worker_restarts: Number of restarts of the worker since the start.
        refusals: The last refusals, newest first.
    """

    objects_a_minute: int
    megabytes_a_minute: float
    studies_an_hour: int
    seconds_a_study: float
    refused_callers: int
    refused_objects: int
    worker_restarts: int
    refusals: tuple[Refusal, ...] = ()


class Activity:
    """A listener that counts recent events.

    Args:
        clock: Seconds that never go back.
        wall: Unix time, for people.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        self._objects: deque[tuple[float, float]] = deque(maxlen=_MOST)
        self._studies: deque[tuple[float, float]] = deque(maxlen=_MOST)
        self._counts: dict[str, int] = {}
        self._refusals: deque[Refusal] = deque(maxlen=_LAST_REFUSALS)

    def __call__(self, name: EventName, study: str, details: Mapping[str, object]) -> None:
        """See `cmbnet.edge.events.EventHook`."""
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + 1
            if name in _REFUSALS:
                caller = str(details.get("caller") or details.get("address", ""))
                reason = str(details.get("reason", ""))
                self._refusals.appendleft(Refusal(self._wall(), _REFUSALS[name], caller, reason))
            elif name in ("object_received", "object_corrected"):
                self._objects.append((self._clock(), _number(details.get("bytes"))))
            elif name == "study_run" and details.get("outcome") in ("done", "refused"):
                self._studies.append((self._clock(), _number(details.get("run_s"))))

    def lately(self) -> Lately:
        """Return the activity of the last minute and hour."""
        with self._lock:
            _forget(self._objects, self._clock() - _MINUTE_S)
            _forget(self._studies, self._clock() - _HOUR_S)
            sizes = [size for _, size in self._objects]
            seconds = [spent for _, spent in self._studies]
            counts = dict(self._counts)
            refusals = tuple(self._refusals)
        return Lately(
            objects_a_minute=len(sizes),
            megabytes_a_minute=sum(sizes) / 1e6,
            studies_an_hour=len(seconds),
            seconds_a_study=sum(seconds) / len(seconds) if seconds else 0.0,
            refused_callers=sum(
                counts.get(f"{what}_refused", 0) for what in ("connection", "association")
            ),
            refused_objects=counts.get("object_refused", 0) + counts.get("object_conflict", 0),
            worker_restarts=counts.get("worker_restarted", 0),
            refusals=refusals,
        )


def _forget(entries: deque[tuple[float, float]], before: float) -> None:
    while entries and entries[0][0] < before:
        entries.popleft()


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
