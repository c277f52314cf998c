"""Write the files of a case. ``result.json`` comes last: where it is, the case is finished."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from cmbnet.io import write_nifti, write_text_atomically
from cmbnet.report.html import report_html
from cmbnet.report.result import Request, Result, build_result, request_of
from cmbnet.report.tables import lesions_csv

if TYPE_CHECKING:
    from cmbnet.predict import Prediction

MASK: Final = "mask.nii.gz"
LESIONS: Final = "lesions.nii.gz"
PROBABILITY: Final = "probability.nii.gz"
TABLE: Final = "lesions.csv"
RESULT: Final = "result.json"
REPORT: Final = "report.html"


def write_prediction(
    prediction: Prediction,
    out_dir: str | Path,
    *,
    save_probability: bool = False,
    case: str | None = None,
    request: Request | None = None,
) -> Result:
    """Write mask, labels, table, result and report of a case.

    Args:
        prediction: What was found.
        out_dir: Folder of the case; made if missing, files of an earlier run are replaced.
        save_probability: Whether to write the probability map, too.
        case: Name of the case; by default that of the folder.
        request: What was asked for, stored in the result; by default made of the prediction.

    Returns:
        What ``result.json`` holds.

    Raises:
        OSError: If the file system refuses; ``result.json`` is then missing.
    """
    folder = Path(out_dir)
    asked = request or request_of(
        prediction, backend=prediction.backend.name, save_probability=save_probability
    )
    maps = [MASK, LESIONS, *([PROBABILITY] if save_probability else [])]
    result = build_result(
        prediction,
        case=folder.name if case is None else case,
        request=asked,
        files=(*maps, TABLE, RESULT, REPORT),
    )
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (RESULT, PROBABILITY):
        (folder / stale).unlink(missing_ok=True)
    # Compression and the drawing of pictures leave the interpreter free for one another.
    with ThreadPoolExecutor(2) as pool:
        writing = [pool.submit(_write_map, prediction, folder / name) for name in maps]
        page = report_html(prediction, result)
        for one in writing:
            one.result()
    write_text_atomically(
        folder / TABLE, lesions_csv((*prediction.finding.lesions, *prediction.finding.excluded))
    )
    write_text_atomically(folder / REPORT, page)
    write_text_atomically(folder / RESULT, result.model_dump_json(indent=2) + "\n")
    return result


def _write_map(prediction: Prediction, file: Path) -> None:
    grid = prediction.volume
    if file.name == MASK:
        write_nifti(grid.with_data(prediction.mask), file, dtype=np.uint8)
    elif file.name == LESIONS:
        write_nifti(grid.with_data(prediction.finding.labels), file, dtype=np.uint16)
    else:
        write_nifti(prediction.probability, file, dtype=np.float32)
