"""`Result`: the content of ``result.json``."""

from __future__ import annotations

import platform
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import scipy
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cmbnet import RESEARCH_USE_ONLY, __version__
from cmbnet.bundle import Bundle, Measured
from cmbnet.errors import UnreadableFile
from cmbnet.io.digest import code_sha256
from cmbnet.lesions import Lesion, LesionRules
from cmbnet.predict import InputRecord, Prediction, Request
from cmbnet.preprocess import Finding
from cmbnet.regions.counts import RegionCounts, count_regions

_ANSWERING = (
    "backends", "bundle/bundle", "bundle/manifest", "io", "lesions", "pages", "phase", "predict",
    "preprocess", "regions", "report", "slices", "templates", "threads", "volume",
)  # fmt: skip
"""The code that determines a result and its files."""

MAX_EXCLUDED = 200
"""Largest number of listed excluded candidates, by highest score. All are counted."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RecordedRequest(Request):
    """The request of a run, and the hashes of its input. Equal requests give equal results."""

    input_sha256: str
    bundle_sha256: str
    cmbnet: str
    code_sha256: str = ""
    brain_mask_sha256: str | None = None
    phase_sha256: str | None = None


class Input(_Strict):
    """The scan. Shape, spacing and affine are in the file's axis order (i, j, k)."""

    file: str
    shape_ijk: tuple[int, int, int]
    spacing_ijk_mm: tuple[float, float, float]
    affine_ijk_to_ras_mm: tuple[tuple[float, ...], ...]


class ModelRecord(_Strict):
    """The bundle, the thresholds and the runtime.

    The weights of a learned score are hundreds of numbers. The bundle holds them, not the result.
    """

    bundle: str
    licence: str
    training: str
    real_patient_data: bool
    operating_point: str
    pixel_threshold: float
    lesion_score: float
    patient_threshold: float
    measured: Measured | None
    rules: LesionRules
    learned_score: bool
    backend: str
    precision: str
    runtime: str
    threads: int
    backend_reason: str


class Quality(_Strict):
    """The judgement of the quality gate. `forced` means that it refused and was overruled."""

    analysable: bool
    forced: bool
    findings: tuple[Finding, ...]
    measures: dict[str, float | tuple[float, ...]]


class ScanResult(_Strict):
    """The result for the scan as a whole."""

    positive: bool
    score: float
    lesions: int
    small: int
    large: int
    lesion_volume_mm3: float
    highest_probability: float
    slices_analysed: int


class Result(_Strict):
    """The whole content of ``result.json``."""

    format: Literal[1] = 1
    notice: str
    case: str
    request: RecordedRequest
    input: Input
    model: ModelRecord
    quality: Quality
    scan: ScanResult
    stages: dict[str, int]
    lesions: tuple[Lesion, ...]
    regions: RegionCounts
    excluded: Annotated[tuple[Lesion, ...], Field(max_length=MAX_EXCLUDED)]
    excluded_total: int
    files: tuple[str, ...]
    versions: dict[str, str]
    timings_s: dict[str, float]


def read_result(file: Path) -> Result:
    """Read a ``result.json``.

    Raises:
        UnreadableFile: If it is missing, or another version wrote it.
    """
    try:
        return Result.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise UnreadableFile(
            f"{file} cannot be read by this version: run cmbnet predict again"
        ) from error


def recorded(request: Request, record: InputRecord, bundle: Bundle) -> RecordedRequest:
    """Add the hashes of input and bundle to a request."""
    return RecordedRequest(
        **request.model_dump(),
        input_sha256=record.sha256,
        bundle_sha256=bundle.sha256,
        cmbnet=__version__,
        code_sha256=code_sha256(*_ANSWERING),
        brain_mask_sha256=record.brain_mask_sha256,
        phase_sha256=record.phase_sha256,
    )


def build_result(prediction: Prediction, *, case: str, files: tuple[str, ...] = ()) -> Result:
    """Gather the result of a prediction."""
    found = prediction.found
    return Result(
        notice=RESEARCH_USE_ONLY,
        case=case,
        request=recorded(prediction.request, prediction.record, prediction.bundle),
        input=_input(prediction),
        model=_model(prediction),
        quality=_quality(prediction),
        scan=_scan(prediction),
        stages=found.stages,
        lesions=found.lesions,
        regions=count_regions(
            [lesion.place for lesion in found.lesions],
            prediction.locator.failed if prediction.locator else "",
        ),
        excluded=found.excluded[:MAX_EXCLUDED],
        excluded_total=len(found.excluded),
        files=files,
        versions={
            "cmbnet": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
        },
        timings_s=prediction.timings_s,
    )


def _input(prediction: Prediction) -> Input:
    volume = prediction.volume
    k, j, i = volume.shape
    k_mm, j_mm, i_mm = volume.spacing_mm
    affine = volume.affine[:, [2, 1, 0, 3]]
    return Input(
        file=prediction.record.file or volume.source,
        shape_ijk=(i, j, k),
        spacing_ijk_mm=(i_mm, j_mm, k_mm),
        affine_ijk_to_ras_mm=tuple(tuple(row) for row in affine.tolist()),
    )


def _model(prediction: Prediction) -> ModelRecord:
    manifest, point, backend = (
        prediction.bundle.manifest,
        prediction.operating_point,
        prediction.backend,
    )
    return ModelRecord(
        bundle=manifest.name,
        licence=manifest.licence,
        training=manifest.training.statement,
        real_patient_data=manifest.training.real_patient_data,
        operating_point=point.name,
        pixel_threshold=point.pixel_threshold,
        lesion_score=point.lesion_score,
        patient_threshold=point.patient_threshold,
        measured=point.measured,
        rules=replace(prediction.rules, evidence=None),
        learned_score=prediction.rules.evidence is not None,
        backend=backend.name,
        precision=backend.precision,
        runtime=backend.runtime,
        threads=backend.threads,
        backend_reason=backend.reason,
    )


def _quality(prediction: Prediction) -> Quality:
    report = prediction.quality
    return Quality(
        analysable=report.analysable,
        forced=prediction.forced,
        findings=report.findings,
        measures=asdict(report.measures),
    )


def _scan(prediction: Prediction) -> ScanResult:
    lesions = prediction.found.lesions
    small = sum(lesion.size_class == "small" for lesion in lesions)
    return ScanResult(
        positive=prediction.positive,
        score=prediction.score,
        lesions=len(lesions),
        small=small,
        large=len(lesions) - small,
        lesion_volume_mm3=sum(lesion.volume_mm3 for lesion in lesions),
        highest_probability=prediction.found.highest_probability,
        slices_analysed=prediction.slices,
    )
