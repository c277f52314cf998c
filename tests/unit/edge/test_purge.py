"""What is given back: committed studies, oldest first, by age or for want of space."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cmbnet.edge.config import StorageSettings
from cmbnet.edge.events import Events
from cmbnet.edge.folders import Folders
from cmbnet.edge.journal import Journal
from cmbnet.edge.purge import Purge
from cmbnet.edge.records import Finished, ResultFile
from cmbnet.edge.spool import Identity, Spool
from tests.helpers.edge_peers import study_files
from tests.helpers.edge_processor import SR_CLASS, uid_of

DAY_S = 86_400


class Store:
    """Three studies, a day apart, of which the second is not committed."""

    def __init__(self, folder: Path) -> None:
        self.now, self.elapsed = 1_000_000.0, 0.0
        self.folders = Folders(folder)
        self.folders.make()
        self.journal = Journal(self.folders.journal, wall=lambda: self.now)
        self.spool = Spool(self.folders, 1)
        for name, committed in (("a", True), ("b", False), ("c", True)):
            self._add(name, committed=committed)
            self.now += DAY_S

    def _add(self, name: str, *, committed: bool) -> None:
        study = uid_of(name)
        for path in study_files(self.folders.incoming, name, slices=2, size=100):
            number = int(path.stem[-4:])
            self.spool.keep(path, Identity(study, uid_of(f"{name}/{number}")))
        self.journal.received(study, "SCANNER")
        self.journal.mark_ready(study)
        self.journal.take()
        digest = self.spool.snapshot(study).digest
        file = ResultFile(SR_CLASS, uid_of(f"sr/{name}"), f"{study}/1/sr.dcm")
        self.journal.finish(study, Finished("done", digest, 2, (file,)), ["pacs"])
        (delivery,) = self.journal.deliveries(study)
        self.journal.sent(delivery)
        if committed:
            self.journal.committed(delivery)

    def add_failed(self, name: str) -> None:
        """A study that the worker died of, of which not even a report could be written."""
        study = uid_of(name)
        (path,) = study_files(self.folders.incoming, name, slices=1)
        self.spool.keep(path, Identity(study, uid_of(f"{name}/0")))
        self.journal.received(study, "SCANNER")
        self.journal.mark_ready(study)
        self.journal.take()
        digest = self.spool.snapshot(study).digest
        self.journal.finish(study, Finished("failed", digest, 1, reason="it died"), ["pacs"])
        self.spool.quarantine(study)

    def opened(self, settings: StorageSettings) -> Purge:
        return Purge(
            self.folders, self.journal, self.spool, settings, Events(),
            wall=lambda: self.now, clock=lambda: self.elapsed,
        )  # fmt: skip

    def left(self) -> list[str]:
        return [name for name in "abc" if (self.folders.spool / uid_of(name)).exists()]

    def purge(self, *, everything: bool = False, **settings: float) -> list[str]:
        """Purge; the studies that are left."""
        values = StorageSettings.model_validate({"reserve_mb": 0, "keep_days": 100, **settings})
        purge = self.opened(values)
        purge.step(everything=everything)
        return self.left()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.journal.close()


def test_age_counts_from_commitment(store: Store) -> None:
    assert store.purge(keep_days=3.5) == ["a", "b", "c"]
    assert store.purge(keep_days=2.5) == ["b", "c"]
    assert store.purge(keep_days=0.5) == ["b"], "whatever its age, b is not safe elsewhere"


def test_a_clock_set_back_keeps_everything(store: Store) -> None:
    store.now -= 30 * DAY_S
    assert store.purge(keep_days=0) == ["a", "b", "c"]


def test_a_clock_that_jumps_ahead_keeps_everything(store: Store) -> None:
    """While the node runs, and while it is off: then it knows of one day at most."""
    settings = StorageSettings(reserve_mb=0, keep_days=10)
    running = store.opened(settings)
    running.step()
    store.now += 400 * DAY_S
    running.step()
    assert store.left() == ["a", "b", "c"]
    store.opened(settings).step()
    assert store.left() == ["a", "b", "c"]
    store.now, store.elapsed = store.now + 8 * DAY_S, store.elapsed + 8 * DAY_S
    running.step()
    assert store.left() == ["b", "c"], "eleven days by the clock that never jumps"


def test_what_was_given_up_leaves_quarantine_when_its_time_is_over(store: Store) -> None:
    study, aside = uid_of("d"), store.folders.quarantine / uid_of("d")
    store.add_failed("d")
    store.now += 20 * DAY_S
    store.purge(everything=True, quarantine_days=30, reserve_mb=1 << 40)
    assert aside.is_dir(), "nobody else has its images"
    store.purge(quarantine_days=19)
    assert not aside.exists()
    found = store.journal.study(study)
    assert found is not None
    assert found.purged


def test_conflicts_leave_quarantine_when_their_time_is_over(store: Store) -> None:
    store.folders.conflicts.mkdir()
    path = store.folders.conflicts / "1.2~abc.dcm"
    path.touch()
    os.utime(path, (store.now, store.now))
    store.now += 20 * DAY_S
    store.purge(quarantine_days=30)
    assert path.exists()
    store.purge(quarantine_days=19)
    assert not path.exists()


def test_the_oldest_goes_when_committed_studies_take_too_much(store: Store) -> None:
    one_gb = store.spool.used_bytes(uid_of("a")) / (1 << 30)
    assert store.purge(largest_gb=2.5 * one_gb) == ["a", "b", "c"]
    assert store.purge(largest_gb=1.5 * one_gb) == ["b", "c"]


def test_want_of_space_takes_all_that_is_safe_elsewhere(store: Store) -> None:
    assert store.purge(reserve_mb=1 << 40) == ["b"]


def test_everything_that_is_safe_on_demand(store: Store) -> None:
    assert store.purge(everything=True) == ["b"]
    study = store.journal.study(uid_of("a"))
    assert study is not None
    assert study.purged
