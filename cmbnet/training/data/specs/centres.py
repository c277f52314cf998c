"""Centres of lesions from tables and MATLAB files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cmbnet.errors import UnreadableFile
from cmbnet.training.data.specs.model import (
    CentreLabels,
    LongTable,
    MatArray,
    RegionTarget,
    WideTable,
)
from cmbnet.training.data.specs.tables import Table, read_table
from cmbnet.training.data.specs.template import fill
from cmbnet.volume import Volume

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Centres:
    """The centres of one scan."""

    source: Path  # File of the centres
    # Voxel indices (i, j, k) of the NIfTI file, from 0; or positions in RAS+ mm
    points: tuple[Triple, ...]
    unit: Literal["voxel", "ras_mm"]  # Unit of the points
    target: RegionTarget  # Settings that make a target from a centre

    def indices_zyx(self, image: Volume) -> list[Triple]:
        """Return the fractional index (z, y, x) of each centre in the image."""
        if self.unit == "voxel":
            return [(k, j, i) for i, j, k in self.points]
        inverse = np.linalg.inv(image.affine)
        found = [inverse @ np.array([*point, 1.0]) for point in self.points]
        return [(float(z), float(y), float(x)) for z, y, x, _ in found]


class CentreReader:
    """A reader of centres that opens each table once.

    `root` is the folder of the data set.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._tables: dict[Path, Table] = {}

    def table(self, path: Path) -> Table:
        """Return a table of the data set."""
        if path not in self._tables:
            self._tables[path] = read_table(path)
        return self._tables[path]

    def read(self, labels: CentreLabels, fields: Mapping[str, str]) -> Centres | None:
        """Read the centres of the scan that `fields` describe, or None if no table names it.

        Raises:
            UnreadableFile: If a table or array is missing, or differs from the spec.
        """
        layout = labels.table
        path = self.root / fill(layout.path, fields)
        if isinstance(layout, MatArray):
            points = _read_mat(path, layout.variable) if path.is_file() else None
        elif isinstance(layout, WideTable):
            points = _read_wide(self.table(path), layout, fields)
        else:
            points = _read_long(self.table(path), layout, fields)
        if points is None:
            return None
        first = labels.first_index if labels.unit == "voxel" else 0
        moved = tuple((i - first, j - first, k - first) for i, j, k in points)
        return Centres(path, moved, labels.unit, labels.target)


def _read_wide(table: Table, layout: WideTable, fields: Mapping[str, str]) -> list[Triple] | None:
    """Return the triples in the row of a scan."""
    column = table.column(layout.row)
    rows = [row for row in table.rows if row[column] == fill(layout.equals, fields)]
    if len(rows) > 1:
        raise UnreadableFile(f"{table.source} must name {rows[0][column]!r} once, got {len(rows)}")
    if not rows:
        return None
    cells = rows[0][column + 1 :]
    triples = [cells[n : n + 3] for n in range(0, len(cells), 3)]
    return [_triple(table.source, triple) for triple in triples if any(triple)]


def _read_long(table: Table, layout: LongTable, fields: Mapping[str, str]) -> list[Triple]:
    """Return the coordinates of all rows of a scan. A scan without rows has no lesions."""
    column = table.column(layout.row)
    axes = [table.column(heading) for heading in layout.columns]
    wanted = fill(layout.equals, fields)
    return [
        _triple(table.source, tuple(row[axis] for axis in axes))
        for row in table.rows
        if row[column] == wanted
    ]


def _triple(source: Path, cells: tuple[str, ...]) -> Triple:
    """Convert three cells to three numbers."""
    try:
        i, j, k = (float(cell) for cell in cells)
    except ValueError:
        raise UnreadableFile(f"{source}: three numbers are required, got {cells}") from None
    return i, j, k


def _read_mat(path: Path, variable: str) -> list[Triple]:
    """Read the rows of an n x 3 array of a MATLAB file (before 7.3)."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path, variable_names=[variable])
    except (OSError, ValueError, NotImplementedError, MatReadError) as error:
        raise UnreadableFile(f"a MATLAB file is required, got {path}: {error}") from error
    if variable not in content:
        raise UnreadableFile(f"{path} must hold an array {variable!r}")
    array = np.asarray(content[variable], float)
    if array.size == 0:
        return []
    if array.ndim != 2 or array.shape[1] != 3 or not np.isfinite(array).all():
        raise UnreadableFile(
            f"{variable!r} in {path} must be n x 3 finite numbers, got shape {array.shape}"
        )
    return [(i, j, k) for i, j, k in array.tolist()]
