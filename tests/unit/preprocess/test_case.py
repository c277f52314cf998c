"""`prepare` as a whole: what must not change the result, and what is refused."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy.ndimage import maximum_filter

from cmbnet.errors import InputRefused
from cmbnet.preprocess import PreprocessRecipe, prepare
from cmbnet.preprocess.orientation import Orientation
from cmbnet.volume import Volume
from tests.unit.preprocess.heads import affine_for, make_head

RECIPE = PreprocessRecipe(size=96, pixel_mm=2.4)
SMALL = PreprocessRecipe(size=64, pixel_mm=3.0)


def test_prepared_head() -> None:
    head, truth = make_head()
    prepared = prepare(head, RECIPE)
    assert prepared.image.shape == prepared.brain.shape == (40, 96, 96)
    assert prepared.image.dtype == np.float32
    assert prepared.image.flags["C_CONTIGUOUS"]
    assert prepared.spacing_mm == pytest.approx((4.0, 2.4, 2.4))
    assert 0.0 <= prepared.image.min() < prepared.image.max() <= 1.0
    assert np.median(prepared.image[prepared.frame.from_native(truth)]) == pytest.approx(
        0.6, abs=0.03
    )
    assert prepared.notes == ()
    assert prepared.brain_found


@pytest.mark.parametrize("frame", ["physical", "paper"])
@pytest.mark.parametrize("factor", [1e-33, 1e-3, 1e3, 1e35])
def test_a_factor_changes_nothing(factor: float, frame: str) -> None:
    head, _ = make_head(shape=(30, 60, 50), spacing_mm=(5.0, 3.9, 3.9))
    recipe = PreprocessRecipe.from_dict({"size": 64, "pixel_mm": 3.0, "frame": frame})
    before = prepare(head, recipe)
    after = prepare(head.with_data(head.data * np.float32(factor)), recipe)
    np.testing.assert_allclose(after.image, before.image, atol=1e-5)
    np.testing.assert_array_equal(after.brain, before.brain)


@pytest.mark.parametrize("pixel_mm", [2.4, 3.1], ids=["cropped", "resampled"])
def test_hot_voxel_anywhere_changes_only_its_place_and_little(pixel_mm: float) -> None:
    head, _ = make_head()
    recipe = PreprocessRecipe(size=96, pixel_mm=pixel_mm)
    before = prepare(head, recipe)
    rng = np.random.default_rng(5)
    for voxel in [(20, 48, 40), (0, 0, 0), *rng.integers(0, head.shape, (10, 3))]:
        z, y, x = (int(index) for index in voxel)
        data = head.data.copy()
        data[z, y, x] *= 100
        after = prepare(head.with_data(data), recipe)
        difference = np.abs(after.image - before.image)
        if data[z, y, x] > 10_000:  # noise of air x 100 is no brighter than tissue
            assert difference.max() < 0.2, voxel
            assert any("1 voxels brighter" in note for note in after.notes)
        mark = np.zeros(data.shape, bool)
        mark[z, y, x] = True
        there = maximum_filter(before.frame.from_native(mark), 3)
        assert difference[~there].max() < 1e-5, voxel
        np.testing.assert_array_equal(after.brain, before.brain)


def test_integer_types_give_the_same_as_floats() -> None:
    head, _ = make_head()
    whole = np.round(head.data)
    reference = prepare(head.with_data(whole), RECIPE).image
    for dtype in ("int16", "uint16", "float64"):
        again = prepare(head.with_data(whole.astype(dtype)), RECIPE).image
        np.testing.assert_array_equal(again, reference)


def test_every_orientation_gives_the_same_frame() -> None:
    head, _ = make_head(shape=(24, 50, 44), spacing_mm=(6.0, 4.2, 4.3))
    lesion = np.zeros(head.shape, bool)
    lesion[9, 20, 17] = True
    reference = prepare(head, SMALL)
    where = np.argwhere(reference.frame.from_native(lesion))
    for axes in permutations(range(3)):
        for flips in product((False, True), repeat=3):
            inverse = Orientation((axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2]))
            stored = Volume(
                np.ascontiguousarray(inverse.apply(head.data)),
                inverse.affine(head.affine, head.shape),
            )
            prepared = prepare(stored, SMALL)
            np.testing.assert_allclose(prepared.image, reference.image, atol=1e-5)
            np.testing.assert_array_equal(prepared.brain, reference.brain)
            stored_lesion = np.ascontiguousarray(inverse.apply(lesion))
            framed = prepared.frame.from_native(stored_lesion)
            np.testing.assert_array_equal(np.argwhere(framed), where)
            np.testing.assert_array_equal(prepared.frame.to_native(framed), stored_lesion)


def test_brain_is_never_cut_when_it_fits() -> None:
    head, truth = make_head()
    rolled = head.with_data(np.roll(head.data, (0, 6, -5), axis=(0, 1, 2)))
    moved = np.roll(truth, (0, 6, -5), axis=(0, 1, 2))
    tight = PreprocessRecipe(size=80, pixel_mm=2.4)  # 192 mm for a brain of 168 mm
    prepared = prepare(rolled, tight)
    assert prepared.frame.from_native(moved).sum() == moved.sum()
    assert prepared.notes == ()


def test_brain_larger_than_the_frame_is_said() -> None:
    head, _ = make_head()
    prepared = prepare(head, PreprocessRecipe(size=48, pixel_mm=2.4))
    assert any("mm are cut front to back" in note for note in prepared.notes)


def test_given_brain_mask_is_used() -> None:
    head, truth = make_head()
    half = truth.copy()
    half[:, :, :40] = False
    prepared = prepare(head, RECIPE, brain_mask=Volume(half, head.affine))
    np.testing.assert_array_equal(prepared.brain, prepared.frame.from_native(half))


@pytest.mark.parametrize("outside", [1e-6, 0.1, 0.49, -1.0])
def test_a_soft_brain_mask_is_cut_at_a_half_and_it_is_said(outside: float) -> None:
    head, truth = make_head()
    binary = prepare(head, RECIPE, brain_mask=Volume(truth, head.affine))
    soft = Volume(np.where(truth, 0.9, outside).astype(np.float32), head.affine)
    prepared = prepare(head, RECIPE, brain_mask=soft)
    np.testing.assert_array_equal(prepared.brain, binary.brain)
    (said,) = set(prepared.notes) - set(binary.notes)
    assert said.startswith("the brain mask holds values between")
    assert said.endswith("those of 0.5 or more were taken for brain")


def test_labels_are_a_brain_mask() -> None:
    head, truth = make_head()
    binary = prepare(head, RECIPE, brain_mask=Volume(truth, head.affine))
    labels = truth.astype(np.int16)
    labels[truth & (np.indices(truth.shape)[2] % 2 == 1)] = 41
    prepared = prepare(head, RECIPE, brain_mask=Volume(labels, head.affine))
    np.testing.assert_array_equal(prepared.brain, binary.brain)
    (said,) = set(prepared.notes) - set(binary.notes)
    assert said == "the brain mask holds labels up to 41; all of them were taken for brain"


def test_an_image_is_no_brain_mask() -> None:
    head, _ = make_head()
    with pytest.raises(InputRefused, match=r"that are not whole in scan\.nii"):
        prepare(head, RECIPE, brain_mask=Volume(head.data, head.affine, "scan.nii"))


def test_what_was_changed_in_a_mask_is_said() -> None:
    head, truth = make_head()
    mask = Volume(truth, head.affine, "m", ("3 voxels were NaN and became 0",))
    prepared = prepare(head, RECIPE, brain_mask=mask)
    assert "brain mask: 3 voxels were NaN and became 0" in prepared.notes


def test_wrong_brain_masks_are_refused() -> None:
    head, truth = make_head()
    with pytest.raises(InputRefused, match="brain mask m is empty"):
        prepare(head, RECIPE, brain_mask=Volume(np.zeros_like(truth), head.affine, "m"))
    shifted = head.affine.copy()
    shifted[0, 3] += 1
    with pytest.raises(InputRefused, match="must lie on the grid of head: corners up to 1"):
        prepare(head, RECIPE, brain_mask=Volume(truth, shifted))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((5, 6, 7)), "every voxel is 0"),
        (np.full((5, 6, 7), 8.0), "every voxel is 8"),
        (np.ones((2, 6, 7)), "at least 3 slices are required, got 2 in here"),
        (np.full((5, 6, 7), np.nan), "finite values are required"),
    ],
)
def test_what_is_no_image_is_refused(data: np.ndarray, message: str) -> None:
    with pytest.raises(InputRefused, match=message):
        prepare(Volume(data, affine_for((2, 1, 1), (5, 6, 7)), "here"), RECIPE)


@pytest.mark.parametrize("slices", [2, 3])
def test_sagittal_slices_count_as_slices(slices: int) -> None:
    data = np.random.default_rng(0).normal(100, 20, (slices, 10, 12)).astype(np.float32)
    sagittal = np.array([[3.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    if slices < 3:
        with pytest.raises(InputRefused, match="at least 3 slices are required, got 2"):
            prepare(Volume(data, sagittal), SMALL)
    else:
        assert prepare(Volume(data, sagittal), SMALL).image.shape == (10, 64, 64)


def test_same_input_same_bytes() -> None:
    head, _ = make_head(scalp=False)
    assert prepare(head, RECIPE).image.tobytes() == prepare(head, RECIPE).image.tobytes()
