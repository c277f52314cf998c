"""`read_answer` reads what ``cmbnet predict`` found from its folder, without the network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cmbnet.backends import BackendInfo
from cmbnet.errors import InputRefused, UnreadableFile, UsageError, printable
from cmbnet.io import read_nifti
from cmbnet.io.digest import first_with
from cmbnet.io.scan import is_dicom, nifti_stem, read_scan
from cmbnet.lesions import FoundLesions
from cmbnet.predict import Answer, InputRecord, Request
from cmbnet.preprocess import QualityReport, prepare
from cmbnet.preprocess.measures import QualityMeasures
from cmbnet.report.result import Result, read_result, recorded
from cmbnet.report.write import LESIONS, RESULT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cmbnet.bundle import Bundle


def is_finished(folder: Path) -> bool:
    """Return whether a path is the folder of a finished case of ``cmbnet predict``."""
    return (folder / RESULT).is_file()


def read_answer(folder: Path, bundle: Bundle, *, scans: Path | None) -> Answer:
    """Read the folder of a finished case, and its scan, which is prepared anew.

    The folder has a ``result.json``, which does not say where its scan lies, because paths may name
    patients: `scans` is the folder of the scan. The bundle must have found the lesions.

    Raises:
        UnreadableFile: If a file is missing or no result of this version.
        InputRefused: If another model or version made it, or the scan has moved or changed.
        UsageError: If `scans` is not given.
    """
    result = read_result(folder / RESULT)
    made = result.request
    request = Request(**made.model_dump(include=set(Request.model_fields)))
    record = InputRecord(
        file=result.input.file if nifti_stem(result.input.file) is not None else "",
        sha256=made.input_sha256,
        brain_mask_sha256=made.brain_mask_sha256,
        phase_sha256=made.phase_sha256,
    )
    if made.bundle_sha256 != bundle.sha256:
        raise InputRefused(
            f"results of the model {bundle.manifest.name} are required, got those of another "
            f"({result.model.bundle}, sha256 {made.bundle_sha256[:12]}) in {folder}: "
            "give that model, or run cmbnet predict again",
            argument="model",
        )
    if made != recorded(request, record, bundle):
        raise InputRefused(
            f"results of this version of cmbnet are required, got those of another in {folder}: "
            "run cmbnet predict again"
        )
    file = _scan_of(result, folder, scans)
    scan = read_scan(file, frame=made.frame, series=made.series, phase_series="none")
    labels = read_nifti(folder / LESIONS).data.astype(np.uint16)
    if labels.shape != scan.volume.shape:
        raise UnreadableFile(f"{folder / LESIONS} is not on the grid of its scan")
    quality, model = result.quality, result.model
    measures = QualityMeasures(**quality.measures)  # type: ignore[arg-type]
    return Answer(
        volume=scan.volume,
        request=request,
        prepared=prepare(scan.volume, bundle.recipe),
        quality=QualityReport(quality.findings, quality.analysable, measures),
        forced=quality.forced,
        found=FoundLesions(
            lesions=result.lesions,
            excluded=result.excluded,
            stages=result.stages,
            highest_probability=result.scan.highest_probability,
            labels=labels,
        ),
        operating_point=bundle.operating_point(model.operating_point),
        bundle=bundle,
        backend=BackendInfo(
            model.backend, model.precision, model.runtime, model.threads, model.backend_reason
        ),
        record=replace(record, dicom=scan.dicom),
    )


def _scan_of(result: Result, folder: Path, scans: Path | None) -> Path:
    if scans is None:
        raise UsageError(
            f"the folder of its scan is required to compare the result in {folder}: a result does "
            "not say where its scan lies",
            argument="scans",
        )
    name = result.input.file
    found: Iterable[Path]
    if nifti_stem(name) is None:
        found = [path for path in (*sorted(scans.iterdir()), scans) if is_dicom(path)]
        name = "a DICOM input"
    else:
        found = sorted(path for path in scans.rglob("*") if printable(path.name) == name)
    same = first_with(found, result.request.input_sha256)
    if same is not None:
        return same
    why = "it has changed since" if found else "it is not there"
    raise InputRefused(f"the scan of {folder} ({name}) is required in {scans}, but {why}")
