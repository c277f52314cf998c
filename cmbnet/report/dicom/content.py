"""`DicomResult`: what SEG and SR say, free of DICOM, and the names both objects share."""

from __future__ import annotations

import datetime
import hashlib
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cmbnet import __version__
from cmbnet.errors import UsageError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from cmbnet.backends import BackendInfo
    from cmbnet.bundle import Bundle, OperatingPoint
    from cmbnet.io.dicom import DicomSource
    from cmbnet.lesions import Lesion
    from cmbnet.predict import Prediction, Refusal
    from cmbnet.preprocess.qc import QualityReport

_PERSON = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber")
_UID_SPACE = uuid.UUID("b3c1b0f2-5f0e-58a4-8a51-0c4f6e1d9b7a")

_NO_MOMENT = datetime.datetime(1900, 1, 1)


@dataclass(frozen=True, slots=True)
class Algorithm:
    """Who found it.

    Args:
        model: Name of the bundle.
        model_sha256: Hash that stands for the whole bundle.
        parameters: What it was run with, one sentence each; the hash of them is part of the UIDs.
        version: Of cmbnet.
    """

    model: str
    model_sha256: str
    parameters: tuple[str, ...] = ()
    version: str = __version__


@dataclass(frozen=True, slots=True)
class Quality:
    """What the gate said.

    Args:
        analysable: False makes the report say "not analysable" and hold no count.
        remarks: Sentences of warnings and refusals.
    """

    analysable: bool = True
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DicomResult:
    """What was found on one series.

    Args:
        lesions: Those that count, in the order of segments.
        labels: (z, y, x) integer, on the grid of the series; `Lesion.id` of each voxel, 0 outside.
        algorithm: Who found it.
        quality: What the gate said.
        regions: Lesion id to the name of its approximate region, where known.
        previous: The report that this one supersedes; only its UIDs are read.

    Raises:
        UsageError: A lesion has no voxel, or a result that is not analysable has lesions.
    """

    lesions: tuple[Lesion, ...]
    labels: NDArray[Any]
    algorithm: Algorithm
    quality: Quality = Quality()
    regions: tuple[tuple[int, str], ...] = ()
    previous: Dataset | None = None

    def __post_init__(self) -> None:
        if self.lesions and not self.quality.analysable:
            raise UsageError("a scan that is not analysable has no lesions to report")
        absent = {lesion.id for lesion in self.lesions} - set(np.unique(self.labels).tolist())
        if absent:
            raise UsageError(f"every lesion needs voxels in the label image, {absent} have none")

    def region_of(self, lesion: Lesion) -> str:
        """Name of a lesion's region, empty where unknown."""
        return dict(self.regions).get(lesion.id, "")


def result_of(prediction: Prediction) -> DicomResult:
    """What SEG and SR say of a prediction.

    A count that was forced from a scan that is not analysable stays where it was asked for: into
    the study goes only that the scan is not analysable.
    """
    labels = prediction.finding.labels
    return DicomResult(
        lesions=() if prediction.forced else prediction.finding.lesions,
        labels=np.zeros_like(labels) if prediction.forced else labels,
        algorithm=_algorithm(prediction.bundle, prediction.operating_point, prediction.backend),
        quality=quality_of(prediction.quality),
    )


def result_of_refusal(refusal: Refusal) -> DicomResult:
    """What the SR says of a scan that the quality gate refused."""
    return DicomResult(
        lesions=(),
        labels=np.zeros(refusal.volume.shape, np.uint8),
        algorithm=_algorithm(refusal.bundle, refusal.operating_point, refusal.backend),
        quality=quality_of(refusal.quality),
    )


def _algorithm(bundle: Bundle, point: OperatingPoint, backend: BackendInfo) -> Algorithm:
    return Algorithm(
        model=bundle.manifest.name,
        model_sha256=bundle.sha256,
        parameters=(
            f"operating point {point.name}",
            f"pixel threshold {point.pixel_threshold:g}",
            f"lesion score {point.lesion_score:g}",
            f"backend {backend.name} {backend.precision}",
        ),
    )


def quality_of(report: QualityReport) -> Quality:
    """What SEG and SR say of the gate's report."""
    remarks = tuple(one.message for one in report.findings if one.severity != "info")
    return Quality(report.analysable, remarks)


def uid_for(result: DicomResult, source: DicomSource, role: str) -> str:
    """A UID that the same images, patient, model, settings and predecessor always give.

    A run that is repeated sends the same object; whatever is stated otherwise has another name.

    Args:
        result: For its algorithm; two results of one algorithm on one series are the same.
        source: For study and image UIDs.
        role: What the UID names, for example ``"seg"``.

    Returns:
        ``2.25.`` and the number of a name-based UUID (PS3.5 B.2).
    """
    settings = "\n".join((result.algorithm.version, *result.algorithm.parameters))
    person = (str(source.headers[0].get(keyword, "")) for keyword in _PERSON)
    name = "\n".join(
        (
            source.study_instance_uid,
            *sorted(source.sop_instance_uids),
            *(str(number) for number in sorted(source.frame_numbers)),
            result.algorithm.model_sha256,
            hashlib.sha256(settings.encode()).hexdigest(),
            *person,
            "" if result.previous is None else str(result.previous.SOPInstanceUID),
            role,
        )
    )
    return f"2.25.{uuid.uuid5(_UID_SPACE, name).int}"


def moment_of(source: DicomSource) -> datetime.datetime:
    """Date and time of the images' content: the one moment on which all re-runs agree."""
    moments = [_moment(header, what) for header in source.headers for what in _CLOCKS]
    return max(moments, default=_NO_MOMENT)


_CLOCKS = ("Content", "Acquisition", "Series", "Study")


def _moment(header: Any, what: str) -> datetime.datetime:
    date, time = str(header.get(f"{what}Date") or ""), str(header.get(f"{what}Time") or "000000")
    try:
        return datetime.datetime.strptime(date[:8] + (time[:6] + "000000")[:6], "%Y%m%d%H%M%S")
    except ValueError:
        return _NO_MOMENT
