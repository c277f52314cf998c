from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmbnet.errors import UsageError
from cmbnet.phantom import make_case
from cmbnet.phantom.case import PhantomCase
from cmbnet.phantom.cohort import CohortPlan, write_cohort
from cmbnet.phantom.follow_up import Rescan, make_pair
from cmbnet.phantom.protocol import TINY

SEED = 11


@pytest.fixture(scope="module")
def pair() -> tuple[PhantomCase, PhantomCase]:
    return make_pair(SEED, added=3, lesion_count=3, anatomy="procedural")


def test_the_first_scan_is_that_of_make_case(pair: tuple[PhantomCase, PhantomCase]) -> None:
    alone = make_case(SEED, positive=True, lesion_count=3, anatomy="procedural")
    assert np.array_equal(pair[0].image.data, alone.image.data)
    assert np.array_equal(pair[0].image.affine, alone.image.affine)
    assert pair[0].truth == alone.truth


def test_rows_of_both_tables_are_the_same_lesions(pair: tuple[PhantomCase, PhantomCase]) -> None:
    first, later = pair
    assert len(first.truth) < len(later.truth) <= len(first.truth) + 3
    for one, other in zip(first.truth, later.truth, strict=False):
        assert (one.region, one.moment_ppm_mm3) == (other.region, other.moment_ppm_mm3)


def test_the_head_lies_elsewhere_and_the_lesions_with_it(
    pair: tuple[PhantomCase, PhantomCase],
) -> None:
    places = [
        np.array([case.image.world_mm((row.z, row.y, row.x)) for row in case.truth[:3]])
        for case in pair
    ]
    assert np.linalg.norm(places[0] - places[1], axis=1).min() > 1.0
    # A rigid movement keeps distances.
    apart = [np.linalg.norm(p[:, None] - p[None], axis=-1) for p in places]
    assert np.allclose(apart[0], apart[1], atol=1e-3)


def test_nothing_added_leaves_the_lesions_and_other_noise() -> None:
    first, later = make_pair(SEED, added=0, lesion_count=2, anatomy="procedural")
    assert len(first.truth) == len(later.truth)
    assert not np.array_equal(first.image.data, later.image.data)


def test_the_second_protocol_may_differ() -> None:
    rescan = Rescan(te_share=1.3, slice_mm=2 * TINY.slice_mm)
    first, later = make_pair(SEED, added=0, lesion_count=0, anatomy="procedural", rescan=rescan)
    assert later.protocol.te_ms == pytest.approx(1.3 * first.protocol.te_ms)
    assert later.image.spacing_mm[0] == pytest.approx(2 * first.image.spacing_mm[0])


def test_a_cohort_of_pairs_says_which_lesion_is_which(tmp_path: Path) -> None:
    plan = CohortPlan(
        positives=1, negatives=1, seed=3, anatomy="procedural", protocols="tiny", lesions=(2, 2),
        follow_up=(2, 2),
    )  # fmt: skip
    write_cohort(tmp_path, plan)
    first, later = (
        list(csv.DictReader((folder / "lesions.csv").read_text().splitlines()))
        for folder in (tmp_path, tmp_path / "follow-up")
    )
    added = [row for row in later if row["added"] == "1"]
    assert len(added) == len(later) - len(first) > 0
    assert {row["first_lesion"] for row in added} == {"0"}
    kept = [row["first_lesion"] for row in later if row["added"] == "0"]
    assert kept == [row["lesion"] for row in first]
    assert len(list((tmp_path / "follow-up" / "images").iterdir())) == 2


def test_a_falling_range_is_refused() -> None:
    with pytest.raises(UsageError, match="follow_up must be a rising range"):
        CohortPlan(positives=1, negatives=0, seed=1, protocols="tiny", follow_up=(3, 2))


@pytest.mark.parametrize("more", [{"phase": "ge"}, {"calcifications": 3}])
def test_a_follow_up_with_phase_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="a follow-up without phase and calcifications"):
        CohortPlan(positives=1, negatives=0, seed=1, protocols="tiny", follow_up=(1, 2), **more)


def test_the_wide_family_is_refused() -> None:
    with pytest.raises(UsageError, match="not of the wide family"):
        make_pair(SEED, added=0, protocol="family", anatomy="procedural")
