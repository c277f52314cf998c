"""The verdict on a stack, and the rules by which it is judged."""

from __future__ import annotations

from dataclasses import dataclass

from cmbnet.io.dicom.kinds import ImageKind


@dataclass(frozen=True, slots=True)
class SelectionRules:
    """The rules for a stack that is read without being named.

    Args:
        fewest_slices: Smallest number of slices. A brain in fewer slices is not whole.
        largest_spacing_mm: Largest spacing along any axis.
        largest_tilt_degrees: Largest tilt of the slices from axial.
        allow_magnitude: Whether a gradient-echo magnitude is accepted if there is no SWI. The model
            was trained on SWI, so the notes warn of this.
        echo_range_ms: Usual echo times of SWI. They are only a point of the score.
    """

    fewest_slices: int = 20
    largest_spacing_mm: float = 5.0
    largest_tilt_degrees: float = 35.0
    allow_magnitude: bool = False
    echo_range_ms: tuple[float, float] = (15.0, 50.0)


DEFAULT_RULES = SelectionRules()


@dataclass(frozen=True, slots=True)
class Objection:
    """A reason against a stack.

    Args:
        message: A sentence without a full stop.
        final: Whether the objection holds even if the series is named.
    """

    message: str
    final: bool


@dataclass(frozen=True, slots=True)
class SeriesVerdict:
    """The verdict on one stack.

    Args:
        key: Key for `read_dicom(..., series=key)`.
        series_instance_uid: UID of its series.
        description: SeriesDescription, without words that name the patient.
        kind: Meaning of its grey values.
        images: Number of frames.
        shape: Shape (z, y, x) of the volume. None if it is no volume.
        spacing_mm: Spacing along z, y, x. None if it is no volume.
        score: Points for being the SWI.
        points: Reasons of the points.
        objections: Reasons against it. Empty for a candidate.
        notes: Oddities that were accepted.
        chosen: Whether this stack is read if none is named.
    """

    key: str
    series_instance_uid: str
    description: str
    kind: ImageKind
    images: int
    shape: tuple[int, int, int] | None
    spacing_mm: tuple[float, float, float] | None
    score: int
    points: tuple[str, ...]
    objections: tuple[Objection, ...]
    notes: tuple[str, ...]
    chosen: bool = False

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
