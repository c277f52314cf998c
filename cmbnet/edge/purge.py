"""Give disk back: only what every destination committed to keep, the oldest first."""

from __future__ import annotations

import time
from collections.abc import Callable

from cmbnet.edge.config import StorageSettings
from cmbnet.edge.events import Events
from cmbnet.edge.folders import Folders
from cmbnet.edge.journal import Journal
from cmbnet.edge.records import Study
from cmbnet.edge.spool import Spool

_DAY_S = 86_400.0


class Purge:
    """Removes images and results that are safe elsewhere.

    Args:
        folders: Whose free space counts.
        journal: What is COMMITTED.
        spool: The images.
        settings: How long to keep, and when space is short.
        events: Told of what went.
        wall: Unix time; set back, it only makes things stay longer.
    """

    def __init__(
        self,
        folders: Folders,
        journal: Journal,
        spool: Spool,
        settings: StorageSettings,
        events: Events,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._folders = folders
        self._journal = journal
        self._spool = spool
        self._settings = settings
        self._events = events
        self._wall = wall

    def step(self, *, everything: bool = False) -> int:
        """Remove what is too old, and more while space is short; returns the number of studies.

        Args:
            everything: All that is safe elsewhere, whatever its age.
        """
        removed = 0
        studies = self._journal.purgeable()
        limited = self._settings.largest_gb is not None
        used = sum(self._spool.used_bytes(one.study) for one in studies) if limited else 0
        for study in studies:
            if not (everything or self._old(study) or self._short(used)):
                break  # the others are younger
            if self._journal.purged(study):
                freed = self._spool.remove(study.study, study.digest)
                used -= freed
                removed += 1
                self._events("purged", study.study, bytes=freed)
        return removed

    def _old(self, study: Study) -> bool:
        return self._wall() - study.changed_at > self._settings.keep_days * _DAY_S

    def _short(self, used_bytes: int) -> bool:
        """Less than twice the reserve is free, or purgeable studies take more than allowed."""
        largest = self._settings.largest_gb
        if largest is not None and used_bytes > largest * (1 << 30):
            return True
        return self._folders.free_bytes() < 2 * (self._settings.reserve_mb << 20)
