import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from cmbnet.preprocess.resample import PlaneResampler, averaging_matrix, sampling_matrix


def test_linear_weights_by_hand() -> None:
    matrix = sampling_matrix(3, np.array([-0.6, -0.5, 0.25, 1.0, 2.5, 2.6]))
    expected = np.array([[0, 0, 0], [1, 0, 0], [0.75, 0.25, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    np.testing.assert_allclose(matrix, expected)


def test_wide_support_averages_every_sample_evenly() -> None:
    matrix = sampling_matrix(40, 0.5 + 2.0 * np.arange(20, dtype=float), support=2.0)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(matrix.sum(axis=0)[4:-4], 0.5, rtol=1e-6)


def test_averaging_weights_by_hand() -> None:
    np.testing.assert_allclose(
        averaging_matrix(4, 1.5),
        np.array([[2 / 3, 1 / 3, 0, 0], [0, 1 / 3, 2 / 3, 0], [0, 0, 0, 1]]),
    )
    np.testing.assert_array_equal(averaging_matrix(3, 1.0), np.eye(3))


@pytest.mark.parametrize(("n", "step"), [(200, 0.37), (200, 1.0), (333, 1.7), (5, 0.02)])
def test_blocks_agree_with_scipy(n: int, step: float) -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, n, 7)).astype(np.float32)
    positions = 0.3 + step * np.arange(int((n - 1) / step), dtype=float)
    positions = positions[positions <= n - 1]
    matrix = sampling_matrix(n, positions)
    z, y, x = np.meshgrid(np.arange(2), positions, np.arange(7), indexing="ij")
    expected = map_coordinates(image, [z, y, x], order=1)
    same = np.eye(7, dtype=np.float32)
    np.testing.assert_allclose(PlaneResampler(matrix, same)(image), expected, atol=1e-5)
    np.testing.assert_allclose(
        PlaneResampler(same, matrix)(image.transpose(0, 2, 1)),
        expected.transpose(0, 2, 1),
        atol=1e-5,
    )


def test_rows_outside_stay_zero() -> None:
    matrix = sampling_matrix(3, np.full(130, -5.0))
    same = np.eye(2, dtype=np.float32)
    assert not PlaneResampler(matrix, same)(np.ones((1, 3, 2), np.float32)).any()


@pytest.mark.parametrize("dtype", [np.float32, np.bool_])
def test_all_slices_give_what_single_slices_give(dtype: type) -> None:
    values = np.random.default_rng(3).random((7, 40, 33)) - 0.5
    image: np.ndarray = np.maximum(values, 0).astype(dtype)[::-1, :, ::-1]
    resampler = PlaneResampler(
        sampling_matrix(40, 0.2 + 1.2 * np.arange(35, dtype=float)),
        averaging_matrix(33, 5.5),
    )
    apart = np.concatenate([resampler(one[None]) for one in image])
    np.testing.assert_array_equal(resampler.all_slices(image), apart)
