from __future__ import annotations

import numpy as np
import pytest

from cmbnet.deploy.parity import compare


def test_equal_maps_are_at_parity() -> None:
    values = np.random.default_rng(0).random((3, 4, 5))
    parity = compare(values, values)
    assert parity.to_dict() == {
        "stacks": 3,
        "max_difference": 0.0,
        "mean_difference": 0.0,
        "mean_difference_lesion": 0.0,
        "mask_dice": 1.0,
    }


def test_differences_by_hand() -> None:
    reference = np.array([[[0.9, 0.6, 0.1, 0.0]]])
    candidate = np.array([[[0.7, 0.4, 0.1, 0.2]]])
    parity = compare(reference, candidate)
    assert parity.max_difference == pytest.approx(0.2)
    assert parity.mean_difference == pytest.approx(0.15)
    assert parity.mean_difference_lesion == pytest.approx(0.2)
    assert parity.mask_dice == pytest.approx(2 * 1 / (2 + 1))


def test_two_empty_masks_agree() -> None:
    parity = compare(np.zeros((1, 2, 2)), np.full((1, 2, 2), 0.1))
    assert (parity.mask_dice, parity.mean_difference_lesion) == (1.0, 0.0)


def test_unequal_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="equal shapes are required"):
        compare(np.zeros((1, 2, 2)), np.zeros((1, 2, 3)))
