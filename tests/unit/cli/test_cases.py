"""How inputs become named cases."""

import zipfile
from pathlib import Path

import pytest

from cmbnet.cli.cases import collect_cases
from cmbnet.errors import UsageError


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
