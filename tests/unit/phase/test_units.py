"""Units of phase are found, and what is no phase is refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cmbnet.io.nifti import read_nifti
from cmbnet.phase import PhaseRefused, read_phase
from cmbnet.volume import Volume
from tests.helpers.phase_scan import vein_scan, wrapped

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
Values = NDArray[Any]


@pytest.fixture(scope="module")
def pair() -> tuple[Volume, Volume]:
    return vein_scan(1)


def siemens(radians: Values) -> Values:
    return (np.rint(radians / np.pi * 2048) * 2).clip(-4096, 4094).astype(np.int16)


STORED: dict[str, Callable[[Values], Values]] = {
    "radians": lambda radians: radians,
    "thousandths of a radian": lambda radians: np.rint(1000 * radians).astype(np.int16),
    "degrees": np.rad2deg,
    "units of 1/4096 of pi": siemens,
    "12-bit steps": lambda radians: siemens(radians) // 2 + 2048,
    "an unknown unit, but wraps": lambda radians: radians * 0.00117,
}


@pytest.mark.parametrize("unit", STORED)
def test_every_unit_gives_the_same_radians(pair: tuple[Volume, Volume], unit: str) -> None:
    scan, phase = pair
    found = read_phase(phase.with_data(STORED[unit](phase.data)), scan)
    assert found.notes[0].startswith(f"The phase has {unit}")
    difference = wrapped(found.radians() - phase.data)
    assert np.abs(difference - np.median(difference)).max() < 0.015  # a step in degrees is .017


def test_slices_that_alternate_by_pi_are_turned_back(pair: tuple[Volume, Volume]) -> None:
    scan, phase = pair
    turned = phase.data.copy()
    turned[1::2] = wrapped(turned[1::2] + np.pi)
    found = read_phase(phase.with_data(turned), scan)
    assert found.alternating
    assert found.notes[1] == "Every second slice was turned by pi and is turned back."
    assert np.abs(wrapped(found.radians() - phase.data)).max() < 1e-3


def test_empty_slices_are_counted(pair: tuple[Volume, Volume]) -> None:
    scan, phase = pair
    some = phase.data.copy()
    some[:5] = 0
    found = read_phase(phase.with_data(some), scan)
    assert found.filled.sum() == 19
    assert "5 of 24 slices hold no phase." in found.notes
    some[:13] = 0
    with pytest.raises(PhaseRefused, match="only 11 of 24 slices hold phase"):
        read_phase(phase.with_data(some), scan)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda phase, scan: phase.with_data(phase.data * 0), "all its slices are constant"),
        (lambda phase, scan: phase.with_data(phase.data * 0 + 7), "all its slices are constant"),
        (lambda phase, scan: scan, "it is a magnitude"),
        (lambda phase, scan: scan.with_data(np.rint(scan.data * 900)), "it is a magnitude"),
        (
            lambda phase, scan: phase.with_data(np.unwrap(np.unwrap(phase.data, axis=1), axis=2)),
            "not one turn of a known unit .* was it unwrapped",
        ),
        (lambda phase, scan: Volume(phase.data[:12], phase.affine, "half"), "not on the grid"),
        (lambda phase, scan: replace(phase, affine=phase.affine + 0.1), "not on the grid"),
    ],
    ids=["zero", "constant", "scan itself", "magnitude", "unwrapped", "half", "moved"],
)
def test_what_is_no_phase_is_refused(
    pair: tuple[Volume, Volume], spoil: Callable[[Volume, Volume], Volume], reason: str
) -> None:
    scan, phase = pair
    with pytest.raises(PhaseRefused, match=reason):
        read_phase(spoil(phase, scan), scan)


def test_a_pair_in_the_wrong_order_is_refused(pair: tuple[Volume, Volume]) -> None:
    scan, phase = pair
    with pytest.raises(PhaseRefused, match="in the wrong order"):
        read_phase(scan, phase)


@pytest.mark.skipif(not DATA.is_dir(), reason="shared test data not present: ../shared/data")
def test_a_real_phase_with_a_wrong_scale_is_repaired() -> None:
    """Stored radians, which the header turns into +-.00367."""
    folder = DATA / "megre_7t_crop"
    scan, phase = (read_nifti(folder / name, frame=2) for name in ("Mag.nii", "Phase.nii"))
    found = read_phase(phase, scan)
    assert found.notes[0].startswith("The phase has an unknown unit, but wraps")
    assert np.ptp(found.radians()) == pytest.approx(2 * np.pi, rel=1e-3)
