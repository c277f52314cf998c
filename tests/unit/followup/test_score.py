"""Comparisons against the truth of longitudinal phantoms, worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cmbnet.cli.evaluate import command
from cmbnet.errors import UnreadableFile
from cmbnet.followup.changes import Change
from cmbnet.followup.comparison import Comparison, FollowUp, Registration, TimePoint
from cmbnet.followup.grade import Protocol, aria_h
from cmbnet.followup.score import Added, figures, read_truth, score_cohort, score_pair
from cmbnet.phantom.cohort import CohortPlan, write_cohort

SHIFT = ((1, 0, 0, 10), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1))
"""From the world of the later scan to that of the first."""


def comparison(*new: tuple[float, float, float], refused: str = "") -> Comparison:
    """A comparison that calls lesions new at these places of the first scan."""
    protocol = Protocol((1.0, 1.0, 2.0))
    points = [
        TimePoint(
            file=f"{n}.nii", input_sha256=str(n), lesions=0, protocol=protocol, warnings=(),
            registration=Registration(to_first=SHIFT, overlap=1, explained=1, edge_mm=0, turn_deg=0)
            if n else None,
        )
        for n in range(2)
    ]  # fmt: skip
    changes = [Change("new", (), (n,), place) for n, place in enumerate(new, start=1)]
    changes.append(Change("persistent", (1,), (9,), (50.0, 0.0, 0.0)))
    grade = aria_h(len(new), uncertain=0, not_assessable=0, baseline=1, refused=refused)
    follow_up = FollowUp(
        time_point=1, sizes_comparable=True, counts={"new": len(new), "persistent": 1},
        changes=tuple(changes), aria_h=grade,
    )  # fmt: skip
    return Comparison(
        notice="", cmbnet="", bundle="", bundle_sha256="", operating_point="",
        same_protocol=True, warnings=(), time_points=tuple(points), follow_ups=(follow_up,),
        tracks=(),
    )  # fmt: skip


def test_new_lesions_are_right_within_3_mm_of_an_added_one() -> None:
    added = [
        Added((0, 0, 0), seen=True),  # at 10, 0, 0 of the first scan
        Added((20, 0, 0), seen=True),
        Added((40, 0, 0), seen=False),
    ]
    found = score_pair("a", comparison((10, 0, 2.9), (50, 0, 0), (30, 3.1, 0)), added)
    assert (found.added, found.found, found.new, found.false_new) == (2, 1, 3, 1)
    assert (found.changed, found.category, found.called) == (True, "mild", "mild")


def test_one_added_lesion_that_was_found_twice_is_found_once() -> None:
    found = score_pair("a", comparison((10, 0, 1), (10, 0, -1)), [Added((0, 0, 0), seen=True)])
    assert (found.added, found.found, found.new, found.false_new) == (1, 1, 2, 0)


def test_figures_of_pairs() -> None:
    nothing = score_pair("same", comparison(), [])
    false = score_pair("false", comparison((1, 2, 3)), [])
    right = score_pair("right", comparison((10, 0, 0)), [Added((0, 0, 0), seen=True)])
    missed = score_pair("missed", comparison(), [Added((0, 0, 0), seen=True)])
    refused = score_pair("refused", comparison(refused="another field"), [])
    assert refused.called is None
    found = figures([nothing, false, right, missed, refused], ["lost"])
    assert found["sensitivity_of_new"]["value"] == 0.5
    assert found["precision_of_new"]["value"] == 0.5
    assert found["false_new_per_pair_without_change"] == {"value": 1 / 3, "n": 3}
    assert found["category"]["right"]["value"] == 0.5
    assert found["category"]["weighted_kappa"]["value"] == pytest.approx(0.0)  # 1 1 / 1 1
    assert found["category"]["confusion"][0][:2] == [1, 1]
    assert found["without_comparison"] == ["lost"]


def test_no_pair_has_undefined_figures() -> None:
    found = figures([])
    assert found["sensitivity_of_new"]["value"] is None
    assert np.isnan(found["category"]["weighted_kappa"]["value"])


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pairs")
    plan = CohortPlan(positives=1, negatives=1, seed=11, anatomy="procedural", follow_up=(2, 2))
    write_cohort(root, plan)
    return root


def test_a_cohort_of_phantoms_is_scored(cohort: Path, tmp_path: Path) -> None:
    truth = read_truth(cohort)
    assert [len(added) for added in truth.values()] == [2, 2]
    first, second = truth
    right = [np.add(one.centre_mm, (10, 0, 0)) for one in truth[first] if one.seen]
    (tmp_path / "compared" / first).mkdir(parents=True)
    (tmp_path / "compared" / first / "compare.json").write_text(
        comparison(*[(float(x), float(y), float(z)) for x, y, z in right]).model_dump_json()
    )
    words = ["--truth", cohort, "--comparisons", tmp_path / "compared", "-o", tmp_path / "out"]
    words += ["--data-kind", "phantoms"]
    done = CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "1 pairs were compared, 1 were not" in done.output
    values = json.loads((tmp_path / "out" / "follow-up.json").read_text())
    assert values["sensitivity_of_new"]["value"] == 1.0
    assert values["without_comparison"] == [second]
    assert values["data_kind"] == "phantoms"
    (tmp_path / "compared" / first / "compare.json").write_text("{}")
    with pytest.raises(UnreadableFile, match="run cmbnet compare again"):
        score_cohort(tmp_path / "compared", cohort)
    with pytest.raises(UnreadableFile, match="a comparison of a case"):
        score_cohort(tmp_path, cohort)
