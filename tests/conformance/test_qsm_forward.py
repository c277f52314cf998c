"""The field and the sign against qsm-forward, an independent forward model (GPL, tests only)."""

from __future__ import annotations

import numpy as np
import pytest

from cmbnet.phase import ScanSign, read_phase, susceptibility
from cmbnet.volume import Volume
from tests.conformance.shared import oracle


@pytest.mark.parametrize("chi_ppm", [1.0, -2.5])
def test_its_phase_of_a_ball_has_our_sign(chi_ppm: float) -> None:
    model = oracle("qsm_forward")
    axis = np.arange(-12.0, 13.0)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")  # mm; the main field is the third axis
    chi = np.where(x**2 + y**2 + z**2 <= 2.0**2, chi_ppm, 0.0)
    field_ppm = model.generate_field(chi, voxel_size=[1, 1, 1], B0_dir=[0, 0, 1])
    rng = np.random.default_rng(2)
    phase = 2 * np.pi * 42.577 * 3 * 0.02 * field_ppm + rng.normal(0, 0.05, chi.shape)
    magnitude = np.where(chi == 0, 1.0, 0.1)
    magnitude[:3] = 0.01
    phase[:3] = rng.uniform(-np.pi, np.pi, (3, 25, 25))
    wrapped = np.angle(np.exp(1j * phase))
    wrapped.flat[:2] = -np.pi, np.pi
    scan = Volume.from_array(magnitude.astype(np.float32), np.eye(4), source="magnitude")
    image = Volume.from_array(wrapped.astype(np.float32), np.eye(4), source="phase")
    found = susceptibility((12, 12, 12), 5.0, read_phase(image, scan), scan, ScanSign(1, 99, 1.0))
    assert found.call == ("paramagnetic" if chi_ppm > 0 else "diamagnetic")
