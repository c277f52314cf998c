"""`DicomResult`: the content of SEG and SR, without DICOM."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cmbnet import __version__
from cmbnet.errors import UsageError
from cmbnet.predict import Answer

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from cmbnet.io.dicom import DicomSource
    from cmbnet.lesions import Lesion
    from cmbnet.predict import Refusal
    from cmbnet.preprocess.qc import QualityReport

_NO_MOMENT = datetime.datetime(1900, 1, 1)


@dataclass(frozen=True, slots=True)
class Algorithm:
    """The algorithm that made a result."""

    model: str  # Name of the bundle
    model_sha256: str  # Hash of the whole bundle
    # Parameters of the run, one sentence each. Their hash is part of the UIDs.
    parameters: tuple[str, ...] = ()
    version: str = __version__  # Version of cmbnet


@dataclass(frozen=True, slots=True)
class Quality:
    """The judgement of the quality gate."""

    analysable: bool = True  # If it is False, the report says "not analysable" and has no count
    remarks: tuple[str, ...] = ()  # Sentences of warnings and refusals


@dataclass(frozen=True, slots=True)
class Verification:
    """Who has reviewed a result and says that the objects are verified."""

    observer: str  # Name as DICOM writes it: Family^Given
    organization: str  # Where the observer works
    at: datetime.datetime  # When the review was finished, with a zone
    drawn: frozenset[int] = frozenset()  # Ids of the lesions that the observer added or outlined


@dataclass(frozen=True, slots=True)
class TimePoint:
    """A scan among several of one patient, compared with the first of them."""

    order: int  # From 1
    identifier: str  # Unique among the scans of the patient
    # What became of each lesion, by its id. Empty for the first scan.
    changes: Mapping[int, str]
    new: int = 0  # Number of lesions that are new, cumulatively
    category: str | None = None  # Of ARIA-H by new microhaemorrhages. None if there is none.
    baseline_band: str = ""  # Band of the number of lesions of the first scan
    remarks: tuple[str, ...] = ()  # Sentences about the comparison


@dataclass(frozen=True, slots=True)
class DicomResult:
    """The result of one series.

    Raises:
        UsageError: If a lesion has no voxel, or if a scan that is not analysable has lesions.
    """

    lesions: tuple[Lesion, ...]  # Lesions that count, in the order of segments
    # `Lesion.id` of each voxel of `segmented` on the grid of the series, integer (z, y, x), else 0.
    labels: NDArray[Any]
    algorithm: Algorithm  # The algorithm that found them
    quality: Quality = Quality()  # The judgement of the quality gate
    previous: Dataset | None = None  # The report that this one supersedes. Only its UIDs are read.
    # Candidates that the phase calls diamagnetic. They do not count.
    calcifications: tuple[Lesion, ...] = ()
    outlined: bool = (
        True  # Whether they have voxels in `labels`; those of a finished case have none
    )
    verification: Verification | None = None  # None for what nobody has reviewed
    time_point: TimePoint | None = None  # Where the scan is one of several that were compared
    # UID and name by which a lesion is the same at all time points, by its id
    tracking: Mapping[int, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.findings and not self.quality.analysable:
            raise UsageError("a scan that is not analysable has no lesions to report")
        absent = {lesion.id for lesion in self.segmented} - set(np.unique(self.labels).tolist())
        if absent:
            raise UsageError(f"every lesion needs voxels in the label image, {absent} have none")

    @property
    def findings(self) -> tuple[Lesion, ...]:
        """The lesions, and then the possible calcifications."""
        return *self.lesions, *self.calcifications

    @property
    def segmented(self) -> tuple[Lesion, ...]:
        """The findings that have a segment, in the order of segments."""
        return self.findings if self.outlined else self.lesions


def result_of(answer: Answer) -> DicomResult:
    """Make the content of SEG and SR for an answer.

    If a count was forced from a scan that is not analysable, the objects do not contain it. They
    only say that the scan is not analysable.
    """
    found = answer.found
    labels = found.labels if found.calcified is None else found.labels + found.calcified
    return DicomResult(
        lesions=() if answer.forced else found.lesions,
        labels=np.zeros_like(labels) if answer.forced else labels,
        algorithm=_algorithm(answer),
        quality=quality_of(answer.quality),
        calcifications=() if answer.forced else found.calcifications,
        outlined=found.calcified is not None,
    )


def result_of_refusal(refusal: Refusal) -> DicomResult:
    """Make the content of the SR for a scan that the quality gate refused."""
    return DicomResult(
        lesions=(),
        labels=np.zeros(refusal.volume.shape, np.uint8),
        algorithm=_algorithm(refusal),
        quality=quality_of(refusal.quality),
    )


def _algorithm(run: Answer | Refusal) -> Algorithm:
    point, backend, mask = run.operating_point, run.backend, run.record.brain_mask_sha256
    return Algorithm(
        model=run.bundle.manifest.name,
        model_sha256=run.bundle.sha256,
        parameters=(
            f"operating point {point.name}",
            f"pixel threshold {point.pixel_threshold:g}",
            f"lesion score {point.lesion_score:g}",
            f"backend {backend.name} {backend.precision}",
            *([f"brain mask sha256 {mask}"] if mask else []),
            *_phase_parameters(run),
        ),
    )


def _phase_parameters(run: Answer | Refusal) -> list[str]:
    """Say that phase was used: the same scan without it gives another report."""
    codes = {finding.code for finding in run.quality.findings}
    if not isinstance(run, Answer) or codes.isdisjoint(("phase", "phase_sign_unknown")):
        return []
    counted = run.request.count_calcifications
    return [f"phase used, possible calcifications {'counted' if counted else 'not counted'}"]


def quality_of(report: QualityReport) -> Quality:
    """Make the content of SEG and SR about the gate's report."""
    remarks = tuple(one.message for one in report.findings if one.severity != "info")
    return Quality(report.analysable, remarks)


def moment_of(source: DicomSource) -> datetime.datetime:
    """Return date and time of the images' content. All re-runs agree on them."""
    moments = [_moment(header, what) for header in source.headers for what in _CLOCKS]
    return max(moments, default=_NO_MOMENT)


_CLOCKS = ("Content", "Acquisition", "Series", "Study")


def _moment(header: Any, what: str) -> datetime.datetime:
    date, time = str(header.get(f"{what}Date") or ""), str(header.get(f"{what}Time") or "000000")
    try:
        return datetime.datetime.strptime(date[:8] + (time[:6] + "000000")[:6], "%Y%m%d%H%M%S")
    except ValueError:
        return _NO_MOMENT
