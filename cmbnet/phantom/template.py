"""The average head that individuals are deformed from: grey matter, white matter, brain.

Two come behind one interface: the ICBM152 2009a maps that an installed nilearn carries
(Fonov 2009, 2011), found by path and read at run time, never copied; and a procedural one
made of ellipsoids, which needs no other package.
"""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmbnet.errors import MissingExtra
from cmbnet.phantom.grid import FloatArray, Grid
from cmbnet.phantom.regions import Coordinates, Triple, ellipsoid_radius

AnatomyKind = Literal["mni", "procedural"]


@dataclass(frozen=True, slots=True)
class Template:
    """Tissue probabilities in MNI space."""

    grey: FloatArray  # (z, y, x) float32 probability of grey matter, 0 to 1
    white: FloatArray  # The same of white matter; what is left inside the brain is CSF
    brain: FloatArray  # The same of being inside the brain, CSF included
    origin_mm: tuple[float, float, float]  # MNI position (z, y, x) of voxel (0, 0, 0)
    spacing_mm: float  # Isotropic voxel size

    def at(self, q: Coordinates) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
        """Return the shares of grey and white matter and the brain at MNI coordinates z, y, x."""
        index = np.stack(
            [(part - at) / self.spacing_mm for part, at in zip(q, self.origin_mm, strict=True)]
        )
        grey, white, inside = (
            ndimage.map_coordinates(values, index, order=1, output=np.float32)
            for values in (self.grey, self.white, self.brain)
        )
        return grey, white, inside > 0.5


@functools.lru_cache(maxsize=2)
def load_template(kind: AnatomyKind) -> Template:
    """Return the template of a kind. It stays in memory after the first call.

    Raises:
        MissingExtra: If the MNI maps are asked for and nilearn is not installed.
    """
    return _mni() if kind == "mni" else _procedural()


def _mni_folder() -> Path:
    """Where nilearn keeps its maps, without importing nilearn (which takes seconds)."""
    found = importlib.util.find_spec("nilearn")
    if found is None or not found.submodule_search_locations:
        raise MissingExtra("nilearn", "phantom", "for the MNI anatomy of the phantom")
    folder = Path(next(iter(found.submodule_search_locations))) / "datasets" / "data"
    if not (folder / _mni_name("gm")).is_file():
        raise MissingExtra("nilearn", "phantom", f"with the maps {_mni_name('gm')} in {folder}")
    return folder


def _mni_name(tissue: str) -> str:
    return f"mni_icbm152_{tissue}_tal_nlin_sym_09a_converted.nii.gz"


def _mni() -> Template:
    import nibabel

    folder = _mni_folder()
    images = {name: nibabel.load(folder / _mni_name(name)) for name in ("t1", "gm", "wm")}
    t1, gm, wm = (
        np.divide(np.asarray(images[name].dataobj).transpose(2, 1, 0), 255, dtype=np.float32)
        for name in ("t1", "gm", "wm")
    )
    brain = ndimage.binary_fill_holes(t1 > 0.05)
    affine = images["t1"].affine
    origin = (float(affine[2, 3]), float(affine[1, 3]), float(affine[0, 3]))
    return Template(gm, wm, brain.astype(np.float32), origin, float(affine[0, 0]))


def _soft(distance: NDArray[np.floating], width: float) -> FloatArray:
    """1 well below 0, 0 well above, a logistic edge of a width between."""
    result: FloatArray = 1 / (1 + np.exp(np.clip(distance / width, -60, 60)))
    return result.astype(np.float32)


def _procedural() -> Template:
    spacing, origin = 2.0, (-74.0, -110.0, -74.0)
    shape = (80, 96, 75)
    q = z, _, x = Grid(shape, origin, (spacing, spacing, spacing)).axes_mm()

    def ball(centre: Triple, radii: Triple) -> FloatArray:
        """Return the approximate signed distance (mm) to an ellipsoid mirrored in x."""
        distance: FloatArray = (ellipsoid_radius(q, centre, radii) - 1) * np.float32(min(radii))
        return distance

    cerebrum = ball((16, -18, 0), (58, 86, 68))
    cerebellum = ball((-34, -62, 16), (20, 28, 34))
    stem = ball((-35, -28, 0), (36, 14, 14))
    outline = np.minimum(np.minimum(cerebrum, cerebellum), stem)
    brain = _soft(outline, 0.6)
    ventricle = np.minimum(ball((18, -14, 11), (9, 32, 6)), ball((8, -30, 20), (9, 10, 6)))
    fluid = np.maximum(_soft(ventricle, 0.8), 0.45 * _soft(-3.0 - outline, 1.2))
    fluid = np.maximum(fluid, _soft(np.abs(x) - 1.5, 0.5) * (z > 25) * 0.8)  # falx
    ribbon = _soft(-9.0 - np.maximum(outline, -18), 2.5) * (stem > 0)
    grey = np.clip((1 - fluid) * (0.08 + 0.62 * ribbon), 0, 1).astype(np.float32)
    white = np.clip(1 - fluid - grey, 0, 1).astype(np.float32)
    parts = [(part * brain).astype(np.float32) for part in (grey, white)]
    return Template(parts[0], parts[1], brain, origin, spacing)
