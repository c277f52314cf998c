"""The labels of one scan, in any convention, as numbers on the grid of the scan."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cmbnet.errors import CmbnetError, InputRefused, UnreadableFile, require
from cmbnet.io import read_nifti
from cmbnet.lesions import (
    Component,
    LesionRules,
    distant_pieces,
    label_components,
    measure_components,
    size_class,
)
from cmbnet.training.data.consensus import agreed
from cmbnet.training.data.specs.centres import Centres
from cmbnet.training.data.specs.fault import Fault
from cmbnet.training.data.specs.region import grow_region, inside
from cmbnet.volume import Volume, grid_difference

SLICER = ".nrrd"
"""End of the name of a segmentation of 3D Slicer."""


@dataclass(frozen=True, slots=True)
class LabelImage:
    """An image of labels, and its convention."""

    path: Path  # The image
    kind: Literal["mask", "instances", "mask_or_instances"]  # The convention
    others: tuple[Path, ...] = ()  # Images of further readers. The majority decides.
    uncertain: tuple[Path, ...] = ()  # Images of what further readers could not judge


Label = LabelImage | Centres | None
"""Source of the labels. None means that a reader saw no lesion."""


@dataclass(frozen=True, slots=True)
class ScanLabels:
    """The lesions of a scan on its grid, as arrays of shape (z, y, x)."""

    instances: NDArray[np.int32]  # Instance labels of all lesions, int32
    # Mask of places that the reader could not judge and of estimated borders, bool
    uncertain: NDArray[np.bool_]
    target: NDArray[np.int32]  # Instance labels of lesions of 2 to 10 mm, int32
    # Mask where nothing is learned, bool: other lesions and uncertain places
    ignore: NDArray[np.bool_]
    components: tuple[Component, ...]  # All measured lesions, including those outside 2 to 10 mm
    faults: tuple[Fault, ...]  # Faults of the labels


def read_labels(label: Label, ignore: Path | None, image: Volume) -> ScanLabels:
    """Read the labels of a scan.

    `ignore` marks places that the reader could not judge.

    Raises:
        UnreadableFile: If a file cannot be read.
        InputRefused: If a label image lies on another grid or holds fractions.
    """
    faults: list[Fault] = []
    uncertain = np.zeros(image.shape, bool)
    if isinstance(label, Centres):
        instances = _from_centres(label, image, uncertain, faults)
    elif label is None:
        instances = np.zeros(image.shape, np.int32)
    else:
        paths = (label.path, *label.others)
        read = [_from_image(replace(label, path=path), image, faults) for path in paths]
        instances, uncertain = agreed(read)
        if label.others:
            names = ", ".join(str(path.parent) for path in paths)
            message = f"the majority of {len(paths)} readers decides, in {names}"
            faults.append(Fault("several-readers", "note", message))
        for path in label.uncertain:
            uncertain |= read_label_image(path, image) > 0
    if ignore is not None:
        uncertain |= read_label_image(ignore, image) > 0
    components = measure_components(instances, image.affine)
    target, outside = split_by_size(instances, components)
    ignored = (outside | uncertain) & (target == 0)
    return ScanLabels(instances, uncertain, target, ignored, components, tuple(faults))


def holds_lesions(label: Label) -> bool:
    """Return whether a label has a lesion of any size. A file that cannot be read has none."""
    if label is None:
        return False
    if isinstance(label, Centres):
        return len(label.points) > 0
    with suppress(CmbnetError):
        return any(bool(layer.data.any()) for layer in _layers(label.path))
    return False


def split_by_size(
    instances: NDArray[np.int32], components: tuple[Component, ...]
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Split target lesions from the mask of lesions outside 2 to 10 mm in plane.

    The paper's lesions have 2 to 10 mm. Others are neither target nor negative, but ignored.
    """
    outside = np.zeros(instances.shape, bool)
    for component in components:
        if size_class(component.max_in_plane_diameter_mm, LesionRules()) == "outside":
            outside[component.box] |= instances[component.box] == component.label
    return np.where(outside, 0, instances), outside


def read_label_image(path: Path, image: Volume) -> NDArray[np.int32]:
    """Read a label image as whole numbers on the grid of the scan.

    A NIfTI image lies on that grid. A segmentation of 3D Slicer (``.seg.nrrd``) may be a part of
    it; each segment is a label.
    """
    slicer = path.name.lower().endswith(SLICER)
    volume = _segmentation(path, image) if slicer else read_nifti(path)
    difference = grid_difference(volume, image)
    if difference is not None:
        raise InputRefused(f"{path} must lie on the grid of its image: {difference}")
    labels = np.rint(volume.data)
    if not np.array_equal(labels, volume.data) or labels.min() < 0:
        odd = volume.data[(labels != volume.data) | (volume.data < 0)]
        raise InputRefused(f"{path} must hold whole numbers from 0 on, got {odd[0]:g}")
    whole: NDArray[np.int32] = labels.astype(np.int32)
    return whole


def _segmentation(path: Path, image: Volume) -> Volume:
    """Read a segmentation of 3D Slicer, and lay it into the grid of the scan.

    Slicer keeps segments that overlap in layers, and only the part that is not empty.
    """
    layers = _layers(path)
    to_scan = np.linalg.inv(image.affine) @ layers[0].affine
    start = np.rint(to_scan[:3, 3]).astype(int)
    stop = start + layers[0].shape
    labels = np.zeros(image.shape, np.float32)
    aligned = np.allclose(to_scan[:3, :3], np.eye(3), atol=1e-3)
    if not aligned or (start < 0).any() or (stop > image.shape).any():
        raise InputRefused(
            f"{path} must lie on the grid of its image, got a part of {layers[0].shape} voxels at "
            f"{to_scan[:3, 3].round(2).tolist()}: choose the scan as the geometry of the "
            "segmentation in 3D Slicer and save it again"
        )
    part = labels[tuple(slice(a, b) for a, b in zip(start.tolist(), stop.tolist(), strict=True))]
    for layer in layers:
        above = part.max(initial=0.0)
        part[(layer.data > 0) & (part == 0)] = (layer.data + above)[(layer.data > 0) & (part == 0)]
    return image.with_data(labels)


def _layers(path: Path) -> list[Volume]:
    """Read the layers of a segmentation of 3D Slicer. A NIfTI image is a single one."""
    if not path.name.lower().endswith(SLICER):
        return [read_nifti(path)]
    require("SimpleITK", extra="train", purpose=f"to read {path.name}")
    import SimpleITK

    try:
        stored = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise UnreadableFile(f"a segmentation of 3D Slicer is required, got {path}") from error
    count = stored.GetNumberOfComponentsPerPixel()
    return [
        Volume.from_sitk(stored if count == 1 else SimpleITK.VectorIndexSelectionCast(stored, n))
        for n in range(count)
    ]


def _from_image(label: LabelImage, image: Volume, faults: list[Fault]) -> NDArray[np.int32]:
    """Make instances from a label image."""
    values = read_label_image(label.path, image)
    several = values.max(initial=0) > 1
    if label.kind == "mask" and several:
        found = np.unique(values[values > 0]).tolist()
        faults.append(
            Fault(
                "values-in-mask",
                "note",
                f"a mask of 0 and 1 is stated, got {found[:5]} in {label.path.name}; all that is "
                "not 0 is taken for lesion",
            )
        )
    if label.kind == "instances" or (label.kind == "mask_or_instances" and several):
        where = np.argwhere(values > 0)
        for number, pieces, apart_mm in distant_pieces(where, values[tuple(where.T)], image.affine):
            message = (
                f"label {number} of {label.path.name} has {pieces} pieces up to {apart_mm:.0f} mm "
                "apart, which count as one lesion: are its values classes and no instances?"
            )
            faults.append(Fault("scattered-instance", "note", message))
        return values
    return label_components(values > 0)[0]


def _from_centres(
    label: Centres, image: Volume, uncertain: NDArray[np.bool_], faults: list[Fault]
) -> NDArray[np.int32]:
    """Grow instances from centres, and mark uncertain places in `uncertain`."""
    instances = np.zeros(image.shape, np.int32)
    for number, centre in enumerate(label.indices_zyx(image), start=1):
        place = f"centre {number} of {label.source.name}"
        if not inside(image, centre):
            at = tuple(round(value, 1) for value in centre)
            raise UnreadableFile(
                f"{place} lies outside the image: (z, y, x) {at} in {image.shape}; check the "
                "unit and the first index"
            )
        region = grow_region(image, centre, label.target)
        uncertain[region.box] |= region.ignore
        if region.reason:
            code = "no-dark-spot" if region.reason == "no dark spot" else "region-too-large"
            faults.append(Fault(code, "note", f"{place}: {region.reason}; the place is ignored"))
            continue
        taken = instances[region.box]
        if np.any(taken[region.lesion]):
            faults.append(Fault("shared-region", "note", f"{place} lies in the region of another"))
        taken[region.lesion & (taken == 0)] = number
    uncertain &= instances == 0
    return instances
