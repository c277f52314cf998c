"""The wait for a complete study. No protocol marks the last image, so a silence must."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cmbnet.edge.config import SettleSettings


@dataclass(slots=True)
class _Wait:
    since_s: float
    patient: bool = False
    told: bool = False


@dataclass(eq=False)
class SettleTimer:
    """The wait for silence, by a clock that nobody can set back. Threads may share one.

    It is held only in memory. After a restart, every wait begins anew.
    """

    settings: SettleSettings  # Settings of the waits
    clock: Callable[[], float] = time.monotonic  # Seconds that never go back
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)
    _waits: dict[str, _Wait] = field(init=False, default_factory=dict)

    def arrived(self, study: str) -> None:
        """Note a new image. The silence begins again, and the image may have filled gaps."""
        with self._lock:
            self._waits[study] = _Wait(self.clock())

    def incomplete(self, study: str) -> None:
        """Note gaps. The study gets a longer silence, counted from its last image."""
        with self._lock:
            wait = self._waits.setdefault(study, _Wait(self.clock()))
            wait.patient, wait.told = True, False

    def ensure(self, study: str) -> None:
        """Begin to wait for a study, if no wait runs."""
        with self._lock:
            wait = self._waits.get(study)
            if wait is None or wait.told:
                self._waits[study] = _Wait(self.clock())

    def due(self) -> list[str]:
        """Return studies whose silence is over, the oldest first. Each is returned once."""
        with self._lock:
            now = self.clock()
            waiting = {study: wait for study, wait in self._waits.items() if not wait.told}
            over = [study for study, wait in waiting.items() if now >= self._end_s(wait)]
            for study in over:
                self._waits[study].told = True
            return sorted(over, key=lambda study: self._waits[study].since_s)

    def patience_over(self, study: str) -> bool:
        """Return whether the time for gaps is over."""
        with self._lock:
            wait = self._waits.get(study)
            return wait is None or self.clock() >= wait.since_s + self.settings.patience_s

    def forget(self, study: str) -> None:
        """End the wait after a result. If an image came since, its wait continues."""
        with self._lock:
            wait = self._waits.get(study)
            if wait is not None and wait.told:
                del self._waits[study]

    def _end_s(self, wait: _Wait) -> float:
        longer = self.settings.patience_s if wait.patient else 0.0
        return wait.since_s + max(self.settings.settle_s, longer)
