"""Remove studies that every destination has committed to keep, the oldest first."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cmbnet.edge.config import StorageSettings
from cmbnet.edge.events import Events
from cmbnet.edge.folders import Folders
from cmbnet.edge.journal import Journal
from cmbnet.edge.records import State, Study
from cmbnet.edge.spool import Spool

_DAY_S = 86_400.0
_LONGEST_BREAK_S = _DAY_S


@dataclass(eq=False)
class Purge:
    """The purge of images and results that are safe elsewhere."""

    folders: Folders  # Folders whose free space counts
    journal: Journal  # Journal that says what is COMMITTED
    spool: Spool  # Spool of the images
    settings: StorageSettings  # Settings of the disk
    events: Events  # Listeners of removals
    # Clock of Unix time. If it is set back or ahead, things only stay longer.
    wall: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic  # Seconds that never go back, and never jump
    _started_s: float = field(init=False)
    _began_at: float = field(init=False)

    def __post_init__(self) -> None:
        self._started_s, self._began_at = self.clock(), self.wall()
        if self.folders.alive.exists():
            # A clock that is wrong at the start cannot be told from a long break.
            longest = self.folders.alive.stat().st_mtime + _LONGEST_BREAK_S
            self._began_at = min(self._began_at, longest)

    def step(self, *, everything: bool = False) -> int:
        """Remove old studies, and more if space is short. Return their number.

        `everything` removes all studies that are safe elsewhere, whatever their age.
        """
        removed = 0
        studies = self.journal.purgeable()
        limited = self.settings.largest_gb is not None
        used = sum(self.spool.used_bytes(one.study) for one in studies) if limited else 0
        for study in studies:
            elsewhere = study.state is State.COMMITTED or study.outcome == "refused"
            early = elsewhere and (everything or self._short(used))
            if (early or self._old(study)) and self.journal.purged(study):
                freed = self.spool.remove(study.study, study.digest)
                used -= freed
                removed += 1
                self.events("purged", study.study, bytes=freed)
        self.spool.forget_conflicts(self._now() - self.settings.quarantine_days * _DAY_S)
        self.folders.alive.touch(mode=0o600)
        os.utime(self.folders.alive, (self._now(), self._now()))
        return removed

    def _old(self, study: Study) -> bool:
        given_up = study.outcome == "failed"
        days = self.settings.quarantine_days if given_up else self.settings.keep_days
        return self._now() - study.changed_at > days * _DAY_S

    def _now(self) -> float:
        """Return Unix time without the jumps of a clock that was set ahead."""
        return min(self.wall(), self._began_at + self.clock() - self._started_s)

    def _short(self, used_bytes: int) -> bool:
        """Return whether less than twice the reserve is free, or old studies take too much."""
        largest = self.settings.largest_gb
        if largest is not None and used_bytes > largest * (1 << 30):
            return True
        return self.folders.free_bytes() < 2 * (self.settings.reserve_mb << 20)
