"""Discovery of the cases in a folder by a spec, without opening an image."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeGuard

from cmbnet.errors import CmbnetError, UnreadableFile, UsageError
from cmbnet.training.data.specs.centres import CentreReader
from cmbnet.training.data.specs.fault import Fault, Severity
from cmbnet.training.data.specs.labels import Label, LabelImage, holds_lesions
from cmbnet.training.data.specs.model import (
    NAME,
    CentreLabels,
    FieldSplit,
    FoldSplit,
    Group,
    Lookup,
    NoLesions,
    OneSplit,
    PatientSplit,
    ScanSpec,
    Splits,
)
from cmbnet.training.data.specs.splits import deal_splits, draw_split
from cmbnet.training.data.specs.template import fill, find, find_of_each, find_one


@dataclass(frozen=True, slots=True)
class ScanCase:
    """One scan of a data set."""

    name: str  # Name of the case, unique in the data set
    patient: str  # Name of the patient
    split: str  # Side of the split
    image: Path  # File of the scan
    label: Label  # Source of its lesions
    ignore: Path | None = None  # Image of the places that the reader could not judge, or None
    mimics: Path | None = None  # Image of labelled mimics, or None
    stated_lesions: int | None = None  # Number of lesions that a table states, or None
    expects_lesions: bool = False  # Whether the scan was chosen because it has lesions


@dataclass(frozen=True, slots=True)
class Discovery:
    """The cases in a folder."""

    cases: tuple[ScanCase, ...]  # Apparently usable cases, by name
    excluded: tuple[tuple[str, str], ...]  # Name and reason of each case that the spec leaves out
    faults: tuple[Fault, ...]  # Tables without a value, files that are named twice
    # Name, image and reason of each scan without a label. They are left out.
    unlabelled: tuple[tuple[str, Path, str], ...] = ()


class _NoLabelError(Exception):
    """A scan has no label."""


def discover(spec: ScanSpec, root: Path) -> Discovery:
    """Find the cases of a data set.

    Raises:
        UnreadableFile: If the folder is missing, or a table that all cases need.
        UsageError: If a table lacks a stated column.
    """
    if not root.is_dir():
        raise UnreadableFile(f"the folder of the data set is required, got {root}")
    finder = _Finder(spec, root)
    for group in spec.groups:
        for image, fields in find(root, group.images):
            finder.add(group, image, fields)
    finder.check_names()
    cases = tuple(sorted(_dealt(spec, finder.cases), key=lambda case: case.name))
    return Discovery(cases, tuple(finder.excluded), tuple(finder.faults), tuple(finder.unlabelled))


def _dealt(spec: ScanSpec, cases: list[ScanCase]) -> list[ScanCase]:
    """Give each case its side, where that depends on the lesions of all patients."""
    splits = spec.splits
    if not _is_dealt(splits):
        return cases
    patients: dict[str, bool] = {}
    for case in cases:
        patients[case.patient] = patients.get(case.patient, False) or _has_lesions(case)
    sides = deal_splits(splits, patients)
    return [replace(case, split=sides[case.patient]) for case in cases]


def _is_dealt(splits: Splits) -> TypeGuard[PatientSplit | FoldSplit]:
    return isinstance(splits, FoldSplit) or (
        isinstance(splits, PatientSplit) and splits.stratify == "lesions"
    )


def _has_lesions(case: ScanCase) -> bool:
    if case.stated_lesions is not None:
        return case.stated_lesions > 0
    return case.expects_lesions or holds_lesions(case.label)


class _Finder:
    """A collector of cases and faults."""

    def __init__(self, spec: ScanSpec, root: Path) -> None:
        self.spec, self.root = spec, root
        self.reader = CentreReader(root)
        self.cases: list[ScanCase] = []
        self.excluded: list[tuple[str, str]] = []
        self.faults: list[Fault] = []
        self.unlabelled: list[tuple[str, Path, str]] = []

    def add(self, group: Group, image: Path, matched: Mapping[str, str]) -> None:
        """Add one image that matches the template of a group."""
        stem = image.name.removesuffix(".gz").removesuffix(".nii")
        fields = {**matched, "file": image.name, "stem": stem}
        fields["case"] = name = fill(self.spec.case, fields)
        for exclusion in self.spec.exclude:
            if fnmatchcase(name, exclusion.case):
                self.excluded.append((name, exclusion.reason))
                return
        try:
            unsure = find_of_each(self.root, group.ignore, fields) if group.ignore else ()
            label = self._label(group, fields)
            if isinstance(label, LabelImage):
                label = replace(label, uncertain=unsure[1:])
            case = ScanCase(
                name=name,
                patient=self._patient(fields),
                split=self._split(fields),
                image=image,
                label=label,
                ignore=unsure[0] if unsure else None,
                mimics=find_one(self.root, group.mimics, fields) if group.mimics else None,
                stated_lesions=self._stated_lesions(fields),
                expects_lesions=group.expects == "lesions",
            )
        except _NoLabelError as error:
            self.unlabelled.append((name, image, str(error)))
        except UnreadableFile as error:
            self.faults.append(Fault("missing-value", "wrong", str(error), name))
        except CmbnetError as error:
            self.faults.append(Fault("spec", "wrong", str(error), name))
        else:
            self.cases.append(case)

    def check_names(self) -> None:
        """Find names that occur twice, exclusions without effect, and an empty folder."""
        by_name: dict[str, list[ScanCase]] = defaultdict(list)
        for case in self.cases:
            by_name[case.name].append(case)
        for name, same in by_name.items():
            if len(same) > 1:
                files = ", ".join(str(case.image.relative_to(self.root)) for case in same)
                message = (
                    f"a case has one scan, got {files}: give the spec a `case:` that tells them "
                    f"apart, got {self.spec.case!r}"
                )
                self.faults.append(Fault("duplicate-case", "wrong", message, name))
        self.cases = [same[0] for same in by_name.values() if len(same) == 1]
        for exclusion in self.spec.exclude:
            if not any(fnmatchcase(name, exclusion.case) for name, _ in self.excluded):
                message = f"the exclusion {exclusion.case!r} matches no case"
                self.faults.append(Fault("idle-exclusion", "note", message))
        if self.unlabelled:
            severity: Severity = "note" if self.cases else "wrong"
            words = f"{len(self.unlabelled)} scans have no label and are left out, such as: "
            self.faults.append(Fault("no-label", severity, words + self.unlabelled[0][2]))
        if not self.cases and not self.faults:
            wanted = ", ".join(repr(group.images) for group in self.spec.groups)
            message = f"images {wanted} are required, found none"
            self.faults.append(Fault("no-images", "wrong", message))

    def _label(self, group: Group, fields: Mapping[str, str]) -> Label:
        labels = group.labels
        if isinstance(labels, NoLesions):
            return None
        if isinstance(labels, CentreLabels):
            centres = self.reader.read(labels, fields)
            if centres is None:
                table = fill(labels.table.path, fields)
                raise _NoLabelError(f"{fields['file']} is not named in {table}")
            return centres
        paths = find_of_each(self.root, labels.path, fields)
        if not paths:
            raise _NoLabelError(f"{fields['file']} has no label {fill(labels.path, fields)}")
        return LabelImage(paths[0], labels.convention, paths[1:])

    def _patient(self, fields: Mapping[str, str]) -> str:
        if isinstance(self.spec.patient, Lookup):
            return self._look_up(self.spec.patient, fields) or fields["case"]
        return fill(self.spec.patient, fields)

    def _split(self, fields: Mapping[str, str]) -> str:
        splits = self.spec.splits
        if isinstance(splits, OneSplit):
            return splits.name
        if isinstance(splits, FoldSplit) or _is_dealt(splits):
            return ""  # until all cases are known
        if isinstance(splits, PatientSplit):
            return draw_split(splits, self._patient(fields))
        if isinstance(splits, FieldSplit):
            name: str | None = fields[splits.field]
        else:
            name = self._look_up(splits.value, fields)
        if not re.fullmatch(NAME, name or ""):
            raise UsageError(f"the side of a split must be a name as 'training', got {name!r}")
        return name or ""

    def _stated_lesions(self, fields: Mapping[str, str]) -> int | None:
        text = self._look_up(self.spec.lesions, fields) if self.spec.lesions else None
        return int(text) if text and text.isdecimal() else None

    def _look_up(self, lookup: Lookup, fields: Mapping[str, str]) -> str | None:
        """Look up a value. None if the table is optional and missing."""
        path = self.root / lookup.table
        if lookup.optional and not path.is_file():
            return None
        table = self.reader.table(path)
        row_column, column = table.column(lookup.row), table.column(lookup.column)
        wanted = fill(lookup.equals, fields)
        values = {row[column] for row in table.rows if row[row_column] == wanted} - {""}
        if len(values) != 1:
            raise UnreadableFile(
                f"{lookup.table} must give {lookup.column} of {wanted!r} once, got "
                f"{sorted(values) or 'none'}"
            )
        return values.pop()
