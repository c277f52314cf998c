from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from cmbnet.errors import InputRefused
from cmbnet.lesions import LesionRules, find_lesions
from cmbnet.lesions.surroundings import continuation_mm, rim_brightness
from cmbnet.volume import Volume

SPACING_MM = (2.0, 1.0, 1.0)
RULES = LesionRules(max_continuation_mm=3.0)


def scan() -> NDArray[np.float32]:
    """Tissue of 100, 12 slices of 40 x 40."""
    return np.full((12, 40, 40), 100.0, np.float32)


def volume(data: NDArray[np.float32]) -> Volume:
    z, y, x = SPACING_MM
    affine = np.array([[0, 0, x, 0], [0, y, 0, 0], [z, 0, 0, 0], [0, 0, 0, 1.0]])
    return Volume(data, affine, "drawn")


BOX = (slice(5, 6), slice(19, 22), slice(19, 22))
"""A candidate of 3 x 3 pixels in one slice: its corner is 1.41 mm from its centre."""
WHOLE = np.ones((1, 3, 3), bool)
CORNER_MM = 2**0.5


def test_a_dot_does_not_go_on() -> None:
    data = scan()
    data[BOX] = 20.0
    assert continuation_mm(volume(data), WHOLE, BOX, None) == 0.0


@pytest.mark.parametrize("length", [3, 6])
def test_a_tube_in_the_plane_goes_on_by_its_length(length: int) -> None:
    data = scan()
    data[BOX] = 20.0
    data[5, 20, 20 : 20 + length + 2] = 30.0
    # The tube ends length + 1 pixels from the centre of the candidate.
    expected = length + 1 - CORNER_MM
    assert continuation_mm(volume(data), WHOLE, BOX, None) == pytest.approx(expected)


def test_a_tube_across_the_slices_is_measured_in_mm() -> None:
    data = scan()
    data[BOX] = 20.0
    data[5:9, 20, 20] = 20.0
    assert continuation_mm(volume(data), WHOLE, BOX, None) == pytest.approx(3 * 2.0 - CORNER_MM)


def test_where_it_is_no_longer_dark_it_ends() -> None:
    data = scan()
    data[BOX] = 20.0
    for value, goes_on in ((47.0, True), (49.0, False)):  # 100 - 0.65 * 80 is 48
        data[5, 20, 22:28] = value
        assert (continuation_mm(volume(data), WHOLE, BOX, None) > 0) is goes_on


def test_noise_joins_nothing() -> None:
    rng = np.random.default_rng(0)
    data = (100 + 10 * rng.standard_normal(scan().shape)).astype(np.float32)
    data[BOX] = 80.0  # two standard deviations: its share alone would be at 1.3 of them
    assert continuation_mm(volume(data), WHOLE, BOX, None) == 0.0


def test_what_is_not_brain_is_no_vein() -> None:
    data = scan()
    data[BOX] = 20.0
    data[5, :, 22:] = 0.0
    brain = np.ones(data.shape, bool)
    brain[5, :, 22:] = False
    assert continuation_mm(volume(data), WHOLE, BOX, brain) == 0.0


def test_without_tissue_around_nothing_is_said() -> None:
    data = scan()
    data[BOX] = 20.0
    data[5, 20] = 20.0
    assert continuation_mm(volume(data), WHOLE, BOX, np.zeros(data.shape, bool)) == 0.0


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_scale_and_axis_order_change_nothing(scale: float, order: tuple[int, int, int]) -> None:
    data = scan()
    data[BOX] = 20.0
    data[5, 20, 20:27] = 30.0
    turned = volume(data * np.float32(scale))
    affine = turned.affine.copy()
    affine[:3, :3] = affine[:3, :3][:, list(order)]
    turned = Volume(np.ascontiguousarray(turned.data.transpose(order)), affine, "turned")
    box = tuple(BOX[axis] for axis in order)
    expected = continuation_mm(volume(data), WHOLE, BOX, None)
    assert continuation_mm(turned, WHOLE.transpose(order), box, None) == pytest.approx(expected)


@pytest.mark.parametrize("brightness", [0.5, 1.0, 1.6])
def test_the_rim_is_compared_with_the_brain(brightness: float) -> None:
    data = scan()
    data[5, 15:26, 15:26] *= brightness  # 4 mm around the candidate, in its slice alone
    data[BOX] = 20.0
    assert rim_brightness(volume(data), WHOLE, BOX, None) == pytest.approx(brightness)


def test_the_rim_may_lie_outside_the_brain() -> None:
    data = scan()
    data[5, 15:26, 15:26] = 180.0
    data[BOX] = 20.0
    assert rim_brightness(volume(data), WHOLE, BOX, data == 100.0) == pytest.approx(1.8)


def test_other_slices_are_no_rim() -> None:
    data = scan()
    data[[4, 6]] = 180.0
    data[BOX] = 20.0
    assert rim_brightness(volume(data), WHOLE, BOX, None) == pytest.approx(1.0)


def test_a_rim_nobody_can_judge_is_plain() -> None:
    data = scan()
    nowhere = np.zeros(data.shape, bool)
    assert rim_brightness(volume(data), WHOLE, BOX, nowhere) == 1.0
    whole_slice = (slice(5, 6), slice(0, 40), slice(0, 40))
    everything = np.ones((1, 40, 40), bool)
    assert rim_brightness(volume(data), everything, whole_slice, None) == 1.0
    assert rim_brightness(volume(np.zeros_like(data)), WHOLE, BOX, None) == 1.0


@pytest.mark.parametrize("order", [(1, 2, 0), (2, 0, 1)])
def test_the_rim_does_not_depend_on_how_the_scan_is_stored(order: tuple[int, int, int]) -> None:
    data = scan()
    data[5, 15:26, 15:26] = 130.0
    data[BOX] = 20.0
    stored = volume(data)
    affine = stored.affine[:, [*order, 3]]
    turned = Volume(np.ascontiguousarray(data.transpose(order)), affine, "turned")
    box = (BOX[order[0]], BOX[order[1]], BOX[order[2]])
    assert rim_brightness(turned, WHOLE.transpose(order), box, None) == pytest.approx(1.3)


def test_a_piece_of_a_vein_is_excluded_with_the_reason() -> None:
    data, probability = scan(), np.zeros((12, 40, 40), np.float32)
    for y in (10, 30):
        data[5, y - 1 : y + 2, 19:22] = 20.0
        probability[5, y - 1 : y + 2, 19:22] = 0.9
    data[5, 30, 20:32] = 30.0
    finding = find_lesions(volume(probability), RULES, image=volume(data))
    assert [lesion.voxel_ijk[1] for lesion in finding.lesions] == [10]
    (vein,) = finding.excluded
    assert vein.removed_by == "shape"
    assert "goes on for" in vein.reason
    assert "3 mm are allowed" in vein.reason
    assert finding.lesions[0].continuation_mm == 0.0
    assert finding.lesions[0].rim_brightness == 1.0
    unasked = find_lesions(volume(probability), replace(RULES, max_continuation_mm=None))
    assert unasked.lesions[0].rim_brightness is None
    assert len(unasked.lesions) == 2


def test_a_large_lesion_is_not_asked() -> None:
    data, probability = scan(), np.zeros((12, 40, 40), np.float32)
    data[5, 17:23, 17:23] = 20.0
    probability[5, 17:23, 17:23] = 0.9
    data[5, 20, 20:32] = 30.0
    finding = find_lesions(volume(probability), RULES, image=volume(data))
    assert [lesion.continuation_mm for lesion in finding.lesions] == [None]


def test_a_scan_on_another_grid_is_refused() -> None:
    with pytest.raises(InputRefused, match="a scan of shape"):
        find_lesions(volume(scan() / np.float32(200)), RULES, image=volume(scan()[:-1]))
