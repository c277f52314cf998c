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
    """A row of the journal."""

    study: str  # Study Instance UID
    state: State  # State of the study
    outcome: Outcome = ""  # Outcome of the last finished run
    reason: str = ""  # Reason why the last try gave no count, or empty. It names no patient.
    caller: str = ""  # AE title that sent its latest image
    run: int = 0  # Number of finished runs. Late images cause another run.
    digest: str = ""  # Digest of the set of images of the last finished run. Empty before.
    failures: int = 0  # Number of failed tries of the current run
    images: int = 0  # Number of images of the last finished run
    first_received_at: float = 0.0  # Unix time of the first image
    received_at: float = 0.0  # Unix time when it last became RECEIVED
    changed_at: float = 0.0  # Unix time of the last change of state
    # Details of the processor: seconds, lesions, series
    details: dict[str, Any] = field(default_factory=dict)
    purged: bool = False  # Whether its images and results were removed from disk


@dataclass(frozen=True, slots=True)
class ResultFile:
    """An object to send."""

    sop_class_uid: str  # SOP Class UID
    sop_instance_uid: str  # SOP Instance UID. The same images give the same UID.
    file: str  # Path below the folder of results
    series_instance_uid: str = ""  # Series Instance UID. Empty if an older node wrote the record.


@dataclass(frozen=True, slots=True)
class Finished:
    """The result of a run."""

    outcome: Outcome  # Outcome of the run; see `Outcome`
    digest: str  # Digest of its images
    images: int  # Number of its images
    # Objects to send. Without objects, the study ends as FAILED.
    files: tuple[ResultFile, ...] = ()
    reason: str = ""  # Reason why there is no count. Empty for "done".
    # Details for people: seconds, lesions, series
    details: dict[str, Any] = field(default_factory=dict)
    # Pseudonym of the patient, by which follow-ups are found. Empty without them.
    patient: str = ""


class DeliveryState(StrEnum):
    """The state of a delivery to one destination."""

    PENDING = "PENDING"
    SENT = "SENT"
    COMMITTED = "COMMITTED"


@dataclass(frozen=True, slots=True)
class Delivery:
    """The results of one run on their way to one destination."""

    study: str  # Study Instance UID
    run: int  # Number of the run
    destination: str  # Name of the destination in the settings
    state: DeliveryState  # State of the delivery
    tries: int = 0  # Number of failed attempts so far
    transaction_uid: str = ""  # UID of the open request for storage commitment
    reason: str = ""  # Reason of the last failure
    changed_at: float = 0.0  # Unix time of the last change


@dataclass(frozen=True, slots=True)
class Transition:
    """A past change of state."""

    state: State  # The new state
    run: int  # Number of finished runs at that moment
    at: float  # Unix time of the change
    reason: str  # Reason of the change
