"""Write the files of a case. ``result.json`` comes last: where it is, the case is finished."""

from __future__ import annotations

import datetime
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from cmbnet.errors import InputRefused, UsageError
from cmbnet.io import write_nifti, write_text_atomically
from cmbnet.preprocess import Finding
from cmbnet.report.html import report_html
from cmbnet.report.pictures import Painter
from cmbnet.report.result import Result, build_result
from cmbnet.report.tables import lesions_csv

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from cmbnet.io.dicom import DicomSource
    from cmbnet.predict import InputRecord, Prediction, Refusal

MASK: Final = "mask.nii.gz"
LESIONS: Final = "lesions.nii.gz"
PROBABILITY: Final = "probability.nii.gz"
TABLE: Final = "lesions.csv"
RESULT: Final = "result.json"
REPORT: Final = "report.html"
SEG: Final = "seg.dcm"
SR: Final = "sr.dcm"
KEY_IMAGE: Final = "key-{:02d}.dcm"
PDF: Final = "pdf.dcm"

NO_OBJECTS: Final = "no_dicom_objects"
"""Code of the finding that DICOM objects were asked for and could not be written."""


def write_prediction(
    prediction: Prediction,
    out_dir: str | Path,
    *,
    case: str | None = None,
    created: datetime.datetime | None = None,
) -> Result:
    """Write mask, labels, table, result and report of a case.

    Args:
        prediction: What was found. Its request says whether to write the probability map, too,
            and which objects of a DICOM input: ``seg.dcm`` and ``key-01.dcm``... where there are
            lesions, ``sr.dcm``, ``pdf.dcm``. Of a forced prediction only the SR.
        out_dir: Folder of the case; made if missing, files of an earlier run are removed.
        case: Name of the case; by default that of the folder.
        created: Content date and time of the DICOM objects, part of their UIDs; by default now.

    Returns:
        What ``result.json`` holds.

    Raises:
        OSError: If the file system refuses; ``result.json`` is then missing.
        UsageError: If DICOM is asked for and the scan was none. Where the headers of its series
            allow no DICOM objects, the rest is written and a finding says so (`NO_OBJECTS`).
    """
    folder = Path(out_dir)
    name = folder.name if case is None else case
    try:
        return _write(prediction, folder, name, objects=_objects(prediction), created=created)
    except InputRefused as refused:
        return _write(_warned(prediction, str(refused)), folder, name, objects=[], created=created)


def _write(
    prediction: Prediction,
    folder: Path,
    case: str,
    *,
    objects: list[str],
    created: datetime.datetime | None,
) -> Result:
    """Write the files of a case, with these DICOM objects or none.

    Raises:
        InputRefused: If the headers of the series do not allow to write the objects; the case is
            not finished then.
    """
    maps = [MASK, LESIONS, *([PROBABILITY] if prediction.request.save_probability else [])]
    result = build_result(
        prediction,
        case=case,
        files=(*maps, TABLE, RESULT, REPORT, *objects),
    )
    clear_case(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # Compression and the drawing of pictures leave the interpreter free for one another.
    with ThreadPoolExecutor(2) as pool:
        writing = [pool.submit(_write_map, prediction, folder / name) for name in maps]
        page = report_html(prediction, result)
        for one in writing:
            one.result()
    write_text_atomically(
        folder / TABLE, lesions_csv((*prediction.found.lesions, *prediction.found.excluded))
    )
    write_text_atomically(folder / REPORT, page)
    if objects:
        write_objects(prediction, folder, result=result, created=created or _now())
    write_text_atomically(folder / RESULT, result.model_dump_json(indent=2) + "\n")
    return result


def _warned(prediction: Prediction, reason: str) -> Prediction:
    """The same with the remark that no DICOM object was written."""
    warning = Finding(NO_OBJECTS, "warning", f"no DICOM object was written: {reason}")
    found = prediction.quality.findings
    refusals = sum(finding.severity == "refuse" for finding in found)
    findings = (*found[:refusals], warning, *found[refusals:])
    return replace(prediction, quality=replace(prediction.quality, findings=findings))


def write_refusal(
    refusal: Refusal, out_dir: str | Path, *, created: datetime.datetime | None = None
) -> Path:
    """Write the SR that says of a DICOM series that it is not analysable.

    Args:
        refusal: Of `cmbnet.predict.NotAnalysable`.
        out_dir: Folder of the case; files of an earlier run in it are removed.
        created: Content date and time of the report, part of its UID; by default now.

    Returns:
        The file.

    Raises:
        OSError: If the file system refuses.
        UsageError: If the scan was no DICOM.
        InputRefused: If the headers of the series do not allow to write it.
    """
    from cmbnet.report.dicom import result_of_refusal, write_dicom_results

    folder = Path(out_dir)
    source = _dicom_source(refusal.record)
    clear_case(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_dicom_results(
        result_of_refusal(refusal), source, folder, seg=False, created=created or _now()
    )
    return folder / SR


def _now() -> datetime.datetime:
    """In local time, as scanners state theirs."""
    return datetime.datetime.now().replace(microsecond=0)


def clear_case(folder: Path) -> None:
    """Remove the files of an earlier run, and no others; a folder that is then empty, too.

    ``result.json`` goes first: without it nothing else counts as finished.

    Raises:
        OSError: If the file system refuses.
    """
    if not folder.is_dir():
        return
    for stale in (RESULT, MASK, LESIONS, PROBABILITY, TABLE, REPORT, SEG, SR, PDF):
        (folder / stale).unlink(missing_ok=True)
    for key_image in folder.glob("key-[0-9][0-9].dcm"):
        key_image.unlink()
    with suppress(OSError):  # it holds other files
        folder.rmdir()


def _objects(prediction: Prediction) -> list[str]:
    """Names of the DICOM objects that will be written."""
    wanted = prediction.request.dicom
    if not wanted:
        return []
    from cmbnet.report.dicom import MOST_KEY_IMAGES

    _dicom_source(prediction.record)  # fails before anything is written
    pictured = min(len(prediction.found.lesions), MOST_KEY_IMAGES)
    trusted = not prediction.forced
    return [
        *([SEG] if "seg" in wanted and pictured and trusted else []),
        *([SR] if "sr" in wanted else []),
        *(KEY_IMAGE.format(n + 1) for n in range(pictured) if "key-images" in wanted and trusted),
        *([PDF] if "pdf" in wanted and trusted else []),
    ]


def write_objects(
    prediction: Prediction,
    folder: Path,
    *,
    result: Result | None = None,
    previous: Dataset | None = None,
    created: datetime.datetime | None = None,
) -> None:
    """Write the DICOM objects of a prediction, and nothing else.

    Args:
        prediction: What was found on a DICOM series, and which objects are asked for.
        folder: Where to write.
        result: The same as it stands in ``result.json``, for the PDF; by default it is made.
        previous: The report that the SR supersedes.
        created: Content date and time, part of the UIDs; by default those of the images, so that
            every run gives the same objects.

    Raises:
        UsageError: The scan was no DICOM.
        InputRefused: The headers of the series do not allow to write them.
    """
    from cmbnet.report.dicom import draw_key_pictures, result_of, write_dicom_results

    wanted, trusted = prediction.request.dicom, not prediction.forced
    pictured = prediction.found.lesions if "key-images" in wanted and trusted else ()
    write_dicom_results(
        replace(result_of(prediction), previous=previous),
        _dicom_source(prediction.record),
        folder,
        seg="seg" in wanted,
        report="sr" in wanted,
        key_pictures=draw_key_pictures(Painter(prediction), pictured) if pictured else (),
        pdf=_pdf(prediction, result) if "pdf" in wanted and trusted else None,
        created=created,
    )


def _pdf(prediction: Prediction, result: Result | None) -> bytes:
    from cmbnet.report.pdf import report_pdf

    if result is None:
        result = build_result(prediction, case="DICOM study")
    return report_pdf(prediction, result)


def _dicom_source(record: InputRecord) -> DicomSource:
    if record.dicom is None:
        raise UsageError(
            f"a DICOM series is required to write DICOM objects, got {record.file or 'an array'}"
        )
    return record.dicom


def _write_map(prediction: Prediction, file: Path) -> None:
    grid = prediction.volume
    if file.name == MASK:
        write_nifti(grid.with_data(prediction.mask), file, dtype=np.uint8)
    elif file.name == LESIONS:
        write_nifti(grid.with_data(prediction.found.labels), file, dtype=np.uint16)
    else:
        write_nifti(prediction.probability, file, dtype=np.float32)
