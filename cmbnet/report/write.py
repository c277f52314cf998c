"""Write the files of a case. ``result.json`` comes last, so a case that has it is finished."""

from __future__ import annotations

import datetime
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from cmbnet.errors import InputRefused, UsageError
from cmbnet.io import write_bytes_atomically, write_nifti, write_text_atomically
from cmbnet.preprocess import Finding
from cmbnet.report.html import report_html
from cmbnet.report.pictures import Painter
from cmbnet.report.result import Result, build_result
from cmbnet.report.tables import lesions_csv

if TYPE_CHECKING:
    from cmbnet.io.dicom import DicomSource
    from cmbnet.predict import InputRecord, Prediction, Refusal
    from cmbnet.report.dicom import DicomResult

MASK: Final = "mask.nii.gz"
LESIONS: Final = "lesions.nii.gz"
PROBABILITY: Final = "probability.nii.gz"
TABLE: Final = "lesions.csv"
RESULT: Final = "result.json"
REPORT: Final = "report.html"
THUMBNAIL: Final = "thumbnail.jpg"
SEG: Final = "seg.dcm"
SR: Final = "sr.dcm"
KEY_IMAGE: Final = "key-{:02d}.dcm"
PDF: Final = "pdf.dcm"

NO_OBJECTS: Final = "no_dicom_objects"
"""Code of the finding that DICOM objects could not be written."""


def write_prediction(
    prediction: Prediction,
    out_dir: str | Path,
    *,
    case: str | None = None,
    created: datetime.datetime | None = None,
) -> Result:
    """Write mask, labels, table, result and report of a case.

    The request of the prediction says whether to write the probability map, and which DICOM
    objects: ``seg.dcm`` and ``key-01.dcm``... if there are lesions, ``sr.dcm`` and ``pdf.dcm``. A
    forced prediction gets only the SR. If the headers of the series allow no DICOM objects, the
    rest is written, and a finding says so (`NO_OBJECTS`).

    Args:
        prediction: The prediction.
        out_dir: Folder of the case. It is made if it is missing. Files of an earlier run are
            removed.
        case: Name of the case. The default is the name of the folder.
        created: Content date and time of the DICOM objects, which are part of their UIDs. The
            default is now.

    Returns:
        The content of ``result.json``.

    Raises:
        OSError: If the file system refuses. Then ``result.json`` is missing.
        UsageError: If DICOM objects are wanted and the scan was not DICOM.
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
    """Write the files of a case, with these DICOM objects.

    Raises:
        InputRefused: If the headers of the series do not allow the objects. Then the case is not
            finished.
    """
    maps = [MASK, LESIONS, *([PROBABILITY] if prediction.request.save_probability else [])]
    lesions = prediction.found.lesions
    files = (*maps, TABLE, RESULT, REPORT, *([THUMBNAIL] if lesions else []), *objects)
    result = build_result(prediction, case=case, files=files)
    clear_case(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # Compression and the drawing of pictures leave the interpreter free for one another.
    with ThreadPoolExecutor(2) as pool:
        writing = [pool.submit(_write_map, prediction, folder / name) for name in maps]
        painter = Painter(prediction)
        page = report_html(painter, result)
        for one in writing:
            one.result()
    write_text_atomically(folder / TABLE, lesions_csv((*lesions, *prediction.found.excluded)))
    write_text_atomically(folder / REPORT, page)
    if lesions:
        write_bytes_atomically(folder / THUMBNAIL, painter.thumbnail(lesions[0]))
    if objects:
        write_objects(prediction, folder, result=result, created=created or _now())
    write_text_atomically(folder / RESULT, result.model_dump_json(indent=2) + "\n")
    return result


def _warned(prediction: Prediction, reason: str) -> Prediction:
    """Add the finding that no DICOM object was written."""
    warning = Finding(NO_OBJECTS, "warning", f"no DICOM object was written: {reason}")
    found = prediction.quality.findings
    refusals = sum(finding.severity == "refuse" for finding in found)
    findings = (*found[:refusals], warning, *found[refusals:])
    return replace(prediction, quality=replace(prediction.quality, findings=findings))


def write_refusal(
    refusal: Refusal, out_dir: str | Path, *, created: datetime.datetime | None = None
) -> Path:
    """Write the SR that says that a DICOM series is not analysable, and return its path.

    Files of an earlier run are removed. `created` is part of the UID; the default is now.

    Raises:
        OSError: If the file system refuses.
        UsageError: If the scan was not DICOM.
        InputRefused: If the headers of the series do not allow an SR.
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
    """Return the local time, because scanners state theirs in local time, too."""
    return datetime.datetime.now().replace(microsecond=0)


def clear_case(folder: Path) -> None:
    """Remove the files of an earlier run, and the folder if it is then empty.

    ``result.json`` is removed first, because without it the case does not count as finished.

    Raises:
        OSError: If the file system refuses.
    """
    if not folder.is_dir():
        return
    for stale in (RESULT, MASK, LESIONS, PROBABILITY, TABLE, REPORT, THUMBNAIL, SEG, SR, PDF):
        (folder / stale).unlink(missing_ok=True)
    for key_image in folder.glob("key-[0-9][0-9].dcm"):
        key_image.unlink()
    with suppress(OSError):  # it holds other files
        folder.rmdir()


def _objects(prediction: Prediction) -> list[str]:
    """Return the names of the DICOM objects that will be written."""
    wanted = prediction.request.dicom
    if not wanted:
        return []
    from cmbnet.report.dicom import MOST_KEY_IMAGES

    _dicom_source(prediction.record)  # fails before anything is written
    found, trusted = prediction.found, not prediction.forced
    pictured = min(len(found.lesions), MOST_KEY_IMAGES)
    segments = (found.lesions or found.calcifications) and trusted
    return [
        *([SEG] if "seg" in wanted and segments else []),
        *([SR] if "sr" in wanted else []),
        *(KEY_IMAGE.format(n + 1) for n in range(pictured) if "key-images" in wanted and trusted),
        *([PDF] if "pdf" in wanted and trusted else []),
    ]


def write_objects(
    prediction: Prediction,
    folder: Path,
    *,
    result: Result | None = None,
    content: DicomResult | None = None,
    created: datetime.datetime | None = None,
) -> None:
    """Write the DICOM objects that the request of a prediction names, and nothing else.

    Args:
        prediction: A prediction on a DICOM series.
        folder: Folder to write to.
        result: Its ``result.json``, for the PDF. It is made if it is not given.
        content: Content of SEG and SR. The default is `result_of` the prediction.
        created: Content date and time, which are part of the UIDs. The default is that of the
            images, so every run gives the same objects.

    Raises:
        UsageError: If the scan was not DICOM.
        InputRefused: If the headers of the series do not allow the objects.
    """
    from cmbnet.report.dicom import draw_key_pictures, result_of, write_dicom_results

    wanted, trusted = prediction.request.dicom, not prediction.forced
    pictured = prediction.found.lesions if "key-images" in wanted and trusted else ()
    write_dicom_results(
        content or result_of(prediction),
        _dicom_source(prediction.record),
        folder,
        seg="seg" in wanted,
        report="sr" in wanted,
        key_pictures=draw_key_pictures(Painter(prediction), pictured) if pictured else (),
        pdf=_pdf(prediction, result) if "pdf" in wanted and trusted else None,
        created=created,
    )


def write_finished(prediction: Prediction, folder: Path) -> None:
    """Write what `cmbnet.report.finished.read_answer` needs for a comparison, and nothing else."""
    _write_map(prediction, folder / LESIONS)
    result = build_result(prediction, case="DICOM study", files=(LESIONS, RESULT))
    write_text_atomically(folder / RESULT, result.model_dump_json() + "\n")


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
