"""What the journal knows of studies, their results and the way of those to each destination."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

Outcome = Literal["", "done", "refused", "failed"]
"""Of a study's last run: results; refused (no SWI, not analysable); given up after N tries."""


class State(StrEnum):
    """Where a study is on its way."""

    RECEIVED = "RECEIVED"
    """Images came; more may follow."""
    READY = "READY"
    """It settled, and waits for the worker."""
    RUNNING = "RUNNING"
    """The worker has it."""
    RESULT_WRITTEN = "RESULT_WRITTEN"
    """Its results lie on disk, and wait for a destination."""
    SENT = "SENT"
    """Every destination accepted the results; one has not committed yet to keep them."""
    COMMITTED = "COMMITTED"
    """Every destination keeps the results."""
    FAILED = "FAILED"
    """The last run left nothing to send: `Study.reason` says why."""


@dataclass(frozen=True, slots=True)
class Study:
    """A row of the journal.

    Args:
        study: Study Instance UID.
        state: Where it is.
        outcome: Of the last finished run.
        reason: Why the last try gave no count, empty where it did; names no patient.
        caller: AE title that sent its latest image.
        run: Number of finished runs; late images make another.
        digest: Stands for the set of images of the last finished run; empty before.
        failures: Tries of the run at hand that ended in death, time-out or fault.
        images: Number of images of the last finished run.
        first_received_at: Unix time of the first image.
        received_at: Unix time when it last left another state for RECEIVED.
        changed_at: Unix time of the last change of state.
        details: What the processor reported: seconds, lesions, series.
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
    """An object to be sent.

    Args:
        sop_class_uid: What it is.
        sop_instance_uid: Its name; the same images give the same.
        file: Below the folder of results.
        series_instance_uid: Of its series; empty where an older node wrote it down.
    """

    sop_class_uid: str
    sop_instance_uid: str
    file: str
    series_instance_uid: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """What a run led to.

    Args:
        outcome: See `Outcome`.
        digest: Stands for the images that it looked at.
        images: How many those were.
        files: The objects to send; none ends the study as FAILED.
        reason: Why there is no count, empty for "done".
        details: For people: seconds, lesions, series.
    """

    outcome: Outcome
    digest: str
    images: int
    files: tuple[ResultFile, ...] = ()
    reason: str = ""
    details: dict[str, Any] = field(default_factory=dict)


class DeliveryState(StrEnum):
    """How far the results of a study are with one destination."""

    PENDING = "PENDING"
    SENT = "SENT"
    COMMITTED = "COMMITTED"


@dataclass(frozen=True, slots=True)
class Delivery:
    """The results of one run on their way to one destination.

    Args:
        study: Study Instance UID.
        run: Which results.
        destination: Name in the settings.
        state: How far.
        tries: Failed attempts so far.
        transaction_uid: Of the open request for storage commitment.
        reason: Of the last failure.
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
    """A change of state that happened.

    Args:
        state: The new state.
        run: Finished runs at that moment.
        at: Unix time.
        reason: Why.
    """

    state: State
    run: int
    at: float
    reason: str
