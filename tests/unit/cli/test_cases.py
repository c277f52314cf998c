"""How inputs become named cases."""

import zipfile
from pathlib import Path

import pytest

from cmbnet.cli.cases import collect_cases
from cmbnet.errors import UsageError
from tests.helpers.dicom_series import swi_only


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.nii", "a.nii.gz", ".hidden.nii", "c.txt", "deep/d.nii", "p1/x.nii", "p2/x.nii"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(*inputs: object) -> list[str]:
    return [case.name for case in collect_cases([str(given) for given in inputs])]


def test_a_folder_gives_its_nifti_files_in_order(folder: Path) -> None:
    assert names(folder) == ["a", "b"]


def test_patterns_reach_into_folders(folder: Path) -> None:
    assert names(folder / "**" / "*.nii") == ["b", "d", "p1_x", "p2_x"]


def test_as_many_folders_as_it_takes_tell_files_apart(tmp_path: Path) -> None:
    for name in ("s1/anat/swi.nii", "s2/anat/swi.nii", "s2/other/swi.nii", "s2/anat/t1.nii"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert names(tmp_path / "**" / "*.nii") == ["s1_anat_swi", "s2_anat_swi", "t1", "other_swi"]


def test_a_file_given_twice_is_one_case(folder: Path) -> None:
    assert names(folder / "b.nii", folder, folder / "b.*") == ["b", "a"]


def test_a_file_whose_name_has_magic_characters(folder: Path) -> None:
    (folder / "scan[1].nii").touch()
    assert names(folder / "scan[1].nii") == ["scan_1_"]


def test_any_file_that_is_named_is_taken(folder: Path) -> None:
    assert names(folder / "c.txt") == ["c.txt"]  # the reader will say what is wrong with it


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("sub-01_swi.nii.gz", "sub-01_swi"),
        ("..nii", "case"),
        ("a b;c.nii", "a_b_c"),
        ("-rf.nii", "rf"),
        ("größe.nii", "größe"),
    ],
)
def test_names_are_harmless(tmp_path: Path, file: str, name: str) -> None:
    (tmp_path / file).touch()
    assert names(tmp_path / file) == [name]


def test_names_that_differ_in_case_only_collide(folder: Path) -> None:
    (folder / "p1" / "Scan.nii").touch()
    (folder / "p1" / "scan.nii.gz").touch()
    with pytest.raises(UsageError, match=r"would both be written to the folder .*p1_scan"):
        names(folder / "p1" / "Scan.nii", folder / "p1" / "scan.nii.gz")


def test_the_name_of_the_summary_is_taken(tmp_path: Path) -> None:
    (tmp_path / "summary.csv.nii").touch()
    with pytest.raises(UsageError, match=r"would both be written to the folder summary\.csv"):
        names(tmp_path / "summary.csv.nii")


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """Two studies as folders, one as a zip, a folder of NIfTI, a folder of neither."""
    dicom = b"\0" * 128 + b"DICM"
    for name in ("studies/a/1/IM1", "studies/a/2/IM1", "studies/b/IM1"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(dicom + name.encode())
    with zipfile.ZipFile(tmp_path / "studies" / "c.zip", "w") as archive:
        archive.writestr("Doe/IM1", dicom)
    for name in ("studies/d/x.nii", "studies/e/notes.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path / "studies" / "d" / "IM1").write_bytes(dicom)
    return tmp_path / "studies"


def paths(*inputs: object) -> list[str]:
    return [case.path.name for case in collect_cases([str(given) for given in inputs])]


def test_a_dicom_folder_or_zip_is_one_case(studies: Path) -> None:
    assert paths(studies / "a") == ["a"]
    assert paths(studies / "a" / "1" / "IM1") == ["IM1"]
    assert paths(studies / "c.zip") == ["c.zip"]
    (case,) = collect_cases([str(studies / "a")])
    assert case.dicom
    assert case.label == case.name
    assert case.name.startswith("dicom-")  # its headers cannot be read


def test_nifti_files_go_before_dicom_files_of_a_folder(studies: Path) -> None:
    assert paths(studies / "d") == ["x.nii"]


def test_patterns_find_studies_and_not_their_slices(studies: Path) -> None:
    assert paths(studies / "*") == ["a", "b", "c.zip"]
    assert paths(studies / "a" / "*") == ["1", "2"]
    assert paths(studies / "a" / "**") == ["a"]


def test_a_folder_of_neither_is_refused(studies: Path) -> None:
    with pytest.raises(UsageError, match=r"e holds no \.nii or \.nii\.gz file and no DICOM file"):
        names(studies / "e")


def test_masks_of_dicom_cases_bear_the_name_of_the_case(studies: Path) -> None:
    (case,) = collect_cases([str(studies / "a")])
    (studies / "masks").mkdir()
    mask = studies / "masks" / f"{case.name}.nii.gz"
    with pytest.raises(UsageError, match="does not exist"):
        collect_cases([str(studies / "a")], brain_mask=mask.parent)
    mask.touch()
    assert collect_cases([str(studies / "a")], brain_mask=mask.parent)[0].brain_mask == mask


def test_names_come_from_the_path_that_is_given_not_from_what_a_link_points_to(
    tmp_path: Path,
) -> None:
    """git-annex keeps files under their hash and puts links in their places."""
    for subject in ("sub-01", "sub-02"):
        key = tmp_path / ".git" / f"MD5E-s1000--{subject[-1] * 32}.nii.gz"
        key.parent.mkdir(exist_ok=True)
        key.touch()
        (tmp_path / subject).mkdir()
        (tmp_path / subject / f"{subject}_swi.nii.gz").symlink_to(key)
    assert names(tmp_path / "sub-*" / "*.nii.gz") == ["sub-01_swi", "sub-02_swi"]


def said(*inputs: object) -> tuple[list[str], list[str]]:
    """Names, and what was said of the rest."""
    remarks: list[str] = []
    cases = collect_cases([str(given) for given in inputs], say=remarks.append)
    return [case.name for case in cases], remarks


def test_a_folder_gives_no_projections_phase_maps_or_masks(tmp_path: Path) -> None:
    scans = ("sub-1_swi", "sub-1_part-mag_GRE", "sub-1_acq-SWI_T2starw", "other", "p1_SWI_scan")
    rest = ("sub-1_minIP", "sub-1_part-phase_GRE", "P7_mIP", "x_ph", "sub-1_Chimap", "sub-1_T1w")
    for name in (*scans, *rest):
        (tmp_path / f"{name}.nii.gz").touch()
    for given in (tmp_path, tmp_path / "*"):
        found, remarks = said(given)
        assert sorted(found) == sorted(scans)
        assert len(remarks) == len(rest)
    assert any("sub-1_minIP.nii.gz is a projection" in remark for remark in remarks)
    assert any("sub-1_part-phase_GRE.nii.gz is phase" in remark for remark in remarks)
    # What is named by itself is judged when it is run: --force may be given.
    assert names(tmp_path / "sub-1_minIP.nii.gz") == ["sub-1_minIP"]


def test_links_to_nothing_are_said(tmp_path: Path) -> None:
    (tmp_path / "here.nii").touch()
    (tmp_path / "away.nii").symlink_to(tmp_path / "nowhere")
    found, (remark,) = said(tmp_path)
    assert found == ["here"]
    assert "away.nii is a link to nothing" in remark
    with pytest.raises(UsageError, match=r"away\.nii is a link to nothing"):
        said(tmp_path / "away.nii")


def test_suffixes_may_be_upper_case(tmp_path: Path) -> None:
    (tmp_path / "SCAN.NII.GZ").touch()
    assert names(tmp_path) == names(tmp_path / "*") == ["SCAN"]


def test_a_folder_without_scans_among_others_is_left_out(studies: Path) -> None:
    found, (remark,) = said(studies / "e", studies / "d")
    assert found == ["x"]
    assert "e holds no .nii or .nii.gz file and no DICOM file: it is left out" in remark
    with pytest.raises(UsageError, match="a scan is required, got none"):
        said(studies / "e", studies / "e")


def test_characters_that_a_folder_cannot_have_keep_names_apart(tmp_path: Path) -> None:
    for name in ("a b.nii", "a_b.nii", "a;b.nii"):
        (tmp_path / name).touch()
    first, second, third = names(tmp_path)
    assert (first[:4], second[:4], third) == ("a_b-", "a_b-", "a_b")
    assert len({first, second}) == 2
    assert names(tmp_path / "a_b.nii", tmp_path / "a b.nii") == ["a_b", first]


def test_two_parts_of_a_study_of_one_name_are_told_apart_by_content(tmp_path: Path) -> None:
    swi_only(tmp_path / "a")
    swi_only(tmp_path / "b")
    next((tmp_path / "b" / "5").iterdir()).unlink()
    first, second = names(tmp_path / "a" / "5", tmp_path / "b" / "5")
    assert first != second
    assert first[:10] == second[:10]
