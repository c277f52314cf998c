"""A labelled cohort on disk, case by case, brought into the frame of the network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.errors import InputRefused, UnreadableFile
from cmbnet.io import read_nifti
from cmbnet.volume import Volume, grid_difference

SUFFIXES = (".nii.gz", ".nii")
MIN_DIAMETER_MM, MAX_DIAMETER_MM = 2.0, 10.0
"""The paper's lesions; others are neither target nor negative, but ignored."""


@dataclass(frozen=True, slots=True)
class CohortCase:
    """The files of one case; those that a cohort does not have are None."""

    name: str
    image: Path
    lesions: Path
    ignore: Path | None
    mimics: Path | None


@dataclass(frozen=True, slots=True)
class FrameCase:
    """A case in the network's frame; all arrays (z, y, x) of one shape.

    Args:
        image: float32 in [0, 1].
        lesions: int32 instance labels of the target lesions.
        ignore: Bool, where the truth does not count: ignore labels and lesions that are
            smaller or larger than 2 to 10 mm.
        mimics: int32 instance labels.
        brain: Bool, as the preprocessing estimates it; not a perfect one that `cmbnet predict`
            would not have.
        spacing_mm: Along z, y, x, in the frame.
        findings: Of the preprocessing.
    """

    image: NDArray[np.float32]
    lesions: NDArray[np.int32]
    ignore: NDArray[np.bool_]
    mimics: NDArray[np.int32]
    brain: NDArray[np.bool_]
    spacing_mm: tuple[float, float, float]
    findings: tuple[str, ...]


def list_cohort(directory: Path) -> list[CohortCase]:
    """The cases of a cohort, by name.

    Raises:
        UnreadableFile: If there are no images or an image has no lesion file.
    """
    images = sorted(p for p in (directory / "images").glob("*") if p.name.endswith(SUFFIXES))
    if not images:
        raise UnreadableFile(f"images/*.nii.gz are required in {directory}, found none")
    cases = []
    for image in images:
        lesions = _sibling(directory / "lesions", image.name)
        if lesions is None:
            raise UnreadableFile(f"{image.name} has no file in {directory / 'lesions'}")
        others = [_sibling(directory / kind, image.name) for kind in ("ignore", "mimics")]
        name = image.name.removesuffix(".gz").removesuffix(".nii")
        cases.append(CohortCase(name, image, lesions, *others))
    return cases


def _sibling(folder: Path, name: str) -> Path | None:
    """The file of the same name in another folder, if it is there."""
    path = folder / name
    return path if path.is_file() else None


def read_case(case: CohortCase, recipe: Any) -> FrameCase:
    """Read and preprocess one case as `cmbnet predict` would.

    Args:
        case: Its files.
        recipe: `cmbnet.preprocess.PreprocessRecipe`.

    Raises:
        CmbnetError: If a file cannot be read or used, or the grids differ.
    """
    from cmbnet.preprocess import prepare

    image = read_nifti(case.image)
    prepared = prepare(image, recipe)
    labels = _labels(case.lesions, image)
    if labels is None:
        raise UnreadableFile(f"lesion labels are required for {case.image}")
    target, outside = split_by_size(labels)
    ignore = _labels(case.ignore, image)
    if ignore is not None:
        outside |= ignore.data > 0
    outside &= target == 0
    mimics = _labels(case.mimics, image)
    to_frame = prepared.frame.from_native
    empty = np.zeros(prepared.image.shape, np.int32)
    return FrameCase(
        image=np.asarray(prepared.image, np.float32),
        lesions=np.asarray(to_frame(target)).astype(np.int32),
        ignore=np.asarray(to_frame(outside.astype(np.uint8))) > 0,
        mimics=empty if mimics is None else np.asarray(to_frame(mimics.data)).astype(np.int32),
        brain=np.asarray(prepared.brain, bool),
        spacing_mm=prepared.spacing_mm,
        findings=tuple(prepared.findings),
    )


def split_by_size(labels: Volume) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Target lesions, and the mask of those outside 2 to 10 mm in plane.

    Args:
        labels: Instance labels (several values) or a mask (one value), on the native grid. A
            mask is split into its 26-connected components.
    """
    from cmbnet.lesions import label_components, measure_components

    instances = np.rint(labels.data).astype(np.int32)
    if instances.max(initial=0) == 1:
        instances, _ = label_components(instances > 0)
    outside = np.zeros(instances.shape, bool)
    for component in measure_components(instances, labels.affine):
        if not MIN_DIAMETER_MM <= component.max_in_plane_diameter_mm <= MAX_DIAMETER_MM:
            outside[component.box] |= instances[component.box] == component.label
    return np.where(outside, 0, instances), outside


def _labels(path: Path | None, image: Volume) -> Volume | None:
    """A label file, on the grid of the image."""
    if path is None:
        return None
    labels = read_nifti(path)
    difference = grid_difference(labels, image)
    if difference is not None:
        raise InputRefused(f"{path} must lie on the grid of its image: {difference}")
    return labels
