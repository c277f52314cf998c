"""The geometry gate: it brings frames to a regular grid, or gives every reason against it.

highdicom's reader refuses the same inputs with one sentence for all of them. This gate names the
instances. The tests compare the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmbnet.io.dicom.frames import Frame, text

SPACING_TOLERANCE = 0.01
"""Largest deviation of a slice distance from the usual one, as a fraction of it."""

ORIENTATION_TOLERANCE = 1e-3
"""Largest difference of direction cosines in one stack, and of a right angle: 0.06 degrees."""

PLANE_TOLERANCE_MM = 0.01
"""Positions that are closer than this along the normal are the same place."""

SHEAR_TOLERANCE = 1e-3
"""Slices may drift sideways by this fraction of the stack's length. Tilted gantries drift more."""

FEWEST_SLICES = 3
"""Smallest number of slices. With two slices there is one distance and nothing to compare."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The grid of the slices of a stack."""

    # Frames by position, along (row direction) x (column direction). For usual axial slices this is
    # from foot to head. It is never the file order.
    order: tuple[Frame, ...]
    affine: NDArray[np.float64]  # Affine from index (z, y, x, 1) to RAS+ mm, shape (4, 4)
    notes: tuple[str, ...] = ()  # Oddities that were accepted

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of slices, rows and columns."""
        row_distance, column_distance = self.order[0].pixel_spacing_mm or (0.0, 0.0)
        z = float((self.affine[:3, 0] ** 2).sum() ** 0.5)
        return z, row_distance, column_distance

    @property
    def affine_lps(self) -> NDArray[np.float64]:
        """Affine from index (z, y, x, 1) to the LPS+ mm of DICOM, shape (4, 4)."""
        return _LPS_RAS @ self.affine


_LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def place_on_grid(frames: Sequence[Frame]) -> tuple[Grid | None, tuple[str, ...]]:
    """Order frames by position and check that they fill a regular, rectangular grid.

    There is at most one frame per position. Return the grid and no reason, or None and every reason
    found.
    """
    reasons = [*_unplaced(frames), *_mixed(frames)]
    if len(frames) < FEWEST_SLICES:
        word = "one slice is no volume" if len(frames) == 1 else "too few slices"
        reasons.append(f"{word}: at least {FEWEST_SLICES} are required, got {len(frames)}")
    if reasons:
        return None, tuple(reasons)
    rows, columns = _directions(frames)
    if abs(float(rows @ columns)) > ORIENTATION_TOLERANCE:
        return None, ("rows and columns do not stand at right angles",)
    normal = np.cross(rows, columns)
    ordered = sorted(frames, key=lambda frame: float(normal @ _position(frame)))
    reasons = [*_irregular(ordered, normal), *_sheared(ordered, normal)]
    if reasons:
        return None, tuple(reasons)
    affine = _affine(ordered, rows, columns)
    return Grid(tuple(ordered), affine, tuple(_odd(ordered, affine))), ()


def axial_tilt_degrees(affine: NDArray[np.float64]) -> float:
    """Return the angle between the normal of the slices and the body axis, 0 to 90 degrees."""
    normal = np.cross(affine[:3, 1], affine[:3, 2])
    cosine = abs(float(normal[2])) / float(np.linalg.norm(normal))
    return float(np.degrees(np.arccos(min(1.0, cosine))))


def _position(frame: Frame) -> NDArray[np.float64]:
    return np.array(frame.position, dtype=np.float64)


def _directions(frames: Sequence[Frame]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit vectors, LPS: along a row (x), along a column (y)."""
    cosines = np.array(frames[0].orientation, dtype=np.float64)
    return cosines[:3], cosines[3:]


def _unplaced(frames: Sequence[Frame]) -> list[str]:
    reasons = []
    for name, without in (
        ("position", [f for f in frames if f.position is None]),
        ("orientation", [f for f in frames if not _is_orientation(f.orientation)]),
        ("pixel spacing", [f for f in frames if not f.pixel_spacing_mm]),
    ):
        if without:
            reasons.append(f"no valid {name} is stated in {_names(without)}")
    negative = [f for f in frames if f.pixel_spacing_mm and min(f.pixel_spacing_mm) <= 0]
    if negative:
        reasons.append(f"the pixel spacing is not positive in {_names(negative)}")
    return reasons


def _is_orientation(cosines: tuple[float, ...] | None) -> bool:
    if cosines is None:
        return False
    lengths = np.linalg.norm(np.array(cosines).reshape(2, 3), axis=1)
    return bool(np.all(np.abs(lengths - 1.0) < 1e-2))


def _mixed(frames: Sequence[Frame]) -> list[str]:
    """Name what differs between frames that must share it."""
    reasons = []
    first = frames[0]
    turned = [f for f in frames if _turned(f, first)]
    if turned:
        reasons.append(
            f"mixed orientations: {_names(turned)} against {first.label}; "
            "a volume has one orientation"
        )
    for name, values in (
        ("matrix sizes", {f.shape: f for f in frames}),
        ("pixel spacings", {_rounded(f.pixel_spacing_mm): f for f in frames}),
        ("frames of reference", {text(f.attributes, "FrameOfReferenceUID"): f for f in frames}),
    ):
        if len(values) > 1:
            reasons.append(f"mixed {name}: for example {_names(list(values.values()))}")
    return reasons


def _turned(frame: Frame, first: Frame) -> bool:
    if frame.orientation is None or first.orientation is None:
        return False
    difference = np.abs(np.subtract(frame.orientation, first.orientation))
    return bool(difference.max() > ORIENTATION_TOLERANCE)


def _rounded(values: tuple[float, ...] | None) -> tuple[float, ...]:
    return tuple(round(value, 4) for value in values or ())


def _irregular(ordered: Sequence[Frame], normal: NDArray[np.float64]) -> list[str]:
    """Duplicates, gaps and jitter along the normal, each with its instances."""
    places = np.array([normal @ _position(frame) for frame in ordered])
    steps = np.diff(places)
    usual = float(np.median(steps))
    reasons = []
    same = [i for i, step in enumerate(steps) if step < PLANE_TOLERANCE_MM]
    if same:
        i = same[0]
        reasons.append(
            f"{len(same)} slices lie where another one lies, for example {ordered[i].label} "
            f"and {ordered[i + 1].label} at {places[i]:.2f} mm"
        )
        usual = float(np.median(np.delete(steps, same))) if len(same) < len(steps) else 0.0
    for i, step in enumerate(steps):
        if i in same or abs(step - usual) <= SPACING_TOLERANCE * usual:
            continue
        cause = "a slice is missing" if step > 1.5 * usual else "a slice is out of place"
        reasons.append(
            f"unequal spacing, {cause}: {step:.3f} mm between {ordered[i].label} and "
            f"{ordered[i + 1].label}, {usual:.3f} mm elsewhere"
        )
    return reasons[:4]


def _sheared(ordered: Sequence[Frame], normal: NDArray[np.float64]) -> list[str]:
    span = _position(ordered[-1]) - _position(ordered[0])
    offsets = np.array([_position(frame) - _position(ordered[0]) for frame in ordered])
    sideways = offsets - np.outer(offsets @ normal, normal)
    drift = float(np.linalg.norm(sideways, axis=1).max())
    if drift <= SHEAR_TOLERANCE * float(np.linalg.norm(span)) + PLANE_TOLERANCE_MM:
        return []
    return [f"the slices drift sideways by {drift:.2f} mm: the grid is sheared, not rectangular"]


def _affine(
    ordered: Sequence[Frame], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float64]:
    row_distance, column_distance = ordered[0].pixel_spacing_mm or (0.0, 0.0)
    lps = np.eye(4)
    first, last = _position(ordered[0]), _position(ordered[-1])
    lps[:3, 0] = (last - first) / (len(ordered) - 1)
    lps[:3, 1] = columns * row_distance
    lps[:3, 2] = rows * column_distance
    lps[:3, 3] = first
    return _LPS_RAS @ lps


def _odd(ordered: Sequence[Frame], affine: NDArray[np.float64]) -> list[str]:
    """What does not keep a stack from being read, and should be known."""
    notes = []
    spacing = float(np.linalg.norm(affine[:3, 0]))
    thickness = ordered[0].thickness_mm
    if thickness and spacing > thickness * (1 + 2 * SPACING_TOLERANCE):
        notes.append(
            f"slices are {thickness:g} mm thick and their centres {spacing:.2f} mm apart: "
            f"{spacing - thickness:.2f} mm between them were not imaged"
        )
    stated = ordered[0].stated_spacing_mm
    if stated and abs(abs(stated) - spacing) > 2 * SPACING_TOLERANCE * spacing:
        notes.append(
            f"SpacingBetweenSlices states {stated:g} mm, the positions {spacing:.3f} mm: "
            "the positions were used"
        )
    if not text(ordered[0].attributes, "FrameOfReferenceUID"):
        notes.append("the series states no frame of reference")
    if ordered[0].echo_ms is None:
        notes.append("the echo time is unknown")
    return notes


def _names(frames: Sequence[Frame], most: int = 3) -> str:
    shown = ", ".join(frame.label for frame in frames[:most])
    return shown if len(frames) <= most else f"{shown} and {len(frames) - most} more"


def place_of(frame: Frame) -> Hashable:
    """Return the place and direction of a frame (planes of a localizer may share a corner)."""
    if frame.position is None:
        return frame.sop_instance_uid, frame.index
    turned = tuple(round(cosine, 2) + 0.0 for cosine in frame.orientation or ())
    return *(round(value, 2) + 0.0 for value in frame.position), turned


def repeats(frames: Sequence[Frame]) -> int:
    """Return the number of images at each place if all places have the same number, else 1.

    A series of 520 frames that images 40 places 13 times gives 13.
    """
    numbers = set(Counter(map(place_of, frames)).values())
    return numbers.pop() if len(numbers) == 1 else 1


def mixed_orientations(frames: Sequence[Frame]) -> bool:
    """Return whether frames have different directions."""
    return any(_turned(frame, frames[0]) for frame in frames)
