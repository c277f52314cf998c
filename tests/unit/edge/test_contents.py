"""What is read of an object: the right values, whatever stands before them, with bounds."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian, JPEGLSLossless

from cmbnet.edge import contents
from cmbnet.edge.contents import contents_of, read_values
from tests.helpers.edge_peers import study_files
from tests.helpers.edge_processor import uid_of

WANTED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID")
EMPTY_ITEM = b"\xfe\xff\x00\xe0\x00\x00\x00\x00"


def one(folder: Path) -> Path:
    (path,) = study_files(folder, "a", slices=1)
    return path


def nested(depth: int) -> Sequence:
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3"
    if depth:
        item.ReferencedImageSequence = nested(depth - 1)
        item["ReferencedImageSequence"].is_undefined_length = True
    item.is_undefined_length_sequence_item = True
    return Sequence([item, item])


@pytest.mark.parametrize("implicit", [False, True])
def test_values_behind_nested_sequences(tmp_path: Path, implicit: bool) -> None:
    path = one(tmp_path)
    dataset = pydicom.dcmread(path)
    dataset.ReferencedImageSequence = nested(4)
    dataset["ReferencedImageSequence"].is_undefined_length = True
    dataset.ReferencedStudySequence = nested(0)
    if implicit:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    before = contents_of(path)
    dataset.save_as(path, implicit_vr=implicit, little_endian=True)
    found = read_values(path, WANTED)
    assert found["StudyInstanceUID"] == uid_of("a")
    assert found["SOPInstanceUID"] == uid_of("a/0")
    after = contents_of(path)
    assert after.shows_the_same_as(before)
    assert after.person == before.person
    assert after.whole


def test_what_is_of_unknown_kind_is_passed_over(tmp_path: Path) -> None:
    """A sequence of undefined length whose VR is UN: its content is implicit (PS3.5 6.2.2)."""
    path = one(tmp_path)
    raw = path.read_bytes()
    study = raw.index(b"\x20\x00\x0d\x00UI")
    inner = b"\x08\x00\x55\x11" + struct.pack("<L", 4) + b"1.2\0"
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + inner + b"\xfe\xff\x0d\xe0" + bytes(4)
    unknown = b"\x11\x00\x01\x10UN\0\0\xff\xff\xff\xff" + item + b"\xfe\xff\xdd\xe0" + bytes(4)
    path.write_bytes(raw[:study] + unknown + raw[study:])
    assert read_values(path, WANTED)["StudyInstanceUID"] == uid_of("a")


def test_many_nested_items_are_refused_in_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "_MOST_NESTED", 20_000)
    path = one(tmp_path)
    raw = path.read_bytes()
    study = raw.index(b"\x20\x00\x0d\x00UI")
    bomb = b"\x11\x00\x01\x10SQ\0\0\xff\xff\xff\xff" + EMPTY_ITEM * 30_000
    path.write_bytes(raw[:study] + bomb + b"\xfe\xff\xdd\xe0" + bytes(4) + raw[study:])
    tracemalloc.start()
    with pytest.raises(ValueError, match="hold too much"):
        read_values(path, WANTED)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 19


@pytest.mark.parametrize("cut", [0, 100, 145])
def test_what_is_cut_off_has_no_values(tmp_path: Path, cut: int) -> None:
    path = one(tmp_path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"cut off|no DICOM mark"):
        read_values(path, WANTED)


def test_another_compression_is_not_another_image(tmp_path: Path) -> None:
    """Without decoding nobody can tell, and all syntaxes that are accepted lose nothing."""
    path = one(tmp_path)
    before = contents_of(path)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    dataset.PixelData = encapsulate([bytes(100)])
    dataset.save_as(path)
    after = contents_of(path)
    assert after.shows_the_same_as(before)
    assert after.whole


@pytest.mark.parametrize(
    ("keyword", "value"), [("Rows", 2), ("PixelSpacing", [1, 2]), ("SeriesInstanceUID", "1.2.3")]
)
def test_another_grid_is_another_image(tmp_path: Path, keyword: str, value: object) -> None:
    path = one(tmp_path)
    before = contents_of(path)
    dataset = pydicom.dcmread(path)
    setattr(dataset, keyword, value)
    dataset.save_as(path)
    assert not contents_of(path).shows_the_same_as(before)
