"""Blood or calcium: truth by the closed form of a sphere's and a cylinder's field."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from scipy import ndimage

from cmbnet.phase import ScanSign, Susceptibility, read_phase, scan_sign, susceptibility
from cmbnet.volume import Volume
from tests.helpers.phase_scan import sphere_scan, vein_scan, wrapped

POSITIVE = ScanSign(1, 100, 1.0)

BLOOD_RAD_MM3 = 4.6
"""A microbleed of median moment, 3.6 ppm mm3, at 3 T and 20 ms: 16.05 rad per ppm over 4 pi."""


def judge(scan: Volume, phase: Volume, sign: ScanSign = POSITIVE) -> Susceptibility:
    middle = scan.world_mm(tuple(n // 2 for n in scan.shape))  # type: ignore[arg-type]
    return susceptibility(middle, 2.5, read_phase(phase, scan), scan, sign)


@pytest.mark.parametrize("moment", [BLOOD_RAD_MM3, 1.0, 60.0, 400.0])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("tilt", [0.0, 0.5])
def test_a_sphere_in_both_conventions(moment: float, sign: Literal[1, -1], tilt: float) -> None:
    for chi, call in ((1, "paramagnetic"), (-1, "diamagnetic")):
        scan, phase = sphere_scan(sign * chi * moment, tilt_rad=tilt)
        found = judge(scan, phase, ScanSign(sign, 100, 1.0))
        assert found.call == call
        assert found.strength > 0.05


@pytest.mark.parametrize("spacing", [(3.0, 0.8, 0.8), (1.0, 1.0, 1.0), (0.7, 2.0, 0.7)])
def test_thick_cubic_and_coronal_voxels(spacing: tuple[float, float, float]) -> None:
    scan, phase = sphere_scan(-BLOOD_RAD_MM3, spacing_mm=spacing)
    assert judge(scan, phase).call == "diamagnetic"


def test_a_background_that_wraps_does_no_harm() -> None:
    scan, phase = sphere_scan(-BLOOD_RAD_MM3, background_rad_mm=(0.5, 0.4, 0.6))
    assert judge(scan, phase).call == "diamagnetic"


@pytest.mark.parametrize("sigma_mm", [1.5, 3.0])
def test_phase_that_the_scanner_high_passed(sigma_mm: float) -> None:
    scan, phase = sphere_scan(-BLOOD_RAD_MM3, background_rad_mm=(0.2, 0.1, 0.0))
    signal = scan.data * np.exp(1j * phase.data)
    low = ndimage.gaussian_filter(signal, (0, sigma_mm / 0.6, sigma_mm / 0.6))
    assert judge(scan, phase.with_data(np.angle(signal * low.conj()))).call == "diamagnetic"


def test_the_network_may_mark_the_rim() -> None:
    scan, phase = sphere_scan(-60.0)
    aside = tuple(n // 2 + shift for n, shift in zip(scan.shape, (1, 0, 2), strict=True))
    found = susceptibility(
        scan.world_mm(aside), 2.0, read_phase(phase, scan), scan, POSITIVE  # type: ignore[arg-type]
    )  # fmt: skip
    assert found.call == "diamagnetic"


def test_a_dark_spot_without_a_field_is_open() -> None:
    scan, _ = sphere_scan(BLOOD_RAD_MM3)
    _, phase = sphere_scan(0.0)
    assert judge(scan, phase).call == "indeterminate"
    assert judge(scan, phase, ScanSign(0, 10, 0.5)).reason.startswith("the sign of the phase")


def test_no_phase_around_a_candidate() -> None:
    scan, phase = sphere_scan(BLOOD_RAD_MM3)
    part = phase.data.copy()
    part[6:15] = 0.0
    found = judge(scan, phase.with_data(part))
    assert found.call == "indeterminate"


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("tilt", [0.0, 0.4])
def test_veins_tell_the_sign_of_a_scan(sign: int, tilt: float) -> None:
    scan, phase = vein_scan(sign, tilt_rad=tilt)
    found = scan_sign(read_phase(phase, scan), scan, ndimage.binary_closing(scan.data > 0.3))
    assert found.sign == sign
    assert found.agreeing > 0.9


def test_phase_of_another_scan_has_no_sign() -> None:
    scan, phase = vein_scan(1)
    rng = np.random.default_rng(1)
    other = wrapped(ndimage.gaussian_filter(rng.standard_normal(phase.shape), 2) * 30)
    found = scan_sign(read_phase(phase.with_data(other), scan), scan, scan.data > 0.3)
    assert found.sign == 0
    assert scan_sign(read_phase(phase, scan), scan, np.zeros(scan.shape)).sign == 0
