"""`Volume` and the comparison of grids."""

import numpy as np
import pytest

from cmbnet.errors import InputRefused
from cmbnet.volume import Volume, grid_difference

# z, y, x -> RAS: slices 2 mm up, rows 0.5 mm to anterior, columns 0.4 mm to the *left*.
AFFINE = np.array(
    [[0.0, 0.0, -0.4, 10.0], [0.0, 0.5, 0.0, -20.0], [2.0, 0.0, 0.0, 5.0], [0.0, 0.0, 0.0, 1.0]]
)


def volume(shape: tuple[int, ...] = (3, 4, 5), affine: np.ndarray = AFFINE) -> Volume:
    return Volume(np.zeros(shape, np.float32), affine, source="case.nii.gz")


def test_spacing_and_voxel_volume_come_from_the_affine() -> None:
    assert volume().spacing_mm == pytest.approx((2.0, 0.5, 0.4))
    assert volume().voxel_volume_mm3 == pytest.approx(2.0 * 0.5 * 0.4)


def test_voxel_volume_of_a_sheared_grid_is_the_determinant_not_the_product_of_spacings() -> None:
    sheared = AFFINE.copy()
    sheared[1, 0] = 2.0  # each slice lies 2 mm further anterior: same volume, longer step
    assert volume(affine=sheared).voxel_volume_mm3 == pytest.approx(0.4)
    assert np.prod(volume(affine=sheared).spacing_mm) > 0.5


def test_world_position_of_an_index() -> None:
    # x: 10 - 0.4 * 3 = 8.8; y: -20 + 0.5 * 2 = -19; z: 5 + 2 * 1 = 7
    assert volume().world_mm((1, 2, 3)) == pytest.approx((8.8, -19.0, 7.0))


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((3, 4), AFFINE, r"3 dimensions is required, got shape \(3, 4\) in case.nii.gz"),
        ((3, 4, 5), np.zeros((4, 4)), "has no volume"),
        ((3, 4, 5), np.full((4, 4), np.nan), "finite 4x4 affine"),
        ((3, 4, 5), np.eye(3), "finite 4x4 affine"),
    ],
)
def test_what_is_no_volume_is_refused(
    shape: tuple[int, ...], affine: np.ndarray, message: str
) -> None:
    with pytest.raises(InputRefused, match=message):
        volume(shape, affine)


def test_the_affine_is_a_read_only_copy() -> None:
    mine = AFFINE.copy()
    held = volume(affine=mine)
    mine[0, 3] = 99.0
    assert held.affine[0, 3] == 10.0
    with pytest.raises(ValueError, match="read-only"):
        held.affine[0, 3] = 1.0


def test_with_data_keeps_the_grid_and_refuses_another_shape() -> None:
    changed = volume().with_data(np.ones((3, 4, 5), np.uint8))
    assert grid_difference(changed, volume()) is None
    with pytest.raises(InputRefused, match=r"shape \(3, 4, 5\) is required .* got \(3, 4, 6\)"):
        volume().with_data(np.ones((3, 4, 6)))


def test_grids_differ_by_shape_or_by_a_corner_more_than_a_micrometre_away() -> None:
    assert grid_difference(volume(), volume((3, 4, 6))) == "shape (3, 4, 5) against (3, 4, 6)"
    rotated = AFFINE.copy()
    rotated[1, 2] += 0.0005  # 4 columns further on: 0.002 mm, though the origin agrees
    difference = grid_difference(volume(), volume(affine=rotated))
    assert difference is not None
    assert "corners up to 0.002 mm apart" in difference
    rotated[1, 2] = AFFINE[1, 2] + 0.0002  # 0.0008 mm: within tolerance
    assert grid_difference(volume(), volume(affine=rotated)) is None
