"""`DataSpec`: what a labelled data set looks like on disk, as read from ``data_specs/*.yaml``.

Paths are templates relative to the root of the data set, see `cmbnet.training.data.specs.template`:
``{name}`` stands for a part of a file name, ``{name?}`` for one that may be empty.
"""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic
from pydantic import Field, model_validator

from cmbnet.training.data.specs.template import check_template, fields_of

Template = Annotated[str, pydantic.AfterValidator(check_template)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
Millimetres = Annotated[float, Field(gt=0.0, le=30.0)]
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
"""Names that are folders too."""
Name = Annotated[str, Field(pattern=f"^{NAME}$")]

FILE_FIELDS = frozenset({"file", "stem"})
"""Fields of every image: its file name, with and without ``.nii`` or ``.nii.gz``."""


class _Frozen(pydantic.BaseModel):
    """Frozen, without unknown keys."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class Citation(_Frozen):
    """Whom to cite."""

    authors: str
    title: str = ""
    published: str
    """Journal or server, and year."""
    doi: str | None = None


class Lookup(_Frozen):
    """A value of a case, out of a table: ``column`` of the row whose ``row`` is ``equals``."""

    table: Template
    """CSV, TSV or XLSX with one line of headings; no fields in the name."""
    row: str
    equals: str = "{case}"
    column: str
    optional: bool = False
    """Whether the table may be missing altogether."""


class RegionTarget(_Frozen):
    """How a centre becomes a target; see `cmbnet.training.data.specs.region`."""

    max_diameter_mm: Millimetres = 10.0
    """A region that is longer ran into a vein: the place is ignored, not learned."""
    snap_mm: Annotated[float, Field(ge=0.0, le=5.0)] = 1.5
    """How far from the stated centre the darkest voxel is looked for."""
    depth: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    """Where the border lies between the surround (0) and the darkest voxel (1)."""
    min_contrast: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.15
    """Darkest voxel below the surround, as a share of it; less is no dark spot."""
    shell_mm: Annotated[float, Field(ge=0.0, le=5.0)] = 1.0
    """What is ignored around the region: its border is an estimate."""


class WideTable(_Frozen):
    """A row for each scan: its name, then x, y, z of one lesion after the other."""

    layout: Literal["wide"]
    path: Template
    row: str
    """Heading of the column that names the scan; the triples follow it."""
    equals: str = "{file}"


class LongTable(_Frozen):
    """A row for each lesion."""

    layout: Literal["long"]
    path: Template
    row: str
    equals: str = "{case}"
    columns: tuple[str, str, str]
    """Headings of the coordinates, first to third axis."""


class MatArray(_Frozen):
    """A MATLAB file for each scan with an array of n x 3 coordinates."""

    layout: Literal["mat"]
    path: Template
    variable: str


class MaskLabels(_Frozen):
    """An image that is 1 in lesions; 26-connected components are lesions."""

    convention: Literal["mask"]
    path: Template


class InstanceLabels(_Frozen):
    """An image with a number for each lesion."""

    convention: Literal["instances"]
    path: Template


class EitherLabels(_Frozen):
    """An image with one value (a mask) or several (a number for each lesion)."""

    convention: Literal["mask_or_instances"]
    path: Template


class CentreLabels(_Frozen):
    """Only the centres of lesions are known."""

    convention: Literal["centres"]
    table: Annotated[WideTable | LongTable | MatArray, Field(discriminator="layout")]
    unit: Literal["voxel", "ras_mm"] = "voxel"
    first_index: Literal[0, 1] = 0
    """Index of the first voxel; 1 in tables made with MATLAB."""
    target: RegionTarget = RegionTarget()


class NoLesions(_Frozen):
    """Controls: read, and no lesion found."""

    convention: Literal["none"]


Labels = Annotated[
    MaskLabels | InstanceLabels | EitherLabels | CentreLabels | NoLesions,
    Field(discriminator="convention"),
]


class Group(_Frozen):
    """Scans that are named and labelled in one way."""

    images: Template
    labels: Labels
    ignore: Template | None = None
    """Image that is not 0 where the reader could not say."""
    mimics: Template | None = None
    """Image with a number for each mimic, or for each kind."""
    expects: Literal["lesions", "any"] = "any"
    """``lesions``: every scan of the group was chosen because it has some."""

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


class OneSplit(_Frozen):
    """All scans on one side; another root holds the other side."""

    by: Literal["none"]
    name: Name = "all"


class PatientSplit(_Frozen):
    """Patients drawn by a hash: a patient never changes sides when others are added."""

    by: Literal["patient"]
    shares: dict[Name, Share]
    seed: int = 0

    @model_validator(mode="after")
    def _whole(self) -> PatientSplit:
        if abs(sum(self.shares.values()) - 1.0) > 1e-9:
            raise ValueError(f"shares must add up to 1, got {sum(self.shares.values()):g}")
        return self


class TableSplit(_Frozen):
    """Stated in a table."""

    by: Literal["table"]
    value: Lookup


class FieldSplit(_Frozen):
    """Stated by a field of ``images``, as a folder name."""

    by: Literal["field"]
    field: str


Splits = Annotated[
    OneSplit | PatientSplit | TableSplit | FieldSplit, Field(discriminator="by")
]  # fmt: skip


class Exclusion(_Frozen):
    """Cases that are left out; ``case`` may hold ``*``."""

    case: str
    reason: str


class Expected(_Frozen):
    """What the whole data set holds, as its makers or readers state it."""

    cases: Count | None = None
    lesions: Count | None = None


class _Described(_Frozen):
    """What every spec says."""

    name: Name
    title: str
    field_t: tuple[float, ...]
    """Field strengths in tesla; empty if not known."""
    sequence: str
    licence: str
    citation: Citation | None = None
    source: str
    """Where the data, or the numbers, come from."""
    notes: str = ""


class ScanSpec(_Described):
    """A data set of scans on disk."""

    kind: Literal["scans"]
    groups: Annotated[tuple[Group, ...], Field(min_length=1)]
    case: str = "{stem}"
    """Name of a case, made of the fields of ``images``."""
    patient: str | Lookup = "{case}"
    splits: Splits = OneSplit(by="none")
    exclude: tuple[Exclusion, ...] = ()
    lesions: Lookup | None = None
    """How many lesions a case has according to a table."""
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


class CohortPart(_Frozen):
    """One side of a cohort that is known by its numbers only."""

    name: Name
    patients: Count
    small: Count | None = None
    """Lesions of 2 to 5 mm; None where it is not stated."""
    large: Count | None = None
    """Lesions of 5 to 10 mm."""


class ReferenceSpec(_Described):
    """A cohort that cannot be had: its numbers, to shape phantom cohorts after."""

    kind: Literal["reference"]
    parts: Annotated[tuple[CohortPart, ...], Field(min_length=1)]
    patients: Count
    """Of the parts whose lesions are counted."""
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
