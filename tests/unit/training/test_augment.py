from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from cmbnet.training.data.cache_part import BRAIN, IGNORE, LESION, MIMIC
from cmbnet.training.fit.augment import Augmenter, mirror, side_with_margin
from cmbnet.training.fit.paste import paste_lesions
from cmbnet.training.fit.recipe import AugmentSettings

NOTHING: dict[str, Any] = {
    "flip": False,
    "transpose": False,
    "affine_probability": 0.0,
    "contrast": 0.0,
    "gamma": 0.0,
    "brightness": 0.0,
    "noise": 0.0,
    "blur_probability": 0.0,
    "bias_field": 0.0,
    "slice_drop_probability": 0.0,
    "paste_probability": 0.0,
    "shape_probability": 0.0,
}
CROP = 32


def batch(n: int = 6, side: int = CROP) -> tuple[np.ndarray, np.ndarray]:
    """Noise, with a dark square that is marked."""
    rng = np.random.default_rng(1)
    stacks = rng.integers(150, 200, (n, side, side, 3), dtype=np.uint8)
    marks = np.full((n, side, side), BRAIN, np.uint8)
    middle = side // 2
    square = slice(middle - 9, middle - 4), slice(middle + 2, middle + 7)
    stacks[:, square[0], square[1]] = 10
    marks[:, square[0], square[1]] |= LESION
    return stacks, marks


def augmented(seed: int = 0, n: int = 6, **changes: Any) -> tuple[np.ndarray, np.ndarray]:
    settings = AugmentSettings(**(NOTHING | changes))
    side = side_with_margin(CROP, settings)
    stacks, marks = batch(n, side)
    mirror(stacks, marks, settings, np.random.default_rng(seed))
    images, targets = Augmenter(settings, CROP)(stacks, marks, tf.constant([seed, 5]))
    return images.numpy(), targets.numpy()


def test_without_changes_the_crop_comes_out_as_it_is() -> None:
    stacks, marks = batch()
    images, targets = augmented()
    np.testing.assert_allclose(images, stacks / 255.0, atol=1e-6)
    np.testing.assert_array_equal(targets[..., 0], (marks & LESION) > 0)
    assert (targets[..., 1] == 1).all()


def test_ignored_pixels_weigh_nothing() -> None:
    stacks, marks = batch(2)
    marks[:, 3, 4] |= IGNORE
    _, targets = Augmenter(AugmentSettings(**NOTHING), CROP)(stacks, marks, tf.constant([0, 0]))
    weights = targets.numpy()[..., 1]
    assert (weights[:, 3, 4] == 0).all()
    assert weights.sum() == weights.size - 2


@pytest.mark.parametrize(
    "changes",
    [
        {"flip": True},
        {"transpose": True},
        {"affine_probability": 1.0, "rotation_deg": 15.0, "scale": 0.1},
        {"flip": True, "transpose": True, "affine_probability": 0.5},
    ],
)
def test_the_truth_moves_with_the_image(changes: dict[str, Any]) -> None:
    images, targets = augmented(n=16, **changes)
    moved = 0
    for image, target in zip(images, targets, strict=True):
        dark = image[..., 1] < 0.35
        truth = target[..., 0] > 0
        overlap = 2 * (dark & truth).sum() / (dark.sum() + truth.sum())
        assert overlap > 0.85
        moved += not truth[CROP // 2 - 9, CROP // 2 + 2]
    assert moved > 0


def test_flips_and_transposition_only_move_pixels() -> None:
    stacks, _ = batch()
    images, _ = augmented(flip=True, transpose=True)
    for image, stack in zip(images, stacks, strict=True):
        np.testing.assert_allclose(np.sort(image.ravel()), np.sort(stack.ravel()) / 255, atol=1e-6)


def test_all_eight_ways_to_lay_a_square_are_drawn() -> None:
    stacks = np.zeros((200, 2, 2, 3), np.uint8)
    stacks[:, 0, 0], stacks[:, 0, 1] = 1, 2
    marks = stacks[..., 0].copy()
    mirror(stacks, marks, AugmentSettings(), np.random.default_rng(0))
    assert len(np.unique(marks.reshape(200, 4), axis=0)) == 8
    np.testing.assert_array_equal(stacks[..., 1], marks)


def test_a_turned_crop_has_no_empty_corner() -> None:
    images, _ = augmented(n=16, affine_probability=1.0, rotation_deg=30.0, scale=0.2)
    corners = images[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.min() > 0.5


@pytest.mark.parametrize(
    "changes",
    [
        {"contrast": 0.3},
        {"gamma": 0.3},
        {"brightness": 0.2},
        {"noise": 0.05},
        {"blur_probability": 1.0},
        {"bias_field": 0.3},
        {"slice_drop_probability": 1.0},
    ],
)
def test_each_change_of_intensity_changes_the_image_and_not_the_truth(
    changes: dict[str, Any],
) -> None:
    stacks, marks = batch()
    images, targets = augmented(**changes)
    assert np.abs(images - stacks / 255.0).max() > 0.005
    assert images.min() >= 0.0
    assert images.max() <= 1.0
    np.testing.assert_array_equal(targets[..., 0], (marks & LESION) > 0)


def test_crops_of_a_batch_are_changed_independently() -> None:
    images, _ = augmented(brightness=0.2)
    stacks, _ = batch()
    shifts = (images - stacks / 255.0)[:, 0, 0, 0]
    assert len(np.unique(np.round(shifts, 4))) == len(shifts)


def test_a_lost_slice_is_replaced_by_the_middle_one() -> None:
    images, _ = augmented(slice_drop_probability=1.0, n=12)
    below = (images[..., 0] == images[..., 1]).all(axis=(1, 2))
    above = (images[..., 2] == images[..., 1]).all(axis=(1, 2))
    assert (below ^ above).all()
    assert below.any()
    assert above.any()


def test_the_seed_decides() -> None:
    everything = {name: value for name, value in AugmentSettings() if name != "flip"}
    one, two, other = (augmented(seed, **everything)[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - other).max() > 0.05


def pair(background: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """A crop of 0.8 with a lesion of 0.2 and one of `background` without, all of it brain."""
    stacks = np.full((2, CROP, CROP, 3), 0.8, np.float32)
    stacks[1] = background
    marks = np.full((2, CROP, CROP, 1), BRAIN, np.uint8)
    stacks[0, 10:15, 20:25] = 0.2
    marks[0, 10:15, 20:25] |= LESION
    return stacks, marks


def test_a_pasted_lesion_leaves_the_same_share_of_the_signal() -> None:
    """0.2 of 0.8 is a quarter; a quarter of 0.6 is 0.15. Far from it nothing changes."""
    stacks, marks = pair()
    image, marked = paste_lesions(stacks, marks, tf.constant([True]))
    np.testing.assert_allclose(image[1, 10:15, 20:25], 0.15, atol=1e-5)
    np.testing.assert_array_equal((marked[1] & LESION) > 0, (marks[0] & LESION) > 0)
    far = np.ones((CROP, CROP), bool)
    far[8:17, 18:27] = False
    np.testing.assert_array_equal(image.numpy()[1][far], np.float32(0.6))
    np.testing.assert_array_equal(image[0], stacks[0])
    np.testing.assert_array_equal(marked[0], marks[0])


@pytest.mark.parametrize("taken", [LESION, MIMIC, IGNORE, "outside"])
def test_nothing_is_pasted_where_something_is(taken: Any) -> None:
    stacks, marks = pair()
    marks[1, 12, 22] = 0 if taken == "outside" else BRAIN | taken
    image, marked = paste_lesions(stacks, marks, tf.constant([True]))
    np.testing.assert_array_equal(image, stacks)
    np.testing.assert_array_equal(marked, marks)


def test_without_a_lesion_or_without_being_chosen_nothing_is_pasted() -> None:
    stacks, marks = pair()
    for chosen, bits in ((False, LESION), (True, 0)):
        marks[0, 10:15, 20:25] = BRAIN | bits
        image, marked = paste_lesions(stacks, marks, tf.constant([chosen]))
        np.testing.assert_array_equal(image, stacks)
        np.testing.assert_array_equal(marked, marks)


def test_pasting_is_part_of_the_augmentation() -> None:
    stacks, marks = batch()
    marks[1::2] &= np.uint8(255 - LESION)
    settings = AugmentSettings(**(NOTHING | {"paste_probability": 1.0}))
    stacks[1::2] = 150
    _, targets = Augmenter(settings, CROP)(stacks, marks, tf.constant([0, 5]))
    np.testing.assert_array_equal(targets[1::2, ..., 0], targets[::2, ..., 0])
    assert targets.numpy()[1::2, ..., 0].any()


def test_shapes_are_large_and_spare_lesions() -> None:
    stacks, marks = batch(120, 96)
    settings = AugmentSettings(**(NOTHING | {"shape_probability": 1.0}))
    images, targets = Augmenter(settings, 96)(stacks, marks, tf.constant([3, 5]))
    targets = targets.numpy()
    change = np.abs(images.numpy() - stacks / 255.0)
    lesion = (marks & LESION) > 0
    np.testing.assert_array_equal(targets[..., 0], lesion)
    assert (targets[..., 1] == 1).all()
    assert change[lesion].max() < 0.01
    extent = []
    for crop in change.max(axis=-1) > 0.08:
        rows, columns = np.nonzero(crop)
        if len(rows):
            extent.append(max(np.ptp(rows), np.ptp(columns)))
    assert 40 < len(extent) < 110  # some would touch the lesion
    assert np.mean(np.array(extent) > 17) > 0.9  # 10 mm; the rest reach in from outside


def test_a_share_of_the_crops_gets_shapes_the_same_for_the_same_seed() -> None:
    stacks, marks = batch(200)
    marks[...] = BRAIN
    settings = AugmentSettings(**(NOTHING | {"shape_probability": 0.3}))
    first, again = (
        Augmenter(settings, CROP)(stacks, marks, tf.constant([1, 2]))[0].numpy() for _ in range(2)
    )
    np.testing.assert_array_equal(first, again)
    changed = (np.abs(first - stacks / 255.0) > 0.05).any(axis=(1, 2, 3))
    assert 0.15 < changed.mean() < 0.4
