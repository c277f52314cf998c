"""The phase images that belong to an SWI: same study, coordinates, grid and echo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cmbnet.errors import UsageError
from cmbnet.io.dicom.frames import text
from cmbnet.io.dicom.grouping import echo_of
from cmbnet.io.dicom.kinds import ImageKind

if TYPE_CHECKING:
    from cmbnet.io.dicom.selection import Judged

NO_PHASE = "none"
"""Word by which a caller asks for no phase."""

PLACE_TOLERANCE_MM = 0.01
"""Phase and SWI are on one grid if no corner of one is further than this from that of the other."""


def phase_of(
    judged: Sequence[Judged], swi: Judged, series: str | None = None
) -> tuple[Judged | None, str]:
    """Find the phase of an SWI, and say why it is that or none.

    Of several, the one in the same series is taken, or else the one of the nearest series number.
    `series` is the key or UID of the phase, if it is named.

    Raises:
        UsageError: If no phase bears the name.
    """
    phases = [one for one in judged if one.stack.kind is ImageKind.PHASE and one is not swi]
    if series is not None:
        keys = ", ".join(one.verdict.key for one in phases) or "none: there is no phase"
        phases = [
            one for one in phases if series in (one.verdict.key, one.verdict.series_instance_uid)
        ]
        if not phases:
            raise UsageError(f"no phase series is named {series[:64]}: choose of {keys}")
    reasons = {one.verdict.key: _why_not(one, swi) for one in phases}
    fitting = [one for one in phases if not reasons[one.verdict.key]]
    if fitting:
        chosen = min(fitting, key=lambda one: _distance(one, swi))
        return chosen, (
            f"series {chosen.verdict.key} is the phase of series {swi.verdict.key}: the same "
            "coordinates, grid and echo"
        )
    said = "; ".join(f"series {key}: {why}" for key, why in reasons.items())
    return None, f"no phase belongs to series {swi.verdict.key}" + (f" ({said})" if said else "")


def _why_not(phase: Judged, swi: Judged) -> str:
    if phase.grid is None:
        return "it is no volume"
    first, other = phase.stack.frames[0], swi.stack.frames[0]
    for tag, what in (("StudyInstanceUID", "study"), ("FrameOfReferenceUID", "coordinates")):
        if text(first.attributes, tag) != text(other.attributes, tag):
            return f"other {what}"
    if swi.grid is None or phase.verdict.shape != swi.verdict.shape:
        return "another grid"
    last = np.array(swi.verdict.shape or (1, 1, 1)) - 1
    corners = np.array([[z, y, x, 1] for z in (0, 1) for y in (0, 1) for x in (0, 1)], float)
    corners[:, :3] *= last
    if np.abs(corners @ (phase.grid.affine - swi.grid.affine).T).max() > PLACE_TOLERANCE_MM:
        return "another grid"
    echoes = echo_of(first), echo_of(other)
    # SWI of several echoes states one of them, or none.
    if None not in echoes and 0.0 not in echoes and echoes[0] != echoes[1]:
        return f"echo of {echoes[0]:g} ms, not {echoes[1]:g} ms"
    return ""


def _distance(phase: Judged, swi: Judged) -> tuple[bool, int]:
    """Least for the same series, then for the nearest series number."""
    numbers = [int("0" + one.verdict.key.split(".")[0].rstrip("abcdefghijklmnopqrstuvwxyz"))
               for one in (phase, swi)]  # fmt: skip
    same = phase.stack.series_instance_uid == swi.stack.series_instance_uid
    return not same, abs(numbers[0] - numbers[1])


__all__ = ["NO_PHASE", "phase_of"]
