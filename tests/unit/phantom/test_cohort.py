from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cmbnet.cli.phantom import command
from cmbnet.errors import UsageError
from cmbnet.io import read_nifti
from cmbnet.phantom.cohort import CohortPlan, write_cohort

PLAN = CohortPlan(2, 1, 9, "tiny", "procedural")


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_positives_are_spread_and_heads_are_shared() -> None:
    plan = CohortPlan(6, 6, 3, cases_per_head=4)
    cases = [case for head in plan.heads() for case in head]
    assert [case.positive for case in cases] == [False, True] * 6
    assert len({case.seed for case in cases}) == 12
    assert [len({c.anatomy_seed for c in head}) for head in plan.heads()] == [1, 1, 1]


def test_other_seeds_share_neither_cases_nor_heads() -> None:
    first, second = (
        [case for head in CohortPlan(40, 40, seed).heads() for case in head] for seed in (1, 2)
    )
    assert not {c.seed for c in first} & {c.seed for c in second}
    assert not {c.anatomy_seed for c in first} & {c.anatomy_seed for c in second}


def test_heads_can_be_named_and_lesions_counted() -> None:
    plan = CohortPlan(5, 0, 1, cases_per_head=2, anatomy_seeds=(70, 71), lesions=(8, 9))
    cases = [case for head in plan.heads() for case in head]
    assert [case.anatomy_seed for case in cases] == [70, 70, 71, 71, 70]
    assert {case.lesion_count for case in cases} <= {8, 9}


@pytest.mark.parametrize(
    "change",
    [(0, 0, 1), (-1, 2, 1), (1, 1, -1), (1, 1, 1, "toaster"), (1, 1, 1, "tiny", "mni", 0),
     (1, 1, 1, "tiny", "mni", 1, ()), (1, 1, 1, "tiny", "mni", 1, None, (5, 2))],
)  # fmt: skip
def test_plans_that_make_no_sense_are_refused(change: tuple[int, ...]) -> None:
    with pytest.raises(UsageError):
        CohortPlan(*change)  # type: ignore[arg-type]


def test_a_cohort_is_written_resumed_and_guarded(tmp_path: Path) -> None:
    told: list[str] = []
    manifest = write_cohort(tmp_path, PLAN, on_case=told.append)
    summary = rows(manifest)
    assert [row["case"] for row in summary] == told
    assert [row["positive"] for row in summary] == ["0", "1", "1"]
    assert len({row["anatomy_seed"] for row in summary}) == 1
    lesions = rows(tmp_path / "lesions.csv")
    for row in summary:
        labels = read_nifti(tmp_path / "lesions" / f"{row['case']}.nii.gz")
        assert labels.data.max() == int(row["n_lesions"])
        mine = [lesion for lesion in lesions if lesion["case"] == row["case"]]
        assert len(mine) == int(row["n_lesions"]) + int(row["n_ignored"])
    kept, lost = (tmp_path / "images" / f"{row['case']}.nii.gz" for row in summary[:2])
    before, written = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    (tmp_path / "cases" / f"{summary[1]['case']}.json").unlink()
    write_cohort(tmp_path, PLAN)
    assert lost.read_bytes() == before
    assert kept.stat().st_mtime_ns == written
    with pytest.raises(UsageError, match="another plan"):
        write_cohort(tmp_path, CohortPlan(2, 2, 9, "tiny", "procedural"))
    about = json.loads((tmp_path / "cohort.json").read_text())
    assert "Research use only" in about["statement"]
    (tmp_path / "cohort.json").write_text(json.dumps(about | {"code_sha256": "0" * 64}))
    with pytest.raises(UsageError, match="that other code made"):
        write_cohort(tmp_path, PLAN)


def test_command_writes_a_cohort_in_parallel(tmp_path: Path) -> None:
    out = tmp_path / "cohort"
    arguments = ["-o", str(out), "--positives", "2", "--anatomy", "procedural", "--seed", "9",
                 "--cases-per-head", "1", "--jobs", "2", "--lesions", "1", "2",
                 "--montage"]  # fmt: skip
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "Research use only" in result.output
    assert len(list((out / "montages").glob("*.png"))) == 2
    assert len(rows(out / "cases.csv")) == 2
