"""`DataSpec`: the layout of a labelled data set on disk, as read from ``data_specs/*.yaml``.

Paths are templates relative to the root of the data set; see `cmbnet.training.data.specs.template`.
``{name}`` stands for a part of a file name, and ``{name?}`` for a part that may be empty.
"""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic
from pydantic import Field, model_validator

from cmbnet.io.settings import FrozenModel
from cmbnet.training.data.specs.template import check_template, fields_of

Template = Annotated[str, pydantic.AfterValidator(check_template)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
Millimetres = Annotated[float, Field(gt=0.0, le=30.0)]
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
"""Pattern of names that also name folders."""
Name = Annotated[str, Field(pattern=f"^{NAME}$")]

FILE_FIELDS = frozenset({"file", "stem"})
"""Fields that every image has: its file name, with and without ``.nii`` or ``.nii.gz``."""


class Citation(FrozenModel):
    """A publication to cite."""

    authors: str
    title: str = ""
    published: str
    """Journal or server, and year."""
    doi: str | None = None


class Lookup(FrozenModel):
    """A value of a case from a table: ``column`` of the row whose ``row`` is ``equals``."""

    table: Template
    """CSV, TSV or XLSX file with one line of headings. Its name has no fields."""
    row: str
    equals: str = "{case}"
    column: str
    optional: bool = False
    """Whether the table may be missing."""


class RegionTarget(FrozenModel):
    """Settings that make a target from a centre; see `cmbnet.training.data.specs.region`."""

    max_diameter_mm: Millimetres = 10.0
    """Largest diameter of a region. A longer one ran into a vein, and the place is ignored."""
    snap_mm: Annotated[float, Field(ge=0.0, le=5.0)] = 1.5
    """Distance from the stated centre within which the darkest voxel is searched."""
    depth: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    """Level of the border between the surroundings (0) and the darkest voxel (1)."""
    min_contrast: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.15
    """Smallest contrast of the darkest voxel, as a share of the surroundings."""
    shell_mm: Annotated[float, Field(ge=0.0, le=5.0)] = 1.0
    """Width around the region that is ignored, because the border is an estimate."""


class WideTable(FrozenModel):
    """A row for each scan: its name, then x, y, z of one lesion after the other."""

    layout: Literal["wide"]
    path: Template
    row: str
    """Heading of the column that names the scan. The triples follow it."""
    equals: str = "{file}"


class LongTable(FrozenModel):
    """A row for each lesion."""

    layout: Literal["long"]
    path: Template
    row: str
    equals: str = "{case}"
    columns: tuple[str, str, str]
    """Headings of the coordinates, from first to third axis."""


class MatArray(FrozenModel):
    """A MATLAB file for each scan with an array of n x 3 coordinates."""

    layout: Literal["mat"]
    path: Template
    variable: str


class ImageLabels(FrozenModel):
    """An image of the lesions."""

    convention: Literal["mask", "instances", "mask_or_instances"]
    """The 26-connected components of a mask are lesions. Instances have a number for each lesion.
    Of either, an image with one value is a mask."""
    path: Template


class CentreLabels(FrozenModel):
    """Only the centres of lesions are known."""

    convention: Literal["centres"]
    table: Annotated[WideTable | LongTable | MatArray, Field(discriminator="layout")]
    unit: Literal["voxel", "ras_mm"] = "voxel"
    first_index: Literal[0, 1] = 0
    """Index of the first voxel. It is 1 in tables from MATLAB."""
    target: RegionTarget = RegionTarget()


class NoLesions(FrozenModel):
    """Controls: a reader saw no lesion."""

    convention: Literal["none"]


Labels = Annotated[ImageLabels | CentreLabels | NoLesions, Field(discriminator="convention")]


class Group(FrozenModel):
    """Scans with one naming and one labelling."""

    images: Template
    labels: Labels
    ignore: Template | None = None
    """Image that marks places that the reader could not judge."""
    mimics: Template | None = None
    """Image with a number for each mimic, or for each kind of mimic."""
    expects: Literal["lesions", "any"] = "any"
    """``lesions`` means that every scan of the group was chosen because it has lesions."""

    @model_validator(mode="after")
    def _known_fields(self) -> Group:
        known = fields_of(self.images) | FILE_FIELDS | {"case"}
        templates = [self.ignore, self.mimics, getattr(self.labels, "path", None)]
        if isinstance(self.labels, CentreLabels):
            table = self.labels.table
            templates += [table.path, getattr(table, "equals", None)]
        for template in templates:
            unknown = fields_of(template or "") - known
            if unknown:
                raise ValueError(
                    f"{template!r} uses {sorted(unknown)}, but images {self.images!r} gives only "
                    f"{sorted(known)}"
                )
        return self


class OneSplit(FrozenModel):
    """All scans are on one side. Another root holds the other side."""

    by: Literal["none"]
    name: Name = "all"


class PatientSplit(FrozenModel):
    """A hash draws the side of a patient."""

    by: Literal["patient"]
    shares: dict[Name, Share]
    seed: int = 0
    stratify: Literal["none", "lesions"] = "none"
    """``lesions`` deals patients with and without lesions apart, so that each side has both. With
    ``none``, a patient keeps the side when others are added."""

    @model_validator(mode="after")
    def _whole(self) -> PatientSplit:
        if abs(sum(self.shares.values()) - 1.0) > 1e-9:
            raise ValueError(f"shares must add up to 1, got {sum(self.shares.values()):g}")
        return self


class FoldSplit(FrozenModel):
    """Patients with and without lesions are dealt into folds. One fold is the side validation."""

    by: Literal["folds"]
    folds: Annotated[int, Field(ge=2, le=100)]
    fold: Annotated[int, Field(ge=1)] = 1
    """Number of the fold of validation. All others are the side training."""
    seed: int = 0

    @model_validator(mode="after")
    def _exists(self) -> FoldSplit:
        if self.fold > self.folds:
            raise ValueError(f"a fold from 1 to {self.folds} is required, got {self.fold}")
        return self


class TableSplit(FrozenModel):
    """A table states the sides."""

    by: Literal["table"]
    value: Lookup


class FieldSplit(FrozenModel):
    """A field of ``images`` states the side, for example a folder name."""

    by: Literal["field"]
    field: str


Splits = Annotated[
    OneSplit | PatientSplit | FoldSplit | TableSplit | FieldSplit, Field(discriminator="by")
]  # fmt: skip


class Exclusion(FrozenModel):
    """Cases that are left out. ``case`` may hold ``*``."""

    case: str
    reason: str


class Expected(FrozenModel):
    """The stated content of the whole data set."""

    cases: Count | None = None
    lesions: Count | None = None


class _Described(FrozenModel):
    """The fields of every spec."""

    name: Name
    title: str
    field_t: tuple[float, ...]
    """Field strengths in tesla. Empty if unknown."""
    sequence: str
    licence: str
    citation: Citation | None = None
    source: str
    """Source of the data, or of the numbers."""
    notes: str = ""


class ScanSpec(_Described):
    """A data set of scans on disk."""

    kind: Literal["scans"]
    groups: Annotated[tuple[Group, ...], Field(min_length=1)]
    case: str = "{stem}"
    """Template of the name of a case, from the fields of ``images``."""
    patient: str | Lookup = "{case}"
    splits: Splits = OneSplit(by="none")
    exclude: tuple[Exclusion, ...] = ()
    lesions: Lookup | None = None
    """Number of lesions of a case according to a table."""
    expected: Expected = Expected()

    @model_validator(mode="after")
    def _known_fields(self) -> ScanSpec:
        if "/" in self.case:
            raise ValueError(f"the name of a case must hold no /, got {self.case!r}")
        lookups = [self.patient, self.lesions, getattr(self.splits, "value", None)]
        used = [self.patient] if isinstance(self.patient, str) else []
        used += [value.equals for value in lookups if isinstance(value, Lookup)]
        for group in self.groups:
            fields = fields_of(group.images) | FILE_FIELDS
            unknown = fields_of(self.case) - fields
            unknown |= fields_of("".join(used)) - fields - {"case"}
            if isinstance(self.splits, FieldSplit):
                unknown |= {self.splits.field} - fields
            if unknown:
                raise ValueError(f"images {group.images!r} gives no fields {sorted(unknown)}")
        return self


class CohortPart(FrozenModel):
    """One side of a cohort of which only numbers are known."""

    name: Name
    patients: Count
    small: Count | None = None
    """Number of lesions of 2 to 5 mm. None if it is not stated."""
    large: Count | None = None
    """Number of lesions of 5 to 10 mm."""


class ReferenceSpec(_Described):
    """Published numbers of a cohort whose scans are unavailable. Phantom cohorts follow them."""

    kind: Literal["reference"]
    parts: Annotated[tuple[CohortPart, ...], Field(min_length=1)]
    patients: Count
    """Number of patients in the parts whose lesions are counted."""
    small: Count
    large: Count
    lesions: Count

    @model_validator(mode="after")
    def _sums(self) -> ReferenceSpec:
        counted = [part for part in self.parts if part.small is not None]
        stated = {
            "patients": (self.patients, sum(part.patients for part in counted)),
            "small": (self.small, sum(part.small or 0 for part in counted)),
            "large": (self.large, sum(part.large or 0 for part in counted)),
            "lesions": (self.lesions, self.small + self.large),
        }
        for name, (total, added) in stated.items():
            if total != added:
                raise ValueError(f"{name} is stated as {total}, but the parts add up to {added}")
        return self


DataSpec = Annotated[ScanSpec | ReferenceSpec, Field(discriminator="kind")]
