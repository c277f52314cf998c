"""Read the SWI of a DICOM folder, zip or DICOMDIR, or say why no series is the SWI."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from cmbnet.errors import CmbnetError, InputRefused, UsageError
from cmbnet.io.dicom.files import FileSet, open_files
from cmbnet.io.dicom.geometry import repeats
from cmbnet.io.dicom.grouping import read_stacks
from cmbnet.io.dicom.identity import several_owners
from cmbnet.io.dicom.kinds import ImageKind
from cmbnet.io.dicom.parts import join_parts
from cmbnet.io.dicom.phase import NO_PHASE, phase_of
from cmbnet.io.dicom.pixels import read_pixels
from cmbnet.io.dicom.privacy import patient_identifiers, scrub
from cmbnet.io.dicom.selection import Judged, judge_all
from cmbnet.io.dicom.source import DicomSource, source_of
from cmbnet.io.dicom.verdict import DEFAULT_RULES, SelectionRules, SeriesVerdict
from cmbnet.volume import Volume

_MOST_LISTED = 6


@dataclass(frozen=True, slots=True)
class Examination:
    """The content of a DICOM input."""

    name: str  # Name of the input, without words that name the patient
    verdicts: tuple[SeriesVerdict, ...]  # Verdicts, one per stack, in order of series number
    notes: tuple[str, ...]  # Sentences about ignored, damaged and missing files
    refusal: str = ""  # Reason why no stack was chosen. Empty if one was.


def examine_dicom(
    path: str | os.PathLike[str], *, rules: SelectionRules = DEFAULT_RULES
) -> Examination:
    """Judge every series without decoding pixels, and describe the files and the whole input.

    Raises:
        UnreadableFile: If the path does not exist, or a zip is damaged.
        InputRefused: If there is no DICOM file, or there are too many files.
    """
    with open_files(path) as files:
        judged, notes, name = _judge_all(files, rules, None)
        try:
            chosen = _choose(judged, name)
        except InputRefused as refused:
            verdicts = tuple(one.verdict for one in judged)
            return Examination(name, verdicts, notes, str(refused))
        _, phase = phase_of(judged, chosen)
        return Examination(
            name,
            tuple(replace(one.verdict, chosen=one is chosen) for one in judged),
            (*notes, phase),
        )


def read_dicom(
    path: str | os.PathLike[str],
    *,
    series: str | None = None,
    frame: int | None = None,
    rules: SelectionRules = DEFAULT_RULES,
) -> Volume:
    """Read the SWI series, or the named series, as one volume.

    Args:
        path: Folder, zip, DICOMDIR or one (enhanced) file.
        series: Key of a verdict (``"4"``, ``"4.2"``) or a Series Instance UID. A named series
            may be other than SWI, and must be one regular volume of grey values.
        frame: Number of the image, from 0, if several share each position.
        rules: The limits.

    Returns:
        The volume: float32 (z, y, x), rescaled frame by frame, with slices ordered by position.
        `notes` describes oddities. It does not name the patient.

    Raises:
        UnreadableFile: If the path does not exist, or files are damaged.
        InputRefused: If no series, or several, can be the SWI, or the named one is no volume.
        UsageError: If no series has the name, or `frame` does not exist.
        MissingExtra: If a decoder is missing.
    """
    return read_dicom_series(path, series=series, frame=frame, rules=rules)[0]


def read_dicom_series(
    path: str | os.PathLike[str],
    *,
    series: str | None = None,
    frame: int | None = None,
    rules: SelectionRules = DEFAULT_RULES,
) -> tuple[Volume, DicomSource]:
    """Read as `read_dicom`, and return the source images for SEG and SR, too."""
    return read_dicom_study(path, series=series, phase=NO_PHASE, frame=frame, rules=rules)[:2]


def read_dicom_study(
    path: str | os.PathLike[str],
    *,
    series: str | None = None,
    phase: str | None = None,
    frame: int | None = None,
    rules: SelectionRules = DEFAULT_RULES,
) -> tuple[Volume, DicomSource, Volume | None, str]:
    """Read as `read_dicom_series`, and the phase that belongs to the SWI.

    Args:
        path: As for `read_dicom`.
        series: As for `read_dicom`.
        phase: Key or UID of the phase series, or "none" for no phase. None finds it.
        frame: As for `read_dicom`.
        rules: The limits.

    Returns:
        The SWI, its source images, its phase or None, and why there is none. The reason is empty
        if the input holds no phase at all.

    Raises:
        CmbnetError: As `read_dicom` does. A phase that cannot be read raises nothing.
    """
    with open_files(path) as files:
        judged, notes, name = _judge_all(files, rules, frame)
        chosen = _choose(judged, name) if series is None else _named(judged, series, name)
        _check_frame(chosen, frame)
        verdict = replace(chosen.verdict, chosen=True)
        if chosen.grid is None:  # a final objection was raised before
            raise InputRefused(f"series {verdict.key} of {name} is no volume: {verdict.reasons}")
        volume = Volume(
            data=read_pixels(chosen.grid),
            affine=chosen.grid.affine,
            source=f"series {verdict.key} of {name}",
            notes=_notes(verdict, notes, _owners(judged)),
        )
        beside = (None, "") if phase == NO_PHASE else _read_phase(judged, chosen, phase, name)
        return volume, source_of(chosen.grid, verdict), *beside


def _read_phase(
    judged: list[Judged], swi: Judged, series: str | None, name: str
) -> tuple[Volume | None, str]:
    """Read the phase of an SWI, or say why there is none. No fault of it stops the SWI."""
    if series is None and all(one.stack.kind is not ImageKind.PHASE for one in judged):
        return None, ""
    found, reason = phase_of(judged, swi, series)
    if found is None or found.grid is None or swi.grid is None:
        return None, f"{reason}: the scan is analysed without phase"
    try:
        # The affine of the SWI: the two may differ by what headers round.
        source = f"series {found.verdict.key} of {name}"
        return Volume(read_pixels(found.grid), swi.grid.affine, source), ""
    except CmbnetError as error:
        return None, f"the phase cannot be read ({error}): the scan is analysed without it"


def _judge_all(
    files: FileSet, rules: SelectionRules, frame: int | None
) -> tuple[list[Judged], tuple[str, ...], str]:
    stacks, notes = read_stacks(files)
    identifiers: set[str] = set()
    # One header per file: a series that names two patients may hide neither.
    frames = (frame for stack in stacks for frame in stack.frames)
    for attributes in {id(frame.attributes): frame.attributes for frame in frames}.values():
        identifiers |= patient_identifiers(attributes)
    name = scrub(files.name, identifiers)
    if not stacks:
        raise InputRefused(f"no image could be read in {name}: {'; '.join(notes[:5])}")
    return judge_all(join_parts(stacks), rules, frame), notes, name


def _choose(judged: list[Judged], name: str) -> Judged:
    """The candidate of the highest score."""
    owners = _owners(judged)
    if owners:
        likely = sorted(judged, key=lambda one: -one.verdict.score)
        raise InputRefused(
            f"images of one patient and one study are required, {name} holds {owners}: "
            f"{_list_reasons(likely)}; separate them, or name the series to be read",
            argument="series",
        )
    candidates = [one for one in judged if not one.verdict.objections]
    if not candidates:
        raise InputRefused(
            f"no SWI series in {name}: {_list_reasons(judged)}; "
            "`cmbnet dicom explain` prints the whole table"
        )
    best = max(one.verdict.score for one in candidates)
    leading = [one for one in candidates if one.verdict.score == best]
    if len(leading) > 1:
        names = ", ".join(f"{one.verdict.key} ({one.verdict.description})" for one in leading)
        raise InputRefused(
            f"ambiguous: {len(leading)} series of {name} could be the SWI, {names}: name one",
            argument="series",
        )
    return leading[0]


def _owners(judged: list[Judged]) -> str:
    return several_owners(one.stack.frames[0].attributes for one in judged)


def _list_reasons(judged: list[Judged]) -> str:
    said = [
        f"series {one.verdict.key}: {one.verdict.reasons or 'could be the SWI'}"
        for one in judged[:_MOST_LISTED]
    ]
    if len(judged) > _MOST_LISTED:
        said.append(f"and {len(judged) - _MOST_LISTED} more series")
    return " | ".join(said)


def _named(judged: list[Judged], series: str, name: str) -> Judged:
    """The stack that a key or UID names."""
    found = [one for one in judged if series in (one.verdict.key, one.verdict.series_instance_uid)]
    if len(found) != 1:
        keys = ", ".join(one.verdict.key for one in found or judged)
        raise UsageError(f"{len(found)} series of {name} are named {series[:64]}: choose of {keys}")
    if not found[0].verdict.readable:
        raise InputRefused(
            f"series {found[0].verdict.key} of {name} cannot be read: {found[0].verdict.reasons}"
        )
    return found[0]


def _check_frame(chosen: Judged, frame: int | None) -> None:
    """A frame number where there is one image per position is a misunderstanding, unless 0."""
    count = repeats(chosen.stack.frames)
    if frame is not None and not 0 <= frame < count:
        raise UsageError(f"frame 0 to {count - 1} of series {chosen.verdict.key}, got {frame}")


def _notes(verdict: SeriesVerdict, notes: tuple[str, ...], owners: str) -> tuple[str, ...]:
    among = [f"named among images of {owners}"] if owners else []
    passed_over = [f"named in spite of: {objection.message}" for objection in verdict.objections]
    return (*notes, *verdict.notes, *among, *passed_over)
