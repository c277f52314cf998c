"""Labelled scans, case by case, brought into the frame of the network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmbnet.io import read_nifti
from cmbnet.lesions import Component
from cmbnet.preprocess import PreprocessRecipe, prepare
from cmbnet.training.data.specs.discover import ScanCase
from cmbnet.training.data.specs.fault import Fault
from cmbnet.training.data.specs.labels import read_label_image, read_labels
from cmbnet.training.data.specs.model import Group, ImageLabels, Lookup, ScanSpec

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
            labels=ImageLabels(convention="mask_or_instances", path="lesions/{stem}.nii{gz?}"),
            ignore="ignore/{stem}.nii{gz?}",
            mimics="mimics/{stem}.nii{gz?}",
        ),
    ),
    patient=Lookup(table="cases.csv", row="case", column="anatomy_seed", optional=True),
    lesions=Lookup(table="cases.csv", row="case", column="n_lesions", optional=True),
)
"""The spec of a cohort folder without a spec: that of `data_specs/phantom.yaml`."""


@dataclass(frozen=True, slots=True)
class FrameCase:
    """A case in the network's frame. All arrays (z, y, x) have one shape."""

    image: NDArray[np.float32]  # The image, float32 in [0, 1]
    lesions: NDArray[np.int32]  # Instance labels of the target lesions, int32
    # Mask where the truth does not count, bool: ignore labels, and lesions that are smaller or
    # larger than 2 to 10 mm
    ignore: NDArray[np.bool_]
    mimics: NDArray[np.int32]  # Instance labels of mimics, int32
    # Brain mask, bool, as the preprocessing estimates it. `cmbnet predict` has no better one.
    brain: NDArray[np.bool_]
    spacing_mm: tuple[float, float, float]  # Spacing along z, y, x, in the frame
    findings: tuple[str, ...]  # Findings of the preprocessing
    # Spacing along the axes of the file, as in `cmbnet.volume.Volume`
    native_spacing_mm: tuple[float, float, float]
    components: tuple[Component, ...]  # All lesions, measured on the grid of the scan
    faults: tuple[Fault, ...]  # Faults of the labels


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
