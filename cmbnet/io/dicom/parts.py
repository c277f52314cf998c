"""One scan that was sent as several series: join it, or refuse each part of it.

Exports that renumber, transfers that restart and PACS that split give one acquisition several
Series Instance UIDs. Each part is a regular grid of its own, and half a brain. A stack is a part
where another one of its patient, kind, echo, matrix and orientation lies beside it or between its
slices; in one series whatever its kind and echo are. A repeated scan lies where the first one does
and is no part.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cmbnet.io.dicom.frames import text
from cmbnet.io.dicom.geometry import place_of, place_on_grid
from cmbnet.io.dicom.grouping import Stack, echo_of, missing_numbers, partition
from cmbnet.io.dicom.identity import mixed_identity
from cmbnet.io.dicom.kinds import ImageKind

_SPLIT = (ImageKind.SWI, ImageKind.MAGNITUDE, ImageKind.UNKNOWN, ImageKind.MOSAIC)
"""Kinds that may be SWI by what is stated of them, or by their name."""

_SHARED = 0.5
"""Two whole scans of a head share more than this fraction of the shorter one's length."""

_ACQUISITION = (
    "StudyInstanceUID", "FrameOfReferenceUID", "AcquisitionNumber", "AcquisitionDate",
    "AcquisitionTime", "AcquisitionDateTime",
)  # fmt: skip


def join_parts(stacks: Sequence[Stack]) -> tuple[Stack, ...]:
    """Join the parts of one acquisition; mark parts that cannot be joined for certain.

    A joined one takes the place of its first part. Parts that are not joined bear a fault, so that
    nobody is led to read half a scan. Return the stacks in order.
    """
    apart = [stack for stack in stacks if stack.kind in _SPLIT and _placed(stack)]
    joined: dict[str, Stack | None] = {}
    for alike in partition(apart, _acquisition).values():
        whole = _joined(alike)
        if whole is not None:
            joined |= {stack.key: None for stack in alike} | {whole.key: whole}
    whole_stacks = [joined.get(stack.key, stack) for stack in stacks]
    kept = [stack for stack in whole_stacks if stack is not None]
    faults = _faults([stack for stack in kept if _placed(stack)])
    return tuple(
        replace(stack, faults=(*stack.faults, faults[stack.key])) if stack.key in faults else stack
        for stack in kept
    )


def _placed(stack: Stack) -> bool:
    return all(frame.position and frame.orientation for frame in stack.frames)


def _alike(stack: Stack) -> Hashable:
    """What parts of one scan share even where nothing else is sure."""
    return stack.kind, echo_of(stack.frames[0]), _shape(stack)


def _shape(stack: Stack) -> Hashable:
    """Patient, matrix, pixels and orientation."""
    first = stack.frames[0]
    turned = tuple(round(cosine, 2) + 0.0 for cosine in first.orientation or ())
    pixel = tuple(round(side, 3) for side in first.pixel_spacing_mm or ())
    owner = text(first.attributes, "PatientID")
    return owner, first.shape, pixel, turned


def _acquisition(stack: Stack) -> Hashable:
    """What the parts of one acquisition share."""
    first = stack.frames[0]
    stated = tuple(text(first.attributes, keyword) for keyword in _ACQUISITION)
    return _alike(stack), stated, "SECONDARY" in first.tokens


def _joined(parts: Sequence[Stack]) -> Stack | None:
    """One stack of the parts, None where they do not make a regular grid for certain."""
    frames = [frame for part in parts for frame in part.frames]
    if (
        len(parts) == 1
        or not text(frames[0].attributes, "FrameOfReferenceUID")
        or any(part.faults for part in parts)
        or mixed_identity(frames)
        or len(set(map(place_of, frames))) < len(frames)
        or place_on_grid(frames)[0] is None
    ):
        return None
    keys = _names([part.key for part in parts])
    note = f"series {keys} are parts of one acquisition, joined to a scan of {len(frames)} slices"
    notes = dict.fromkeys(note for part in parts for note in part.notes)
    ordered = sorted(frames, key=lambda frame: (frame.instance_number, frame.index))
    whole = all(part.parts == 1 for part in parts)
    return replace(
        parts[0],
        frames=tuple(ordered),
        notes=(*notes, note),
        numbering=missing_numbers(ordered) if whole else (),
    )


@dataclass(frozen=True, slots=True)
class _Extent:
    """Where a stack begins and ends along the normal of its slices, in mm."""

    stack: Stack
    start_mm: float
    end_mm: float

    def beside(self, other: _Extent) -> bool:
        shared = min(self.end_mm, other.end_mm) - max(self.start_mm, other.start_mm)
        shorter = min(self.end_mm - self.start_mm, other.end_mm - other.start_mm)
        return shared < _SHARED * shorter


def _faults(stacks: Sequence[Stack]) -> dict[str, str]:
    """What is to be said of stacks that are parts, by key."""
    likely = [stack for stack in stacks if stack.kind in _SPLIT]
    groups = [
        # A word or echo time that changes half-way splits a series, too.
        *_groups(stacks, "SeriesInstanceUID", _shape),
        # Of one study, or of one frame of reference that two studies claim.
        *_groups(likely, "StudyInstanceUID", _alike),
        *_groups(likely, "FrameOfReferenceUID", _alike),
    ]
    faults: dict[str, str] = {}
    for group in groups:
        faults = _faults_of(group) | faults
    return faults


def _groups(
    stacks: Sequence[Stack], keyword: str, alike: Callable[[Stack], Hashable]
) -> list[list[Stack]]:
    """Stacks that share a value that is stated, and are alike."""
    stated = [stack for stack in stacks if text(stack.frames[0].attributes, keyword)]
    parts = partition(stated, lambda one: (text(one.frames[0].attributes, keyword), alike(one)))
    return [group for group in parts.values() if len(group) > 1]


def _faults_of(alike: Sequence[Stack]) -> dict[str, str]:
    extents = [_extent(stack) for stack in alike]
    # If any lies beside a stack, so does the one that ends first or the one that starts last.
    lowest = min(extents, key=lambda extent: extent.end_mm)
    highest = max(extents, key=lambda extent: extent.start_mm)
    frames = [frame for stack in alike for frame in stack.frames]
    # Slices of a projection may lie half-way between those of the scan that it is made of.
    one_kind = len(set(map(_alike, alike))) == 1
    single = len(set(map(place_of, frames))) == len(frames)
    between = one_kind and single and place_on_grid(frames)[0] is not None
    faults = {}
    for extent in extents:
        others = [one.stack.key for one in (lowest, highest) if extent.beside(one)]
        if between and not others:
            others = [stack.key for stack in alike if stack is not extent.stack]
        if others:
            faults[extent.stack.key] = (
                f"a part of a scan that goes on in series {_names(sorted(set(others)))}: "
                "export the scan as one series, half of it is not read"
            )
    return faults


def _extent(stack: Stack) -> _Extent:
    cosines = np.array(stack.frames[0].orientation, dtype=np.float64)
    normal = np.cross(cosines[:3], cosines[3:])
    places = sorted(float(normal @ np.array(frame.position)) for frame in stack.frames)
    half_mm = max((places[-1] - places[0]) / max(len(places) - 1, 1), 0.02) / 2
    return _Extent(stack, places[0] - half_mm, places[-1] + half_mm)


def _names(keys: Sequence[str], most: int = 6) -> str:
    shown = " and ".join(keys[:most])
    return shown if len(keys) <= most else f"{shown} and {len(keys) - most} more"
