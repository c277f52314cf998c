"""Fringe lines end where the phase turns around a point; no field of a head does that."""

from __future__ import annotations

import pytest

from cmbnet.phantom import case as phantom_case
from cmbnet.phantom import make_case
from cmbnet.phantom import phase as phantom_phase
from cmbnet.phase import fringe_ends, read_phase
from tests.helpers.phase_scan import sphere_scan, vein_scan, with_line

BRIGHT = 0.3


@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_both_ends_of_a_line_are_found(noise: float) -> None:
    scan, phase = vein_scan(1, noise=noise)
    brain = scan.data > BRIGHT
    assert fringe_ends(read_phase(phase, scan), scan, brain) == ()
    lined = with_line(phase, slice(6, 18), ((50, 60), (80, 70)))
    ends = fringe_ends(read_phase(lined, scan), scan, brain)
    assert len(ends) == 2
    assert all(6 <= z < 18 for z in ends)
    assert fringe_ends(read_phase(lined, scan), scan, brain & False) == ()


def test_a_line_that_ends_outside_the_brain_or_on_one_slice_is_none() -> None:
    scan, phase = vein_scan(1)
    brain = scan.data > BRIGHT
    outside = with_line(phase, slice(0, 24), ((2, 60), (126, 60)))
    assert fringe_ends(read_phase(outside, scan), scan, brain) == ()
    short = with_line(phase, slice(10, 13), ((50, 60), (80, 70)))
    assert fringe_ends(read_phase(short, scan), scan, brain) == ()


@pytest.mark.parametrize("moment", [30.0, 2000.0])
def test_the_field_of_a_bleed_turns_around_no_point(moment: float) -> None:
    """The phase of the stronger one wraps several times."""
    scan, phase = sphere_scan(moment, background_rad_mm=(0.3, 0.1, 0.0))
    assert fringe_ends(read_phase(phase, scan), scan, scan.data > 0) == ()


def test_a_line_that_a_vessel_hides_for_two_slices_is_one_line() -> None:
    scan, phase = vein_scan(1)
    brain = scan.data > BRIGHT
    lined = with_line(phase, slice(4, 22), ((50, 60), (80, 70)))
    torn = lined.data.copy()
    torn[11:13] = phase.data[11:13]
    found = fringe_ends(read_phase(lined.with_data(torn), scan), scan, brain)
    assert len(found) == 2


@pytest.mark.parametrize(
    ("vendor", "seed"), [("philips", 2), ("ge", 5001), ("philips", 5004), ("ge", 5007)]
)
@pytest.mark.parametrize("lined", [True, False])
def test_the_line_of_a_phantom_is_found(
    vendor: str, seed: int, lined: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first line ends in tissue for four slices only, near the top of the head."""
    monkeypatch.setattr(phantom_phase, "FRINGE_PROBABILITY", float(lined))
    case: phantom_case.PhantomCase = make_case(
        seed, positive=True, anatomy="procedural", phase=vendor
    )
    assert case.phase is not None
    assert case.fringe == lined
    read = read_phase(case.phase, case.image)
    assert bool(fringe_ends(read, case.image, case.brain.data)) == lined
