"""Grouping of frames into stacks: sets of frames that claim to be one volume.

A series may hold magnitude and phase, several echoes, several time points. It is split by kind of
image and echo time. If several images then share a position, it is also split by the other words of
ImageType. So a word that changes half-way through a scan does not make two half brains.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from pydicom.dataset import Dataset, FileDataset

from cmbnet.errors import CmbnetError
from cmbnet.io.dicom.dataset import DicomFile, read_header, unreadable
from cmbnet.io.dicom.files import FileSet
from cmbnet.io.dicom.frames import Frame, number, numbers, read_frames, readable_attributes, text
from cmbnet.io.dicom.geometry import mixed_orientations, place_of
from cmbnet.io.dicom.identity import mixed_identity
from cmbnet.io.dicom.kinds import ImageKind, image_kind
from cmbnet.io.dicom.privacy import patient_identifiers, scrub

Item = TypeVar("Item")

_ECHO_DIGITS = 2

_SAME = (
    "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope",
    "RescaleIntercept",
)  # fmt: skip
"""What a retransmission repeats beside the pixels."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Frames of one series, one kind and one echo."""

    key: str  # Name for users: its series number, with a part (``"4.2"``) if the series was split
    kind: ImageKind  # Meaning of its grey values
    frames: tuple[Frame, ...]  # Frames in order of InstanceNumber and frame number
    parts: int  # Number of stacks that its series was split into
    notes: tuple[str, ...] = ()  # Sentences about the sorting
    numbering: tuple[str, ...] = ()  # Images that are missing by instance numbers and counts
    faults: tuple[str, ...] = ()  # Reasons why it cannot be read in any case

    @property
    def series_instance_uid(self) -> str:
        """UID of its series. Empty if the header has no valid one."""
        stated = text(self.frames[0].attributes, "SeriesInstanceUID")
        return stated if re.fullmatch(r"[0-9.]{1,64}", stated) else ""


def read_stacks(files: FileSet) -> tuple[tuple[Stack, ...], tuple[str, ...]]:
    """Read all headers, drop retransmissions, split every series into stacks.

    Returns:
        Stacks in order of study, series number and kind, and sentences about the files.
    """
    notes: list[str] = list(files.notes)
    if files.others:
        notes.append(f"{files.others} files bear no DICOM mark and were left aside")
    series: dict[str, list[Frame]] = defaultdict(list)
    extra: dict[str, list[str]] = defaultdict(list)
    for file, header, attributes in _unique(files, notes, extra):
        if not attributes.get("Rows"):
            notes.append(f"{file.name} holds no image and was left aside")
            continue
        try:
            frames = read_frames(file, header)
        except CmbnetError as error:
            notes.append(str(error))
            continue
        series[_series_of(attributes)] += frames
    stacks: list[Stack] = []
    taken: Counter[str] = Counter()
    for uid, members in sorted(series.items(), key=lambda item: _series_order(item[1][0])):
        stacks += _split_series(members, taken, tuple(extra[uid]))
    return tuple(stacks), tuple(notes)


def _unique(
    files: FileSet, notes: list[str], extra: dict[str, list[str]]
) -> Iterator[tuple[DicomFile, FileDataset, Dataset]]:
    """Every SOP instance once; of a UID borne by two different images, both."""
    seen: dict[str, DicomFile] = {}
    repeated: Counter[str] = Counter()
    for found in files.files:
        try:
            header = read_header(found)
        except CmbnetError as error:
            notes.append(str(error))
            continue
        attributes = readable_attributes(header)
        # Names are often made of the patient's: this is the one place they pass through.
        file = DicomFile(found.path, scrub(found.name, patient_identifiers(attributes)))
        uid = text(attributes, "SOPInstanceUID")
        first = seen.setdefault(uid, file)
        if uid and first is not file:
            if _same_image(first, file):
                repeated[_series_of(attributes)] += 1
                continue
            extra[_series_of(attributes)].append(
                f"{first.name} and {file.name} bear the same SOP Instance UID and different "
                "pixels, places or patients"
            )
        yield file, header, attributes
    for series, count in repeated.items():
        extra[series].append(f"{count} images were sent twice: one copy each was used")


def _same_image(first: DicomFile, second: DicomFile) -> bool:
    """Whether two files hold the same encoded pixels, in one place and of one patient.

    Damaged ones hold different ones.
    """
    try:
        return _content(first) == _content(second)
    except CmbnetError:
        return False


def _content(file: DicomFile) -> tuple[str, ...]:
    header = read_header(file, pixels=True)
    try:
        pixels = hashlib.sha256(bytes(header["PixelData"].value or b"")).hexdigest()
        return pixels, *(str(header.get(keyword)) for keyword in _SAME)
    # As in read_header: conversion of a damaged element raises nearly anything.
    except Exception as error:
        raise unreadable(file, error) from error


def _series_of(attributes: Dataset) -> str:
    """What images of one series share: its UID, where there is none that of the study.

    Not both: a series whose images name two studies must not become two halves.
    """
    return text(attributes, "SeriesInstanceUID") or f"of {text(attributes, 'StudyInstanceUID')}"


def _series_order(frame: Frame) -> tuple[str, float, str]:
    header = frame.attributes
    study, series = text(header, "StudyInstanceUID"), text(header, "SeriesInstanceUID")
    return study, number(header.get("SeriesNumber")) or 0.0, series


def _split_series(frames: list[Frame], taken: Counter[str], extra: tuple[str, ...]) -> list[Stack]:
    """One stack per kind and echo, more where positions repeat."""
    ordered = sorted(frames, key=lambda frame: (frame.instance_number, frame.index))
    groups: list[tuple[ImageKind, list[Frame]]] = []
    for kind, alike in partition(ordered, image_kind).items():
        # Planes of several orientations stay together, so that the geometry gate refuses them
        # all: by echo, each might pass for a volume of its own.
        echoes = [alike] if mixed_orientations(alike) else list(partition(alike, echo_of).values())
        for one_echo in echoes:
            for part in _split_where_repeated(one_echo):
                groups.append((kind, part))
    name = _series_name(ordered[0], taken)
    numbering = missing_numbers(ordered)
    faults = mixed_identity(ordered)
    return [
        Stack(
            key=name if len(groups) == 1 else f"{name}.{place}",
            kind=kind,
            frames=tuple(part),
            parts=len(groups),
            notes=extra,
            numbering=numbering,
            faults=faults,
        )
        for place, (kind, part) in enumerate(groups, start=1)
    ]


def partition(items: Iterable[Item], key: Callable[[Item], Hashable]) -> dict[Any, list[Item]]:
    """Group items by key, in their order."""
    parts: dict[Any, list[Item]] = {}
    for item in items:
        parts.setdefault(key(item), []).append(item)
    return parts


def _split_where_repeated(frames: list[Frame]) -> list[list[Frame]]:
    if max(Counter(map(place_of, frames)).values()) == 1:
        return [frames]
    return list(partition(frames, lambda frame: frame.tokens).values())


def echo_of(frame: Frame) -> float | None:
    """Return the echo time in ms, rounded so that echoes can be distinguished."""
    return None if frame.echo_ms is None else round(frame.echo_ms, _ECHO_DIGITS)


def _series_name(frame: Frame, taken: Counter[str]) -> str:
    """The series number; with a letter, or more digits, where several series bear the same."""
    stated = number(frame.attributes.get("SeriesNumber"))
    name = "0" if stated is None else str(int(stated))
    taken[name] += 1
    count = taken[name]
    if count == 1:
        return name
    return f"{name}{chr(ord('a') + count - 1)}" if count <= 26 else f"{name}-{count}"


def missing_numbers(frames: list[Frame]) -> tuple[str, ...]:
    """Say where instance numbers are missing, because slices at the end of a stack leave no gap."""
    if any(frame.multiframe for frame in frames):
        return ()
    found = {frame.instance_number for frame in frames}
    missing = sorted(set(range(1, max(found) + 1)) - found) if max(found) < 100_000 else []
    notes = []
    if missing:
        shown = ", ".join(map(str, missing[:5])) + ("..." if len(missing) > 5 else "")
        notes.append(
            f"instance numbers {shown} of 1 to {max(found)} are absent: slices may be missing"
        )
    stated = numbers(frames[0].attributes.get("ImagesInAcquisition"), 1)
    if stated and stated[0] > len(frames):
        notes.append(
            f"the scanner states {stated[0]:.0f} images in the acquisition, {len(frames)} are here"
        )
    return tuple(notes)
