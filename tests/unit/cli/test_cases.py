"""How inputs become named cases."""

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
