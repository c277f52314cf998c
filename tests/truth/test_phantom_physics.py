"""The phantom against what theory and publications say; docs/phantom.md lists the sources.

Tolerances are stated beside each figure. These tests check physics, not realism.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.planted.patch import PatchResult, image_microbleed, patch_scan
from cmbnet.phantom.acquisition import acquire
from cmbnet.phantom.field import dipole_field, remove_shim
from cmbnet.phantom.grid import Grid
from cmbnet.phantom.lesions import Microbleed
from cmbnet.phantom.protocol import Protocol
from cmbnet.phantom.regions import Region
from cmbnet.phantom.scan import average_sub_slices
from cmbnet.phantom.spheres import Sphere, add_spheres
from cmbnet.phantom.swi import high_passed_phase, susceptibility_weighted
from cmbnet.phantom.tissue import TISSUES, spoiled_echo

ALONG_Z = np.array([1.0, 0.0, 0.0])
AT_3T = Protocol("3t", 3.0, 20, 28, 15, 0.5, 2.0, 0.5, snr=24)
AT_1_5T = Protocol("1.5t", 1.5, 40, 49, 18, 0.5, 2.0, 0.5, snr=13)


def sphere_field(
    offset_mm: NDArray[np.floating], b0_zyx: NDArray[np.float64], *, moment_ppm_mm3: float
) -> NDArray[np.floating]:
    """Field outside a sphere, Lorentz-corrected: ``M (3 cos^2 - 1) / (4 pi r^3)``.

    Args:
        offset_mm: (..., 3) positions relative to the centre, not all zero.
        b0_zyx: (3,) unit vector of the main field in the same axes.
        moment_ppm_mm3: Susceptibility difference times volume.

    Returns:
        (...) field offset in ppm.
    """
    square = np.einsum("...i,...i->...", offset_mm, offset_mm)
    along = offset_mm @ b0_zyx.astype(offset_mm.dtype)
    result: NDArray[np.floating] = (
        (moment_ppm_mm3 / (4 * np.pi)) * (3 * along**2 / square - 1) / square**1.5
    )
    return result


def ball(
    moment: float, chi: float = 1.0, place: tuple[float, float, float] = (0, 0, 0)
) -> Microbleed:
    """A microbleed of one sphere."""
    radius = (3 * moment / (4 * np.pi * chi)) ** (1 / 3)
    centre = np.array(place, float)
    sphere = Sphere(centre, float(radius), chi, 0.01)
    return Microbleed(Region.FRONTAL, centre, chi, moment, (sphere,))


def population(count: int, seed: int = 4) -> list[Microbleed]:
    """Visible microbleeds at random places within a voxel."""
    rng = np.random.default_rng(seed)
    moments = 3.5 * np.exp(0.8 * rng.standard_normal(count))
    places = rng.uniform(-1, 1, (count, 3))
    return [ball(m, 1.0, tuple(place)) for m, place in zip(moments, places, strict=True)]


def test_fourier_field_of_a_sphere_is_the_analytic_one() -> None:
    axis = np.arange(96) - 47.5
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)
    # The share of every voxel in the sphere, by 4 x 4 x 4 points: a sharp edge would be noise.
    chi = np.zeros((96, 96, 96), np.float32)
    for shift in np.ndindex(4, 4, 4):
        dz, dy, dx = (np.array(shift) + 0.5) / 4 - 0.5
        chi += ((z + dz) ** 2 + (y + dy) ** 2 + (x + dx) ** 2 < 8.0**2) / np.float32(64)
    tilted = np.array([np.cos(0.4), np.sin(0.4), 0.0])
    field = dipole_field(chi, (1, 1, 1), tilted, padded_shape=(192, 192, 192))
    offset = np.stack(np.broadcast_arrays(z, y, x), axis=-1)
    radius = np.linalg.norm(offset, axis=-1)
    theory = sphere_field(offset, tilted, moment_ppm_mm3=4 / 3 * np.pi * 8.0**3)
    outside = (radius > 9.5) & (radius < 30)
    error = np.sqrt(np.mean((field - theory)[outside] ** 2)) / np.ptp(theory[outside])
    assert error < 0.005  # of the range; prototype .0038
    assert abs(float(field[radius < 6].mean())) < 0.002  # inside: 0, Lorentz-corrected


@pytest.mark.parametrize(("degrees", "expected"), [(0.0, 1 / 3), (54.7356, 0.0), (90.0, -1 / 6)])
def test_field_inside_a_vein_depends_on_its_angle(degrees: float, expected: float) -> None:
    """Inside a long cylinder: chi / 2 (cos^2 - 1/3)."""
    axis = np.arange(64) - 31.5
    y, x = np.meshgrid(axis, axis, indexing="ij")
    chi = np.broadcast_to((y**2 + x**2 < 25).astype(np.float32), (8, 64, 64))
    angle = np.deg2rad(degrees)
    b0 = np.array([np.cos(angle), np.sin(angle), 0.0])
    field = dipole_field(chi, (1, 1, 1), b0)
    # The lattice of periodic copies shifts the field by its mean susceptibility.
    mean = float(chi.mean()) * (0.5 * (np.cos(angle) ** 2 - 1 / 3) - 0.0)
    inside = float(field[:, y**2 + x**2 < 9].mean())
    assert inside == pytest.approx(expected - mean, abs=0.02)


def test_sphere_factor_agrees_with_many_points_a_voxel() -> None:
    """One factor a voxel from 3 x 3 x 8 points a slice against 10 x 10 x 24."""
    protocol = replace(AT_3T, acquired_mm=0.5)
    scan = patch_scan(protocol)
    sphere = ball(4.2, 1.0, (0.3, 0.1, -0.2)).spheres[0]
    signal = np.ones(scan.work.shape, np.complex64)
    add_spheres(signal, scan, [sphere])
    got = average_sub_slices(signal, scan)
    middle = [n // 2 for n in scan.grid.shape]
    for dz, dy, dx in [(0, 0, 0), (0, 1, 2), (1, 0, 0), (-1, 2, 1), (0, -3, 0)]:
        index = (middle[0] + dz, middle[1] + dy, middle[2] + dx)
        assert abs(got[index] - brute_force(scan.grid, index, sphere, protocol)) < 0.05


@pytest.mark.parametrize(
    ("gap_mm", "expected"),
    [
        (0.0, [0.25, 0.25, 0.25, 0.25]),
        (1.0, [1 / 6, 1 / 3, 1 / 3, 1 / 6]),  # half of the outer quarters of 4 mm is gap
        (2.0, [0.0, 0.5, 0.5, 0.0]),
        (3.0, [0.0, 0.5, 0.5, 0.0]),
    ],
)
def test_nothing_in_the_gap_between_slices_is_seen(gap_mm: float, expected: list[float]) -> None:
    protocol = replace(AT_3T, slice_mm=4.0, gap_mm=gap_mm)
    scan = patch_scan(protocol)
    assert scan.excited == pytest.approx(expected)
    signal = np.zeros(scan.work.shape, np.complex64)
    signal[::4] = 1j  # only the outermost quarter of each slice shines
    assert average_sub_slices(signal, scan)[1, 0, 0] == pytest.approx(1j * expected[0])


def brute_force(
    grid: Grid, index: tuple[int, int, int], sphere: Sphere, protocol: Protocol
) -> complex:
    """Mean signal of a voxel over 10 x 10 x 24 points, written out anew."""
    steps = [(np.arange(n) + 0.5) / n - 0.5 for n in (24, 10, 10)]
    axes = [
        (i + step) * s + o - c
        for i, step, s, o, c in zip(
            index, steps, grid.spacing_mm, grid.origin_mm, sphere.centre_mm, strict=True
        )
    ]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    r = np.sqrt(z**2 + y**2 + x**2)
    field = sphere.chi_ppm / 3 * (sphere.radius_mm / r) ** 3 * (3 * (z / r) ** 2 - 1)
    phase = 2 * np.pi * 42.577 * protocol.field_t * protocol.te_ms * 1e-3 * field
    inside = r < sphere.radius_mm
    return complex(np.mean(np.where(inside, sphere.signal, np.exp(1j * phase))))


def test_microbleed_darkens_and_calcification_has_the_opposite_phase() -> None:
    scan = patch_scan(AT_3T)
    rim = {}
    for name, chi in (("iron", 1.0), ("calcium", -1.0)):
        signal = np.ones(scan.work.shape, np.complex64)
        add_spheres(signal, scan, [Sphere(np.zeros(3), 1.0, chi, 0.01)])
        image = acquire(signal.reshape(-1, 2, *signal.shape[1:]).mean(axis=1), AT_3T)
        z, y, x = (n // 2 for n in image.shape)
        rim[name] = high_passed_phase(image, scan.grid, 0.125)[z, y - 4, x]  # 2 mm beside it
    assert rim["iron"] < -0.05  # the equator of a dipole
    assert rim["calcium"] == pytest.approx(-rim["iron"], abs=1e-3)


def test_loss_of_signal_is_linear_in_moment_field_and_echo_time() -> None:
    """Magn Reson Med 2003 50:400: the dephased volume is linear in M B0 TE; R2 at least .95."""
    drive, loss = [], []
    for te_ms in (12, 20, 30, 40):
        for moment in (2.0, 6.0, 14.0):
            protocol = replace(AT_3T, te_ms=te_ms, output="magnitude")
            drive.append(moment * te_ms)
            loss.append(image_microbleed(ball(moment), protocol).loss_mm3)
    assert np.corrcoef(drive, loss)[0, 1] ** 2 > 0.95


def test_doubling_the_echo_time_doubles_the_volume() -> None:
    """Liu, Radiology 2012: SWI volume x 2.30 +- 1.19 from TE 20 to 40 ms at 3 T."""
    lesions = population(8)
    short, long = (seen(lesions, replace(AT_3T, te_ms=te)) for te in (20, 40))
    ratio = [
        b.truth.volume_mm3 / a.truth.volume_mm3
        for a, b in zip(short, long, strict=True)
        if a.truth.diameter_mm >= 2
    ]
    assert 1.4 < np.mean(ratio) < 2.9


def test_swi_has_more_contrast_than_gre_at_nearly_the_same_size() -> None:
    """Nandigam, AJNR 2009: diameters differ by less than .3 mm."""
    lesions = population(8)
    gre, swi = (seen(lesions, replace(AT_3T, output=kind)) for kind in ("magnitude", "swi"))
    assert np.mean([r.truth.peak_drop for r in swi]) > np.mean([r.truth.peak_drop for r in gre])
    diameters = [np.mean([r.truth.diameter_mm for r in group]) for group in (gre, swi)]
    assert diameters[1] - diameters[0] == pytest.approx(0, abs=0.4)


def test_equal_field_times_echo_time_blooms_equally() -> None:
    """1.5 T at TE 40 ms and 3 T at TE 20 ms have the same B0 TE: they differ in noise only."""
    assert AT_3T.radians_per_ppm == pytest.approx(AT_1_5T.radians_per_ppm)
    assert AT_3T.radians_per_ppm == pytest.approx(16.05, abs=0.01)
    lesion = ball(4.0)
    first, second = (image_microbleed(lesion, p) for p in (AT_3T, AT_1_5T))
    assert first.truth.diameter_mm == second.truth.diameter_mm
    assert second.contrast_to_noise < first.contrast_to_noise


def test_thick_slices_lose_microbleeds() -> None:
    """Thick 2D GRE found 103 of 310 microbleeds of thin SWI; here: fewer, and fainter ones."""
    lesions = population(6)
    thick = replace(AT_3T, slice_mm=5.0, pixel_mm=0.9, acquired_mm=0.9, output="magnitude")
    thin_drop, thick_drop = (
        [r.truth.peak_drop for r in seen(lesions, protocol)] for protocol in (AT_3T, thick)
    )
    assert np.mean(thick_drop) < 0.75 * np.mean(thin_drop)


def seen(lesions: list[Microbleed], protocol: Protocol) -> list[PatchResult]:
    """All lesions imaged, one at a time."""
    return [image_microbleed(lesion, protocol) for lesion in lesions]


@pytest.mark.parametrize(
    ("diameter_mm", "apparent_mm"), [(1.0, 1.5), (2.0, 2.8), (3.0, 4.0), (4.0, 5.0)]
)
def test_microbleeds_bloom(diameter_mm: float, apparent_mm: float) -> None:
    """Half-maximum diameters at B0 TE .060 T s and chi 1 ppm, as docs/phantom.md lists them."""
    moment = np.pi / 6 * diameter_mm**3
    lesions = [ball(moment, 1.0, (depth_mm, 0.2, 0.1)) for depth_mm in (0.0, 0.5, 1.0)]
    diameters = [result.truth.diameter_mm for result in seen(lesions, AT_3T)]
    assert np.mean(diameters) == pytest.approx(apparent_mm, abs=0.3)


def test_noise_is_rician_in_the_air_and_gaussian_in_the_phase() -> None:
    rng = np.random.default_rng(0)
    air = acquire(np.zeros((4, 128, 128), np.complex64), AT_3T, noise_sd=1.0, rng=rng)
    magnitude = np.abs(air)
    assert magnitude.mean() / magnitude.std() == pytest.approx(1.91, abs=0.04)
    tissue = acquire(np.full((4, 128, 128), 20, np.complex64), AT_3T, noise_sd=1.0, rng=rng)
    assert np.angle(tissue).std() == pytest.approx(1 / 20, rel=0.05)
    assert np.abs(tissue).std() == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("name", sorted(TISSUES))
@pytest.mark.parametrize("field_t", [1.5, 3.0])
def test_decay_over_echoes_gives_back_the_rate_of_the_table(name: str, field_t: float) -> None:
    echoes_ms = np.array([5.0, 10.0, 20.0, 30.0])
    signal = [spoiled_echo(TISSUES[name], replace(AT_3T, te_ms=te, field_t=field_t))
              for te in echoes_ms]  # fmt: skip
    rate = -np.polyfit(echoes_ms * 1e-3, np.log(signal), 1)[0]
    assert rate == pytest.approx(TISSUES[name].r2s_per_s[field_t > 2], rel=1e-6)


def test_shim_removes_what_it_can_and_nothing_else() -> None:
    axis = np.linspace(-1, 1, 24, dtype=np.float32)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    inside: NDArray[np.bool_] = z**2 + y**2 + x**2 < 1
    quadratic = 0.4 + 0.2 * z - 0.3 * x + 0.5 * z * y - 0.2 * x * x
    assert np.abs(remove_shim(quadratic, inside, 2.0)).max() < 1e-4
    third_order = x * y * z
    assert remove_shim(third_order, inside, 2.0)[inside].std() > 0.9 * third_order[inside].std()


def test_phase_mask_darkens_only_the_sign_of_veins() -> None:
    grid = Grid((1, 64, 64), (0, 0, 0), (2.0, 0.5, 0.5))
    protocol = replace(AT_3T, mask_power=4)
    for sign, darkens in ((1, True), (-1, False)):
        image = np.ones((1, 64, 64), np.complex64)
        image[0, 30:33, 30:33] = np.exp(1j * sign * np.pi / 2)
        value = float(susceptibility_weighted(image, grid, protocol)[0, 31, 31])
        phase = float(high_passed_phase(image, grid, 0.125)[0, 31, 31])
        expected = (1 - phase / np.pi) ** 4 if darkens else 1.0
        assert value == pytest.approx(expected, abs=1e-5)
        assert (value < 0.2) == darkens
