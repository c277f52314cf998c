from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray

from cmbnet.errors import InputRefused, UnreadableFile
from cmbnet.io import write_nifti
from cmbnet.lesions import spacing_affine
from cmbnet.training.data.specs.centres import Centres
from cmbnet.training.data.specs.labels import LabelImage, holds_lesions, read_labels
from cmbnet.training.data.specs.model import RegionTarget
from cmbnet.volume import Volume

AFFINE = spacing_affine((2.0, 0.6, 0.6))
IMAGE = Volume(np.ones((3, 40, 40), np.float32), AFFINE)


def save(tmp_path: Path, labels: NDArray[np.generic], *, name: str = "l.nii.gz") -> Path:
    write_nifti(IMAGE.with_data(labels), tmp_path / name, dtype=np.float32)
    return tmp_path / name


def test_lesions_outside_2_to_10_mm_are_ignored_not_negative(tmp_path: Path) -> None:
    labels = np.zeros(IMAGE.shape, np.int32)
    labels[1, 5:8, 5:8] = 1  # 3 pixels of 0.6 mm and their diagonal: over 2 mm
    labels[1, 20, 20] = 2  # one pixel
    labels[1, 22:37, 30] = 3  # 15 pixels: 9 mm
    labels[1, 10, 12:32] = 4  # 20 pixels: 12 mm
    found = read_labels(LabelImage(save(tmp_path, labels), "instances"), None, IMAGE)
    assert sorted(np.unique(found.target[found.target > 0]).tolist()) == [1, 3]
    assert sorted(np.unique(labels[found.ignore]).tolist()) == [2, 4]
    assert [part.label for part in found.components] == [1, 2, 3, 4]


@pytest.mark.parametrize(("kind", "lesions"), [("mask", 2), ("mask_or_instances", 2)])
def test_a_mask_is_split_into_its_components(tmp_path: Path, kind: str, lesions: int) -> None:
    mask = np.zeros(IMAGE.shape, np.uint8)
    mask[1, 5:9, 5:9] = mask[1, 20:24, 20:24] = 1
    found = read_labels(LabelImage(save(tmp_path, mask), kind), None, IMAGE)  # type: ignore[arg-type]
    assert len(found.components) == lesions
    assert found.faults == ()


def test_touching_instances_stay_apart_but_not_in_a_mask(tmp_path: Path) -> None:
    labels = np.zeros(IMAGE.shape, np.uint8)
    labels[1, 5:9, 5:9], labels[1, 5:9, 9:13] = 1, 2
    path = save(tmp_path, labels)
    assert len(read_labels(LabelImage(path, "instances"), None, IMAGE).components) == 2
    assert len(read_labels(LabelImage(path, "mask_or_instances"), None, IMAGE).components) == 2
    mask = read_labels(LabelImage(path, "mask"), None, IMAGE)
    assert len(mask.components) == 1
    assert [fault.code for fault in mask.faults] == ["values-in-mask"]


def test_instances_that_look_like_classes_are_noted(tmp_path: Path) -> None:
    labels = np.zeros(IMAGE.shape, np.uint8)
    labels[1, 5:9, 5:9] = labels[1, 25:29, 25:29] = 1
    labels[1, 5:9, 25:29] = 2
    found = read_labels(LabelImage(save(tmp_path, labels), "mask_or_instances"), None, IMAGE)
    assert [fault.code for fault in found.faults] == ["scattered-instance"]
    assert "label 1" in found.faults[0].message
    assert "classes" in found.faults[0].message


def test_what_the_reader_could_not_say_is_ignored_but_never_the_target(tmp_path: Path) -> None:
    labels, unsure = np.zeros(IMAGE.shape, np.uint8), np.zeros(IMAGE.shape, np.uint8)
    labels[1, 5:9, 5:9], unsure[1, 7:15, 5:9] = 1, 1
    label = LabelImage(save(tmp_path, labels), "mask")
    found = read_labels(label, save(tmp_path, unsure, name="i.nii.gz"), IMAGE)
    np.testing.assert_array_equal(found.ignore, (unsure > 0) & (labels == 0))


@pytest.mark.parametrize("value", [0.5, -1.0])
def test_fractions_and_negative_labels_are_refused(tmp_path: Path, value: float) -> None:
    labels = np.zeros(IMAGE.shape, np.float32)
    labels[1, 1, 1] = value
    path = save(tmp_path, labels)
    with pytest.raises(InputRefused, match=rf"whole numbers from 0 on, got {value:g}"):
        read_labels(LabelImage(path, "mask"), None, IMAGE)


def test_another_grid_is_refused(tmp_path: Path) -> None:
    other = Volume(np.zeros((3, 20, 20), np.uint8), AFFINE)
    write_nifti(other, tmp_path / "l.nii.gz", dtype=np.uint8)
    with pytest.raises(InputRefused, match="must lie on the grid of its image: shape"):
        read_labels(LabelImage(tmp_path / "l.nii.gz", "mask"), None, IMAGE)


def test_a_control_has_no_lesions() -> None:
    found = read_labels(None, None, IMAGE)
    assert not found.target.any()
    assert not found.ignore.any()


def scan_with_spots(*places: tuple[int, int, int]) -> Volume:
    data = np.full((9, 60, 60), 100.0, np.float32)
    for z, y, x in places:
        data[z, y - 2 : y + 3, x - 2 : x + 3] = 20.0
    return Volume(data, AFFINE)


def test_centres_are_indices_of_the_file_or_places_in_the_world(tmp_path: Path) -> None:
    image = scan_with_spots((4, 20, 40))
    ijk = Centres(tmp_path / "c.csv", ((40.0, 20.0, 4.0),), "voxel", RegionTarget())
    ras = Centres(tmp_path / "c.csv", (image.world_mm((4, 20, 40)),), "ras_mm", RegionTarget())
    for centres in (ijk, ras):
        found = read_labels(centres, None, image)
        np.testing.assert_array_equal(found.target > 0, image.data < 60)


def test_places_without_a_dark_spot_are_ignored_and_told(tmp_path: Path) -> None:
    image = scan_with_spots((4, 20, 40))
    centres = Centres(
        tmp_path / "c.csv", ((40.0, 20.0, 4.0), (12.0, 45.0, 4.0)), "voxel", RegionTarget()
    )
    found = read_labels(centres, None, image)
    assert len(found.components) == 1
    assert found.ignore[4, 45, 12]
    (fault,) = found.faults
    assert (fault.code, fault.severity) == ("no-dark-spot", "note")
    assert "centre 2 of c.csv" in fault.message


def test_two_centres_in_one_spot_are_told(tmp_path: Path) -> None:
    image = scan_with_spots((4, 20, 40))
    points = ((40.0, 20.0, 4.0), (41.0, 20.0, 4.0))
    found = read_labels(Centres(tmp_path / "c", points, "voxel", RegionTarget()), None, image)
    assert [fault.code for fault in found.faults] == ["shared-region"]
    assert len(found.components) == 1


def test_a_centre_outside_the_image_is_refused(tmp_path: Path) -> None:
    centres = Centres(tmp_path / "c.csv", ((40.0, 60.0, 4.0),), "voxel", RegionTarget())
    with pytest.raises(UnreadableFile, match=r"centre 1 of c\.csv lies outside the image.*unit"):
        read_labels(centres, None, scan_with_spots())


def save_slicer(file: Path, layers: NDArray[np.uint8], start: tuple[int, int, int] = (0, 0, 0)
                ) -> Path:  # fmt: skip
    """Write layers (z, y, x, n) as 3D Slicer does: the part of a scan from a voxel (z, y, x) on."""
    image = IMAGE.with_data(np.zeros(IMAGE.shape, np.uint8)).to_sitk()
    whole = layers.shape[-1] > 1
    part = SimpleITK.GetImageFromArray(layers if whole else layers[..., 0], isVector=whole)
    part.SetSpacing(image.GetSpacing())
    part.SetDirection(image.GetDirection())
    part.SetOrigin(image.TransformIndexToPhysicalPoint([int(n) for n in start[::-1]]))
    for key, value in {"ID": "Segment_1", "LabelValue": "1", "Layer": "0"}.items():
        part.SetMetaData(f"Segment0_{key}", value)
    SimpleITK.WriteImage(part, str(file))
    return file


def test_a_segmentation_of_slicer_is_taken_as_it_is(tmp_path: Path) -> None:
    """One segment for all, a segment for each, cropped to what is drawn, and in layers."""
    lesions = np.zeros((*IMAGE.shape, 1), np.uint8)
    lesions[1, 5:9, 5:9], lesions[1, 20:24, 20:24] = 1, 1
    each = lesions.copy()
    each[1, 20:24, 20:24] = 2
    layers = np.concatenate([each == 1, each == 2], -1).astype(np.uint8)
    for name, drawn, start in (
        ("all", lesions, (0, 0, 0)),
        ("each", each, (0, 0, 0)),
        ("cropped", each[1:2, 4:25, 4:25], (1, 4, 4)),
        ("layers", layers, (0, 0, 0)),
    ):
        file = save_slicer(tmp_path / f"{name}.seg.nrrd", drawn, start)
        found = read_labels(LabelImage(file, "mask_or_instances"), None, IMAGE)
        assert np.array_equal(found.target > 0, lesions[..., 0] > 0), name
        assert len(found.components) == 2, name
        assert holds_lesions(LabelImage(file, "mask"))
    empty = save_slicer(tmp_path / "empty.seg.nrrd", np.zeros_like(lesions))
    assert not holds_lesions(LabelImage(empty, "mask"))


def test_a_segmentation_on_another_grid_is_refused(tmp_path: Path) -> None:
    beyond = save_slicer(tmp_path / "a.seg.nrrd", np.ones((3, 40, 40, 1), np.uint8), (1, 0, 0))
    with pytest.raises(InputRefused, match="choose the scan as the geometry"):
        read_labels(LabelImage(beyond, "mask"), None, IMAGE)
    (tmp_path / "b.seg.nrrd").write_bytes(b"NRRD?")
    with pytest.raises(UnreadableFile, match="a segmentation of 3D Slicer is required"):
        read_labels(LabelImage(tmp_path / "b.seg.nrrd", "mask"), None, IMAGE)


def test_the_majority_of_readers_decides_and_it_is_noted(tmp_path: Path) -> None:
    one, two = np.zeros((2, *IMAGE.shape), np.uint8)
    one[1, 5:9, 5:9] = two[1, 5:9, 5:9] = 1
    one[1, 20:24, 20:24] = 1
    (tmp_path / "r").mkdir()
    (tmp_path / "s").mkdir()
    paths = [save(tmp_path / "r", one), save(tmp_path / "s", two), save(tmp_path, one * 0 + two)]
    both = read_labels(LabelImage(paths[0], "mask", (paths[1],)), None, IMAGE)
    assert len(both.components) == 1
    assert np.array_equal(both.ignore, one > two)
    assert both.faults[0].code == "several-readers"
    assert both.faults[0].severity == "note"
    three = read_labels(LabelImage(paths[0], "mask", tuple(paths[1:])), None, IMAGE)
    assert not three.ignore.any()
    unsure = read_labels(LabelImage(paths[1], "mask", (), (paths[0],)), None, IMAGE)
    assert np.array_equal(unsure.ignore, one > two)
