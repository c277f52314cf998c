import numpy as np
import pytest

from cmbnet.errors import InputRefused
from cmbnet.preprocess import PreprocessRecipe
from cmbnet.preprocess.frame import AxisMap, FrameTransform, fit_frame
from cmbnet.preprocess.orientation import Orientation

STRAIGHT = Orientation((0, 1, 2), (False, False, False))


def fit(
    shape: tuple[int, int, int],
    pixel_mm: tuple[float, float],
    *,
    frame: str = "physical",
    size: int = 16,
    centre: tuple[float, float] | None = None,
    orientation: Orientation = STRAIGHT,
) -> FrameTransform:
    recipe = PreprocessRecipe.from_dict({"frame": frame, "size": size})
    middle = ((shape[1] - 1) / 2, (shape[2] - 1) / 2)
    return fit_frame(recipe, orientation, shape, (2.0, *pixel_mm), centre or middle)


def test_near_pixel_is_shifted_only() -> None:
    transform = fit((3, 20, 10), (0.59, 0.61))
    assert transform.y == AxisMap(16, 20, 2.0, 1.0)
    assert transform.x == AxisMap(16, 10, -3.0, 1.0)
    image = np.arange(600, dtype=np.float32).reshape(3, 20, 10)
    framed = transform.image_from_native(image)
    np.testing.assert_array_equal(framed[:, :, 3:13], image[:, 2:18, :])
    assert not framed[:, :, :3].any()
    assert not framed[:, :, 13:].any()
    np.testing.assert_array_equal(transform.to_native(framed)[:, 2:18], image[:, 2:18])
    assert not transform.to_native(framed)[:, :2].any()


def test_frame_follows_the_brain_not_the_image() -> None:
    transform = fit((3, 64, 64), (0.6, 0.6), centre=(20.0, 40.5))
    brain = np.zeros((3, 64, 64), np.uint8)
    brain[:, 13:28, 34:48] = 1
    framed = transform.from_native(brain)
    assert framed.sum() == brain.sum()
    assert transform.y.is_shift
    assert transform.x.is_shift
    rows = np.flatnonzero(framed.any(axis=(0, 2)))
    columns = np.flatnonzero(framed.any(axis=(0, 1)))
    assert abs((rows[0] + rows[-1]) / 2 - 7.5) <= 0.5
    assert abs((columns[0] + columns[-1]) / 2 - 7.5) <= 0.5


def test_physical_pixel_is_fixed_and_never_squashed() -> None:
    transform = fit((3, 30, 40), (0.3, 1.2))
    assert transform.y.step == pytest.approx(2.0)
    assert transform.x.step == pytest.approx(0.5)
    placed = transform.affine(np.diag([2.0, 0.3, 1.2, 1.0]))
    np.testing.assert_allclose(np.diag(placed), [2.0, 0.6, 0.6, 1.0])


def test_paper_crops_the_shortest_side_and_resizes() -> None:
    transform = fit((3, 48, 32), (0.5, 0.5), frame="paper")
    assert transform.y.step == transform.x.step == 2.0
    positions = transform.y.canonical_positions()
    assert (positions[0] + positions[-1]) / 2 == pytest.approx(23.5)
    assert (positions[0] - 0.5 - 0.5, positions[-1] + 0.5 + 0.5) == (7.5, 39.5)
    positions = transform.x.canonical_positions()
    assert (positions[0] - 1, positions[-1] + 1) == (-0.5, 31.5)


def test_paper_of_the_right_size_copies() -> None:
    transform = fit((3, 20, 16), (0.9, 0.4), frame="paper")
    image = np.random.default_rng(0).normal(size=(3, 20, 16)).astype(np.float32)
    np.testing.assert_array_equal(transform.image_from_native(image), image[:, 2:18])


def test_strong_reduction_averages_and_loses_no_voxel() -> None:
    transform = fit((3, 64, 64), (0.2, 0.2))
    for y in range(20, 30):
        image = np.zeros((3, 64, 64), np.float32)
        image[1, y, 31] = 1.0
        assert transform.image_from_native(image)[1].sum() == pytest.approx(1 / 9, rel=0.02)


def test_affine_places_the_frame_in_the_world() -> None:
    orientation = Orientation((2, 0, 1), (True, False, True))
    transform = fit((24, 30, 5), (0.5, 0.5), orientation=orientation, centre=(11.0, 14.0))
    native_affine = np.array([[0, -0.5, 0, 9], [0.5, 0, 0, 4], [0, 0, -2.0, 3], [0, 0, 0, 1]])
    frame_affine = transform.affine(native_affine)
    z, y, x = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in (24, 30, 5)], indexing="ij")
    for axis in range(3):
        # An image of world coordinates, resampled, must hold the frame's world coordinates.
        row = native_affine[axis]
        world = (row[0] * z + row[1] * y + row[2] * x + row[3]).astype(np.float32)
        framed = transform.image_from_native(world)
        index = (2, 7, 9)
        assert framed[index] == pytest.approx((frame_affine @ [*index, 1])[axis], abs=1e-4)


def test_wrong_shapes_are_refused() -> None:
    transform = fit((3, 20, 10), (0.6, 0.6))
    with pytest.raises(InputRefused, match=r"shape \(3, 20, 10\) is required, got \(3, 20, 11\)"):
        transform.from_native(np.zeros((3, 20, 11)))
    with pytest.raises(InputRefused, match=r"shape \(3, 16, 16\) is required"):
        transform.to_native(np.zeros((3, 20, 10)))


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("pixel_mm", [0.6, 0.5, 0.9])
def test_a_window_goes_back_as_the_frame_that_is_zero_around_it(
    order: int, pixel_mm: float
) -> None:
    orientation = Orientation((2, 0, 1), (True, False, True))
    transform = fit((24, 30, 5), (pixel_mm, pixel_mm), orientation=orientation, centre=(11.0, 14.0))
    window = (slice(3, 11), slice(2, 15))
    inside = np.random.default_rng(0).random((5, 8, 13)).astype(np.float32)
    frame = np.zeros(transform.shape, np.float32)
    frame[:, window[0], window[1]] = inside
    np.testing.assert_array_equal(
        transform.to_native(inside, order=order, window=window),  # type: ignore[arg-type]
        transform.to_native(frame, order=order),  # type: ignore[arg-type]
    )


def test_every_slice_of_labels_arrives() -> None:
    transform = fit((7, 64, 64), (0.5, 0.5))
    labels = np.zeros((7, 64, 64), np.uint16)
    for z in (0, 3, 4, 6):
        labels[z, 28:34, 30:36] = z + 1
    framed = transform.from_native(labels)
    assert [int(one.max()) for one in framed] == [1, 0, 0, 4, 5, 0, 7]
