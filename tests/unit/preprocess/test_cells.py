import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_fill_holes, distance_transform_edt, gaussian_filter

from cmbnet.preprocess.brain import filled
from cmbnet.preprocess.cells import distance_mm, mean_around


def random_mask(seed: int, shape: tuple[int, int, int], share: float) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) < share


@settings(max_examples=40)
@given(
    seed=st.integers(0, 1000),
    shape=st.tuples(st.integers(1, 11), st.integers(1, 19), st.integers(1, 12)),
    spacing_mm=st.tuples(*[st.sampled_from([3.0, 5.0, 0.46875 * 6.4, 2.9999999]) for _ in "zyx"]),
    reach_mm=st.sampled_from([3.0, 6.0, 9.0, 15.0]),
    share=st.sampled_from([0.5, 0.9, 0.995]),
)
def test_distances_are_those_of_scipy(
    seed: int,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    reach_mm: float,
    share: float,
) -> None:
    mask = random_mask(seed, shape, share)
    mask.flat[0] = False  # of a mask without an outside scipy says nothing
    expected = distance_transform_edt(mask, sampling=spacing_mm)
    found = distance_mm(mask, spacing_mm, reach_mm=reach_mm)
    within = expected <= reach_mm
    np.testing.assert_array_equal(found[within], expected[within])
    assert np.all(found[~within] > reach_mm)


def test_without_an_outside_all_is_far() -> None:
    assert np.all(np.isinf(distance_mm(np.ones((3, 4, 5), bool), (3.0, 3.0, 3.0), reach_mm=9.0)))


@pytest.mark.parametrize("mode", ["nearest", "reflect"])
def test_mean_of_what_a_mask_holds(mode: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.random((9, 12, 10)).astype(np.float32)
    mask = random_mask(1, values.shape, 0.4)
    sigma = [1.0, 2.0, 1.5]

    def blurred(array: np.ndarray) -> np.ndarray:
        result: np.ndarray = gaussian_filter(array, sigma, mode=mode, truncate=2.5)
        return result

    found = mean_around(values, mask, sigma, mode=mode, least=0.2)  # type: ignore[arg-type]
    weight = np.maximum(blurred(mask.astype(np.float32)), 0.2)
    np.testing.assert_array_equal(found, blurred(values * mask) / weight)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.9])
def test_holes_are_those_of_scipy(share: float) -> None:
    mask = random_mask(2, (7, 30, 25), share)
    by_slice = np.stack([binary_fill_holes(one) for one in mask])
    np.testing.assert_array_equal(filled(mask, in_slices=True), by_slice)
    np.testing.assert_array_equal(filled(mask, in_slices=False), binary_fill_holes(mask))
    assert (by_slice != mask).any()
