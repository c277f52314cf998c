"""Mutated files: an answer or a `CmbnetError`, never a traceback, in little memory."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmbnet.errors import CmbnetError
from cmbnet.io.dicom import examine_dicom, read_dicom
from cmbnet.phantom.dicom import Vendor
from tests.helpers.dicom_series import edit_all, swi_only, write_tiny


@functools.cache
def contents(kind: str) -> tuple[bytes, ...]:
    """The files of one small series."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if kind == "enhanced":
            path = write_tiny(folder, vendor=Vendor.PHILIPS, enhanced=True) / "501"
        else:
            path = swi_only(folder)
            if kind == "rle":
                edit_all(path, lambda dataset: dataset.compress(pydicom.uid.RLELossless))
        return tuple(file.read_bytes() for file in sorted(path.iterdir()))


def try_to_read(files: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, content in enumerate(files):
            (folder / f"{number}").write_bytes(content)
        try:
            keys = [verdict.key for verdict in examine_dicom(folder).verdicts]
        except CmbnetError:
            return
        for key in keys[:2]:
            try:
                volume = read_dicom(folder, series=key)
            except CmbnetError:
                continue
            assert np.isfinite(volume.data).all()


@pytest.mark.parametrize("kind", ["classic", "rle", "enhanced"])
@settings(max_examples=40)
@given(data=st.data())
def test_mutated_bytes(kind: str, data: st.DataObject) -> None:
    files = list(contents(kind)[:4])
    victim = data.draw(st.integers(0, len(files) - 1))
    content = bytearray(files[victim])
    # The header is where a changed byte changes the meaning.
    places = st.integers(132, min(len(content), 6000) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=12)):
        content[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    files[victim] = bytes(content)
    try_to_read(files)


@settings(max_examples=80)
@given(noise=st.binary(max_size=400))
def test_noise_behind_the_mark(noise: bytes) -> None:
    try_to_read([bytes(128) + b"DICM" + noise])


@settings(max_examples=60)
@given(
    keyword=st.sampled_from(
        [
            "ImagePositionPatient",
            "ImageOrientationPatient",
            "PixelSpacing",
            "RescaleSlope",
            "EchoTime",
            "InstanceNumber",
            "SeriesNumber",
            "NumberOfFrames",
            "ImageType",
            "MagneticFieldStrength",
            "BodyPartExamined",
            "SeriesDescription",
        ]
    ),
    value=st.text(st.characters(max_codepoint=255), max_size=40),
)
def test_nonsense_values(keyword: str, value: str) -> None:
    tag = pydicom.tag.Tag(keyword)
    files = list(contents("classic")[:4])
    head = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little")
    place = files[0].find(head, 132)
    if place < 0:
        return
    length = int.from_bytes(files[0][place + 6 : place + 8], "little")
    new = value.encode("latin-1")[:40]
    new += b" " * (len(new) % 2)
    files[0] = (
        files[0][: place + 6]
        + len(new).to_bytes(2, "little")
        + new
        + files[0][place + 8 + length :]
    )
    try_to_read(files)


@pytest.mark.parametrize("keyword", ["Rows", "SOPClassUID", "FrameOfReferenceUID", "Modality"])
def test_one_value_that_became_several(keyword: str, tmp_path: Path) -> None:
    folder = swi_only(tmp_path)
    values: dict[str, object] = {"Rows": [20, 20], "Modality": ["MR", "CT"]}
    value = values.get(keyword, ["1.2", "1.3"])
    edit_all(folder, lambda dataset: setattr(dataset, keyword, value))
    try_to_read([path.read_bytes() for path in sorted(folder.iterdir())])


def test_the_untouched_series_are_read(tmp_path: Path) -> None:
    """Otherwise the tests above might never get past the first line."""
    for kind in ("classic", "rle", "enhanced"):
        folder = tmp_path / kind
        folder.mkdir()
        for number, content in enumerate(contents(kind)):
            (folder / f"{number}").write_bytes(content)
        assert examine_dicom(folder).refusal == ""
