"""Labelled scans, case by case, brought into the frame of the network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmbnet.errors import UnreadableFile, UsageError
from cmbnet.io import read_nifti
from cmbnet.lesions import Component
from cmbnet.preprocess import PreprocessRecipe, prepare
from cmbnet.training.data.specs.discover import ScanCase, discover
from cmbnet.training.data.specs.fault import Fault
from cmbnet.training.data.specs.labels import LabelImage, read_label_image, read_labels
from cmbnet.training.data.specs.model import EitherLabels, Group, Lookup, ScanSpec

FOLDER = ScanSpec(
    kind="scans",
    name="folder",
    title="A cohort folder",
    sequence="not stated",
    field_t=(),
    licence="not stated",
    source="a folder without a spec",
    groups=(
        Group(
            images="images/{stem}.nii{gz?}",
            labels=EitherLabels(convention="mask_or_instances", path="lesions/{stem}.nii{gz?}"),
            ignore="ignore/{stem}.nii{gz?}",
            mimics="mimics/{stem}.nii{gz?}",
        ),
    ),
    patient=Lookup(table="cases.csv", row="case", column="anatomy_seed", optional=True),
    lesions=Lookup(table="cases.csv", row="case", column="n_lesions", optional=True),
)
"""The spec of a cohort folder without a spec: that of `data_specs/phantom.yaml`."""


@dataclass(frozen=True, slots=True)
class CohortCase:
    """The files of one case of a cohort folder. Missing files are None."""

    name: str
    image: Path
    lesions: Path
    ignore: Path | None
    mimics: Path | None


@dataclass(frozen=True, slots=True)
class FrameCase:
    """A case in the network's frame. All arrays (z, y, x) have one shape.

    Args:
        image: The image, float32 in [0, 1].
        lesions: Instance labels of the target lesions, int32.
        ignore: Mask where the truth does not count, bool: ignore labels, and lesions that are
            smaller or larger than 2 to 10 mm.
        mimics: Instance labels of mimics, int32.
        brain: Brain mask, bool, as the preprocessing estimates it. `cmbnet predict` has no better
            one.
        spacing_mm: Spacing along z, y, x, in the frame.
        findings: Findings of the preprocessing.
        native_spacing_mm: Spacing along the axes of the file, as in `cmbnet.volume.Volume`.
        components: All lesions, measured on the grid of the scan.
        faults: Faults of the labels.
    """

    image: NDArray[np.float32]
    lesions: NDArray[np.int32]
    ignore: NDArray[np.bool_]
    mimics: NDArray[np.int32]
    brain: NDArray[np.bool_]
    spacing_mm: tuple[float, float, float]
    findings: tuple[str, ...]
    native_spacing_mm: tuple[float, float, float]
    components: tuple[Component, ...]
    faults: tuple[Fault, ...]


def list_cohort(directory: Path) -> list[CohortCase]:
    """List the cases of a cohort folder, by name.

    Raises:
        UnreadableFile: If there are no images or an image has no lesion file.
    """
    found = discover(FOLDER, directory)
    wrong = [fault for fault in found.faults if fault.severity == "wrong"]
    if wrong:
        raise UnreadableFile("; ".join(fault.message for fault in wrong))
    return [
        CohortCase(case.name, case.image, case.label.path, case.ignore, case.mimics)
        for case in found.cases
        if isinstance(case.label, LabelImage)
    ]


def patients_in(directory: Path) -> dict[str, str]:
    """Return the patient of each case of a cohort folder. Without a table, a case is a patient."""
    return {case.name: case.patient for case in discover(FOLDER, directory).cases}


def stated_patients(directory: Path) -> frozenset[str]:
    """Return the patients of a cohort folder, if its table names them. Phantoms have heads."""
    return frozenset(own for case, own in patients_in(directory).items() if own != case)


def require_other_patients(learned: Iterable[str], judged: Iterable[str], where: str) -> None:
    """Refuse to judge a model on patients from whom it learned.

    Args:
        learned: Patients of the training side.
        judged: Patients of the other side.
        where: Names of both sides, as the user gave them.

    Raises:
        UsageError: If a patient is on both sides.
    """
    both = sorted(set(learned) & set(judged))
    if both:
        raise UsageError(
            f"{where} share {len(both)} patients ({', '.join(both[:3])}): what is judged by must "
            "not be learned from; phantoms need another seed, whatever their protocols"
        )


def read_case(case: ScanCase, recipe: PreprocessRecipe) -> FrameCase:
    """Read and preprocess one case as `cmbnet predict` does.

    Raises:
        CmbnetError: If a file cannot be read or used, or the grids differ.
    """
    image = read_nifti(case.image)
    labels = read_labels(case.label, case.ignore, image)
    prepared = prepare(image, recipe)
    to_frame = prepared.frame.from_native
    mimics = np.zeros(prepared.image.shape, np.int32)
    if case.mimics is not None:
        mimics = to_frame(read_label_image(case.mimics, image))
    return FrameCase(
        image=prepared.image,
        lesions=to_frame(labels.target),
        ignore=to_frame(labels.ignore.astype(np.uint8)) > 0,
        mimics=mimics,
        brain=prepared.brain,
        spacing_mm=prepared.spacing_mm,
        findings=prepared.notes,
        native_spacing_mm=image.spacing_mm,
        components=labels.components,
        faults=labels.faults,
    )
