"""The header against nibabel's: what one writes the other reads, and the same of random bytes."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cmbnet.io.nifti_header import NIFTI2_BYTES, TYPES, build_header, parse_header
from cmbnet.lesions import spacing_affine

SEEDS = st.integers(0, 2**32 - 1)


def random_affine(seed: int) -> np.ndarray[Any, Any]:
    """At right angles, of any handedness, also turned by exactly 180 degrees."""
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    if seed % 3 == 0:
        directions = np.diag(rng.choice([-1.0, 1.0], 3))[rng.permutation(3)]
    affine = np.eye(4)
    affine[:3, :3] = directions * rng.uniform(0.2, 5, 3)
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    return affine


@settings(max_examples=200)
@given(SEEDS, st.sampled_from([2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280]))
def test_nibabel_reads_what_is_built(seed: int, code: int) -> None:
    affine = random_affine(seed)
    dtype = np.dtype(TYPES[code])
    content = build_header((7, 6, 5), dtype, affine, code=seed % 2, description="nobody")
    header = nib.Nifti1Header(content[:348], check=True)
    assert header.get_data_shape() == (7, 6, 5)
    assert header.get_data_dtype() == dtype
    assert (int(header["sform_code"]), int(header["qform_code"])) == (seed % 2, seed % 2)
    np.testing.assert_allclose(header.get_sform(), affine, rtol=1e-6, atol=1e-5)
    # float32 rounds the quaternion: 1e-7 of 500 mm, more where w is near 0.
    np.testing.assert_allclose(header.get_qform(), affine, rtol=0, atol=5e-3)
    assert (header.get_data_offset(), header.get_slope_inter()) == (352, (1.0, 0.0))
    assert header.get_xyzt_units()[0] == "mm"
    assert bytes(header["descrip"]).rstrip(b"\0") == b"nobody"
    assert content[348:] == bytes(4)


@settings(max_examples=200)
@example(seed=350, order="<", second=True)  # w near 0: rounding matters
@given(SEEDS, st.sampled_from("<>"), st.booleans())
def test_what_nibabel_writes_is_read(seed: int, order: str, second: bool) -> None:
    rng = np.random.default_rng(seed)
    kind = nib.Nifti2Header if second else nib.Nifti1Header
    theirs = kind(endianness=order)
    affine = random_affine(seed)
    theirs.set_data_dtype(rng.choice(["u1", "i2", "f4", "f8", "c8"]))
    theirs.set_data_shape(tuple(rng.integers(1, 300, rng.integers(3, 6)).tolist()))
    theirs.set_qform(affine, 1)
    theirs.set_sform(affine + 1, int(seed % 2))
    theirs["scl_slope"], theirs["scl_inter"] = 2.5, -7
    theirs["vox_offset"] = 544
    theirs["magic"] = b"n+2" if second else b"n+1"
    ours = parse_header(theirs.binaryblock.ljust(NIFTI2_BYTES, b"\0"))
    assert ours is not None
    assert ours.shape_ijk == theirs.get_data_shape()
    assert ours.dtype == theirs.get_data_dtype()
    assert (ours.offset_bytes, ours.slope, ours.inter) == (544, 2.5, -7)
    assert (ours.qform_code, ours.sform_code) == (1, seed % 2)
    np.testing.assert_array_equal(ours.sform(), theirs.get_sform())
    np.testing.assert_allclose(ours.qform(), theirs.get_qform(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours.unplaced(), theirs.get_base_affine(), rtol=0, atol=1e-12)


def with_fields(**values: Any) -> nib.Nifti1Header:
    header = nib.Nifti1Header(
        build_header((4, 5, 6), np.dtype("i2"), np.eye(4), code=1, description="")[:348]
    )
    for name, value in values.items():
        header[name] = value
    return header


def test_qfac_of_zero_counts_as_one() -> None:
    """So the standard says; nibabel refuses it unless asked to repair."""
    header = with_fields(pixdim=(0, 2, 3, 4, 1, 1, 1, 1))
    ours = parse_header(header.binaryblock)
    assert ours is not None
    np.testing.assert_array_equal(ours.qform(), np.diag([2, 3, 4, 1]))


@pytest.mark.parametrize(
    "fields",
    [
        {"quatern_b": 1.1},
        {"quatern_c": np.nan},
        {"pixdim": (1, 2, -3, 4, 1, 1, 1, 1)},
    ],
)
def test_a_quaternion_that_is_none_is_refused(fields: dict[str, Any]) -> None:
    ours = parse_header(with_fields(**fields).binaryblock)
    assert ours is not None
    with pytest.raises(ValueError, match=r"(required|must be positive), got"):
        ours.qform()


@pytest.mark.parametrize("offset", [np.nan, np.inf])
def test_an_offset_that_is_no_number_is_before_the_file(offset: float) -> None:
    ours = parse_header(with_fields(vox_offset=offset).binaryblock)
    assert ours is not None
    assert ours.offset_bytes < 0


@settings(max_examples=300)
@given(SEEDS, st.integers(1, 40))
def test_damaged_headers_never_raise(seed: int, places: int) -> None:
    rng = np.random.default_rng(seed)
    content = bytearray(with_fields().binaryblock)
    for at in rng.integers(0, 344, places):
        content[at] = rng.integers(256)
    with np.errstate(all="ignore"):
        parse_header(bytes(content))


def test_the_spacing_of_a_plain_grid() -> None:
    affine = spacing_affine((3.0, 2.0, 1.0))[:, [2, 1, 0, 3]]
    content = build_header((4, 5, 6), np.dtype("u1"), affine, code=1, description="")
    header = nib.Nifti1Header(content[:348])
    assert header.get_zooms() == (1.0, 2.0, 3.0)
