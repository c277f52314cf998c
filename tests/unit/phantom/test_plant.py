from __future__ import annotations

import numpy as np
import pytest

from benchmarks.planted.plant import free_distance_mm, place_in, plant, scan_of
from cmbnet.phantom.grid import Grid
from cmbnet.phantom.lesions import Microbleed
from cmbnet.phantom.protocol import Protocol
from cmbnet.phantom.regions import Region
from cmbnet.phantom.scan import ScanPlan
from cmbnet.phantom.spheres import Sphere
from cmbnet.volume import Volume

AT_3T = Protocol("real", 3.0, 20, 28, 15, 1, 1, 1, phase_fraction=1, output="magnitude")
SHAPE = (20, 64, 64)


def scan(spacing_mm: tuple[float, float, float] = (2.0, 0.5, 0.5)) -> ScanPlan:
    # Index z to S, y to A, x to R.
    affine = np.zeros((4, 4))
    affine[[2, 1, 0, 3], [0, 1, 2, 3]] = (*spacing_mm, 1.0)
    return scan_of(Volume(np.zeros(SHAPE, np.float32), affine), AT_3T)


def ball(centre_mm: tuple[float, ...], radius_mm: float, chi_ppm: float, left: float) -> Microbleed:
    sphere = Sphere(np.array(centre_mm), radius_mm, chi_ppm, left)
    return Microbleed(
        Region.NONE, np.array(centre_mm), chi_ppm, sphere.moment_ppm_mm3, (sphere,)
    )  # fmt: skip


CENTRE_MM = (20.0, 16.0, 16.0)
CENTRE = (10, 32, 32)


def test_signal_is_lost_where_a_lesion_is_planted_and_nowhere_else() -> None:
    image = np.full(SHAPE, 500, np.complex64)
    planted = plant(image, scan(), [ball(CENTRE_MM, 1.0, 1.0, 0.05)])
    drop = 1 - np.abs(planted) / 500
    assert drop[CENTRE] > 0.9
    z, y, x = scan().grid.axes_mm()
    distance = np.sqrt((z - 20) ** 2 + (y - 16) ** 2 + (x - 16) ** 2)
    assert np.abs(drop[distance > 9]).max() < 0.01
    assert (distance[drop > 0.5]).max() < 3.5


def test_a_dark_ball_leaves_the_share_of_signal_that_it_is_told() -> None:
    """No susceptibility: a voxel well inside keeps .3, one well outside keeps 1."""
    planted = plant(np.full(SHAPE, 100, np.complex64), scan(), [ball(CENTRE_MM, 5.0, 1e-9, 0.3)])
    assert abs(planted[CENTRE]) == pytest.approx(30, abs=1.5)
    assert abs(planted[10, 32, 48]) == pytest.approx(100, abs=1.5)  # 8 mm away


def test_the_loss_of_a_dipole_is_that_of_static_dephasing() -> None:
    """Integral of 1 - cos of the dipole's phase over space, by hand: 2 pi / (9 sqrt 3) rad M.

    With phase A / r^3, A = a (3 mu^2 - 1) and a = rad M / (4 pi): r^2 dr (1 - cos) gives
    pi |A| / 6, and the mean of |3 mu^2 - 1| over the sphere is 4 / (3 sqrt 3).
    """
    moment = 3.0  # ppm mm3; a small ball of strong material is nearly a point
    radius = 0.35
    chi = moment / (4 / 3 * np.pi * radius**3)
    fine = scan((1.0, 0.5, 0.5))
    planted = plant(np.ones(SHAPE, np.complex64), fine, [ball((10, 16, 16), radius, chi, 1.0)])
    loss_mm3 = (1 - planted.real).sum() * 0.25
    radians = 2 * np.pi * 42.577 * 3 * 0.020
    assert loss_mm3 == pytest.approx(2 * np.pi / (9 * np.sqrt(3)) * radians * moment, rel=0.08)


def test_noise_stays_where_the_signal_goes() -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((*SHAPE, 2), np.float32).view(np.complex64)[..., 0]
    lesion = [ball(CENTRE_MM, 6.0, 1e-9, 0.0)]
    inside = np.s_[9:12, 26:39, 26:39]
    image = (100 + 5 * noise).astype(np.complex64)
    assert plant(image, scan(), lesion)[inside].std() < 2
    planted = plant(image, scan(), lesion, noise_sd=5, rng=rng)
    assert planted[inside].real.std() == pytest.approx(5, rel=0.2)
    assert planted[:3].std() == pytest.approx(image[:3].std(), rel=0.02)


def test_the_main_field_points_along_the_head_whatever_the_slices_do() -> None:
    """Coronal slices: the axis of the slices points to P, rows to S."""
    affine = np.array([[0, 0, -2, 9], [-3, 0, 0, 9], [0, 1.5, 0, 9], [0, 0, 0, 1]], float)
    coronal = scan_of(Volume(np.zeros(SHAPE, np.float32), affine), AT_3T)
    assert coronal.b0_zyx == pytest.approx([0, 1, 0])
    assert coronal.grid.spacing_mm == pytest.approx((3, 1.5, 2))
    assert coronal.sub_slices == 3
    # The middle sub-slice of a slice lies where the slice lies.
    assert coronal.work.points_of(np.array([[7, 0, 0]]))[0, 0] == pytest.approx(6)


def test_lesions_lie_in_bright_tissue_apart_from_what_is_dark() -> None:
    grid = Grid(SHAPE, (0, 0, 0), (2.0, 0.5, 0.5))
    image = np.full(SHAPE, 500, np.float32)
    image[:, :, 30:33] = 200  # a vein
    brain = np.zeros(SHAPE, bool)
    brain[:, 4:60, 4:60] = True
    free = free_distance_mm(image, brain, grid)
    assert free[10, 32, 31] == 0
    assert free[10, 32, 38] == pytest.approx(3.0)  # six pixels to the vein's last one
    assert free[10, 2, 10] == 0
    lesions = place_in(np.random.default_rng(0), scan(), free, np.full(8, 1.0))
    assert len(lesions) >= 4
    centres = np.array([lesion.centre_mm for lesion in lesions])
    assert np.abs(centres[:, 2] - 15.5).min() > 0.75 + 2.5
    assert centres[:, 1].min() > 2 + 2.5
    between = np.linalg.norm(centres[:, None] - centres, axis=2)[np.triu_indices(len(centres), 1)]
    assert between.min() > 4
    assert place_in(np.random.default_rng(0), scan(), np.zeros(SHAPE), np.ones(2)) == []
