"""The node: threads that each repeat one step. Only the journal connects them.

receive -> spool and journal -> settle -> runner and worker -> one deliverer per destination ->
purge. Each step may fail, and the process may be killed, at any moment. Each step reads journal and
spool to find its next work.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from filelock import FileLock, Timeout
from pydicom.dataset import Dataset

from cmbnet.edge.config import EdgeConfig
from cmbnet.edge.deliver import Deliverer
from cmbnet.edge.earlier import EarlierStudies
from cmbnet.edge.events import EventHook, Events
from cmbnet.edge.folders import Folders
from cmbnet.edge.identify import ObjectReader
from cmbnet.edge.journal import Journal
from cmbnet.edge.process import StudyProcessor
from cmbnet.edge.pseudonyms import open_pseudonyms
from cmbnet.edge.purge import Purge
from cmbnet.edge.receive import Receiver
from cmbnet.edge.records import State
from cmbnet.edge.runner import Runner
from cmbnet.edge.settle import SettleTimer
from cmbnet.edge.spool import Spool
from cmbnet.edge.worker import Processor, Worker
from cmbnet.errors import UsageError

_LOGGER = logging.getLogger(__name__)
_IDLE_S = 0.2
_AFTER_FAULT_S = 1.0
_HOUSEKEEPING_S = 30.0
_STOP_S = 10.0


class Node:
    """A running node, from `start` to `stop`.

    Without a processor, it is the model of the settings.
    """

    def __init__(
        self,
        config: EdgeConfig,
        *,
        hooks: Sequence[EventHook] = (),
        processor: Processor | None = None,
    ) -> None:
        self.config = config
        self.events = Events(*hooks)
        self.folders = Folders(config.root)
        self._lock = _lock(self.folders.lock)
        self.folders.make()
        self.journal = _open_journal(self.folders.journal, self.events)
        self.settle = SettleTimer(config.settle)
        self.reader = ObjectReader()
        self.spool = Spool(self.folders, config.storage.reserve_mb << 20, self.reader.contents)
        self.worker = Worker(
            processor or StudyProcessor(config.worker),
            timeout_s=config.worker.timeout_s,
            memory_mb=config.worker.memory_mb,
            events=self.events,
        )
        self.runner = Runner(
            self.folders,
            self.journal,
            self.spool,
            self.settle,
            self.worker,
            tries=config.worker.tries,
            destinations=[one.name for one in config.destinations],
            events=self.events,
            earlier=self._earlier() if config.worker.follow_up else None,
        )
        self.deliverers = [
            Deliverer(config.ae_title, one, self.folders, self.journal, self.events)
            for one in config.destinations
        ]
        self.purge = Purge(self.folders, self.journal, self.spool, config.storage, self.events)
        self.receiver = Receiver(
            config,
            self.folders,
            self.spool,
            reader=self.reader,
            stored=self._stored,
            committed=self._committed,
            events=self.events,
        )
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._doubtful: set[str] = set()

    def start(self) -> None:
        """Continue interrupted work, and then listen.

        Raises:
            UsageError: If the port is taken, or certificates cannot be used.
        """
        self.journal.recover()
        moved = self.journal.readdress([one.name for one in self.config.destinations])
        if moved:
            self.events("destination_gone", results=moved)
        self._reconcile(self.spool.studies())
        self.receiver.start()
        self.reader.start()
        self._repeat("settle", self._settle_step)
        self._repeat("run", self.runner.step, first=self.runner.warm)
        for deliverer in self.deliverers:
            self._repeat("deliver", deliverer.step)
        self._repeat("housekeeping", self._housekeeping, _HOUSEKEEPING_S)
        self.events("node_started", port=self.receiver.port)

    def stop(self) -> None:
        """Stop the node. No step needs to be finished."""
        self._stopping.set()
        self.receiver.stop()
        self.reader.close()
        self.worker.close()
        for thread in self._threads:
            thread.join(_STOP_S)
        self.events("node_stopped")
        self.journal.close()
        self._lock.release()

    def _earlier(self) -> EarlierStudies:
        names = open_pseudonyms(self.config.root)
        return EarlierStudies(self.folders, self.journal, self.spool, self.reader, names)

    def _stored(self, study: str, caller: str) -> None:
        """Note a new image in the spool, before it is acknowledged."""
        try:
            known = self.journal.study(study)
            if known is None or known.state is not State.RECEIVED:
                self.journal.received(study, caller)
        except sqlite3.Error:
            # Not acknowledged; but sent again it would be a duplicate, and nobody would look at it.
            self._doubtful.add(study)
            raise
        self.settle.arrived(study)

    def _committed(self, caller: str, report: Dataset) -> None:
        for deliverer in self.deliverers:
            deliverer.committed(caller, report)

    def _settle_step(self) -> bool:
        due = self.settle.due()
        for study in due:
            self.journal.mark_ready(study)
        return bool(due)

    def _housekeeping(self) -> bool:
        self._reconcile(list(self._doubtful))
        if self.spool.full:
            self.events(
                "disk_low",
                free_bytes=self.folders.free_bytes(),
                reserve_bytes=self.config.storage.reserve_mb << 20,
            )
        self.purge.step()
        return False

    def _reconcile(self, studies: Iterable[str]) -> None:
        """Compare spool and journal. The spool is right.

        After a kill between the two, or with a new journal in place of a damaged one, this finds
        every image without a result.
        """
        busy = {State.RECEIVED, State.READY, State.RUNNING}
        for study in studies:
            known, snapshot = self.journal.study(study), self.spool.snapshot(study)
            looked_at = known is not None and (
                known.state in busy or known.digest == snapshot.digest
            )
            if snapshot.names and not looked_at:
                self.journal.received(study, known.caller if known else "")
            self._doubtful.discard(study)
        for waiting in self.journal.studies(State.RECEIVED):
            self.settle.ensure(waiting.study)

    def _repeat(
        self,
        name: str,
        step: Callable[[], bool],
        pause_s: float = _IDLE_S,
        first: Callable[[], None] | None = None,
    ) -> None:
        """Repeat a step in its own thread, at once if it had work."""

        def loop() -> None:
            if first is not None:
                first()
            while not self._stopping.is_set():
                try:
                    busy = step()
                except Exception as error:  # one bad step must not be the last
                    if self._stopping.is_set():
                        return
                    _LOGGER.error("%s failed: %s", name, type(error).__name__)
                    self._stopping.wait(_AFTER_FAULT_S)
                    continue
                if not busy:
                    self._stopping.wait(pause_s)

        thread = threading.Thread(target=loop, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()


def _lock(path: Path) -> FileLock:
    """Hold the root for this node alone, until the process ends."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(path, blocking=False, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise UsageError(f"another node runs on {path.parent}: stop it first") from error
    return lock


def _open_journal(path: Path, events: Events) -> Journal:
    """Open the journal. A damaged one is put aside, and all studies of the spool run again."""
    try:
        return Journal(path, events)
    except sqlite3.DatabaseError:
        for part in path.parent.glob(f"{path.name}*"):
            part.rename(part.with_name(f"damaged-{part.name}"))
        _LOGGER.error("the journal was damaged: put aside as damaged-%s", path.name)
        return Journal(path, events)
