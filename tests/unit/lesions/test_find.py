"""Each rule removes what it should, says why, and leaves the neighbour across its boundary."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cmbnet.errors import InputRefused, UsageError
from cmbnet.lesions import (
    FoundLesions,
    LesionRules,
    find_lesions,
    spacing_affine,
)
from cmbnet.volume import Volume

SPACING = (2.0, 0.5, 0.5)
RULES = LesionRules()


def scan(
    *boxes: tuple[slice, slice, slice],
    value: float = 0.9,
    spacing: tuple[float, float, float] = SPACING,
) -> Volume:
    data = np.zeros((16, 60, 60), dtype=np.float32)
    for box in boxes:
        data[box] = value
    return Volume(data, spacing_affine(spacing))


def box(z: tuple[int, int], y: tuple[int, int], x: tuple[int, int]) -> tuple[slice, slice, slice]:
    return slice(*z), slice(*y), slice(*x)


def row(pixels: int, slices: int = 2) -> tuple[slice, slice, slice]:
    """A bar of `pixels` pixels of 0.5 mm, one pixel wide."""
    return box((4, 4 + slices), (10, 11), (10, 10 + pixels))


def only(found: FoundLesions) -> Any:
    (lesion,) = found.lesions + found.excluded
    return lesion


def block(n: int = 4, *, z: int = 4, at: int = 10) -> tuple[slice, slice, slice]:
    return box((z, z + 2), (at, at + n), (at, at + n))


@pytest.mark.parametrize(
    ("pixels", "size_class", "removed_by"),
    [
        pytest.param(3, "outside", "size", id="1.5 mm"),
        pytest.param(4, "small", None, id="exactly 2 mm"),
        pytest.param(9, "small", None, id="4.5 mm"),
        pytest.param(10, "large", None, id="exactly 5 mm"),
        pytest.param(20, "large", None, id="exactly 10 mm"),
        pytest.param(21, "outside", "size", id="10.5 mm"),
    ],
)
def test_size_rule_and_its_boundaries(pixels: int, size_class: str, removed_by: str | None) -> None:
    rules = replace(RULES, max_elongation=1e6)
    lesion = only(find_lesions(scan(row(pixels)), rules))
    assert lesion.max_in_plane_diameter_mm == pytest.approx(pixels * 0.5)
    assert (lesion.size_class, lesion.removed_by) == (size_class, removed_by)
    assert bool(lesion.reason) == (removed_by is not None)


def test_boundaries_hold_when_the_affine_is_rounded_to_float32() -> None:
    spacing = tuple(float(np.float32(s)) for s in (2.0, 0.4, 0.4))
    volume = scan(row(5), spacing=spacing)  # type: ignore[arg-type]
    assert only(find_lesions(volume, replace(RULES, max_elongation=99))).size_class == "small"


def test_volume_rule() -> None:
    thin = scan(row(4, slices=1), spacing=(0.9, 0.5, 0.5))  # 4 * 0.9 * 0.25 = 0.9 mm3
    lesion = only(find_lesions(thin, RULES))
    assert lesion.removed_by == "size"
    assert lesion.reason == "volume 0.90 mm3 is below 1 mm3"
    assert only(find_lesions(thin, replace(RULES, min_volume_mm3=0.9))).removed_by is None


def test_a_vein_across_the_slices_is_removed() -> None:
    vein = scan(box((2, 12), (10, 14), (10, 14)))  # 20 mm across, 16 mm of them sure; 2.6 mm wide
    lesion = only(find_lesions(vein, RULES))
    assert lesion.removed_by == "shape"
    assert lesion.reason == (
        "vein-like: runs 20.0 mm across the slices with a diameter of 2.6 mm in them"
    )
    assert lesion.slices == 10
    lenient = replace(RULES, max_z_ratio=99, max_elongation=99, max_diameter_mm=99)
    assert only(find_lesions(vein, lenient)).reason == ""


def test_a_vein_along_a_slice_is_removed() -> None:
    lesion = only(find_lesions(scan(row(16)), RULES))  # 8 mm long, 2 slices of 2 mm
    assert lesion.removed_by is None  # the slices are too thick to call it a vein
    thin = scan(row(16), spacing=(0.5, 0.5, 0.5))
    lesion = only(find_lesions(thin, RULES))
    assert lesion.removed_by == "shape"
    assert "elongation 8.0 is above 4" in lesion.reason


def away_mm(slice_mm: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Distance from the middle across the slices and in them."""
    z, y, x = np.indices((16, 60, 60))
    return (z - 7.5) * slice_mm, np.hypot(y - 30, x - 30) / 2


def test_a_sinus_that_crosses_the_slices_is_too_long() -> None:
    _, within = away_mm(2.0)
    sinus = scan()
    sinus.data[2:13, within[0] <= 3.6] = 0.9
    lesion = only(find_lesions(sinus, RULES))
    assert lesion.max_in_plane_diameter_mm == pytest.approx(7.6, abs=0.2)
    assert lesion.removed_by == "size"
    assert lesion.reason == "22 mm long across the slices; a microbleed is at most 10 mm"


@pytest.mark.parametrize("slice_mm", [0.5, 1.0, 2.0, 3.0])
def test_a_lesion_of_9_mm_is_not_too_long(slice_mm: float) -> None:
    ball = scan(spacing=(slice_mm, 0.5, 0.5))
    across, within = away_mm(slice_mm)
    ball.data[np.hypot(across, within) <= 4.5] = 0.9
    lesion = only(find_lesions(ball, RULES))
    assert lesion.max_in_plane_diameter_mm > 8
    assert lesion.removed_by is None


@pytest.mark.parametrize(("slices", "removed_by"), [(7, None), (8, "size")])
def test_the_first_and_the_last_slice_do_not_make_a_lesion_too_long(
    slices: int, removed_by: str | None
) -> None:
    tall = scan(box((4, 4 + slices), (10, 22), (10, 22)))  # 14 or 16 mm, 10 or 12 of them sure
    assert only(find_lesions(tall, RULES)).removed_by == removed_by


@pytest.mark.parametrize("slice_mm", [0.8, 2.0, 3.0, 5.0])
@pytest.mark.parametrize("slices", [1, 2, 3])
def test_a_round_lesion_survives_every_slice_thickness(slice_mm: float, slices: int) -> None:
    volume = scan(box((4, 4 + slices), (10, 15), (10, 15)), spacing=(slice_mm, 0.5, 0.5))
    assert only(find_lesions(volume, RULES)).removed_by is None


def test_outside_the_brain() -> None:
    brain = np.zeros((16, 60, 60), bool)
    brain[:, :, 12:] = True  # half of the block at 10..14 is outside
    lesion = only(find_lesions(scan(block()), RULES, brain=brain))
    assert lesion.outside_brain == pytest.approx(0.5)
    assert lesion.removed_by == "border"
    assert lesion.reason == "50% of it is outside the brain, 25% is allowed"
    brain[:, :, 11:] = True  # a quarter is allowed
    assert only(find_lesions(scan(block()), RULES, brain=brain)).removed_by is None


def test_border_distance_and_penalty() -> None:
    brain = np.zeros((16, 60, 60), bool)
    brain[:, :, 8:] = True
    rules = replace(RULES, border_factor=0.5)
    near = only(find_lesions(scan(block(at=8)), rules, brain=brain))
    # Centre voxel in column 9 or 10; column 7 is outside.
    assert near.border_distance_mm in (pytest.approx(1.0), pytest.approx(1.5))
    assert near.score == pytest.approx(0.45)
    far = only(find_lesions(scan(block(at=20)), rules, brain=brain))
    assert far.score == pytest.approx(0.9)
    deep = only(find_lesions(scan(block(at=40)), rules, brain=brain))
    assert deep.border_distance_mm == 10.0
    assert only(find_lesions(scan(block()), rules)).border_distance_mm is None


def test_score_rule_and_kinds_of_score() -> None:
    volume = scan(block(), value=0.6)
    volume.data[4, 11, 11] = 0.92
    mean = (31 * 0.6 + 0.92) / 32
    lesion = only(find_lesions(volume, replace(RULES, min_score=0.7)))
    assert (lesion.score, lesion.mean_probability) == pytest.approx((mean, mean))
    assert lesion.max_probability == pytest.approx(0.92)
    assert (lesion.removed_by, lesion.reason) == ("score", "score 0.610 is below 0.700")
    kept = only(find_lesions(volume, replace(RULES, min_score=0.7, score="max")))
    assert (kept.removed_by, kept.score) == (None, pytest.approx(0.92))


def test_pixel_threshold_counts_itself() -> None:
    volume = scan(block(), value=0.5)
    assert len(find_lesions(volume, RULES).lesions) == 1
    assert find_lesions(volume, replace(RULES, pixel_threshold=0.5001)).stages["candidates"] == 0


def test_stages_order_ids_and_labels() -> None:
    vein = box((1, 14), (40, 44), (5, 9))
    volume = scan(block(at=10), block(at=30, z=9), vein)
    volume.data[block(at=30, z=9)] = 0.95
    volume.data[block(at=50)] = 0.55
    volume.data[8, 2, 2] = 0.7
    found = find_lesions(volume, replace(RULES, min_score=0.6))
    assert found.stages == {
        "candidates": 5,
        "removed_by_size": 1,
        "removed_by_shape": 1,
        "removed_by_border": 0,
        "removed_by_score": 1,
        "lesions": 2,
    }
    assert list(found.stages)[-1] == "lesions"
    assert [lesion.id for lesion in found.lesions + found.excluded] == [1, 2, 3, 4, 5]
    assert found.labels.dtype == np.uint16
    assert (found.labels[block(at=30, z=9)] == 1).all()
    assert (found.labels[block(at=10)] == 2).all()
    assert np.count_nonzero(found.labels) == 64
    assert found.highest_probability == pytest.approx(0.95)


def test_places() -> None:
    volume = scan(block())
    affine = volume.affine.copy()
    affine[:3, 3] = (-15.0, -20.0, 5.0)
    (lesion,) = find_lesions(Volume(volume.data, affine), RULES).lesions
    # Mean index: z 4.5, y 11.5, x 11.5.
    assert lesion.centre_ras_mm == pytest.approx((-9.25, -14.25, 14.0))
    i, j, k = lesion.voxel_ijk
    assert volume.data[k, j, i] > 0
    assert (abs(i - 11.5), abs(j - 11.5), abs(k - 4.5)) == (0.5, 0.5, 0.5)
    assert lesion.bbox == ((4, 6), (10, 14), (10, 14))


def test_the_centre_voxel_of_a_ring_lies_in_the_ring() -> None:
    volume = scan(box((4, 5), (10, 17), (10, 17)))
    volume.data[4, 11:16, 11:16] = 0
    (lesion,) = find_lesions(volume, RULES).lesions
    i, j, k = lesion.voxel_ijk
    assert volume.data[k, j, i] > 0


def test_nothing_above_the_threshold() -> None:
    found = find_lesions(scan(block(), value=0.3), RULES)
    assert found.lesions == found.excluded == ()
    assert set(found.stages.values()) == {0}
    assert found.highest_probability == pytest.approx(0.3)
    assert not found.labels.any()


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(InputRefused, match=r"shape \(16, 60, 60\) is required for array, got"):
        find_lesions(scan(), RULES, brain=np.ones((2, 2, 2)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixel_threshold": 0.0}, r"pixel_threshold in \(0, 1\], got 0.0"),
        ({"min_score": 1.5}, "min_score from 0 to 1, got 1.5"),
        ({"max_elongation": -1.0}, "max_elongation >= 0, got -1.0"),
        ({"score": "median"}, 'score "mean" or "max", got \'median\''),
        ({"large_from_mm": 12.0}, "min_diameter_mm <= large_from_mm"),
        ({"min_volume_mm3": float("nan")}, "min_volume_mm3 >= 0, got nan"),
    ],
)
def test_rules_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(RULES, **changes)


def test_labels_of_excluded_candidates_are_not_drawn() -> None:
    labels: NDArray[Any] = find_lesions(scan(row(3)), RULES).labels
    assert not labels.any()


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_outline_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match="outline_share from 0 to 1"):
        LesionRules(outline_share=share)
