"""The recent activity of the node, kept in memory for the status page."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

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
    """A connection, association or object that was turned away."""

    at: float  # Unix time
    what: str  # "connection", "association" or "object"
    caller: str  # AE title of the caller. For a connection, the network address.
    reason: str  # The reason. It names no patient.


@dataclass(eq=False)
class Activity:
    """A listener that counts recent events."""

    clock: Callable[[], float] = time.monotonic  # Seconds that never go back
    wall: Callable[[], float] = time.time  # Unix time, for people
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)
    _objects: deque[tuple[float, float]] = field(init=False)
    _studies: deque[tuple[float, float]] = field(init=False)
    _refusals: deque[Refusal] = field(init=False)
    _counts: Counter[str] = field(init=False, default_factory=Counter)

    def __post_init__(self) -> None:
        self._objects, self._studies = deque(maxlen=_MOST), deque(maxlen=_MOST)
        self._refusals = deque(maxlen=_LAST_REFUSALS)

    def __call__(self, name: EventName, study: str, details: Mapping[str, object]) -> None:
        """See `cmbnet.edge.events.EventHook`."""
        with self._lock:
            self._counts[_REFUSALS.get(name, name)] += 1
            if name in _REFUSALS:
                caller = str(details.get("caller") or details.get("address", ""))
                reason = str(details.get("reason", ""))
                self._refusals.appendleft(Refusal(self.wall(), _REFUSALS[name], caller, reason))
            elif name in ("object_received", "object_corrected"):
                self._objects.append((self.clock(), number_of(details.get("bytes"))))
            elif name == "study_run" and details.get("outcome") in ("done", "refused"):
                self._studies.append((self.clock(), number_of(details.get("run_s"))))

    def count(self, *names: str) -> int:
        """Count events since the start: names of events, or "connection", "association", "object".

        The latter three count what was refused.
        """
        with self._lock:
            return sum(self._counts[name] for name in names)

    def object_bytes(self) -> list[float]:
        """Return the sizes in bytes of the objects that were kept in the last minute."""
        return self._since(self._objects, _MINUTE_S)

    def run_seconds(self) -> list[float]:
        """Return the times in seconds of the worker's runs that gave an answer in the last hour."""
        return self._since(self._studies, _HOUR_S)

    def refusals(self) -> tuple[Refusal, ...]:
        """Return the last refusals, the newest first."""
        with self._lock:
            return tuple(self._refusals)

    def _since(self, entries: deque[tuple[float, float]], seconds: float) -> list[float]:
        with self._lock:
            while entries and entries[0][0] < self.clock() - seconds:
                entries.popleft()
            return [value for _, value in entries]


def number_of(value: object) -> float:
    """Return a detail as a number, or 0 if it is none."""
    return float(value) if isinstance(value, int | float) else 0.0
