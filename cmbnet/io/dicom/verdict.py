"""The verdict on a stack, and the rules by which it is judged."""

from __future__ import annotations

from dataclasses import dataclass

from cmbnet.io.dicom.kinds import ImageKind


@dataclass(frozen=True, slots=True)
class SelectionRules:
    """The rules for a stack that is read without being named."""

    fewest_slices: int = 20  # Smallest number of slices. A brain in fewer slices is not whole.
    largest_spacing_mm: float = 5.0  # Largest spacing along any axis
    largest_tilt_degrees: float = 35.0  # Largest tilt of the slices from axial
    # Whether a gradient-echo magnitude is accepted if there is no SWI. The model was trained on
    # SWI, so the notes warn of this.
    allow_magnitude: bool = False
    # Usual echo times of SWI. They are only a point of the score.
    echo_range_ms: tuple[float, float] = (15.0, 50.0)


DEFAULT_RULES = SelectionRules()


@dataclass(frozen=True, slots=True)
class Objection:
    """A reason against a stack."""

    message: str  # A sentence without a full stop
    final: bool  # Whether the objection holds even if the series is named


@dataclass(frozen=True, slots=True)
class SeriesVerdict:
    """The verdict on one stack."""

    key: str  # Key for `read_dicom(..., series=key)`
    series_instance_uid: str  # UID of its series
    description: str  # SeriesDescription, without words that name the patient
    kind: ImageKind  # Meaning of its grey values
    images: int  # Number of frames
    shape: tuple[int, int, int] | None  # Shape (z, y, x) of the volume. None if it is no volume.
    spacing_mm: tuple[float, float, float] | None  # Spacing along z, y, x. None if it is no volume.
    score: int  # Points for being the SWI
    points: tuple[str, ...]  # Reasons of the points
    objections: tuple[Objection, ...]  # Reasons against it. Empty for a candidate.
    notes: tuple[str, ...]  # Oddities that were accepted
    chosen: bool = False  # Whether this stack is read if none is named

    @property
    def status(self) -> str:
        """``"chosen"``, ``"candidate"``, or ``"refused"``."""
        if self.chosen:
            return "chosen"
        return "refused" if self.objections else "candidate"

    @property
    def readable(self) -> bool:
        """Whether it can be read by naming it."""
        return not any(objection.final for objection in self.objections)

    @property
    def reasons(self) -> str:
        """All objections in one line."""
        return "; ".join(objection.message for objection in self.objections)
