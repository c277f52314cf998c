"""What a DICOM input is called: never what its patient is called."""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path

import pytest
from pydicom.dataset import FileDataset

from cmbnet.io.dicom.naming import safe_name
from cmbnet.io.digest import content_sha256
from tests.helpers.dicom_series import edit, swi_only


def named_like_a_patient(dataset: FileDataset) -> None:
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName = "Müller^Li"
    dataset.PatientID = "KIS-998877"
    dataset.PatientBirthDate = "19470213"


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two slices of a patient; the naming looks at nothing but headers."""
    folder = swi_only(tmp_path_factory.mktemp("slices"))
    for path in sorted(folder.iterdir())[2:]:
        path.unlink()
    for path in folder.iterdir():
        edit(path, named_like_a_patient)
    return folder


@pytest.mark.parametrize(
    ("folder", "stem"),
    [
        ("swi", "swi"),
        ("Visit 2.SWI", "Visit_2_SWI"),
        ("MÜLLER_LI", "dicom"),
        ("Mueller swi", "swi"),
        ("muller-li-head", "head"),
        ("Li_Mueller_13.02.1947", "dicom"),
        ("1947-02-13 scan", "scan"),
        ("kis998877", "dicom"),
        ("998877_b", "b"),
        ("olive", "olive"),  # "li" goes as a word, not out of the middle of one
    ],
)
def test_the_safe_words_of_a_folder_are_kept(
    slices: Path, tmp_path: Path, folder: str, stem: str
) -> None:
    shutil.copytree(slices, tmp_path / folder)
    name = safe_name(tmp_path / folder).name
    assert re.fullmatch(r"[\w.]+-[0-9a-f]{8}", name)
    assert name.rpartition("-")[0] == stem


def test_one_study_has_one_hash_however_it_is_packed(slices: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(slices, other)
    with zipfile.ZipFile(tmp_path / "Mueller_swi.ZIP", "w") as archive:
        for path in slices.iterdir():
            archive.write(path, f"Mueller/{path.name}")
    hashes = {
        safe_name(path).name.rpartition("-")[2]
        for path in (slices, other, tmp_path / "Mueller_swi.ZIP", next(slices.iterdir()))
    }
    assert len(hashes) == 1
    assert safe_name(tmp_path / "Mueller_swi.ZIP").name.startswith("swi-")
    for path in other.iterdir():
        edit(path, lambda dataset: setattr(dataset, "StudyInstanceUID", "1.2.3"))
    assert safe_name(other).name.rpartition("-")[2] not in hashes


def test_unreadable_headers_leave_nothing_of_the_name(slices: Path, tmp_path: Path) -> None:
    folder = tmp_path / "Mueller_Li"
    folder.mkdir()
    (folder / "IM1").write_bytes(b"\0" * 128 + b"DICM")
    safe = safe_name(folder)
    assert re.fullmatch(r"dicom-[0-9a-f]{8}", safe.name)
    assert safe.identifiers == frozenset()


def test_the_identifiers_are_not_in_the_text_form(slices: Path) -> None:
    safe = safe_name(slices)
    assert "kis-998877" in safe.identifiers
    assert "998877" not in repr(safe)


def test_the_hash_of_a_folder_is_that_of_its_dicom_files(slices: Path, tmp_path: Path) -> None:
    before = content_sha256(slices)
    copy = tmp_path / "copy"
    shutil.copytree(slices, copy / "deeper")
    for number, path in enumerate(sorted((copy / "deeper").iterdir())):
        path.rename(copy / f"renamed{9 - number}")
    (copy / "notes.txt").write_text("no DICOM")
    (copy / "DICOMDIR").write_text("only a list")
    assert content_sha256(copy) == content_sha256(copy / "DICOMDIR") == before
    edit(copy / "renamed9", lambda dataset: setattr(dataset, "EchoTime", 21))
    assert content_sha256(copy) != before
