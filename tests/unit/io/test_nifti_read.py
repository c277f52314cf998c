"""Reading: every kind of header and value, made here or taken from the shared real files."""

import gzip
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from cmbnet.errors import InputRefused, UnreadableFile, UsageError
from cmbnet.io import read_nifti
from cmbnet.io.nifti import NO_ORIENTATION
from cmbnet.preprocess.orientation import closest_orientation

DATA = Path("../shared/data")
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="shared test data not present: ../shared/data"
)
SPACE = DATA / "niivue_headers" / "nifti_space"
ORIENTATIONS = [
    a + b + c
    for a in "RLAPSI"
    for b in "RLAPSI"
    for c in "RLAPSI"
    if len({"RL".find(x) >= 0 or 2 * ("AP".find(x) >= 0) for x in (a, b, c)}) == 3
]
AFFINE = np.array(
    [[-0.5, 0.0, 0.0, 12.0], [0.0, 0.48, -0.3, -7.0], [0.0, 0.1, 1.44, 3.0], [0.0, 0.0, 0.0, 1.0]]
)
# Oblique: columns 1 and 2 are turned about Right, at right angles to each other.


def save(path: Path, data: np.ndarray[Any, Any], affine: Any = AFFINE, **header: Any) -> Path:
    image = nib.Nifti1Image(data, affine, dtype=data.dtype)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


def ramp(shape: tuple[int, ...] = (4, 5, 6), dtype: str = "int16") -> np.ndarray[Any, Any]:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def test_there_are_48_orientations() -> None:
    assert len(ORIENTATIONS) == len(set(ORIENTATIONS)) == 48


@needs_data
@pytest.mark.parametrize("name", ORIENTATIONS)
def test_48_orientations_are_one_volume(name: str) -> None:
    reference = read_nifti(SPACE / "RAS.nii.gz")
    volume = read_nifti(SPACE / f"{name}.nii.gz")
    orientation = closest_orientation(volume.affine)
    canonical_affine = orientation.affine(volume.affine, volume.shape)
    np.testing.assert_array_equal(orientation.apply(volume.data), reference.data)
    np.testing.assert_allclose(canonical_affine, reference.affine, atol=1e-5)


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"]
)
def test_every_real_type_reads_to_float32_in_zyx(tmp_path: Path, dtype: str) -> None:
    data = ramp(dtype=dtype)
    volume = read_nifti(save(tmp_path / "a.nii.gz", data))
    assert volume.data.dtype == np.float32
    assert volume.shape == (6, 5, 4)
    np.testing.assert_array_equal(volume.data, data.T.astype(np.float32))
    assert volume.world_mm((3, 2, 1)) == pytest.approx(tuple((AFFINE @ [1, 2, 3, 1])[:3]), abs=1e-5)
    assert volume.notes == ()
    assert volume.source == "a.nii.gz"


def test_gzip_is_told_by_content_not_name(tmp_path: Path) -> None:
    plain = save(tmp_path / "a.nii", ramp())
    disguised = tmp_path / "b.nii"
    disguised.write_bytes(gzip.compress(plain.read_bytes()))
    np.testing.assert_array_equal(read_nifti(disguised).data, read_nifti(plain).data)


def test_concatenated_gzip_members_are_one_file(tmp_path: Path) -> None:
    content = save(tmp_path / "a.nii", ramp()).read_bytes()
    joined = tmp_path / "b.nii.gz"
    joined.write_bytes(gzip.compress(content[:400]) + gzip.compress(content[400:]))
    np.testing.assert_array_equal(read_nifti(joined).data, ramp().T)


def test_big_endian_and_nifti2_of_nibabel() -> None:
    folder = Path(nib.__file__).parent / "tests" / "data"
    for name in ("anatomical.nii", "example_nifti2.nii.gz"):
        image: Any = nib.load(folder / name)
        volume = read_nifti(folder / name, frame=0)
        expected = np.asarray(image.dataobj)
        expected = expected[..., 0] if expected.ndim == 4 else expected
        np.testing.assert_array_equal(volume.data, expected.T.astype(np.float32))
        np.testing.assert_allclose(volume.affine[:, [2, 1, 0, 3]], image.affine, atol=1e-6)
    assert nib.load(folder / "anatomical.nii").header.endianness == ">"


@pytest.mark.parametrize(
    ("slope", "inter", "expected"),
    [(2.0, -10.0, 2 * 7 - 10), (np.nan, np.nan, 7), (0.0, 5.0, 7), (0.5, np.nan, 3.5)],
)
def test_scaling_of_the_header(tmp_path: Path, slope: float, inter: float, expected: float) -> None:
    path = save(tmp_path / "a.nii", np.full((3, 3, 3), 7, np.int16))
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([slope, inter], "<f4").tobytes()
    path.write_bytes(bytes(content))
    assert set(np.unique(read_nifti(path).data)) == {expected}


def test_large_offset_keeps_the_contrast(tmp_path: Path) -> None:
    data = (ramp(dtype="int32") + 2_000_000_000).astype(np.int32)
    path = save(tmp_path / "a.nii", data)
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([1.0, -2e9], "<f4").tobytes()
    path.write_bytes(bytes(content))
    np.testing.assert_array_equal(read_nifti(path).data, ramp().T)


def test_infinite_slope_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", ramp())
    content = bytearray(path.read_bytes())
    content[112:116] = np.array([np.inf], "<f4").tobytes()
    path.write_bytes(bytes(content))
    with pytest.raises(UnreadableFile, match="scl_slope inf"):
        read_nifti(path)


def test_one_frame_is_accepted_and_several_are_refused_or_chosen(tmp_path: Path) -> None:
    one = save(tmp_path / "one.nii", ramp((4, 5, 6, 1)))
    assert read_nifti(one).shape == (6, 5, 4)
    data = ramp((4, 5, 6, 3))
    several = save(tmp_path / "several.nii", data)
    with pytest.raises(InputRefused, match=r"holds 3 images .* choose one of 0\.\.2"):
        read_nifti(several)
    chosen = read_nifti(several, frame=2)
    np.testing.assert_array_equal(chosen.data, data[..., 2].T)
    assert chosen.notes == ("image 2 of 3 was read",)
    with pytest.raises(UsageError, match=r"frame 0\.\.2 is required, got 3"):
        read_nifti(several, frame=3)


def test_nan_and_infinity_become_zero_and_are_counted(tmp_path: Path) -> None:
    data = ramp(dtype="float32")
    data[0, 0, 0], data[1, 0, 0], data[2, 0, 0] = np.nan, np.inf, -np.inf
    volume = read_nifti(save(tmp_path / "a.nii", data))
    assert volume.data[0, 0, :3].tolist() == [0, 0, 0]
    assert volume.notes == ("1 voxels were NaN and became 0", "2 voxels were infinite and became 0")


def test_values_beyond_float32_are_counted_as_infinite(tmp_path: Path) -> None:
    data = ramp(dtype="float64")
    data[0, 0, 0] = 1e300
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nibabel writes the header's range in float32
        path = save(tmp_path / "a.nii", data)
    assert read_nifti(path).notes == ("1 voxels were infinite and became 0",)


@needs_data
def test_real_nan_and_missing_orientation() -> None:
    volume = read_nifti(DATA / "megre_7t_crop" / "phase_with_nan.nii", frame=0)
    other = read_nifti(DATA / "megre_7t_crop" / "phase_with_nan.nii", frame=1)
    counts = [int(n.split()[0]) for v in (volume, other) for n in v.notes if "NaN" in n]
    assert sum(counts) == 1280
    assert NO_ORIENTATION in volume.notes
    assert np.isfinite(volume.data).all()


def test_complex_and_colour_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="complex64"):
        read_nifti(save(tmp_path / "a.nii", ramp(dtype="complex64")))
    colour = np.zeros((3, 3, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(InputRefused, match="colour"):
        read_nifti(save(tmp_path / "b.nii", colour))


@needs_data
def test_real_complex_and_shear_are_refused_with_the_reason() -> None:
    with pytest.raises(InputRefused, match=r"complex_image.*complex64"):
        read_nifti(DATA / "niivue_headers" / "complex_image.nii.gz")
    with pytest.raises(InputRefused, match=r"axes j and k meet at 71\.5 degrees .cosine 0\.317"):
        read_nifti(DATA / "niivue_headers" / "shear.nii.gz")


@needs_data
def test_real_neck_with_nan_slope_and_mask() -> None:
    neck = read_nifti(DATA / "sct_t2s_and_bad_headers" / "t2s_uncropped.nii.gz")
    assert neck.spacing_mm == pytest.approx((7.5, 0.5, 0.5), abs=1e-4)
    assert neck.data.max() <= 255
    mask = read_nifti(DATA / "niivue_headers" / "LAS_drawing_correct.nii.gz")
    assert np.count_nonzero(mask.data) == 267


@needs_data
def test_invalid_quaternion_with_valid_sform_is_read() -> None:
    path = DATA / "sct_t2s_and_bad_headers" / "bad_quaternion.nii.gz"
    image: Any = nib.load(path)
    with pytest.raises(ValueError, match="w2 should be positive"):
        image.get_qform()
    volume = read_nifti(path, frame=4)
    np.testing.assert_array_equal(volume.data, np.asarray(image.dataobj)[..., 4].T)
    np.testing.assert_allclose(volume.affine[:, [2, 1, 0, 3]], image.get_sform())


@needs_data
def test_invalid_quaternion_without_sform_is_refused(tmp_path: Path) -> None:
    content = bytearray(
        gzip.decompress((DATA / "sct_t2s_and_bad_headers" / "bad_quaternion.nii.gz").read_bytes())
    )
    content[254:256] = b"\0\0"  # sform_code
    path = tmp_path / "bad.nii"
    path.write_bytes(bytes(content))
    with pytest.raises(InputRefused, match=r"quaternion .* invalid"):
        read_nifti(path, frame=0)


@pytest.mark.parametrize("cut", [10, 200, 360, 500])
def test_truncated_files_are_refused_by_name(tmp_path: Path, cut: int) -> None:
    whole = save(tmp_path / "whole.nii.gz", ramp()).read_bytes()
    plain = gzip.decompress(whole)
    packed = tmp_path / "packed.nii.gz"
    packed.write_bytes(whole[: min(cut, len(whole) - 9)])
    with pytest.raises(UnreadableFile, match=r"packed\.nii\.gz is truncated"):
        read_nifti(packed)
    unpacked = tmp_path / "unpacked.nii"
    unpacked.write_bytes(plain[:cut])
    with pytest.raises(UnreadableFile, match=r"unpacked\.nii"):
        read_nifti(unpacked)


def test_damaged_gzip_is_refused_by_name(tmp_path: Path) -> None:
    whole = bytearray(save(tmp_path / "a.nii.gz", ramp()).read_bytes())
    whole[60:80] = bytes(20)
    (tmp_path / "b.nii.gz").write_bytes(bytes(whole))
    with pytest.raises(UnreadableFile, match=r"b\.nii\.gz is (damaged|truncated)"):
        read_nifti(tmp_path / "b.nii.gz")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x5c\x01\x00\x00" + bytes(600)])
def test_what_is_not_nifti_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(UnreadableFile, match="not a NIfTI file"):
        read_nifti(tmp_path / "a.nii")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="No such file"):
        read_nifti(tmp_path / "absent.nii.gz")
    with pytest.raises(UnreadableFile, match="cannot read"):
        read_nifti(tmp_path)


def test_nonsense_in_the_header_is_refused(tmp_path: Path) -> None:
    content = bytearray(save(tmp_path / "a.nii", ramp()).read_bytes())
    negative = content.copy()
    negative[42:44] = np.array([-4], "<i2").tobytes()
    (tmp_path / "b.nii").write_bytes(bytes(negative))
    with pytest.raises(UnreadableFile, match=r"states the shape \(-4, 5, 6\)"):
        read_nifti(tmp_path / "b.nii")
    unknown = content.copy()
    unknown[70:72] = np.array([9999], "<i2").tobytes()
    (tmp_path / "c.nii").write_bytes(bytes(unknown))
    with pytest.raises(UnreadableFile, match="header is invalid"):
        read_nifti(tmp_path / "c.nii")


def test_affine_without_volume_is_refused(tmp_path: Path) -> None:
    content = bytearray(save(tmp_path / "a.nii", ramp()).read_bytes())
    content[280:328] = bytes(48)  # the rows of the sform
    (tmp_path / "b.nii").write_bytes(bytes(content))
    with pytest.raises(InputRefused, match="voxel sizes must be positive"):
        read_nifti(tmp_path / "b.nii")


def test_two_dimensions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match=r"3D image is required, got shape \(4, 5\)"):
        read_nifti(save(tmp_path / "a.nii", ramp((4, 5))))


def peak_bytes(read: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_no_more_is_decompressed_than_the_header_states(tmp_path: Path) -> None:
    content = save(tmp_path / "a.nii", ramp()).read_bytes()
    bomb = tmp_path / "bomb.nii.gz"
    with gzip.open(bomb, "wb", compresslevel=1) as stream:
        stream.write(content)
        for _ in range(64):
            stream.write(bytes(1 << 20))

    def read() -> None:
        volume = read_nifti(bomb)
        np.testing.assert_array_equal(volume.data, ramp().T)
        assert volume.notes == (
            "the file goes on after what its header states; the rest was not read",
        )

    assert peak_bytes(read) < 2 << 20


def test_a_scan_that_is_too_large_is_refused_by_its_header(tmp_path: Path) -> None:
    header = bytearray(save(tmp_path / "a.nii", ramp()).read_bytes()[:352])
    header[42:48] = np.array([1200] * 3, "<i2").tobytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(bytes(header)))

    def read() -> None:
        with pytest.raises(InputRefused, match=r"at most 268435456 voxels are read, .*1200, 1200"):
            read_nifti(tmp_path / "b.nii.gz")

    assert peak_bytes(read) < 2 << 20


def test_of_many_images_one_is_held(tmp_path: Path) -> None:
    data = np.zeros((64, 64, 32, 32), np.float32)
    data[..., 20] = 7
    path = save(tmp_path / "many.nii.gz", data)
    volumes = []
    assert peak_bytes(lambda: volumes.append(read_nifti(path, frame=20))) < data.nbytes // 4
    assert set(np.unique(volumes[0].data)) == {7}


def test_voxels_that_begin_nowhere_are_refused(tmp_path: Path) -> None:
    content = bytearray(save(tmp_path / "a.nii", ramp()).read_bytes())
    content[108:112] = np.array([1e12], "<f4").tobytes()
    (tmp_path / "b.nii").write_bytes(bytes(content))
    with pytest.raises(UnreadableFile, match="from byte 9999"):
        read_nifti(tmp_path / "b.nii")


def test_a_check_sum_that_differs_is_damage(tmp_path: Path) -> None:
    whole = bytearray(save(tmp_path / "a.nii.gz", ramp()).read_bytes())
    whole[-8] ^= 1
    (tmp_path / "b.nii.gz").write_bytes(bytes(whole))
    with pytest.raises(UnreadableFile, match=r"b\.nii\.gz is damaged"):
        read_nifti(tmp_path / "b.nii.gz")


def test_zeros_after_gzip_are_passed_over_and_else_is_damage(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", ramp())
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(512))
    np.testing.assert_array_equal(read_nifti(path).data, ramp().T)
    path.write_bytes(whole + b"something else")
    with pytest.raises(UnreadableFile, match=r"a\.nii\.gz is damaged"):
        read_nifti(path)
