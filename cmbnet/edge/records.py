"""The records of the journal: studies, results, and deliveries to each destination."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

Outcome = Literal["", "done", "refused", "failed"]
"""Outcome of a study's last run: done, refused (no SWI, not analysable), or given up."""


class State(StrEnum):
    """The state of a study."""

    RECEIVED = "RECEIVED"
    """Images came, and more may follow."""
    READY = "READY"
    """The study is complete and waits for the worker."""
    RUNNING = "RUNNING"
    """The worker has it."""
    RESULT_WRITTEN = "RESULT_WRITTEN"
    """Its results are on disk and wait for a destination."""
    SENT = "SENT"
    """Every destination accepted the results. At least one has not yet committed to keep them."""
    COMMITTED = "COMMITTED"
    """Every destination keeps the results."""
    FAILED = "FAILED"
    """The last run left nothing to send. `Study.reason` says why."""


@dataclass(frozen=True, slots=True)
class Study:
    """A row of the journal.

    Args:
        study: Study Instance UID.
        state: State of the study.
        outcome: Outcome of the last finished run.
        reason: Reason why the last try gave no count, or empty. It names no patient.
        caller: AE title that sent its latest image.
        run: Number of finished runs. Late images cause another run.
        digest: Digest of the set of images of the last finished run. Empty before.
        failures: Number of failed tries of the current run.
        images: Number of images of the last finished run.
        first_received_at: Unix time of the first image.
        received_at: Unix time when it last became RECEIVED.
        changed_at: Unix time of the last change of state.
        details: Details of the processor: seconds, lesions, series.
        purged: Whether its images and results were removed from disk.
    """

    study: str
    state: State
    outcome: Outcome = ""
    reason: str = ""
    caller: str = ""
    run: int = 0
    digest: str = ""
    failures: int = 0
    images: int = 0
    first_received_at: float = 0.0
    received_at: float = 0.0
    changed_at: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)
    purged: bool = False


@dataclass(frozen=True, slots=True)
class ResultFile:
    """An object to send.

    Args:
        sop_class_uid: SOP Class UID.
        sop_instance_uid: SOP Instance UID. The same images give the same UID.
        file: Path below the folder of results.
        series_instance_uid: Series Instance UID. Empty if an older node wrote the record.
    """

    sop_class_uid: str
    sop_instance_uid: str
    file: str
    series_instance_uid: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """The result of a run.

    Args:
        outcome: Outcome of the run; see `Outcome`.
        digest: Digest of its images.
        images: Number of its images.
        files: Objects to send. Without objects, the study ends as FAILED.
        reason: Reason why there is no count. Empty for "done".
        details: Details for people: seconds, lesions, series.
        patient: Pseudonym of the patient, by which follow-ups are found. Empty without them.
    """

    outcome: Outcome
    digest: str
    images: int
    files: tuple[ResultFile, ...] = ()
    reason: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    patient: str = ""


class DeliveryState(StrEnum):
    """The state of a delivery to one destination."""

    PENDING = "PENDING"
    SENT = "SENT"
    COMMITTED = "COMMITTED"


@dataclass(frozen=True, slots=True)
class Delivery:
    """The results of one run on their way to one destination.

    Args:
        study: Study Instance UID.
        run: Number of the run.
        destination: Name of the destination in the settings.
        state: State of the delivery.
        tries: Number of failed attempts so far.
        transaction_uid: UID of the open request for storage commitment.
        reason: Reason of the last failure.
        changed_at: Unix time of the last change.
    """

    study: str
    run: int
    destination: str
    state: DeliveryState
    tries: int = 0
    transaction_uid: str = ""
    reason: str = ""
    changed_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Transition:
    """A past change of state.

    Args:
        state: The new state.
        run: Number of finished runs at that moment.
        at: Unix time of the change.
        reason: Reason of the change.
    """

    state: State
    run: int
    at: float
    reason: str
