"""Phase and calcifications of phantoms; without them, phantoms are what they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cmbnet.errors import UsageError
from cmbnet.io.nifti import read_nifti
from cmbnet.phantom import CohortPlan, write_cohort
from cmbnet.phantom.case import PhantomCase, make_case
from cmbnet.phantom.mimics import MimicKind
from cmbnet.phantom.protocol import WIDE_TINY
from cmbnet.phase import read_phase
from cmbnet.volume import grid_difference


@pytest.fixture(scope="module")
def siemens() -> PhantomCase:
    return make_case(1, positive=True, anatomy="procedural", lesion_count=6, phase="siemens")


def test_phase_changes_nothing_else(siemens: PhantomCase, positive: PhantomCase) -> None:
    for name in ("image", "lesions", "ignore", "mimics", "brain"):
        np.testing.assert_array_equal(getattr(siemens, name).data, getattr(positive, name).data)
    assert positive.phase is None
    assert positive.calcifications == ()


@pytest.mark.parametrize(
    ("vendor", "unit", "turned"),
    [
        ("siemens", "units of 1/4096 of pi", False),
        ("ge", "thousandths of a radian", True),
        ("philips", "thousandths of a radian", False),
        ("canon", "12-bit steps", False),
    ],
)
def test_each_vendor_has_its_unit(vendor: str, unit: str, turned: bool) -> None:
    case = make_case(1, positive=False, anatomy="procedural", phase=vendor)
    assert case.phase is not None
    found = read_phase(case.phase, case.image)
    assert found.notes[0].startswith(f"The phase has {unit}")
    assert found.alternating == turned


def test_calcifications_are_marked_where_the_table_says() -> None:
    case = make_case(3, positive=False, anatomy="procedural", calcifications=3)
    assert 0 < len(case.calcifications) <= 3
    for row in case.calcifications:
        assert 1.0 <= row.diameter_mm <= 8.0
        assert row.chi_ppm < 0
        z, y, x = np.rint([row.z, row.y, row.x]).astype(int)
        near = case.mimics.data[z - 1 : z + 2, y - 3 : y + 4, x - 3 : x + 4]
        assert (near == MimicKind.CALCIFICATION).any()


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(UsageError, match="a style of phase is required"):
        make_case(1, positive=False, anatomy="procedural", phase="toaster")


def test_the_wide_family_has_phase_and_calcifications() -> None:
    plain = make_case(4, positive=False, anatomy="procedural", protocol=WIDE_TINY)
    case = make_case(4, positive=False, anatomy="procedural", protocol=WIDE_TINY, phase="ge")
    np.testing.assert_array_equal(case.image.data, plain.image.data)
    assert case.phase is not None
    assert grid_difference(case.image, case.phase) is None
    assert read_phase(case.phase, case.image).alternating
    grains = make_case(
        4, positive=False, anatomy="procedural", protocol=WIDE_TINY, calcifications=3
    )
    assert 0 < len(grains.calcifications) <= 3
    marked = [
        grains.mimics.data[tuple(np.rint([row.z, row.y, row.x]).astype(int))]
        for row in grains.calcifications
        if np.all(np.rint([row.z, row.y, row.x]) < grains.image.shape)
    ]
    assert MimicKind.CALCIFICATION in marked


def test_a_cohort_writes_phase_and_the_table(tmp_path: Path) -> None:
    plan = CohortPlan(0, 1, 5, "tiny", "procedural", phase="ge", calcifications=2)
    write_cohort(tmp_path, plan)
    (name,) = (file.name for file in (tmp_path / "images").iterdir())
    image, phase = (read_nifti(tmp_path / folder / name) for folder in ("images", "phase"))
    assert grid_difference(image, phase) is None
    header, *rows = (tmp_path / "calcifications.csv").read_text().splitlines()
    assert header == "case,diameter_mm,chi_ppm,z,y,x"
    assert len(rows) == 2
    write_cohort(tmp_path, plan)  # nothing is left to do


def test_a_plan_without_phase_is_stated_as_before() -> None:
    assert not {"phase", "calcifications"} & CohortPlan(1, 0, 1).stated().keys()
    with pytest.raises(UsageError, match="phase of one of siemens"):
        CohortPlan(1, 0, 1, phase="toaster")
