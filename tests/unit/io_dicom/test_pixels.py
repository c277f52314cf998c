"""Decoding, rescaling and its limits."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders import base

from cmbnet.errors import InputRefused, MissingExtra, UnreadableFile
from cmbnet.io.dicom import pixels, read_dicom
from cmbnet.io.dicom.codestream import stated_size
from cmbnet.io.dicom.dataset import DicomFile, read_header
from cmbnet.io.dicom.frames import read_frames
from cmbnet.io.dicom.geometry import Grid
from tests.helpers.dicom_series import edit, edit_all, swi_only, write_tiny

SAME_SLICE = (
    "MR_small.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_padded.dcm",
)


def one_slice(name: str) -> np.ndarray:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    file = DicomFile(Path(path), name)
    frames = read_frames(file, read_header(file))
    return pixels.read_pixels(Grid(frames, np.eye(4)))


@pytest.mark.parametrize("name", SAME_SLICE[1:])
def test_every_encoding_of_one_slice_decodes_to_the_same(name: str) -> None:
    np.testing.assert_array_equal(one_slice(name), one_slice("MR_small.dcm"))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("MR_small_jp2klossless.dcm", (64, 64, 1)),
        ("MR_small_jpeg_ls_lossless.dcm", (64, 64, 1)),
        ("MR_small_RLE.dcm", None),
    ],
)
def test_a_compressed_image_states_its_size(name: str, size: tuple[int, int, int] | None) -> None:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    (frame,) = generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1)
    assert stated_size(frame) == size
    assert stated_size(frame[:8]) is None


def test_a_jpeg_states_its_size_behind_its_tables() -> None:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((40, 30), np.uint8)).save(stream, "JPEG")
    assert stated_size(stream.getvalue()) == (40, 30, 1)


@pytest.mark.parametrize(
    ("name", "at"),
    [
        # Behind the marker of the size: the lower edge of the grid; behind that of the frame: rows.
        ("MR_small_jp2klossless.dcm", (b"\xff\x4f\xff\x51", 12)),
        ("MR_small_jpeg_ls_lossless.dcm", (b"\xff\xd8\xff\xf7", 7)),
    ],
)
def test_a_claim_of_another_size_never_reaches_a_decoder(
    tmp_path: Path, name: str, at: tuple[bytes, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    content = bytearray(Path(path).read_bytes())
    place = content.find(at[0]) + at[1]
    content[place : place + 2] = b"\xff\xff"
    (tmp_path / "claim").write_bytes(content)
    file = DicomFile(tmp_path / "claim", "claim")
    monkeypatch.delattr(pixels, "iter_pixels")
    with pytest.raises(UnreadableFile, match=r"is compressed as \(.*, 64, 1\) where \(64, 64, 1\)"):
        pixels.read_pixels(Grid(read_frames(file, read_header(file)), np.eye(4)))


@pytest.mark.parametrize("name", ["MR_truncated.dcm"])
def test_truncated_pixels_are_refused(name: str) -> None:
    with pytest.raises(UnreadableFile, match=r"MR_truncated.dcm is damaged or truncated"):
        one_slice(name)


def test_each_frame_has_its_own_slope(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)
    plain = read_dicom(folder).data

    def scale(dataset: FileDataset) -> None:
        dataset.RescaleSlope = str(1 + int(dataset.InstanceNumber))
        dataset.RescaleIntercept = "-7"

    edit_all(folder, scale)
    scaled = read_dicom(folder).data
    slopes = 1 + np.arange(1, 25)
    # Phantom instances are numbered from foot to head, as slices are.
    np.testing.assert_allclose(scaled, plain * slopes[:, None, None] - 7, rtol=1e-6)


def test_real_world_mapping_counts_where_no_rescale_is_stated(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)
    plain = read_dicom(folder).data

    def map_values(dataset: FileDataset) -> None:
        dataset.RealWorldValueSlope = 2.5
        dataset.RealWorldValueIntercept = 1.0

    edit_all(folder, map_values)
    np.testing.assert_allclose(read_dicom(folder).data, plain * 2.5 + 1, rtol=1e-6)


def test_signed_values_survive(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)

    def negative(dataset: FileDataset) -> None:
        dataset.PixelRepresentation = 1
        dataset.BitsStored, dataset.HighBit = 16, 15
        dataset.PixelData = (dataset.pixel_array.astype("<i2") - 500).tobytes()

    plain = read_dicom(folder).data
    edit_all(folder, negative)
    np.testing.assert_array_equal(read_dicom(folder).data, plain - 500)


def test_missing_decoder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = swi_only(tmp_path)
    edit_all(folder, lambda dataset: dataset.compress(pydicom.uid.RLELossless))
    assert read_dicom(folder).shape == (24, 20, 16)
    monkeypatch.setattr(base.Decoder, "is_available", False)
    with pytest.raises(
        MissingExtra, match=r"needed to decode RLE Lossless .* pip install 'cmbnet\[dicom\]'"
    ):
        read_dicom(folder)


def test_a_syntax_without_images_is_refused(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)
    content = (folder / "IM000005").read_bytes()
    video = b"1.2.840.10008.1.2.4.100"
    assert content.count(b"1.2.840.10008.1.2.1\x00") == 1
    dataset = pydicom.dcmread(folder / "IM000005")
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(video.decode())
    dataset.PixelData = pydicom.encaps.encapsulate([b"\x00\x00"])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(folder / "IM000005")
    with pytest.raises(InputRefused, match="holds no images that are read"):
        read_dicom(folder)


def test_too_many_voxels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "MOST_VOXELS", 24 * 20 * 16 - 1)
    with pytest.raises(InputRefused, match="at most 7679 voxels are read"):
        read_dicom(write_tiny(tmp_path))


def test_enhanced_header_that_contradicts_itself(tmp_path: Path) -> None:
    path = write_tiny(tmp_path, enhanced=True) / "5/IM000001"
    edit(path, lambda dataset: setattr(dataset, "NumberOfFrames", 2_000_000_000))
    with pytest.raises(InputRefused, match="states 2000000000 frames and describes 24"):
        read_dicom(path)


def test_infinite_values_are_refused(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)
    edit_all(folder, lambda dataset: setattr(dataset, "RescaleSlope", "1e300"))
    with pytest.raises(InputRefused, match="finite values are required"):
        read_dicom(folder)
