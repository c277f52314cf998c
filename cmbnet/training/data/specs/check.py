"""The check of a data set: each case by itself, and then all cases together."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cmbnet.lesions import LesionRules, size_class
from cmbnet.training.data.specs.fault import Fault, Severity
from cmbnet.training.data.specs.splits import TRAINING, VALIDATION

if TYPE_CHECKING:
    from cmbnet.training.data.cohort import FrameCase
    from cmbnet.training.data.specs.discover import ScanCase
    from cmbnet.training.data.specs.model import Expected

MIN_SHARE_IN_BRAIN = 0.5
"""A lesion with a smaller share in the estimated brain is noted."""

MAX_SHARE_NOT_DARK = 0.5
"""If a larger share of centres has no dark spot, the axis order or the first index is wrong."""


@dataclass(frozen=True, slots=True)
class CaseReport:
    """The report on a case that was read."""

    name: str  # Name of the case
    patient: str  # Name of the patient
    split: str  # Side of the split
    shape: tuple[int, int, int]  # Number of voxels along z, y, x, in the frame
    spacing_mm: tuple[float, float, float]  # Spacing along the axes of the file
    small: int  # Number of lesions of 2 to 5 mm
    large: int  # Number of lesions of 5 to 10 mm
    outside: int  # Number of lesions of other sizes, which are ignored
    centres: int  # Number of centres that a table states. 0 if lesions are drawn.
    image_sha256: str  # Hash of the prepared image. It finds the same scan under another name.
    faults: tuple[Fault, ...]  # Faults of the case

    @property
    def lesions(self) -> int:
        """Number of target lesions."""
        return self.small + self.large


def report_case(case: ScanCase, content: FrameCase) -> CaseReport:
    """Check one case."""
    from cmbnet.training.data.specs.centres import Centres

    rules = LesionRules()
    sizes = [size_class(part.max_in_plane_diameter_mm, rules) for part in content.components]
    faults = [*content.faults, *_count_faults(case, len(sizes)), *_place_faults(content)]
    pixels = np.rint(content.image * 255.0).astype(np.uint8)
    return CaseReport(
        name=case.name,
        patient=case.patient,
        split=case.split,
        shape=pixels.shape,
        spacing_mm=content.native_spacing_mm,
        small=sizes.count("small"),
        large=sizes.count("large"),
        outside=sizes.count("outside"),
        centres=len(case.label.points) if isinstance(case.label, Centres) else 0,
        image_sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
        faults=tuple(
            Fault(fault.code, fault.severity, fault.message, case.name) for fault in faults
        ),
    )


def _count_faults(case: ScanCase, found: int) -> Iterable[Fault]:
    """Find a number of lesions that differs from the stated one."""
    stated = case.stated_lesions
    if found == 0 and (case.expects_lesions or stated):
        yield Fault("empty-positive", "wrong", "lesions are stated, the label holds none")
    elif stated is not None and stated != found:
        severity: Severity = "wrong" if stated == 0 else "note"
        yield Fault(
            "lesion-count", severity, f"{stated} lesions are stated, the label holds {found}"
        )


def _place_faults(content: FrameCase) -> Iterable[Fault]:
    """Find lesions in impossible places."""
    where = content.lesions > 0
    voxels = np.bincount(content.lesions[where])
    in_brain = np.bincount(content.lesions[where & content.brain], minlength=len(voxels))
    for component in content.components:
        if size_class(component.max_in_plane_diameter_mm, LesionRules()) == "outside":
            continue
        z, y, x = (round(value, 1) for value in component.centroid_zyx)
        place = f"lesion {component.label} at (z, y, x) ({z}, {y}, {x})"
        if component.label >= len(voxels) or voxels[component.label] == 0:
            message = f"{place} lies outside the frame of the network"
            yield Fault("lesion-outside-frame", "note", message)
            continue
        share = in_brain[component.label] / voxels[component.label]
        if share == 0.0:
            yield Fault("lesion-outside-brain", "wrong", f"{place} lies outside the brain")
        elif share < MIN_SHARE_IN_BRAIN:
            message = f"{place}: only {share:.0%} of it lies in the brain"
            yield Fault("lesion-at-edge", "note", message)


def check_together(reports: Sequence[CaseReport], expected: Expected) -> list[Fault]:
    """Check all cases of a data set together."""
    faults = [*_same_patient(reports), *_same_image(reports), *_sides(reports)]
    if expected.cases not in (None, len(reports)):
        message = f"{expected.cases} cases are expected, {len(reports)} can be used"
        faults.append(Fault("case-count", "note", message))
    lesions = sum(report.lesions + report.outside for report in reports)
    if expected.lesions not in (None, lesions):
        message = f"{expected.lesions} lesions are expected, got {lesions}"
        faults.append(Fault("lesion-total", "note", message))
    centres = sum(report.centres for report in reports)
    dim = sum(fault.code == "no-dark-spot" for report in reports for fault in report.faults)
    if centres and dim > MAX_SHARE_NOT_DARK * centres:
        message = (
            f"{dim} of {centres} centres lie on no dark spot: check first_index, unit and the "
            "order of the axes"
        )
        faults.append(Fault("centres-misplaced", "wrong", message))
    return faults


def _same_patient(reports: Sequence[CaseReport]) -> Iterable[Fault]:
    """Find patients on several sides of the split."""
    sides: dict[str, dict[str, str]] = defaultdict(dict)
    for report in reports:
        sides[report.patient].setdefault(report.split, report.name)
    for patient, cases in sides.items():
        if len(cases) > 1:
            places = ", ".join(f"{split} ({name})" for split, name in cases.items())
            yield Fault("patient-on-both-sides", "wrong", f"patient {patient} is in {places}")


def _same_image(reports: Sequence[CaseReport]) -> Iterable[Fault]:
    """Find scans that occur twice."""
    first: dict[str, CaseReport] = {}
    for report in reports:
        other = first.setdefault(report.image_sha256, report)
        if other is not report:
            severity: Severity = "note" if other.split == report.split else "wrong"
            message = f"the same scan as {other.name}"
            yield Fault("same-scan", severity, message, report.name)


def _sides(reports: Sequence[CaseReport]) -> Iterable[Fault]:
    """Find sides of the split that training cannot use."""
    by_split: dict[str, list[CaseReport]] = defaultdict(list)
    for report in reports:
        by_split[report.split].append(report)
    if by_split and {TRAINING, VALIDATION} & set(by_split):
        for name in (TRAINING, VALIDATION):
            if not by_split.get(name):
                message = f"no case is on the side {name!r}: take other shares or another seed"
                yield Fault("empty-side", "wrong", message)
    for name, cases in by_split.items():
        if not any(case.lesions for case in cases):
            severity: Severity = "wrong" if name in (TRAINING, VALIDATION) else "note"
            yield Fault("no-lesions", severity, f"no case of {name!r} holds a lesion of 2-10 mm")
        if all(case.lesions for case in cases):
            message = f"no case of {name!r} is a control: false alarms in controls go unseen"
            yield Fault("no-controls", "note", message)
