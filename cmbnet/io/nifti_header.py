"""The NIfTI-1 and NIfTI-2 header in bytes: what stands where, and the two ways to state a place.

This is not left to nibabel, because nibabel imports pydicom where that is installed: a cold predict
took 0.14 to 0.3 s of CPU time and 40 MiB (8 %) more with it. MGH headers, which are rare, are.

References:
    R. W. Cox and others, the comments of ``nifti1.h`` and ``nifti2.h`` (nifti.nimh.nih.gov), for
    fields, quaternion and ``qfac``.
    B. K. P. Horn, Closed-form solution of absolute orientation using unit quaternions, JOSA A
    1987, for the quaternion of a matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cmbnet.volume import HeaderForms

if TYPE_CHECKING:
    from numpy.typing import NDArray

NIFTI1_BYTES: Final = 348
NIFTI2_BYTES: Final = 540
MGH_BYTES: Final = 284
_GOOD_RAS_FLAG: Final = slice(28, 30)
"""Without it nothing says where the image is, and nibabel makes a place up."""

_OFFSETS1: Final = {
    "size": ("i4", 0), "dim": ("(8,)i2", 40), "datatype": ("i2", 70), "bitpix": ("i2", 72),
    "pixdim": ("(8,)f4", 76), "vox_offset": ("f4", 108), "scl": ("(2,)f4", 112),
    "xyzt_units": ("u1", 123), "descrip": ("S80", 148), "form_codes": ("(2,)i2", 252),
    "quatern": ("(3,)f4", 256), "qoffset": ("(3,)f4", 268), "srow": ("(3,4)f4", 280),
    "magic": ("S4", 344),
}  # fmt: skip
_OFFSETS2: Final = {
    "size": ("i4", 0), "magic": ("S4", 4), "datatype": ("i2", 12), "dim": ("(8,)i8", 16),
    "pixdim": ("(8,)f8", 104), "vox_offset": ("i8", 168), "scl": ("(2,)f8", 176),
    "form_codes": ("(2,)i4", 344), "xyzt_units": ("i4", 500), "quatern": ("(3,)f8", 352),
    "qoffset": ("(3,)f8", 376), "srow": ("(3,4)f8", 400),
}  # fmt: skip

TYPES: Final = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4",
    1024: "i8", 1280: "u8", 32: "c8", 1792: "c16", 128: "V3", 2304: "V4",
}  # fmt: skip
"""Code of a stored type; V3 and V4 are colours."""

MILLIMETRES: Final = 2
UNIT_MM: Final = {1: 1000.0, MILLIMETRES: 1.0, 3: 0.001}
"""Length of a unit by the code of a header: metres, millimetres, microns."""

_UNIT_TOLERANCE_EPS: Final = 3
"""Rounding of the squared length of a quaternion, in steps of the type that it is stored in."""


@dataclass(frozen=True, slots=True)
class NiftiHeader:
    """The part of a header that says where the voxels are, and how they are stored."""

    # Number of voxels along each of 0 to 7 axes, as stated. It may be nonsense.
    shape_ijk: tuple[int, ...]
    dtype: np.dtype[Any] | None  # Type of a stored voxel. None for an unknown code.
    offset_bytes: int  # Position of the first voxel in the file
    # A stored value times `slope` plus `inter` is the value. 0 or NaN means no scaling.
    slope: float
    inter: float  # See `slope`
    qform_code: int  # Code of the quaternion. 0 if it states nothing.
    sform_code: int  # Code of the matrix. 0 if it states nothing.
    unit_code: int  # A key of `UNIT_MM`, or 0 if no unit is stated
    fields: Any  # The header itself

    def sform(self) -> NDArray[np.float64]:
        """Return the affine of the matrix: index (i, j, k, 1) to RAS+, in the header's unit."""
        affine = np.eye(4)
        affine[:3] = self.fields["srow"]
        return affine

    def qform(self) -> NDArray[np.float64]:
        """Return the affine of the quaternion: index (i, j, k, 1) to RAS+, in the header's unit.

        Raises:
            ValueError: If the quaternion is longer than 1, or a voxel size is negative.
        """
        sizes = self.sizes()
        if sizes.min() < 0:
            raise ValueError(f"voxel sizes must be positive, got {sizes.tolist()}")
        if self.fields["pixdim"][0] < 0:  # "qfac": 0 counts as 1
            sizes[2] = -sizes[2]
        affine = np.eye(4)
        affine[:3, :3] = _rotation(self.fields["quatern"]) * sizes
        affine[:3, 3] = self.fields["qoffset"]
        return affine

    def unplaced(self) -> NDArray[np.float64]:
        """Return the affine that viewers assume without a place: centred, with i to the left."""
        sizes = self.sizes() * (-1, 1, 1)
        middle = (np.array([*self.shape_ijk, 1, 1, 1][:3]) - 1) / 2
        affine = np.diag([*sizes, 1.0])
        affine[:3, 3] = -sizes * middle
        return affine

    def sizes(self) -> NDArray[np.float64]:
        """Return the three voxel sizes along i, j, k, in the header's unit."""
        sizes: NDArray[np.float64] = self.fields["pixdim"][1:4].astype(np.float64)
        return sizes


def parse_header(start: bytes, *, pair: bool = False) -> NiftiHeader | None:
    """Read the header of a NIfTI file, either version and byte order.

    Args:
        start: The first bytes of the file, `NIFTI2_BYTES` if it has as many.
        pair: Whether the voxels are in a file of their own.

    Returns:
        The header, or None if it is no such file.
    """
    magic1, magic2 = (b"ni1", b"ni2") if pair else (b"n+1", b"n+2")
    layouts = ((NIFTI1_BYTES, _OFFSETS1, magic1), (NIFTI2_BYTES, _OFFSETS2, magic2))
    for size, offsets, magic in layouts:
        for order in "<>":
            if len(start) < size:
                continue
            fields = np.frombuffer(start, _layout(offsets, size, order), count=1)[0]
            if fields["size"] == size and fields["magic"][:3] == magic:
                return _header(fields, order)
    return None


def parse_mgh_header(start: bytes) -> NiftiHeader | None:
    """Read the header of a FreeSurfer file (``.mgh``, ``.mgz``), its place as an sform.

    Args:
        start: The first bytes of the file, `NIFTI2_BYTES` if it has as many.

    Returns:
        The header, or None if it is no such file.
    """
    from nibabel.freesurfer.mghformat import MGHHeader

    if len(start) < MGH_BYTES:
        return None
    header = MGHHeader(start[:MGH_BYTES], check=False)
    if header["version"] != 1:
        return None
    try:
        dtype = header.get_data_dtype()
    except KeyError:
        dtype = None
    return NiftiHeader(
        shape_ijk=tuple(map(int, header.get_data_shape())),
        dtype=dtype,
        offset_bytes=MGH_BYTES,
        slope=1.0,
        inter=0.0,
        qform_code=0,
        sform_code=int(any(start[_GOOD_RAS_FLAG])),
        unit_code=MILLIMETRES,
        fields={"srow": header.get_affine()[:3], "pixdim": np.append(1.0, header["delta"])},
    )


def build_header(
    shape_ijk: tuple[int, ...], dtype: np.dtype[Any], affine: NDArray[np.float64], *, code: int,
    description: str, forms: HeaderForms | None = None,
) -> bytes:  # fmt: skip
    """Make a little-endian NIfTI-1 header for voxels that follow it at once.

    Args:
        shape_ijk: Number of voxels along i, j, k.
        dtype: Type of a stored voxel, little-endian.
        affine: Affine from index (i, j, k, 1) to RAS+ mm, of shape (4, 4). If its axes are not at
            right angles, the quaternion states the nearest grid whose axes are.
        code: 1 if the affine places the image in the scanner, 0 if its place is unknown.
        description: ASCII text of at most 79 characters.
        forms: Affines to state instead, with their unit. One that is None is stated as `affine`.

    Returns:
        The 348 bytes of the header, and the 4 bytes that say "no extension".
    """
    header = np.zeros((), _layout(_OFFSETS1, NIFTI1_BYTES, "<"))
    forms = forms or HeaderForms(affine, affine, code, code, MILLIMETRES)
    qform, sform = (
        (affine if one is None else one)[:3] / forms.unit_mm for one in (forms.qform, forms.sform)
    )
    sizes = np.linalg.norm(qform[:, :3], axis=0)
    directions = qform[:, :3] / sizes
    qfac = 1.0 if np.linalg.det(directions) > 0 else -1.0
    left, _, right = np.linalg.svd(directions * (1.0, 1.0, qfac))
    codes = {np.dtype(name).newbyteorder("<"): number for number, name in TYPES.items()}
    header["size"] = NIFTI1_BYTES
    header["dim"] = (len(shape_ijk), *shape_ijk, *(1,) * (7 - len(shape_ijk)))
    header["datatype"] = codes[dtype.newbyteorder("<")]
    header["bitpix"] = 8 * dtype.itemsize
    header["pixdim"] = (qfac, *sizes, 1, 1, 1, 1)
    header["vox_offset"] = NIFTI1_BYTES + 4
    header["scl"] = (1, 0)
    header["xyzt_units"] = forms.unit_code
    header["descrip"] = description.encode("ascii")
    header["form_codes"] = (forms.qform_code, forms.sform_code)
    header["quatern"] = _quaternion(left @ right)[1:]
    header["qoffset"] = qform[:, 3]
    header["srow"] = sform
    header["magic"] = b"n+1"
    return header.tobytes() + bytes(4)


def _layout(offsets: dict[str, tuple[str, int]], size: int, order: str) -> np.dtype[Any]:
    return np.dtype(
        {
            "names": list(offsets),
            "formats": [kind for kind, _ in offsets.values()],
            "offsets": [at for _, at in offsets.values()],
            "itemsize": size,
        }
    ).newbyteorder(order)  # type: ignore[arg-type]


def _header(fields: Any, order: str) -> NiftiHeader:
    axes = int(fields["dim"][0])
    kind = TYPES.get(int(fields["datatype"]))
    offset = float(fields["vox_offset"])
    slope, inter = fields["scl"].tolist()
    qform_code, sform_code = fields["form_codes"].tolist()
    return NiftiHeader(
        shape_ijk=tuple(fields["dim"][1 : axes + 1].tolist()) if 0 < axes < 8 else (),
        dtype=None if kind is None else np.dtype(kind).newbyteorder(order),  # type: ignore[arg-type]
        offset_bytes=int(offset) if np.isfinite(offset) else -1,
        slope=slope,
        inter=inter,
        qform_code=qform_code,
        sform_code=sform_code,
        unit_code=int(fields["xyzt_units"]) & 7,
        fields=fields,
    )


def _rotation(stored: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """(3, 3) of a unit quaternion (w, vector) with w >= 0, of which w is left out.

    The vector is float32 in NIfTI-1 and float64 in NIfTI-2.
    """
    tolerance = _UNIT_TOLERANCE_EPS * float(np.finfo(stored.dtype).eps)
    vector = stored.astype(np.float64)
    rest = 1.0 - float(vector @ vector)
    # NIfTI-2 files are often made from NIfTI-1 headers: a length rounded in float32 is no fault.
    if not rest > -_UNIT_TOLERANCE_EPS * float(np.finfo(np.float32).eps):
        raise ValueError(f"a unit quaternion is required, got {vector.tolist()}")
    w = np.sqrt(rest) if rest > tolerance else 0.0
    length = w * w + vector @ vector
    x, y, z = vector
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation: NDArray[np.float64] = np.eye(3) + 2 / length * (w * cross + cross @ cross)
    return rotation


def _quaternion(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """(w, x, y, z) with w >= 0: the largest eigenvector of Horn's matrix, which is 4 q q' - 1."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    matrix = np.array(
        [
            [xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, xx - yy - zz, xy + yx, xz + zx],
            [xz - zx, xy + yx, yy - xx - zz, yz + zy],
            [yx - xy, xz + zx, yz + zy, zz - xx - yy],
        ]
    )
    q: NDArray[np.float64] = np.linalg.eigh(matrix)[1][:, -1]
    return -q if q[0] < 0 else q
