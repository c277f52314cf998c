"""The scans of a BIDS data set are found by their names, in every spelling of SWI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cmbnet.bids.find import Session, find_sessions, is_bids, names_outside_bids, require_bids
from cmbnet.cli.cases import collect_cases
from cmbnet.errors import UsageError


def tree(root: Path, *files: str) -> Path:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def scans(session: Session) -> list[str]:
    return [scan.path.name for scan in session.scans]


@pytest.mark.parametrize(
    "file",
    [
        "anat/sub-1_swi.nii.gz",
        "anat/sub-1_SWI.nii",
        "swi/sub-1_swi.nii.gz",
        "anat/sub-1_acq-SWI_T2starw.nii.gz",
        "anat/sub-1_acq-highresSWI_run-2_T2starw.nii.gz",
        "anat/sub-1_T2starw.nii.gz",
        "anat/sub-1_part-mag_T2starw.nii.gz",
        "swi/sub-1_part-mag_GRE.nii.gz",
    ],
)
def test_every_spelling_of_swi(tmp_path: Path, file: str) -> None:
    tree(tmp_path / "sub-1", file, "anat/sub-1_T1w.nii.gz", "anat/sub-1_acq-x_FLAIR.nii.gz")
    (session,) = find_sessions(tmp_path)
    assert (session.subject, session.session, session.reason) == ("1", "", "")
    assert scans(session) == [Path(file).name]


@pytest.mark.parametrize(
    "file",
    [
        "anat/sub-1_minIP.nii.gz",
        "swi/sub-1_mIP.nii.gz",
        "anat/sub-1_part-phase_T2starw.nii.gz",
        "anat/sub-1_part-phase_swi.nii.gz",
        "anat/sub-1_Chimap.nii.gz",
        "anat/sub-1_T2starmap.nii.gz",
        "anat/sub-1_T1w.nii.gz",
        "func/sub-1_swi.nii.gz",
        "anat/.sub-1_swi.nii.gz",
        "anat/sub-1_swi.json",
    ],
)
def test_what_is_no_swi_is_no_scan(tmp_path: Path, file: str) -> None:
    (session,) = find_sessions(tree(tmp_path, f"sub-1/{file}"))
    assert session.scans == ()
    assert session.status == "refused"
    assert "holds no SWI; accepted are" in session.reason


def test_the_best_spelling_wins(tmp_path: Path) -> None:
    tree(
        tmp_path / "sub-1/anat", "sub-1_swi.nii.gz", "sub-1_acq-SWI_T2starw.nii.gz",
        "sub-1_T2starw.nii.gz", "sub-1_minIP.nii.gz",
    )  # fmt: skip
    (session,) = find_sessions(tmp_path)
    assert scans(session) == ["sub-1_swi.nii.gz"]
    assert [path.name for path, _ in session.left_out] == ["sub-1_minIP.nii.gz"]


@pytest.mark.parametrize(
    ("scan", "phases", "taken"),
    [
        ("run-1_part-mag_T2starw", ["run-1_part-phase_T2starw", "run-2_part-phase_T2starw"], 0),
        ("swi", ["part-phase_swi"], 0),
        ("swi", ["part-phase_GRE"], 0),
        ("swi", ["part-phase_GRE", "part-phase_swi"], 1),
        ("swi", ["part-phase_GRE", "part-phase_T2starw"], None),
        ("acq-a_swi", ["acq-b_part-phase_swi"], None),
        ("swi", [], None),
    ],
)
def test_the_phase_of_the_same_acquisition(
    tmp_path: Path, scan: str, phases: list[str], taken: int | None
) -> None:
    tree(tmp_path / "sub-1/anat", *(f"sub-1_{name}.nii.gz" for name in (scan, *phases)))
    (session,) = find_sessions(tmp_path)
    (found,) = session.scans
    name = None if found.phase is None else found.phase.name
    assert name == (None if taken is None else f"sub-1_{phases[taken]}.nii.gz")


def test_sessions_and_runs(tmp_path: Path) -> None:
    tree(
        tmp_path, "sub-2/ses-b/swi/sub-2_ses-b_run-1_swi.nii", "sub-1/anat/sub-1_swi.nii",
        "sub-2/ses-b/swi/sub-2_ses-b_run-2_swi.nii", "sub-2/ses-a/anat/sub-2_ses-a_swi.nii",
        "derivatives/x/sub-9/anat/sub-9_swi.nii", "sub-3.html",
    )  # fmt: skip
    found = find_sessions(tmp_path)
    assert [one.name for one in found] == ["sub-1", "sub-2_ses-a", "sub-2_ses-b"]
    assert [len(one.scans) for one in found] == [1, 1, 2]
    for labels in (["2"], ["sub-2"]):
        assert [one.name for one in find_sessions(tmp_path, participants=labels)] == [
            "sub-2_ses-a", "sub-2_ses-b",
        ]  # fmt: skip
    only = find_sessions(tmp_path, sessions=["a"])
    assert [one.name for one in only] == ["sub-2_ses-a"]
    with pytest.raises(UsageError, match="has no sub-7, sub-8"):
        find_sessions(tmp_path, participants=["1", "7", "8"])
    with pytest.raises(UsageError, match="has no ses-c"):
        find_sessions(tmp_path, sessions=["c"])


def test_two_candidates_are_refused_until_one_is_named(tmp_path: Path) -> None:
    tree(tmp_path / "sub-1/anat", "sub-1_echo-1_T2starw.nii.gz", "sub-1_echo-2_T2starw.nii.gz")
    tree(tmp_path / "sub-2", "anat/sub-2_swi.nii.gz", "swi/sub-2_swi.nii.gz")
    first, second = find_sessions(tmp_path)
    assert (first.status, second.status) == ("refused", "refused")
    assert "got 2 candidates: sub-1_echo-1_T2starw.nii.gz, sub-1_echo-2" in first.reason
    first, second = find_sessions(tmp_path, select=["echo-2"])
    assert scans(first) == ["sub-1_echo-2_T2starw.nii.gz"]
    assert "none of the 2 candidates in" in second.reason


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_stops_no_other(tmp_path: Path) -> None:
    tree(tmp_path, "sub-1/anat/sub-1_swi.nii", "sub-2/anat/sub-2_swi.nii")
    (tmp_path / "sub-1/anat").chmod(0)
    first, second = find_sessions(tmp_path)
    (tmp_path / "sub-1/anat").chmod(0o700)
    assert (first.status, len(second.scans)) == ("failed", 1)
    assert "Permission denied" in first.reason


def test_a_tree_that_is_no_bids(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no folder sub-<label>"):
        find_sessions(tmp_path)
    with pytest.raises(UsageError, match=r"dataset_description\.json does not exist"):
        require_bids(tmp_path)
    for text, fault in (("{", "is no JSON object"), ("[]", "is no JSON object"), ("{}", "lacks")):
        (tmp_path / "dataset_description.json").write_text(text)
        with pytest.raises(UsageError, match=fault):
            require_bids(tmp_path)
    assert not is_bids(tmp_path)


def test_names_that_a_validator_does_not_know(tmp_path: Path) -> None:
    tree(tmp_path, "sub-1/anat/sub-1_swi.nii", "sub-2/anat/sub-2_acq-SWI_T2starw.nii")
    assert [names_outside_bids(one) for one in find_sessions(tmp_path)] == [True, False]


def test_predict_takes_the_scans_of_a_bids_folder_and_nothing_else(tmp_path: Path) -> None:
    tree(
        tmp_path, "dataset_description.json", "sub-1/anat/sub-1_part-mag_T2starw.nii.gz",
        "sub-1/anat/sub-1_part-phase_T2starw.nii.gz", "sub-1/anat/sub-1_T1w.nii.gz",
        "sub-2/swi/sub-2_swi.nii.gz", "sub-2/swi/sub-2_minIP.nii.gz", "sub-3/anat/sub-3_T1w.nii",
        "sub-2/swi/sub-2_part-phase_GRE.nii.gz",
    )  # fmt: skip
    remarks: list[str] = []
    found = collect_cases([str(tmp_path)], say=remarks.append)
    assert [case.name for case in found] == ["sub-1_part-mag_T2starw", "sub-2_swi"]
    phases = [None if case.phase is None else case.phase.name for case in found]
    assert phases == ["sub-1_part-phase_T2starw.nii.gz", "sub-2_part-phase_GRE.nii.gz"]
    assert any("sub-2_minIP.nii.gz is a projection" in text for text in remarks)
    assert any("sub-3 holds no SWI" in text for text in remarks)
