"""Phase in radians, whatever the scanner wrote, or the reason why it cannot be trusted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cmbnet.errors import InputRefused
from cmbnet.volume import Volume, grid_difference

FloatArray = NDArray[np.float32]

TURNS: Final = {
    "radians": 2 * np.pi,
    "thousandths of a radian": 2000 * np.pi,
    "degrees": 360.0,
    "units of 1/4096 of pi": 8192.0,
    "12-bit steps": 4096.0,
}
"""Known units of phase, and how many of them make a turn."""

CLOSE: Final = 0.005
"""Relative difference at which a range of values is one turn of a known unit."""

MOST_SAMPLED: Final = 8
"""Number of slices that are looked at to judge the whole image."""

BRIGHT_SHARE: Final = 0.5
DARK_SHARE: Final = 0.1
"""Voxels of the scan with more than this share of its bright voxels are tissue, with less, air."""

LEAST_WRAPS: Final = 20
WRAPS_TO_GAP: Final = 3.0
"""In wrapped phase neighbours differ by a little or by nearly a turn, hardly by half a turn. Jumps
of nearly a turn prove a wrap if there are this many, and this many times those of half a turn."""

SAME_IMAGE: Final = 0.9
"""Correlation with the scan, in tissue, from which an image is a magnitude and no phase."""

MOST_NEGATIVE: Final = 0.05
"""A scan with more negative voxels than this share is no SWI and no magnitude."""

QUIET_AIR: Final = 0.1
"""In air, phase is noise over the whole turn. Less spread there than this share of the range is a
magnitude."""

OPPOSITE: Final = -0.3
"""Mean cosine between neighbouring slices below which every second one is turned by pi."""

LEAST_SLICES: Final = 0.5
"""Least share of slices that must hold phase."""


class PhaseRefused(InputRefused):
    """A phase image cannot be trusted. The scan is analysed without it."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase image that can be used.

    Args:
        stored: (z, y, x) values as the scanner wrote them, on the grid of the scan.
        middle: Stored value that becomes 0.
        turn: Stored units of 2 pi.
        filled: (z,) which slices hold phase.
        alternating: Whether every second slice is turned by pi.
        notes: What was found and repaired, as sentences.
    """

    stored: NDArray[Any]
    middle: float
    turn: float
    filled: NDArray[np.bool_]
    alternating: bool
    notes: tuple[str, ...]

    def radians(self, box: tuple[slice, slice, slice] = (slice(None),) * 3) -> FloatArray:
        """Return a part of it, float32, in radians; whole turns have no meaning."""
        part: FloatArray = self.stored[box].astype(np.float32)
        part -= np.float32(self.middle)
        part *= np.float32(2 * np.pi / self.turn)
        if self.alternating:
            part[np.arange(len(self.stored))[box[0]] % 2 == 1] += np.float32(np.pi)
        return part


def read_phase(phase: Volume, scan: Volume) -> Phase:
    """Find the unit of a phase image, and whether it can be trusted.

    The range of the values says which unit they have. A range that no known unit has is one turn if
    the values wrap at it.

    Args:
        phase: The phase, in any unit.
        scan: The SWI or magnitude that it belongs to.

    Raises:
        PhaseRefused: If the grids differ, or the image is constant, a magnitude, unwrapped, or has
            too few slices.
    """
    difference = grid_difference(phase, scan)
    if difference is not None:
        raise _refused(phase, f"it is not on the grid of {scan.source}: {difference}")
    filled = np.ptp(phase.data, axis=(1, 2)) > 0
    if not filled.any():
        raise _refused(phase, "all its slices are constant")
    if filled.mean() < LEAST_SLICES:
        raise _refused(phase, f"only {filled.sum()} of {len(filled)} slices hold phase")
    slices = np.flatnonzero(filled & (np.ptp(scan.data, axis=(1, 2)) > 0))
    if len(slices) == 0:
        raise _refused(phase, f"it holds phase only where {scan.source} is empty")
    slices = slices[np.linspace(0, len(slices) - 1, MOST_SAMPLED + 2).astype(int)[1:-1]]
    values, image = phase.data[slices].astype(np.float32), scan.data[slices].astype(np.float32)
    level = float(np.percentile(image[image > 0], 90)) if (image > 0).any() else 0.0
    low, high = float(phase.data[filled].min()), float(phase.data[filled].max())
    _require_no_magnitude(phase, values, image / max(level, 1e-12), high - low)
    turn, unit = _turn(phase, values, image > BRIGHT_SHARE * level, low, high)
    notes = [f"The phase has {unit}: values from {low:g} to {high:g} are one turn."]
    if not filled.all():
        notes.append(f"{(~filled).sum()} of {len(filled)} slices hold no phase.")
    found = Phase(phase.data, (low + high) / 2, turn, filled, False, ())
    alternating = _alternates(found, scan, BRIGHT_SHARE * level)
    if alternating:
        notes.append("Every second slice was turned by pi and is turned back.")
    return replace(found, alternating=alternating, notes=tuple(notes))


def _refused(phase: Volume, reason: str) -> PhaseRefused:
    return PhaseRefused(
        f"the phase image {phase.source} is not used: {reason}; give the wrapped phase of the same "
        "acquisition, as the scanner sent it"
    )


def _require_no_magnitude(
    phase: Volume, values: FloatArray, image: FloatArray, span: float
) -> None:
    """Refuse what looks like the scan itself, and a pair of images in the wrong order."""
    if (image < 0).mean() > MOST_NEGATIVE:
        raise _refused(phase, "the scan itself is a phase image: are the two in the wrong order?")
    tissue, air = image > BRIGHT_SHARE, image < DARK_SHARE
    noise = float(values[air].std()) if air.any() else 0.0
    if values.min() >= 0 and 0 < noise < QUIET_AIR * span:
        raise _refused(phase, "it is a magnitude: the air around the head is dark, not noise")
    if tissue.sum() > 2 and float(values[tissue].std()) > 0:
        same = float(np.corrcoef(values[tissue], image[tissue])[0, 1])
        if same > SAME_IMAGE:
            raise _refused(phase, f"it is a magnitude: it correlates with the scan by {same:.2f}")


def _turn(
    phase: Volume, values: FloatArray, tissue: NDArray[np.bool_], low: float, high: float
) -> tuple[float, str]:
    """How many stored units make a turn, and what they are."""
    span = high - low
    for unit, turn in TURNS.items():
        if abs(span / turn - 1) < CLOSE:
            return turn, unit
    both = tissue[..., 1:] & tissue[..., :-1]
    steps = np.abs(np.diff(values, axis=-1))[both] / span
    wraps, gap = int((steps > 0.8).sum()), int(((steps > 0.35) & (steps < 0.65)).sum())
    if wraps >= LEAST_WRAPS and wraps > WRAPS_TO_GAP * gap:
        return span, "an unknown unit, but wraps"
    raise _refused(
        phase,
        f"values from {low:g} to {high:g} are not one turn of a known unit ({', '.join(TURNS)}) "
        "and do not wrap; was it unwrapped, masked or scaled?",
    )


def _alternates(phase: Phase, scan: Volume, bright: float) -> bool:
    """Whether neighbouring slices are opposite: some scanners do not sort k-space."""
    pairs = np.flatnonzero(phase.filled[1:] & phase.filled[:-1])
    cosines = []
    for z in pairs[np.linspace(0, len(pairs) - 1, MOST_SAMPLED).astype(int)] if len(pairs) else ():
        tissue = scan.data[z] > bright
        if tissue.any():
            below, above = phase.radians((slice(z, z + 2), slice(None), slice(None)))
            cosines.append(float(np.cos((above - below)[tissue]).mean()))
    return len(cosines) > 2 and float(np.median(cosines)) < OPPOSITE
