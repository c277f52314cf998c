"""`Manifest`: the content of a bundle's ``bundle.json``.

A bundle may come from anywhere, so everything is checked: unknown keys, ranges, sizes, and names of
files that would leave the folder. Nothing in a bundle is ever unpickled.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from cmbnet.data_kind import DataKind
from cmbnet.lesions import LesionRules
from cmbnet.preprocess.recipe import PreprocessRecipe

FORMAT_VERSION: Literal[2] = 2
"""Version of the format. It rises when the content of a manifest changes its meaning."""

MAX_ARTEFACT_BYTES = 1 << 31
"""Largest artefact, 2 GiB: hundreds of times the largest preset. More is a mistake or an attack."""

INPUT_CONTRACT = "float32 (batch, y, x, 3) in 0..1: the slice below, the middle one, the one above"

ArtefactKind = Literal["litert", "onnx", "openvino", "keras", "savedmodel", "tensorrt"]
Precision = Literal["float32", "float16", "int8"]

MANIFEST_NAME = "bundle.json"

_PART = "[A-Za-z0-9_][A-Za-z0-9._-]*"
_INSIDE = f"^{_PART}(/{_PART})*$"
"""Pattern of a relative POSIX path of plain names, without hidden names, ``..``, drive or root."""


def _only_fields_of(kind: type) -> BeforeValidator:
    """Refuse keys that a dataclass does not know. pydantic would drop them silently."""
    known = {field.name for field in dataclasses.fields(kind)}

    def check(value: Any) -> Any:
        if isinstance(value, dict) and (unknown := sorted(set(value) - known)):
            raise ValueError(f"unknown settings {', '.join(unknown)}; known: {sorted(known)}")
        return value

    return BeforeValidator(check)


FileName = Annotated[str, Field(max_length=200, pattern=_INSIDE)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(max_length=10_000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BundleFile(_Strict):
    """A file of the bundle, with its size and hash."""

    file: FileName
    sha256: Sha256
    bytes: Annotated[int, Field(gt=0, le=MAX_ARTEFACT_BYTES)]


class Artefact(BundleFile):
    """The network in the form that one runtime reads.

    The input is float32 of `shape` (batch, y, x, 3) with values from 0 to 1. The output has
    probabilities of shape (batch, y, x, 1). A null batch is free. `companions` are further files
    that the runtime reads from the same folder.
    """

    kind: ArtefactKind
    precision: Precision
    shape: tuple[
        Annotated[int, Field(ge=1, le=1024)] | None,
        Annotated[int, Field(ge=8, le=4096)],
        Annotated[int, Field(ge=8, le=4096)],
        Literal[3],
    ]
    input: Text = INPUT_CONTRACT
    companions: tuple[BundleFile, ...] = ()
    tools: dict[str, str] = {}
    parity: dict[str, float | bool | str] = {}


Interval = tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]]


class Measured(_Strict):
    """The measured rates of an operating point, and the cohort on which they were measured.

    `intervals` holds the 95 % interval of a rate by its name. Rates of lesions have intervals by
    bootstrap over scans. Rates of patients have Wilson's intervals.
    """

    cohort: Text
    n_positive: Annotated[int, Field(ge=0)]
    n_negative: Annotated[int, Field(ge=0)]
    sensitivity: Fraction | None
    precision: Fraction | None
    false_positives_per_scan: Annotated[float, Field(ge=0)] | None
    patient_fpr: Fraction | None
    patient_fnr: Fraction | None
    intervals: dict[str, Interval] = {}


class OperatingPoint(_Strict):
    """A named set of thresholds: of voxels, of lesions, and of the scan as a whole.

    A scan is called positive if its best lesion scores at least `patient_threshold`.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")]
    pixel_threshold: Annotated[float, Field(gt=0, le=1)]
    lesion_score: Fraction
    patient_threshold: Fraction
    measured: Measured | None = None


class ChosenOn(_Strict):
    """The kind and the hashes of the scans on which operating points were chosen and measured."""

    data_kind: DataKind
    scans: tuple[Sha256, ...]


class Training(_Strict):
    """The data that the network has seen. Every report shows its statement.

    `chosen_on` is None in bundles that were made before it was recorded.
    """

    statement: Annotated[str, Field(min_length=1, max_length=2_000)]
    real_patient_data: bool
    data: tuple[Text, ...] = ()
    chosen_on: ChosenOn | None = None
    details: dict[str, str | float | int | bool] = {}


class TargetContext(_Strict):
    """Neighbour slices are those nearest to `target_mm` above and below."""

    target_mm: Annotated[float, Field(gt=0, le=50)]


class Manifest(_Strict):
    """The whole content of ``bundle.json``."""

    format: Literal[2] = FORMAT_VERSION
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,80}$")]
    notice: Text
    licence: Annotated[str, Field(min_length=1, max_length=200)]
    recipe: Annotated[PreprocessRecipe, _only_fields_of(PreprocessRecipe)]
    context: Literal["adjacent"] | TargetContext
    rules: Annotated[LesionRules, _only_fields_of(LesionRules)]
    operating_points: Annotated[tuple[OperatingPoint, ...], Field(min_length=1)]
    default_operating_point: str
    artefacts: tuple[Artefact, ...]
    training: Training
    versions: dict[str, str]

    @model_validator(mode="after")
    def _names_are_unique_and_known(self) -> Manifest:
        names = [point.name for point in self.operating_points]
        if len(set(names)) != len(names):
            raise ValueError(f"names of operating points must differ, got {names}")
        if self.default_operating_point not in names:
            raise ValueError(
                f"default_operating_point must be one of {names}, "
                f"got {self.default_operating_point!r}"
            )
        files = [f.file for a in self.artefacts for f in (a, *a.companions)]
        if len(set(files)) != len(files):
            raise ValueError(f"every file must be listed once, got {sorted(files)}")
        if MANIFEST_NAME in files:
            raise ValueError(f"{MANIFEST_NAME} cannot be an artefact")
        return self
