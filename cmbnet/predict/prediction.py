"""`Prediction`: everything that is known about a scan after the pipeline has run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cmbnet.errors import InputRefused

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cmbnet.backends import BackendInfo
    from cmbnet.bundle import Bundle, OperatingPoint
    from cmbnet.io.dicom import DicomSource
    from cmbnet.lesions import FoundLesions, LesionRules
    from cmbnet.phase import Phase
    from cmbnet.predict.request import Request
    from cmbnet.preprocess import PreparedCase
    from cmbnet.preprocess.qc import QualityReport
    from cmbnet.regions import Locator
    from cmbnet.volume import Volume


@dataclass(frozen=True, slots=True)
class InputRecord:
    """Which bytes were read.

    Args:
        file: Name of the file, without its folder; empty for an array in memory and for DICOM,
            whose names may be those of patients.
        sha256: Of its content; empty for an array in memory.
        brain_mask_sha256: Of the mask file that was given, or None.
        phase_sha256: Of the phase file that was given, or None.
        dicom: The images of a DICOM series, which SEG and SR refer to; else None.
    """

    file: str = ""
    sha256: str = ""
    brain_mask_sha256: str | None = None
    phase_sha256: str | None = None
    dicom: DicomSource | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What is known of a scan on which no count is made.

    Args:
        volume: The scan on its own grid.
        quality: What the gate said.
        operating_point: What would have been used.
        bundle: The model.
        backend: What would have run it.
        record: Which bytes were read.
    """

    volume: Volume
    quality: QualityReport
    operating_point: OperatingPoint
    bundle: Bundle
    backend: BackendInfo
    record: InputRecord


class NotAnalysable(InputRefused):
    """The quality gate refused a scan.

    Args:
        refusal: What a report of it needs.
    """

    def __init__(self, refusal: Refusal) -> None:
        reasons = [f.message for f in refusal.quality.findings if f.severity == "refuse"]
        super().__init__(
            f"{refusal.volume.source} is not analysable and no count was made: "
            f"{'; '.join(reasons)}; a count that is forced should not be trusted",
            argument="force",
        )
        self.refusal = refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer: what the pipeline found on a scan now, or what a finished folder says it found.

    Args:
        volume: The scan on its own grid.
        request: What was asked.
        prepared: The scan in the network's frame.
        quality: What the gate said.
        forced: Whether the gate refused and was overruled.
        found: Lesions, excluded candidates, stages, instance labels on the grid of the scan.
        operating_point: Name, thresholds and what was measured with them.
        bundle: The model.
        backend: What ran it.
        record: Which bytes were read.
    """

    volume: Volume
    request: Request
    prepared: PreparedCase
    quality: QualityReport
    forced: bool
    found: FoundLesions
    operating_point: OperatingPoint
    bundle: Bundle
    backend: BackendInfo
    record: InputRecord

    @property
    def name(self) -> str:
        """The name of the file, or the key of the DICOM series."""
        return self.record.file or self.volume.source


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction(Answer):
    """What was found on a scan, and all that led to it.

    Args:
        probability: float32 0 to 1 on the grid of the scan.
        rules: The rules with the operating point's thresholds.
        slices: Number of slices that the network looked at.
        crop: Rows and columns that it looked at.
        phase: The phase, if one was given and can be trusted, with the sign that blood is positive.
        timings_s: Seconds of each stage, in order.
        locator: How the places of the lesions were found; None without lesions.
    """

    probability: Volume
    rules: LesionRules
    slices: int
    crop: tuple[int, int]
    timings_s: dict[str, float]
    phase: Phase | None = None
    locator: Locator | None = None

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Voxels of lesions, (z, y, x), on the grid of the scan."""
        mask: NDArray[np.bool_] = self.found.labels > 0
        return mask

    @property
    def score(self) -> float:
        """Score of the scan: that of its best lesion, 0 without one."""
        return max((lesion.score for lesion in self.found.lesions), default=0.0)

    @property
    def positive(self) -> bool:
        """Whether the scan as a whole is called positive for microbleeds."""
        return bool(self.found.lesions) and self.score >= self.operating_point.patient_threshold
