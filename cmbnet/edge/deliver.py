"""Delivery of results to one destination, repeated until they are stored and committed to.

Sending again is harmless, because the same results have the same UIDs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    Comprehensive3DSRStorage,
    SegmentationStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from cmbnet.edge.config import DestinationSettings
from cmbnet.edge.events import EventName, Events
from cmbnet.edge.folders import Folders
from cmbnet.edge.journal import Journal
from cmbnet.edge.records import Delivery, ResultFile
from cmbnet.edge.server import bound_reading
from cmbnet.errors import CmbnetError

_PEER = "peer"
_TRANSFER_FACTOR = 10
_SAME_ASSOCIATION_S = 5.0
"""Wait for a commitment on the same association. Some archives answer only there, or never."""
_POLL_S = 0.05


class NotDelivered(CmbnetError):
    """A destination did not accept an object, or cannot be reached."""


@dataclass(eq=False)
class Backoff:
    """Waits between tries that double from `first_s` to `longest_s`, one per key."""

    first_s: float  # Wait after the first failure
    longest_s: float  # Longest wait
    clock: Callable[[], float] = time.monotonic  # Seconds that never go back
    _waits: dict[Hashable, tuple[float, float]] = field(init=False, default_factory=dict)

    def due(self, key: Hashable) -> bool:
        """Return whether a key may be tried. A key that never failed may."""
        return self.clock() >= self._waits.get(key, (0.0, float("-inf")))[1]

    def failed(self, key: Hashable) -> float:
        """Note a failure, and return the seconds until the next try."""
        before = self._waits.get(key, (self.first_s / 2, 0.0))[0]
        wait_s = min(2 * before, self.longest_s)
        self._waits[key] = (wait_s, self.clock() + wait_s)
        return wait_s

    def hold(self, key: Hashable, seconds: float) -> None:
        """Postpone the next try without a failure."""
        before = self._waits.get(key, (self.first_s / 2, 0.0))[0]
        self._waits[key] = (before, self.clock() + seconds)

    def succeeded(self, key: Hashable) -> None:
        """Note a success. The next failure then counts as the first."""
        self._waits.pop(key, None)


@dataclass(eq=False)
class Deliverer:
    """The sender of results to one destination."""

    ae_title: str  # AE title of the node
    destination: DestinationSettings  # The destination
    folders: Folders  # Folders of the node, with the results
    journal: Journal  # Journal of the deliveries
    events: Events  # Listeners of sent and failed deliveries
    clock: Callable[[], float] = time.monotonic  # Seconds that never go back
    _backoff: Backoff = field(init=False)
    _answered: threading.Event = field(init=False, default_factory=threading.Event)

    def __post_init__(self) -> None:
        first_s, longest_s = self.destination.retry_first_s, self.destination.retry_longest_s
        self._backoff = Backoff(first_s, longest_s, self.clock)

    def step(self) -> bool:
        """Send due results, or ask for commitment. Return False if there was nothing to do."""
        if not self._backoff.due(_PEER):
            return False
        for delivery in self.journal.pending(self.destination.name):
            if self._backoff.due(_key(delivery)):
                self._attempt(self._send, delivery, self.journal.not_sent)
                return True
        for delivery in self.journal.uncommitted(self.destination.name):
            if self._backoff.due(_key(delivery)):
                self._attempt(self._ask, delivery, self._not_asked)
                return True
        return False

    def committed(self, caller: str, report: Dataset) -> None:
        """Take the destination's answer to a request for commitment."""
        delivery = self.journal.by_transaction(str(report.get("TransactionUID", "")))
        if delivery is None or caller != self.destination.ae_title:
            return
        self._answered.set()
        kept = {
            str(item.get("ReferencedSOPInstanceUID", ""))
            for item in report.get("ReferencedSOPSequence") or ()
        }
        lost = [one for one in self._results(delivery) if one.sop_instance_uid not in kept]
        self._tell("commitment", delivery, committed=len(kept), failed=len(lost))
        if lost:
            self.journal.not_committed(delivery, f"{len(lost)} objects were not committed to")
            self._backoff.failed(_key(delivery))
        else:
            self.journal.committed(delivery)
            self._backoff.succeeded(_key(delivery))

    def _attempt(
        self,
        action: Callable[[Delivery], None],
        delivery: Delivery,
        failed: Callable[[Delivery, str], None],
    ) -> None:
        try:
            action(delivery)
        # OSError: sockets and files; RuntimeError, ValueError: pynetdicom's words for the rest.
        except (CmbnetError, OSError, RuntimeError, ValueError) as error:
            reason = str(error) if isinstance(error, CmbnetError) else type(error).__name__
            failed(delivery, reason)
            wait_s = self._backoff.failed(_key(delivery))
            tries = delivery.tries + 1
            self._tell("delivery_failed", delivery, reason=reason, tries=tries, next_try_s=wait_s)

    def _send(self, delivery: Delivery) -> None:
        start = time.monotonic()
        files = self._results(delivery)
        association = self._associate([one.sop_class_uid for one in files])
        try:
            for one in files:
                _store(association, self.folders.results / one.file)
        finally:
            association.release()
        self.journal.sent(delivery)
        self._backoff.succeeded(_key(delivery))
        seconds = time.monotonic() - start
        self._tell("results_sent", delivery, objects=len(files), seconds=seconds)
        if not self.destination.commitment:
            self.journal.committed(delivery)

    def _ask(self, delivery: Delivery) -> None:
        """Ask the destination to keep the objects. It answers later, perhaps by a call."""
        transaction = str(generate_uid())
        reason = "the destination has not committed in time" if delivery.transaction_uid else ""
        # First on disk: the answer may come before this association ends.
        self.journal.asked(delivery, transaction, reason)
        # Before an answer can come: it may be heard while we are still asking.
        self._backoff.hold(_key(delivery), self.destination.commitment_timeout_s)
        self._answered.clear()
        association = self._associate([StorageCommitmentPushModel])
        try:
            status, _ = association.send_n_action(
                _request(transaction, self._results(delivery)),
                1,
                StorageCommitmentPushModel,
                StorageCommitmentPushModelInstance,
            )
            _require_success(status, "the request for storage commitment")
            self._listen(association)
        finally:
            association.release()

    def _listen(self, association: Association) -> None:
        """Give the destination time to answer on the association of the request."""
        end = time.monotonic() + _SAME_ASSOCIATION_S
        while association.is_established and time.monotonic() < end:
            if self._answered.wait(_POLL_S):
                time.sleep(_POLL_S)  # our thanks are on their way
                return

    def _not_asked(self, delivery: Delivery, reason: str) -> None:
        self.journal.asked(delivery, "", reason)

    def _results(self, delivery: Delivery) -> tuple[ResultFile, ...]:
        return self.journal.results(delivery.study, delivery.run)

    def _associate(self, classes: Sequence[str]) -> Association:
        answers = [(evt.EVT_N_EVENT_REPORT, self._report)]
        try:
            association = associate(self.ae_title, self.destination, classes, answers)
        except NotDelivered:
            self._backoff.failed(_PEER)
            raise
        self._backoff.succeeded(_PEER)
        return association

    def _tell(self, name: EventName, delivery: Delivery, **details: object) -> None:
        self.events(name, delivery.study, destination=self.destination.name, **details)

    def _report(self, event: Any) -> tuple[int, Dataset | None]:
        self.committed(self.destination.ae_title, event.event_information)
        return 0x0000, None


def associate(
    ae_title: str,
    destination: DestinationSettings,
    classes: Sequence[str],
    handlers: Sequence[Any] = (),
) -> Association:
    """Open an association with a destination.

    Raises:
        NotDelivered: If it cannot be reached, or rejects the node or one of the classes.
        UsageError: If the certificates cannot be used.
    """
    ae = AE(ae_title)
    ae.acse_timeout = ae.network_timeout = ae.connection_timeout = destination.timeout_s
    # Counted from when an object is handed over, not from when its last byte has left.
    ae.dimse_timeout = _TRANSFER_FACTOR * destination.timeout_s
    for sop_class in dict.fromkeys(classes):
        ae.add_requested_context(sop_class, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    tls = destination.tls
    association = ae.associate(
        destination.host,
        destination.port,
        ae_title=destination.ae_title,
        evt_handlers=[(evt.EVT_CONN_OPEN, _bounded, [destination.timeout_s]), *handlers],
        tls_args=None if tls is None else (tls.client_context(), destination.host),
    )
    if not association.is_established:
        said = "rejects us" if association.is_rejected else "cannot be reached"
        raise NotDelivered(f"{destination.name} {said}")
    missing = set(classes) - {str(one.abstract_syntax) for one in association.accepted_contexts}
    if missing:
        association.release()
        raise NotDelivered(f"{destination.name} does not accept {', '.join(sorted(missing))}")
    return association


def _bounded(event: Any, timeout_s: float) -> None:
    """Limit the time of a destination that begins to answer and does not finish."""
    bound_reading(event.assoc, timeout_s, lambda _reason: None)


def echo(ae_title: str, destination: DestinationSettings) -> None:
    """Ask a destination whether it is there and accepts the node's objects.

    Raises:
        NotDelivered: If it is not there, does not know the node, or does not accept a class.
    """
    classes = [SegmentationStorage, Comprehensive3DSRStorage]
    if destination.commitment:
        classes.append(StorageCommitmentPushModel)
    association = associate(ae_title, destination, [Verification, *classes])
    try:
        _require_success(association.send_c_echo(), "C-ECHO")
    finally:
        association.release()


def _store(association: Association, path: Path) -> None:
    status = association.send_c_store(path)
    # Warnings (0xBxxx) mean that it was stored, with changes of no matter to us.
    if "Status" not in status or (status.Status != 0 and status.Status >> 12 != 0xB):
        _require_success(status, "an object")


def _require_success(status: Dataset, what: str) -> None:
    if "Status" not in status:
        raise NotDelivered(f"no answer to {what}: the association broke")
    if status.Status != 0:
        raise NotDelivered(f"{what} was refused with status 0x{status.Status:04X}")


def _request(transaction: str, files: Sequence[ResultFile]) -> Dataset:
    request = Dataset()
    request.TransactionUID = transaction
    request.ReferencedSOPSequence = []
    for one in files:
        item = Dataset()
        item.ReferencedSOPClassUID = one.sop_class_uid
        item.ReferencedSOPInstanceUID = one.sop_instance_uid
        request.ReferencedSOPSequence.append(item)
    return request


def _key(delivery: Delivery) -> tuple[str, int]:
    return delivery.study, delivery.run
