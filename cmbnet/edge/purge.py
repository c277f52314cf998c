"""Remove studies that every destination has committed to keep, the oldest first."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from cmbnet.edge.config import StorageSettings
from cmbnet.edge.events import Events
from cmbnet.edge.folders import Folders
from cmbnet.edge.journal import Journal
from cmbnet.edge.records import State, Study
from cmbnet.edge.spool import Spool

_DAY_S = 86_400.0
_LONGEST_BREAK_S = _DAY_S


class Purge:
    """The purge of images and results that are safe elsewhere.

    Args:
        folders: Folders whose free space counts.
        journal: Journal that says what is COMMITTED.
        spool: Spool of the images.
        settings: Settings of the disk.
        events: Listeners of removals.
        wall: Clock of Unix time. If it is set back or ahead, things only stay longer.
        clock: Seconds that never go back, and never jump.
    """

    def __init__(
        self,
        folders: Folders,
        journal: Journal,
        spool: Spool,
        settings: StorageSettings,
        events: Events,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folders = folders
        self._journal = journal
        self._spool = spool
        self._settings = settings
        self._events = events
        self._wall = wall
        self._clock = clock
        self._started_s = clock()
        self._began_at = wall()
        if folders.alive.exists():
            # A clock that is wrong at the start cannot be told from a long break.
            longest = folders.alive.stat().st_mtime + _LONGEST_BREAK_S
            self._began_at = min(self._began_at, longest)

    def step(self, *, everything: bool = False) -> int:
        """Remove old studies, and more if space is short. Return their number.

        Args:
            everything: Whether to remove all studies that are safe elsewhere, whatever their age.
        """
        removed = 0
        studies = self._journal.purgeable()
        limited = self._settings.largest_gb is not None
        used = sum(self._spool.used_bytes(one.study) for one in studies) if limited else 0
        for study in studies:
            elsewhere = study.state is State.COMMITTED or study.outcome == "refused"
            early = elsewhere and (everything or self._short(used))
            if (early or self._old(study)) and self._journal.purged(study):
                freed = self._spool.remove(study.study, study.digest)
                used -= freed
                removed += 1
                self._events("purged", study.study, bytes=freed)
        self._spool.forget_conflicts(self._now() - self._settings.quarantine_days * _DAY_S)
        self._folders.alive.touch(mode=0o600)
        os.utime(self._folders.alive, (self._now(), self._now()))
        return removed

    def _old(self, study: Study) -> bool:
        given_up = study.outcome == "failed"
        days = self._settings.quarantine_days if given_up else self._settings.keep_days
        return self._now() - study.changed_at > days * _DAY_S

    def _now(self) -> float:
        """Return Unix time without the jumps of a clock that was set ahead."""
        return min(self._wall(), self._began_at + self._clock() - self._started_s)

    def _short(self, used_bytes: int) -> bool:
        """Return whether less than twice the reserve is free, or old studies take too much."""
        largest = self._settings.largest_gb
        if largest is not None and used_bytes > largest * (1 << 30):
            return True
        return self._folders.free_bytes() < 2 * (self._settings.reserve_mb << 20)
