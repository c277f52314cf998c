"""`DicomResult`: the content of SEG and SR, without DICOM."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cmbnet import __version__
from cmbnet.errors import UsageError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from cmbnet.io.dicom import DicomSource
    from cmbnet.lesions import Lesion
    from cmbnet.predict import Prediction, Refusal
    from cmbnet.preprocess.qc import QualityReport

_NO_MOMENT = datetime.datetime(1900, 1, 1)


@dataclass(frozen=True, slots=True)
class Algorithm:
    """The algorithm that made a result.

    Args:
        model: Name of the bundle.
        model_sha256: Hash of the whole bundle.
        parameters: Parameters of the run, one sentence each. Their hash is part of the UIDs.
        version: Version of cmbnet.
    """

    model: str
    model_sha256: str
    parameters: tuple[str, ...] = ()
    version: str = __version__


@dataclass(frozen=True, slots=True)
class Quality:
    """The judgement of the quality gate.

    Args:
        analysable: If it is False, the report says "not analysable" and has no count.
        remarks: Sentences of warnings and refusals.
    """

    analysable: bool = True
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DicomResult:
    """The result of one series.

    Args:
        lesions: Lesions that count, in the order of segments.
        labels: `Lesion.id` of each voxel on the grid of the series, integer (z, y, x), 0 outside.
        algorithm: The algorithm that found them.
        quality: The judgement of the quality gate.
        previous: The report that this one supersedes. Only its UIDs are read.

    Raises:
        UsageError: If a lesion has no voxel, or if a scan that is not analysable has lesions.
    """

    lesions: tuple[Lesion, ...]
    labels: NDArray[Any]
    algorithm: Algorithm
    quality: Quality = Quality()
    previous: Dataset | None = None

    def __post_init__(self) -> None:
        if self.lesions and not self.quality.analysable:
            raise UsageError("a scan that is not analysable has no lesions to report")
        absent = {lesion.id for lesion in self.lesions} - set(np.unique(self.labels).tolist())
        if absent:
            raise UsageError(f"every lesion needs voxels in the label image, {absent} have none")


def result_of(prediction: Prediction) -> DicomResult:
    """Make the content of SEG and SR for a prediction.

    If a count was forced from a scan that is not analysable, the objects do not contain it. They
    only say that the scan is not analysable.
    """
    labels = prediction.finding.labels
    return DicomResult(
        lesions=() if prediction.forced else prediction.finding.lesions,
        labels=np.zeros_like(labels) if prediction.forced else labels,
        algorithm=_algorithm(prediction),
        quality=quality_of(prediction.quality),
    )


def result_of_refusal(refusal: Refusal) -> DicomResult:
    """Make the content of the SR for a scan that the quality gate refused."""
    return DicomResult(
        lesions=(),
        labels=np.zeros(refusal.volume.shape, np.uint8),
        algorithm=_algorithm(refusal),
        quality=quality_of(refusal.quality),
    )


def _algorithm(run: Prediction | Refusal) -> Algorithm:
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
        ),
    )


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
