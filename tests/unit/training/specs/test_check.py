from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmbnet.lesions import label_components, measure_components, spacing_affine
from cmbnet.training.data.cohort import FrameCase
from cmbnet.training.data.specs import Fault, ScanCase, ScanSpec, discover
from cmbnet.training.data.specs.check import CaseReport, check_together, report_case
from cmbnet.training.data.specs.labels import LabelImage
from cmbnet.training.data.specs.model import Expected, FoldSplit, PatientSplit
from cmbnet.training.data.specs.splits import deal_splits, draw_split

SPACING_MM = (2.0, 0.6, 0.6)


def report(name: str, **changes: Any) -> CaseReport:
    base = CaseReport(
        name=name,
        patient=name,
        split="training",
        shape=(8, 64, 64),
        spacing_mm=SPACING_MM,
        small=1,
        large=0,
        outside=0,
        centres=0,
        image_sha256=name,
        faults=(),
    )
    return replace(base, **changes)


def codes(reports: list[CaseReport], expected: Expected | None = None) -> dict[str, str]:
    return {one.code: one.severity for one in check_together(reports, expected or Expected())}


GOOD = [report("a"), report("b", small=0), report("c", split="validation"),
        report("d", split="validation", small=0)]  # fmt: skip


def test_a_good_data_set_has_no_fault() -> None:
    assert codes(GOOD) == {}
    assert codes([report("a", split="all"), report("b", split="all", small=0)]) == {}


def test_a_patient_on_both_sides_is_wrong() -> None:
    (fault,) = check_together([*GOOD[:3], replace(GOOD[3], patient="a")], Expected())
    assert (fault.code, fault.severity) == ("patient-on-both-sides", "wrong")
    assert fault.message == "patient a is in training (a), validation (d)"
    assert codes([*GOOD, report("e", patient="a")]) == {}  # two scans on one side


def test_the_same_scan_twice_is_wrong_across_sides_only() -> None:
    assert codes([*GOOD[:3], replace(GOOD[3], image_sha256="a")]) == {"same-scan": "wrong"}
    assert codes([*GOOD, report("e", image_sha256="a")]) == {"same-scan": "note"}


def test_a_side_that_cannot_be_used_is_wrong() -> None:
    assert codes(GOOD[:2]) == {"empty-side": "wrong"}
    assert codes([*GOOD[:2], GOOD[3]]) == {"no-lesions": "wrong"}
    assert codes([GOOD[0], *GOOD[2:]]) == {"no-controls": "note"}


def test_other_numbers_than_stated_are_noted() -> None:
    assert codes(GOOD, Expected(cases=4, lesions=2)) == {}
    assert codes(GOOD, Expected(cases=5, lesions=3)) == {
        "case-count": "note",
        "lesion-total": "note",
    }


def test_centres_on_nothing_mean_a_wrong_index() -> None:
    dim = Fault("no-dark-spot", "note", "centre 1 ...", "a")
    few = [replace(GOOD[0], centres=3, faults=(dim,)), *GOOD[1:]]
    many = [replace(GOOD[0], centres=3, faults=(dim, dim)), *GOOD[1:]]
    assert codes(few) == {}
    assert codes(many) == {"centres-misplaced": "wrong"}


def content(*places: tuple[int, int, int]) -> FrameCase:
    """Lesions of 2.4 mm; the brain is the left half."""
    mask = np.zeros((6, 64, 64), bool)
    for z, y, x in places:
        mask[z, y : y + 4, x : x + 4] = True
    labels, _ = label_components(mask)
    brain = np.zeros(mask.shape, bool)
    brain[:, :, :32] = True
    return FrameCase(
        image=np.zeros(mask.shape, np.float32),
        lesions=labels,
        ignore=np.zeros(mask.shape, bool),
        mimics=np.zeros(mask.shape, np.int32),
        brain=brain,
        spacing_mm=SPACING_MM,
        findings=(),
        native_spacing_mm=SPACING_MM,
        components=measure_components(labels, spacing_affine(SPACING_MM)),
        faults=(),
    )


def case(**changes: Any) -> ScanCase:
    return replace(ScanCase("a", "p", "training", Path("a.nii"), None), **changes)


def case_codes(made: FrameCase, **changes: Any) -> dict[str, str]:
    return {one.code: one.severity for one in report_case(case(**changes), made).faults}


def test_lesions_are_counted_by_size() -> None:
    found = report_case(case(), content((2, 5, 5), (2, 20, 5)))
    assert (found.small, found.large, found.outside) == (2, 0, 0)
    assert found.faults == ()


def test_a_lesion_outside_the_brain_is_wrong() -> None:
    assert case_codes(content((2, 5, 5), (2, 5, 40))) == {"lesion-outside-brain": "wrong"}
    assert case_codes(content((2, 5, 31))) == {"lesion-at-edge": "note"}
    assert case_codes(content((2, 5, 30))) == {}  # half of it


def test_a_lesion_that_the_frame_cuts_off_is_noted() -> None:
    made = content((2, 5, 5))
    empty = np.zeros(made.lesions.shape, np.int32)
    assert case_codes(replace(made, lesions=empty)) == {"lesion-outside-frame": "note"}


def test_an_empty_positive_is_wrong() -> None:
    assert case_codes(content(), expects_lesions=True) == {"empty-positive": "wrong"}
    assert case_codes(content(), stated_lesions=2) == {"empty-positive": "wrong"}
    assert case_codes(content(), stated_lesions=0) == {}


def test_other_counts_than_the_table_states_are_told() -> None:
    assert case_codes(content((2, 5, 5)), stated_lesions=0) == {"lesion-count": "wrong"}
    assert case_codes(content((2, 5, 5)), stated_lesions=2) == {"lesion-count": "note"}
    assert case_codes(content((2, 5, 5)), stated_lesions=1) == {}


def spec(**changes: Any) -> ScanSpec:
    values: dict[str, Any] = {
        "kind": "scans", "name": "t", "title": "t", "sequence": "SWI", "field_t": [],
        "licence": "-", "source": "-",
        "groups": [{"images": "{side}/{case}.nii", "labels": {"convention": "mask",
                    "path": "labels/*/{case}.nii"}}],
    }  # fmt: skip
    return ScanSpec.model_validate(values | changes)


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def wrong(found: Any) -> dict[str, str]:
    return {one.code: one.message for one in found.faults if one.severity == "wrong"}


def test_scans_without_a_label_are_counted_and_the_others_stay(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.nii", "x/b.nii", "labels/r/a.nii")
    found = discover(spec(), tmp_path)
    assert [one.name for one in found.cases] == ["a"]
    assert wrong(found) == {}
    assert found.unlabelled == (
        ("b", tmp_path / "x/b.nii", "b.nii has no label labels/*/b.nii"),
    )  # fmt: skip
    (tmp_path / "labels/r/a.nii").unlink()
    assert wrong(discover(spec(), tmp_path))["no-label"].startswith("2 scans have no label")


def test_two_labels_in_one_folder_are_wrong(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.nii", "labels/r/a-1.nii", "labels/r/a-2.nii")
    labels = {"convention": "mask", "path": "labels/*/{stem}-*.nii"}
    found = discover(spec(groups=({"images": "x/{stem}.nii", "labels": labels},)), tmp_path)
    assert "must name one file in" in wrong(found)["spec"]


def test_two_readers_of_one_scan_are_both_read(tmp_path: Path) -> None:
    """A second folder was "must name one file"."""
    touch(tmp_path, "x/a.nii", "labels/r/a.nii", "labels/s/a.nii", "labels/t/a.seg.nrrd")
    (case,) = discover(spec(), tmp_path).cases
    assert isinstance(case.label, LabelImage)
    assert case.label.path == tmp_path / "labels" / "r" / "a.nii"
    others = (tmp_path / "labels" / "s" / "a.nii", tmp_path / "labels" / "t" / "a.seg.nrrd")
    assert case.label.others == others


def test_the_answers_of_the_model_are_no_truth(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.nii", "labels/r/a.nii", "labels/s/a.nii")
    made_by = json.dumps({"GeneratedBy": [{"Name": "cmbnet"}]})
    (tmp_path / "labels" / "r" / "dataset_description.json").write_text(made_by)
    (case,) = discover(spec(), tmp_path).cases
    assert case.label == LabelImage(tmp_path / "labels" / "s" / "a.nii", "mask")


def test_a_mask_of_slicer_is_found(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.nii", "labels/t/a.seg.nrrd")
    (case,) = discover(spec(), tmp_path).cases
    assert case.label == LabelImage(tmp_path / "labels" / "t" / "a.seg.nrrd", "mask")


def test_two_scans_of_one_name_are_wrong(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.nii", "y/a.nii", "x/b.nii", "labels/r/a.nii", "labels/r/b.nii")
    found = discover(spec(), tmp_path)
    assert [one.name for one in found.cases] == ["b"]
    assert "got x/a.nii, y/a.nii" in wrong(found)["duplicate-case"]
    assert "a `case:` that tells them apart, got '{stem}'" in wrong(found)["duplicate-case"]


def test_an_empty_folder_is_wrong(tmp_path: Path) -> None:
    assert (
        "images '{side}/{case}.nii' are required" in wrong(discover(spec(), tmp_path))["no-images"]
    )


def test_exclusions_are_told_and_idle_ones_noted(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.nii", "x/b.nii", "labels/r/a.nii")
    excluded = [{"case": "b*", "reason": "motion"}, {"case": "c", "reason": "-"}]
    found = discover(spec(exclude=excluded), tmp_path)
    assert found.excluded == (("b", "motion"),)
    assert {one.code: one.severity for one in found.faults} == {"idle-exclusion": "note"}


def test_sides_come_from_folders_or_tables(tmp_path: Path) -> None:
    touch(tmp_path, "training/a.nii", "test/b.nii", "labels/r/a.nii", "labels/r/b.nii")
    found = discover(spec(splits={"by": "field", "field": "side"}), tmp_path)
    assert {one.name: one.split for one in found.cases} == {"a": "training", "b": "test"}
    (tmp_path / "s.tsv").write_text("id\tside\n b \tvalidation\na\t../x\n", encoding="utf-8")
    value = {"table": "s.tsv", "row": "id", "column": "side"}
    found = discover(spec(splits={"by": "table", "value": value}), tmp_path)
    assert {one.name: one.split for one in found.cases} == {"b": "validation"}
    assert "must be a name as 'training', got '../x'" in wrong(found)["spec"]
    (tmp_path / "s.tsv").write_text("id\tside\na\ttest\n", encoding="utf-8")
    found = discover(spec(splits={"by": "table", "value": value}), tmp_path)
    assert wrong(found) == {"missing-value": "s.tsv must give side of 'b' once, got none"}


def test_drawn_sides_keep_their_shares_and_their_patients() -> None:
    splits = PatientSplit(by="patient", shares={"training": 0.75, "validation": 0.25}, seed=3)
    drawn = [draw_split(splits, f"p{n}") for n in range(2000)]
    assert 1400 < drawn.count("training") < 1600
    assert drawn == [draw_split(splits, f"p{n}") for n in range(2000)]
    other = splits.model_copy(update={"seed": 4})
    assert drawn != [draw_split(other, f"p{n}") for n in range(2000)]


@pytest.mark.parametrize("seed", range(50))
def test_ten_patients_give_every_side_lesions_and_controls(seed: int) -> None:
    shares = {"training": 0.8, "validation": 0.2}
    splits = PatientSplit(by="patient", shares=shares, seed=seed, stratify="lesions")
    patients = {f"{n:02}": n < 3 for n in range(10)}
    sides = deal_splits(splits, patients)
    assert sorted(sides) == sorted(patients)
    for lesions, held_out in ((True, 1), (False, 1)):
        dealt = [sides[name] for name, has in patients.items() if has is lesions]
        assert dealt.count("validation") == held_out


def test_every_patient_is_once_in_the_fold_of_validation() -> None:
    patients = {f"{n:02}": n % 3 == 0 for n in range(20)}
    held_out: list[str] = []
    for fold in range(1, 6):
        sides = deal_splits(FoldSplit(by="folds", folds=5, fold=fold, seed=1), patients)
        own = [name for name, side in sides.items() if side == "validation"]
        assert any(patients[name] for name in own)
        assert not all(patients[name] for name in own)
        held_out += own
    assert sorted(held_out) == sorted(patients)


@pytest.mark.parametrize(("name", "text"), [("t.csv", "a,b\n1,x\n"), ("t.tsv", "a\tb\n1\tx\n")])
def test_tables_of_text(tmp_path: Path, name: str, text: str) -> None:
    from cmbnet.errors import UnreadableFile, UsageError
    from cmbnet.training.data.specs.tables import read_table

    (tmp_path / name).write_text("\ufeff" + text, encoding="utf-8")
    table = read_table(tmp_path / name)
    assert (table.headings, table.rows) == (("a", "b"), (("1", "x"),))
    with pytest.raises(UsageError, match=r"a column 'c' is required in .* got a, b"):
        table.column("c")
    (tmp_path / name).write_text("")
    with pytest.raises(UnreadableFile, match="holds no headings"):
        read_table(tmp_path / name)
