"""Sites: the places of a case that the reviewed truth, the system or any reader calls a lesion.

To measure agreement, there must be a list of things to agree on. A site is one lesion as several
raters see it. If lesions of two raters share a voxel, they are the same site. They are paired one
to one by `cmbnet.evaluation.match.matching` (rule ``any-voxel``). Sites are collected in the order
truth, system, readers by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmbnet.errors import InputRefused
from cmbnet.evaluation.match.labels import Labels, read_labels
from cmbnet.evaluation.match.matching import MatchingRule, exceeds, match
from cmbnet.evaluation.match.overlap import find_overlap
from cmbnet.volume import Volume, grid_difference

SAME_SITE = MatchingRule("any-voxel", 0.0)
IGNORED = 0.4
"""Share of ignored voxels that leaves a site out, as in `Settings.ignore_fraction`."""


@dataclass(frozen=True, slots=True)
class ReadCase:
    """One case of a reader study."""

    name: str  # Name of the case
    system: NDArray[np.bool_]  # Whether the system has a lesion at each site, bool (sites,)
    readers: NDArray[np.bool_]  # Whether each reader's revision has one, bool (sites, readers)
    # Whether the reviewed truth has one, bool (sites,). None without a truth.
    truth: NDArray[np.bool_] | None


def find_sites(
    name: str,
    system: Volume,
    readers: Mapping[str, Volume],
    truth: Volume | None = None,
    ignore: Volume | None = None,
) -> ReadCase:
    """Collect the sites of a case from masks or instance labels.

    A site with more than `IGNORED` of its voxels in the region to ignore is left out, whoever marks
    it.

    Raises:
        InputRefused: If the grids differ or labels are wrong.
    """
    raters = {"truth": truth, "system": system} if truth is not None else {"system": system}
    raters = {**raters, **{f"reader {key}": readers[key] for key in sorted(readers)}}
    sites = _Sites(name, system, ignore)
    marks = {who: sites.add(volume) for who, volume in raters.items()}
    counted = np.flatnonzero(~np.array(sites.ignored, bool))
    present = {who: np.isin(counted, index) for who, index in marks.items()}
    columns = [present[f"reader {key}"] for key in sorted(readers)]
    return ReadCase(
        name=name,
        system=present["system"],
        readers=np.stack(columns, axis=1) if columns else np.zeros((len(counted), 0), bool),
        truth=present.get("truth"),
    )


class _Sites:
    """A label array of the sites found so far, which each rater joins or extends."""

    def __init__(self, name: str, grid: Volume, ignore: Volume | None) -> None:
        self.name, self.grid = name, grid
        self.array = np.zeros(grid.shape, np.int32)
        self.ignored: list[bool] = []
        self._ignore = np.zeros(grid.shape, bool)
        if ignore is not None:
            self._require_grid(ignore)
            self._ignore = ignore.data != 0

    @property
    def count(self) -> int:
        """Number of sites."""
        return len(self.ignored)

    def _require_grid(self, volume: Volume) -> None:
        difference = grid_difference(self.grid, volume)
        if difference is not None:
            raise InputRefused(
                f"case {self.name}: {volume.source} must lie on the grid of {self.grid.source}, "
                f"got {difference}"
            )

    def add(self, volume: Volume) -> NDArray[np.int64]:
        """Return the site of each lesion of a rater. Unpaired lesions become new sites."""
        self._require_grid(volume)
        lesions = read_labels(volume)
        partner = np.full(lesions.count, -1)
        if lesions.count and self.count:
            partner = self._pair(lesions)
        new = np.flatnonzero(partner < 0)
        partner[new] = self.count + np.arange(len(new))
        for lesion in new:
            voxels = lesions.index[lesions.lesion == lesion]
            own = voxels[self.array.ravel()[voxels] == 0]
            self.array.ravel()[own] = partner[lesion] + 1
        left_out = exceeds(lesions.share_inside(self._ignore), lesions.voxels, IGNORED)
        self.ignored += left_out[new].tolist()
        return partner

    def _pair(self, lesions: Labels) -> NDArray[np.int64]:
        # A site that lay wholly inside older ones has no voxel of its own: it cannot be paired.
        index = np.flatnonzero(self.array)
        present, site = np.unique(self.array.ravel()[index], return_inverse=True)
        sites = Labels(self.grid.shape, index, site, present.astype(np.int64))
        overlap = find_overlap(sites, lesions, self.grid.affine)
        paired = match(overlap, SAME_SITE).partner_of_predicted
        return np.where(paired >= 0, np.append(present - 1, -1)[paired], -1)
