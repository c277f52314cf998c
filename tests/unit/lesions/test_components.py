"""Truth table of 26-connectivity, worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from cmbnet.lesions import label_components
from cmbnet.lesions.components import FEW


def mask_of(*voxels: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros((4, 5, 6), dtype=bool)
    for voxel in voxels:
        mask[voxel] = True
    return mask


@pytest.mark.parametrize(
    ("voxels", "count"),
    [
        pytest.param([], 0, id="nothing"),
        pytest.param([(1, 2, 3)], 1, id="one voxel"),
        pytest.param([(1, 2, 3), (1, 2, 4)], 1, id="face in plane"),
        pytest.param([(1, 2, 3), (2, 2, 3)], 1, id="face across slices"),
        pytest.param([(1, 2, 3), (1, 3, 4)], 1, id="edge in plane"),
        pytest.param([(1, 2, 3), (2, 2, 2)], 1, id="edge across slices"),
        pytest.param([(1, 2, 3), (2, 3, 4)], 1, id="corner"),
        pytest.param([(1, 2, 3), (1, 2, 5)], 2, id="gap in plane"),
        pytest.param([(0, 2, 3), (2, 2, 3)], 2, id="gap of a slice"),
        pytest.param([(0, 0, 0), (3, 4, 5)], 2, id="opposite ends do not wrap"),
        pytest.param([(0, 0, 0), (0, 0, 2), (1, 1, 1)], 1, id="bridged by corners"),
    ],
)
def test_truth_table(voxels: list[tuple[int, int, int]], count: int) -> None:
    labels, found = label_components(mask_of(*voxels))
    assert found == count
    assert labels.dtype == np.int32
    assert set(np.unique(labels)) == set(range(count + 1)) | {0}
    assert np.array_equal(labels > 0, mask_of(*voxels))


def test_labels_are_numbered_by_the_first_voxel_met() -> None:
    labels, _ = label_components(mask_of((2, 0, 0), (0, 4, 5), (0, 1, 1)))
    assert (labels[0, 1, 1], labels[0, 4, 5], labels[2, 0, 0]) == (1, 2, 3)


def test_a_view_that_is_not_contiguous_is_labelled() -> None:
    mask = mask_of((1, 2, 3), (2, 3, 4))
    labels, count = label_components(mask.transpose(2, 0, 1))
    assert count == 1
    assert np.array_equal(labels > 0, mask.transpose(2, 0, 1))


def test_two_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"3 dimensions is required, got shape \(3, 3\)"):
        label_components(np.ones((3, 3)))


@given(arrays(bool, (3, 4, 5)), st.permutations([0, 1, 2]), st.integers(0, 2))
def test_the_count_does_not_depend_on_axis_order_or_flips(
    mask: np.ndarray, order: list[int], flipped: int
) -> None:
    turned = np.flip(mask.transpose(order), axis=flipped)
    assert label_components(turned)[1] == label_components(mask)[1]


@given(arrays(bool, (3, 4, 5)))
def test_numbers_follow_the_order_of_first_voxels(mask: np.ndarray) -> None:
    labels, count = label_components(mask)
    met = list(dict.fromkeys(labels[labels > 0].tolist()))
    assert met == list(range(1, count + 1))


@given(st.integers(0, 2**32 - 1), st.floats(0.0005, 0.02), st.integers(1, 4))
def test_a_list_of_voxels_is_labelled_like_an_array(seed: int, share: float, thick: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((9, 24, 30)) < share / thick**2
    mask = ndimage.binary_dilation(mask, np.ones((1, thick, 1), bool))
    labels, count = label_components(mask)
    expected, number = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    assert count == number
    assert np.array_equal(labels, expected)


def test_a_snake_through_the_whole_array_is_one_component() -> None:
    # 60 slices, a voxel in each, turning back and forth: sparse enough for a list.
    mask = np.zeros((60, 40, 40), bool)
    for z in range(60):
        mask[z, 20, 10 + abs(z % 20 - 10)] = True
    assert mask.sum() < FEW * mask.size
    assert label_components(mask)[1] == 1
