"""Write SEG and SR of each time point. A lesion keeps its tracking UID and name over time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cmbnet.errors import UsageError
from cmbnet.report.dicom import DicomResult, TimePoint, result_of, tracking_of, write_dicom_results

if TYPE_CHECKING:
    from cmbnet.followup.comparison import Compared
    from cmbnet.io.dicom import DicomSource


def write_objects(compared: Compared, folder: Path, *, seg: bool, report: bool) -> None:
    """Write ``scan-1/seg.dcm``, ``scan-1/sr.dcm`` and so on.

    The tracking UID of a lesion is that of the scan on which it was seen first, so an SR that
    ``cmbnet predict`` wrote for that scan with the same settings has the same.

    Args:
        compared: What was found.
        folder: Where to write to.
        seg: Whether to write segmentations. A scan without lesions has none.
        report: Whether to write structured reports.

    Raises:
        UsageError: If a scan was not DICOM.
        InputRefused: If the headers of a series do not allow the objects.
    """
    contents, sources = contents_of(compared), _sources(compared)
    for number, (content, source) in enumerate(zip(contents, sources, strict=True), start=1):
        write_dicom_results(content, source, folder / f"scan-{number}", seg=seg, report=report)


def contents_of(compared: Compared) -> list[DicomResult]:
    """Make the content of SEG and SR of each scan, with what became of its lesions.

    Raises:
        UsageError: If a scan was not DICOM.
    """
    sources = _sources(compared)
    results = [result_of(answer) for answer in compared.answers]
    tracking = _tracking(compared, results, sources)
    return [
        replace(
            result, tracking=tracking[number], time_point=_time_point(compared, number, sources)
        )
        for number, result in enumerate(results)
    ]


def _sources(compared: Compared) -> list[DicomSource]:
    return [_source(answer.record.dicom, answer.name) for answer in compared.answers]


def _source(source: DicomSource | None, name: str) -> DicomSource:
    if source is None:
        raise UsageError(f"a DICOM series is required to write DICOM objects, got {name}")
    return source


def _tracking(
    compared: Compared, results: list[DicomResult], sources: list[DicomSource]
) -> list[dict[int, tuple[str, str]]]:
    """Return UID and name of each lesion by its id, for each scan."""
    lesions = [{one.id: one for one in answer.found.lesions} for answer in compared.answers]
    tracking: list[dict[int, tuple[str, str]]] = [{} for _ in results]
    for track in compared.comparison.tracks:
        seen = [(time, number) for time, number in enumerate(track.lesions) if number is not None]
        first, number = seen[0]
        uid, _ = tracking_of(results[first], sources[first], lesions[first][number])
        for time, own in seen:
            tracking[time][own] = (uid, f"Lesion {track.number}")
    return tracking


def _time_point(compared: Compared, number: int, sources: list[DicomSource]) -> TimePoint:
    comparison = compared.comparison
    order, identifier = number + 1, sources[number].study_instance_uid
    if number == 0:
        band = comparison.follow_ups[0].aria_h.baseline_band
        remark = f"The first of {len(sources)} scans that were compared"
        return TimePoint(order, identifier, {}, baseline_band=band, remarks=(remark,))
    follow_up = comparison.follow_ups[number - 1]
    grade = follow_up.aria_h
    remarks = [
        f"Compared with the scan of study {sources[0].study_instance_uid}: {follow_up.words}",
        f"ARIA-H by microhaemorrhages: {grade.category or grade.refused}; {grade.note}",
    ]
    if not follow_up.sizes_comparable:
        remarks.append("Sizes are not compared: voxel size, field strength or echo time differ")
    names = {track.lesions[0]: f"Lesion {track.number}" for track in comparison.tracks}
    gone = [
        f"{', '.join(names[one] for one in change.before)} {change.category}"
        for change in follow_up.changes
        if not change.after
    ]
    return TimePoint(
        order,
        identifier,
        {one: change.category for change in follow_up.changes for one in change.after},
        new=grade.new,
        category=grade.category,
        remarks=(*remarks, *gone),
    )
