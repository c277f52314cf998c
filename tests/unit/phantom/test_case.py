from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cmbnet.phantom.acquisition import motion_factor, receive_bias
from cmbnet.phantom.anatomy import Anatomy
from cmbnet.phantom.case import PhantomCase, make_case
from cmbnet.phantom.grid import Grid
from cmbnet.phantom.mimics import MimicKind, draw_mimics
from cmbnet.phantom.montage import write_montage
from cmbnet.phantom.protocol import TINY
from cmbnet.volume import grid_difference


def test_all_images_share_a_grid(positive: PhantomCase) -> None:
    dtypes = {"image": np.int16, "lesions": np.uint16, "ignore": np.uint8,
              "mimics": np.uint16, "brain": np.uint8}  # fmt: skip
    for name, dtype in dtypes.items():
        volume = getattr(positive, name)
        assert volume.shape == (24, 96, 96)
        assert volume.data.dtype == dtype
        assert grid_difference(volume, positive.image) is None
    assert positive.image.data.min() >= 0
    assert positive.image.data.max() <= 4095
    assert np.allclose(positive.image.spacing_mm, (2.2, 0.95, 0.95))


def test_rows_and_labels_agree(positive: PhantomCase) -> None:
    labels = positive.lesions.data
    present = [row.lesion for row in positive.truth if row.lesion]
    assert present
    assert sorted(present) == list(range(1, labels.max() + 1))
    for row in positive.truth:
        if not row.lesion:
            continue
        where = np.argwhere(labels == row.lesion)
        distance = np.abs(where - np.array([row.z, row.y, row.x])).min(axis=0)
        assert distance.max() <= 2
        assert row.volume_mm3 == pytest.approx(len(where) * 2.2 * 0.95**2, rel=0.3)
        assert 2 <= row.diameter_mm <= 10


def test_microbleeds_are_dark_spots(positive: PhantomCase) -> None:
    image, labels = positive.image.data, positive.lesions.data
    healthy = (positive.brain.data > 0) & (labels == 0) & (positive.ignore.data == 0)
    healthy &= positive.mimics.data == 0
    assert image[labels > 0].mean() < 0.6 * image[healthy].mean()


def test_truth_and_ignore_do_not_overlap(positive: PhantomCase) -> None:
    assert not np.any((positive.lesions.data > 0) & (positive.ignore.data > 0))


def test_a_control_has_no_microbleeds(control: PhantomCase) -> None:
    assert control.truth == ()
    assert not control.lesions.data.any()
    assert not control.ignore.data.any()
    assert control.brain.data.sum() > 20_000


def test_same_seed_same_bytes(positive: PhantomCase) -> None:
    again = make_case(1, positive=True, anatomy="procedural", lesion_count=6)
    for name in ("image", "lesions", "ignore", "mimics", "brain"):
        first, second = getattr(positive, name), getattr(again, name)
        assert first.data.tobytes() == second.data.tobytes()
    assert again.truth == positive.truth


def test_lesions_change_nothing_but_their_neighbourhood(positive: PhantomCase) -> None:
    """A control of the same seed is the same scan without the microbleeds."""
    without = make_case(1, positive=False, anatomy="procedural")
    change = np.abs(positive.image.data.astype(int) - without.image.data.astype(int))
    centres = np.array([[row.z, row.y, row.x] for row in positive.truth])
    index = np.moveaxis(np.indices(change.shape), 0, -1) - centres[:, None, None, None]
    far = np.linalg.norm(index * (2.2, 0.95, 0.95), axis=-1).min(axis=0) > 20
    assert np.percentile(change[far], 99) <= 2
    assert change[positive.lesions.data > 0].mean() > 50


def test_slices_run_up_and_the_affine_says_how_they_are_stored(positive: PhantomCase) -> None:
    for seed in (2, 3):
        case = make_case(seed, positive=False, anatomy="procedural", anatomy_seed=1)
        affine = case.image.affine
        assert affine[2, 0] > 0.9 * 2.2
        assert abs(abs(affine[0, 2]) - 0.95) < 1e-6
    centre = np.argwhere(positive.brain.data).mean(axis=0)
    world = positive.image.world_mm(tuple(centre))
    assert np.linalg.norm(world) < 30


@pytest.mark.parametrize("kind", [MimicKind.VEIN, MimicKind.IRON, MimicKind.FLOW_VOID])
def test_mimics_are_marked(control: PhantomCase, kind: MimicKind) -> None:
    assert np.any(control.mimics.data == kind)


def test_every_kind_of_drawn_mimic_occurs(head: Anatomy) -> None:
    kinds = set()
    for seed in range(12):
        mimics, veins = draw_mimics(np.random.default_rng(seed), head, TINY)
        kinds |= {mimic.kind for mimic in mimics}
        for mimic in mimics:
            if mimic.kind == MimicKind.CALCIFICATION:
                assert all(sphere.chi_ppm < -1 for sphere in mimic.spheres)
            if mimic.kind == MimicKind.VEIN_END_ON:
                assert np.ptp(mimic.path_mm[:, 0]) > 4
                assert len(veins.points_mm)
    assert kinds == {
        MimicKind.VEIN_END_ON, MimicKind.CALCIFICATION, MimicKind.FLOW_VOID,
        MimicKind.PERIVASCULAR_SPACE,
    }  # fmt: skip


def test_motion_only_shifts_phase_and_leaves_the_centre() -> None:
    grid = Grid((1, 64, 48), (0.0, 0.0, 0.0), (2.0, 0.7, 0.7))
    factor = motion_factor(np.random.default_rng(3), grid)
    np.testing.assert_allclose(np.abs(factor), 1, atol=1e-5)
    assert factor[0, 0] == pytest.approx(1)
    assert np.abs(np.angle(factor)).max() > 0.1


def test_bias_of_strength_zero_is_none() -> None:
    rng = np.random.default_rng(0)
    assert np.all(receive_bias(rng, (3, 4, 5), 0.0) == 1)
    assert np.ptp(receive_bias(rng, (30, 40, 50), 1.0)) > 0.5


def test_montage_is_a_picture(positive: PhantomCase, tmp_path: Path) -> None:
    from PIL import Image

    write_montage(positive, tmp_path / "case.png")
    with Image.open(tmp_path / "case.png") as picture:
        assert picture.size == (1500, 624)
        assert np.asarray(picture).std() > 10
