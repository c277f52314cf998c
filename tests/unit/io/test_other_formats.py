"""A header beside its voxels, and files of FreeSurfer: what nibabel writes is read the same."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from cmbnet.errors import InputRefused, UnreadableFile
from cmbnet.io import read_nifti, write_nifti
from cmbnet.io.digest import content_sha256
from cmbnet.io.nifti import NO_ORIENTATION
from cmbnet.volume import grid_difference

AFFINE = np.array([[-0.5, 0, 0, 12], [0, 0.48, -0.3, -7], [0, 0.1, 1.44, 3], [0, 0, 0, 1]])
DATA = np.arange(120).reshape(4, 5, 6)


def save(path: Path, data: Any = DATA, dtype: str = "int16") -> Path:
    image: Any = {
        ".img": nib.Nifti1Pair, ".hdr": nib.Nifti1Pair, ".gz": nib.Nifti1Pair,
        ".mgz": nib.MGHImage, ".mgh": nib.MGHImage,
    }[path.suffix](data.astype(dtype), AFFINE)  # fmt: skip
    nib.save(image, path)
    return path


@pytest.mark.parametrize("name", ["a.img", "a.hdr", "a.img.gz", "a.mgz", "a.mgh"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32"])
def test_what_nibabel_writes_is_read(tmp_path: Path, name: str, dtype: str) -> None:
    volume = read_nifti(save(tmp_path / name, dtype=dtype))
    np.testing.assert_array_equal(volume.data, DATA.T.astype(np.float32))
    np.testing.assert_allclose(volume.affine[:, [2, 1, 0, 3]], AFFINE, atol=1e-5)
    assert volume.notes == ()


@pytest.mark.parametrize("name", ["a.img", "a.mgz"])
def test_results_lie_on_the_same_grid(tmp_path: Path, name: str) -> None:
    volume = read_nifti(save(tmp_path / name))
    write_nifti(volume, tmp_path / "mask.nii.gz", dtype=np.uint8)
    again = read_nifti(tmp_path / "mask.nii.gz")
    assert grid_difference(again, volume) is None
    header: Any = nib.load(tmp_path / "mask.nii.gz").header
    assert min(int(header["qform_code"]), int(header["sform_code"])) >= (name == "a.mgz")


def test_second_version_in_a_pair(tmp_path: Path) -> None:
    nib.save(nib.Nifti2Pair(DATA.astype(np.int16), AFFINE), tmp_path / "a.img")
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.hdr").data, DATA.T)


@pytest.mark.parametrize("name", ["a.img", "a.mgz"])
def test_one_image_of_several_is_chosen(tmp_path: Path, name: str) -> None:
    several = np.stack([DATA, DATA + 1], axis=-1)
    path = save(tmp_path / name, several)
    with pytest.raises(InputRefused, match="holds 2 images"):
        read_nifti(path)
    np.testing.assert_array_equal(read_nifti(path, frame=1).data, DATA.T + 1)


def test_half_a_pair_is_refused_by_name(tmp_path: Path) -> None:
    path = save(tmp_path / "a.img")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UnreadableFile, match=r"a\.img is truncated"):
        read_nifti(tmp_path / "a.hdr")
    path.unlink()
    with pytest.raises(UnreadableFile, match=r"cannot read .*a\.img: No such file"):
        read_nifti(tmp_path / "a.hdr")
    (tmp_path / "a.hdr").unlink()
    with pytest.raises(UnreadableFile, match=r"cannot read .*a\.hdr: No such file"):
        read_nifti(path)


def test_analyze_is_refused_since_its_sides_are_unknown(tmp_path: Path) -> None:
    nib.save(nib.AnalyzeImage(DATA.astype(np.int16), np.eye(4)), tmp_path / "a.img")
    with pytest.raises(UnreadableFile, match="does not say which side is left"):
        read_nifti(tmp_path / "a.img")


def test_the_hash_of_a_pair_is_that_of_both_files(tmp_path: Path) -> None:
    save(tmp_path / "a.img")
    first = content_sha256(tmp_path / "a.img")
    assert content_sha256(tmp_path / "a.hdr") == first
    header = bytearray((tmp_path / "a.hdr").read_bytes())
    header[280] ^= 1
    (tmp_path / "a.hdr").write_bytes(header)
    assert content_sha256(tmp_path / "a.img") != first


@pytest.mark.parametrize(
    ("at", "content", "message"),
    [
        (0, b"\0\0\0\2", "is not an MGH file"),
        (4, b"\xff\xff\xff\xfc", "states the shape"),
        (4, b"\x7f\xff\xff\xff", "voxels are read"),
        (20, b"\0\0\0\x63", "unknown type"),
    ],
)
def test_nonsense_in_a_header_of_freesurfer_is_refused(
    tmp_path: Path, at: int, content: bytes, message: str
) -> None:
    whole = bytearray(gzip.decompress(save(tmp_path / "a.mgz").read_bytes()))
    whole[at : at + 4] = content
    (tmp_path / "b.mgz").write_bytes(gzip.compress(whole))
    with pytest.raises((UnreadableFile, InputRefused), match=message):
        read_nifti(tmp_path / "b.mgz")


@pytest.mark.parametrize("cut", [100, 300])
def test_a_truncated_file_of_freesurfer_is_refused(tmp_path: Path, cut: int) -> None:
    whole = gzip.decompress(save(tmp_path / "a.mgz").read_bytes())
    (tmp_path / "b.mgh").write_bytes(whole[:cut])
    with pytest.raises(UnreadableFile, match=r"b\.mgh is (truncated|not an MGH)"):
        read_nifti(tmp_path / "b.mgh")


def test_a_file_of_freesurfer_without_a_place_has_none(tmp_path: Path) -> None:
    whole = bytearray(gzip.decompress(save(tmp_path / "a.mgz").read_bytes()))
    whole[28:30] = b"\0\0"
    (tmp_path / "b.mgz").write_bytes(gzip.compress(whole))
    assert NO_ORIENTATION in read_nifti(tmp_path / "b.mgz").notes
