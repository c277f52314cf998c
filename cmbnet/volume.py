"""`Volume`: a 3D image with its place in the world, and the comparison of two grids.

Arrays are ordered ``(z, y, x)``, slices first. The affine maps an index of *that* order to
world coordinates in mm, RAS+ (x to the patient's Right, y to Anterior, z to Superior)::

    (right, anterior, superior, 1) = affine @ (z, y, x, 1)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.errors import InputRefused

MOST_VOXELS = 1 << 28
"""Largest accepted scan: 1 GiB as float32. The header decides, before the data are read. A head at
0.2 x 0.2 x 1 mm has 1.7e8 voxels."""

AFFINE_TOLERANCE_MM = 1e-3
"""Two grids are the same if each corner of one lies within this distance of the other's corner."""

_REVERSED = [2, 1, 0, 3]
"""Columns of an affine for the reversed order of axes: (i, j, k) to (k, j, i) and back."""

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM and ITK point to the left and to posterior. The same matrix converts in both directions."""


@dataclass(frozen=True, slots=True)
class HeaderForms:
    """The two positions that a NIfTI header can state. Result files repeat both."""

    # The quaternion's affine, (4, 4) float64, from index (i, j, k, 1) to RAS+ mm. None if the
    # header has no quaternion.
    qform: NDArray[np.float64] | None
    sform: NDArray[np.float64] | None  # The matrix's affine, in the same form
    qform_code: int  # NIfTI's code of the quaternion. 0 means that the header has none.
    sform_code: int  # NIfTI's code of the matrix. 0 means that the header has none.
    unit_code: int  # NIfTI's code of the unit of length
    unit_mm: float = 1.0  # Length of that unit in mm

    @property
    def mirrored(self) -> bool:
        """Whether one of the two positions mirrors the other."""
        if self.qform is None or self.sform is None:
            return False
        return bool(np.linalg.det(self.qform[:3, :3]) * np.linalg.det(self.sform[:3, :3]) < 0)


@dataclass(frozen=True, slots=True)
class Volume:
    """A 3D image on a grid of parallelepipeds.

    Args:
        data: Array of shape (z, y, x), any real dtype. It is not copied.
        affine: Affine from index (z, y, x, 1) to RAS+ mm, (4, 4) float64.
        source: Where the image came from, for messages. It is a file name, never a patient's name.
        notes: Findings made while reading ("3 voxels were NaN and became 0"), in order.
        forms: The positions that a NIfTI header states. None for an image from another source.

    Raises:
        InputRefused: If the array is not 3D or the affine is singular or not finite.
    """

    data: NDArray[Any]
    affine: NDArray[np.float64]
    source: str = "array"
    notes: tuple[str, ...] = field(default=())
    forms: HeaderForms | None = None

    def __post_init__(self) -> None:
        if self.data.ndim != 3:
            raise InputRefused(
                f"an image of 3 dimensions is required, got shape {self.data.shape} "
                f"in {self.source}"
            )
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.all(np.isfinite(affine)):
            raise InputRefused(f"a finite 4x4 affine is required in {self.source}")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise InputRefused(f"the affine of {self.source} has no volume (singular)")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along z, y, x."""
        z, y, x = self.data.shape
        return z, y, x

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along z, y, x."""
        z, y, x = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of a voxel, from the determinant, so that it is right on sheared grids, too."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @classmethod
    def from_array(
        cls, array: NDArray[Any], affine: NDArray[np.float64], *, source: str = "array"
    ) -> Volume:
        """Make a volume from an array in the axis order of NIfTI files and of nibabel.

        Args:
            array: Shape (i, j, k), any real dtype. It is not copied.
            affine: (4, 4), index (i, j, k, 1) to RAS+ mm.
            source: Name for messages.

        Raises:
            InputRefused: If the array is not 3D or the affine is singular or not finite.

        Examples:
            >>> volume = Volume.from_array(np.zeros((5, 4, 3)), np.diag([0.5, 0.6, 2.0, 1.0]))
            >>> volume.shape, volume.spacing_mm
            ((3, 4, 5), (2.0, 0.6, 0.5))
        """
        affine = np.asarray(affine, dtype=np.float64)
        if affine.shape != (4, 4):
            raise InputRefused(f"a 4x4 affine is required in {source}, got shape {affine.shape}")
        return cls(np.transpose(array), affine[:, _REVERSED], source=source)

    @classmethod
    def from_nibabel(cls, image: Any) -> Volume:
        """Make a volume from a 3D `nibabel` image. The values become float32.

        Raises:
            InputRefused: If it is not 3D.
        """
        name = image.get_filename()
        source = Path(name).name if name else "nibabel image"
        return cls.from_array(
            np.asanyarray(image.dataobj).astype(np.float32), image.affine, source=source
        )

    @classmethod
    def from_sitk(cls, image: Any) -> Volume:
        """Make a volume from a 3D `SimpleITK.Image`. The values become float32.

        Raises:
            InputRefused: If it is not 3D.
        """
        import SimpleITK

        if image.GetDimension() != 3:
            raise InputRefused(
                f"an image of 3 dimensions is required, got {image.GetDimension()} in SimpleITK"
            )
        affine = np.eye(4)
        axes = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
        affine[:3, :3], affine[:3, 3] = axes, image.GetOrigin()
        data = SimpleITK.GetArrayFromImage(image).astype(np.float32)  # (z, y, x) already
        return cls(data, (_LPS_TO_RAS @ affine)[:, _REVERSED], source="SimpleITK image")

    def to_nibabel(self) -> Any:
        """Return the image as a `nibabel.Nifti1Image` with axes (i, j, k) = (x, y, z).

        Truth values become uint8, because NIfTI has no truth values.
        """
        import nibabel

        data = self.data.astype(np.uint8) if self.data.dtype == bool else self.data
        return nibabel.Nifti1Image(np.transpose(data), self.affine[:, _REVERSED])

    def to_sitk(self) -> Any:
        """Return the image as a `SimpleITK.Image`, which places images in LPS+ mm.

        Truth values become uint8.
        """
        import SimpleITK

        data = self.data.astype(np.uint8) if self.data.dtype == bool else self.data
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(data))
        affine = _LPS_TO_RAS @ self.affine[:, _REVERSED]
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
        image.SetOrigin(affine[:3, 3].tolist())
        return image

    def with_data(self, data: NDArray[Any]) -> Volume:
        """Return a volume with other values on the same grid.

        Raises:
            InputRefused: If the shape differs.
        """
        if data.shape != self.data.shape:
            raise InputRefused(
                f"data of shape {self.data.shape} is required on the grid of {self.source}, "
                f"got {data.shape}"
            )
        return replace(self, data=data)

    def world_mm(self, index_zyx: tuple[float, float, float]) -> tuple[float, float, float]:
        """Return the RAS+ position in mm of a (fractional) voxel index."""
        right, anterior, superior, _ = self.affine @ np.array([*index_zyx, 1.0])
        return float(right), float(anterior), float(superior)


def grid_difference(first: Volume, second: Volume) -> str | None:
    """Say how two grids differ, or return None if they are the same.

    Shapes must be equal and the world positions of all eight corners within
    `AFFINE_TOLERANCE_MM`.

    Examples:
        >>> import numpy as np
        >>> a = Volume(np.zeros((2, 3, 4)), np.eye(4))
        >>> grid_difference(a, a) is None
        True
        >>> grid_difference(a, Volume(np.zeros((2, 3, 5)), np.eye(4)))
        'shape (2, 3, 4) against (2, 3, 5)'
    """
    if first.shape != second.shape:
        return f"shape {first.shape} against {second.shape}"
    last = np.array(first.shape) - 1
    corners = np.array([[z, y, x, 1] for z in (0, 1) for y in (0, 1) for x in (0, 1)], float)
    corners[:, :3] *= last
    distance = np.linalg.norm((corners @ (first.affine - second.affine).T)[:, :3], axis=1)
    if distance.max() > AFFINE_TOLERANCE_MM:
        return (
            f"corners up to {distance.max():.3f} mm apart; affine (z, y, x to RAS+ mm) "
            f"{first.affine.tolist()} against {second.affine.tolist()}"
        )
    return None
