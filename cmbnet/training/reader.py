"""Reading the training cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from cmbnet.errors import UnreadableFile
from cmbnet.training.cache import FORMAT, CachedCase
from cmbnet.training.places import KINDS, Places


class Cache:
    """All cases of a cache file, held in memory.

    A crop is then a copy of a few rows; from disk each would cost a search through HDF5's index.
    60 slices of a head take about 6 MB.

    Args:
        path: File written by `cmbnet.training.cache.build_cache`.

    Raises:
        UnreadableFile: If the file is missing, damaged, or not a cache of this version.
    """

    def __init__(self, path: Path) -> None:
        try:
            with h5py.File(path, "r") as file:
                if file.attrs.get("format") != FORMAT:
                    raise UnreadableFile(
                        f"{path} must be a {FORMAT!r}, got {file.attrs.get('format')!r}: "
                        "build it again"
                    )
                self.preprocess: dict[str, Any] = json.loads(file.attrs["preprocess"])
                self.cohort_description = str(file.attrs["cohort_description"])
                names = json.loads(file.attrs["cases"])
                self.cases = tuple(_read_case(file, name) for name in names)
        except (OSError, KeyError) as error:
            raise UnreadableFile(f"a training cache is required, got {path}: {error}") from error

    @property
    def with_lesions(self) -> list[int]:
        """Indices of the cases that hold a target lesion."""
        return [n for n, case in enumerate(self.cases) if len(case.places.lesion)]

    @property
    def controls(self) -> list[int]:
        """Indices of the cases that hold none."""
        return [n for n, case in enumerate(self.cases) if not len(case.places.lesion)]


def _read_case(file: h5py.File, name: str) -> CachedCase:
    """One case out of the file."""
    group = file[f"cases/{name}"]
    attributes = group.attrs
    return CachedCase(
        name=name,
        image=group["image"][()],
        marks=group["marks"][()],
        places=Places(**{kind: group[f"places/{kind}"][()] for kind in KINDS}),
        spacing_mm=_triple(attributes["spacing_mm"], float),
        origin=_triple(attributes["origin"], int),
        frame_shape=_triple(attributes["frame_shape"], int),
        lesions=int(attributes["lesions"]),
        findings=tuple(json.loads(attributes["findings"])),
    )


def _triple(values: NDArray[Any], kind: Any) -> Any:
    """Three plain numbers."""
    z, y, x = np.asarray(values).tolist()
    return kind(z), kind(y), kind(x)
