"""Folders, zips and DICOMDIRs, well-meant and hostile."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from cmbnet.errors import InputRefused, UnreadableFile
from cmbnet.io.detect import holds_dicom
from cmbnet.io.dicom import read_dicom
from cmbnet.io.dicom.files import Limits, copy_member, open_files
from tests.helpers.dicom_series import swi_only, write_tiny


def zipped(folder: Path, archive: Path, *, prefix: str = "") -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                packed.write(path, prefix + path.relative_to(folder).as_posix())
    return archive


def test_zip_reads_like_its_folder(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "scan")
    volume = read_dicom(zipped(folder, tmp_path / "scan.zip"))
    np.testing.assert_array_equal(volume.data, read_dicom(folder).data)
    assert volume.source == "series 5 of scan.zip"


@pytest.mark.parametrize("prefix", ["../../escaped/", "/escaped/", "..\\escaped\\"])
def test_no_member_is_written_where_its_name_says(tmp_path: Path, prefix: str) -> None:
    folder = swi_only(tmp_path / "scan")
    archive = zipped(folder, tmp_path / "deep.zip", prefix=prefix)
    before = set(tmp_path.rglob("*"))
    assert read_dicom(archive).shape == (24, 20, 16)
    with open_files(archive) as files:
        assert all(len(file.path.name) == 6 for file in files.files)
        assert {file.name for file in files.files} >= {"IM000001"}
        inside = files.files[0].path
    assert not inside.exists(), "the unpacked copy goes with the context"
    assert set(tmp_path.rglob("*")) == before


def zip_of_zeros(archive: Path, *, marked: bool) -> Path:
    """5 MiB in 5 kB; ``marked`` as DICOM."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("zeros", bytes(128) + (b"DICM" if marked else b"") + bytes(5 << 20))
    assert archive.stat().st_size < 10_000
    return archive


def test_zip_bomb_is_refused_by_what_it_states(tmp_path: Path) -> None:
    archive = zip_of_zeros(tmp_path / "bomb.zip", marked=True)
    with (
        pytest.raises(InputRefused, match=r"bomb.zip unpacks to more than 1 MiB"),
        open_files(archive, Limits(always_bytes=1 << 20)),
    ):
        pass
    with open_files(archive, Limits(always_bytes=1 << 20, unpacked_ratio=2000)) as files:
        assert len(files.files) == 1


def test_zip_bomb_that_states_little_is_stopped_at_what_it_states(tmp_path: Path) -> None:
    archive = zip_of_zeros(tmp_path / "bomb.zip", marked=True)
    content = archive.read_bytes()
    stated = ((5 << 20) + 132).to_bytes(4, "little")
    assert content.count(stated) == 2
    archive.write_bytes(content.replace(stated, (1000).to_bytes(4, "little")))
    with pytest.raises(UnreadableFile, match=r"bomb.zip is damaged"):
        read_dicom(archive)


def test_of_a_member_that_is_no_dicom_the_start_alone_is_unpacked(tmp_path: Path) -> None:
    folder = swi_only(tmp_path / "scan")
    archive = zipped(folder, tmp_path / "scan.zip")
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("zeros", bytes(5 << 20))
    with open_files(archive) as files:
        assert len(files.files) == 24
        assert files.others == 1
        unpacked = list(files.files[0].path.parent.iterdir())
    assert len(unpacked) == 24


def test_a_zip_by_a_method_that_needs_much_memory_is_not_unpacked(tmp_path: Path) -> None:
    archive = tmp_path / "scan.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_LZMA) as packed:
        packed.write(swi_only(tmp_path / "scan") / "IM000001", "IM000001")
    assert not holds_dicom(archive)
    with pytest.raises(UnreadableFile, match="pack it again as a plain zip"):
        read_dicom(archive)


def test_a_deflated_file_that_inflates_without_end_is_left_aside(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)
    bomb = pydicom.dcmread(folder / "IM000001")
    bomb.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    bomb.SOPInstanceUID = bomb.file_meta.MediaStorageSOPInstanceUID = UID("2.25.9")
    bomb.add_new(0x00091010, "OB", bytes(80 << 20))
    bomb.save_as(folder / "bomb")
    assert (folder / "bomb").stat().st_size < 1 << 20
    notes = " ".join(read_dicom(folder).notes)
    assert "bomb inflates to more than 100 times its size" in notes


def test_deflated_files_are_read(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)
    plain = read_dicom(folder)
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.save_as(path)
    np.testing.assert_array_equal(read_dicom(folder).data, plain.data)


@pytest.mark.parametrize(
    ("syntax", "with_meta"),
    [
        (ExplicitVRLittleEndian, True),
        (ExplicitVRLittleEndian, False),
        (ImplicitVRLittleEndian, False),
    ],
)
def test_files_without_preamble_are_read(tmp_path: Path, syntax: UID, with_meta: bool) -> None:
    folder = swi_only(tmp_path / "scan")
    whole = read_dicom(folder)
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(path, implicit_vr=syntax.is_implicit_VR, little_endian=True)
        content = path.read_bytes()
        after_meta = 144 + int.from_bytes(content[140:144], "little")
        path.write_bytes(content[132 if with_meta else after_meta :])
    assert holds_dicom(folder)
    np.testing.assert_array_equal(read_dicom(folder).data, whole.data)
    packed = zipped(folder, tmp_path / "scan.zip")
    assert holds_dicom(packed)
    np.testing.assert_array_equal(read_dicom(packed).data, whole.data)


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"\x08\x00",
        b"\x08\x00\x05\x00CS\x0a\x00",
        b"\x5c\x01\x00\x00" + bytes(344),
        b"\x08\x00\x08\x00" * 80,
        bytes(200),
        b"\x1f\x8b\x08\x00" * 80,
        b"{" * 200,
    ],
)
def test_what_is_no_data_set_is_none(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "file").write_bytes(start)
    assert not holds_dicom(tmp_path / "file")


def test_a_bomb_never_reaches_the_disk_whole(tmp_path: Path) -> None:
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("zeros", bytes(5 << 20))
    with zipfile.ZipFile(archive) as packed:
        left = copy_member(packed, packed.infolist()[0], tmp_path / "copy", 2 << 20)
    assert left < 0
    assert (tmp_path / "copy").stat().st_size <= 2 << 20


def test_too_many_files(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)
    for source in (folder, zipped(folder, tmp_path / "many.zip")):
        with (
            pytest.raises(InputRefused, match="at most 10 files are read"),
            open_files(source, Limits(files=10)),
        ):
            pass


def test_damaged_zip(tmp_path: Path) -> None:
    archive = zipped(swi_only(tmp_path / "scan"), tmp_path / "cut.zip")
    content = bytearray(archive.read_bytes())
    content[200:260] = bytes(60)
    archive.write_bytes(content)
    with pytest.raises(UnreadableFile, match=r"cut.zip is damaged, encrypted or"):
        read_dicom(archive)


def test_encrypted_zip(tmp_path: Path) -> None:
    archive = zipped(swi_only(tmp_path / "scan"), tmp_path / "locked.zip")
    content = archive.read_bytes()
    # Set the encryption bit in every local and central header.
    content = content.replace(b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01")
    content = content.replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01")
    archive.write_bytes(content)
    with pytest.raises(UnreadableFile, match="encrypted"):
        read_dicom(archive)
    assert not holds_dicom(archive)


@pytest.fixture
def dicomdir(tmp_path: Path) -> Path:
    """A medium with the records that a reader follows: one per image, file names in parts."""
    medium = tmp_path / "medium"
    write_tiny(medium / "A")
    catalogue = Dataset()
    catalogue.DirectoryRecordSequence = []
    for path in sorted(medium.rglob("IM*")):
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = list(path.relative_to(medium).parts)
        catalogue.DirectoryRecordSequence.append(record)
    patient = Dataset()
    patient.DirectoryRecordType = "PATIENT"
    catalogue.DirectoryRecordSequence.insert(0, patient)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    meta.MediaStorageSOPInstanceUID = UID("2.25.1")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    catalogue.file_meta = meta
    catalogue.save_as(medium / "DICOMDIR", enforce_file_format=True)
    return medium / "DICOMDIR"


def test_dicomdir_reads_what_it_lists(dicomdir: Path) -> None:
    volume = read_dicom(dicomdir)
    np.testing.assert_array_equal(volume.data, read_dicom(dicomdir.parent / "A").data)
    # The folder of a DICOMDIR is read as any folder.
    assert read_dicom(dicomdir.parent).shape == volume.shape
    # A file that it does not list is not read.
    (dicomdir.parent / "stranger").write_bytes(bytes(128) + b"DICM")
    assert read_dicom(dicomdir).notes == ()


def test_dicomdir_says_what_is_absent_and_never_leaves_its_folder(dicomdir: Path) -> None:
    dataset = pydicom.dcmread(dicomdir)
    images = [record for record in dataset.DirectoryRecordSequence if "ReferencedFileID" in record]
    with pydicom.config.disable_value_validation():
        images[0].ReferencedFileID = ["..", "..", "etc", "passwd"]
    images[1].ReferencedFileID = ["NOT", "THERE"]
    with pydicom.config.disable_value_validation():
        dataset.save_as(dicomdir)
    notes = " ".join(read_dicom(dicomdir).notes)
    assert "1 files that the DICOMDIR lists are absent" in notes
    assert "1 references of the DICOMDIR leave its folder" in notes


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(InputRefused, match="got 1 files of which none bears the mark DICM"):
        read_dicom(tmp_path)
    with pytest.raises(UnreadableFile, match="missing is absent"):
        read_dicom(tmp_path / "missing")
    with pytest.raises(InputRefused, match="none bears the mark"):
        read_dicom(tmp_path / "a.txt")
    assert not holds_dicom(tmp_path)
    assert not holds_dicom(tmp_path / "missing")


def test_one_file(tmp_path: Path) -> None:
    enhanced = write_tiny(tmp_path / "e", enhanced=True) / "5/IM000001"
    assert read_dicom(enhanced).shape == (24, 20, 16)
    classic = swi_only(tmp_path / "c") / "IM000001"
    with pytest.raises(InputRefused, match="one slice is no volume"):
        read_dicom(classic)


def test_dicom_is_detected(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "scan")
    assert holds_dicom(folder)
    assert holds_dicom(folder / "5/IM000001")
    assert holds_dicom(zipped(folder, tmp_path / "scan.zip"))
