"""The origin of results: the kind of data, the cases, and the model that made the predictions.

A number says nothing without its origin. Every ``results.json`` records it, and the model card
refuses results of another bundle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cmbnet.data_kind import KINDS, DataKind
from cmbnet.errors import InputRefused, UnreadableFile
from cmbnet.evaluation.cohort.files import CaseFiles

NOT_STATED = "scans of a kind that was not stated"
THRESHOLDS = ("pixel_threshold", "lesion_score", "patient_threshold")
"""Names of the thresholds of an operating point."""


@dataclass(frozen=True, slots=True)
class ModelUsed:
    """The model that made the predictions, from the ``result.json`` files of ``cmbnet predict``."""

    bundle: str  # Name of the bundle
    bundle_sha256: str  # Its hash
    # Name of the operating point. None if probability maps were thresholded anew; the thresholds
    # are then None, too.
    operating_point: str | None = None
    pixel_threshold: float | None = None  # Threshold of voxels
    lesion_score: float | None = None  # Threshold of lesions
    patient_threshold: float | None = None  # Threshold of patients

    def __str__(self) -> str:
        point = self.operating_point or "probability maps thresholded anew"
        return f"{self.bundle}, sha256 {self.bundle_sha256[:12]}, {point}"


@dataclass(frozen=True, slots=True)
class CaseOrigin:
    """A case, its patient, and the hash of its scan (empty without a ``result.json``)."""

    case: str
    patient: str
    input_sha256: str


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of results."""

    kind: DataKind | None  # Kind of the scans. None if it was not stated.
    cases: tuple[CaseOrigin, ...]  # The scored cases
    model: ModelUsed | None  # The model of the predictions. None if it is not recorded.
    other: ModelUsed | None = None  # The model that they are compared with

    @property
    def words(self) -> str:
        """The kind of the scans in words."""
        return NOT_STATED if self.kind is None else KINDS[self.kind]


def origin_of(
    files: Sequence[CaseFiles], kind: DataKind | None, other: Sequence[CaseFiles] = ()
) -> Origin:
    """Gather the origin of results.

    Raises:
        UnreadableFile: If a ``result.json`` does not come from ``cmbnet predict``.
        InputRefused: If the predictions come from several bundles or operating points.
    """
    answers = {one.name: _read(one) for one in files}
    cases = tuple(
        CaseOrigin(one.name, one.patient or one.name, answers[one.name][1]) for one in files
    )
    others = {one.name: _read(one) for one in other}
    return Origin(kind, cases, _one_model(files, answers), _one_model(other, others))


_Answer = tuple[ModelUsed | None, str]
"""What made a prediction, and the hash of the scan."""


def _read(files: CaseFiles) -> _Answer:
    if files.result is None:
        return None, ""
    try:
        document = json.loads(files.result.read_text(encoding="utf-8"))
        request, model = document["request"], document["model"]
        used = ModelUsed(str(model["bundle"]), str(request["bundle_sha256"]))
        if files.predicted is not None:
            pixel, lesion, patient = (float(model[name]) for name in THRESHOLDS)
            point = str(model["operating_point"])
            used = ModelUsed(used.bundle, used.bundle_sha256, point, pixel, lesion, patient)
        return used, str(request["input_sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableFile(
            f"a result.json of cmbnet predict is required, got {files.result}: {error!r}"
        ) from error


def _one_model(files: Sequence[CaseFiles], answers: Mapping[str, _Answer]) -> ModelUsed | None:
    """Return the one model of all predictions, or None if a prediction does not record it."""
    found = {answers[one.name][0]: one.name for one in files if not one.missing}
    known = [model for model in found if model is not None]
    if len(known) > 1:
        raise InputRefused(
            "predictions of one bundle at one operating point are required, got "
            + " and ".join(f"{model} (case {found[model]})" for model in known[:2])
            + ": score them one by one"
        )
    return known[0] if known and None not in found else None
