"""Nothing that does not fit together is scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cmbnet.cli import evaluate, readers
from cmbnet.errors import InputRefused, UnreadableFile, UsageError
from cmbnet.evaluation import Case, MatchingRule, Settings, evaluate_cohort, score_case
from cmbnet.evaluation.cohort.compare import compare
from cmbnet.evaluation.cohort.files import Folders, pair_files
from cmbnet.evaluation.cohort.images import find_images
from cmbnet.evaluation.cohort.load import load_case, read_labels_file, read_lesion_table, score_many
from cmbnet.evaluation.cohort.manifest import read_lesion_regions, read_manifest
from cmbnet.io import write_nifti
from cmbnet.lesions import spacing_affine
from cmbnet.volume import Volume

from .cohort import AFFINE, SHAPE, truth_of, write_cohort


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"), 4)


def empty(shape: tuple[int, int, int] = SHAPE) -> Volume:
    return Volume(np.zeros(shape, np.uint8), AFFINE, "empty")


def test_shapes_must_agree() -> None:
    other = empty((8, 40, 41))
    with pytest.raises(InputRefused, match=r"shape \(8, 40, 40\) against \(8, 40, 41\)"):
        score_case(Case("a", truth_of(1), other))


@pytest.mark.parametrize("field", ["predicted", "probability", "ignore", "brain", "regions"])
def test_affines_must_agree_for_every_image(field: str) -> None:
    moved = AFFINE.copy()
    moved[0, 3] += 0.5
    volumes = {"predicted": empty(), field: Volume(np.zeros(SHAPE), moved, "moved.nii.gz")}
    with pytest.raises(InputRefused, match=r"moved.nii.gz must lie on one grid.*0.500 mm apart"):
        score_case(Case("a", truth_of(1), **volumes))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0.3, -1.0, np.nan, np.inf, 2.0**25])
def test_labels_must_be_labels(value: float) -> None:
    data = np.zeros(SHAPE)
    data[0, 0, 0] = value
    with pytest.raises(InputRefused, match="labels"):
        score_case(Case("a", truth_of(1), Volume(data, AFFINE, "odd")))


@pytest.mark.parametrize("value", [1.01, -0.01, np.nan, np.inf])
def test_probabilities_must_be_probabilities(value: float) -> None:
    data = np.zeros(SHAPE)
    data[0, 0, 0] = value
    with pytest.raises(InputRefused, match=r"probabilities within \[0, 1\]"):
        score_case(Case("a", truth_of(1), None, Volume(data, AFFINE, "odd")))


def test_a_prediction_is_needed() -> None:
    with pytest.raises(InputRefused, match="a mask or a probability map is required"):
        score_case(Case("a", truth_of(1), None))


def test_case_names_must_differ() -> None:
    with pytest.raises(InputRefused, match="got twice: a"):
        evaluate_cohort([Case("a", truth_of(1), empty())] * 2)


def test_a_cohort_needs_a_case() -> None:
    with pytest.raises(InputRefused, match="at least one case"):
        evaluate_cohort([])


def test_nan_in_a_file_is_refused_not_made_zero(tmp_path: Path) -> None:
    data = np.zeros(SHAPE, np.float32)
    data[0, 0, 0] = np.nan
    write_nifti(Volume(data, AFFINE), tmp_path / "nan.nii.gz", dtype=np.float32)
    with pytest.raises(InputRefused, match=r"finite values.*1 voxels were NaN.*nan.nii.gz"):
        read_labels_file(tmp_path / "nan.nii.gz")


def test_missing_and_extra_cases_are_refused(root: Path, tmp_path: Path) -> None:
    for name in ("c00", "c01", "extra"):
        write_nifti(empty(), tmp_path / f"{name}.nii.gz", dtype=np.uint8)
    folders = Folders(root / "truth", tmp_path)
    with pytest.raises(InputRefused, match=r"without a prediction: c02, c03; .*reference: extra"):
        pair_files(folders, allow_missing=False)
    files = pair_files(folders, allow_missing=True)
    assert [(f.name, f.missing) for f in files] == [
        ("c00", False), ("c01", False), ("c02", True), ("c03", True)
    ]  # fmt: skip
    case = load_case(files[2])
    assert case.notes == ("prediction missing, counted as empty",)
    assert not score_case(case).predicted


def test_allow_missing_does_not_pair_strangers(root: Path, tmp_path: Path) -> None:
    write_nifti(empty(), tmp_path / "other.nii.gz", dtype=np.uint8)
    with pytest.raises(InputRefused, match="must hold the same cases"):
        pair_files(Folders(root / "truth", tmp_path), allow_missing=True)


def test_a_missing_brain_mask_is_refused(root: Path, tmp_path: Path) -> None:
    write_nifti(empty(), tmp_path / "c00.nii.gz", dtype=np.uint8)
    with pytest.raises(InputRefused, match="case c01 has no image"):
        pair_files(Folders(root / "truth", root / "pred", brain=tmp_path), allow_missing=False)


@pytest.mark.parametrize(("count", "end"), [(10, "c9;"), (11, "c8 and 1 more;")])
def test_ten_missing_cases_are_named(tmp_path: Path, count: int, end: str) -> None:
    for name in ("a", *(f"c{n}" for n in range(count))):
        write_nifti(empty(), tmp_path / "truth" / f"{name}.nii.gz", dtype=np.uint8)
    write_nifti(empty(), tmp_path / "pred" / "a.nii.gz", dtype=np.uint8)
    with pytest.raises(InputRefused, match=f"without a prediction: c0, .*{end}"):
        pair_files(Folders(tmp_path / "truth", tmp_path / "pred"), allow_missing=False)


def test_a_case_is_its_own_patient_unless_the_manifest_says_who(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text("case,patient\na,p\nb,\n", encoding="utf-8")
    assert {name: row.patient for name, row in read_manifest(path).rows.items()} == {
        "a": "p",
        "b": "b",
    }
    path.write_text("case\na\n", encoding="utf-8")
    assert read_manifest(path).rows["a"].patient == "a"
    path.write_text("case,patient\na,p\nb,p\n", encoding="utf-8")
    assert read_manifest(path, repeated=True).rows["b"].patient == "p"


REGIONS = "case,lesion,region,other\nc01,1,frontal,x\nc01,0,pons,x\nc02,3,pons,x\n"


def test_regions_are_read_from_a_table(tmp_path: Path, root: Path) -> None:
    path = tmp_path / "lesions.csv"
    path.write_text(REGIONS, encoding="utf-8")
    regions = read_lesion_regions(path)
    assert regions == {"c01": {1: "frontal"}, "c02": {3: "pons"}}
    files = pair_files(Folders(root / "truth", root / "pred"), None, regions, allow_missing=False)
    assert [one.lesion_regions for one in files] == [{}, {1: "frontal"}, {3: "pons"}, {}]
    assert load_case(files[1]).lesion_regions == {1: "frontal"}
    none = pair_files(Folders(root / "truth", root / "pred"), allow_missing=False)
    assert none[0].lesion_regions is None
    with pytest.raises(InputRefused, match="names cases without a reference: x"):
        pair_files(Folders(root / "truth", root / "pred"), None, {"x": {}}, allow_missing=False)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (("c01,1,frontal", "c01,1,"), InputRefused, "lesion 1 of case c01 needs one region"),
        (("c01,0,pons", "c01,1,pons"), InputRefused, "lesion 1 of case c01 needs one region"),
        (("c01,1,", "c01,first,"), UnreadableFile, "columns case, lesion"),
        (("region", "place"), UnreadableFile, "columns case, lesion"),
    ],
)
def test_tables_of_regions_that_are_refused(
    tmp_path: Path, change: tuple[str, str], error: type[Exception], match: str
) -> None:
    path = tmp_path / "lesions.csv"
    path.write_text(REGIONS.replace(*change), encoding="utf-8")
    with pytest.raises(error, match=match):
        read_lesion_regions(path)


def test_processes_are_started_for_two_cases_and_two_jobs_only(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("a pool")

    monkeypatch.setattr("cmbnet.evaluation.cohort.load.start_workers", refuse)
    files = pair_files(Folders(root / "truth", root / "pred"), allow_missing=False)
    assert len(list(score_many(files, Settings(), jobs=1))) == 4
    assert len(list(score_many(files[:1], Settings(), jobs=2))) == 1
    with pytest.raises(RuntimeError, match="a pool"):
        list(score_many(files[:2], Settings(), jobs=2))


def test_probability_maps_of_some_cases_only_are_refused(root: Path, tmp_path: Path) -> None:
    write_nifti(empty(), tmp_path / "c01.nii.gz", dtype=np.float32)
    folders = Folders(root / "truth", root / "pred", probability=tmp_path)
    with pytest.raises(InputRefused, match="got none of c00, c02, c03"):
        pair_files(folders, allow_missing=False)
    files = pair_files(folders, allow_missing=True)
    assert [one.probability is None for one in files] == [True, False, True, True]
    assert not any(one.missing for one in files)


def test_neither_masks_nor_probabilities(root: Path) -> None:
    with pytest.raises(UsageError, match="got neither"):
        pair_files(Folders(root / "truth"), allow_missing=False)


def test_folders_must_exist_and_hold_images(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="a folder of NIfTI files is required"):
        find_images(tmp_path / "absent")
    with pytest.raises(InputRefused, match=r"no images in .*<case>/lesions.nii.gz is required"):
        find_images(tmp_path)


def test_a_case_in_two_forms_is_refused(tmp_path: Path) -> None:
    write_nifti(empty(), tmp_path / "a.nii.gz", dtype=np.uint8)
    write_nifti(empty(), tmp_path / "a" / "mask.nii.gz", dtype=np.uint8)
    with pytest.raises(InputRefused, match="case a occurs twice"):
        find_images(tmp_path)


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("name\na\n", UnreadableFile, "needs the columns case"),
        ("case\na\na\n", InputRefused, "case a occurs twice"),
        ("case,patient\na,p\nb,p\n", InputRefused, "patient p occurs twice.*as a and b"),
        ("", UnreadableFile, "needs the columns case"),
    ],
)
def test_manifests(tmp_path: Path, text: str, error: type[Exception], match: str) -> None:
    path = tmp_path / "cases.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(error, match=match):
        read_manifest(path)


def test_manifest_columns_that_are_asked_for_must_exist(root: Path) -> None:
    assert read_manifest(root / "cases.csv", ["site"]).rows["c01"].strata == {
        "site": "S1",
        "field_t": "1.5",
    }
    with pytest.raises(UnreadableFile, match="needs the columns vendor"):
        read_manifest(root / "cases.csv", ["vendor"])


def test_manifest_and_reference_must_name_the_same_cases(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text("case\nc00\nc01\nc02\nx\n", encoding="utf-8")
    with pytest.raises(InputRefused, match="not in the manifest: c03; without a reference: x"):
        pair_files(Folders(root / "truth", root / "pred"), read_manifest(path), allow_missing=False)


@pytest.mark.parametrize(
    "text", ["nonsense", "paper:1.5", "iou:0", "iou:x", "iou:0.1:0.2", "paper:0.4:spare", "iou:-1"]
)
def test_impossible_rules(text: str) -> None:
    with pytest.raises(UsageError):
        MatchingRule.parse(text)


@pytest.mark.parametrize("text", ["paper:0.4", "coverage:0.25", "any-voxel", "iou:0.5:spare"])
def test_rules_print_as_they_are_read(text: str) -> None:
    assert str(MatchingRule.parse(text)) == text


def classes() -> Volume:
    """Definite microbleeds are 1, possible ones 2: two lesions 1, far apart, are one label."""
    data = np.zeros((4, 60, 60), np.uint8)
    data[1, 5:9, 5:9] = data[1, 40:44, 40:44] = 1
    data[2, 5:9, 40:44] = 2
    return Volume(data, spacing_affine((2.0, 0.5, 0.5)), "truth.nii.gz")


def test_a_label_of_distant_pieces_is_warned_of() -> None:
    """Pieces are 24.7 mm apart; a label of two near pieces is no reason to warn."""
    scored = score_case(Case("a", classes(), classes()))
    assert len(scored.truth) == 2
    assert [one[:60] for one in scored.warnings] == [
        "label 1 has 2 pieces up to 25 mm apart, which count as one l"
    ] * 2
    near = classes()
    near.data[1, 40:44, 40:44] = 0
    near.data[1, 11:13, 5:9] = 1
    assert score_case(Case("a", near, near)).warnings == ()
    mask = classes().with_data((classes().data > 0).astype(np.uint8))
    assert score_case(Case("a", mask, mask)).warnings == ()


def test_the_commands_say_which_label_looks_like_a_class(tmp_path: Path) -> None:
    for side in ("truth", "pred", "readers/A"):
        write_nifti(classes(), tmp_path / side / "c1.nii.gz", dtype=np.uint8)
    where = ["--truth", str(tmp_path / "truth"), "--resamples", "100"]
    done = CliRunner().invoke(evaluate.command, [*where, "--pred", str(tmp_path / "pred")])
    assert done.exit_code == 0, done.output
    assert done.stderr.count("warning: case c1: label 1 has 2 pieces") == 2
    done = CliRunner().invoke(
        readers.command,
        [*where, "--system", str(tmp_path / "pred"), "--readers", str(tmp_path / "readers")],
    )
    assert done.exit_code == 0, done.output
    assert "warning: case c1, A: label 1 has 2 pieces" in done.stderr


def sessions(folder: Path, *names: str) -> Folders:
    for name in names:
        for side in ("truth", "pred"):
            write_nifti(empty(), folder / side / f"{name}.nii.gz", dtype=np.uint8)
    return Folders(folder / "truth", folder / "pred")


def test_sessions_of_a_patient_are_not_pooled_unasked(tmp_path: Path) -> None:
    folders = sessions(tmp_path, "sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1")
    with pytest.raises(InputRefused, match=r"sub-01_ses-1 and sub-01_ses-2 look like .* sub-01,"):
        pair_files(folders, allow_missing=False)
    table = tmp_path / "cases.csv"
    table.write_text("case\nsub-01_ses-1\nsub-01_ses-2\nsub-02_ses-1\n", encoding="utf-8")
    with pytest.raises(InputRefused, match="look like scans of one patient"):
        pair_files(folders, read_manifest(table), allow_missing=False)
    table.write_text(
        "case,patient\nsub-01_ses-1,p\nsub-01_ses-2,p\nsub-02_ses-1,q\n", encoding="utf-8"
    )
    with pytest.raises(InputRefused, match="allow that patients repeat"):
        read_manifest(table)
    manifest = read_manifest(table, repeated=True)
    paired = pair_files(folders, manifest, allow_missing=False)
    assert [one.patient for one in paired] == ["p", "p", "q"]
    one_each = sessions(tmp_path / "b", "sub-01_ses-1", "sub-02_ses-1", "other_1", "other_2")
    assert len(pair_files(one_each, allow_missing=False)) == 4


def test_lesion_tables_must_have_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "lesions.csv"
    path.write_text("id,volume\n1,2\n", encoding="utf-8")
    with pytest.raises(UnreadableFile, match="id and score"):
        read_lesion_table(path)


@pytest.mark.parametrize(
    ("header", "row", "score"),
    [
        ("id,score,mean_probability", "1,0.3,0.8", 0.3),
        ("id,mean_probability", "1,0.8", 0.8),
        ("id,score,mean_probability", "1,,0.8", 0.8),
    ],
)
def test_a_lesion_table_states_the_scores(
    header: str, row: str, score: float, tmp_path: Path
) -> None:
    path = tmp_path / "lesions.csv"
    path.write_text(f"{header}\n{row}\n", encoding="utf-8")
    table = read_lesion_table(path)
    assert table.scores == {1: score}
    assert table.candidates is None


def test_models_are_compared_on_the_same_cases_only() -> None:
    first = evaluate_cohort([Case("a", truth_of(1), empty())])
    other = evaluate_cohort([Case("b", truth_of(1), empty())])
    changed = evaluate_cohort([Case("a", truth_of(2), empty())])
    strict = evaluate_cohort([Case("a", truth_of(1), empty())], Settings(ignore_fraction=0.1))
    for second, match in (
        (other, "only on the same cases"),
        (changed, "case a has different references"),
        (strict, "scored in the same way"),
    ):
        with pytest.raises(InputRefused, match=match):
            compare(first, second, resamples=100)


def test_the_table_of_predict_has_the_columns_that_are_read() -> None:
    from cmbnet.report.tables import LESION_COLUMNS

    assert {"id", "mean_probability"} <= set(LESION_COLUMNS)


def test_names_are_those_that_a_terminal_may_show(tmp_path: Path) -> None:
    (tmp_path / "a\x1b[2J.NII.GZ").touch()
    assert list(find_images(tmp_path)) == [r"a\x1b[2J"]
